"""A run is stopped at any moment, by any signal, with any server: it ends in time, and its journal is true.

``docs/cli.md`` promises the time limits. ``ACTORSYNC_STOPS`` sets the number of moments for each kind of stop.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

import attrs
import pytest

from actorsync.actors.shutdown import GOODBYE
from actorsync.journal import journal_path, state_directory
from actorsync.profile import load_profile
from actorsync.runs.stop_signals import LEAVE_SECONDS
from actorsync.testing.network.faults import Cut, CutData, Fault, Throttle
from actorsync.testing.network.ftp_proxy import FaultProxy, fault_proxy
from actorsync.testing.network.proxy import CutWire, WireFault, WireProxy, wire_proxy
from tests.support import FtpTarget
from tests.support.mirror import contents, temporaries
from tests.support.observer import Observer
from tests.support.scenarios import write
from tests.support.servers import ftp, ssh_servers
from tests.support.servers.ssh_target import OPENSSH, SshTarget
from tests.support.system.program import Ended, Program, intents_of, program, run_again, write_profile
from tests.support.tiers import spread
from tests.support.world.changing_source import Source

STOPS = int(os.environ.get("ACTORSYNC_STOPS", "5"))

DRAIN, CANCEL = 0.7, 0.4
#: The longest time from the last signal to the end, in seconds, by the number of signals.
BOUND = {1: DRAIN + CANCEL + GOODBYE, 2: LEAVE_SECONDS, 3: 0.0}
#: Seconds that a busy machine may add, to start the process's threads and to reap the process.
SLACK = 1.0

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SHUTDOWN = f'[sync]\nconnections = 3\n[shutdown]\ndrain = "{DRAIN}s"\ncancel = "{CANCEL}s"'


@attrs.define(eq=False)
class Peer:
    """A server behind a proxy. ``kind`` is ``live``, ``slow`` or ``silent``; after `recover` it is like ``live``."""

    server: FtpTarget | SshTarget
    kind: str
    rng: random.Random
    stack: ExitStack = attrs.field(factory=ExitStack)
    proxy: FaultProxy | WireProxy = attrs.field(init=False)

    def __enter__(self) -> Self:
        address = (self.server.host, self.server.port)
        if isinstance(self.server, FtpTarget):
            self.proxy = self.stack.enter_context(fault_proxy(address, *self._faults()))
        else:
            rate = 300_000 if self.kind == "slow" else 0
            self.proxy = self.stack.enter_context(wire_proxy(address, self._wire_faults(), rate=rate))
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def _faults(self) -> list[Fault]:
        match self.kind:
            case "slow":
                return [Throttle(200_000)]
            case "silent":
                place = self.rng.random()
                if place < 0.5:
                    line = self.rng.randrange(1, 40)
                    when = self.rng.choice(("before", "unanswered", "after"))
                    return [Cut(at_line=line, how="silence", when=when, times=99)]  # type: ignore[arg-type]
                return [CutData(after=self.rng.randrange(300_000), how="silence", at_transfer=1, times=99)]
            case _:
                return []

    def _wire_faults(self) -> list[WireFault | None]:
        if self.kind != "silent":
            return []
        limit = self.rng.choice((3_000, 30_000, 600_000))
        return [CutWire(after=self.rng.randrange(limit), how="silence") for _ in range(50)]

    def recover(self) -> None:
        """Remove all faults and limits. Data that a killed process had sent passes at once."""
        if isinstance(self.proxy, FaultProxy):
            self.proxy._arms.clear()
            self.proxy._rate = 0
        else:
            self.proxy._faults.clear()
            self.proxy._rate = 0
            deadline = time.monotonic() + 10
            while self.kind == "slow" and self.proxy._links and time.monotonic() < deadline:
                time.sleep(0.01)


@attrs.define(eq=False)
class Scenario:
    """A source, a folder on a server, and the results of the stops so far."""

    server: FtpTarget | SshTarget
    source: Source
    folder: Path
    rng: random.Random
    slowest: float = 0.0
    codes: list[int] = attrs.Factory(list)
    in_time: int = 0

    @property
    def root(self) -> Path:
        return self.server.root / "site"

    def stop(self, presses: int, kind: str) -> None:
        """Stop a run at a random moment by ``presses`` signals, check the target, and check the next run."""
        rng = self.rng
        with Peer(self.server, kind, rng) as peer:
            profile = write_profile(
                self.folder / "profile.toml", self.source.root, self.server, "site", SHUTDOWN, host=peer.proxy.host
            )
            with program("run", os.fspath(profile)) as running:
                assert running.wait_begun().startswith("mirroring ")
                time.sleep(rng.uniform(0, 0.5 if kind == "live" else 1.0))
                sent = []
                for _ in range(presses):
                    number = rng.choice(SIGNALS)
                    if not running.press(number):
                        break
                    sent.append(int(number))
                    if len(sent) < presses:
                        time.sleep(rng.uniform(0, 0.4))
                ended = running.end()
            self.check_end(ended, sent, presses)
            left, known = temporaries(self.root), intents_of(profile)
            assert set(left) <= set(known), "a temporary file without an intent"
            observer = Observer(self.root, self.source.is_version)
            observer.look()
            assert observer.wrong == []
            peer.recover()
            assert run_again(profile) == 0
        assert contents(self.root) == contents(self.source.root)
        assert temporaries(self.root) == []
        assert intents_of(profile) == []

    def check_end(self, ended: Ended, sent: list[int], presses: int) -> None:
        """Check the exit code, the output and the time of an ended process."""
        assert "Traceback" not in ended.err, ended.err
        assert "bug" not in ended.err, ended.err
        assert ended.out == ""
        forced = {128 + number for number in sent}
        drained = {0, 1, 3}
        allowed = drained if len(sent) <= 1 else drained | forced if presses == 2 else forced | drained
        assert ended.code in allowed, f"{sent} ended with {ended.code}:\n{ended.err}"
        if ended.code in forced or ended.code == 3:
            self.in_time += 1
        if sent:
            assert ended.seconds <= BOUND[len(sent)] + SLACK, f"{sent} took {ended.seconds} s:\n{ended.err}"
            if len(sent) == presses:
                self.slowest = max(self.slowest, ended.seconds)
        self.codes.append(ended.code)


@pytest.mark.parametrize("kind", ["live", "slow", "silent"])
@pytest.mark.parametrize("presses", [1, 2, 3])
@pytest.mark.parametrize("name", ["proftpd", OPENSSH])
def test_m012_m121_m122_m123_signal_at_any_moment_stops_in_time(
    name: str, presses: int, kind: str, server_folder: Path, tmp_path: Path
) -> None:
    rng = random.Random(f"stop {name} {presses} {kind}")
    source = Source(tmp_path / "source", rng, files=30)
    serving = ssh_servers.serving(name, server_folder) if name == OPENSSH else ftp.serving(name, server_folder)
    with serving as server:
        scenario = Scenario(server, source, tmp_path, rng)
        (server.root / "site").mkdir()
        server.adopt()
        for _ in range(STOPS // 2 if name == OPENSSH else STOPS - STOPS // 2):
            scenario.stop(presses, kind)
            source.change(10)
    print(f"{name}, {presses}, {kind}: slowest {scenario.slowest:.2f} s of {BOUND[presses]}, {Counter(scenario.codes)}")
    if STOPS >= 20:
        assert scenario.in_time >= STOPS // 4, "most runs had ended before the signal"


# ---- system calls that hang, which no timeout of the program can end


@contextmanager
def hanging(call: str, path: str, profile: Path) -> Iterator[tuple[Program, Callable[[], object]]]:
    """Run the program while a system call about ``path`` hangs. Yields it, and a function that ends the hang."""
    require_strace()
    with program("run", os.fspath(profile)) as running:
        pid = str(running.process.pid)
        delay = ["-e", f"trace={call}", "-e", f"inject={call}:delay_enter=100000000", "-P", path]
        with subprocess.Popen(
            ["strace", "-f", "-qqq", "-o", "/dev/null", *delay, "-p", pid], stderr=subprocess.DEVNULL
        ) as strace:
            try:
                wait_until(lambda: is_held(running.process.pid))
                yield running, strace.kill
            finally:
                strace.kill()


def wait_left(running: Program) -> float:
    """Return the seconds until the main thread has ended. The process stays while strace holds another thread."""
    pid = running.process.pid
    began = time.monotonic()
    wait_until(lambda: states(pid).get(str(pid), "Z") == "Z")
    return time.monotonic() - began


def is_held(pid: int) -> bool:
    """Return whether strace holds a thread, and for longer than it takes to inspect a call."""
    before = stops(pid)
    time.sleep(0.2)
    return not before.isdisjoint(stops(pid))


def stops(pid: int) -> set[tuple[str, ...]]:
    """Return the threads that strace holds, each with its context switches: another stop has other numbers."""
    found = set()
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                lines = (task / "status").read_text().splitlines()
                if any(line.startswith("State:\tt") for line in lines):
                    found.add((task.name, *(line for line in lines if "ctxt_switches" in line)))
    return found


def states(pid: int) -> dict[str, str]:
    """Return the state of each thread of a process: the letter in ``/proc/PID/task/TID/stat``.

    A process that is gone has no threads. It may go at any moment, also between two looks at it.
    """
    found = {}
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                found[task.name] = (task / "stat").read_text().rpartition(")")[2].split()[0]
    return found


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline, "the condition did not become true within 20 s"
        time.sleep(0.01)


def require_strace() -> None:
    if shutil.which("strace") is None:
        assert "CI" not in os.environ, "strace is not installed; run .ci/install-servers"
        pytest.skip("strace is not installed; run .ci/install-servers")


@pytest.fixture(scope="module")
def old_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source with a big file that is older than two seconds; a newer one would not be sent by sendfile."""
    source = tmp_path_factory.mktemp("source")
    write(source / "sub" / "big", bytes(1 << 20))
    time.sleep(2.1)
    return source


