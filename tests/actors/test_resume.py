"""A big file goes on where it broke off: after a lost connection, a cancel, a crash, on any connection, in any run."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.shutdown import Shutdown
from actorsync.errors import ConnectionLost
from actorsync.journal import Journal
from actorsync.model.event import Warned
from actorsync.model.operation import Copy, Done
from actorsync.planning.publishing.rules import PublishRule, ResumeRule
from actorsync.policy import Policy
from actorsync.testing.faulty_endpoint import Faulty, When
from tests.support.world.memory_mirror import ONE, Mirror

SIZE, PIECES, OVERLAP, BLOCK = 20_000, 40, 1_000, 100
#: What may be sent twice: from the place where it goes on to the end of what the target had, and the piece in flight.
AGAIN = OVERLAP + SIZE // PIECES + 1
BIG = random.Random(14).randbytes(SIZE)


def resuming(rule: ResumeRule, policy: Policy = ONE) -> Policy:
    return attrs.evolve(policy, publish=PublishRule(resume=rule))


RESUMES = resuming(ResumeRule(smallest=5_000))
PLACES = range(1, 2 * PIECES, 4)


@attrs.define
class Cut:
    """Does ``what`` at the reading of piece ``at`` of what a session sends, once. Counts the pieces of all runs."""

    at: int
    what: Callable[[], None]
    pieces: int = 0

    def __call__(self, verb: str, when: When) -> float | None:
        if verb == "read":
            self.pieces += 1
            if self.pieces == self.at:
                self.what()
        return None


def lose() -> None:
    raise ConnectionLost("cut")


@attrs.define(eq=False)
class Broken(Mirror):
    """A mirror whose target can continue uploads, and that has one big file to send."""

    def __attrs_post_init__(self) -> None:
        for place in (self.source, self.target):
            place.overlap, place.block, place.pieces = OVERLAP, BLOCK, PIECES
        self.source.write("big", BIG)

    def put(self, data: bytes, mtime_ns: int | None = None) -> None:
        self.source.write("big", data, mtime_ns)

    async def cut(self, at: int, what: Callable[[], None] = lose, **more: Any) -> Cut:
        cut = Cut(at, what)
        await self.run(Faulty(self.target, cut), **{"policy": RESUMES, **more})
        return cut

    async def crash(self, at: int, **more: Any) -> None:
        """Run until the process dies at a place: nothing of it is cleaned up, and another one opens the journal."""
        scope = trio.CancelScope()
        disk: list[Any] = []

        def die() -> None:
            disk.extend((self.target.files(), self.journal.copy_to_memory()))
            scope.cancel()

        self.shutdown = Shutdown(drain_seconds=0, cancel_seconds=0)
        with scope:
            await self.cut(at, die, **more)
        files, journal = disk
        for path in self.target.files():
            self.target.delete(path)
        for path, data in files.items():
            self.target.write(path, data)
        self.renew(journal)

    def renew(self, journal: Journal | None = None) -> None:
        """Begin as another process."""
        self.journal = journal or self.journal.copy_to_memory()
        self.shutdown = Shutdown()
        self.target.log.clear()

    @property
    def report_of_copy(self) -> Done:
        (done,) = [it for it in self.seen(Done) if isinstance(it.operation, Copy) and it.operation.path == "big"]
        return done

    def check_arrived(self, data: bytes = BIG) -> None:
        assert self.target.files() == {"big": data}
        assert self.journal.kept() == []
        self.check_nothing_left()


@pytest.fixture
def broken(autojump_clock: MockClock) -> Broken:
    return Broken()


@pytest.mark.parametrize("at", PLACES)
async def test_connection_lost_at_any_place_is_resumed_in_the_same_run(broken: Broken, at: int) -> None:
    cut = await broken.cut(at)
    broken.check_arrived()
    read = cut.pieces * (SIZE / PIECES)
    has_begun = at > 2 * (OVERLAP + BLOCK) / SIZE * PIECES + 4
    assert (broken.report_of_copy.resumed > 0) is has_begun or not has_begun
    assert broken.report_of_copy.resumed >= (at / 2 - 2) * SIZE / PIECES - AGAIN
    assert read > 0


async def sent_again(broken: Broken, report: Any) -> int:
    """Return the bytes that the last run has sent, less what was missing on the target."""
    return SIZE - report.resumed_bytes


@pytest.mark.parametrize("at", PLACES)
@pytest.mark.parametrize("way", ["cancel", "crash", "outside"])
async def test_run_that_ends_at_any_place_is_resumed_by_the_next(broken: Broken, at: int, way: str) -> None:
    match way:
        case "cancel":
            await broken.cut(at, broken.shutdown.cancel)
        case "outside":
            with trio.CancelScope() as scope:
                await broken.cut(at, scope.cancel)
        case _:
            await broken.crash(at)
    (left,) = [len(data) for data in broken.target.files().values()] or [0]
    broken.renew()
    report = await broken.run(policy=RESUMES)
    assert report.exit_code == 0
    broken.check_arrived()
    assert SIZE - report.resumed_bytes <= SIZE - left + AGAIN
    assert (report.resumed_bytes > 0) is (left > OVERLAP + BLOCK)
    assert not broken.seen(Warned) or report.resumed_bytes == 0


async def test_file_that_changed_in_between_is_sent_from_its_beginning(broken: Broken) -> None:
    """Of the same size and time: only the time of its inode shows it."""
    mtime_ns = broken.source.entry("big", broken.source.find("big")).mtime_ns  # type: ignore[arg-type]
    await broken.crash(60)
    other = BIG[::-1]
    broken.put(other, mtime_ns)
    report = await broken.run(policy=RESUMES)
    assert (report.exit_code, report.resumed_bytes) == (0, 0)
    broken.check_arrived(other)
