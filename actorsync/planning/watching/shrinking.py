"""How far a target has shrunk over passes that follow one another. No clock in here: callers tell it.

A source that is emptied slowly shows each pass only a small part of what is missing. Each part alone is allowed by
`max-delete`, and together they are everything. So the guards also count what is gone since the target was at its
largest. What was removed and came back under another name makes no difference, and neither do files that come and go.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs

from actorsync.classes import define

__all__ = ["SPAN", "Shrinking"]

#: Seconds over which removals count together.
SPAN: Final = 3_600.0


@define(eq=False)
class Shrinking:
    """The largest number of entries that the target had from the source within the last ``span`` seconds.

    While the guards refuse, nothing is forgotten: or the rest would be removed as soon as the time is over.
    """

    span: float = SPAN
    is_refused: bool = False
    """Whether the guards have refused the last removals."""
    _counts: deque[tuple[float, int]] = attrs.Factory(deque)
    """Times and counts, each count smaller than the one before: a smaller one matters when the larger one is old."""

    def most(self, ours: int, now: float) -> int:
        """Take note that the target has ``ours`` entries, and return the most that it had within the span."""
        while self._counts and self._counts[-1][1] <= ours:
            self._counts.pop()
        self._counts.append((now, ours))
        while not self.is_refused and self._counts[0][0] < now - self.span:
            self._counts.popleft()
        return self._counts[0][1]
