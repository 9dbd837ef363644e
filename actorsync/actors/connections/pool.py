"""The pool: which connections may log in, and how many there may be. It owns no connection; they ask it first."""

from __future__ import annotations

import enum
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import attrs
import trio

from actorsync.actors.control import Control
from actorsync.actors.messages import Fact, holding
from actorsync.actors.statistics import FILE_WEIGHT, Statistics
from actorsync.classes import define
from actorsync.errors import ConnectionLost, LoginLapsed, LoginRefused, OwnLimit, TooManyConnections
from actorsync.model.event import Resized
from actorsync.planning.admission.circuit_breaker import Breaker
from actorsync.planning.admission.login_rate import Logins
from actorsync.planning.admission.pool_size import Sizing

__all__ = ["AfterRejection", "Pool", "Role"]

#: Seconds between two checks whether more connections would make the run faster.
_INTERVAL: Final = 1.0
#: How many times in a row a login that worked before may be rejected while no connection is open. The server may still
#: count connections that are gone; or the password was changed, and many servers lock the account after some attempts.
_LAPSES: Final = 3
#: How many second sessions there are in a run, at most, and the number under which one of them logs in.
_GUESTS: Final = 4
_GUEST: Final = -1
#: Seconds before the first new attempt to write to a target that is full.
_FULL_SECONDS: Final = 10.0


class Role(enum.Enum):
    """Why a connection without work is admitted."""

    FIRST = enum.auto()  # no connection is open: it takes the first operation, and connects for it
    ADDITIONAL = enum.auto()  # more operations are waiting than the open connections can take


class AfterRejection(enum.Enum):
    """What a connection does after its login was rejected because there are too many connections."""

    RETRY = enum.auto()  # other logins were in progress: it tries again when it is the only one
    LEAVE = enum.auto()  # it is one too many: the others take its work
    BACK_OFF = enum.auto()  # no other connection is open: it counts as a failed attempt


