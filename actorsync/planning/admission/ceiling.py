"""How many logins several runs may have at one account of a server together, and which of them may have one more.

There is no clock here: the caller passes times, in seconds. All of them are of one clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import attrs

from actorsync.classes import define

__all__ = ["FIRST_PATIENCE", "LONGEST_PATIENCE", "Ceiling", "Share", "Shares"]

#: Seconds from a rejected connection to the next try of one more; each further rejection doubles them.
FIRST_PATIENCE, LONGEST_PATIENCE = 5.0, 300.0


@define(eq=False)
class Share:
    """The part of one run in the logins at one account: those of its target, or those of its source.

    ``run`` is the same for both sides of one run, which needs a login for each at the same time. Without a `Ceiling`
    all are allowed.
    """

    ceiling: Ceiling | None = None
    run: object = None
    changed: Callable[[], object] = attrs.field(default=bool, init=False)
    let_go: Callable[[int], object] = attrs.field(default=bool, init=False)
    """Closes so many sessions that stay logged in without a use, if there are as many."""
    kept: int = attrs.field(default=0, init=False)
    """How many sessions are open or being opened, also those that stay logged in between two passes."""
    closing: int = attrs.field(default=0, init=False)
    """How many sessions are being closed. The server may still count them."""
    _held: set[object] = attrs.Factory(set)
    _open: set[object] = attrs.Factory(set)

    def tell_changes(self, changed: Callable[[], object]) -> None:
        """Call ``changed`` when it may be that more are allowed."""
        self.changed = changed

    @property
    def held(self) -> int:
        """How many logins are in progress or done."""
        return len(self._held)

    @property
    def is_open(self) -> bool:
        """Whether one of them is done, or a session is open without a use."""
        return bool(self._open) or self.kept + self.closing > 0

    @property
    def logins(self) -> int:
        """How many logins there are, or will be soon: a new one takes a session that is idle."""
        return max(self.held, self.kept)

    @property
    def idle(self) -> int:
        """How many sessions the next logins find open."""
        return max(0, self.kept - self.held)

    def note_sessions(self, kept: int, closing: int) -> None:
        """Take note of how many sessions are open, and how many are being closed."""
        if (kept, closing) != (self.kept, self.closing):
            self.kept, self.closing = kept, closing
            if self.ceiling is not None:
                self.ceiling.note_sessions(self)

    def are_others_open(self) -> bool:
        """Whether another run is logged in: a rejected login then says that there are too many."""
        return self.ceiling is not None and self.ceiling.is_open_beside(self)

    def most(self, now: float) -> float:
        """Return how many logins there may be now; infinity without a `Ceiling`."""
        return math.inf if self.ceiling is None else self.ceiling.most(self, now)

    def wait(self, now: float) -> float:
        """Return the seconds until one more login may begin, unless something changes earlier.

        Sessions of others that are idle are asked to close if they are in its way.
        """
        if self.ceiling is None:
            return 0.0
        if self.held >= self.most(now):
            return self.ceiling.next_try(now)
        return 0.0 if self.ceiling.makes_room(self, now) else math.inf

    def took(self, who: object) -> None:
        """Take note that a login begins."""
        self._held.add(who)

    def opened(self, who: object, now: float) -> None:
        """Take note that a login has succeeded."""
        self._held.add(who)
        self._open.add(who)
        if self.ceiling is not None:
            self.ceiling.accepted(now)

    def gave(self, who: object) -> None:
        """Take note that a login has failed, or that its session has ended. May be called again."""
        if who in self._held:
            self._held.discard(who)
            self._open.discard(who)
            if self.ceiling is not None:
                self.ceiling.tell()

    def refused(self, now: float) -> None:
        """Take note that the server has rejected one more login than there are."""
        if self.ceiling is not None:
            self.ceiling.refused(now)

    def join(self) -> None:
        """Take part from now on."""
        if self.ceiling is not None:
            self.ceiling.join(self)

    def leave(self) -> None:
        """Free all logins, because the run is over. May be called again, and without `join`."""
        self._held.clear()
        self._open.clear()
        if self.ceiling is not None:
            self.ceiling.leave(self)


@define(eq=False)
class Ceiling:
    """The logins at one account: ``limit`` of them for all runs together, or as many as the server was seen to allow.

    Each run has a *seat*, which is a login for each of its sides that the others leave free. A run takes more only as
    long as every other one that has a seat keeps its own. Where there are more runs than logins, they get their seats
    in the order in which they came, and meanwhile the runs that have one take no more than they have.

    A session that stays logged in without a use counts. It is closed when another run needs its place.
    """

    limit: int
    learned: int | None = None
    """How many the server was seen to allow; None if it has rejected none."""
    _shares: list[Share] = attrs.Factory(list)
    _keeping: list[Share] = attrs.Factory(list)
    """Those that have sessions open, also between two passes."""
    _seated: list[Share] = attrs.Factory(list)
    _patience: float = FIRST_PATIENCE
    _try_again_at: float = 0.0

    @property
    def total(self) -> int:
        """How many logins all runs have together, with the sessions that are idle."""
        return sum(share.logins for share in self._all)

    @property
    def _all(self) -> Sequence[Share]:
        return [*self._keeping, *(share for share in self._shares if share not in self._keeping)]

    def join(self, share: Share) -> None:
        """Let a side of a run take part, behind those that do already."""
        if share not in self._shares:
            self._shares.append(share)
            self._seat()

    def leave(self, share: Share) -> None:
        """Let the others have what a run had."""
        if share in self._shares:
            self._shares.remove(share)
            if share in self._seated:
                self._seated.remove(share)
            self.tell()

    def note_sessions(self, share: Share) -> None:
        """Take note that the sessions of a side of a run have changed."""
        if share not in self._keeping:
            self._keeping.append(share)
        if not share.kept and not share.closing:
            self._keeping.remove(share)
        self.tell()

    def makes_room(self, share: Share, now: float) -> bool:
        """Return whether a login that is allowed may begin at once: it finds a session open, or there is room for one.

        If idle sessions of others take the room, as many as needed are asked to close.
        """
        closing = sum(it.closing for it in self._all)
        missing = self.total + closing + 1 - max(self._allowed(now), self._need)
        if share.idle or missing <= 0:
            return True
        missing -= closing
        while missing > 0:
            other = max((it for it in self._keeping if it is not share), key=lambda it: it.idle, default=share)
            if not other.idle:
                break
            other.let_go(1)
            missing -= 1
        return False

    def tell(self) -> None:
        """Tell the runs that more may be allowed."""
        self._seat()
        for share in self._shares:
            share.changed()

    def most(self, share: Share, now: float) -> int:
        """Return how many logins a side of a run may have now."""
        if share not in self._seated:
            return share.held
        allowed = max(self._allowed(now), self._need)
        here = share.held + max(0, allowed - sum(it.held for it in self._shares))
        if len(self._seated) < len(self._shares):
            return min(here, max(1, share.held))
        return min(here, max(1, allowed - _committed(it for it in self._seated if it is not share)))

    def next_try(self, now: float) -> float:
        """Return the seconds until one more than the server allowed may be tried."""
        return self._try_again_at - now if self.learned is not None and now < self._try_again_at else math.inf

    def is_open_beside(self, share: Share) -> bool:
        """Return whether another run is logged in."""
        return any(it.is_open for it in self._all if it.run is not share.run)

    def refused(self, now: float) -> None:
        """Take note that the server has rejected one more than the runs have together."""
        is_trying = self.learned is not None and now >= self._try_again_at
        self._patience = min(2 * self._patience, LONGEST_PATIENCE) if is_trying else FIRST_PATIENCE
        self.learned = max(1, min(self.total, self.limit))
        self._try_again_at = now + self._patience

    def accepted(self, now: float) -> None:
        """Take note that the server has accepted a login, which may be one more than it was known to allow."""
        if self.learned is not None and self.total > self.learned:
            self.learned, self._patience = self.total, FIRST_PATIENCE
            self._try_again_at = now + FIRST_PATIENCE

    def _allowed(self, now: float) -> int:
        if self.learned is None:
            return self.limit
        return min(self.limit, self.learned + (now >= self._try_again_at))

    @property
    def _need(self) -> int:
        """How many logins a run needs at the least: one for each of its sides."""
        return max((self._sides(share) for share in self._seated), default=1)

    def _sides(self, share: Share) -> int:
        return sum(it.run is share.run for it in self._shares)

    def _seat(self) -> None:
        """Hand out seats to the runs that have come first, as far as there are enough."""
        for share in self._shares:
            if share in self._seated:
                continue
            sides = [it for it in self._shares if it.run is share.run]
            others = [it for it in self._seated if it.run is not share.run]
            if others and _committed(others) + len(sides) > self.limit:
                return
            self._seated += [it for it in sides if it not in self._seated]


def _committed(shares: Iterable[Share]) -> int:
    """Return how many logins these have, or may have at any time."""
    return sum(max(1, share.held) for share in shares)


@define(eq=False)
class Shares:
    """Both sides of one run. A side that shares its account with no other run has all that it wants."""

    target: Share = attrs.Factory(Share)
    source: Share = attrs.Factory(Share)

    def join(self) -> None:
        """Take part with both sides."""
        self.target.join()
        self.source.join()

    def leave(self) -> None:
        """Free all logins."""
        self.target.leave()
        self.source.leave()
