"""The pool: which connections may be, and how many. It has no connection itself; they ask it before they connect."""

from __future__ import annotations

import enum
import math
import random
from collections.abc import Callable

import attrs
import trio

from actorsync.actors.messages import Fact, holding
from actorsync.actors.statistics import Statistics
from actorsync.errors import ConnectionLost, LoginLapsed, OwnLimit, TooManyConnections
from actorsync.model.event import Resized
from actorsync.planning.circuit_breaker import Breaker
from actorsync.planning.login_rate import Logins
from actorsync.planning.pool_size import Sizing

__all__ = ["Place", "Pool", "Role"]

#: Seconds between two looks at whether more connections would be of use.
_INTERVAL = 1.0
#: What a file counts for beside its bytes: about what travels in the time that its round trips take.
_FILE = 64 * 1024
#: How often in a row a login that was good before may be refused while nobody is connected. It may be that the server
#: still counts connections that are gone; it may be a password that was changed, and servers lock accounts out.
_LAPSES = 3
#: A target without room is asked again after so many seconds at first.
_FULL_SECONDS = 10.0


class Role(enum.Enum):
    """What a connection is let in for: to look out for the first thing to do, or to lend a hand."""

    SCOUT = enum.auto()
    HAND = enum.auto()


class Place(enum.Enum):
    """Where a connection that was turned away has its place."""

    WAITING = enum.auto()  # it came with others, and comes again when it is alone
    OUTSIDE = enum.auto()  # it was one too many: the others have its work
    ALONE = enum.auto()  # nobody else is connected: the server is as good as away