@define(eq=False)
class Pool:
    """Admits connections to the target, and holds its two circuit breakers: host down, and target full.

    While no connection is open (at the beginning, and when the server is down) one connection tries alone, with its
    back-off, and the others wait for its result: a server that is down gets one attempt at a time, not one for each
    connection. ``full`` is the breaker for a target without room, which the lanes ask before each upload.

    A connection that is *admitted* has a place in the pool; it is in ``connected`` while its session is open.
    """

    sizing: Sizing
    statistics: Statistics
    lanes: int = 1
    jitter: Callable[[], float] = random.random
    note_size: Callable[[int], object] = bool
    """Called with the number of open connections when it changes."""
    connected: set[int] = attrs.Factory(set)
    outages: int = 0
    """How many times several connections were lost together, until none was left. No operation causes that."""
    full: Breaker = attrs.Factory(lambda: Breaker(_FULL_SECONDS))
    _host: Breaker = attrs.Factory(lambda: Breaker(is_open=True))
    _logins: Logins = attrs.Factory(Logins)
    _lapses: list[str] = attrs.Factory(list)  # why each of the last logins was rejected, after one had worked
    _admitted: set[int] = attrs.Factory(set)
    _lost_together: set[int] = attrs.Factory(set)
    _first: int | None = None
    _requested: int = 0
    _is_closed: bool = False
    _changed: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)
    _began: float = attrs.Factory(trio.current_time)
    _guests: int = _GUESTS
    _idle: dict[trio.CancelScope, int] = attrs.Factory(dict)
    """What waits for work, and the number of its connection."""

    def __attrs_post_init__(self) -> None:
        self.sizing.share.tell_changes(self._changed.unpark_all)

    # Logging in.

    @property
    def _size(self) -> float:
        """How many connections there may be now."""
        return min(self.sizing.size, self.sizing.share.most(trio.current_time()))

    async def reserve(self, number: int) -> Role | None:
        """Wait until connection ``number``, which has no work in hand, is needed. Return None if it never will be."""
        self._host.withdrew(number)  # it has no work, so another connection may be the one that tries
        self._changed.unpark_all()
        while not self._is_closed:
            if number in self._admitted or len(self._admitted) < self._size:
                if self._requested:
                    self._requested -= 1
                    self._admitted.add(number)
                    return Role.ADDITIONAL
                if not self.connected and self._first in {None, number}:
                    self._first = number
                    self._admitted.add(number)
                    return Role.FIRST
            await self._changed.park()
        return None

    def request(self, waiting: int) -> None:
        """Request connections for ``waiting`` operations that no lane has taken, and for those that will follow.

        Those are the operations that the planner has ready. While the target is surveyed for the first time, they are
        all files found so far: the logins then happen during the survey.
        """
        levels, before = self.statistics, self._requested
        waiting += max(levels.operations_ready, levels.files_found if levels.is_surveying else 0)
        self._requested = -(-waiting // self.lanes)
        if waiting and not before:  # lanes ask with each file, and those who wait know of an earlier request
            self._changed.unpark_all()

    async def may_log_in(self, number: int, *, has_work: bool) -> bool:
        """Wait until connection ``number`` may log in. Return False if it is one too many, or if no work is left.

        One that ``has_work`` in hand may log in even if the pool is closed.

        Raises `LoginLapsed` if a login that worked before was rejected `_LAPSES` times.
        """
        while has_work or not self._is_closed:
            wait = self._wait(number)
            if wait == 0:
                self._logins.began(number)
                self.sizing.share.took(number)
                return True
            if wait is None:
                return False
            with trio.move_on_after(wait):
                await self._changed.park()
        return False

    def _wait(self, number: int) -> float | None:
        """Return the seconds until ``number`` may log in, unless something changes earlier; None if it must not."""
        now = trio.current_time()
        if self._logins.are_forbidden:
            return math.inf
        if not self.connected:
            if self.is_locked_out:
                raise LoginLapsed(self._lapses[-1])
            if (wait := self.sizing.share.wait(now)) > 0:
                return wait
            return 0.0 if self._host.admits(number, now) else math.inf
        if len(self.connected | self._logins.under_way) >= self._size:
            return None
        if (wait := self.sizing.share.wait(now)) > 0:
            return wait
        pause = self._logins.wait(now)
        return math.inf if pause is None else pause

    def note_connected(self, number: int) -> bool:
        """Note that a connection is open. Return True if it is the first one after failed attempts."""
        self._logins.ended(number, trio.current_time(), self.jitter())
        self.connected.add(number)
        self.sizing.share.opened(number, trio.current_time())
        self.note_size(len(self.connected))
        self._lost_together.clear()
        self._lapses.clear()
        self._logins.are_forbidden = False
        if self._first == number:
            self._first = None
        self._changed.unpark_all()
        self._dismiss()
        return self._host.close()

    @property
    def has_room_for_guest(self) -> bool:
        """Whether a connection may open a second session for a moment, inside `guest`.

        There are few of them in a run, and never more sessions than the pool may have connections.
        """
        now = trio.current_time()
        is_free = len(self.connected | self._logins.under_way) < self._size and not self._logins.are_forbidden
        may_log_in = self._logins.wait(now) == 0 and self.sizing.share.wait(now) == 0
        return self._guests > 0 and is_free and may_log_in

    @contextmanager
    def guest(self) -> Iterator[None]:
        """Hold the place of a second session during the block, which ends early if that session is lost or rejected.

        Then there is no other one in this run: a server may count logins, or lock the account. The limit of connections
        stays as it was.
        """
        self._guests -= 1
        self._logins.began(_GUEST)
        self.sizing.share.took(_GUEST)
        try:
            yield
        except (ConnectionLost, LoginRefused):
            self._guests = 0
        finally:
            self._logins.ended(_GUEST, trio.current_time(), self.jitter())
            self.sizing.share.gave(_GUEST)
            self._changed.unpark_all()

    # Leaving.

    def note_lost(self, number: int) -> None:
        """Note that a connection was lost, or could not be made. It stays admitted, and will try again."""
        self._logins.ended(number, trio.current_time(), self.jitter())
        self.sizing.share.gave(number)
        if number in self.connected:
            self.connected.discard(number)
            self.note_size(len(self.connected))
            self._lost_together.add(number)
            if not self.connected and len(self._lost_together) > 1:
                self.outages += 1
        if not self.connected:
            self._host.trip()
        self._changed.unpark_all()

    def leave(self, number: int) -> None:
        """Free the place of a connection. It ends, or has to be admitted again."""
        self.note_lost(number)
        self._admitted.discard(number)
        self._host.withdrew(number)
        if self._first == number:
            self._first = None
        self._changed.unpark_all()

    def note_rejected(self, number: int, error: TooManyConnections) -> AfterRejection:
        """Note that a login was rejected, or that this machine has no room for a connection; decide what follows."""
        now, is_ours = trio.current_time(), isinstance(error, OwnLimit)
        if not (self.connected - {number} or (self.sizing.share.are_others_open() and not is_ours)):
            if isinstance(error, LoginLapsed):
                self._lapses.append(str(error))
            return AfterRejection.BACK_OFF
        if not is_ours and self._logins.is_too_early(number, now, self.jitter()):
            self._requested += 1
            self._changed.unpark_all()
            return AfterRejection.RETRY
        self.leave(number)
        if not is_ours:
            self.sizing.share.refused(now)
        if self.connected:  # else the others at the same account have all connections
            self.sizing.refused(len(self.connected), now - self._began, by_server=not is_ours)
        return AfterRejection.LEAVE

    def forbid_logins(self) -> None:
        """Let no further login begin, because the run is about to end. One in progress may still succeed."""
        self._logins.are_forbidden = True

    def note_failure(self, number: int, error: ConnectionLost) -> bool:
        """Note why a connection has to wait. Return True if the host breaker opens with that: it has failed first."""
        return not self.connected and self._host.failed(number, str(error), trio.current_time())

    @property
    def is_locked_out(self) -> bool:
        """Whether a login that worked before was rejected too often to try it again."""
        return len(self._lapses) >= _LAPSES

    def close(self) -> None:
        """Admit no more connections without work, because no work is left."""
        self._is_closed = True
        self._changed.unpark_all()

    # What the user wants.

    async def follow(self, control: Control, facts: trio.MemorySendChannel[Fact]) -> None:
        """Keep as many connections as the user wants, until the pool is closed."""
        with holding(facts):
            while not self._is_closed:
                before = self.sizing.size
                if self.want(control.connections):
                    await facts.send(Resized(self.sizing.size, self.sizing.ceiling, "the user wants it", before))
                await control.changed()

    def want(self, count: int | None) -> bool:
        """Have at most ``count`` connections from now on; None for all. Return whether the size has changed."""
        has_changed = self.sizing.want(count)
        if has_changed:
            self._changed.unpark_all()
        self._dismiss()
        return has_changed

    def is_one_too_many(self, number: int) -> bool:
        """Return whether a connection is to leave when it is idle: more are open than the user wants."""
        most = self.sizing.most
        return len(self.connected) > most and number in sorted(self.connected)[most:]

    @contextmanager
    def until_one_too_many(self, number: int) -> Iterator[None]:
        """Cancel the block as soon as a connection is to leave.

        Hundreds of lanes wait in it at the same time, and each for a moment: a task for each would cost more than the
        block.
        """
        with trio.CancelScope() as scope:
            self._idle[scope] = number
            self._dismiss()
            try:
                yield
            finally:
                del self._idle[scope]

    def _dismiss(self) -> None:
        """Let go what waits over a connection that is to leave."""
        if len(self.connected) > self.sizing.most:
            for scope, number in self._idle.items():
                if self.is_one_too_many(number):
                    scope.cancel()

    # Growing.

    async def run(self, waiting: Callable[[], int], facts: trio.MemorySendChannel[Fact]) -> None:
        """Grow while that makes the run faster, while operations are ``waiting``. Return when the pool is closed."""
        with holding(facts):
            while not self._is_closed:
                with trio.move_on_after(_INTERVAL):
                    while not self._is_closed:
                        await self._changed.park()
                done = self.statistics.bytes_moved + FILE_WEIGHT * self.statistics.files_done
                self.request(waiting())
                self._changed.unpark_all()  # what a share allows depends on the time
                before, sizing = self.sizing.size, self.sizing
                if waiting() and sizing.look(trio.current_time() - self._began, len(self.connected), done):
                    await facts.send(Resized(sizing.size, sizing.ceiling, "more operations are waiting", before))
                    self._changed.unpark_all()
