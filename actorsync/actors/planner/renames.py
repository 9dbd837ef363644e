"""Renames: new files of the source that the target already has under another name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import attrs
import trio

from actorsync.actors.messages import Blocking
from actorsync.actors.planner.announcer import Announcer
from actorsync.actors.planner.memory import Digest, Memory
from actorsync.actors.planner.progress import Progress
from actorsync.classes import define
from actorsync.model.entry import Entry, Record, ScanComplete
from actorsync.model.operation import Copy, Move, Outcome, Remove, Skipped
from actorsync.planning import renames
from actorsync.planning.parking import Parking
from actorsync.planning.reconcile import Decision, is_racy
from actorsync.planning.removal_guard import Gone
from actorsync.planning.schedule import Schedule

__all__ = ["Renames"]

#: How many files are held back at most because they may be renamed ones. Files beyond that are sent.
_MOST_HELD = 200_000


@define(eq=False)
class Renames:
    """Hold new files back until the scan says what is gone, and move those that were renamed.

    ``gone`` returns what may be moved: removals that are planned and not started, by path. ``began_ns`` is the time of
    day before the scan, in nanoseconds. At the paths that ``stay_undone`` the target has an old version: a file that
    the source has renamed since is sent.
    """

    journal: Memory
    schedule: Schedule
    progress: Progress
    announcer: Announcer
    parking: Parking
    draining: trio.Event
    blocking: Blocking
    digest: Digest
    wall_clock_ns: Callable[[], int]
    began_ns: int
    gone: Callable[[], Mapping[str, Gone]]
    stay_undone: Collection[str]
    is_enabled: bool
    planned: int = 0
    """How many moves were planned in this run."""
    _held: list[Decision] = attrs.Factory(list)
    _replaced: set[str] = attrs.Factory(set)
    _moves: list[Move] = attrs.Factory(list)  # not scheduled yet: the schedule takes them together
    _undone: list[Move] = attrs.Factory(list)  # could not be moved

    async def candidates(self, decisions: Sequence[Decision]) -> Collection[str]:
        """Return the paths of new files that may be renamed ones."""
        if not self.is_enabled or len(self._held) >= _MOST_HELD:
            return ()
        new = renames.candidates(decisions)
        return await self.blocking(self.journal.familiar, new) if new else ()

    def hold(self, decision: Decision) -> None:
        """Keep a new file back until `resolve`."""
        self._held.append(decision)

    def note_replaced(self, path: str) -> None:
        """Take note that something of the target is replaced by an entry of another kind with the same name."""
        self._replaced.add(path)

    async def resolve(
        self, complete: ScanComplete | None, otherwise: Callable[[Decision], Awaitable[None]]
    ) -> list[Move]:
        """Return the moves among the files that were held back; await ``otherwise`` for each of the other files.

        In a run that drains, they are still held back: each may be a rename that only the next run can find.
        """
        held, self._held = self._held, []
        moves: list[Move] = []
        gone = await self._movable(complete) if held else {}
        records = {path: it.record for path, it in gone.items()}
        for decision, was in renames.pair(held, records, self._replaced):
            if self.draining.is_set():
                self._held.append(decision)
                continue
            move = None
            if was is not None and decision.now is not None:
                move = await self._move_of(decision.now, was, gone[was.target.path].top)
            if move is None:
                await otherwise(decision)
            else:
                moves.append(move)
        self.progress.notify()
        return moves

    async def _movable(self, complete: ScanComplete | None) -> Mapping[str, Gone]:
        """Return what is gone from the source and may be moved: nothing replaces it, and nothing waits for it."""
        then = await self.blocking(self.journal.root)
        if complete is None or then is None or then.device is None or then.device != complete.root.device:
            return {}  # inodes can be compared on one device only
        gone = self.gone()
        return {path: it for path, it in gone.items() if complete.scope.decides(path) and path not in self.stay_undone}

    async def prove(self, now: Entry, was: Record) -> Move | None:
        """Return the move of a file to another spelling of its name, if it is proved to be the old one."""
        if was.source is None or was.is_removal_intended or was.target.path in self.stay_undone:
            return None
        if not renames.is_same_file(now, was.source):
            return None
        return await self._move_of(now, was, was.target.path)

    async def _move_of(self, now: Entry, was: Record, top: str) -> Move | None:
        """Return the move of an old file to its new name; None where the two may differ, or the new name is parked."""
        if not renames.may_be(now, was, top) or self.parking.why_not(now.path, now) is not None:
            return None
        digest = None
        if renames.has_to_be_read(now, was, self.began_ns):
            read = await self.digest(now.path)
            if read is None or read[0] != now or was.content not in {None, read[1]}:
                return None
            digest = read[1] if is_racy(now, self.wall_clock_ns()) else None
        return Move(now, was.target, digest, was.content)

    def add(self, move: Move) -> None:
        """Plan a move; `start` schedules it."""
        self._moves.append(move)
        self.planned += 1

    @property
    def old_paths(self) -> set[str]:
        """The old names of the moves that are not scheduled yet."""
        return {move.target.path for move in self._moves}

    async def start(self) -> None:
        """Schedule the planned moves in place of the removals of the old names."""
        started, self._moves = self._moves, []
        await self.announcer.settle(self.schedule.move(started))
        self.progress.notify()

    def settle(self, outcome: Outcome) -> None:
        """Take note of a move that could not be done."""
        if isinstance(outcome, Skipped) and isinstance(outcome.operation, Move):
            self._undone.append(outcome.operation)

    @property
    def holds_some(self) -> bool:
        """Whether a file is held back, so that nothing is planned for it."""
        return bool(self._held)

    @property
    def to_replace(self) -> int:
        """How many operations are still to be planned in place of moves that could not be done."""
        return 2 * len(self._undone)

    @property
    def has_undone(self) -> bool:
        """Whether a move could not be done and is not replaced yet."""
        return bool(self._undone)

    async def replace_undone(self, take: Callable[[Copy], Awaitable[None]]) -> None:
        """Replace each move that could not be done by a removal and a copy. ``take`` schedules the copy."""
        while self._undone:
            move = self._undone.pop()
            self.schedule.add(Remove(move.target))
            await take(Copy(move.source))
