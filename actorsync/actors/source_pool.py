"""The pool of connections to a source on a server. The scanner, all lanes and the planner borrow from it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import attrs
import trio

from actorsync.actors.backoff import Backoff
from actorsync.actors.messages import Fact, holding
from actorsync.classes import define
from actorsync.endpoints.contract import ReadSession, Source, traits_of
from actorsync.errors import (
    ActorsyncError,
    ConnectionLost,
    LoginLapsed,
    LoginRefused,
    SourceLost,
    SourceUnreachable,
    TooManyConnections,
)
from actorsync.model.event import Learned, Warned
from actorsync.model.operation import Side
from actorsync.planning.admission.ceiling import Share

__all__ = ["SourceConnection", "SourcePool"]

#: Seconds without use after which a connection counts as idle: many servers then disconnect the client.
_IDLE: Final = 1.0
#: How many times in a row a login that worked before may be rejected: many servers then lock the account.
_LAPSES: Final = 3


@define(eq=False)
class _Login:
    """One attempt to open a connection. A task of its own makes it, because a session belongs to one task."""

    began: float = attrs.Factory(trio.current_time)
    error: ActorsyncError | None = None
    """Why it failed."""
    settled: trio.Event = attrs.Factory(trio.Event)
    """Is set once the connection is open, or has failed."""
    closing: trio.Event = attrs.Factory(trio.Event)
    """Is set to close the connection."""


@define(eq=False)
class SourceConnection:
    """One open connection of the pool."""

    session: ReadSession
    closing: trio.Event
    """Is set to close the connection."""
    used: float
    """When it was last used, on trio's clock."""
    users: int = 0
    is_alone: bool = False
    """Whether its user shares it with no other."""
    has_missed: bool = False
    """Whether a file that a listing showed could not be found over it. Listings then prefer another connection."""
    was_idle: bool = False
    """Whether its current use is the first after an idle time."""

    @property
    def is_idle(self) -> bool:
        """Whether it was not used for a while."""
        return trio.current_time() - self.used >= _IDLE

    def loss_counts(self, so_far: int) -> bool:
        """Return whether its loss counts as a failure, after ``so_far`` of them.

        The first loss after an idle time does not: many servers disconnect idle clients.
        """
        return not self.was_idle or so_far > 0


