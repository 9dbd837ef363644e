"""What the path of an ``sftp`` URL means: absolute, or with ``~`` in the login directory.

Earlier versions read every path with one slash as one in the login directory. No profile may go on at another place
because of that, neither with the journal of that time nor without one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from actorsync import load_profile
from actorsync.cli.commands import run_command
from actorsync.journal import journal_path, state_directory
from actorsync.runs.profile_journal import lock_journal_of
from actorsync.testing import EmbeddedSftpServer
from actorsync.testing.servers import sftp_packets
from actorsync.testing.servers.sftp_packets import SftpRequest
from tests.support.cli_profile import tree

HOME = "/home/me"


def at_home(request: SftpRequest) -> bytes | None:
    """Answer as a server whose login directory is `HOME`."""
    if request.verb == "REALPATH" and request.path == ".":
        return sftp_packets.names(request.id, [HOME])
    if request.verb == "STAT" and request.path == "www":
        found = sftp_packets.number(request.id) + sftp_packets.attributes(mode=0o40755)
        return sftp_packets.packet(sftp_packets.ATTRS, found)
    return None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedSftpServer]:
    (tmp_path / "server/home/me/www").mkdir(parents=True)
    (tmp_path / "public").mkdir()
    (tmp_path / "public/a").write_text("a")
    with EmbeddedSftpServer(tmp_path / "server", password="demo", instead=at_home) as server:
        yield server


@pytest.fixture
def profile(server: EmbeddedSftpServer, tmp_path: Path) -> Callable[[str], str]:
    """Return a function that writes the profile with a path in its URL."""

    def write(path: str) -> str:
        text = server.profile(tmp_path / "public").replace(server.url, f"{server.url.removesuffix('/')}{path}")
        (tmp_path / "shop.toml").write_text(text)
        (tmp_path / "shop.toml").chmod(0o600)
        return str(tmp_path / "shop.toml")

    return write


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/~/www", "home/me/www/a"),
        ("/~/new", "home/me/new/a"),
        ("/", "home/me/a"),
        ("//www", "www/a"),
        ("/new", "new/a"),
        ("/home/me", "home/me/a"),
        ("/home/me/www", "home/me/www/a"),
    ],
)
def test_each_form_of_a_path_is_the_directory_that_check_prints(
    server: EmbeddedSftpServer,
    profile: Callable[[str], str],
    path: str,
    place: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    written = profile(path)
    assert run_command(["check", written]) == 0
    (root,) = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("root ")]
    assert f"{root.rstrip('/')}/a" == f"/{place}"
    assert run_command(["run", "-q", written]) == 0
    assert tree(server.root) == {place: b"a"}


@pytest.mark.parametrize("command", ["check", "plan", "run"])
def test_missing_directory_that_is_in_the_login_directory_is_not_made(
    server: EmbeddedSftpServer, profile: Callable[[str], str], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With no journal, nothing but the server shows that another directory was meant."""
    assert run_command([command, profile("/www")]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("actorsync: target.url: /www does not exist on the server, but www does in the login ")
    assert f"write {server.url}~/www for that" in line
    assert f"or {server.url}/www to make /www" in line
    assert tree(server.root) == {}
    assert not (server.root / "www").exists()


def test_directory_that_exists_is_used_whatever_is_in_the_login_directory(
    server: EmbeddedSftpServer, profile: Callable[[str], str]
) -> None:
    (server.root / "www").mkdir()
    assert run_command(["run", "-q", profile("/www")]) == 0
    assert tree(server.root) == {"www/a": b"a"}


def test_one_reply_is_not_enough_to_refuse_a_directory(
    server: EmbeddedSftpServer, profile: Callable[[str], str]
) -> None:
    (server.root / "www").mkdir()
    failed: list[str] = []

    def instead(request: SftpRequest) -> bytes | None:
        if request.verb == "STAT" and request.path == "/www" and not failed:
            failed.append(request.path)
            return sftp_packets.status(request.id, sftp_packets.NO_SUCH_FILE)
        return at_home(request)

    server.instead = instead
    assert run_command(["run", "-q", profile("/www")]) == 0
    assert failed == ["/www"]


def test_journal_of_the_former_meaning_is_not_left_for_another_directory(
    server: EmbeddedSftpServer, profile: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The first run stands for one of an earlier version: with ``/~/`` the identity is that of ``/www`` then."""
    assert run_command(["run", "-q", profile("/~/www")]) == 0
    before = tree(server.root)
    (server.root / "www").mkdir()
    for command in ("check", "plan", "run", "status"):
        assert run_command([command, profile("/www")]) == 2, command
        (line,) = capsys.readouterr().err.splitlines()
        assert "shop.toml: target.url: means /www on the server now, and earlier runs used www in the login " in line
        assert line.endswith(f"write {server.url}~/www to go on there, or {server.url}/www for /www")
    assert tree(server.root) == before
    assert run_command(["run", "-q", profile("//www")]) == 0, "two slashes say which one is meant"
    assert tree(server.root) == {**before, "www/a": b"a"}
    assert run_command(["run", "-q", profile("/www")]) == 0, "and from then on there is a journal of this meaning"


def test_identity_follows_the_meaning(profile: Callable[[str], str]) -> None:
    loaded = load_profile(Path(profile("/www")))
    assert loaded.identity == load_profile(Path(profile("//www"))).identity
    assert loaded.identity != load_profile(Path(profile("/~/www"))).identity
    with lock_journal_of(loaded):
        assert journal_path(state_directory(), loaded.identity).exists()
