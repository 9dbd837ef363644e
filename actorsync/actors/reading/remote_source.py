"""A source on a server, as the other actors see it: sessions that cost nothing to open, and are never lost.

The scanner, every lane and the planner read independently. `RemoteSource` gives them sessions that borrow a connection
from the `SourcePool` for one listing or one file.

**A lost connection to the source.** The connection to the target is not affected by it, so a `ConnectionLost` of the
source ends here. A listing is repeated. A big file is read on from where it
was. For any other file, `SourceLost` is raised: to the session of the target it is a refusal, so that session drops the
temporary and goes on, and the file is read again. A file over which
connections are lost again and again is read on a connection of its own, and fails in the end. So does a directory.

**A source that cannot be reached.** The run ends with `SourceUnreachable`, after as many attempts as for the target.
Nothing is removed: what was not listed is not known to be gone.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import attrs
import trio

from actorsync.actors.backoff import Backoff
from actorsync.actors.messages import Fact
from actorsync.actors.reading.source_connections import SourceConnection
from actorsync.actors.reading.source_pool import SourcePool
from actorsync.classes import define, frozen
from actorsync.endpoints.contract import Capabilities, Content, PrefetchingSession, ReadSession, Source
from actorsync.endpoints.resuming import BLOCK, open_at, read_whole
from actorsync.endpoints.wrappers.base import ContentWrapper, EndpointWrapper
from actorsync.errors import ConnectionLost, GuardRefused, OperationRefused, SourceLost, Vanished
from actorsync.model.entry import Entry, Kind, Listing, Problem, Root, parent_of
from actorsync.model.operation import Side
from actorsync.planning.admission.ceiling import Share
from actorsync.planning.publishing.keeping import can_go_on
from actorsync.planning.publishing.rules import ResumeRule
from actorsync.planning.reconcile import is_racy

__all__ = ["LOSSES", "RemoteSource"]

#: How many connections may be lost in a row over one file or directory; from the second on it has one for itself.
LOSSES: Final = 5


@define(eq=False)
class RemoteSource(EndpointWrapper[Source]):
    """The source ``real`` behind a few shared connections, at most ``connections`` and one more. Use it inside `kept`.

    Its sessions list and open. They raise `SourceUnreachable` and `LoginRefused` as `SourcePool.borrow` does, and
    never `ConnectionLost`.
    """

    connections: int
    backoff: Backoff
    draining: trio.Event
    resume: ResumeRule = attrs.Factory(ResumeRule)
    wall_clock_ns: Callable[[], int] = time.time_ns
    share: Share = attrs.Factory(Share)
    side: Side = Side.SOURCE
    pool: SourcePool = attrs.field(init=False)
    _losses: Counter[str] = attrs.field(factory=Counter, init=False)

    def __attrs_post_init__(self) -> None:
        self.pool = SourcePool(self.real, self.connections, self.backoff, self.draining, self.share, self.side)

    @property
    def capabilities(self) -> Capabilities:
        """What the real place can do. No session of this one is lost, so it does not count as remote."""
        return attrs.evolve(self.real.capabilities, is_remote=False)

    def kept(self, facts: trio.MemorySendChannel[Fact]) -> AbstractAsyncContextManager[None]:
        """Keep connections open inside the block, and close them at its end."""
        return self.pool.kept(facts)

    async def identify(self) -> Root:
        """Describe the root. Raises `GuardRefused` if it is not a directory that can be listed."""
        root, _ = await self.identify_and_list()
        return root

    async def identify_and_list(self) -> tuple[Root, Listing]:
        """Describe the root, and return the listing by which it is known. Raises as `identify` does."""
        found = await _RemoteSession(self).list_directory("")
        if found.problem is not None:
            raise GuardRefused(f"cannot use the {self.side.value} {self.display} as a root: {found.problem.reason}")
        return Root(Entry("", Kind.DIRECTORY)), found

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[ReadSession]:
        """Open a session that borrows a connection for each request."""
        await trio.lowlevel.checkpoint()
        yield _RemoteSession(self)

    async def is_gone(self, entry: Entry) -> bool:
        """Request an entry by its name, and return whether it is gone.

        Used for an entry that a listing did not contain: a listing over a plain connection may have been cut short, and
        then looks complete.
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

    # Losses, by path.

    def lost_over(self, path: str, connection: SourceConnection, lost: ConnectionLost) -> OperationRefused:
        """Note that a connection was lost over ``path``, and return the error to raise for it.

        That is `SourceLost` to try again, and any other `OperationRefused` if it was lost `LOSSES` times.
        """
        self.pool.lose(connection, lost)
        self._losses[path] += connection.loss_counts(self._losses[path])
        if self._losses[path] < LOSSES:
            return SourceLost(f"the connection to the source was lost: {lost}")
        return OperationRefused(f"the connection to the source was lost {LOSSES} times during this read: {lost}")

    async def wait_after_losses(self, path: str) -> None:
        """Wait before ``path`` is requested again, if more than one connection was lost over it."""
        if self._losses[path] > 1:
            with trio.move_on_after(self.backoff.delay(self._losses[path] - 1)):
                await self.draining.wait()

    def can_read_on(self, entry: Entry) -> bool:
        """Return whether a file is read on after a lost connection: it is big, and its times show a later change."""
        return can_go_on(entry, self.resume) and not is_racy(entry, self.wall_clock_ns())

    def is_suspect(self, path: str) -> bool:
        """Return whether ``path`` gets a connection of its own, because several were lost over it."""
        return self._losses[path] >= 2

    def succeeded(self, path: str) -> None:
        """Start counting losses and failures again, because ``path`` was read."""
        self.pool.note_success()
        self._losses.pop(path, None)