@attrs.define(eq=False)
class Pool:
    """Room for connections, and the circuit breakers for the host that they lead to.

    While nobody is connected (at the beginning, and when a server went away) one connection tries alone, with its
    back-off, and the others wait for what becomes of it: a server that is down is asked once, not once for each
    connection. ``full`` is the breaker of the target's room, which the lanes ask before each copy.
    """

    sizing: Sizing
    statistics: Statistics
    lanes: int = 1
    jitter: Callable[[], float] = random.random
    connected: set[int] = attrs.Factory(set)
    outages: int = 0
    """How often all connections, and there were several, were lost together: no work of ours does that."""
    full: Breaker = attrs.Factory(lambda: Breaker(_FULL_SECONDS))
    _host: Breaker = attrs.Factory(lambda: Breaker(is_open=True))
    _logins: Logins = attrs.Factory(Logins)
    _is_barred: bool = False
    _lapses: int = 0
    _lapse: str = ""
    _inside: set[int] = attrs.Factory(set)
    _lost_together: set[int] = attrs.Factory(set)
    _scout: int | None = None
    _wanted: int = 0
    _is_closed: bool = False
    _changed: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)
    _began: float = attrs.Factory(trio.current_time)

    # Coming in.

    async def reserve(self, number: int) -> Role | None:
        """Wait until connection ``number``, which has nothing in hand, is wanted; None when it never will be.

        While nobody is connected, one looks out for the first thing to do, and connects for it; the others come when
        there is more than those who are connected can take.
        """
        self._host.withdrew(number)  # who has nothing to do does not ask for the server, and others may wait for that
        self._changed.unpark_all()
        while not self._is_closed:
            if number in self._inside or len(self._inside) < self.sizing.size:
                if self._wanted:
                    self._wanted -= 1
                    self._inside.add(number)
                    return Role.HAND
                if not self.connected and self._scout in {None, number}:
                    self._scout = number
                    self._inside.add(number)
                    return Role.SCOUT
            await self._changed.park()
        return None

    def want(self, waiting: int) -> None:
        """Call in connections for so many operations that wait for somebody to take them, and for what will follow.

        That is what the planner has ready; while a target is looked at for the first time, it is what the source holds:
        logins take as long as the look.
        """
        levels = self.statistics
        waiting += max(levels.operations_ready, levels.files_found if levels.is_surveying else 0)
        self._wanted = -(-waiting // self.lanes)
        if waiting:
            self._changed.unpark_all()

    async def turn(self, number: int, *, has_something: bool) -> bool:
        """Wait until connection ``number`` may log in. False when there is no room for it any more, or no work.

        One that ``has_something`` in hand is let in also when all else is done.

        Raises `LoginLapsed` when the login that was good has been refused often enough: nobody tries it again.
        """
        while has_something or not self._is_closed:
            wait = self._wait(number)
            if wait == 0:
                self._logins.began(number)
                return True
            if wait is None:
                return False
            with trio.move_on_after(wait):
                await self._changed.park()
        return False

    def _wait(self, number: int) -> float | None:
        """Give the seconds until ``number`` may log in, unless something changes before; None when it may not."""
        now = trio.current_time()
        if self._is_barred:
            return math.inf
        if not self.connected:
            if self.is_locked_out:
                raise LoginLapsed(self._lapse)
            return 0.0 if self._host.admits(number, now) else math.inf
        if len(self.connected | self._logins.under_way) >= self.sizing.size:
            return None
        wait = self._logins.wait(now)
        return math.inf if wait is None else wait

    def entered(self, number: int) -> bool:
        """Take note that a connection was let in; True when nobody was connected, after something had failed."""
        self._logins.ended(number, trio.current_time(), self.jitter())
        self.connected.add(number)
        self._lost_together.clear()
        self._lapses, self._is_barred = 0, False
        if self._scout == number:
            self._scout = None
        self._changed.unpark_all()
        return self._host.close()

    # Leaving.

    def lost(self, number: int) -> None:
        """Take note that a connection was lost, or could not be made. It keeps its room, and will try again."""
        self._logins.ended(number, trio.current_time(), self.jitter())
        if number in self.connected:
            self.connected.discard(number)
            self._lost_together.add(number)
            if not self.connected and len(self._lost_together) > 1:
                self.outages += 1
        if not self.connected:
            self._host.trip()
        self._changed.unpark_all()

    def left(self, number: int) -> None:
        """Take note that a connection will not come again, or begins anew."""
        self.lost(number)
        self._inside.discard(number)
        self._host.withdrew(number)
        if self._scout == number:
            self._scout = None
        self._changed.unpark_all()

    def turned_away(self, number: int, error: TooManyConnections) -> Place:
        """Find a place for a connection that was turned away, or could not be opened."""
        now, is_ours = trio.current_time(), isinstance(error, OwnLimit)
        if not self.connected - {number}:
            if isinstance(error, LoginLapsed):
                self._lapses, self._lapse = self._lapses + 1, str(error)
            return Place.ALONE
        if not is_ours and self._logins.is_too_early(number, now, self.jitter()):
            self._wanted += 1
            self._changed.unpark_all()
            return Place.WAITING
        self.left(number)
        self.sizing.refused(len(self.connected), now - self._began, by_server=not is_ours)
        return Place.OUTSIDE

    def bar(self) -> None:
        """Have nobody try to log in any more, because the run ends with that; but who is at it may come in."""
        self._is_barred = True

    def is_away(self, number: int, error: ConnectionLost) -> bool:
        """Take note of why a connection has to wait; True when it is news that nobody is connected."""
        return not self.connected and self._host.failed(number, str(error), trio.current_time())

    @property
    def is_locked_out(self) -> bool:
        """Whether a login that was good before has been refused often enough."""
        return self._lapses >= _LAPSES

    def close(self) -> None:
        """Let nobody in any more: there is nothing more to do."""
        self._is_closed = True
        self._changed.unpark_all()

    # Growing.

    async def run(self, waiting: Callable[[], int], facts: trio.MemorySendChannel[Fact]) -> None:
        """Grow when that is of use, for as long as there is work ``waiting``. Ends when the pool is closed."""
        with holding(facts):
            while not self._is_closed:
                with trio.move_on_after(_INTERVAL):
                    while not self._is_closed:
                        await self._changed.park()
                done = self.statistics.bytes_sent + _FILE * self.statistics.files_done
                self.want(waiting())
                before, sizing = self.sizing.size, self.sizing
                if waiting() and sizing.look(trio.current_time() - self._began, len(self.connected), done):
                    await facts.send(Resized(sizing.size, sizing.ceiling, "there is more to do", before))
                    self._changed.unpark_all()
