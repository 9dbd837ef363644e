"""Questions: what an audit asks the connections, and which answers are still to come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import attrs
import trio

from actorsync.actors.planner.progress import Progress
from actorsync.classes import define
from actorsync.model.entry import Entry, Kind
from actorsync.model.operation import Audit, Look, Outcome, Returned
from actorsync.planning.drift import AuditQueue
from actorsync.planning.schedule import Schedule

__all__ = ["Questions"]

#: So many suspects are asked for before all listings have come: they are kept in memory.
_MOST_SUSPECTS: Final = 5_000


@define(eq=False)
class Questions:
    """Audits and looks that were given to the schedule, until their outcomes are judged.

    Suspects are asked for together, when all directories are listed. So they take few logins. And only many files
    together show that the clock of a server has moved. ``hides`` tells whether the selection excludes a path: the
    mirror makes no promise about such an entry, and it is not asked for.
    """

    schedule: Schedule
    progress: Progress
    draining: trio.Event
    hides: Callable[[str, bool], bool]
    _pending: set[str] = attrs.Factory(set)  # operations without a verdict, as `_key` names them
    _to_list: int = 0  # how many of those are listings
    _suspects: dict[str, Entry] = attrs.Factory(dict)
    _judged: set[str] = attrs.Factory(set)  # what was asked for by name, and is judged
    _arrived: list[Outcome] = attrs.Factory(list)  # outcomes that are not judged yet
    _is_asking: bool = False  # outcomes are for `ask`

    @property
    def queue(self) -> AuditQueue:
        """What waits for a connection, and what operations of the run change meanwhile."""
        return self.schedule.audits

    @property
    def has_pending(self) -> bool:
        """Whether an outcome is not judged yet."""
        return bool(self._pending)

    def add(self, operation: Audit | Look) -> None:
        """Ask for a directory or an entry, unless the same question is pending."""
        if _key(operation) not in self._pending:
            self._pending.add(_key(operation))
            self._to_list += isinstance(operation, Audit)
            self.schedule.add(operation)
            self.progress.notify()

    def suspect(self, entries: Iterable[Entry]) -> None:
        """Ask for entries by name, over another connection, when the directories are listed."""
        self._suspects |= {it.path: it for it in entries if not self.is_hidden(it)}

    def is_hidden(self, entry: Entry) -> bool:
        """Tell whether the selection excludes an entry."""
        return self.hides(entry.path, entry.kind is Kind.DIRECTORY)

    def add_suspects(self) -> None:
        """Ask for the suspects if all directories are listed, or if there are many."""
        if self._to_list and len(self._suspects) < _MOST_SUSPECTS:
            return
        suspects, self._suspects = self._suspects, {}
        for path, entry in suspects.items():
            if path not in self._judged:
                self.add(Look(entry, is_fresh=True))

    async def ask(self, operations: Sequence[Audit | Look]) -> list[Outcome]:
        """Return the outcomes of operations, before `next` returns any; those that a stop prevents are missing."""
        self._is_asking = True
        for operation in operations:
            self.schedule.add(operation)
        self.progress.notify()
        while len(self._arrived) < len(operations) and not self.draining.is_set():
            await self.progress.wait()
        arrived, self._arrived, self._is_asking = self._arrived, [], False
        missing = [Returned(it, "the run is stopping") for it in operations[len(arrived) :]]
        return [*arrived, *missing]

    def take(self, outcome: Outcome) -> None:
        """Take the outcome of an audit or a look."""
        self._arrived.append(outcome)
        self.progress.notify()

    async def next(self) -> Outcome:
        """Wait for an outcome that is to be judged, and return it. `note_judged` is to follow."""
        while self._is_asking or not self._arrived:
            await self.progress.wait()
        return self._arrived.pop(0)

    def note_judged(self, outcome: Outcome) -> None:
        """Take note that everything which follows from an outcome was said."""
        operation = outcome.operation
        assert isinstance(operation, Audit | Look)
        self._pending.discard(_key(operation))
        if isinstance(operation, Look):
            self._judged.add(operation.path)
        else:
            self._to_list -= 1
        self.add_suspects()
        self.progress.notify()

    async def until_judged(self) -> None:
        """Return when no question is pending any more, or when the run is to drain."""
        while self._pending and not self.draining.is_set():
            await self.progress.wait()


def _key(operation: Audit | Look) -> str:
    return f"{type(operation).__name__} {operation.path}"