@define(eq=False)
class SourcePool:
    """Lends connections to the server of ``real``, for one listing or one file at a time.

    There are at most as many as the run may have connections to the target, and one more, so that the scan goes on
    while files are read. Logins happen one at a time, with growing delays after failures.
    """

    real: Source
    connections: int
    backoff: Backoff
    draining: trio.Event
    share: Share = attrs.field(factory=Share)
    """What it may have of the logins that several runs have at one account."""
    side: Side = Side.SOURCE
    _limit: int = attrs.field(init=False)
    _open: list[SourceConnection] = attrs.field(factory=list, init=False)
    _opening: _Login | None = attrs.field(default=None, init=False)
    _readers: int = attrs.field(default=0, init=False)
    _failures: int = attrs.field(default=0, init=False)
    _lapses: int = attrs.field(default=0, init=False)
    _last_failure: str = attrs.field(default="", init=False)
    _not_before: float = attrs.field(default=0.0, init=False)
    _login: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    _nursery: trio.Nursery = attrs.field(init=False)
    _facts: trio.MemorySendChannel[Fact] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._limit = self.connections + 1
        self.share.tell_changes(self._changed.unpark_all)

    @asynccontextmanager
    async def kept(self, facts: trio.MemorySendChannel[Fact]) -> AsyncIterator[None]:
        """Keep connections open inside the block, and close them at its end."""
        self._facts = facts
        with holding(facts):
            async with trio.open_nursery() as self._nursery:
                yield
                for connection in self._open:
                    connection.closing.set()
                if self._opening is not None:
                    self._opening.closing.set()

    # Lending.

    async def borrow(self, *, is_reading: bool, is_alone: bool) -> SourceConnection:
        """Wait for a connection that is free enough, and open one if the limit allows. Give it back afterwards.

        ``is_reading`` tells a file from a listing. With ``is_alone`` the connection is shared with no other user.

        Raises:
            SourceUnreachable: the server could not be reached in as many attempts as the back-off allows.
            LoginRefused: the server will never accept the login.
            SourceLost: the run is draining, and no connection is open.
        """
        while True:
            if not is_reading or self._readers < self._most_readers:
                connection = self._find(is_alone=is_alone, is_reading=is_reading)
                # Listings share one connection while it has room: they are short, and files need the other ones.
                shares = not is_reading or not self._may_connect(is_reading=True)
                is_last_choice = connection is not None and connection.has_missed and not is_reading
                if is_last_choice and self._may_connect(is_reading=False):
                    await self._connect()
                    continue
                # While another task logs in, a connection with room is shared: the login takes many round trips.
                if connection is not None and (connection.users == 0 or shares or self._login.locked()):
                    self._lend(connection, is_reading=is_reading, is_alone=is_alone)
                    return connection
                if self._may_connect(is_reading=is_reading):
                    await self._connect()
                    continue
            with trio.move_on_after(self.share.wait(trio.current_time()) or math.inf):
                await self._changed.park()

    def _lend(self, connection: SourceConnection, *, is_reading: bool, is_alone: bool) -> None:
        connection.was_idle = not connection.users and connection.is_idle
        connection.users += 1
        connection.is_alone = is_alone
        self._readers += is_reading

    def give_back(self, connection: SourceConnection, *, is_reading: bool) -> None:
        """End one use of a connection."""
        connection.users -= 1
        connection.is_alone = False
        connection.used = trio.current_time()
        self._readers -= is_reading
        self._changed.unpark_all()

    @property
    def _most_readers(self) -> int:
        return max(1, min(self.connections, self._limit - 1)) * self.real.capabilities.lanes

    def _may_connect(self, *, is_reading: bool) -> bool:
        """Return whether one more connection may be tried. While some are open, there is a delay after a failure."""
        if self._open and trio.current_time() < self._not_before:
            return False
        if self.share.wait(trio.current_time()) > 0:
            return False
        return len(self._open) < (min(self._limit, self.connections) if is_reading else self._limit)

    def _find(self, *, is_alone: bool, is_reading: bool) -> SourceConnection | None:
        """Return the connection with the fewest users among those that may have one more.

        For a listing, one that has missed a file is the last choice: the listing is to show whether the file is there.
        """
        most = 1 if is_alone else self.real.capabilities.lanes
        free = [it for it in self._open if it.users < most and not it.is_alone]
        return min(free, key=lambda it: (it.has_missed and not is_reading, it.users), default=None)

    # Connecting.

    async def _connect(self) -> None:
        """Open one more connection, unless another task has done so meanwhile.

        Also returns if that failed while others are open: the caller then waits for one of those. Raises what `borrow`
        raises.
        """
        before = len(self._open)
        async with self._login:
            if len(self._open) > before or self.share.wait(trio.current_time()) > 0:
                return
            if self._failures >= self.backoff.tries:
                raise self._unreachable(self._last_failure)
            login = self._opening = _Login()
            self.share.took(login)
            self._nursery.start_soon(self._keep, login)
            await login.settled.wait()
            match login.error:
                case None:
                    self._lapses = 0
                case TooManyConnections() if self._open or self.share.are_others_open():
                    self.share.refused(trio.current_time())
                    if self._open:
                        self._limit = len(self._open)
                    self._changed.unpark_all()
                case ConnectionLost() if self._open:
                    self._not_before = trio.current_time() + self.backoff.delay(1)
                case ConnectionLost() as lost:
                    await self._pause(lost)
                case LoginRefused() as refused:
                    raise LoginRefused(f"the {self.side.value} {refused}")
                case error:
                    raise error

    async def _keep(self, login: _Login) -> None:
        """Open one connection, and hold it until it is to be closed."""
        try:
            async with self.real.open_session() as session:
                with self._listed(SourceConnection(session, login.closing, login.began)):
                    self.share.opened(login, trio.current_time())
                    login.settled.set()
                    for text in session.warnings():
                        await self._facts.send(Warned(text))
                    await login.closing.wait()
                    for text in session.warnings():  # it may have learned more since
                        await self._facts.send(Warned(text))
                    for name, text in traits_of(self.real).take_news():
                        await self._facts.send(Learned(self.side, name, text))
        except ActorsyncError as error:
            login.error = error  # if the connection was open before, the error no longer matters
        finally:
            self.share.gave(login)
            login.settled.set()
            self._changed.unpark_all()

    @contextmanager
    def _listed(self, connection: SourceConnection) -> Iterator[None]:
        """List a connection as open inside the block."""
        self._open.append(connection)
        self._changed.unpark_all()
        try:
            yield
        finally:
            if connection in self._open:
                self._open.remove(connection)

    async def _pause(self, lost: ConnectionLost) -> None:
        """Wait before the next attempt, or raise `SourceUnreachable`."""
        self._failures += 1
        self._lapses += isinstance(lost, LoginLapsed)
        if self._failures >= self.backoff.tries or self._lapses >= _LAPSES:
            raise self._unreachable(str(lost))
        self._last_failure = str(lost)
        delay = self.backoff.delay(self._failures)
        if self._failures == 1:
            await self._facts.send(Warned(f"no connection to the {self.side.value}: {lost}; trying again"))
        with trio.move_on_after(delay):
            await self.draining.wait()
        if self.draining.is_set():
            raise SourceLost("the run is stopping")

    def _unreachable(self, reason: str) -> SourceUnreachable:
        return SourceUnreachable(f"the {self.side.value} {self.real.display} could not be reached: {reason}")

    def limit_to(self, count: int) -> None:
        """Have at most ``count`` connections from now on, and close those that are too many as soon as they are free.

        With 0 there is one more only if something is still to be read.
        """
        self._limit = min(self._limit, max(1, count))
        for connection in [it for it in self._open if not it.users][: max(0, len(self._open) - count)]:
            self._open.remove(connection)
            connection.closing.set()

    # Losing.

    def lose(self, connection: SourceConnection, lost: ConnectionLost) -> None:
        """Remove a lost connection from the pool. Its other users will find it lost as well."""
        if connection in self._open:
            self._open.remove(connection)
            self._failures += connection.loss_counts(self._failures)
            self._last_failure = str(lost)
        connection.closing.set()
        if connection.was_idle:  # the server has probably closed the other idle ones too
            for other in [other for other in self._open if not other.users and other.is_idle]:
                self._open.remove(other)
                other.closing.set()
        self._changed.unpark_all()

    def note_success(self) -> None:
        """Start counting failures again, because something was read."""
        self._failures = 0
