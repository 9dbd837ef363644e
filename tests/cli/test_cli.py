"""The commands, from the outside: what they print, what they exit with, and how they are stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import attrs
import pytest

from actorsync import __version__
from actorsync.cli.check import report_on
from actorsync.cli.commands import run_command
from actorsync.endpoints.contract import Endpoint
from actorsync.errors import ActorsyncError, ConnectionLost, FatalError, LoginRefused, TargetUnreachable
from actorsync.journal import journal_path, state_directory
from actorsync.model.entry import Listing
from actorsync.profile import load_profile
from actorsync.runs import mirror
from actorsync.testing import EmbeddedFtpServer
from tests.support.root import ROOT

CANARY = "CANARY-4711"
BIG = 24 << 20
INTERNAL_ERROR = (
    "internal error in actorsync; please report it with this traceback; the next run continues from the journal"
)
SLOW = 5 << 20  # bytes a second: a big file takes some seconds, and leaves the sockets' buffers far behind


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_PASSWORD", CANARY)


@pytest.fixture
def server(server_folder: Path) -> Iterator[EmbeddedFtpServer]:
    root = server_folder / "root"
    root.mkdir()
    with EmbeddedFtpServer(root, password=CANARY) as server:
        yield server


@pytest.fixture
def slow_server(server_folder: Path) -> Iterator[EmbeddedFtpServer]:
    root = server_folder / "root"
    root.mkdir()
    with EmbeddedFtpServer(root, password=CANARY, throttle=SLOW) as server:
        yield server


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "a.txt").write_text("a")
    (source / "sub" / "b.txt").write_text("bb")
    return source


def write_profile(source: Path, url: str, *more: str) -> str:
    is_ftp = url.startswith("ftp:")
    path = source.parent / "profile.toml"
    path.write_text(
        "\n".join(
            [
                "[source]",
                f'path = "{source}"',
                "[target]",
                f'url = "{url}"',
                'password = { env = "TEST_PASSWORD" }' if is_ftp else "",
                "[sync]",
                "delete = true",
                *more,
            ]
        )
    )
    return str(path)


def tree(top: Path) -> dict[str, bytes]:
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def start(*arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "actorsync", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=stdin, stdout=pipe, stderr=pipe, cwd=ROOT)


def wait_for_bytes(server: EmbeddedFtpServer, count: int = 1 << 20) -> None:
    deadline = time.monotonic() + 10
    while server.bytes_received < count:
        assert time.monotonic() < deadline, "the upload does not begin"
        time.sleep(0.02)


def temporaries(server: EmbeddedFtpServer) -> list[str]:
    return [name for name in tree(server.root) if ".actorsync-" in name]


# Plain use.


def test_version_and_profile_errors_do_without_trio() -> None:
    code = (
        "import sys; from actorsync.cli.commands import run_command; "
        "assert run_command(['--version']) == 0; assert run_command(['run', 'nope.toml']) == 2; "
        "assert 'trio' not in sys.modules and 'rich' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"actorsync {__version__}\n"


def test_a_run_says_what_it_did(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "target"
    assert run_command(["run", write_profile(source, str(target))]) == 0
    assert tree(target) == tree(source)
    out, err = capsys.readouterr()
    first, last = err.splitlines()
    assert out == ""
    assert first == f"mirroring {source} to {target}, 4 connections"
    assert last.startswith("in sync: 2 copied (3 B), 1 directory made, 0 removed, 0 failed in ")


def test_verbose_has_a_line_for_each_change(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = write_profile(source, str(tmp_path / "target"))
    run_command(["run", profile, "-q"])
    assert capsys.readouterr() == ("", "")
    (source / "a.txt").write_text("changed")
    (source / "sub" / "b.txt").unlink()
    (source / "sub").rmdir()
    (source / "new.txt").write_text("new")
    assert run_command(["run", profile, "-v", "--set", "sync.max-delete=100%"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert sorted(lines[1:-1]) == ["* a.txt", "+ new.txt", "- sub/", "- sub/b.txt"]


def test_json_is_one_event_a_line(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
            "Error: --json, --verbose and --quiet cannot be combined; use one of them.",
        ),
        (["run"], "Error: Missing argument 'PROFILE'."),
        (["fly"], "Error: No such command 'fly'."),
    ],
)
def test_a_mistake_ends_with_2(
    arguments: Sequence[str], complaint: str, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = write_profile(source, "elsewhere")
    assert run_command([argument.format(profile=profile) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err.splitlines()[-1]


def test_a_source_that_is_gone_is_refused_and_nothing_removed(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = write_profile(source, str(tmp_path / "target"))
    run_command(["run", profile, "-q"])
    source.rename(tmp_path / "moved")
    assert run_command(["run", profile]) == 4
    assert len(tree(tmp_path / "target")) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("actorsync: the root ")
    source.mkdir()
    assert run_command(["run", profile, "-q"]) == 4
    assert len(tree(tmp_path / "target")) == 2
    assert "the source is empty" in capsys.readouterr().err


def test_a_bug_shows_its_traceback_and_one_line(
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


# The other commands.


def test_init_writes_a_private_profile_once(
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


def test_plan_shows_what_a_run_would_do(
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
    assert server.commands == commands  # what the journal knows, it does not even ask for

    journal.unlink()
    assert run_command(["plan", profile]) == 0
    assert not journal.exists()
    assert server.mutating == [command for command in commands if command in server.mutating]


def test_plan_says_what_a_guard_would_refuse(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    assert "server    actorsync embedded server ready." in lines
    assert lines[-1] == "ready: the target directory can be listed (0 entries)"
    assert run_command(["check", profile, "--set", f"target.url={server.url}not/there"]) == 0
    assert "does not exist yet" in capsys.readouterr().out
    assert server.mutating == []
    assert not state_directory().exists()


def test_check_ends_with_what_a_run_would_end_with(
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
    assert run_command(["check", profile]) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.partition(": ")[0] for line in err.splitlines()] == ["actorsync"] * 4


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
    """As much of an endpoint as a check needs."""

    error: ActorsyncError | None = None
    display: str = "sftp://h/"

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Session]:
        if self.error is not None:
            raise self.error
        yield Session()


async def test_check_tells_warnings_before_the_verdict() -> None:
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
async def test_m101_check_raises_what_the_session_was_refused_with(
    error: ActorsyncError, raised: type[ActorsyncError], code: int
) -> None:
    with pytest.raises(raised) as caught:
        await report_on(cast(Endpoint, Server()), cast(Endpoint, Server(error)))
    assert caught.value.exit_code == code
    assert str(error) in str(caught.value)


def test_status_is_a_table_of_runs(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = write_profile(source, str(tmp_path / "target"))
    assert run_command(["status", profile]) == 0
    assert capsys.readouterr().out == "no runs yet\n"
    run_command(["run", profile, "-q"])
    source.rename(tmp_path / "moved")
    run_command(["run", profile, "-q"])
    capsys.readouterr()
    assert run_command(["status", profile]) == 0
    heading, newest, oldest = capsys.readouterr().out.splitlines()
    assert heading.split() == ["STARTED", "TOOK", "COPIED", "SIZE", "REMOVED", "FAILED", "RESULT"]
    assert "refused: the root" in newest
    assert re.fullmatch(r".*  0\.\d s +2 +3 B +0 +0  in sync", oldest)


def test_demo_proves_itself(capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    assert run_command(["demo"]) == 0
    assert time.monotonic() - began < 10
    out = capsys.readouterr().out
    assert out.count(": identical to the source") == 3
    assert "NOT" not in out
    assert "the server received 0 commands that change files" in out
    assert not state_directory().exists()


def test_demo_without_its_server_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("pyftpdlib", "pyftpdlib.ioloop"):
        monkeypatch.setitem(sys.modules, module, None)
    assert run_command(["demo"]) == 7
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.endswith("pip install 'actorsync[testing]'")


# Logging in.


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
def test_no_output_has_the_password(
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


# Being stopped.


def test_m119_second_run_is_locked_out(
    source: Path, slow_server: EmbeddedFtpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    (source / "big").write_bytes(bytes(BIG))
    profile = write_profile(source, slow_server.url)
    with start("run", profile) as first:
        wait_for_bytes(slow_server)
        began = time.monotonic()
        assert run_command(["run", profile]) == 8
        assert time.monotonic() - began < 1
        assert f"(process {first.pid})" in capsys.readouterr().err
        assert run_command(["plan", profile]) == 0  # reading needs no lock
        assert run_command(["status", profile]) == 0
        assert capsys.readouterr().out.splitlines()[-1].endswith("running")
        first.kill()
    assert run_command(["status", profile]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("killed")
    slow_server.stop()
    slow_server.throttle = None
    slow_server.start()
    assert run_command(["run", profile, "-q"]) == 0
    assert tree(slow_server.root) == tree(source)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_m121_ctrl_c_drains(number: int, source: Path, slow_server: EmbeddedFtpServer) -> None:
    (source / "big").write_bytes(bytes(BIG // 3))
    profile = write_profile(source, slow_server.url, "connections = 1")
    with start("run", profile) as process:
        wait_for_bytes(slow_server)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    lines = err.decode().splitlines()
    assert process.returncode == 3
    assert out == b""
    assert lines[1] == "actorsync: finishing transfers in progress, for up to 30s; press Ctrl-C again to stop now"
    # The next file may have been begun by the time that the signal is heard; nothing behind that one is.
    copied, left = map(
        int, re.findall(r"(\d+) copied .*, 1 directory made, 0 removed, 0 failed, (\d+) left", lines[2])[0]
    )
    assert (copied in {1, 2}) and copied + left == 3
    sent = tree(slow_server.root)
    assert sent["big"] == bytes(BIG // 3)
    assert len(sent) == copied


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_m122_second_ctrl_c_cancels(number: int, code: int, source: Path, slow_server: EmbeddedFtpServer) -> None:
    (source / "big").write_bytes(bytes(BIG))
    profile = write_profile(source, slow_server.url)
    with start("run", profile) as process:
        wait_for_bytes(slow_server)
        process.send_signal(number)
        time.sleep(0.2)
        began = time.monotonic()
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert time.monotonic() - began < 1.3
    assert process.returncode == code
    assert b"Traceback" not in err
    assert err.decode().splitlines()[-1].startswith("cancelled: ")
    assert "big" not in tree(slow_server.root)
    slow_server.stop()
    slow_server.throttle = None
    slow_server.start()
    assert run_command(["run", profile, "-q"]) == 0
    assert tree(slow_server.root) == tree(source)


def test_third_ctrl_c_leaves_at_once_even_when_the_loop_is_stuck(source: Path, tmp_path: Path) -> None:
    profile = write_profile(source, str(tmp_path / "target"))
    stuck = (
        "import sys, time, actorsync.runs.mirror as mirror\n"
        "async def stuck(*_, **__):\n"
        "    print('stuck', flush=True)\n"
        "    while True: time.sleep(60)\n"
        "mirror.supervise = stuck\n"
        "from actorsync.__main__ import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", stuck, "run", profile]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"stuck\n"
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=5)
    assert process.returncode == 143
    assert b"Traceback" not in err


def test_m122_no_thread_holds_up_the_end() -> None:
    code = (
        "import sys, threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); "
        "sys.argv = ['actorsync', '--version']; from actorsync.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"actorsync {__version__}\n", "")


def test_m123_sigterm_between_passes_ends_with_0(source: Path, tmp_path: Path) -> None:
    profile = write_profile(source, str(tmp_path / "target"), 'every = "1h"')
    with start("run", profile) as process:
        assert process.stderr is not None
        assert b"every 1h, 4 connections" in process.stderr.readline()
        assert process.stderr.readline().startswith(b"in sync: 2 copied")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=5)
    assert time.monotonic() - began < 1
    assert (process.returncode, err) == (0, b"actorsync: stopped\n")


def test_ctrl_c_while_the_password_is_looked_up(source: Path, server: EmbeddedFtpServer) -> None:
    profile = Path(write_profile(source, server.url))
    waiting = source.parent / "waiting"
    profile.write_text(
        profile.read_text().replace(
            '{ env = "TEST_PASSWORD" }', f'{{ command = ["sh", "-c", "touch {waiting}; sleep 3"] }}'
        )
    )
    with start("run", str(profile)) as process:
        while not waiting.exists():
            time.sleep(0.02)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert time.monotonic() - began < 1
    assert process.returncode == 3
    assert b"Traceback" not in out + err
    assert server.commands == []


def test_ctrl_c_in_a_check_shows_no_traceback(source: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(10)
        process = start("check", write_profile(source, f"ftp://demo@127.0.0.1:{silent.getsockname()[1]}/"))
        with process, silent.accept()[0]:  # and not a word
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_a_line_on_standard_input_drains(source: Path, tmp_path: Path) -> None:
    profile = write_profile(source, str(tmp_path / "target"), 'every = "1h"')
    with start("run", profile, "--stop-on-enter", stdin=subprocess.PIPE) as process:
        assert process.stderr is not None
        process.stderr.readline()
        assert process.stderr.readline().startswith(b"in sync: ")
        out, err = process.communicate(b"\n", timeout=5)
    assert (process.returncode, out, err) == (0, b"", b"actorsync: stopped\n")


def test_the_end_of_standard_input_is_no_line(source: Path, tmp_path: Path) -> None:
    with start("run", write_profile(source, str(tmp_path / "target")), "--stop-on-enter") as process:
        process.communicate(timeout=5)
    assert process.returncode == 0


@pytest.mark.parametrize("show", ["--json", "-v"])
def test_m124_broken_pipe(show: str, source: Path, tmp_path: Path) -> None:
    for n in range(300):
        (source / f"{n}.txt").write_text("x")
    profile = write_profile(source, str(tmp_path / "target"))
    with start("run", profile, show) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        read, other = (process.stdout, process.stderr) if show == "--json" else (process.stderr, process.stdout)
        read.readline()
        read.close()
        assert process.wait(timeout=20) == 0
        assert other.read() == b""
    assert tree(tmp_path / "target") == tree(source)


@pytest.mark.parametrize("command", [["run"], ["run", "--json"], ["plan"]])
def test_m132_a_full_disk_under_the_output_stops_nothing(command: Sequence[str], source: Path, tmp_path: Path) -> None:
    profile = write_profile(source, str(tmp_path / "target"))
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "actorsync", *command, profile], stdout=full, stderr=full, check=False, timeout=20
        )
    assert done.returncode == 0
    if command[0] == "run":
        assert tree(tmp_path / "target") == tree(source)


def test_m122_a_pipe_that_nobody_empties_can_be_left(source: Path, tmp_path: Path) -> None:
    for n in range(500):
        (source / f"{'a file with quite a long name ' * 5}{n}.txt").write_text("x")
    profile = write_profile(source, str(tmp_path / "target"))
    with start("run", profile, "--json") as process:
        assert process.stdout is not None
        process.stdout.readline()
        deadline = time.monotonic() + 15  # the run itself is not held up
        while len(list((tmp_path / "target").glob("*.txt"))) < 501 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert tree(tmp_path / "target") == tree(source)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=5) == 130
        assert time.monotonic() - began < 1.5
