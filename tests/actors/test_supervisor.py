"""The actors and their supervisor, on virtual time: restarts, crashes, stops, and no deadlocks.

Numbers in names (``test_m127_...``) are rows of the fault matrix.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.backoff import Backoff, Failures, restarting
from actorsync.actors.messages import holding, inline
from actorsync.actors.scanner import Scanner
from actorsync.actors.shutdown import Shutdown
from actorsync.ending import the_cause
from actorsync.endpoints.contract import Capabilities, Session
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.errors import ActorsyncError, ConnectionLost, FatalError, LoginRefused, OperationRefused, StageFailed
from actorsync.journal import Journal, open_memory_journal
from actorsync.model.entry import (
    Kind,
    Root,
)
from actorsync.model.event import Adopted, Event, Intended, Reconnecting, Retired, Stopped, SurveyComplete
from actorsync.model.operation import Copy, Done, Failed, Returned, Survey
from actorsync.model.report import Report
from actorsync.planning.schedule import Schedule
from actorsync.planning.selection import Selection
from actorsync.policy import Clock, Policy, RunOptions
from actorsync.profile.values.units import MaxDelete
from actorsync.supervisor import supervise
from actorsync.testing.faulty_endpoint import Faulty, When

T = TypeVar("T")

PATIENT = Backoff(initial=1.0, cap=8.0, tries=6, jitter=lambda: 1.0)
USUAL = Policy(Selection(), MaxDelete.parse("100%"), delete=True, backoff=PATIENT)


@attrs.define(eq=False)
class Mirror:
    """Two trees in memory and a journal, and all that is announced."""

    source: MemoryEndpoint = attrs.Factory(lambda: MemoryEndpoint("source"))
    target: MemoryEndpoint = attrs.Factory(lambda: MemoryEndpoint("target", inodes=False))
    journal: Journal = attrs.Factory(open_memory_journal)
    policy: Policy = USUAL
    shutdown: Shutdown = attrs.Factory(Shutdown)
    events: list[Event] = attrs.Factory(list)
    recording_takes: float = 0.0
    wall_ns: Callable[[], int] = time.time_ns

    async def run(
        self,
        *,
        source: Any = None,
        target: Any = None,
        journal: Any = None,
        observe: Callable[[Event], None] | None = None,
    ) -> Report:
        self.events.clear()
        tokens = itertools.count()
        with trio.fail_after(3_600):
            report = await supervise(
                source or self.source,
                target or self.target,
                journal or self.journal,
                RunOptions(
                    self.policy,
                    shutdown=self.shutdown,
                    observers=[self.events.append, *([observe] if observe else [])],
                    clock=Clock(wall_ns=self.wall_ns, token=lambda: f"{next(tokens):016x}", blocking=self._slowly),
                ),
            )
        assert self.events[-1] == Stopped(report)
        return report

    async def _slowly(self, work: Callable[..., T], *args: Any) -> T:
        await trio.sleep(self.recording_takes)
        return await inline(work, *args)

    def seen(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]

    def fill(self, count: int, directory: str = "d") -> None:
        for number in range(count):
            self.source.write(f"{directory}/{number}", b"%d" % number * (number % 7))


def at(verb: str, error: BaseException, *, when: When = "before", times: int = 1 << 30) -> Callable[[str, When], None]:
    """Let ``verb`` raise, the first so many times."""
    left = itertools.count(times, -1)

    def decide(now: str, moment: When) -> None:
        if (now, moment) == (verb, when) and next(left) > 0:
            raise error

    return decide


@attrs.define(eq=False)
class Picky:
    """A target that opens a session only when ``admit`` says so; ``asked`` has the moments."""

    endpoint: MemoryEndpoint
    admit: Callable[[int], bool]
    error: ActorsyncError = attrs.Factory(lambda: ConnectionLost("refused"))
    asked: list[float] = attrs.Factory(list)
    open: int = 0

    display = "picky"
    capabilities = Capabilities()

    async def identify(self) -> Root:
        return await self.endpoint.identify()

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Session]:
        self.asked.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if not self.admit(len(self.asked)):
            raise self.error
        async with self.endpoint.open_session() as session:
            yield session


# Restarting.


async def test_m001_waits_double_up_to_a_cap_then_the_connection_retires(autojump_clock: MockClock) -> None:
    moments: list[float] = []
    delays: list[float] = []

    async def serve(failures: Failures) -> None:
        moments.append(trio.current_time())
        raise ConnectionLost(f"no {len(moments)}")

    async def pause(error: ConnectionLost, delay: float) -> bool:
        delays.append(delay)
        await trio.sleep(delay)
        return True

    with pytest.raises(ConnectionLost, match="no 6"):
        await restarting(serve, PATIENT, pause)
    assert delays == [1, 2, 4, 8, 8]
    assert [later - earlier for earlier, later in itertools.pairwise(moments)] == pytest.approx(delays)


async def test_m001_success_resets_the_backoff(autojump_clock: MockClock) -> None:
    delays: list[float] = []

    async def serve(failures: Failures) -> None:
        if len(delays) == 3:
            failures.reset()
        if len(delays) == 5:
            return
        raise ConnectionLost("again")

    async def pause(error: ConnectionLost, delay: float) -> bool:
        delays.append(delay)
        return True

    await restarting(serve, PATIENT, pause)
    assert delays == [1, 2, 4, 1, 2]


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
def test_m001_jitter_shortens_a_wait_by_up_to_half(jitter: float) -> None:
    backoff = attrs.evolve(PATIENT, jitter=lambda: jitter)
    assert [backoff.delay(n) for n in (1, 4, 40)] == pytest.approx([(0.5 + jitter / 2) * full for full in (1, 8, 8)])


async def test_only_a_lost_connection_is_retried(autojump_clock: MockClock) -> None:
    calls: list[None] = []

    async def serve(failures: Failures) -> None:
        calls.append(None)
        raise OperationRefused("no", retry=True)

    async def pause(error: ConnectionLost, delay: float) -> bool:
        raise AssertionError

    with pytest.raises(OperationRefused):
        await restarting(serve, PATIENT, pause)
    assert len(calls) == 1


async def test_m001_run_waits_for_a_server_that_comes_up_late(autojump_clock: MockClock) -> None:
    mirror = Mirror(policy=attrs.evolve(USUAL, connections=1))
    mirror.fill(3)
    target = Picky(mirror.target, lambda number: number > 3)
    report = await mirror.run(target=target)
    assert (report.exit_code, report.copied, report.reconnects) == (0, 3, 3)
    assert [later - earlier for earlier, later in itertools.pairwise(target.asked)] == pytest.approx([1, 2, 4])
    assert [event.delay for event in mirror.seen(Reconnecting)] == [1, 2, 4]


async def test_m001_unreachable_server_ends_the_run_with_5(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(3)
    target = Picky(mirror.target, lambda number: False)
    report = await mirror.run(target=target)
    assert report.exit_code == 5
    assert report.error == "picky could not be reached after 6 attempts: refused"
    assert len(mirror.seen(Retired)) == 1  # one verdict for all, not one connection after the other
    assert len(target.asked) == 6
    assert mirror.target.files() == {}


async def test_rejected_login_ends_the_run_with_6_without_a_retry(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(3)
    target = Picky(mirror.target, lambda number: False, LoginRefused("530 no"))
    report = await mirror.run(target=target)
    assert (report.exit_code, report.error) == (6, "530 no")
    assert len(target.asked) <= mirror.policy.connections
    assert mirror.seen(Reconnecting) == []


@pytest.mark.parametrize("connections", [2, 4])
async def test_m127_work_of_a_retired_connection_goes_to_the_others(
    connections: int, autojump_clock: MockClock
) -> None:
    mirror = Mirror(policy=attrs.evolve(USUAL, connections=connections))
    mirror.fill(40)
    stages = itertools.count(1)

    def decide(verb: str, when: When) -> float | None:
        if (verb, when) == ("stage", "before"):
            if next(stages) == 2 * connections:
                raise ConnectionLost("cut")
            return 10.0
        return None

    # Every connection is accepted once, and none again.
    target = Picky(Faulty(mirror.target, decide), lambda number: number <= connections)  # type: ignore[arg-type]
    report = await mirror.run(target=target)
    assert (report.exit_code, report.copied) == (0, 40)
    assert len(mirror.seen(Retired)) == 1
    assert mirror.seen(Returned)
    assert mirror.target.files() == mirror.source.files()
    assert mirror.journal.pending() == []


async def test_m127_operation_that_keeps_breaking_connections_fails_alone(
    autojump_clock: MockClock,
) -> None:
    mirror = Mirror(policy=attrs.evolve(USUAL, connections=1))
    mirror.fill(3)
    mirror.source.write("poison", b"x" * 100)

    class Poisoned(MemoryEndpoint):
        def put(self, path: str, node: Any) -> None:
            super().put(path, node)
            if "/" not in path and path.endswith(".tmp"):
                raise ConnectionLost("it died")

    mirror.target = Poisoned("target", inodes=False)
    report = await mirror.run()
    assert (report.exit_code, report.copied, report.failed) == (1, 3, 1)
    assert report.failures == (("poison", "the connection was lost 5 times during this operation: it died"),)
    assert mirror.journal.pending() == []
    assert not [path for path in mirror.target.files() if path.endswith(".tmp")]


async def test_m127_operation_taken_ahead_is_done_after_the_one_before_fails(
    autojump_clock: MockClock,
) -> None:
    mirror = Mirror(policy=attrs.evolve(USUAL, connections=1))
    mirror.fill(1)  # nothing else comes, until this is settled
    mirror.source.write("poison", b"x" * 100)
    target = Faulty(mirror.target, at("stage", ConnectionLost("it died"), when="after", times=5))
    report = await mirror.run(target=target)
    assert (report.exit_code, report.copied) == (1, 1)
    assert [path for path, _ in report.failures] == ["poison"]
    assert mirror.journal.pending() == []


# Holding.


async def test_actor_whose_reader_is_gone_ends_without_an_error(autojump_clock: MockClock) -> None:
    send, receive = trio.open_memory_channel[int](0)
    receive.close()
    with holding(send):
        await send.send(1)
    with holding(send):  # or out of a nursery, in a group
        raise ExceptionGroup("", [trio.BrokenResourceError()])


async def test_broken_resource_of_another_channel_is_raised(autojump_clock: MockClock) -> None:
    send, receive = trio.open_memory_channel[int](0)
    with pytest.RaisesGroup(trio.BrokenResourceError), holding(send, receive):
        raise trio.BrokenResourceError
    with pytest.raises(trio.ClosedResourceError):
        send.send_nowait(1)


async def test_other_errors_are_raised_and_the_channels_closed(autojump_clock: MockClock) -> None:
    send, receive = trio.open_memory_channel[int](0)
    with pytest.raises(ZeroDivisionError), holding(send):
        raise ZeroDivisionError
    with pytest.raises(trio.EndOfChannel):
        await receive.receive()


# Crashes.


class BrokenJournal:
    """A journal whose ``method`` has a bug, from the time that it is called for the ``after``th time."""

    def __init__(self, journal: Journal, method: str, after: int, error: BaseException) -> None:
        self._journal, self._method, self._error = journal, method, error
        self._calls = itertools.count(-after)

    def __getattr__(self, name: str) -> Any:
        if name == self._method and next(self._calls) >= 0:
            raise self._error
        return getattr(self._journal, name)


def crash(mirror: Mirror, where: str, after: int, error: BaseException) -> dict[str, Any]:
    """What to run so that one actor crashes."""
    calls = itertools.count(-after)

    def decide(verb: str, when: When) -> None:
        if (verb, when) == (where, "before") and next(calls) >= 0:
            raise error

    match where:
        case "scanner":
            where = "list_directory"
            return {"source": Faulty(mirror.source, decide)}
        case "planner":
            return {"journal": BrokenJournal(mirror.journal, "differences", after, error)}
        case "recorder":
            return {"journal": BrokenJournal(mirror.journal, "apply", after, error)}
        case "observer":

            def observe(event: Event) -> None:
                if not isinstance(event, Stopped) and next(calls) >= 1:
                    raise error

            return {"observe": observe}
        case _:
            return {"target": Faulty(mirror.target, decide)}


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("where", ["scanner", "planner", "recorder", "observer", "stage", "commit", "make_directories"])
async def test_m126_a_bug_in_any_actor_ends_the_run_with_its_own_traceback(
    where: str, after: int, connections: int, autojump_clock: MockClock
) -> None:
    mirror = Mirror(policy=attrs.evolve(USUAL, connections=connections))
    for number in range(6):
        mirror.fill(10, f"d{number}")
    bug = ZeroDivisionError("a bug")
    raised: BaseException | None = None
    try:
        await mirror.run(**crash(mirror, where, after, bug))
    except ZeroDivisionError as error:
        raised = error
    except StageFailed as error:
        assert where == "observer", "only what the caller adds is blamed by its name"
        raised = error.__cause__
    if raised is None and after and where in {"make_directories", "commit"}:
        return  # these verbs are few: batches hold all directories, and most renames ride with uploads
    assert raised is bug
    last = mirror.events[-1]
    assert isinstance(last, Stopped)
    assert last.report.exit_code == 7
    assert last.report.error is not None
    assert last.report.error.startswith("the observer " if where == "observer" else "ZeroDivisionError: a bug in actor")
    for record in mirror.journal.subtree(""):
        assert mirror.target.find(record.target.path) is not None, "the journal claims more than is there"


async def test_unwritable_journal_ends_the_run_with_7(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(5)
    broken = BrokenJournal(mirror.journal, "apply", 2, FatalError("the disk of the journal is full"))
    report = await mirror.run(journal=broken)
    assert (report.exit_code, report.error) == (7, "the disk of the journal is full")


def test_a_bug_comes_before_a_refusal_and_both_before_a_cancellation() -> None:
    bug, refusal = ZeroDivisionError(), FatalError("no")
    assert the_cause(ExceptionGroup("", [refusal, ExceptionGroup("", [bug])])) is bug
    assert the_cause(ExceptionGroup("", [refusal])) is refusal


# Nobody waits in a circle.


class Sized:
    """``trio.open_memory_channel`` with buffers of ``size``; those without bounds stay so."""

    def __init__(self, size: int) -> None:
        self._size, self._open = size, trio.open_memory_channel

    def __getitem__(self, item: Any) -> Callable[[float], Any]:
        return lambda size: self._open(size if size == math.inf else self._size)


@pytest.mark.parametrize("connections", [1, 2, 4])
@pytest.mark.parametrize("size", [0, 1])
async def test_m128_the_smallest_buffers_and_a_slow_recorder(
    size: int, connections: int, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(trio, "open_memory_channel", Sized(size))
    mirror = Mirror(policy=attrs.evolve(USUAL, connections=connections), recording_takes=0.25)
    for number in range(4):
        mirror.fill(20, f"d{number}/e")
    report = await mirror.run()
    assert (report.exit_code, report.copied) == (0, 80)
    assert mirror.target.files() == mirror.source.files()
    mirror.source.delete("d0")
    mirror.source.write("d1/e/1", b"new")
    report = await mirror.run()
    assert (report.exit_code, report.removed) == (0, 22)
    assert mirror.target.files() == mirror.source.files()


async def test_m128_more_files_than_the_window_wait_for_a_removal(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    defaults = Schedule.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "window", 3)
    mirror = Mirror()
    mirror.source.write("x", b"a file")
    assert (await mirror.run()).exit_code == 0
    mirror.source.delete("x")
    for number in range(4):
        mirror.fill(5, f"x/{number}")
    report = await mirror.run()
    assert (report.exit_code, report.copied) == (0, 20)
    assert mirror.target.files() == mirror.source.files()


async def test_directory_is_planned_once_the_same_target_directory_is_listed(autojump_clock: MockClock) -> None:
    mirror = Mirror(policy=attrs.evolve(USUAL, connections=2))
    for number in range(10):
        mirror.fill(3, f"d{number}/e")
    assert (await mirror.run()).exit_code == 0
    mirror.journal = open_memory_journal()  # it is lost
    mirror.source.write("d5/e/new", b"new")
    mirror.target.write("theirs/deep/file", b"foreign")

    def slowly(verb: str, when: When) -> float | None:
        return 1.0 if (verb, when) == ("list_directory", "before") else None

    report = await mirror.run(target=Faulty(mirror.target, slowly))
    assert (report.exit_code, report.adopted, report.copied) == (0, 30, 1)
    told: dict[str, int] = {}
    for at_, event in enumerate(mirror.events):
        if isinstance(event, Done) and isinstance(event.operation, Survey):
            told[event.operation.path] = at_
    equal = {event.source.path: at_ for at_, event in enumerate(mirror.events) if isinstance(event, Adopted)}
    assert all(told[path.rpartition("/")[0]] < at_ for path, at_ in equal.items())
    assert min(equal.values()) < max(told.values()), "the rest of the survey is not waited for"
    (complete,) = (at_ for at_, event in enumerate(mirror.events) if isinstance(event, SurveyComplete))
    assert complete > max(told.values())
    assert "theirs/deep" in told
    assert not mirror.journal.is_fresh


# Nothing is forgotten.


async def test_failures_that_follow_from_a_directory_are_announced_before_the_end(autojump_clock: MockClock) -> None:
    mirror = Mirror(policy=attrs.evolve(USUAL, connections=1), recording_takes=0.25)
    mirror.journal.apply([SurveyComplete()])
    mirror.fill(100)
    report = await mirror.run(target=Faulty(mirror.target, at("make_directories", OperationRefused("no"))))
    assert (report.exit_code, report.failed) == (1, 101)
    assert mirror.target.log == [], "nothing of it needed the wire"


async def test_entry_in_the_way_of_a_directory_is_tried_once(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.target.write("d", b"foreign")
    mirror.fill(9)
    report = await mirror.run()
    assert (report.exit_code, report.failed) == (1, 10)
    assert {verb for verb, path in mirror.target.log if path} == set()
    assert mirror.target.files() == {"d": b"foreign"}


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("after", [1, 2, 5, 20])
async def test_what_was_done_before_a_cancel_is_in_the_journal(
    connections: int, after: int, autojump_clock: MockClock
) -> None:
    mirror = Mirror(policy=attrs.evolve(USUAL, connections=connections), recording_takes=0.1)
    mirror.fill(40)
    done = itertools.count(1)

    def observe(event: Event) -> None:
        if isinstance(event, Done) and isinstance(event.operation, Copy) and next(done) == after:
            mirror.shutdown.cancel()

    report = await mirror.run(observe=observe)
    assert (report.exit_code, report.cancelled) == (130, True)
    assert mirror.target.files().keys() == {
        record.target.path for record in mirror.journal.subtree("") if record.target.kind is Kind.FILE
    }
    assert not [path for path in mirror.target.files() if path.endswith(".tmp")]


@pytest.mark.parametrize("precision", [1, 1_000_000_000])
async def test_m111_file_committed_just_before_a_crash_is_adopted(autojump_clock: MockClock, precision: int) -> None:
    """Died between the rename and writing it down; then the file goes from the source. It must go from the target."""
    mirror = Mirror(policy=attrs.evolve(USUAL, delete=True))
    mirror.target = MemoryEndpoint(precision_ns=precision)
    mirror.fill(3)
    await mirror.run()
    mirror.source.write("new", b"sent", mtime_ns=5_000_000_007)
    entry = mirror.source.entry("new", mirror.source.find("new"))  # type: ignore[arg-type]
    mirror.journal.apply([Intended((".t",), entry)])
    mirror.target.write("new", b"sent", mtime_ns=5_000_000_007)
    mirror.source.delete("new")
    report = await mirror.run()
    assert (report.exit_code, report.removed) == (0, 1)
    assert mirror.target.files() == mirror.source.files()
    assert mirror.journal.pending() == []


async def test_run_succeeds_after_the_entry_in_the_way_was_removed(autojump_clock: MockClock) -> None:
    """The way out that the failure names: remove it from the server. The next run must see that."""
    mirror = Mirror()
    mirror.fill(2)
    mirror.target.mkdir("d2")
    mirror.target.write("d2/foreign", b"theirs")
    mirror.source.write("d2", b"a file")
    assert (await mirror.run()).failures == (("d2", "blocked by an existing entry that actorsync did not create"),)
    assert (await mirror.run()).exit_code == 1
    mirror.target.delete("d2/foreign")
    mirror.target.delete("d2")
    assert (await mirror.run()).exit_code == 0
    assert mirror.target.files() == mirror.source.files()


async def test_without_delete_a_directory_in_the_way_is_checked_on_the_target(
    autojump_clock: MockClock,
) -> None:
    """It was ours, and what is in it must stay; once it has been removed, the file is sent."""
    mirror = Mirror(policy=attrs.evolve(USUAL, delete=False))
    mirror.source.mkdir("d")
    mirror.source.write("d/ours", b"x")
    assert (await mirror.run()).exit_code == 0
    mirror.source.delete("d/ours")
    mirror.source.delete("d")
    mirror.source.write("d", b"a file")
    ((path, reason),) = (await mirror.run()).failures
    assert (path, "directory" in reason) == ("d", True)
    assert mirror.target.files().keys() == {"d/ours"}
    mirror.target.delete("d/ours")
    mirror.target.delete("d")
    assert (await mirror.run()).exit_code == 0
    assert mirror.target.files() == mirror.source.files()
    assert mirror.journal.subtree("d") == [], "nothing is believed to be in a file"


async def test_rename_that_keeps_breaking_connections_fails_alone(
    autojump_clock: MockClock,
) -> None:
    mirror = Mirror(policy=attrs.evolve(USUAL, connections=1))
    mirror.fill(4)
    breaking = Faulty(mirror.target, at("commit", ConnectionLost("reset"), times=5))
    report = await mirror.run(target=breaking)
    assert (report.exit_code, report.failed, report.copied) == (1, 1, 3)
    assert "the connection was lost 5 times during this operation" in report.failures[0][1]
    assert mirror.journal.pending() == []


async def test_run_cancelled_from_outside_is_not_reported_as_a_bug(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(40)
    with trio.CancelScope() as scope:
        await mirror.run(observe=lambda event: scope.cancel() if isinstance(event, Intended) else None)
    assert scope.cancelled_caught
    last = mirror.events[-1]
    assert isinstance(last, Stopped)
    assert (last.report.exit_code, last.report.cancelled, last.report.error) == (130, True, None)


async def test_temporary_that_cannot_be_swept_fails_and_the_run_goes_on(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.journal.apply([Intended(("left",))])
    mirror.target.write("left", b"half")
    mirror.fill(2)
    report = await mirror.run(target=Faulty(mirror.target, at("sweep", OperationRefused("no"), times=1)))
    assert report.exit_code == 1
    assert [event.reason for event in mirror.seen(Failed)] == ["no"]
    assert mirror.seen(SurveyComplete), "that has nothing to do with the survey"
    assert mirror.target.files() == mirror.source.files(), "and at the end it was swept after all"


async def test_late_command_of_a_dead_run_is_swept_at_the_end(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(2)
    mirror.journal.apply([Intended(("on-its-way",))])

    def decide(verb: str, when: When) -> None:
        if (verb, when) == ("sweep", "after") and not mirror.target.files():
            mirror.target.write("on-its-way", b"")

    assert (await mirror.run(target=Faulty(mirror.target, decide))).exit_code == 0
    assert mirror.target.files() == mirror.source.files()
    assert mirror.journal.pending() == []


async def test_a_drain_does_not_end_before_the_last_temporary_is_swept(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(3)

    def decide(verb: str, when: When) -> None:
        if (verb, when) == ("stage", "after"):
            mirror.shutdown.drain()
            raise OperationRefused("no")

    report = await mirror.run(target=Faulty(mirror.target, decide))
    assert report.exit_code in {1, 3}
    assert mirror.journal.pending() == []
    assert mirror.target.files() == {}


async def test_directories_above_a_foreign_entry_are_kept_without_a_failure(
    autojump_clock: MockClock,
) -> None:
    mirror = Mirror()
    mirror.source.write("a/b/c", b"")
    mirror.source.write("z", b"")
    assert (await mirror.run()).exit_code == 0
    mirror.target.write("a/b/foreign", b"put there later")
    mirror.source.delete("a")
    report = await mirror.run()
    assert (report.exit_code, report.removed, report.skipped) == (0, 1, 2)
    assert mirror.target.files() == {"z": b"", "a/b/foreign": b"put there later"}
    report = await mirror.run()
    assert (report.exit_code, report.skipped) == (0, 0)


async def test_an_equal_file_that_changes_before_it_is_read_is_sent_and_not_adopted(autojump_clock: MockClock) -> None:
    now = 1_700_000_000 * 10**9
    mirror = Mirror(MemoryEndpoint("source", now=lambda: now), wall_ns=lambda: now)  # young, and so it is read
    mirror.source.write("x", b"old", now)
    mirror.target.write("x", b"old", now)

    def decide(verb: str, when: When) -> None:
        if (verb, when) == ("open", "before"):
            mirror.source.write("x", b"newer", now + 1)

    report = await mirror.run(source=Faulty(mirror.source, decide))
    assert (report.exit_code, report.adopted) == (0, 0)
    assert mirror.target.files() == {"x": b"newer"}


class _Interrupted(MemoryEndpoint):
    """A source at which Ctrl-C is pressed when the scanner is about to begin: it never gets as far as its channels."""

    async def identify(self) -> Root:
        raise KeyboardInterrupt


@pytest.mark.parametrize("place", ["source", "scanner"])
async def test_keyboard_interrupt_in_an_actor_ends_the_run(
    place: str, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the second case the actor does not close its end of the channel to the recorder."""

    async def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    if place == "scanner":
        monkeypatch.setattr(Scanner, "run", interrupted)
    events: list[Event] = []
    options = RunOptions(
        Policy(Selection(), MaxDelete(50, is_percent=True)), observers=[events.append], clock=Clock(blocking=inline)
    )
    with trio.fail_after(60), pytest.raises(KeyboardInterrupt):
        await supervise(_Interrupted("source"), MemoryEndpoint("target"), open_memory_journal(), options)
    assert isinstance(events[-1], Stopped)
    assert events[-1].report.exit_code == 130
