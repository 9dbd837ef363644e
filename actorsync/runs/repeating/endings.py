"""What the end of a pass means for the passes after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
import trio

from actorsync.classes import define
from actorsync.errors import DRIFTED, GuardRefused, TargetUnreachable
from actorsync.model.entry import parent_of
from actorsync.model.event import Adopted, Confirmed, Event, RemovalsDelayed, Scanned
from actorsync.model.operation import Done, Failed, MakeDirectory, Returned
from actorsync.model.report import Report
from actorsync.planning.watching.agenda import MOST_DIRECTORIES, Left

__all__ = ["GOES_ON", "Aftermath"]

#: Exit codes of a pass after which the next pass may do better. A refused login is not among them (servers lock
#: accounts out), and neither are fatal errors and a cancellation.
GOES_ON: Final = frozenset({0, 1, DRIFTED, GuardRefused.exit_code, TargetUnreachable.exit_code})

#: Seconds after the time at which a removal is due: a pass that begins a moment too early would find it not due yet.
_LATE: Final = 0.02


@define(eq=False)
class Aftermath:
    """Observes one pass, and tells what it has left undone, by directory.

    A directory that could not be listed counts, and so does that of a failed or withheld operation. It notes no more
    directories than a partial pass may list. ``wall_clock_ns`` is the clock of the events.
    """

    wall_clock_ns: Callable[[], int]
    _failed: set[str] = attrs.Factory(set)
    _returned: set[str] = attrs.Factory(set)
    _delayed: dict[str, float] = attrs.Factory(dict)
    _has_entered: bool = False
    """Whether the journal may know a directory that it did not know before."""

    def observe(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case Failed(operation):
                self._note(self._failed, parent_of(operation.path))
            case Returned(operation):
                self._note(self._returned, parent_of(operation.path))
            case Scanned(problems=problems):
                for problem in problems:
                    self._note(self._failed, problem.path)
            case Done(MakeDirectory()) | Adopted() | Confirmed():
                self._has_entered = True
            case RemovalsDelayed(paths, first):
                due = trio.current_time() + first - self.wall_clock_ns() / 1e9 + _LATE
                self._delayed = dict.fromkeys(map(parent_of, paths), due)

    def _note(self, directories: set[str], directory: str) -> None:
        if len(directories) <= MOST_DIRECTORIES:
            directories.add(directory)

    def left(self, report: Report) -> Left:
        """Return what the pass with this report has left undone.

        What a guard refuses is not repeated before the next full pass: until something changes it would be refused
        again. What failed in such a pass is repeated. A source that cannot be used, a target that cannot be reached and
        a release that was not published leave everything.
        """
        is_down = report.exit_code == TargetUnreachable.exit_code or report.error is not None
        if is_down or report.not_published is not None:
            return Left(is_unreachable=True, is_cut_short=self._has_entered)
        match report.exit_code:
            case 1:
                return Left(frozenset(self._failed | self._returned), self._delayed)
            case GuardRefused.exit_code:
                return Left(frozenset(self._failed), self._delayed)
        return Left(delayed=self._delayed)
