"""A circuit breaker: what fails for all of them alike is tried by one, and not by everybody after everybody.

Closed, everything passes. Open, nothing does. Half-open, one does: the probe, and what becomes of it decides. Nothing
here knows a clock: times are told, in seconds.
"""

from __future__ import annotations

import enum

import attrs

__all__ = ["Breaker", "State"]


class State(enum.Enum):
    """Whether things pass."""

    CLOSED = enum.auto()
    OPEN = enum.auto()
    HALF_OPEN = enum.auto()


@attrs.define
class Breaker:
    """A breaker before one thing that everybody needs: a host that is there, a disk that has room.

    ``failures`` counts those since the last success, and ``reason`` is the first of them. After each, nobody is let
    through for ``first_wait`` seconds, doubling up to ``longest_wait``; with a ``first_wait`` of nothing the probe sees
    to its own pauses, and stays the probe.

    Where sizes are told, whatever is smaller than what failed may be a probe before that: a disk without room for the
    biggest file has room for others, and who always waited for the biggest would never send them. Each failure in a
    row halves what counts as smaller, so that a disk which is really full is asked a few times, and not once a file.
    """

    first_wait: float = 0.0
    longest_wait: float = 300.0
    is_open: bool = False
    failures: int = 0
    reason: str = ""
    _probe: object | None = None
    _open_until: float = 0.0
    _failed_size: int = 0

    def state(self, now: float) -> State:
        """Say whether things pass: half-open means that one does, or may."""
        if not self.is_open:
            return State.CLOSED
        return State.HALF_OPEN if self._probe is not None or now >= self._open_until else State.OPEN

    def admits(self, who: object, now: float, size: int = 0) -> bool:
        """Decide whether ``who`` may try. One that may says afterwards what became of it, or that nothing did."""
        if not self.is_open:
            return True
        if self._probe is None and (now >= self._open_until or self._is_small(size)):
            self._probe = who
        return self._probe is who

    def _is_small(self, size: int) -> bool:
        return size << max(0, self.failures - 1) < self._failed_size

    def trip(self) -> None:
        """Open, although nothing has failed yet: it has to be seen first whether it works."""
        self.is_open = True

    def failed(self, who: object, reason: str, now: float, size: int = 0) -> bool:
        """Take note that it did not work; True when that is news.

        Those who were under way when it opened fail as well, and that tells nothing new. Of them the biggest is the one
        that was too big.
        """
        is_first = not self.failures
        if is_first or self._probe is who:
            self.reason = reason if is_first else self.reason
            self.is_open = True
            self.failures += 1
            self._open_until = now + min(self.longest_wait, self.first_wait * 2.0 ** (self.failures - 1))
            self._failed_size = size
        else:
            self._failed_size = max(self._failed_size, size)
        if self.first_wait:
            self.withdrew(who)
        return is_first

    def succeeded(self, who: object) -> bool:
        """Take note that it worked; True when that is news. What began before it failed proves nothing."""
        return False if self.is_open and self._probe is not who else self.close()

    def close(self) -> bool:
        """Close, because it works; True when it had failed."""
        is_news = self.failures > 0
        self.is_open, self.failures, self.reason, self._probe = False, 0, "", None
        return is_news

    def withdrew(self, who: object) -> None:
        """Take note that ``who`` does not try any more, with no result."""
        if self._probe is who:
            self._probe = None

    def seconds_left(self, now: float) -> float:
        """Give how long nobody is let through whatever the size."""
        return max(0.0, self._open_until - now)
