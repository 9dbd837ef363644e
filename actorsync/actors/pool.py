"""The pool: which connections may be, and how many. It has no connection itself; they ask it before they connect."""

from __future__ import annotations

import enum
from collections.abc import Callable

import attrs
import trio

from actorsync.actors.channels import Fact, holding
from actorsync.actors.statistics import Statistics
from actorsync.model.event import Resized
from actorsync.planning.sizing import Sizing

__all__ = ["Pool", "Role"]

#: Logins under way at once, as soon as one was accepted. OpenSSH turns some away from ten on (MaxStartups).
_LOGINS = 8
#: Seconds between two looks at whether more connections would be of use.
_INTERVAL = 1.0
#: What a file counts for beside its bytes: about what travels in the time that its round trips take.
_FILE = 64 * 1024


class Role(enum.Enum):
    """What a connection is let in for: to look out for the first thing to do, or to lend a hand."""

    SCOUT = enum.auto()
    HAND = enum.auto()


@attrs.define(eq=False)
class Pool:
    """Room for connections, and a circuit breaker for the host that they lead to.

    While nobody is connected (at the beginning, and when a server went away) one connection tries alone, with its
    back-off, and the others wait for what becomes of it: a server that is down is asked once, not once for each
    connection.
    """

    sizing: Sizing
    statistics: Statistics
    lanes: int = 1
    connected: set[int] = attrs.Factory(set)
    outages: int = 0
    """How often all connections, and there were several, were lost together: no work of ours does that."""
    _inside: set[int] = attrs.Factory(set)
    _connecting: set[int] = attrs.Factory(set)
    _lost_together: set[int] = attrs.Factory(set)
    _scout: int | None = None
    _wanted: int = 0
    _prober: int | None = None
    _is_closed: bool = False
    _changed: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)
    _began: float = attrs.Factory(trio.current_time)

    async def reserve(self, number: int) -> Role | None:
        """Wait until connection ``number``, which has nothing in hand, is wanted; None when it never will be.

        While nobody is connected, one looks out for the first thing to do, and connects for it; the others come when
        there is more than those who are connected can take.
        """
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
        """Call in connections for so many operations that wait for somebody to take them."""
        self._wanted = -(-waiting // self.lanes)
        if waiting:
            self._changed.unpark_all()

    async def turn(self, number: int) -> None:
        """Wait until connection ``number``, which has something to do, may log in."""
        while not self._may_try(number):
            await self._changed.park()
        self._connecting.add(number)
        if not self.connected:
            self._prober = number

    def _may_try(self, number: int) -> bool:
        if not self.connected:
            return self._prober in {None, number}
        return len(self._connecting) < _LOGINS

    def entered(self, number: int) -> bool:
        """Take note that a connection was let in; True when the server was not known to let in so many."""
        self._connecting.discard(number)
        self.connected.add(number)
        self._lost_together.clear()
        self._prober = None
        if self._scout == number:
            self._scout = None
        self._changed.unpark_all()
        return self.sizing.accepted(len(self.connected))

    def lost(self, number: int) -> None:
        """Take note that a connection was lost, or could not be made. It keeps its room, and will try again."""
        self._connecting.discard(number)
        if number in self.connected:
            self.connected.discard(number)
            self._lost_together.add(number)
            if not self.connected and len(self._lost_together) > 1:
                self.outages += 1
        self._changed.unpark_all()

    def left(self, number: int) -> None:
        """Take note that a connection will not come again."""
        self.lost(number)
        self._inside.discard(number)
        if self._prober == number:
            self._prober = None
        if self._scout == number:
            self._scout = None
        self._changed.unpark_all()

    def was_refused(self, number: int) -> bool:
        """Shrink, because the server has as many as it wants; False when it has none of us, and is just away."""
        if not self.connected - {number}:
            return False
        self.left(number)
        self.sizing.refused(len(self.connected), self._now())
        return True

    def close(self) -> None:
        """Let nobody in any more: there is nothing more to do."""
        self._is_closed = True
        self._changed.unpark_all()

    async def run(self, waiting: Callable[[], int], facts: trio.MemorySendChannel[Fact]) -> None:
        """Grow when that is of use, for as long as there is work ``waiting``. Ends when the pool is closed."""
        with holding(facts):
            while not self._is_closed:
                with trio.move_on_after(_INTERVAL):
                    while not self._is_closed:
                        await self._changed.park()
                done = self.statistics.bytes_sent + _FILE * self.statistics.files_done
                self.want(waiting())
                if waiting() and self.sizing.look(self._now(), len(self.connected), done):
                    await facts.send(Resized(self.sizing.size, self.sizing.ceiling, "there is more to do"))
                    self._changed.unpark_all()

    def _now(self) -> float:
        return trio.current_time() - self._began
