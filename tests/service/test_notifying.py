"""Messages to the service manager: what it is told when, and what satisfies its watchdog."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.pipeline import Pipeline
from actorsync.actors.shutdown import Shutdown
from actorsync.model.event import Started
from actorsync.observe.board import MirrorState
from actorsync.profile import Profile
from actorsync.runs.mirror import Mirror
from actorsync.runs.options import options_for
from actorsync.runs.runner import run_once
from actorsync.service.jobs import Job, job_for
from actorsync.service.manager.pulse import LONGEST_SILENCE, Pulse
from actorsync.service.manager.systemd import Systemd, from_environment
from actorsync.service.notifying import Notifier, notifying
from tests.runs.profiles import make_profile
from tests.support.system.program import program


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    (tmp_path / "source").mkdir()
    return make_profile(tmp_path / "source", str(tmp_path / "target"))


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        yield manager


@attrs.define(eq=False)
class Told(Systemd):
    """A service manager that keeps what it is told."""

    address: str = ""
    messages: list[tuple[str, ...]] = attrs.Factory(list)
    more: trio.Event = attrs.Factory(trio.Event)

    def tell(self, *lines: str) -> None:
        self.messages.append(lines)
        self.more.set()
        self.more = trio.Event()

    def count(self, line: str) -> int:
        return sum(line in message for message in self.messages)


def job_of(profile: Profile) -> Job:
    return job_for(profile, options_for(profile, shutdown=Shutdown(20.0, 5.0)))


def begin(state: MirrorState) -> None:
    state.observe(Started("source", "target", 1))


def test_environment_names_the_manager_and_is_cleared() -> None:
    environ = {"NOTIFY_SOCKET": "@name", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    systemd = from_environment(environ)
    assert systemd is not None
    assert (systemd.address, systemd.watchdog) == ("\0name", 30.0)
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"NOTIFY_SOCKET": "vsock:2:1234"}, None),
        ({"NOTIFY_SOCKET": "@"}, None),
        ({"NOTIFY_SOCKET": "/run/n"}, ("/run/n", None)),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "0"}, ("/run/n", None)),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "x"}, ("/run/n", None)),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "9000000", "WATCHDOG_PID": "1"}, ("/run/n", None)),
    ],
)
def test_environment_without_a_manager_or_a_watchdog(
    environ: dict[str, str], expected: tuple[str, float | None] | None
) -> None:
    systemd = from_environment(environ)
    assert (None if systemd is None else (systemd.address, systemd.watchdog)) == expected


def test_abstract_and_missing_sockets(tmp_path: Path) -> None:
    name = f"\0actorsync-test-{os.getpid()}-{tmp_path.name}"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as abstract:
        abstract.bind(name)
        Systemd(name).ready()
        assert abstract.recv(100) == b"READY=1"
    Systemd(str(tmp_path / "nothing")).ready()  # and no error
    Systemd(name).status("nobody is there any more")


async def test_start_is_over_when_the_journal_is_locked(profile: Profile) -> None:
    job, told = job_of(profile), Told()

    async def work(noted: Job) -> int:
        assert told.count("READY=1") == 0
        async with Mirror(profile, noted.options).ready():
            assert told.count("READY=1") == 1
        return (await run_once(profile, noted.options)).exit_code

    async with notifying([job], told, work) as noted:
        assert await noted(job) == 0
    assert told.count("READY=1") == 1


async def test_stop_asks_for_time_until_its_own_limit(profile: Profile, autojump_clock: MockClock) -> None:
    job, told = job_of(profile), Told()
    async with notifying([job], told, idle):
        await trio.sleep(5)
        assert told.count("STOPPING=1") == 0
        assert told.count("STATUS=waiting") == 1, "a status is sent when it has changed"
        job.shutdown.drain()
        await trio.sleep(3600)
    stops = told.count("STOPPING=1")
    assert told.count("EXTEND_TIMEOUT_USEC=10000000") == stops
    assert stops == pytest.approx(job.shutdown.longest, abs=2)


async def idle(_: Job) -> int:
    return 0


@asynccontextmanager
async def guarded(job: Job, told: Told, others: Sequence[Job] = ()) -> AsyncIterator[Job]:
    """Guard jobs in the block, and yield the first one as its run gets it."""
    notifier = Notifier([job, *others], told)
    seen: list[Job] = []

    async def keep(noted: Job) -> int:
        seen.append(noted)
        return 0

    await notifier.noted(keep)(job)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(notifier.guard)
        yield seen[0]
        nursery.cancel_scope.cancel()


async def test_watchdog_is_satisfied_between_passes_and_during_a_pause(
    profile: Profile, autojump_clock: MockClock
) -> None:
    job, told = job_of(profile), Told(watchdog=60.0)
    async with guarded(job, told):
        await trio.sleep(86_400)
        begin(job.state)
        job.control.pause()
        await trio.sleep(86_400)
    assert told.count("WATCHDOG=1") == pytest.approx(2 * 86_400 / 15, abs=2)


async def test_pass_that_waits_for_a_paused_one_is_excused(profile: Profile, autojump_clock: MockClock) -> None:
    canary, waiting, told = job_of(profile), job_of(profile), Told(watchdog=60.0)
    async with guarded(canary, told, [waiting]):
        begin(canary.state)
        begin(waiting.state)
        canary.control.pause()
        await trio.sleep(86_400)
    assert told.count("WATCHDOG=1") == pytest.approx(86_400 / 15, abs=2)


async def test_pass_that_does_nothing_visible_trips_the_watchdog(profile: Profile, autojump_clock: MockClock) -> None:
    job, told = job_of(profile), Told(watchdog=60.0)
    async with guarded(job, told):
        begin(job.state)
        for _ in range(100):  # slow, but it gets on
            await trio.sleep(LONGEST_SILENCE - 60)
            job.state.statistics.files_found += 1
        before = told.count("WATCHDOG=1")
        assert before == pytest.approx(100 * (LONGEST_SILENCE - 60) / 15, abs=2)
        await trio.sleep(LONGEST_SILENCE + 60)
        hung = told.count("WATCHDOG=1")
        await trio.sleep(86_400)
        assert told.count("WATCHDOG=1") == hung


async def test_pass_that_waits_for_a_program_is_excused(profile: Profile, autojump_clock: MockClock) -> None:
    async def program_of_an_hour() -> None:
        await trio.sleep(3600)

    options = options_for(profile, pipeline=Pipeline(before_commit=program_of_an_hour))
    job, told = job_for(profile, options), Told(watchdog=60.0)
    async with guarded(job, told) as noted:
        begin(job.state)
        hook = noted.options.pipeline.before_commit
        assert hook is not None
        await hook()
        assert told.count("WATCHDOG=1") == pytest.approx(3600 / 15, abs=2)


async def test_journal_that_hangs_trips_the_watchdog(profile: Profile) -> None:
    """In real time: worker threads take part. Messages are awaited, and nothing is timed."""
    job, told = job_of(profile), Told(watchdog=0.1)

    async def messages(more: int) -> None:
        until = told.count("WATCHDOG=1") + more
        while told.count("WATCHDOG=1") < until:
            await told.more.wait()

    async with guarded(job, told) as noted, Mirror(profile, noted.options).ready() as (journal, _):
        await messages(3)
        with journal._writing:  # as during a commit to a disk that hangs
            await trio.sleep(0.2)
            hung = told.count("WATCHDOG=1")
            await trio.sleep(0.5)
            assert told.count("WATCHDOG=1") == hung
        await messages(3)


async def test_worker_threads_that_hang_trip_the_watchdog(profile: Profile) -> None:
    job, told, release = job_of(profile), Told(watchdog=0.1), threading.Event()
    limiter = trio.to_thread.current_default_thread_limiter()

    async def hang() -> None:
        await trio.to_thread.run_sync(lambda: release.wait(30))

    async with guarded(job, told) as noted, Mirror(profile, noted.options).ready(), trio.open_nursery() as nursery:
        for _ in range(int(limiter.total_tokens)):
            nursery.start_soon(hang)
        await trio.sleep(0.2)
        hung = told.count("WATCHDOG=1")
        await trio.sleep(0.5)
        silent = told.count("WATCHDOG=1") == hung
        release.set()
    assert silent


def test_pulse_begins_anew_after_an_excuse() -> None:
    pulse = Pulse(10.0)
    assert pulse.beats(0.0, "a", is_excused=False)
    assert pulse.beats(10.0, "a", is_excused=False)
    assert not pulse.beats(10.1, "a", is_excused=False)
    assert pulse.beats(50.0, "a", is_excused=True)
    assert pulse.beats(60.0, "a", is_excused=False)
    assert not pulse.beats(60.1, "a", is_excused=False)
    assert pulse.beats(60.2, "b", is_excused=False)


def test_process_that_is_suspended_says_nothing(tmp_path: Path, manager: socket.socket) -> None:
    """This test is the service manager: it would kill the process after a period without a message."""
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "profile.toml").write_text(
        f'[source]\npath = "{source}"\n[target]\nurl = "{tmp_path / "target"}"\n[sync]\nevery = "1h"\n'
    )
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    with program("run", str(tmp_path / "profile.toml"), environment=environment) as running:
        seen: set[str] = set()
        while not {"READY=1", "WATCHDOG=1"} <= seen:
            seen.update(manager.recv(4096).decode().split("\n"))
        running.press(signal.SIGSTOP)
        os.waitid(os.P_PID, running.process.pid, os.WSTOPPED | os.WNOWAIT)
        manager.setblocking(False)
        with suppress(BlockingIOError):
            while manager.recv(4096):  # what was sent before
                pass
        manager.settimeout(1.2)
        with pytest.raises(TimeoutError):
            manager.recv(4096)
        running.press(signal.SIGCONT)
        manager.settimeout(30)
        while "WATCHDOG=1" not in manager.recv(4096).decode().split("\n"):
            pass
        running.press(signal.SIGTERM)
        while not manager.recv(4096).startswith(b"STOPPING=1"):
            pass
        assert running.end().code in {0, 3}, "the pass may have been going on"


def test_program_of_a_profile_does_not_speak_for_the_run(tmp_path: Path, manager: socket.socket) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("a")
    (tmp_path / "profile.toml").write_text(
        f'[source]\npath = "{source}"\n[target]\nurl = "{tmp_path / "target"}"\n'
        f'[hooks]\nafter = ["sh", "-c", "env > {tmp_path}/environment"]\n'
    )
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000000"}
    with program("run", str(tmp_path / "profile.toml"), environment=environment) as running:
        assert running.end().code == 0
    shown = (tmp_path / "environment").read_text()
    assert "NOTIFY_SOCKET" not in shown
    assert "WATCHDOG" not in shown