@frozen
class _RemoteSession(ReadSession):
    """A session of a `RemoteSource`."""

    _source: RemoteSource

    async def list_directory(self, directory: str) -> Listing:
        """List a directory. A lost connection is replaced; a directory that cannot be listed is tried twice."""
        listing = await self._list_once(directory)
        problem = listing.problem
        if problem is None or self._source.draining.is_set():
            return listing
        if not problem.vanished:  # perhaps only the data connection was lost
            return await self._list_once(directory)
        if await self._is_shown(directory):
            # Some servers give the same answer for a directory that may not be entered.
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
        connection = await source.pool.borrow(is_reading=False, is_alone=source.is_suspect(directory))
        session = connection.session
        try:
            if isinstance(session, PrefetchingSession):
                # The next connection that is free goes to a listing that waits.
                listing = await session.list_directory_ahead(directory, lambda: source.pool.waiting.listings > 0)
            else:
                listing = await session.list_directory(directory)
        except ConnectionLost as lost:
            raise source.lost_over(directory, connection, lost) from lost
        finally:
            source.pool.give_back(connection, is_reading=False)
        source.succeeded(directory)
        return listing

    async def _is_shown(self, directory: str) -> bool:
        """Return whether the parent directory still contains a directory that the server reports as missing."""
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

    def open(self, path: str) -> AbstractAsyncContextManager[Content]:
        """Open a file. It occupies a connection, or a share in one, until the block is left."""
        return self.open_at(path, 0)

    @asynccontextmanager
    async def open_at(self, path: str, start: int) -> AsyncIterator[Content]:
        """Open a file in the middle, where the server can."""
        await self._source.wait_after_losses(path)
        reading = _Reading(self._source, path)
        try:
            yield _RemoteContent(await reading.begin(start), reading)
        finally:
            await reading.end()


