"""Being stopped at any moment, by any signal, whatever the server does: in time, and leaving everything true.

The bound is what ``docs/cli.md`` promises. ``ACTORSYNC_STOPS`` says at how many moments each kind of stop is tried.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self, TypeVar

import attrs
import pytest
import trio

from actorsync.actors.shutdown import GOODBYE
from actorsync.journal import journal_path, state_directory
from actorsync.profile import load_profile
from actorsync.runs.stop_signals import LEAVE_SECONDS
from actorsync.testing.network.faults import Cut, CutData, Fault, Throttle
from actorsync.testing.network.ftp_proxy import FaultProxy, fault_proxy
from actorsync.testing.network.proxy import CutWire, WireFault, WireProxy, open_wire_proxy
from tests.support import FtpTarget
from tests.support.mirror import contents, temporaries
from tests.support.observer import Observer
from tests.support.scenarios import write
from tests.support.servers import ftp, ssh_servers
from tests.support.servers.ssh_target import OPENSSH, SshTarget
from tests.support.system.program import Ended, Program, intents_of, program, run_again, write_profile
from tests.support.tiers import spread
from tests.support.world.changing_source import Source

T = TypeVar("T")

STOPS = int(os.environ.get("ACTORSYNC_STOPS", "5"))

DRAIN, CANCEL = 0.7, 0.4
#: Seconds after the last of so many signals.
BOUND = {1: DRAIN + CANCEL + GOODBYE, 2: LEAVE_SECONDS, 3: 0.0}
#: What a busy machine may add: to start the process's threads, and to bury it.
SLACK = 1.0

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SHUTDOWN = f'[sync]\nconnections = 3\n[shutdown]\ndrain = "{DRAIN}s"\ncancel = "{CANCEL}s"'


@contextmanager
def in_thread(manager: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[T]:
    """Hold an async context in a trio thread of its own."""
    entered: list[T] = []
    ready, scope = threading.Event(), trio.CancelScope()
    tokens: list[trio.lowlevel.TrioToken] = []

    async def main() -> None:
        tokens.append(trio.lowlevel.current_trio_token())
        with scope:
            async with manager() as held:
                entered.append(held)
                ready.set()
                await trio.sleep_forever()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    ready.wait()
    try:
        yield entered[0]
    finally:
        with suppress(trio.RunFinishedError):
            tokens[0].run_sync_soon(scope.cancel)
        thread.join()


@attrs.define(eq=False)
class Peer:
    """A server, and how it behaves: ``live``, ``slow`` or ``silent``, until it is asked to be ``live`` again."""

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
            network = {"rate": 300_000} if self.kind == "slow" else {}
            faults = self._wire_faults()
            self.proxy = self.stack.enter_context(in_thread(lambda: open_wire_proxy(address, faults, **network)))
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
        """Be quick and friendly from now on; what a process that is gone had still to say is handed over at once."""
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
class Field:
    """A server with a folder on it, a source, and somebody who looks."""

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
        """Have a run, stop it at a random moment by so many signals, look at what it left, and have the next run."""
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
            self.judge(ended, sent, presses)
            left, known = temporaries(self.root), intents_of(profile)
            assert set(left) <= set(known), "a temporary that nobody knows of"
            observer = Observer(self.root, self.source.is_version)
            observer.look()
            assert observer.wrong == []
            peer.recover()
            assert run_again(profile) == 0
        assert contents(self.root) == contents(self.source.root)
        assert temporaries(self.root) == []
        assert intents_of(profile) == []

    def judge(self, ended: Ended, sent: list[int], presses: int) -> None:
        """See that a process ended as it should."""
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
def test_m012_m121_m122_m123_stopped_at_any_moment(
    name: str, presses: int, kind: str, server_folder: Path, tmp_path: Path
) -> None:
    rng = random.Random(f"stop {name} {presses} {kind}")
    source = Source(tmp_path / "source", rng, files=30)
    serving = ssh_servers.serving(name, server_folder) if name == OPENSSH else ftp.serving(name, server_folder)
    with serving as server:
        field = Field(server, source, tmp_path, rng)
        (server.root / "site").mkdir()
        server.adopt()
        for _ in range(STOPS // 2 if name == OPENSSH else STOPS - STOPS // 2):
            field.stop(presses, kind)
            source.change(10)
    print(f"{name}, {presses}, {kind}: slowest {field.slowest:.2f} s of {BOUND[presses]}, {Counter(field.codes)}")
    if STOPS >= 20:
        assert field.in_time >= STOPS // 4, "most signals came when there was nothing to stop any more"


# ---- what no timeout of ours reaches


@contextmanager
def hanging(call: str, path: str, profile: Path) -> Iterator[tuple[Program, Callable[[], object]]]:
    """Run the program, and have a system call about ``path`` not return, until the second thing given is called."""
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
    """Wait until the process was left: a thread that strace holds back keeps it from going altogether."""
    pid = running.process.pid
    began = time.monotonic()
    wait_until(lambda: states(pid).get(str(pid), "Z") == "Z")
    return time.monotonic() - began


def is_held(pid: int) -> bool:
    """Tell whether strace keeps a thread from going on, and does so for longer than it takes to look at a call."""
    before = states(pid)
    time.sleep(0.2)
    after = states(pid)
    return any(state == "t" and before.get(thread) == "t" for thread, state in after.items())


def states(pid: int) -> dict[str, str]:
    """Give the state of each thread of a process, as the kernel calls them."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            found[task.name] = (task / "stat").read_text().rpartition(")")[2].split()[0]
    return found


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline, "it does not come to that"
        time.sleep(0.01)


def require_strace() -> None:
    if shutil.which("strace") is None:
        assert "CI" not in os.environ, "strace has to be there; .ci/install-servers fetches it"
        pytest.skip("strace is not there")


@pytest.fixture(scope="module")
def old_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A big file that has been there for a while: one that could still change unseen is read, and not sent as it is."""
    source = tmp_path_factory.mktemp("source")
    write(source / "sub" / "big", bytes(1 << 20))
    time.sleep(2.1)
    return source


HANGING_CALLS = [("sendfile", 1), ("sendfile", 3), ("fdatasync", 1), ("fdatasync", 2), ("getdents64", 2), ("openat", 2)]


@pytest.mark.parametrize(("call", "presses"), spread(HANGING_CALLS, short=2))
def test_m122_m130_a_disk_that_hangs_keeps_nobody(
    call: str, presses: int, old_source: Path, server_folder: Path, tmp_path: Path
) -> None:
    """Neither in the loop itself, which sends files from the source's disk, nor in a thread, nor in the journal."""
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
    with hanging(call, path, profile) as (running, let_go):
        for number in [signal.SIGTERM, signal.SIGHUP, signal.SIGINT][-presses:]:
            time.sleep(0.2)
            running.press(number)
        took = wait_left(running)
        let_go()
        ended = running.end()
    assert ended.code == 130, ended.err
    assert took <= BOUND[presses] + SLACK
    assert "Traceback" not in ended.err


# ---- what a profile may say


@pytest.mark.full
def test_m121_with_no_time_for_anything_one_signal_is_the_end(server_folder: Path, tmp_path: Path) -> None:
    """``drain = "0s"`` and ``cancel = "0s"``: aborted at once, nothing tidied up, and the next run does that."""
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


def test_m121_m124_a_reader_who_is_asleep_does_not_put_off_the_end(tmp_path: Path) -> None:
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
