"""What the end of a pass means for the passes after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
import trio

from actorsync.errors import DRIFTED, GuardRefused, TargetUnreachable
from actorsync.model.entry import parent_of
from actorsync.model.event import Event, RemovalsDelayed, Scanned
from actorsync.model.operation import Failed, Returned
from actorsync.model.report import Report
from actorsync.planning.watching.agenda import MOST_DIRECTORIES, Left

__all__ = ["GOES_ON", "Aftermath"]

#: Exit codes of a pass after which the next pass may do better. A refused login is not among them (servers lock
#: accounts out), and neither are fatal errors and a cancellation.
GOES_ON: Final = frozenset({0, 1, DRIFTED, GuardRefused.exit_code, TargetUnreachable.exit_code})

#: Seconds after the time at which a removal is due: a pass that begins a moment too early would find it not due yet.
_LATE: Final = 0.02


@attrs.define(eq=False)
class Aftermath:
    """Observes one pass, and tells what it has left undone, by directory.

    A directory that could not be listed counts, and so does that of a failed or withheld operation. It notes no more
    directories than a partial pass may list. ``wall_clock_ns`` is the clock of the events.
    """

    wall_clock_ns: Callable[[], int]
    _failed: set[str] = attrs.Factory(set)
    _delayed: dict[str, float] = attrs.Factory(dict)

    def observe(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case Failed(operation) | Returned(operation):
                self._note(parent_of(operation.path))
            case Scanned(problems=problems):
                for problem in problems:
                    self._note(problem.path)
            case RemovalsDelayed(paths, first):
                due = trio.current_time() + first - self.wall_clock_ns() / 1e9 + _LATE
                self._delayed = dict.fromkeys(map(parent_of, paths), due)

    def _note(self, directory: str) -> None:
        if len(self._failed) <= MOST_DIRECTORIES:
            self._failed.add(directory)

    def left(self, report: Report) -> Left:
        """Return what the pass with this report has left undone.

        What a guard refuses is not repeated before the next full pass: until something changes it would be refused
        again. A source that cannot be used, a target that cannot be reached and a release that was not published leave
        everything.
        """
        is_down = report.exit_code == TargetUnreachable.exit_code or report.error is not None
        if is_down or report.not_published is not None:
            return Left(is_unreachable=True)
        return Left(frozenset(self._failed) if report.exit_code == 1 else (), self._delayed)
