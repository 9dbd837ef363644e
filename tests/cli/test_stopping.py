"""Stopping a command: signals, a line on standard input, and readers that go away."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from actorsync import __version__
from actorsync.cli.commands import run_command
from actorsync.testing import EmbeddedFtpServer
from tests.support.cli_profile import CANARY, start, tree, write_profile
from tests.support.tiers import spread

pytestmark = pytest.mark.usefixtures("password")


BIG = 24 << 20


SLOW = 1 << 20  # bytes per second: a big file exceeds the socket buffers, and is not there before a signal


@pytest.fixture
def slow_server(server_folder: Path) -> Iterator[EmbeddedFtpServer]:
    root = server_folder / "root"
    root.mkdir()
    with EmbeddedFtpServer(root, password=CANARY, throttle=SLOW) as server:
        yield server


def wait_for_bytes(server: EmbeddedFtpServer, count: int = 1 << 20) -> None:
    deadline = time.monotonic() + 10
    while server.bytes_received < count:
        assert time.monotonic() < deadline, "the upload does not begin"
        time.sleep(0.02)


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
        assert run_command(["plan", profile]) == 0  # a plan needs no lock
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


@pytest.mark.parametrize("number", spread([signal.SIGINT, signal.SIGTERM, signal.SIGHUP], short=2))
def test_m121_ctrl_c_drains(number: int, source: Path, slow_server: EmbeddedFtpServer) -> None:
    (source / "big").write_bytes(bytes(BIG // 3))
    profile = write_profile(source, slow_server.url, "connections = 1")
    with start("run", profile) as process:
        wait_for_bytes(slow_server)
        process.send_signal(number)
        slow_server.throttle = None
        out, err = process.communicate(timeout=20)
    lines = err.decode().splitlines()
    assert process.returncode == 3
    assert out == b""
    assert lines[1] == "actorsync: finishing transfers in progress, for up to 30s; press Ctrl-C again to stop now"
    # The next file may have been started when the signal arrives, but no file after it.
    copied, left = map(
        int, re.findall(r"(\d+) copied .*, 1 directory made, 0 removed, 0 failed, (\d+) left", lines[2])[0]
    )
    assert (copied in {1, 2}) and copied + left == 3
    sent = tree(slow_server.root)
    assert sent["big"] == bytes(BIG // 3)
    assert len(sent) == copied


@pytest.mark.parametrize(
    ("number", "code"), spread([(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)], short=2)
)
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


def test_third_ctrl_c_exits_at_once_even_if_the_event_loop_hangs(source: Path, tmp_path: Path) -> None:
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


def test_m122_running_thread_does_not_delay_exit() -> None:
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


def test_ctrl_c_during_password_lookup_exits_within_a_second(source: Path, server: EmbeddedFtpServer) -> None:
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


def test_ctrl_c_during_check_prints_no_traceback(source: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(10)
        process = start("check", write_profile(source, f"ftp://demo@127.0.0.1:{silent.getsockname()[1]}/"))
        with process, silent.accept()[0]:  # the server stays silent
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_line_on_standard_input_drains(source: Path, tmp_path: Path) -> None:
    profile = write_profile(source, str(tmp_path / "target"), 'every = "1h"')
    with start("run", profile, "--stop-on-enter", stdin=subprocess.PIPE) as process:
        assert process.stderr is not None
        process.stderr.readline()
        assert process.stderr.readline().startswith(b"in sync: ")
        out, err = process.communicate(b"\n", timeout=5)
    assert (process.returncode, out, err) == (0, b"", b"actorsync: stopped\n")


def test_end_of_standard_input_does_not_stop_the_run(source: Path, tmp_path: Path) -> None:
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


@pytest.mark.parametrize(("command", "code"), [(["run"], 0), (["run", "--json"], 0), (["plan"], 7)])
def test_m132_full_disk_under_the_output_does_not_stop_the_run(
    command: Sequence[str], code: int, source: Path, tmp_path: Path
) -> None:
    """A plan has no other result than its output, so a plan that nobody can read is a failure."""
    profile = write_profile(source, str(tmp_path / "target"))
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "actorsync", *command, profile], stdout=full, stderr=full, check=False, timeout=20
        )
    assert done.returncode == code
    if command[0] == "run":
        assert tree(tmp_path / "target") == tree(source)


def test_m122_cancel_exits_while_the_output_pipe_is_full(source: Path, tmp_path: Path) -> None:
    for n in range(500):
        (source / f"{'a file with quite a long name ' * 5}{n}.txt").write_text("x")
    profile = write_profile(source, str(tmp_path / "target"))
    with start("run", profile, "--json") as process:
        assert process.stdout is not None
        process.stdout.readline()
        deadline = time.monotonic() + 15  # the run itself is not delayed
        while len(list((tmp_path / "target").glob("*.txt"))) < 501 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert tree(tmp_path / "target") == tree(source)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=5) == 130
        assert time.monotonic() - began < 1.5
