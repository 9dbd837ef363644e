"""The passes of a mirror that have ended: the last of them, and whether the target is in sync after them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

import attrs

from actorsync.classes import define, frozen
from actorsync.model.report import Report, Run

__all__ = ["KEPT", "History", "PastPass"]

#: How many passes are kept.
KEPT: Final = 20

#: Directories that are remembered as not in sync. Above that, everything is.
_MOST_UNSETTLED: Final = 10_000


@frozen
class PastPass:
    """The report of a pass. ``scope`` is how many directories of the source it looked at; None for all."""

    report: Report
    scope: int | None = None


@define(eq=False)
class History:
    """The last passes, the newest at the end.

    A pass over some directories says nothing about the others. So after a pass that failed, the target counts as in
    sync when each directory of that pass was in a later pass that succeeded.
    """

    passes: deque[PastPass] = attrs.Factory(lambda: deque(maxlen=KEPT))
    last_success_at: float | None = None
    """When the last pass ended after which the target was in sync, in seconds since the epoch."""
    _unsettled: frozenset[str] | None = None
    """The directories that are not known to be in sync; None for all."""

    @property
    def last(self) -> Report | None:
        """The report of the last pass; None if none has ended."""
        return self.passes[-1].report if self.passes else None

    @property
    def is_good(self) -> bool:
        """Whether the target was in sync after the last pass."""
        return self._unsettled is not None and not self._unsettled

    def add(self, report: Report, directories: Iterable[str] | None, now: float) -> None:
        """Add a pass that ends ``now``. An audit changes nothing, so it is no pass."""
        if report.is_audit:
            return
        scope = None if directories is None else frozenset(directories)
        self.passes.append(PastPass(report, None if scope is None else len(scope)))
        is_good = report.exit_code == 0
        if scope is None:
            self._unsettled = frozenset() if is_good else None
        elif self._unsettled is not None:
            self._unsettled = self._unsettled - scope if is_good else self._unsettled | scope
            if len(self._unsettled) > _MOST_UNSETTLED:
                self._unsettled = None
        if self.is_good:
            self.last_success_at = now

    def restore(self, runs: Iterable[Run]) -> None:
        """Take over what the journal has of earlier processes: runs that have ended, the newest first."""
        reports = [run.report for run in runs if run.report is not None and not run.report.is_audit]
        for report in reversed(reports):
            self.add(report, None, report.started_at + report.seconds)
