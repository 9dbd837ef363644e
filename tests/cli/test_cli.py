"""The commands from the outside: their output and exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import attrs
import pytest

import actorsync
from actorsync import __version__
from actorsync.cli.check import report_on
from actorsync.cli.commands import run_command
from actorsync.endpoints.contract import Endpoint
from actorsync.errors import ActorsyncError, ConnectionLost, FatalError, LoginRefused, TargetUnreachable
from actorsync.journal import journal_path, state_directory
from actorsync.model.entry import Listing
from actorsync.profile import load_profile
from actorsync.runs import mirror
from actorsync.testing import EmbeddedFtpServer, EmbeddedSftpServer
from actorsync.testing.servers.sftp_packets import SftpRequest, status
from tests.support.cli_profile import CANARY, tree, write_profile

pytestmark = pytest.mark.usefixtures("password")


INTERNAL_ERROR = (
    "internal error in actorsync; please report it with this traceback; the next run continues from the journal"
)


def test_garbage_is_collected_after_the_imports_of_a_program() -> None:
    code = (
        "import gc; from actorsync.cli.process.imports import importing\n"
        "with importing(is_program=False): assert gc.isenabled()\n"
        "assert gc.get_freeze_count() == 0\n"
        "with importing(is_program=True): assert not gc.isenabled()\n"
        "assert gc.isenabled() and gc.get_freeze_count() > 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_version_and_profile_errors_do_not_import_trio() -> None:
    code = (
        "import sys; from actorsync.cli.commands import run_command; "
        "assert run_command(['--version']) == 0; assert run_command(['run', 'nope.toml']) == 2; "
        "assert 'trio' not in sys.modules and 'rich' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"actorsync {__version__}\n"


def test_run_prints_start_and_summary(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "target"
    assert run_command(["run", write_profile(source, str(target))]) == 0
    assert tree(target) == tree(source)
    out, err = capsys.readouterr()
    first, last = err.splitlines()
    assert out == ""
    assert first == f"mirroring {source} to {target}, 4 connections"
    assert last.startswith("in sync: 2 copied (3 B), 1 directory made, 0 removed, 0 failed in ")


def test_verbose_prints_a_line_for_each_change(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = write_profile(source, str(tmp_path / "target"))
    run_command(["run", profile, "-q"])
    assert capsys.readouterr() == ("", "")
    (source / "a.txt").write_text("changed")
    (source / "sub" / "b.txt").unlink()
    (source / "sub").rmdir()
    (source / "new.txt").write_text("new")
    assert run_command(["run", profile, "-v", "--set", "sync.max-delete=100%"]) == 0
    lines = capsys.readouterr().err.splitlines()
    stamps, texts = zip(*(line.split(" ", 2)[::2] for line in lines), strict=True)
    assert sorted(texts[1:-1]) == ["* a.txt", "+ new.txt", "- sub/", "- sub/b.txt"]
    assert all(datetime.fromisoformat(stamp) for stamp in stamps)


def test_json_prints_one_event_per_line(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (source / os.fsdecode(b"not utf-8 \xff")).write_text("x")
    assert run_command(["run", write_profile(source, str(tmp_path / "target")), "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.isascii()
    events = [json.loads(line) for line in out.splitlines()]
    assert all(isinstance(event["time"], float) for event in events)
    assert (events[0]["event"], events[-1]["event"]) == ("started", "stopped")
    assert (events[-1]["exit_code"], events[-1]["copied"]) == (0, 3)
    copied = {event["path"] for event in events if event["event"] == "done" and event["operation"] == "copy"}
    assert copied == {"a.txt", "sub/b.txt", "not utf-8 \udcff"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "nope.toml"], "actorsync: nope.toml: no such file; create one with: actorsync init"),
        (["run", "{profile}", "--set", "sync.max-delte=3"], "unknown key; did you mean sync.max-delete?"),
        (
            ["run", "{profile}", "-v", "--json"],
            "actorsync: --json, --verbose and --quiet cannot be combined; use one of them (see: actorsync run --help)",
        ),
        (["run"], "actorsync: actorsync.toml: no such file; create one with: actorsync init"),
        (["apply", "{profile}"], "actorsync: Missing argument 'PLAN' (see: actorsync apply --help)"),
        (["fly"], "actorsync: No such command 'fly' (see: actorsync --help)"),
        (["run", "{profile}", "--fast"], " (see: actorsync run --help)"),
    ],
)
def test_usage_error_exits_with_2(
    arguments: Sequence[str],
    complaint: str,
    source: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    profile = write_profile(source, "elsewhere")
    monkeypatch.chdir(source)
    assert run_command([argument.format(profile=profile) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert complaint in line


@pytest.mark.parametrize("command", ["run", "check", "plan", "status"])
def test_command_without_a_profile_takes_the_one_of_this_directory(
    command: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("here", "target"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path(write_profile(source, str(tmp_path / "target"))).rename("actorsync.toml")
    assert run_command([command, "--set", f"source.path={source}"]) == 0
    assert "actorsync:" not in capsys.readouterr().err


def test_apply_with_swapped_arguments_says_so(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile, saved = write_profile(source, str(tmp_path / "target")), str(tmp_path / "saved.plan")
    assert run_command(["plan", profile, "--save", saved]) == 0
    capsys.readouterr()
    assert run_command(["apply", saved, profile]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is a plan, not a profile; write the profile first" in line
    assert line.endswith(f"actorsync apply {profile} {saved} (see: actorsync apply --help)")
    apply: Any = actorsync.apply
    with pytest.raises(TypeError, match="swapped"):
        apply(actorsync.Plan.load(saved), profile)


def test_missing_source_is_refused_and_removes_nothing(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = write_profile(source, str(tmp_path / "target"))
    run_command(["run", profile, "-q"])
    source.rename(tmp_path / "moved")
    assert run_command(["run", profile]) == 2
    assert len(tree(tmp_path / "target")) == 2
    missing = f"{profile}: source.path: {source} does not exist; create the directory, or correct the path"
    assert capsys.readouterr().err.splitlines() == [f"actorsync: {missing}"]
    source.mkdir()
    assert run_command(["run", profile, "-q"]) == 4
    assert len(tree(tmp_path / "target")) == 2
    assert "the source is empty" in capsys.readouterr().err


def test_unexpected_exception_prints_traceback_and_one_line(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a \x1b[31mbug")

    monkeypatch.setattr(mirror, "supervise", broken)
    assert run_command(["run", write_profile(source, str(tmp_path / "target"))]) == 7
    err = capsys.readouterr().err.splitlines()
    assert err[0] == "Traceback (most recent call last):"
    assert err[-2:] == [
        "ZeroDivisionError: a \\x1b[31mbug",
        f"actorsync: {INTERNAL_ERROR}",
    ]
    assert err.count("Traceback (most recent call last):") == 1


def test_init_writes_private_profile_and_never_overwrites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = os.umask(0)
    try:
        assert run_command(["init"]) == 0
    finally:
        os.umask(before)
    written = tmp_path / "actorsync.toml"
    assert written.stat().st_mode & 0o777 == 0o600
    assert load_profile(written).target.host == "www.example.com"
    written.write_text("mine")
    assert run_command(["init", "actorsync.toml"]) == 2
    assert written.read_text() == "mine"
    assert "not overwritten" in capsys.readouterr().err
    assert run_command(["init", "nowhere/actorsync.toml"]) == 2


def test_plan_shows_the_changes_of_a_run(
    source: Path, server: EmbeddedFtpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = write_profile(source, f"{server.url}www")
    assert run_command(["plan", profile]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out == "+ a.txt\n+ sub/\n+ sub/b.txt\n2 files to copy (3 B), 1 directory to make\n"
    assert run_command(["plan", profile, "--exit-code"]) == 9
    assert run_command(["run", profile, "-q"]) == 0
    capsys.readouterr()
    assert run_command(["plan", profile, "--exit-code"]) == 0
    assert capsys.readouterr() == ("nothing to do (2 files)\n", "")

    (source / "a.txt").write_text("changed")
    (source / "sub" / "b.txt").unlink()
    assert run_command(["run", "-n", profile]) == 0
    assert capsys.readouterr().out == "* a.txt\n- sub/b.txt\n1 file to copy (7 B), 1 to remove\n"
    assert run_command(["plan", profile, "--exit-code", "--json"]) == 9
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[-1]["copied"] == events[-1]["removed"] == 1


def test_m133_dry_run_changes_nothing(source: Path, server: EmbeddedFtpServer) -> None:
    profile = write_profile(source, f"{server.url}www")
    journal = journal_path(state_directory(), load_profile(Path(profile)).identity)
    assert run_command(["plan", profile]) == 0
    assert not state_directory().exists()
    assert server.mutating == []
    assert run_command(["run", profile, "-q"]) == 0

    (source / "a.txt").unlink()
    (source / "new.txt").write_text("new")
    (source / "sub" / "b.txt").write_text("changed")
    remembered, commands, there = journal.read_bytes(), list(server.commands), tree(server.root)
    for command in (["plan"], ["plan", "--json"], ["run", "-n"], ["run", "--dry-run", "--json"]):
        assert run_command([*command, profile]) == 0
    assert journal.read_bytes() == remembered
    assert tree(server.root) == there
    assert server.commands == commands  # the journal knows the target, so nothing is requested

    journal.unlink()
    assert run_command(["plan", profile]) == 0
    assert not journal.exists()
    assert server.mutating == [command for command in commands if command in server.mutating]


def test_plan_exits_with_4_when_a_guard_refuses(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = write_profile(source, str(tmp_path / "target"))
    run_command(["run", profile, "-q"])
    for path in (source / "a.txt", source / "sub" / "b.txt"):
        path.unlink()
    assert run_command(["plan", profile, "--exit-code"]) == 4
    assert "more than max-delete allows" in capsys.readouterr().err


def test_check_describes_the_server(
    source: Path, server: EmbeddedFtpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = write_profile(source, server.url)
    assert run_command(["check", profile]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "server    pyftpdlib, embedded by actorsync, is ready." in lines
    assert lines[-1] == "ready: the target directory can be listed (0 entries)"
    assert run_command(["check", profile, "--set", f"target.url={server.url}not/there"]) == 0
    assert "does not exist yet" in capsys.readouterr().out
    assert server.mutating == []
    assert not state_directory().exists()


@pytest.mark.parametrize(
    ("path", "code"), [("new", 0), ("/new", 0), ("a/b/new", 0), ("there", 7), ("there/below", 0), ("", 7)]
)
def test_check_tells_a_missing_directory_from_one_that_cannot_be_listed(
    path: str, code: int, source: Path, server_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server says "failure" about both, so the directory is asked for by its name."""

    def fail(request: SftpRequest) -> bytes | None:
        is_closed = request.verb == "OPENDIR" and (request.path != "/" or not path)
        return status(request.id, 4) if is_closed else None

    (server_folder / "root" / "there").mkdir(parents=True)
    with EmbeddedSftpServer(server_folder / "root", password=CANARY, instead=fail) as server:
        profile = server.write_profile(tmp_path / "shop.toml", source, path)
        assert run_command(["check", str(profile)]) == code
    out, error = capsys.readouterr()
    assert ("the target directory does not exist yet" in out) is (code == 0)
    assert ("cannot list sftp://" in error) is (code == 7)