HANGING_CALLS = [("sendfile", 1), ("sendfile", 3), ("fdatasync", 1), ("fdatasync", 2), ("getdents64", 2), ("openat", 2)]


@pytest.mark.parametrize(("call", "presses"), spread(HANGING_CALLS, short=2))
def test_m122_m130_signal_during_a_hanging_disk_call_stops_in_time(
    call: str, presses: int, old_source: Path, server_folder: Path, tmp_path: Path
) -> None:
    """The call hangs in the event loop, which runs sendfile, in a worker thread, or in the journal."""
    with ftp.serving(ftp.PYFTPDLIB, server_folder) as server:
        profile = write_profile(tmp_path / "profile.toml", old_source, server, "site", SHUTDOWN)
        hang_and_leave(call, presses, old_source, profile)
        assert run_again(profile) == 0
        assert contents(server.root / "site") == contents(old_source)
    assert intents_of(profile) == []


def hang_and_leave(call: str, presses: int, source: Path, profile: Path) -> None:
    journal = journal_path(state_directory(), load_profile(profile).identity)
    path = {
        "sendfile": os.fspath(source / "sub" / "big"),
        "fdatasync": f"{journal}-wal",
        "getdents64": os.fspath(source),
        "openat": "big",
    }[call]
    with hanging(call, path, profile) as (running, release):
        for number in [signal.SIGTERM, signal.SIGHUP, signal.SIGINT][-presses:]:
            time.sleep(0.2)
            running.press(number)
        took = wait_left(running)
        release()
        ended = running.end()
    assert ended.code == 130, ended.err
    assert took <= BOUND[presses] + SLACK
    assert "Traceback" not in ended.err


