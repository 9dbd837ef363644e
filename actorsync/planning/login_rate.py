"""How many logins may be under way at once: as many as the server does not mind.

Servers count those who are not logged in yet (``MaxStartups`` of OpenSSH, firewalls), and turn the next one away as
they do when they have enough connections. The two are told apart by who else was at the door: one that came alone was
one connection too many; one that came with others may only have come too early.
"""

from __future__ import annotations

import attrs

__all__ = ["Logins"]

#: Logins at once before a server has turned one of several away. OpenSSH turns some away from ten on.
WIDTH = 8
#: After that: seconds from the end of a login to the next, and from one that was turned away, at most.
GAP, PAUSE = 0.1, 0.5


@attrs.define
class Logins:
    """The logins under way, by the numbers of their connections.

    Once one of several was turned away they go one at a time, with a gap between them, for the rest of the run.
    ``jitter``, where it is asked for, is between 0 and 1, and takes away up to half of a pause.
    """

    width: int = WIDTH
    under_way: set[int] = attrs.Factory(set)
    _crowded: set[int] = attrs.Factory(set)
    _not_before: float = 0.0

    def wait(self, now: float) -> float | None:
        """Give the seconds until one more may begin; None when first one of those under way has to end."""
        return None if len(self.under_way) >= self.width else max(0.0, self._not_before - now)

    def began(self, number: int) -> None:
        """Take note of a login that begins."""
        self._crowded.discard(number)
        self.under_way.add(number)
        if len(self.under_way) > 1:
            self._crowded |= self.under_way

    def ended(self, number: int, now: float, jitter: float) -> None:
        """Take note that one ended, however it did."""
        if number in self.under_way:
            self.under_way.discard(number)
            self._pause(GAP if self.width == 1 else 0.0, now, jitter)

    def is_too_early(self, number: int, now: float, jitter: float) -> bool:
        """Judge a login that was turned away, and has ended: True when others were under way beside it.

        Whoever hears that comes again, when it is alone.
        """
        if number not in self._crowded:
            return False
        self.width = 1
        self._pause(PAUSE, now, jitter)
        return True

    def _pause(self, seconds: float, now: float, jitter: float) -> None:
        self._not_before = max(self._not_before, now + seconds * (0.5 + 0.5 * jitter))
