"""When the next pass over a watched source begins, and which directories it lists. No clock in here: callers tell it.

A hint makes a directory *dirty*. Dirty directories are listed by a *partial* pass once the source has rested, and after
a limit even if it never rests. What a pass leaves undone is listed again later: a failure after a growing delay, and a
removal that waits at the time when it is due. A pass over everything (a *full* pass) comes first, then at intervals,
and whenever hints may have been lost.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Mapping
from typing import Final

import attrs

from actorsync.classes import define, frozen

__all__ = ["LONGEST_DELAY", "MOST_DIRECTORIES", "Agenda", "Left", "Turn"]

#: With more dirty directories than this, the next pass is a full one: it is hardly more expensive.
MOST_DIRECTORIES: Final = 4_096

#: Seconds before a pass that failed is repeated: the first delay, which doubles, and the longest one.
_FIRST_DELAY: Final = 1.0
LONGEST_DELAY: Final = 60.0

#: How much the interval between full passes varies, so that many processes do not begin theirs together.
_SPREAD: Final = 0.25


def _delay(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row."""
    return min(LONGEST_DELAY, _FIRST_DELAY * 2.0 ** min(failures - 1, 10))


@frozen
class Turn:
    """A pass that begins now. ``within`` are the directories that it lists; None for everything."""

    reason: str
    within: frozenset[str] | None = None

    def covers(self, directory: str) -> bool:
        """Tell whether the pass lists a directory that it finds in the source."""
        return self.within is None or directory in self.within


@frozen
class Left:
    """What a pass has left undone.

    ``failed`` are directories with something that failed or waits for what failed. ``delayed`` are directories with
    removals that wait, each with the time when the first of them is due. With ``is_unreachable`` the pass could not do
    its work at all: all that it covered is to be listed again, and nothing else works meanwhile either. If it had
    already done a part (``is_cut_short``), directories that are known by now may have files that it has not sent. No
    later partial pass enters such a directory by itself, so a full one has to follow.
    """

    failed: Collection[str] = ()
    delayed: Mapping[str, float] = attrs.Factory(dict)
    is_unreachable: bool = False
    is_cut_short: bool = False


@define(eq=False)
class Agenda:
    """The directories that are dirty or due later, and the time of the next pass. All times are on one clock.

    ``settle`` is how long no hint may have come, and ``settle_max`` how long a hint waits at most. A full pass follows
    the last one after ``full_every`` seconds: give or take a quarter, as ``spread`` says, which returns from 0 to 1.
    """

    settle: float
    settle_max: float
    full_every: float
    spread: Callable[[], float] = random.random
    full_at: float = -math.inf
    """When the next full pass is due."""
    hinted_at: float | None = None
    """When the oldest hint came that no pass has taken; None if there is none."""
    behind_since: float | None = None
    """When the oldest hint came that no pass has taken to its end; None if there is none."""
    _last_hint: float = -math.inf
    _dirty: set[str] = attrs.Factory(set)
    _everything: str | None = "start"
    """Why the next pass is a full one; None if it need not be one."""
    _later: dict[str, float] = attrs.Factory(dict)
    _failures: dict[str, int] = attrs.Factory(dict)
    """How often in a row something failed, by directory."""
    _owes_all: bool = False
    """Whether a full pass follows the next one that ends well: a partial pass was cut short."""
    _outages: int = 0
    """How many passes in a row could not do their work at all."""
    _not_before: float = -math.inf

    # What comes in.

    def hint(self, directories: Collection[str], now: float) -> None:
        """Note that directories may have changed."""
        if not directories:
            return
        self._note_hint(now)
        if self._everything is None:
            self._dirty.update(directories)
            self._bound()

    def lose(self, reason: str, now: float) -> None:
        """Note that anything may have changed. The first of several reasons is kept."""
        self._note_hint(now)
        self._require_all(reason)

    def rescan(self, now: float) -> None:
        """Let the next pass be a full one, which begins as soon as it may."""
        self.full_at = min(self.full_at, now)
        self._require_all("rescan")

    def look_again(self, directories: Collection[str], now: float) -> None:
        """Let the next pass list these directories, and begin as soon as it may."""
        self._postpone(directories, now)

    def _note_hint(self, now: float) -> None:
        self._last_hint = now
        if self.hinted_at is None:
            self.hinted_at = now
        if self.behind_since is None:
            self.behind_since = now

    def _require_all(self, reason: str) -> None:
        self._everything = self._everything or reason
        self._dirty.clear()

    def _bound(self) -> None:
        if len(self._dirty) > MOST_DIRECTORIES:
            self._require_all(f"more than {MOST_DIRECTORIES:,} directories have changed")

    def _postpone(self, directories: Collection[str], due: float) -> None:
        """List directories at ``due``, unless they are listed before or a full pass comes before."""
        if due >= self.full_at:
            return
        for directory in directories:
            self._later[directory] = min(self._later.get(directory, math.inf), due)
        if len(self._later) > MOST_DIRECTORIES:
            self.full_at = min(self._later.values())
            self._later.clear()

    # The next pass.

    def due(self) -> float:
        """Return the time when the next pass may begin."""
        rested = math.inf
        if self.hinted_at is not None:
            rested = min(self._last_hint + self.settle, self.hinted_at + self.settle_max)
        elif self._dirty:  # given back by a pass
            rested = -math.inf
        return max(min(rested, self.full_at, *self._later.values()), self._not_before)

    def begin(self, now: float) -> Turn:
        """Return the pass that begins now, which takes every hint that came so far."""
        ready = {directory for directory, due in self._later.items() if due <= now}
        is_hinted = self.hinted_at is not None
        for directory in ready:
            del self._later[directory]
        self.hinted_at = None
        if self._everything is None and now < self.full_at:
            turn = Turn("changes" if is_hinted else "again", frozenset(self._dirty | ready))
        else:
            turn = Turn(self._everything or "reconcile")
            self.full_at = now + self.full_every * (1 - _SPREAD + 2 * _SPREAD * self.spread())
        self._everything = None
        self._dirty.clear()
        return turn

    def end(self, turn: Turn, left: Left, now: float) -> None:
        """Note how a pass ended. What it left undone is listed again, after a delay that doubles."""
        if left.is_unreachable:
            self._outages += 1
            self._not_before = now + _delay(self._outages)
            self._owes_all = self._owes_all or left.is_cut_short
            self._give_back(turn)
            return
        if self._owes_all and turn.within is not None:
            self.full_at = min(self.full_at, now)
            self._require_all("a pass was cut short")
        self._owes_all = False
        self._outages, self._not_before, self.behind_since = 0, -math.inf, self.hinted_at
        failed = frozenset(left.failed)
        self._failures = {it: count for it, count in self._failures.items() if it in failed or not turn.covers(it)}
        for directory in failed:
            self._failures[directory] = self._failures.get(directory, 0) + 1
            self._postpone([directory], now + _delay(self._failures[directory]))
        for directory, due in left.delayed.items():
            self._postpone([directory], due)

    def _give_back(self, turn: Turn) -> None:
        """Let the next pass cover what this one was to cover."""
        if turn.within is None:
            self._require_all(turn.reason)
        elif self._everything is None:
            self._dirty |= turn.within
            self._bound()
        if self._everything is not None:
            self.full_at = min(self.full_at, self._not_before)