def test_check_exits_like_a_run(
    source: Path,
    server: EmbeddedFtpServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    profile = write_profile(source, server.url)
    monkeypatch.setenv("TEST_PASSWORD", "wrong")
    assert run_command(["check", profile]) == 6
    monkeypatch.delenv("TEST_PASSWORD")
    assert run_command(["check", profile]) == 2
    monkeypatch.setenv("TEST_PASSWORD", CANARY)
    server.stop()
    assert run_command(["check", profile]) == 5
    source.rename(tmp_path / "moved")
    assert run_command(["check", profile]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.partition(": ")[0] for line in err.splitlines()] == ["actorsync"] * 4


@pytest.mark.parametrize("kind", ["ftp", "sftp", "file"])
def test_check_prints_the_directory_that_the_server_names(
    kind: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Links on the way are resolved as far as the server does so: pyftpdlib does not."""
    (tmp_path / "root" / "real").mkdir(parents=True)
    (tmp_path / "root" / "www").symlink_to("real")
    linked = tmp_path / "linked"
    linked.symlink_to(source)
    embedded = {"ftp": EmbeddedFtpServer, "sftp": EmbeddedSftpServer}
    with embedded.get(kind, EmbeddedFtpServer)(tmp_path / "root", password=CANARY) as server:
        profile = server.write_profile(tmp_path / "shop.toml", linked, "www")
        if kind == "file":
            profile.write_text(f'[source]\npath = "linked"\n[target]\nurl = "{tmp_path / "root/www"}"\n')
        assert run_command(["check", str(profile)]) == 0
    out = capsys.readouterr().out.splitlines()
    real = str(tmp_path / "root" / "real")
    expected = {"ftp": "/www", "sftp": "/www (the server calls it /real)", "file": real}
    assert [line.partition(" ")[2].strip() for line in out if line.startswith("root ")] == [expected[kind]]
    assert [line for line in out if line.startswith("source root ") and line.endswith(str(source))]


@attrs.frozen
class Session:
    async def list_directory(self, directory: str) -> Listing:
        return Listing(directory, ())

    def describe(self) -> Sequence[tuple[str, str]]:
        return (("server", "of a test"),)

    def warnings(self) -> Sequence[str]:
        return ("passwords travel in \x1b[31mclear",)


@attrs.frozen
class Server:
    """The part of an endpoint that a check needs."""

    error: ActorsyncError | None = None
    display: str = "sftp://h/"

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Session]:
        if self.error is not None:
            raise self.error
        yield Session()


async def test_check_prints_warnings_before_the_verdict() -> None:
    server = cast(Endpoint, Server())
    assert await report_on(server, server) == [
        "source  sftp://h/",
        "target  sftp://h/",
        "server  of a test",
        "warning: passwords travel in \\x1b[31mclear",
        "ready: the target directory can be listed (0 entries)",
    ]


@pytest.mark.parametrize(
    ("error", "raised", "code"),
    [
        (LoginRefused("the host key has changed"), LoginRefused, 6),
        (ConnectionLost("no route"), TargetUnreachable, 5),
        (FatalError("no such file system"), FatalError, 7),
    ],
)
async def test_m101_check_raises_the_error_of_the_session(
    error: ActorsyncError, raised: type[ActorsyncError], code: int
) -> None:
    with pytest.raises(raised) as caught:
        await report_on(cast(Endpoint, Server()), cast(Endpoint, Server(error)))
    assert caught.value.exit_code == code
    assert str(error) in str(caught.value)


def test_status_prints_a_table_of_runs(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = write_profile(source, str(tmp_path / "target"))
    assert run_command(["status", profile]) == 0
    assert capsys.readouterr().out == "no runs yet\n"
    run_command(["run", profile, "-q"])
    source.rename(tmp_path / "moved")
    source.mkdir()
    run_command(["run", profile, "-q"])
    capsys.readouterr()
    assert run_command(["status", profile]) == 0
    heading, newest, oldest = capsys.readouterr().out.splitlines()
    assert heading.split() == ["STARTED", "TOOK", "COPIED", "SIZE", "REMOVED", "FAILED", "RESULT"]
    assert "refused: the source is empty" in newest
    assert re.fullmatch(r".*  0\.\d s +2 +3 B +0 +0  in sync", oldest)


def test_demo_verifies_each_run(capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    assert run_command(["demo"]) == 0
    assert time.monotonic() - began < 10
    out = capsys.readouterr().out
    assert out.count(": identical to the source") == 3
    assert "NOT" not in out
    assert "the server received 0 commands that change files" in out
    assert not state_directory().exists()


def test_m109_wrong_password_is_tried_once(
    source: Path, server: EmbeddedFtpServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(50):
        (source / f"{n}.txt").write_text("x")
    monkeypatch.setenv("TEST_PASSWORD", f"not {CANARY}")
    profile = write_profile(source, server.url, "connections = 8", 'every = "1s"')
    assert run_command(["run", profile]) == 6
    assert [command.verb for command in server.commands].count("PASS") == 1
    assert "the server refuses the login" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("command", [["run"], ["run", "-v"], ["run", "--json"], ["plan"], ["check"], ["status"]])
def test_output_never_contains_the_password(
    command: Sequence[str], source: Path, server: EmbeddedFtpServer, capfd: pytest.CaptureFixture[str]
) -> None:
    profile = write_profile(source, server.url)
    assert run_command([*command, profile]) == 0
    server.stop()
    server.password = "another"
    server.start()
    assert run_command([*command, profile, "--set", "sync.connections=1"]) in {0, 6}
    out, err = capfd.readouterr()
    assert out + err
    assert CANARY not in out + err
    assert all(CANARY.encode() not in content for content in tree(state_directory()).values())
