"""What a run that is stopped reports as left. Trees in memory, virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.abc import ReceiveChannel, SendChannel
from trio.testing import MockClock

from actorsync.actors.pipeline import Change, Pipeline, operation_stage
from actorsync.actors.shutdown import Shutdown
from actorsync.endpoints.contract import Endpoint, Session, Upload
from actorsync.endpoints.wrappers.base import EndpointWrapper, SessionWrapper
from actorsync.errors import ConnectionLost
from actorsync.journal import open_memory_journal
from actorsync.model.event import Event, Stopped
from actorsync.model.messages import summary
from actorsync.model.operation import Failed
from actorsync.model.report import Report
from tests.support.world.memory_mirror import Mirror

FILES, FOLDERS, REMOVED, MOVED = 49, 4, 3, 2
#: Every change of the second run in `a_mirror`: files and their directories, removals with their directory, moves.
CHANGES = FILES + FOLDERS + REMOVED + 1 + MOVED

#: The numbers of the events at which runs are stopped.
MOMENTS = (1, 4, 9, 13, 14, 16, 20, 30, 45, 75, 100)

VERBS = ("drain", "drain with a deadline", "cancel", "now", "outside", "connection lost for good")


@attrs.define(eq=False)
class Slow(EndpointWrapper[Endpoint]):
    """A target that takes three seconds for each upload, and fails once it ``is_down``."""

    is_down: bool = False

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Session]:
        self.check()
        async with self.real.open_session() as session:
            yield _SlowSession(session, self)

    def check(self) -> None:
        if self.is_down:
            raise ConnectionLost("the server is down")


class _SlowSession(SessionWrapper):
    def __init__(self, real: Session, slow: Slow) -> None:
        super().__init__(real)
        self._slow = slow

    async def stage(self, upload: Upload, **rest: Any) -> Any:
        self._slow.check()
        await trio.sleep(3)
        self._slow.check()
        return await self._real.stage(upload, **rest)


async def a_mirror() -> Mirror:
    """Return two trees that were mirrored once; since then, the source has changed."""
    mirror = Mirror()
    for number in range(REMOVED):
        mirror.source.write(f"old/{number}", b"%d" % number)
    for number in range(MOVED):
        mirror.source.write(f"here {number}", b"m" * (90 + number))
    assert (await mirror.run()).exit_code == 0
    mirror.source.delete("old")
    for number in range(MOVED):
        mirror.source.rename(f"here {number}", f"there {number}")
    for number in range(FILES):
        mirror.source.write(f"{number % FOLDERS}/{number}", b"%d" % number * 9)
    return mirror


def changes(report: Report) -> int:
    """Return how many changes have an outcome: done, failed, or found to be done already."""
    done = report.copied + report.directories_made + report.removed + report.moved + report.adopted
    return done + report.failed + report.skipped


async def run_until(mirror: Mirror, verb: str, moment: int, pipeline: Pipeline | None = None) -> Report:
    """Run with a slow target, and stop at the event number ``moment``."""
    mirror.shutdown = Shutdown(drain_seconds=1 if "deadline" in verb else 3_000)
    target = Slow(mirror.target)
    reports: list[Report] = []

    def observe(event: Event) -> None:
        if len(mirror.events) == moment:
            stop()
        if isinstance(event, Stopped):
            reports.append(event.report)

    def stop() -> None:
        match verb:
            case "cancel":
                mirror.shutdown.cancel()
            case "now":
                mirror.shutdown.now()
            case "outside":
                scope.cancel()
            case "connection lost for good":
                target.is_down = True
            case _:
                mirror.shutdown.drain()

    with trio.CancelScope() as scope:
        await mirror.run(target, observe=observe, pipeline=pipeline)
    mirror.shutdown = Shutdown()
    return reports[-1]


@pytest.mark.parametrize("verb", VERBS)
async def test_changes_and_what_is_left_add_up_at_any_moment_of_a_stop(verb: str, autojump_clock: MockClock) -> None:
    seen = set()
    for moment in MOMENTS:
        mirror = await a_mirror()
        report = await run_until(mirror, verb, moment)
        assert report.left >= 0
        if report.left_is_minimum:
            assert changes(report) + report.left <= CHANGES
        else:
            assert changes(report) + report.left == CHANGES
        then = await mirror.run()
        assert then.exit_code == 0
        assert changes(then) >= report.left if report.left_is_minimum else changes(then) == report.left
        assert mirror.target.files() == mirror.source.files()
        seen.add((report.left_is_minimum, report.left > 0))
    assert (False, True) in seen, "stopped after the end of the scan"
    assert (True, True) in seen or "lost" in verb, "stopped before: a lost target does not stop the scan"


@pytest.mark.parametrize("verb", ["drain", "cancel", "outside"])
async def test_what_a_stage_of_the_caller_has_in_hand_is_left(verb: str, autojump_clock: MockClock) -> None:
    async def slowly(receive: ReceiveChannel[Change], send: SendChannel[Change | Failed]) -> None:
        operations = [operation async for operation in receive]
        for operation in operations:
            await trio.sleep(1)
            await send.send(operation)

    for moment in MOMENTS[::2]:
        mirror = Mirror()
        mirror.fill(20)
        report = await run_until(mirror, verb, moment, Pipeline((operation_stage(slowly),)))
        assert changes(report) + report.left <= 22, "20 files, their directory and the root, which no report counts"
        assert report.left_is_minimum or changes(report) + report.left == 21
        then = await mirror.run()
        assert (then.exit_code, mirror.target.files()) == (0, mirror.source.files())


async def test_stop_before_the_source_is_listed_promises_nothing(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(5)
    mirror.shutdown.cancel()
    report = await mirror.run()
    assert (report.exit_code, report.left_is_minimum) == (130, True)
    assert "left (the scan did not finish)" in summary(report)


async def test_slow_journal_does_not_make_adopted_files_foreign(autojump_clock: MockClock) -> None:
    async def slowly(work: Callable[..., Any], *args: Any) -> Any:
        if work.__name__ == "apply":
            await trio.sleep(1)
        return work(*args)

    mirror = Mirror()
    mirror.fill(3)
    assert (await mirror.run()).exit_code == 0
    mirror.target.write("theirs", b"of another program")
    mirror.journal, mirror.blocking = open_memory_journal(), slowly
    report = await mirror.run()
    assert (report.adopted, report.left_out.foreign) == (3, 1)
