"""How many connections a run keeps: decided from rejected connections, and from whether more of them help.

There is no clock here: the caller passes times, in seconds, and counts.
"""

from __future__ import annotations

import attrs

from actorsync.classes import define
from actorsync.planning.admission.ceiling import FIRST_PATIENCE, LONGEST_PATIENCE, Share

__all__ = ["Sizing"]

#: The same for a limit that an earlier run has found.
LEARNT_PATIENCE = 60.0
#: The first automatic size; it grows by half while the rate grows by at least a fifth of that.
_BEGINNING, _GROWTH, _SHARE = 4, 1.5, 0.2
#: Seconds for which a size is measured before it is judged.
_WATCHED = 2.0


@define
class Sizing:
    """The size of a pool of connections, at most ``cap``.

    ``ceiling`` is how many the server was seen to allow, None when it never rejected one; a run may begin with the
    ceiling of an earlier run. With ``is_automatic`` the size begins small and grows while that helps; otherwise it
    begins with all that are allowed. Times are seconds since the beginning of the run. ``share`` is what the run may
    have of the logins that several runs share.
    """

    cap: int
    ceiling: int | None = None
    is_automatic: bool = False
    share: Share = attrs.Factory(Share)
    size: int = attrs.field(init=False)
    wanted: int | None = None
    """The most that the user wants for the time being; None for ``cap``."""
    _limit: int | None = None
    """More than this were rejected, by the server or by this machine."""
    _patience: float = FIRST_PATIENCE
    _try_again_at: float = LEARNT_PATIENCE
    _is_trying: bool = False
    _watched_since: float | None = None
    _before: float = 0.0
    _rate: float = 0.0
    _rated: int = 1
    """The size that had ``_rate``."""
    _is_settled: bool = False

    def __attrs_post_init__(self) -> None:
        self._limit = self.ceiling
        self.size = min(self._allowed, _BEGINNING) if self.is_automatic else self._allowed

    @property
    def _allowed(self) -> int:
        return min(self.most, self._limit or self.cap)

    @property
    def most(self) -> int:
        """The highest size that is wanted: at least one connection has to do the work."""
        return self.cap if self.wanted is None else max(1, min(self.cap, self.wanted))

    def want(self, count: int | None) -> bool:
        """Have at most ``count`` connections from now on; None for ``cap``. Return whether the size has changed."""
        before, then = self.size, self.most
        self.wanted = count
        if self.most > then and not self.is_automatic:
            self.size = self._allowed
        self.size = min(self.size, self._allowed)
        self._is_settled = False
        return self.size != before

    def refused(self, connected: int, now: float, *, by_server: bool = True) -> None:
        """Take note that one more connection was rejected while there were ``connected``, which is at least 1.

        When it was this machine that cannot open more, and not the server, the ceiling does not change.
        """
        self._limit = self.size = max(1, min(connected, self.size))
        if by_server:
            self.ceiling = self.size
        if self._is_trying:  # not one of those that were too many at the beginning
            self._patience = min(2 * self._patience, LONGEST_PATIENCE)
            self._is_trying = False
        self._try_again_at = now + self._patience
        self._watched_since, self._rate = None, 0.0

    def accepted(self, connected: int) -> None:
        """Take note that there are ``connected`` connections, which may be more than were known to be allowed."""
        if self._limit is not None and connected > self._limit:
            self._limit = connected
            self.size = max(self.size, self._allowed)
            self._patience, self._is_trying = FIRST_PATIENCE, False
        if self.ceiling is not None:
            self.ceiling = max(self.ceiling, connected)

    def look(self, now: float, connected: int, done: float) -> bool:
        """Grow if that may help; return True if the size has grown. ``done`` is the work done so far, in any unit.

        Call this only while there is work for all connections: a size is judged by its use.
        """
        if connected < self.size:
            self._watched_since = None
            return False
        is_at_limit = self.size >= self._allowed
        if self._is_settled or self.size >= self.most or (is_at_limit and now < self._try_again_at):
            return False
        if self.is_automatic and not self._has_helped(now, done):
            return False
        if is_at_limit:
            self.size += 1
            self._try_again_at, self._is_trying = now + self._patience, True
        else:
            self.size = min(self._allowed, max(self.size + 1, int(self.size * _GROWTH)))
        return True

    def _has_helped(self, now: float, done: float) -> bool:
        """Measure this size for a while, and tell whether it does more work than the last one. If not, stop growing."""
        if self._watched_since is None:
            self._watched_since, self._before = now, done
            return False
        if now - self._watched_since < _WATCHED:
            return False
        rate, promised = (done - self._before) / (now - self._watched_since), self.size / self._rated
        self._is_settled = rate < self._rate * (1 + _SHARE * (promised - 1))
        self._watched_since, self._rate, self._rated = None, rate, self.size
        return not self._is_settled
