"""How many logins may be in progress at once.

Servers limit the connections that are not logged in yet (``MaxStartups`` of OpenSSH, firewalls), and reject a further
one as they do when they have enough connections. The two cases differ in the other logins at that moment: a login that
was alone was one connection too many; one that was in progress with others may only have come too early.
"""

from __future__ import annotations

import attrs

from actorsync.classes import define

__all__ = ["Logins"]

#: Logins at once before a server has rejected one of several. OpenSSH rejects some from ten on.
WIDTH = 8
#: After that: seconds from the end of a login to the next one, and from a rejected one to the next, at most.
GAP, PAUSE = 0.1, 0.5


@define
class Logins:
    """The logins in progress, by the numbers of their connections.

    After a server has rejected one of several, logins go one at a time for the rest of the run, with a pause between
    them. The parameter ``jitter`` is between 0 and 1, and shortens a pause by up to half.
    """

    width: int = WIDTH
    under_way: set[int] = attrs.Factory(set)
    are_forbidden: bool = False
    """Whether none may begin for the time being."""
    _crowded: set[int] = attrs.Factory(set)
    _not_before: float = 0.0

    def wait(self, now: float) -> float | None:
        """Return the seconds until one more may begin; None when one of those in progress has to end first."""
        return None if len(self.under_way) >= self.width else max(0.0, self._not_before - now)

    def began(self, number: int) -> None:
        """Take note that a login begins."""
        self._crowded.discard(number)
        self.under_way.add(number)
        if len(self.under_way) > 1:
            self._crowded |= self.under_way

    def ended(self, number: int, now: float, jitter: float) -> None:
        """Take note that a login has ended, with any result."""
        if number in self.under_way:
            self.under_way.discard(number)
            self._pause(GAP if self.width == 1 else 0.0, now, jitter)

    def is_too_early(self, number: int, now: float, jitter: float) -> bool:
        """Judge a login that was rejected, and has ended: True when others were in progress at the same time.

        Then the connection tries again, alone.
        """
        if number not in self._crowded:
            return False
        self.width = 1
        self._pause(PAUSE, now, jitter)
        return True

    def _pause(self, seconds: float, now: float, jitter: float) -> None:
        self._not_before = max(self._not_before, now + seconds * (0.5 + 0.5 * jitter))
