"""A user without a home directory and without an entry in /etc/passwd, as in a container."""

from __future__ import annotations

import errno
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from actorsync.cli.commands import run_command
from actorsync.endpoints.shared.home import expand_home, home_directory
from actorsync.errors import FatalError
from actorsync.journal.file import naming
from actorsync.profile import load_profile
from actorsync.testing import EmbeddedSftpServer
from tests.support.cli_profile import tree, write_profile
from tests.support.mirror import contents
from tests.support.profile_text import loaded, refused, with_url
from tests.support.root import ROOT

_USER = ("HOME", "XDG_STATE_HOME", "LOGNAME", "USER", "LNAME", "USERNAME")

#: Runs the command line as a user without an entry in the password database.
_PROGRAM = """
import pwd, sys
def unknown(uid):
    raise KeyError(uid)
pwd.getpwuid = unknown
from actorsync.__main__ import main
main()
"""


def unknown(uid: int) -> pwd.struct_passwd:
    raise KeyError(uid)


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what tells the user's home directory."""
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in _USER:
        monkeypatch.delenv(name, raising=False)


def ran(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if name not in _USER} | environment
    command = [sys.executable, "-c", _PROGRAM, *arguments]
    return subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", ["run", "plan", "check", "status"])
@pytest.mark.parametrize("environment", [{}, {"HOME": ""}, {"HOME": "relative"}, {"XDG_STATE_HOME": "relative"}])
def test_command_without_a_home_directory_ends_with_one_line(
    nobody: None,
    command: str,
    environment: dict[str, str],
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    profile = write_profile(source, str(tmp_path / "mirror"))
    assert run_command([command, profile]) == 7
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert error.startswith("actorsync: there is no home directory: ")
    assert "set XDG_STATE_HOME to " in error
    assert sorted(path for path in tmp_path.rglob("*") if str(path) != profile) == before


def test_state_home_is_enough_for_a_mirror(
    nobody: None, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert run_command(["run", write_profile(source, str(tmp_path / "mirror"))]) == 0
    assert tree(tmp_path / "mirror") == tree(source)


def test_state_home_is_enough_for_a_mirror_over_sftp(source: Path, tmp_path: Path, server_folder: Path) -> None:
    with EmbeddedSftpServer(server_folder) as server:
        profile = server.write_profile(tmp_path / "shop.toml", source, "site")
        done = ran("run", str(profile), XDG_STATE_HOME=str(tmp_path / "state"))
        assert done.returncode == 0, done.stderr
        assert contents(server_folder / "site") == contents(source)


@pytest.mark.parametrize("command", ["run", "check"])
def test_home_where_no_journal_can_be_ends_with_7(
    nobody: None,
    command: str,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOME", str(source / "a.txt"))  # not even root can make a directory there
    assert run_command([command, write_profile(source, str(tmp_path / "mirror"))]) == 7
    error = capsys.readouterr().err
    assert error.startswith(f"actorsync: journal {source}/a.txt/.local/state/actorsync/")
    assert error.endswith(": Not a directory\n")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_journal_that_may_not_be_written_names_the_variable_that_helps(number: int) -> None:
    with pytest.raises(FatalError) as caught, naming("/.local/state/actorsync/x.journal"):
        raise OSError(number, os.strerror(number))
    assert str(caught.value) == (
        f"journal /.local/state/actorsync/x.journal: {os.strerror(number)}; "
        "make it writable, or set XDG_STATE_HOME to another directory"
    )


@pytest.mark.parametrize("text", ["path = '~/public'", "url = '~'"])
def test_tilde_without_a_home_directory_is_an_error(nobody: None, tmp_path: Path, text: str) -> None:
    line = refused(tmp_path / "shop.toml", f"[source]\n{text}\n[target]\nurl = '/mirror'\n")
    assert line.startswith(f"source.{text.partition(' ')[0]}: ")
    assert "there is no home directory" in line


def test_sftp_profile_without_a_home_directory_reads_the_known_hosts_of_the_machine(
    nobody: None, tmp_path: Path
) -> None:
    assert loaded(tmp_path / "shop.toml", with_url("sftp://deploy@h/")).target.known_hosts == Path(
        "/etc/ssh/ssh_known_hosts"
    )


def test_sftp_url_without_a_user_asks_for_one(nobody: None, tmp_path: Path) -> None:
    assert "your user id has no name here; write sftp://user@host/dir" in refused(
        tmp_path / "shop.toml", with_url("sftp://h/")
    )


@pytest.mark.parametrize(
    ("home", "text", "expanded"),
    [("/", "~/x", "/x"), ("/", "~", "/"), ("/home/a/", "~/x", "/home/a/x"), ("/home/a", "~", "/home/a")],
)
def test_tilde_is_replaced_by_the_home_directory(
    monkeypatch: pytest.MonkeyPatch, home: str, text: str, expanded: str
) -> None:
    monkeypatch.setenv("HOME", home)
    assert expand_home(text) == expanded


def test_home_that_never_exists_counts_as_none(nobody: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    assert home_directory() is None


def test_password_database_is_asked_when_home_is_not_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HOME", raising=False)
    shop = tmp_path / "shop.toml"
    expected = Path(pwd.getpwuid(os.getuid()).pw_dir, "x")
    shop.write_text("[source]\npath = '~/x'\n[target]\nurl = '/mirror'\n")
    assert load_profile(shop).source.path == str(expected)
