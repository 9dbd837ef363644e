"""How many connections a run keeps: decided from what was refused, and from whether more were any use.

Nothing here knows a clock or a connection: times are told, in seconds, and counts are given.
"""

from __future__ import annotations

import attrs

__all__ = ["Sizing"]

#: After a refusal, so long until one more is tried; each further refusal doubles it.
FIRST_PATIENCE, LONGEST_PATIENCE = 5.0, 300.0
#: The same for what an earlier run has learnt.
LEARNT_PATIENCE = 60.0
#: An automatic size begins here, and grows by half as long as a fifth of what that promises comes true.
_BEGINNING, _GROWTH, _SHARE = 4, 1.5, 0.2
#: Seconds for which a size is watched before it is judged.
_WATCHED = 2.0


@attrs.define
class Sizing:
    """The size of a pool of connections, at most ``cap``.

    ``ceiling`` is what the server was seen to allow, None when it never refused; a run may begin with what another has
    learnt. With ``is_automatic`` the size begins small and grows while that helps; otherwise it begins with all that
    is allowed. Times are counted from the beginning of the run.
    """

    cap: int
    ceiling: int | None = None
    is_automatic: bool = False
    size: int = attrs.field(init=False)
    _limit: int | None = None
    """More than this were refused, by the server or by our own side."""
    _patience: float = FIRST_PATIENCE
    _try_again_at: float = LEARNT_PATIENCE
    _is_trying: bool = False
    _watched_since: float | None = None
    _before: float = 0.0
    _rate: float = 0.0
    _rated: int = 1
    """The size that had this rate."""
    _is_settled: bool = False

    def __attrs_post_init__(self) -> None:
        self._limit = self.ceiling
        self.size = min(self._allowed, _BEGINNING) if self.is_automatic else self._allowed

    @property
    def _allowed(self) -> int:
        return min(self.cap, self._limit or self.cap)

    def refused(self, connected: int, now: float, *, by_server: bool = True) -> None:
        """Take note that one more connection was refused while ``connected`` were kept, which is at least 1.

        When it was not the server but our own side that has no room for more, the ceiling stays what it was.
        """
        self._limit = self.size = max(1, min(connected, self.size))
        if by_server:
            self.ceiling = self.size
        if self._is_trying:  # and not one of those that came too many at the beginning
            self._patience = min(2 * self._patience, LONGEST_PATIENCE)
            self._is_trying = False
        self._try_again_at = now + self._patience
        self._watched_since, self._rate = None, 0.0

    def accepted(self, connected: int) -> None:
        """Take note that ``connected`` connections are kept, which may be more than were known to be allowed."""
        if self._limit is not None and connected > self._limit:
            self._limit = connected
            self.size = max(self.size, self._allowed)
            self._patience, self._is_trying = FIRST_PATIENCE, False
        if self.ceiling is not None:
            self.ceiling = max(self.ceiling, connected)

    def look(self, now: float, connected: int, done: float) -> bool:
        """Consider growing; True when it has. ``done`` is how much work was done so far, in any unit.

        A size is judged only when it was in use: whoever has nothing to do does not call this.
        """
        if connected < self.size:
            self._watched_since = None
            return False
        is_at_limit = self.size >= self._allowed
        if self._is_settled or self.size >= self.cap or (is_at_limit and now < self._try_again_at):
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
        """Watch this size for a while, and judge whether it does more than the last one. If not, it is the last."""
        if self._watched_since is None:
            self._watched_since, self._before = now, done
            return False
        if now - self._watched_since < _WATCHED:
            return False
        rate, promised = (done - self._before) / (now - self._watched_since), self.size / self._rated
        self._is_settled = rate < self._rate * (1 + _SHARE * (promised - 1))
        self._watched_since, self._rate, self._rated = None, rate, self.size
        return not self._is_settled
