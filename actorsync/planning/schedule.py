"""What may be done next: operations in, batches out, outcomes back. No I/O, so that it can be tested by the thousand.

The rules, in the order in which work is given out:

1. leftovers are swept first, then the target is surveyed, then directories made, then files moved, then removed, then
   copied;
2. a directory is made before anything in it, and removed after everything in it;
3. what stands in the way of an operation (a file where a directory must be) is removed before it;
4. nothing is removed before `release_removals`;
5. of the copies that wait, the biggest goes first, so that no big file is left to run alone at the end.

An operation that waited for one which failed fails with it. Waiting copies are bounded by ``window``: a planner that
sees `is_full` stops taking listings, and so the scan waits for the wire instead of filling memory.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from actorsync.model.entry import Kind, parent_of
from actorsync.model.operation import (
    Batch,
    Copy,
    Done,
    Failed,
    Fault,
    MakeDirectory,
    Move,
    Operation,
    Outcome,
    Remove,
    Returned,
    Skipped,
    Survey,
    Sweep,
)

__all__ = ["Schedule"]

#: How many verbs share one batch: enough to make the round trip cheap, few enough to spread over connections.
BATCH = 64

#: How often an operation may come back undone before it counts as failed.
RETURNS = 5

_NO_DIRECTORY = {
    Fault.OTHER: "its directory could not be made",
    Fault.PARKED: "its directory is parked, and was not made",
}
_IN_THE_WAY = "what is in its way could not be removed"


class Schedule:
    """All operations of one run that are not settled yet."""

    def __init__(self, *, window: int = 5_000) -> None:
        self._window = window
        self._copies: list[tuple[int, int, Copy]] = []
        self._added = 0
        self._urgent: deque[Sweep | Survey] = deque()
        self._directories: deque[MakeDirectory] = deque()
        self._moves: deque[Move] = deque()
        self._removals: deque[Remove] = deque()  # ready files
        self._folders: list[Remove] = []  # directories to remove, leaves first
        self._held_removals: list[Remove] = []
        self._unmade: set[str] = set()  # directories that are to be made and are not yet
        self._makeable: set[str] = set()  # those of them that are in `_directories`
        self._missing: dict[str, Fault] = {}  # directories that were not made: nothing can be in them
        self._unremoved: set[str] = set()
        self._children: dict[str, int] = {}  # unsettled removals directly in a directory that is to go
        self._kept: dict[str, Failed | Skipped] = {}  # what will not go of what is in it
        self._waiting: dict[str, list[Copy | MakeDirectory | Move]] = {}
        self._waiting_count = 0
        self._returns: dict[str, int] = {}
        self._outstanding = 0
        self._drained = False
        self.left = 0
        self.left_by_drain = False

    # What the planner asks.

    @property
    def is_full(self) -> bool:
        """True when no more copies should be added for now.

        Never when all that waits does so for removals: those wait for the end of the scan, and it would wait for them.
        """
        return len(self._copies) + self._waiting_count >= self._window and not self.is_idle

    @property
    def is_idle(self) -> bool:
        """True when nothing is given out, and nothing could be."""
        ready = self._urgent or self._directories or self._copies or self._moves or self._removals or self._folders
        return not self._outstanding and not ready  # after a drain, all that can be ready are sweeps

    @property
    def ready(self) -> int:
        """How many operations could be given out now, as far as each needs somebody of its own: verbs share batches."""
        shared = len(self._directories) + len(self._moves) + len(self._removals) + len(self._folders)
        return len(self._copies) + len(self._urgent) + -(-shared // BATCH)

    @property
    def removals(self) -> list[Remove]:
        """The removals that wait for `release_removals`."""
        return list(self._held_removals)

    # What the planner says.

    def add(self, operation: Operation) -> list[Outcome]:
        """Take one operation. Removals of a directory's contents are added before the directory itself.

        Gives the outcome of one that cannot be done any more, because its directory could not be made.
        """
        if self._drained and not isinstance(operation, Sweep):
            self._leave(1)
            return []
        match operation:
            case Move() if parent_of(operation.path) in self._missing:
                return [Skipped(operation, _NO_DIRECTORY[Fault.OTHER])]
            case MakeDirectory() | Copy() if operation.path and parent_of(operation.path) in self._missing:
                fault = self._missing[parent_of(operation.path)]
                return self.refuse(operation, _NO_DIRECTORY[fault], fault)
            case Sweep() | Survey():
                self._urgent.append(operation)
            case Remove():
                self._held_removals.append(operation)
                self._unremoved.add(operation.path)
            case MakeDirectory():
                self._unmade.add(operation.path)
                self._admit(operation)
            case Copy() | Move():
                self._admit(operation)
        return []

    def move(self, moves: Iterable[Move]) -> list[Outcome]:
        """Have files moved, in place of the removals of their old names; nothing else waits for those.

        Gives the outcomes of what cannot be done any more.
        """
        moves = list(moves)
        moved = {move.target.path for move in moves}
        self._held_removals = [removal for removal in self._held_removals if removal.path not in moved]
        self._unremoved -= moved
        return [outcome for move in moves for outcome in self.add(move)]

    def forget_removal(self, path: str) -> None:
        """Forget the removal of a path, which was not released."""
        self._held_removals = [removal for removal in self._held_removals if removal.path != path]
        self._unremoved.discard(path)

    def refuse(self, operation: Copy | MakeDirectory, reason: str, fault: Fault = Fault.PATH) -> list[Outcome]:
        """Fail an operation that was not added; what belongs into a directory that was refused fails when it comes."""
        if isinstance(operation, MakeDirectory):
            self._missing[operation.path] = _passed_on(fault)
        return [Failed(operation, reason, fault)]

    def leave_out(self, operation: Operation) -> Returned:
        """Leave undone, in this run, an operation that was not added: the caller's stages did not let it through."""
        self.left += 1
        return Returned(operation, "a stage has left it out")

    def release_removals(self) -> None:
        """Let removals begin: the scan is complete and the guards agree."""
        held, self._held_removals = self._held_removals, []
        for removal in held:
            parent = parent_of(removal.path)
            self._children[parent] = self._children.get(parent, 0) + 1
            if removal.target.kind is Kind.DIRECTORY:
                self._folders.append(removal)
            else:
                self._removals.append(removal)

    def drop_removals(self, reason: str, only: frozenset[str] | None = None) -> list[Outcome]:
        """Give up removals that were not released, all of them or those of ``only``; say what became of everything."""
        outcomes: list[Outcome] = []
        kept: list[Remove] = []
        for removal in self._held_removals:
            if only is not None and removal.path not in only:
                kept.append(removal)
                continue
            outcomes.append(Returned(removal, reason))
            self._unremoved.discard(removal.path)
            outcomes += self._fail_waiting(removal.path, f"what is in its way was not removed: {reason}")
        self._held_removals = kept
        self.left += sum(isinstance(outcome, Returned) for outcome in outcomes)
        return outcomes

    def park_removals(self, reasons: Mapping[str, str], fault: Fault = Fault.PARKED) -> list[Outcome]:
        """Fail removals that are not to be tried now, and what waits for them."""
        outcomes: list[Outcome] = []
        kept: list[Remove] = []
        for removal in self._held_removals:
            if removal.path not in reasons:
                kept.append(removal)
                continue
            outcomes.append(Failed(removal, reasons[removal.path], fault))
            self._unremoved.discard(removal.path)
            outcomes += self._fail_waiting(removal.path, "what is in its way is parked", fault)
        self._held_removals = kept
        return outcomes

    def drain(self) -> None:
        """Give nothing out any more but sweeps. What was not begun is ``left``, and ``left_by_drain`` turns true."""
        if self._drained:
            return
        self._drained = True
        surveys = [operation for operation in self._urgent if isinstance(operation, Survey)]
        self._leave(
            len(self._copies)
            + self._waiting_count
            + len(self._directories)
            + len(self._moves)
            + len(self._removals)
            + len(self._folders)
            + len(self._held_removals)
        )
        self._urgent = deque(operation for operation in self._urgent if isinstance(operation, Sweep))
        for collection in (
            self._copies,
            self._directories,
            self._moves,
            self._removals,
            self._folders,
            self._held_removals,
            surveys,
        ):
            collection.clear()
        self._waiting.clear()
        self._waiting_count = 0

    # What connections do.

    def next_batch(self) -> Batch | None:
        """Give out what should be done next, or None when nothing can be at the moment."""
        batch: Batch = ()
        if self._urgent:
            batch = self._next_urgent()
        if not batch and self._directories:
            batch = tuple(self._next_directories())
        if not batch and self._moves:
            batch = tuple(self._moves.popleft() for _ in range(min(BATCH, len(self._moves))))
        if not batch and self._removals:
            batch = tuple(self._removals.popleft() for _ in range(min(BATCH, len(self._removals))))
        if not batch and self._copies:
            batch = (heapq.heappop(self._copies)[2],)
        if not batch and self._folders:
            batch = tuple(self._next_folders())
        self._outstanding += len(batch)
        return batch or None

    def settle(self, outcome: Outcome) -> list[Outcome]:
        """Take the outcome of something given out; give the outcomes of what fails because of it."""
        self._outstanding -= 1
        operation = outcome.operation
        if isinstance(outcome, Returned):
            return self._take_back(outcome)
        succeeded = isinstance(outcome, Done)
        match operation:
            case MakeDirectory():
                if not succeeded:
                    return list(self._miss(operation.path))
                self._unmade.discard(operation.path)
            case Remove():
                consequences = list(self._settle_removal(outcome))
                if not succeeded:
                    return consequences + list(self._fail_waiting(operation.path, _IN_THE_WAY))
                self._wake(operation.path)
                return consequences
            case _:
                return []
        self._wake(operation.path)
        return []

    # How it is kept.

    def _admit(self, operation: Copy | MakeDirectory | Move) -> None:
        """Make an operation ready, or let it wait for the one thing that must be done before it."""
        path, parent = operation.path, parent_of(operation.path)
        if path in self._unremoved:
            self._wait(path, operation)
        elif (
            path
            and parent in self._unmade
            and (not isinstance(operation, MakeDirectory) or parent not in self._makeable)
        ):
            self._wait(parent, operation)
        elif isinstance(operation, Move):
            self._moves.append(operation)
        elif isinstance(operation, Copy):
            self._added += 1
            heapq.heappush(self._copies, (-operation.source.size, self._added, operation))
        else:
            # Behind its parent, if that is still to be made: one batch, done in order, may hold both.
            self._makeable.add(path)
            self._directories.append(operation)

    def _wait(self, blocker: str, operation: Copy | MakeDirectory | Move) -> None:
        self._waiting.setdefault(blocker, []).append(operation)
        self._waiting_count += 1

    def _wake(self, path: str) -> None:
        for operation in self._waiting.pop(path, ()):
            self._waiting_count -= 1
            self._admit(operation)

    def _fail_waiting(self, path: str, reason: str, fault: Fault = Fault.OTHER) -> Iterator[Outcome]:
        """Fail what waits for ``path``, and what waits for that: in a loop, for trees may be deeper than the stack."""
        failing = [(path, reason, fault)]
        while failing:
            path, reason, fault = failing.pop()
            for operation in self._waiting.pop(path, ()):
                self._waiting_count -= 1
                yield _undone(operation, reason, fault)
                if isinstance(operation, MakeDirectory):
                    self._lose(operation.path)
                    failing.append((operation.path, _NO_DIRECTORY[Fault.OTHER], Fault.OTHER))

    def _miss(self, directory: str) -> Iterator[Outcome]:
        """A directory was not made: fail what is to be in it, those behind it in the queue as well."""
        self._lose(directory)
        yield from self._fail_waiting(directory, _NO_DIRECTORY[Fault.OTHER])

    def _lose(self, directory: str) -> None:
        """Have all that is to be in a directory which was not made wait for it."""
        self._unmade.discard(directory)
        self._missing[directory] = Fault.OTHER
        for operation in [o for o in self._directories if o.path and parent_of(o.path) == directory]:
            self._directories.remove(operation)
            self._makeable.discard(operation.path)
            self._wait(directory, operation)

    def _settle_removal(self, outcome: Done | Failed | Skipped) -> Iterator[Outcome]:
        """Take the end of a removal, which may be the last that its directory has waited for."""
        self._end_removal(outcome)
        yield from self._keep(parent_of(outcome.operation.path))

    def _end_removal(self, outcome: Done | Failed | Skipped) -> None:
        path, directory = outcome.operation.path, parent_of(outcome.operation.path)
        self._unremoved.discard(path)
        self._children[directory] = self._children.get(directory, 0) - 1
        if isinstance(outcome, Failed) or (isinstance(outcome, Skipped) and directory not in self._kept):
            self._kept[directory] = outcome

    def _keep(self, directory: str) -> Iterator[Outcome]:
        """A directory whose content stays cannot go, nor can the one that holds it: rightly, if it may stay.

        That is said when all that was to go from it has ended. Before, something may fail that is to be tried again,
        and it would not be found any more by way of a directory that is forgotten.
        """
        while (stays := self._kept.get(directory)) is not None and not self._children.get(directory, 0):
            removal = next((removal for removal in self._folders if removal.path == directory), None)
            if removal is None:
                return
            self._folders.remove(removal)
            reason = f"it still holds {stays.operation.path!r}"
            kept = Skipped(removal, reason) if isinstance(stays, Skipped) else Failed(removal, reason, Fault.OTHER)
            yield kept
            self._end_removal(kept)
            yield from self._fail_waiting(directory, _IN_THE_WAY)
            directory = parent_of(directory)

    def _next_urgent(self) -> Batch:
        first = self._urgent.popleft()
        if isinstance(first, Survey):
            return (first,)
        batch: list[Operation] = [first]
        while self._urgent and isinstance(self._urgent[0], Sweep) and len(batch) < BATCH:
            batch.append(self._urgent.popleft())
        return tuple(batch)

    def _next_directories(self) -> Iterator[MakeDirectory]:
        chosen: set[str] = set()
        while self._directories and len(chosen) < BATCH:
            operation = self._directories.popleft()
            path, parent = operation.path, parent_of(operation.path)
            self._makeable.discard(path)
            if path and parent in self._unmade and parent not in chosen:
                self._wait(parent, operation)  # the parent is in another connection's hands
                continue
            chosen.add(path)
            yield operation

    def _next_folders(self) -> Iterator[Remove]:
        """Directories whose content is gone, or goes earlier in this batch."""
        here: dict[str, int] = {}
        rest: list[Remove] = []
        chosen: list[Remove] = []
        for index, removal in enumerate(self._folders):
            if len(chosen) == BATCH:
                rest += self._folders[index:]  # there may be many, and this is asked for each batch
                break
            is_next = self._children.get(removal.path, 0) == here.get(removal.path, 0)
            if is_next and removal.path not in self._kept:
                chosen.append(removal)
                parent = parent_of(removal.path)
                here[parent] = here.get(parent, 0) + 1
            else:
                rest.append(removal)
        self._folders = rest
        return iter(chosen)

    def _leave(self, count: int) -> None:
        self.left += count
        self.left_by_drain = self.left_by_drain or count > 0

    def _take_back(self, outcome: Returned) -> list[Outcome]:
        operation = outcome.operation
        if self._drained:
            self._leave(1)
            return []
        count = self._returns[operation.path] = self._returns.get(operation.path, 0) + outcome.tried
        if count > RETURNS:
            self._outstanding += 1
            failed = _undone(operation, outcome.reason, Fault.PATH)
            return [failed, *self.settle(failed)]
        match operation:
            case Sweep() | Survey():
                self._urgent.append(operation)
            case MakeDirectory():
                self._unmade.add(operation.path)
                self._admit(operation)
            case Remove():
                (self._folders if operation.target.kind is Kind.DIRECTORY else self._removals).append(operation)
                return list(self._keep(operation.path))
            case Copy() | Move():
                self._admit(operation)
        return []


def _undone(operation: Operation, reason: str, fault: Fault) -> Failed | Skipped:
    """Say that an operation has failed; of a move, that there will be none."""
    return Skipped(operation, reason) if isinstance(operation, Move) else Failed(operation, reason, fault)


def _passed_on(fault: Fault) -> Fault:
    """Give whose fault it is that something failed because its directory did."""
    return fault if fault is Fault.PARKED else Fault.OTHER