@define(eq=False)
class _Reading:
    """A file that is open on a borrowed connection, until `end`."""

    source: RemoteSource
    path: str
    _connection: SourceConnection | None = None
    _opening: AbstractAsyncContextManager[Content] | None = None

    async def begin(self, start: int) -> Content:
        """Borrow a connection, and open the file. Raises what `lost` returns if the connection is lost."""
        source = self.source
        connection = await source.pool.borrow(is_reading=True, is_alone=source.is_suspect(self.path))
        self._connection = connection
        try:
            opening = open_at(connection.session, self.path, start)
            content = await opening.__aenter__()
        except ConnectionLost as error:
            raise self.lost(error) from error
        except BaseException as error:
            connection.has_missed |= isinstance(error, Vanished)
            raise
        self._opening = opening
        return content

    def lost(self, error: ConnectionLost) -> OperationRefused:
        """Note that the connection was lost, and return the error to raise for it. See `RemoteSource.lost_over`."""
        assert self._connection is not None, f"nothing is open to be lost: {self.path}"
        return self.source.lost_over(self.path, self._connection, error)

    async def end(self) -> None:
        """Close the file, and give the connection back."""
        connection, self._connection = self._connection, None
        opening, self._opening = self._opening, None
        if connection is None:
            return
        try:
            if opening is not None:
                # Without the error of the block: it may be the loss of another connection.
                await opening.__aexit__(None, None, None)
        except ConnectionLost as lost:
            self.source.pool.lose(connection, lost)
        finally:
            self.source.pool.give_back(connection, is_reading=True)


class _RemoteContent(ContentWrapper):
    """A file of the source. A big file whose connection is lost is read on over another one, from where it was.

    The other one has to show the same version of the file, and the same bytes as the last that were read. Where that
    cannot be, a lost connection is an `OperationRefused` here.
    """

    __slots__ = ("_at", "_entry", "_last", "_reading", "_start")

    def __init__(self, real: Content, reading: _Reading) -> None:
        super().__init__(real)
        self._reading, self._entry, self._start = reading, real.entry, real.start
        self._at = real.start
        #: The last bytes that were read; None if the file is not read on.
        self._last = b"" if reading.source.can_read_on(real.entry) else None

    @property
    def entry(self) -> Entry:
        """The entry of the file when it was opened first."""
        return self._entry

    @property
    def start(self) -> int:
        """Where the file was opened first."""
        return self._start

    def fileno(self) -> None:
        """Return None: every byte passes through `read`."""

    async def read_at(self, offset: int, length: int) -> None:  # noqa: ARG002 - the contract has them
        """Return None: the connection is reading already."""
        await trio.lowlevel.checkpoint()

    async def read(self, max_bytes: int) -> bytes:
        """Read the next piece. Raises what `RemoteSource.lost_over` returns if the connection is lost for good."""
        while True:
            try:
                piece = await self._real.read(max_bytes)
            except ConnectionLost as lost:
                await self._read_on(self._reading.lost(lost))
            else:
                self._at += len(piece)
                if self._last is not None:
                    self._last = (self._last + piece)[-BLOCK:] if len(piece) < BLOCK else piece[-BLOCK:]
                return piece

    async def _read_on(self, error: OperationRefused) -> None:
        """Open the file on another connection where it was; raise ``error`` if that cannot be."""
        source, last = self._reading.source, self._last
        while True:
            if not isinstance(error, SourceLost) or not last or source.draining.is_set():
                raise error
            await self._reading.end()
            await source.wait_after_losses(self._reading.path)
            place = self._at - len(last)
            try:
                self._real = await self._reading.begin(place)
                is_same = self._real.start == place and self._real.entry == self._entry
                if is_same and await read_whole(self._real, len(last)) == last:
                    return
            except ConnectionLost as lost:
                error = self._reading.lost(lost)
            except SourceLost as lost:
                error = lost
            else:
                raise error

    async def is_unchanged(self) -> bool:
        """Return whether the file is unchanged. Raises as `read` does."""
        try:
            is_unchanged = await self._real.is_unchanged()
        except ConnectionLost as lost:
            raise self._reading.lost(lost) from lost
        self._reading.source.succeeded(self._reading.path)
        return is_unchanged
