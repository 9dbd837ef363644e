"""The order of work: operations in, batches out, outcomes back. No I/O, so that it can be tested by the thousand.

The rules, in the order in which work is given out:

1. leftovers are swept first, then the target is surveyed, then spellings changed, then directories made, then files
   moved, then modes set, then files removed, then copied; what is there is looked at when nothing else is ready, except
   for the root;
2. a directory is made before anything in it, and removed after everything in it;
3. what is in the way of an operation (a file where a directory must be) is removed before it;
4. nothing is removed before `Schedule.release_removals`;
5. files arrive rank after rank, and of the copies that are ready the biggest goes first, so that no big file is left to
   run alone at the end: see ``planning/order/arrivals.py``;
6. contents are compared when no copy is ready: what is known to be new is published first.

An operation that waits for one which fails, fails with it. Copies are bounded by ``window``: a planner that sees
`Schedule.is_full` takes no more listings, so the scan waits for the wire instead of filling memory.

It is one file because the order of work is one decision.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping

from actorsync.model.entry import ancestors, parent_of
from actorsync.model.operation import (
    Audit,
    Batch,
    Compare,
    Copy,
    Done,
    Failed,
    Fault,
    Look,
    MakeDirectory,
    Move,
    Operation,
    Outcome,
    Prepare,
    Recall,
    Remove,
    Respell,
    Returned,
    Sending,
    SetMode,
    Skipped,
    Survey,
    Sweep,
    Tidying,
)
from actorsync.planning.drift import AuditQueue
from actorsync.planning.order.arrivals import Arrivals
from actorsync.planning.removal_queue import RemovalQueue
from actorsync.planning.waiting import Directories, Left, Waiting

__all__ = ["COMPARISONS", "Schedule"]

#: How many verbs share one batch: enough to make the round trip cheap, few enough to spread over connections.
BATCH = 64

#: How many comparisons share one batch, where a session does one thing at a time.
COMPARISONS = 16

#: How often an operation may come back undone before it counts as failed.
RETURNS = 5

_NO_DIRECTORY = {
    Fault.OTHER: "its directory could not be made",
    Fault.PARKED: "its directory is parked, and was not made",
}
_IN_THE_WAY = "an entry in its way could not be removed"


class Schedule:
    """All operations of one run that are not settled yet.

    ``left`` knows what of them stays undone, and ``arrivals`` in which order files get their names.
    """

    def __init__(
        self, arrivals: Arrivals | None = None, *, window: int = 5_000, comparisons: int = COMPARISONS
    ) -> None:
        self._window = window
        self._comparisons_at_once = comparisons
        self._comparisons: deque[Compare] = deque()
        self._urgent: deque[Tidying | Survey | Audit] = deque()
        self._modes: deque[SetMode] = deque()
        self._respellings: deque[Respell] = deque()
        self._removals = RemovalQueue()
        self._waiting = Waiting()
        self._directories = Directories(self._waiting)
        self._returns: dict[str, int] = {}
        self._outstanding = 0
        self._drained = False
        self.left = Left()
        self.audits = AuditQueue()
        self.arrivals = Arrivals() if arrivals is None else arrivals

    # What the planner asks.

    @property
    def is_full(self) -> bool:
        """True when no more copies should be added for now.

        Never when everything waits for removals: those wait for the end of the scan, which would wait for them. So do
        the copies that are held back by their rank.
        """
        count = self.arrivals.copies_ready + len(self._comparisons) + self._waiting.count
        return count >= self._window and not self.is_idle

    @property
    def is_idle(self) -> bool:
        """True when nothing is given out, and nothing could be."""
        return not self._outstanding and not self.ready  # after a drain, all that can be ready are sweeps

    @property
    def ready(self) -> int:
        """How many connections could work now: a copy needs one of its own, small commands share one per batch."""
        shared = len(self._respellings) + len(self._directories) + self.arrivals.moves_ready
        shared += len(self._modes) + self._removals.ready
        comparisons = -(-len(self._comparisons) // self._comparisons_at_once)
        others = comparisons + self.audits.ready(BATCH)
        return self.arrivals.copies_ready + len(self._urgent) + others + -(-shared // BATCH)

    @property
    def removals(self) -> list[Remove]:
        """The removals that wait for `release_removals`."""
        return self._removals.held

    # What the planner says.

    def add(self, operation: Operation) -> list[Outcome]:
        """Add one operation. Removals of a directory's contents are added before the directory itself.

        Returns the outcome of one that cannot be done any more, because its directory could not be made.
        """
        self.left.planned += not isinstance(operation, Audit | Look | Survey | Tidying)
        if self._drained and not isinstance(operation, Tidying):
            self._leave(not isinstance(operation, Audit | Look))
            return []
        self.audits.note(operation)
        match operation:
            case Move() if self._directories.fault_of(operation) is not None:
                skipped = Skipped(operation, _NO_DIRECTORY[Fault.OTHER])
                self.arrivals.enter(operation)
                self.arrivals.settle(skipped)
                return [skipped]
            case MakeDirectory() | Copy() | Prepare() if (fault := self._directories.fault_of(operation)) is not None:
                self.left.planned -= 1  # `refuse` counts it
                self.arrivals.give_up(operation.path)
                return self.refuse(operation, _NO_DIRECTORY[fault], fault)
            case Recall() | Sweep() | Survey() | Audit(""):
                self._urgent.append(operation)
            case Audit() | Look():
                self.audits.add(operation)
            case Respell():
                self._respellings.append(operation)
            case Remove():
                self._removals.hold(operation)
            case SetMode():
                self._modes.append(operation)
            case Compare():
                self._comparisons.append(operation)
            case MakeDirectory():
                self._directories.enter(operation)
                self._admit(operation)
            case Copy() | Prepare() | Move():
                self.arrivals.enter(operation)
                self._admit(operation)
        return []

    def move(self, moves: Iterable[Move]) -> list[Outcome]:
        """Add moves in place of the removals of the old names; nothing else waits for those.

        Returns the outcomes of moves that cannot be done any more. After a drain, the removals count for the moves.
        """
        moves = [] if self._drained else list(moves)
        self.left.planned -= len(self._removals.take({move.target.path for move in moves}))
        return [outcome for move in moves for outcome in self.add(move)]

    def mark_twins(self, removals: Mapping[str, Remove]) -> None:
        """Replace removals that were not released, by path: those that know of a twin."""
        self._removals.replace(removals)

    def forget_removals(self, paths: Collection[str]) -> None:
        """Forget removals that were not released: they are for a later run."""
        self.left.planned -= len(self._removals.take(paths))

    def refuse(self, operation: Operation, reason: str, fault: Fault = Fault.PATH) -> list[Outcome]:
        """Fail an operation that was not added. What is added later in a directory that was refused fails with it."""
        self.left.planned += 1
        if isinstance(operation, MakeDirectory):
            self._directories.missing[operation.path] = _passed_on(fault)
        return [Failed(operation, reason, fault)]

    def leave_out(self, operation: Operation) -> Returned:
        """Leave an operation undone in this run that was not added: a stage of the caller did not send it on."""
        self.left.planned += 1
        self.left.is_some = True
        return Returned(operation, "a stage has left it out")

    @property
    def making_way(self) -> frozenset[str]:
        """The removals, not released, that something waits for: of what is in its way, and of what is below that."""
        tops = {path for path in self._waiting.blockers if path in self._removals.unsettled}
        if not tops:
            return frozenset()
        paths = (it.path for it in self._removals.held)
        return frozenset(path for path in paths if path in tops or not tops.isdisjoint(ancestors(path)))

    def excuse_waiting(self) -> None:
        """Let the files that wait for removals hold back no higher rank any more. Call it when nothing else waits."""
        for operation in self._waiting.operations():
            if not isinstance(operation, MakeDirectory):
                self.arrivals.excuse(operation)

    def release_removals(self, only: Collection[str] | None = None) -> None:
        """Let removals begin, all or those of ``only``: the scan is complete and the guards agree."""
        self._removals.release(only)

    def drop_removals(self, reason: str, only: frozenset[str] | None = None) -> list[Outcome]:
        """Drop removals that were not released, all or those of ``only``; return the outcomes that follow."""
        outcomes: list[Outcome] = []
        for removal in self._removals.take(only):
            outcomes.append(Returned(removal, reason))
            outcomes += self._fail_waiting(removal.path, f"an entry in its way was not removed: {reason}")
        self.left.is_some = self.left.is_some or bool(outcomes)
        return outcomes

    def park_removals(self, reasons: Mapping[str, str], fault: Fault = Fault.PARKED) -> list[Outcome]:
        """Fail removals that are not to be tried now, and what waits for them."""
        outcomes: list[Outcome] = []
        for removal in self._removals.take(reasons):
            outcomes.append(Failed(removal, reasons[removal.path], fault))
            outcomes += self._fail_waiting(removal.path, "an entry in its way is parked", fault)
        return outcomes

    def drain(self) -> None:
        """Hand out nothing but sweeps from now on, and drop what was not begun."""
        if self._drained:
            return
        self._drained = True
        removals = self._removals.clear()
        others = len(self._respellings) + len(self._modes) + len(self._comparisons)
        self._leave(len(self.arrivals) + self._waiting.count + len(self._directories) + others + removals)
        self._urgent = deque(operation for operation in self._urgent if isinstance(operation, Tidying))
        small = (self._directories, self._modes, self._respellings, self._comparisons, self.audits)
        for collection in (self.arrivals, *small, self._waiting):
            collection.clear()

    # What connections do.

    def next_batch(self) -> Batch | None:
        """Return what should be done next, or None when nothing can be at the moment."""
        batch: Batch = ()
        if self._urgent:
            batch = self._next_urgent()
        if not batch and self._respellings:
            batch = tuple(self._respellings.popleft() for _ in range(min(BATCH, len(self._respellings))))
        if not batch:
            batch = self._directories.next(BATCH)
        if not batch:
            batch = self.arrivals.next_moves(BATCH)
        if not batch:
            batch = tuple(self._modes.popleft() for _ in range(min(BATCH, len(self._modes))))
        if not batch:
            batch = self._removals.next_files(BATCH)
        if not batch and (copy := self.arrivals.next_copy()) is not None:
            batch = (copy,)
        if not batch:
            count = min(self._comparisons_at_once, len(self._comparisons))
            batch = tuple(self._comparisons.popleft() for _ in range(count))
        if not batch:
            batch = self._removals.next_directories(BATCH)
        if not batch:
            batch = self.audits.next_batch(BATCH)
        self._outstanding += len(batch)
        return batch or None

    def settle(self, outcome: Outcome) -> list[Outcome]:
        """Take the outcome of an operation that was given out; return the outcomes of what fails because of it."""
        self._outstanding -= 1
        operation = outcome.operation
        if isinstance(operation, Sending | Move):
            self.arrivals.note_back(operation)
        if isinstance(outcome, Returned):
            return self._take_back(outcome)
        consequences: list[Outcome] = []
        match operation:
            case MakeDirectory():
                if not isinstance(outcome, Done):
                    self._directories.lose(operation.path)
                    return list(self._fail_waiting(operation.path, _NO_DIRECTORY[Fault.OTHER]))
                self._directories.note_made(operation.path)
            case Remove():
                consequences += self._keep(self._removals.settle(outcome))
                if not isinstance(outcome, Done):
                    return [*consequences, *self._fail_waiting(operation.path, _IN_THE_WAY)]
            case Copy() | Prepare() | Move():
                self.arrivals.settle(outcome)
                return []
            case _:
                return []
        for waiting in self._waiting.take(operation.path):
            self._admit(waiting)
        return consequences

    # How it is kept.

    def _admit(self, operation: Sending | MakeDirectory | Move) -> None:
        """Make an operation ready, or let it wait for the one thing that must be done before it."""
        if operation.path in self._removals.unsettled:
            self._waiting.add(operation.path, operation)
        elif self._directories.blocks(operation):
            self._waiting.add(parent_of(operation.path), operation)
        elif isinstance(operation, MakeDirectory):
            self._directories.push(operation)
        else:
            self.arrivals.push(operation)

    def _fail_waiting(self, path: str, reason: str, fault: Fault = Fault.OTHER) -> Iterator[Outcome]:
        """Fail what waits for ``path``, and what waits for that: in a loop, as a tree may be deeper than the stack."""
        failing = [(path, reason, fault)]
        while failing:
            path, reason, fault = failing.pop()
            for operation in self._waiting.take(path):
                outcome = _undone(operation, reason, fault)
                if not isinstance(operation, MakeDirectory):
                    self.arrivals.settle(outcome)
                yield outcome
                if isinstance(operation, MakeDirectory):
                    self._directories.lose(operation.path)
                    failing.append((operation.path, _NO_DIRECTORY[Fault.OTHER], Fault.OTHER))

    def _keep(self, kept: Iterable[Failed | Skipped]) -> Iterator[Outcome]:
        """Fail what waits for directories that are kept."""
        for outcome in kept:
            yield outcome
            yield from self._fail_waiting(outcome.operation.path, _IN_THE_WAY)

    def _next_urgent(self) -> Batch:
        first = self._urgent.popleft()
        if not isinstance(first, Tidying):
            return (first,)
        batch: list[Operation] = [first]
        while self._urgent and type(self._urgent[0]) is type(first) and len(batch) < BATCH:
            batch.append(self._urgent.popleft())
        return tuple(batch)

    def _leave(self, count: int) -> None:
        self.left.is_by_drain = self.left.is_by_drain or count > 0
        self.left.is_some = self.left.is_some or count > 0

    def _take_back(self, outcome: Returned) -> list[Outcome]:
        operation = outcome.operation
        if self._drained:
            self._leave(not isinstance(operation, Audit | Look))
            return []
        count = self._returns[operation.path] = self._returns.get(operation.path, 0) + outcome.tried
        if count > RETURNS:
            self._outstanding += 1
            failed = _undone(operation, outcome.reason, Fault.PATH)
            return [failed, *self.settle(failed)]
        match operation:
            case Recall() | Sweep() | Survey() | Audit(""):
                self._urgent.append(operation)
            case Audit() | Look():
                self.audits.add(operation)
            case Respell():
                self._respellings.append(operation)
            case MakeDirectory():
                self._directories.enter(operation)
                self._admit(operation)
            case Remove():
                return list(self._keep(self._removals.put_back(operation)))
            case SetMode():
                self._modes.append(operation)
            case Compare():
                self._comparisons.append(operation)
            case Copy() | Prepare() | Move():
                self._admit(operation)
        return []


def _undone(operation: Operation, reason: str, fault: Fault) -> Failed | Skipped:
    """Return the failure of an operation. What other operations replace, and a look, is skipped instead."""
    is_skipped = isinstance(operation, Compare | Move | Respell | Audit | Look)
    return Skipped(operation, reason) if is_skipped else Failed(operation, reason, fault)


def _passed_on(fault: Fault) -> Fault:
    """Return the fault of what fails because its directory has failed."""
    return fault if fault is Fault.PARKED else Fault.OTHER
