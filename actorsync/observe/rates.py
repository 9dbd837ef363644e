"""How fast a mirror sends: the rate now, and over the last minutes."""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs

from actorsync.actors.statistics import Rate
from actorsync.classes import define

__all__ = ["EVERY", "Rates"]

#: Seconds between two samples of the plot.
EVERY: Final = 2.0
#: Seconds that the plot covers.
_COVERED: Final = 600.0


@define(eq=False)
class Rates:
    """Samples of the bytes that are sent each second. There is none for the time in which nothing is sent."""

    plot: deque[tuple[float, float]] = attrs.Factory(lambda: deque(maxlen=int(_COVERED / EVERY)))
    """The time of each sample in seconds since the epoch, and the rate, the newest at the end."""
    _rate: Rate = attrs.Factory(Rate)

    @property
    def now(self) -> float | None:
        """Bytes a second over the last few seconds; None if that is not known yet."""
        return self._rate.value

    def begin(self) -> None:
        """Begin a pass: what was sent before is not part of its rate."""
        self._rate = Rate()

    def sample(self, clock: float, at: float, sent: int) -> bool:
        """Note that ``sent`` bytes were sent by ``clock``, in seconds. ``at`` is that time since the epoch.

        Return whether the plot has a new sample.
        """
        self._rate.add(clock, sent)
        while self.plot and not at - _COVERED < self.plot[0][0] <= at:  # too old, or the clock was set back
            self.plot.popleft()
        rate = self._rate.value
        if rate is None or (self.plot and at - self.plot[-1][0] < EVERY - 0.5):
            return False
        self.plot.append((at, rate))
        return True
