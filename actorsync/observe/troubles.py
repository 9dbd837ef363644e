"""What is wrong with a mirror: parked paths, drift, conflicts, and the failures of the last pass. Bounded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Generic, TypeVar

import attrs

from actorsync.classes import define
from actorsync.model.entry import Entry
from actorsync.model.event import (
    Conflicted,
    ConflictEnded,
    Drifted,
    DriftEnded,
    Event,
    Parked,
    Recovered,
    Scanned,
)
from actorsync.model.operation import Failed, Fault
from actorsync.model.pair import Conflict
from actorsync.planning.drift import Drift
from actorsync.planning.parking import is_parked

__all__ = ["MOST", "Bounded", "Troubles"]

T = TypeVar("T")

#: How many paths of a kind are kept. The others are only counted.
MOST: Final = 100
#: How many failures of a pass are kept. The others are only counted.
_MOST_FAILURES: Final = 20


@define(eq=False)
class Bounded(Generic[T]):
    """Values by path, of which the first hundred are kept. ``total`` is the number of all paths, kept or not."""

    kept: dict[str, T] = attrs.Factory(dict)
    _others: set[int] = attrs.Factory(set)
    """The hashes of the other paths: a hundred thousand of them take a few megabytes."""

    @property
    def total(self) -> int:
        """How many paths there are."""
        return len(self.kept) + len(self._others)

    def put(self, path: str, value: T) -> None:
        """Add a path, or replace its value."""
        if path in self.kept or len(self.kept) < MOST:
            self.kept[path] = value
            self._others.discard(hash(path))
        else:
            self._others.add(hash(path))

    def drop(self, path: str) -> None:
        """Remove a path, if it is there."""
        if self.kept.pop(path, None) is None:
            self._others.discard(hash(path))


@define(eq=False)
class Troubles:
    """What is wrong with a mirror. `observe` takes note of events; the failures are those of the last pass."""

    parked: Bounded[Parked] = attrs.Factory(Bounded)
    drift: Bounded[tuple[float, Entry | None, Entry | None]] = attrs.Factory(Bounded)
    """When it was found, what the target had, and what it has."""
    conflicts: Bounded[Conflict] = attrs.Factory(Bounded)
    """What both sides of a two-way mirror have changed."""
    failures: list[tuple[str, str]] = attrs.Factory(list)
    failures_total: int = 0

    def begin(self) -> None:
        """Begin a pass: forget the failures of the one before."""
        self.failures.clear()
        self.failures_total = 0

    def observe(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case Failed(operation, reason, fault) if fault is not Fault.PARKED:
                self._fail(operation.path, reason)
            case Scanned(problems=problems):
                for problem in problems:
                    if not problem.vanished:
                        self._fail(problem.path, problem.reason)
            case Parked(path):
                if is_parked(event):
                    self.parked.put(path, event)
                else:
                    self.parked.drop(path)
            case Recovered(path):
                self.parked.drop(path)
            case Drifted(path, then, now, since, is_mended=False):
                self.drift.put(path, (since, then, now))
            case Drifted(path) | DriftEnded(path):
                self.drift.drop(path)
            case Conflicted(conflict):
                self.conflicts.put(conflict.path, conflict)
            case ConflictEnded(path):
                self.conflicts.drop(path)

    def restore(
        self,
        parked: Iterable[Parked],
        drifts: Iterable[tuple[Drift, Entry | None]],
        conflicts: Iterable[Conflict] = (),
    ) -> None:
        """Take over what the journal has of earlier processes."""
        for conflict in conflicts:
            self.conflicts.put(conflict.path, conflict)
        for trouble in parked:
            self.observe(trouble)
        for drift, was in drifts:
            self.drift.put(drift.path, (drift.since, was, drift.now))

    def _fail(self, path: str, reason: str) -> None:
        self.failures_total += 1
        if len(self.failures) < _MOST_FAILURES:
            self.failures.append((path, reason))