# ---- limits of zero, and a reader that does not read


@pytest.mark.full
def test_m121_signal_with_limits_of_zero_aborts_at_once(server_folder: Path, tmp_path: Path) -> None:
    """With ``drain = "0s"`` and ``cancel = "0s"``, temporary files stay, and the next run removes them."""
    rng = random.Random("no time")
    source = Source(tmp_path / "source", rng, files=30)
    with ftp.serving("proftpd", server_folder) as server, Peer(server, "slow", rng) as peer:
        nothing = '[shutdown]\ndrain = "0s"\ncancel = "0s"'
        profile = write_profile(tmp_path / "profile.toml", source.root, server, "site", nothing, host=peer.proxy.host)
        with program("run", os.fspath(profile)) as running:
            running.wait_begun()
            wait_until(lambda: temporaries(server.root) != [])
            running.press()
            ended = running.end()
        assert ended.code == 3
        assert ended.seconds <= GOODBYE + SLACK
        assert "stopping now" in ended.err
        assert set(temporaries(server.root / "site")) <= set(intents_of(profile))
        peer.recover()
        assert run_again(profile) == 0
        assert contents(server.root / "site") == contents(source.root)


def test_m121_m124_signal_with_a_reader_that_does_not_read_stops_in_time(tmp_path: Path) -> None:
    for number in range(500):
        write(tmp_path / "source" / f"{'a file with quite a long name ' * 5}{number}", b"x")
    brief = '[shutdown]\ndrain = "0.3s"\ncancel = "0.2s"'
    profile = write_profile(tmp_path / "profile.toml", tmp_path / "source", tmp_path / "target", "", brief)
    with program("run", os.fspath(profile), "--json") as running:
        assert running.process.stdout is not None
        running.process.stdout.readline()
        wait_until(lambda: len(list((tmp_path / "target").glob("*"))) >= 500)
        running.press(signal.SIGTERM)
        began = time.monotonic()
        assert running.process.wait(timeout=20) == 143
        assert time.monotonic() - began <= 0.5 + GOODBYE + SLACK
    assert contents(tmp_path / "target") == contents(tmp_path / "source")
