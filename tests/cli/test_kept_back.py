"""What a run itself needs never leaves: the profile, its secrets, the journals, and the history of the source."""

from __future__ import annotations

from pathlib import Path

import pytest

from actorsync import load_profile
from actorsync.cli.commands import run_command
from actorsync.planning.temporary_names import is_own
from actorsync.runs.private_paths import private_paths
from actorsync.testing import EmbeddedFtpServer
from tests.support.cli_profile import tree


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose directory is also the source: with everything in it that people keep there."""
    root = tmp_path / "project"
    for name in ("index.html", ".git/config", "lib/.git", "lib/a.js", "etc/password", "etc/readme"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("demo" if name == "etc/password" else name)
    (root / "etc/password").chmod(0o600)
    (root / "link").symlink_to("etc/password")
    monkeypatch.setenv("XDG_STATE_HOME", str(root / "var"))
    monkeypatch.chdir(root)
    return root


def write(server: EmbeddedFtpServer, *more: str, password: str = "etc/password") -> None:
    lines = ["[source]", 'path = "."', "[target]", f'url = "{server.url}"', f'password = {{ file = "{password}" }}']
    Path("actorsync.toml").write_text("\n".join([*lines, "[sync]", *more]))


def changes(server: EmbeddedFtpServer) -> int:
    """Return how many commands have changed something on the server."""
    return sum(command.verb in {"STOR", "MKD", "RNTO", "DELE", "RMD"} for command in server.commands)


def test_profile_secrets_journal_and_git_are_never_sent_and_said_once(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "server").mkdir()
    with EmbeddedFtpServer(tmp_path / "server", password="demo") as server:
        write(server, "delete = true")
        assert run_command(["run"]) == 0
        assert set(tree(tmp_path / "server")) == {"index.html", "lib/a.js", "etc/readme"}
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "never sent" in line]
        assert line.startswith("warning: never sent: .git, actorsync.toml, etc/password, lib/.git, var/actorsync: ")
        assert line.endswith('; to send .git: include = [".git/"]')
        commands = changes(server)
        assert run_command(["run"]) == 0
        assert "never sent" not in capsys.readouterr().err
        assert changes(server) == commands, "a journal in the source is no change"


def test_git_is_sent_if_include_names_it(project: Path, tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    with EmbeddedFtpServer(tmp_path / "server", password="demo") as server:
        write(server, 'include = [".git/"]')
        assert run_command(["run", "-q"]) == 0
    assert ".git/config" in tree(tmp_path / "server")


def test_git_that_a_pattern_excludes_is_not_mentioned(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "server").mkdir()
    with EmbeddedFtpServer(tmp_path / "server", password="demo") as server:
        write(server, 'exclude = [".git", "var", "etc", "actorsync.toml"]')
        assert run_command(["run"]) == 0
    assert "never sent" not in capsys.readouterr().err
    assert set(tree(tmp_path / "server")) == {"index.html", "lib/a.js"}


def test_secret_by_way_of_a_link_is_kept_back_as_well(project: Path, tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    (project / "link").unlink()
    (project / "config").symlink_to("etc")
    with EmbeddedFtpServer(tmp_path / "server", password="demo") as server:
        write(server, 'links = "follow"', password="config/password")
        assert run_command(["run", "-q"]) == 0
    assert not [name for name in tree(tmp_path / "server") if "password" in name]


def test_backup_to_a_directory_of_this_machine_keeps_git(project: Path, tmp_path: Path) -> None:
    Path("actorsync.toml").write_text(f'[source]\npath = "."\n[target]\nurl = "{tmp_path / "copy"}"\n')
    assert run_command(["run", "-q"]) == 0
    assert {".git/config", "lib/.git"} <= set(tree(tmp_path / "copy"))
    assert "actorsync.toml" not in tree(tmp_path / "copy")


def test_links_that_are_followed_do_not_lead_to_what_is_never_sent(project: Path, tmp_path: Path) -> None:
    """A link to the file, to the directory around it, and to the history."""
    (tmp_path / "server").mkdir()
    (project / "config").symlink_to("etc")
    (project / "history").symlink_to(".git")
    (project / "again").symlink_to("index.html")
    with EmbeddedFtpServer(tmp_path / "server", password="demo") as server:
        write(server, 'links = "follow"')
        assert run_command(["run", "-q"]) == 0
        names = {"index.html", "again", "lib/a.js", "etc/readme", "config/readme"}
        assert set(tree(tmp_path / "server")) == names
        commands = changes(server)
        assert run_command(["run", "-q"]) == 0
        assert changes(server) == commands


def test_every_file_with_a_secret_that_a_profile_names_is_kept_back(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that the files of ssh name, and those that a command gets as ``@FILE``."""
    monkeypatch.setenv("HOME", str(project))
    secrets = {"pw", "proxy-pw", "of-server", "of-jump", "shop.otp"}
    for name in secrets:
        (project / name).write_text("x")
        (project / name).chmod(0o600)
    (project / ".ssh").mkdir()
    (project / ".ssh/config").write_text(
        "Host shop\n IdentityFile ~/of-server\n ProxyJump hop\nHost hop\n IdentityFile ~/of-jump\n"
    )
    (project / "actorsync.toml").write_text(
        '[source]\npath = "."\n[target]\nurl = "sftp://shop/www"\nssh-config = true\npassword = { file = "pw" }\n'
        'proxy = "socks5://u@h:1"\nproxy-password = { file = "proxy-pw" }\n'
        'otp = { command = ["oathtool", "--totp", "@shop.otp"] }\n'
    )
    kept_back = private_paths(load_profile("actorsync.toml"))
    assert kept_back == {*secrets, "actorsync.toml", "var/actorsync"}


