"""The pool of connections to a source on a server. The scanner, all lanes and the planner borrow from it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from typing import Final

import attrs
import trio

from actorsync.actors.backoff import Backoff
from actorsync.actors.messages import Fact, holding
from actorsync.actors.reading.source_connections import Failed, Login, SourceConnection, Waiting
from actorsync.classes import define
from actorsync.endpoints.contract import Source, traits_of
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
from actorsync.planning.admission.login_rate import Logins

__all__ = ["SourcePool"]

#: How many times in a row a login that worked before may be rejected: many servers then lock the account.
_LAPSES: Final = 3


@define(eq=False)
class SourcePool:
    """Lends connections to the server of ``real``, for one listing or one file at a time.

    There are at most as many as the run may have connections to the target, and one more, so that the scan goes on
    while files are read. While none is open, logins happen one at a time, with growing delays after failures. The
    others are made side by side, one for each use that waits, and a use takes whichever connection is free first.
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
    _opening: set[Login] = attrs.field(factory=set, init=False)
    _refusal: ActorsyncError | None = attrs.field(default=None, init=False)
    """Why there is no use in going on, as a login beside others has shown."""
    _logins: Logins = attrs.field(factory=Logins, init=False)
    _numbers: Iterator[int] = attrs.field(factory=count, init=False)
    waiting: Waiting = attrs.field(factory=Waiting, init=False)
    _readers: int = attrs.field(default=0, init=False)
    _failed: Failed = attrs.field(factory=Failed, init=False)
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
                for login in self._opening:
                    login.closing.set()

    # Lending.

    async def borrow(self, *, is_reading: bool, is_alone: bool) -> SourceConnection:
        """Wait for a connection that is free enough, and open one if the limit allows. Give it back afterwards.

        ``is_reading`` tells a file from a listing. With ``is_alone`` the connection is shared with no other user.

        Raises:
            SourceUnreachable: the server could not be reached in as many attempts as the back-off allows.
            LoginRefused: the server will never accept the login.
            SourceLost: the run is draining, and no connection is open.
        """
        with self.waiting.counted(is_reading=is_reading):
            while True:
                if self._refusal is not None:
                    raise self._refusal
                if not is_reading or self._readers < self._most_readers:
                    connection = self._find(is_alone=is_alone, is_reading=is_reading)
                    # Listings share one connection while it has room: they are short, and files need the other ones.
                    shares = not is_reading or not self._may_connect(is_reading=True)
                    is_last_choice = connection is not None and connection.has_missed and not is_reading
                    if is_last_choice and self._may_connect(is_reading=False):
                        await self._connect()
                        continue
                    # While a login goes on, a connection with room is shared: the login takes many round trips.
                    if connection is not None and (connection.users == 0 or shares or self._is_logging_in):
                        self._lend(connection, is_reading=is_reading, is_alone=is_alone)
                        return connection
                    if self._may_connect(is_reading=is_reading):
                        if connection is not None or not self._open:
                            await self._connect()
                            continue
                        self._connect_beside()
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

    @property
    def _is_logging_in(self) -> bool:
        return bool(self._opening) or self._login.locked()

    def _may_connect(self, *, is_reading: bool) -> bool:
        """Return whether one more connection may be tried. While some are open, there is a delay after a failure.

        Beside others there are never more logins than uses that wait.
        """
        now = trio.current_time()
        if self._open and (now < self._failed.not_before or self._logins.wait(now) != 0):
            return False
        if self.share.wait(now) > 0 or (self._open and len(self._opening) >= self.waiting.uses):
            return False
        most = min(self._limit, self.connections) if is_reading else self._limit
        return len(self._open) + len(self._opening) < most

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
        if self._open:
            login = self._connect_beside()
            await login.settled.wait()
            return
        async with self._login:
            if self._open or self.share.wait(trio.current_time()) > 0:
                return
            if self._failed.count >= self.backoff.tries:
                raise self._unreachable(self._failed.reason)
            login = self._begin()
            await login.settled.wait()
            if isinstance(login.error, ConnectionLost) and not (self._is_one_too_many(login.error) or self._open):
                await self._pause(login.error)
            else:
                await self._settle(login)
        if self._refusal is not None:
            raise self._refusal

    def _connect_beside(self) -> Login:
        """Begin to open one more connection, while others are open."""
        login = self._begin()
        self._logins.began(login.number)
        self._nursery.start_soon(self._settle, login)
        return login

    def _begin(self) -> Login:
        login = Login(next(self._numbers))
        self._opening.add(login)
        self.share.took(login)
        self._nursery.start_soon(self._keep, login)
        return login

    def _is_one_too_many(self, error: ActorsyncError | None) -> bool:
        return isinstance(error, TooManyConnections) and (bool(self._open) or self.share.are_others_open())

    async def _settle(self, login: Login) -> None:
        """Draw the conclusions from a login when it has ended, while others are open or when it was the first."""
        await login.settled.wait()
        now, error = trio.current_time(), login.error
        self._logins.ended(login.number, now, self.backoff.jitter())
        if error is None:
            self._failed.lapses = 0
        elif self._is_one_too_many(error):
            if not self._logins.is_too_early(login.number, now, self.backoff.jitter()):
                self.share.refused(now)
                if self._open:
                    self._limit = len(self._open)
        elif isinstance(error, ConnectionLost):
            self._failed.not_before = now + self.backoff.delay(1)
        elif isinstance(error, LoginRefused):
            self._refusal = LoginRefused(f"the {self.side.value} {error}")
        else:
            self._refusal = error
        self._changed.unpark_all()

    async def _keep(self, login: Login) -> None:
        """Open one connection, and hold it until it is to be closed."""
        try:
            async with self.real.open_session() as session:
                connection = SourceConnection(session, login.closing, login.closed, login.began)
                with self._listed(connection):
                    self._opening.discard(login)
                    self.share.opened(login, trio.current_time())
                    login.settled.set()
                    for text in session.warnings():
                        await self._facts.send(Warned(text))
                    await login.closing.wait()
                    for text in session.warnings():  # it may have learned more since
                        await self._facts.send(Warned(text))
                    for name, text in traits_of(self.real).take_news():
                        await self._facts.send(Learned(self.side, name, text))
                if connection.lost is not None:
                    raise connection.lost  # so that nobody who keeps sessions open gives it to the next one
        except ActorsyncError as error:
            login.error = error  # if the connection was open before, the error no longer matters
        finally:
            self._opening.discard(login)
            self.share.gave(login)
            login.settled.set()
            login.closed.set()
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
        self._failed.count += 1
        self._failed.lapses += isinstance(lost, LoginLapsed)
        if self._failed.count >= self.backoff.tries or self._failed.lapses >= _LAPSES:
            raise self._unreachable(str(lost))
        self._failed.reason = str(lost)
        delay = self.backoff.delay(self._failed.count)
        if self._failed.count == 1:
            await self._facts.send(Warned(f"no connection to the {self.side.value}: {lost}; trying again"))
        with trio.move_on_after(delay):
            await self.draining.wait()
        if self.draining.is_set():
            raise SourceLost("the run is stopping")

    def _unreachable(self, reason: str) -> SourceUnreachable:
        return SourceUnreachable(f"the {self.side.value} {self.real.display} could not be reached: {reason}")

    async def limit_to(self, count: int) -> None:
        """Have at most ``count`` connections from now on, and wait until those that are too many and free are closed.

        With 0 there is one more only if something is still to be read.
        """
        self._limit = min(self._limit, max(1, count))
        closing = [it for it in self._open if not it.users][: max(0, len(self._open) - count)]
        for connection in closing:
            self._open.remove(connection)
            connection.closing.set()
        for connection in closing:
            await connection.closed.wait()

    def gives_up_one(self) -> bool:
        """Have one connection less from now on. Returns False if they are all in use, or it is the only one."""
        if self._limit <= max(1, len(self._open) + len(self._opening)):
            return False
        self._limit -= 1
        return True

    # Losing.

    def lose(self, connection: SourceConnection, lost: ConnectionLost) -> None:
        """Remove a lost connection from the pool. Its other users will find it lost as well."""
        if connection in self._open:
            self._open.remove(connection)
            self._failed.count += connection.loss_counts(self._failed.count)
            self._failed.reason = str(lost)
        connection.lost = lost
        connection.closing.set()
        if connection.was_idle:  # the server has probably closed the other idle ones too
            for other in [other for other in self._open if not other.users and other.is_idle]:
                self._open.remove(other)
                other.lost = lost
                other.closing.set()
        self._changed.unpark_all()

    def note_success(self) -> None:
        """Start counting failures again, because something was read."""
        self._failed.count = 0
