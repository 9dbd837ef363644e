"""A source that is on a server, as the other actors see it: its sessions cost nothing, and are never lost.

The scanner, every lane and the planner want to read, each by itself. `RemoteSource` gives them sessions that borrow one
of a few connections for as long as one listing or one file takes. There are no more of them than the run may have
connections to the target, and one, so that the scan goes on while all of them read.

**Whose loss it is.** A connection to the source that is lost while a file is on its way to the target is no loss of the
target's. So a `ConnectionLost` of the source ends here: a listing is asked for again, and what was being read becomes a
`SourceLost`, which is a refusal to the target's session: it drops the half of the file, and goes on. The file is read
again. One over which connections are lost again and again is read alone, and fails in the end; so does a directory.

**When there is no source**, the run ends: connecting is tried by one at a time, with growing delays, and as often as a
connection to the target is. What was not seen is not known to be gone, so nothing is removed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import attrs
import trio

from actorsync.actors.backoff import Backoff
from actorsync.actors.messages import Fact, holding
from actorsync.endpoints.contract import Capabilities, Content, ReadSession, Source
from actorsync.endpoints.wrappers.base import ContentWrapper, EndpointWrapper
from actorsync.errors import (
    ActorsyncError,
    ConnectionLost,
    GuardRefused,
    LoginLapsed,
    LoginRefused,
    OperationRefused,
    SourceLost,
    SourceUnreachable,
    TooManyConnections,
    Vanished,
)
from actorsync.model.entry import Entry, Kind, Listing, Problem, Root, parent_of
from actorsync.model.event import Warned

__all__ = ["LOSSES", "RemoteSource"]

#: How many connections may be lost in a row over one file or directory; from the second on it has one for itself.
LOSSES = 5
#: Seconds after which a connection that nobody used was at rest: servers hang up on those who say nothing for long.
_REST = 1.0
#: How often in a row a login that was good before may be refused: servers lock accounts out.
_LAPSES = 3


@attrs.define(eq=False)
class _Link:
    """One connection, kept by a task of its own from its login to its end."""

    session: ReadSession | None = None
    error: ActorsyncError | None = None
    settled: trio.Event = attrs.Factory(trio.Event)
    """It is open, or is known not to be."""
    closing: trio.Event = attrs.Factory(trio.Event)
    users: int = 0
    is_alone: bool = False
    """Whoever has it wants nobody beside."""
    is_rested: bool = False
    """Whether what it is used for is the first after a rest."""
    used: float = 0.0


def _has_rested(link: _Link) -> bool:
    return trio.current_time() - link.used >= _REST


@attrs.define(eq=False)
class RemoteSource(EndpointWrapper[Source]):
    """The endpoint ``real`` behind a few connections that are shared. Of use only inside `kept`.

    Its sessions list and open; they raise `SourceUnreachable` when the server stays away, `LoginRefused` as ``real``
    does, and never `ConnectionLost`.
    """

    connections: int
    backoff: Backoff
    draining: trio.Event
    _limit: int = attrs.field(init=False)
    _links: list[_Link] = attrs.field(factory=list, init=False)
    _readers: int = attrs.field(default=0, init=False)
    _failures: int = attrs.field(default=0, init=False)
    _lapses: int = attrs.field(default=0, init=False)
    _not_before: float = attrs.field(default=0.0, init=False)
    _opening: _Link | None = attrs.field(default=None, init=False)
    _last: str = attrs.field(default="", init=False)
    _losses: Counter[str] = attrs.field(factory=Counter, init=False)
    _door: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    _nursery: trio.Nursery = attrs.field(init=False)
    _facts: trio.MemorySendChannel[Fact] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._limit = self.connections + 1

    @property
    def capabilities(self) -> Capabilities:
        """What the real place can do. No session of this one is lost, so it does not count as remote."""
        return attrs.evolve(self.real.capabilities, is_remote=False)

    @asynccontextmanager
    async def kept(self, facts: trio.MemorySendChannel[Fact]) -> AsyncIterator[None]:
        """Keep connections until the end of the block, and take leave of them then."""
        self._facts = facts
        with holding(facts):
            async with trio.open_nursery() as self._nursery:
                yield
                for link in [*self._links, *([self._opening] if self._opening else [])]:
                    link.closing.set()

    async def identify(self) -> Root:
        """Say that the root is a directory. Raises `GuardRefused` when it is none that can be listed."""
        found = await _RemoteSession(self).list_directory("")
        if found.problem is not None:
            raise GuardRefused(f"cannot use the source {self.display} as a root: {found.problem.reason}")
        return Root(Entry("", Kind.DIRECTORY))

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[ReadSession]:
        """Give a session that borrows connections when it needs one."""
        await trio.lowlevel.checkpoint()
        yield _RemoteSession(self)

    async def is_gone(self, entry: Entry) -> bool:
        """Ask for an entry by its name: whether it is gone, as a listing did not show it.

        A listing in clear may have been cut short on its way, and then looks whole.
        """
        session = _RemoteSession(self)
        if entry.kind is Kind.DIRECTORY:
            problem = (await session.list_directory(entry.path)).problem
            return problem is not None and problem.vanished
        try:
            async with session.open(entry.path):
                return False
        except Vanished:
            return True
        except OperationRefused:
            return False

    # Borrowing.

    async def borrow(self, *, is_reading: bool, is_alone: bool) -> _Link:
        """Wait for a connection that has room, and connect where another one may be.

        Raises what `connect` raises.
        """
        while True:
            if not is_reading or self._readers < self._most_readers:
                link = self._find(is_alone=is_alone)
                # Listings share one connection as long as it has room: they are short, and the files need the others.
                shares = not is_reading or not self._may_connect(is_reading=True)
                if link is not None and (link.users == 0 or shares):
                    link.is_rested = not link.users and _has_rested(link)
                    link.users += 1
                    link.is_alone = is_alone
                    self._readers += is_reading
                    return link
                if self._may_connect(is_reading=is_reading):
                    await self._connect()
                    continue
            await self._changed.park()

    def give_back(self, link: _Link, *, is_reading: bool) -> None:
        """Say that nothing more is asked of a connection by whoever has borrowed it."""
        link.users -= 1
        link.is_alone = False
        link.used = trio.current_time()
        self._readers -= is_reading
        self._changed.unpark_all()

    @property
    def _most_readers(self) -> int:
        return max(1, min(self.connections, self._limit - 1)) * self.real.capabilities.lanes

    def _may_connect(self, *, is_reading: bool) -> bool:
        """Whether one more may be tried. Where some are open, one that failed is not tried again at once."""
        if self._links and trio.current_time() < self._not_before:
            return False
        return len(self._links) < (min(self._limit, self.connections) if is_reading else self._limit)

    def _find(self, *, is_alone: bool) -> _Link | None:
        """Give the connection with the fewest users, of those that may have one more."""
        most = 1 if is_alone else self.real.capabilities.lanes
        free = [link for link in self._links if link.users < most and not link.is_alone]
        return min(free, key=lambda link: link.users, default=None)

    # Connecting.

    async def _connect(self) -> None:
        """Make one more connection, unless somebody else has made one meanwhile. One at a time.

        Returns to have a look what there is now, also when no other could be made, and there are some.

        Raises:
            LoginRefused: it will never be possible; or `SourceUnreachable`: it was tried often enough.
            SourceLost: the run is being drained, and there is no waiting any more.
        """
        before = len(self._links)
        async with self._door:
            if len(self._links) > before:
                return
            if self._failures >= self.backoff.tries:
                raise SourceUnreachable(f"the source {self.display} stayed away: {self._last}")
            link = self._opening = _Link(used=trio.current_time())
            self._nursery.start_soon(self._keep, link)
            await link.settled.wait()
            match link.error:
                case None:
                    self._lapses = 0
                case TooManyConnections() if self._links:
                    self._limit = len(self._links)
                    self._changed.unpark_all()
                case ConnectionLost() if self._links:
                    self._not_before = trio.current_time() + self.backoff.delay(1)
                case ConnectionLost() as lost:
                    await self._pause(lost)
                case LoginRefused() as refused:
                    raise LoginRefused(f"the source {refused}")
                case error:
                    raise error

    async def _keep(self, link: _Link) -> None:
        """Hold one connection open: sessions are opened and closed by the same task."""
        try:
            async with self.real.open_session() as session:
                link.session = session
                self._links.append(link)
                link.settled.set()
                self._changed.unpark_all()
                for text in session.warnings():
                    await self._facts.send(Warned(text))
                await link.closing.wait()
        except ActorsyncError as error:
            link.error = error  # of one that was open: it is gone either way
        finally:
            if link in self._links:
                self._links.remove(link)
            link.settled.set()
            self._changed.unpark_all()

    async def _pause(self, lost: ConnectionLost) -> None:
        """Wait before the next try, or give up."""
        self._failures += 1
        self._lapses += isinstance(lost, LoginLapsed)
        if self._failures >= self.backoff.tries or self._lapses >= _LAPSES:
            raise SourceUnreachable(f"the source {self.display} stayed away: {lost}")
        self._last = str(lost)
        delay = self.backoff.delay(self._failures)
        if self._failures == 1:
            await self._facts.send(Warned(f"no connection to the source: {lost}; trying again"))
        with trio.move_on_after(delay):
            await self.draining.wait()
        if self.draining.is_set():
            raise SourceLost("the run is being drained")

    # Losing.

    def lose(self, link: _Link, lost: ConnectionLost) -> None:
        """Let go of a connection that is lost, with all who use it."""
        if link in self._links:
            self._links.remove(link)
            self._failures += self._counts(link, self._failures)
            self._last = str(lost)
        link.closing.set()
        if link.is_rested:  # and so are others, in all likelihood
            for other in [other for other in self._links if not other.users and _has_rested(other)]:
                self._links.remove(other)
                other.closing.set()
        self._changed.unpark_all()

    def lost_over(self, path: str, link: _Link, lost: ConnectionLost) -> OperationRefused:
        """Take note of what the connection was lost over, and say what that is to whoever reads it."""
        self.lose(link, lost)
        self._losses[path] += self._counts(link, self._losses[path])
        if self._losses[path] < LOSSES:
            return SourceLost(f"the connection to the source was lost: {lost}")
        return OperationRefused(f"the connection to the source was lost {LOSSES} times over it: {lost}")

    def _counts(self, link: _Link, so_far: int) -> bool:
        """Whether a loss counts: the one that ends a rest does not, unless others went before it."""
        return not link.is_rested or so_far > 0

    async def wait_after_losses(self, path: str) -> None:
        """Wait before something is asked again over which connections were lost more than once."""
        if self._losses[path] > 1:
            with trio.move_on_after(self.backoff.delay(self._losses[path] - 1)):
                await self.draining.wait()

    def is_suspect(self, path: str) -> bool:
        """Whether connections were lost over it, so that others are better off elsewhere."""
        return self._losses[path] >= 2

    def succeeded(self, path: str) -> None:
        """Start counting again: something was read."""
        self._failures = 0
        self._losses.pop(path, None)


@attrs.frozen
class _RemoteSession(ReadSession):
    """A session of a `RemoteSource`."""

    _source: RemoteSource

    async def list_directory(self, directory: str) -> Listing:
        """List a directory, over as many connections as it takes; what cannot be listed is tried twice."""
        listing = await self._list_once(directory)
        problem = listing.problem
        if problem is None or self._source.draining.is_set():
            return listing
        if not problem.vanished:  # a data connection may have been cut
            return await self._list_once(directory)
        if await self._is_shown(directory):
            # Some servers say the same of a directory that may not be entered.
            return attrs.evolve(listing, problem=attrs.evolve(problem, vanished=False))
        return listing

    async def _list_once(self, directory: str) -> Listing:
        source = self._source
        while True:
            try:
                await source.wait_after_losses(directory)
                return await self._list(directory)
            except SourceLost as lost:
                if source.draining.is_set():
                    return Listing(directory, problem=Problem(directory, str(lost)))
            except OperationRefused as refused:
                return Listing(directory, problem=Problem(directory, str(refused)))

    async def _list(self, directory: str) -> Listing:
        source = self._source
        link = await source.borrow(is_reading=False, is_alone=source.is_suspect(directory))
        try:
            assert link.session is not None
            listing = await link.session.list_directory(directory)
        except ConnectionLost as lost:
            raise source.lost_over(directory, link, lost) from lost
        finally:
            source.give_back(link, is_reading=False)
        source.succeeded(directory)
        return listing

    async def _is_shown(self, directory: str) -> bool:
        """Look whether a directory that is said to be gone still stands in the one above it."""
        if not directory:
            return True
        above = await self.list_directory(parent_of(directory))
        return any(entry.path == directory and entry.kind is Kind.DIRECTORY for entry in above.entries)

    def describe(self) -> Sequence[tuple[str, str]]:
        """Return nothing: the connections of the pool are described by their own sessions."""
        return ()

    def warnings(self) -> Sequence[str]:
        """Return nothing, for the same reason."""
        return ()

    @asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[Content]:
        """Open a file. It has a connection, or a share in one, until this is left."""
        source = self._source
        await source.wait_after_losses(path)
        link = await source.borrow(is_reading=True, is_alone=source.is_suspect(path))
        opening: AbstractAsyncContextManager[Content] | None = None
        try:
            assert link.session is not None
            try:
                opening = link.session.open(path)
                content = await opening.__aenter__()
            except ConnectionLost as lost:
                opening = None
                raise source.lost_over(path, link, lost) from lost
            except BaseException:
                opening = None
                raise
            yield _RemoteContent(content, path, source, link)
        finally:
            try:
                if opening is not None:
                    # Not with what the reader may have met: that may be the loss of another connection.
                    await opening.__aexit__(None, None, None)
            except ConnectionLost as lost:
                source.lose(link, lost)
            finally:
                source.give_back(link, is_reading=True)


class _RemoteContent(ContentWrapper):
    """A file of the source. A lost connection is a refusal here."""

    __slots__ = ("_link", "_path", "_source")

    def __init__(self, real: Content, path: str, source: RemoteSource, link: _Link) -> None:
        super().__init__(real)
        self._path, self._source, self._link = path, source, link

    def fileno(self) -> None:
        """Return None: every byte passes through `read`."""

    async def read(self, max_bytes: int) -> bytes:
        """Read on. Raises `SourceLost` when the connection is."""
        try:
            return await self._real.read(max_bytes)
        except ConnectionLost as lost:
            raise self._source.lost_over(self._path, self._link, lost) from lost

    async def is_unchanged(self) -> bool:
        """Ask again what the file is. Raises `SourceLost` when the connection is."""
        try:
            is_unchanged = await self._real.is_unchanged()
        except ConnectionLost as lost:
            raise self._source.lost_over(self._path, self._link, lost) from lost
        self._source.succeeded(self._path)
        return is_unchanged