@pytest.mark.parametrize(
    ("keys", "is_kept_back"),
    [
        ("", True),
        ("agent = true", True),
        ("agent = false", False),
        ('password = { env = "P" }', False),
        ('password = { env = "P" }\njump = ["u@hop"]', True),
        ('key-file = "key"', False),
    ],
)
def test_usual_keys_that_a_login_tries_are_kept_back(
    project: Path, monkeypatch: pytest.MonkeyPatch, keys: str, is_kept_back: bool
) -> None:
    """A home directory that is backed up has them in it."""
    monkeypatch.setenv("HOME", str(project))
    (project / "key").touch(0o600)
    (project / "actorsync.toml").write_text(f'[source]\npath = "."\n[target]\nurl = "sftp://u@h/www"\n{keys}\n')
    usual = {f".ssh/{name}" for name in ("id_ed25519", "id_ecdsa", "id_rsa")}
    assert (private_paths(load_profile("actorsync.toml")) & usual == usual) is is_kept_back


@pytest.mark.parametrize("is_source", [True, False])
def test_two_way_keeps_back_what_is_private_on_either_side(project: Path, tmp_path: Path, *, is_source: bool) -> None:
    """The directory of the profile may be either side, and both are sent."""
    (tmp_path / "server").mkdir()
    with EmbeddedFtpServer(tmp_path / "server", password="demo") as server:
        url = [f'url = "{server.url}"', 'password = { file = "etc/password" }']
        sides = (
            ["[source]", 'path = "."', "[target]", *url] if is_source else ["[source]", *url, "[target]", 'url = "."']
        )
        Path("actorsync.toml").write_text("\n".join([*sides, "[sync]", 'mode = "two-way"']))
        for _ in range(2):
            assert run_command(["run", "-q"]) == 0
    kept = {name for name in tree(tmp_path / "server") if not is_own(name)}
    assert kept == {"index.html", "lib/a.js", "etc/readme"}


def test_two_way_between_directories_of_this_machine_keeps_git_and_not_the_profile(
    project: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    text = f'[source]\npath = "{tmp_path / "other"}"\n[target]\nurl = "."\n[sync]\nmode = "two-way"\n'
    Path("actorsync.toml").write_text(text)
    assert run_command(["run", "-q"]) == 0
    names = set(tree(tmp_path / "other"))
    assert {".git/config", "lib/.git"} <= names
    assert not names & {"actorsync.toml", "var/actorsync"}
    assert not [name for name in names if name.startswith("var/")]
