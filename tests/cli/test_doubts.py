"""Patterns and variables in a profile that hardly mean what they say: each command that uses them warns of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from actorsync.cli.commands import run_command
from actorsync.testing import EmbeddedFtpServer
from tests.support.cli_profile import tree
from tests.support.profile_text import loaded, refused, with_url

#: The beginnings of the warnings. ``plan`` has the name of the program before them.
LINES = (
    "warning: shop.toml: target.password: is taken literally: variables are not replaced in a profile; write password",
    'warning: /project/.deployignore:3: "*.key # secrets" matches only names with that comment in them; give the ',
    'warning: shop.toml: sync.exclude: "./drafts/" matches nothing: no path in the source has "./" in it; write "/dra',
)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedFtpServer]:
    """Yield a server whose password is really the text of a variable, for a profile with two such patterns."""
    project = tmp_path / "project"
    for name in ("public/index.html", "public/drafts/new.html", "public/site.key"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(name)
    (project / ".deployignore").write_text("# generated\r\n*.bak\r\n*.key # secrets\r\n")
    (tmp_path / "server").mkdir()
    monkeypatch.chdir(project)
    with EmbeddedFtpServer(tmp_path / "server", password="$SHOP_PASSWORD") as server:
        text = with_url(server.url, 'password = "$SHOP_PASSWORD"\n[sync]\nexclude-from = ".deployignore"')
        Path("shop.toml").write_text(text + 'exclude = ["*.tmp", "./drafts/"]\n')
        Path("shop.toml").chmod(0o600)
        yield server


@pytest.mark.parametrize("command", ["check", "plan", "run"])
def test_each_command_warns_once_by_file_and_line(
    server: EmbeddedFtpServer, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command([command, "shop.toml"]) == 0
    err = capsys.readouterr().err.replace(str(tmp_path), "")
    found = [line for line in err.splitlines() if "shop.toml: " in line or "deployignore" in line]
    assert [start in line for line, start in zip(found, LINES, strict=True)] == [True] * 3, found


def test_check_warns_of_a_variable_before_the_login_is_rejected(
    server: EmbeddedFtpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.password = "secret"
    server.restart()
    assert run_command(["check", "shop.toml"]) == 6
    assert '{ env = "SHOP_PASSWORD" }' in capsys.readouterr().err


def test_warning_is_an_event_and_the_run_does_what_the_patterns_say(
    server: EmbeddedFtpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["run", "--json", "shop.toml"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    warned = [record["text"] for record in records if record["event"] == "warned"]
    assert len([text for text in warned if "shop.toml: " in text or "deployignore" in text]) == len(LINES)
    assert set(tree(server.root)) == {"index.html", "drafts/new.html", "site.key"}


def test_error_about_a_path_or_url_names_the_variable_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = tmp_path / "shop.toml"
    literally = " is taken literally: variables are not replaced in a profile)"
    assert refused(shop, with_url("sftp://${SITE}/www")).endswith(f"invalid character (${{SITE}}{literally}")
    keys = with_url("sftp://u@h/", 'key-file = "$KEYS/id"')
    assert refused(shop, keys).endswith(f"($KEYS{literally}")
    monkeypatch.setenv("ACTORSYNC_TARGET_URL", "sftp://${SITE}/www")
    assert refused(shop, with_url("sftp://h/")).endswith(f"(${{SITE}}{literally}")


def test_error_about_a_password_in_a_url_names_no_variable(tmp_path: Path) -> None:
    assert "PASSWORD" not in refused(tmp_path / "shop.toml", with_url("ftp://u:$PASSWORD@h/"))


def test_variables_are_found_in_every_key_with_a_place_or_a_secret(tmp_path: Path) -> None:
    from actorsync.runs.doubts import doubts_of

    text = """
        [source]
        path = "$HOME/site"
        [target]
        url = "sftp://$USER@h/~/${SITE}"
        known-hosts = "$HOME/hosts"
        password = { env = "$SHOP_PASSWORD" }
        passphrase = "${PHRASE_OF_KEY}"
        key-file = "id"
    """
    (tmp_path / "id").touch(0o600)
    shop = tmp_path / "shop.toml"
    shop.touch(0o600)
    found = [line.removeprefix(f"{shop}: ").partition(" ")[0] for line in doubts_of(loaded(shop, text))]
    assert found == ["source.path:", "target.url:", "target.known-hosts:", "target.password:", "target.passphrase:"]
    (tmp_path / "$HOME/site").mkdir(parents=True)
    assert "source.path" not in "".join(doubts_of(loaded(shop, text))), "what exists is meant"
