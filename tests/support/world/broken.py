"""A mirror with one big file, whose runs are broken off at a place: by a lost connection, a cancel or a crash."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import attrs
import trio

from actorsync.actors.shutdown import Shutdown
from actorsync.actors.statistics import Statistics
from actorsync.errors import ConnectionLost
from actorsync.journal import Journal
from actorsync.model.entry import Entry
from actorsync.model.report import Report
from actorsync.planning.publishing.rules import PublishRule, ResumeRule
from actorsync.policy import Policy
from actorsync.testing.faulty_endpoint import Faulty, When
from tests.support.world.memory_mirror import ONE, Mirror

__all__ = ["AGAIN", "BIG", "BLOCK", "OVERLAP", "PIECES", "RESUMES", "SIZE", "Broken", "Cut", "lose", "resuming"]

SIZE: Final = 20_000
PIECES: Final = 40
OVERLAP: Final = 1_000
BLOCK: Final = 100
#: What may be sent twice: the end of what the target has, which is not trusted, and the piece that was in flight.
AGAIN: Final = OVERLAP + SIZE // PIECES + 1
BIG: Final = random.Random(14).randbytes(SIZE)


def resuming(rule: ResumeRule, policy: Policy = ONE) -> Policy:
    """Return ``policy`` with this rule for resuming."""
    return attrs.evolve(policy, publish=PublishRule(resume=rule))


RESUMES: Final = resuming(ResumeRule(smallest=5_000))


def lose() -> None:
    """Lose the connection."""
    raise ConnectionLost("cut")


@attrs.define
class Cut:
    """Call ``what`` before or after the reading of a piece, at the ``at``-th such moment. Counts these moments."""

    at: int
    what: Callable[[], None] = lose
    moments: int = 0
    verb: str = "read"

    def __call__(self, verb: str, when: When) -> float | None:
        if verb == self.verb:
            self.moments += 1
            if self.moments == self.at:
                self.what()
        return None


@attrs.define(eq=False)
class Broken(Mirror):
    """Two trees in memory; uploads to the target can be continued."""

    def __attrs_post_init__(self) -> None:
        for place in (self.source, self.target):
            place.overlap, place.block, place.pieces = OVERLAP, BLOCK, PIECES
        self.source.write("big", BIG)

    @property
    def entry(self) -> Entry:
        """The big file as the source has it now."""
        node = self.source.find("big")
        assert node is not None
        return self.source.entry("big", node)

    @property
    def left(self) -> int:
        """How many bytes are on the target, under whichever names."""
        return sum(map(len, self.target.files().values()))

    async def mirror(self, decide: Callable[[str, When], float | None] | None = None, **more: Any) -> Report:
        """Run once, with the faults of ``decide`` on the target."""
        target = self.target if decide is None else Faulty(self.target, decide)
        return await self.run(target, **{"policy": RESUMES, **more})

    async def break_off(self, way: str, at: int, **more: Any) -> None:
        """Begin to send, break it off at a place, and be another process afterwards."""
        match way:
            case "cancel":
                await self.mirror(Cut(at, self.shutdown.cancel), **more)
            case "now":
                await self.mirror(Cut(at, self.shutdown.now), **more)
            case "outside":
                with trio.CancelScope() as scope:
                    await self.mirror(Cut(at, scope.cancel), **more)
            case _:
                await self._crash(at, **more)
        self.renew()

    async def _crash(self, at: int, **more: Any) -> None:
        """Run until the process dies: nothing is cleaned up, and what is on the disks then is all that there is."""
        disks: list[tuple[dict[str, bytes], Journal]] = []
        self.shutdown = Shutdown(drain_seconds=0, cancel_seconds=0)
        with trio.CancelScope() as scope:

            def die() -> None:
                disks.append((self.target.files(), self.journal.copy_to_memory()))
                scope.cancel()

            await self.mirror(Cut(at, die), **more)
        ((files, self.journal),) = disks
        for path in self.target.files():
            self.target.delete(path)
        for path, data in files.items():
            self.target.write(path, data)

    def renew(self) -> None:
        """Be another process, with the same disks."""
        self.journal = self.journal.copy_to_memory()
        self.shutdown, self.statistics = Shutdown(), Statistics()
        self.target.log.clear()

    @property
    def verbs(self) -> list[str]:
        """What was done on the target, without looks."""
        return [verb for verb, _ in self.target.log if verb != "continue_from"]

    def check_arrived(self, data: bytes = BIG) -> None:
        """The target has the file, and nothing else; so has the journal."""
        assert self.target.files() == {"big": data}
        assert self.journal.kept() == []
        self.check_nothing_left()
