"""A circuit breaker: what fails for all connections alike is tried by one of them, and not by each in turn.

Closed: everything passes. Open: nothing passes. Half-open: one connection passes, the probe, and its result decides.
There is no clock here: the caller passes times, in seconds.
"""

from __future__ import annotations

import enum

from actorsync.classes import define

__all__ = ["Breaker", "State"]


class State(enum.Enum):
    """Whether a connection passes."""

    CLOSED = enum.auto()
    OPEN = enum.auto()
    HALF_OPEN = enum.auto()


@define
class Breaker:
    """A breaker for one resource that all connections need: a host that answers, a disk that has room.

    ``failures`` counts the failures since the last success, ``reason`` is the first of them. After a failure the
    breaker stays open for ``first_wait`` seconds, doubling up to ``longest_wait``. With a ``first_wait`` of 0 the probe
    makes its own pauses, and stays the probe.

    Where sizes are given, a smaller operation than the one that failed may probe earlier: a disk without room for the
    biggest file has room for others. Each failure in a row halves what counts as smaller, so that a disk which is
    really full is tried a few times, and not once for each file.
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
        """Return the state. Half-open means that there is a probe, or that there may be one now."""
        if not self.is_open:
            return State.CLOSED
        return State.HALF_OPEN if self._probe is not None or now >= self._open_until else State.OPEN

    def admits(self, who: object, now: float, size: int = 0) -> bool:
        """Decide whether ``who`` may try. If so, it calls `succeeded`, `failed` or `withdrew` afterwards."""
        if not self.is_open:
            return True
        if self._probe is None and (now >= self._open_until or self._is_small(size)):
            self._probe = who
        return self._probe is who

    def _is_small(self, size: int) -> bool:
        return size << max(0, self.failures - 1) < self._failed_size

    def trip(self) -> None:
        """Open before any failure: a probe has to show first that the resource works."""
        self.is_open = True

    def failed(self, who: object, reason: str, now: float, size: int = 0) -> bool:
        """Take note of a failure; return True for the first one since the last success.

        Operations that were in progress when the breaker opened fail as well, which is nothing new. The biggest of them
        is the size that counts as too big.
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
        """Take note of a success; return True if it closes the breaker after failures. Only the probe can close it."""
        return False if self.is_open and self._probe is not who else self.close()

    def close(self) -> bool:
        """Close the breaker; return True when there were failures."""
        is_news = self.failures > 0
        self.is_open, self.failures, self.reason, self._probe = False, 0, "", None
        return is_news

    def withdrew(self, who: object) -> None:
        """Take note that ``who`` has stopped trying, without a result."""
        if self._probe is who:
            self._probe = None

    def seconds_left(self, now: float) -> float:
        """Return the seconds until a probe of any size may pass."""
        return max(0.0, self._open_until - now)
