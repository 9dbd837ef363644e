"""Which refusals of a removal guard have a line of their own."""

from __future__ import annotations

import attrs

from actorsync.classes import define
from actorsync.model.messages import did_nothing
from actorsync.model.report import Report

__all__ = ["Refusals"]


@define(eq=False)
class Refusals:
    """Refusals in passes that follow one another.

    While a source is watched, each change in it begins a partial pass that is refused again, with other numbers. The
    first of these has a line, and then each pass over the whole source.
    """

    _count: int = 0

    def is_shown(self, *, is_partial: bool) -> bool:
        """Take note of a refusal, and return whether it has a line."""
        self._count += 1
        return self._count == 1 or not is_partial

    def ends_quietly(self, report: Report) -> bool:
        """Take note of the end of a pass, and return whether it only repeats the refusal of an earlier pass."""
        if report.refused is None:
            if report.removed or not report.is_partial:
                self._count = 0
            return False
        has_done = not did_nothing(attrs.evolve(report, skipped=0, left=0))  # what is refused is left
        return report.is_partial and self._count > 1 and not has_done
