"""How many connections a run keeps: decided from what the server let happen, and from whether more were any use.

Nothing here knows a clock or a connection: times are told, in seconds, and counts are given.
"""

from __future__ import annotations

import attrs

__all__ = ["Sizing"]

#: After a refusal, so long until one more is tried; each further refusal doubles it.
FIRST_PATIENCE, LONGEST_PATIENCE = 5.0, 300.0
#: An automatic size begins here, and grows by half as long as that makes things quicker by a tenth.
_BEGINNING, _GROWTH, _GAIN = 2, 1.5, 1.1
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
    _patience: float = FIRST_PATIENCE
    _try_again_at: float | None = None
    _is_trying: bool = False
    _watched_since: float | None = None
    _before: float = 0.0
    _rate: float = 0.0
    _is_settled: bool = False

    def __attrs_post_init__(self) -> None:
        self.size = min(self._allowed, _BEGINNING) if self.is_automatic else self._allowed
        if self._allowed < self.cap:
            self._try_again_at = self._patience

    @property
    def _allowed(self) -> int:
        return min(self.cap, self.ceiling or self.cap)

    def refused(self, connected: int, now: float) -> None:
        """Take note that the server refused one more connection while it kept ``connected``, which is at least 1."""
        self.ceiling = self.size = max(1, min(connected, self.size))
        if self._is_trying:  # and not one of those that came too many at the beginning
            self._patience = min(2 * self._patience, LONGEST_PATIENCE)
            self._is_trying = False
        self._try_again_at = now + self._patience

    def accepted(self, connected: int) -> bool:
        """Take note that the server keeps ``connected`` connections; True when that is more than it was known to."""
        if self.ceiling is None or connected <= self.ceiling:
            return False
        self.ceiling = connected
        self._patience, self._is_trying = FIRST_PATIENCE, False
        return True

    def look(self, now: float, connected: int, done: float) -> bool:
        """Consider growing; True when it has. ``done`` is how much work was done so far, in any unit.

        A size is judged only when it was in use: whoever has nothing to do does not call this.
        """
        if self._try_again_at is not None and self.size >= self._allowed:
            if now < self._try_again_at or self.size >= self.cap or connected < self.size:
                return False
            self._try_again_at, self._is_trying = now + self._patience, True
            self.size += 1
            return True
        if not self.is_automatic or self._is_settled or connected < self.size:
            return False
        return self._judge(now, done)

    def _judge(self, now: float, done: float) -> bool:
        if self._watched_since is None:
            self._watched_since, self._before = now, done
            return False
        if now - self._watched_since < _WATCHED:
            return False
        rate = (done - self._before) / (now - self._watched_since)
        self._watched_since = None
        if rate < _GAIN * self._rate or self.size >= self._allowed:
            self._is_settled = True
            return False
        self._rate = rate
        self.size = min(self._allowed, max(self.size + 1, int(self.size * _GROWTH)))
        return True
