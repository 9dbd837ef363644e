"""A target that is read and never written: what a plan runs against.

`DryRun` wraps the real target. Reads go through to it. Writes report success and do nothing. So a plan is the same run
by the same engine, and cannot change anything. A target that the journal knows is not even connected to, unless there
is something to read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import attrs
import trio

from actorsync.classes import define
from actorsync.endpoints.content_hash import ContentHash, content_hashes
from actorsync.endpoints.contract import (
    Content,
    ReadSession,
    Relocation,
    Session,
    Source,
    Staged,
    Upload,
    look,
    nothing_ahead,
    traits_of,
)
from actorsync.endpoints.releases import Publication, Published
from actorsync.endpoints.wrappers.base import EndpointWrapper
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, Listing
from actorsync.planning.name_folding import NAMES, NewSpelling, is_folding

__all__ = ["DryRun", "DryRunSession"]


@define(eq=False)
class DryRun(EndpointWrapper[Source]):
    """The endpoint ``real`` as a plan sees it.

    With ``is_read``, a session connects when it is opened: a server that cannot be reached, or that rejects the login,
    ends the plan as it would end a run. Otherwise a session connects at its first read, and from then on ``is_read`` is
    true: a connection that fails is a failed connection, and not the failure of a file.
    """

    is_read: bool = False
    staged: set[str] = attrs.field(factory=set, init=False)
    """The temporaries that a run would have made."""
    swept: set[str] = attrs.field(factory=set, init=False)
    """The temporaries that a run would have removed."""

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[DryRunSession]:
        """Open a session."""
        await trio.lowlevel.checkpoint()
        async with AsyncExitStack() as stack:
            session = DryRunSession(self, stack)
            if self.is_read:
                await session.connect()
            yield session


@define(eq=False)
class DryRunSession(Session):
    """A session that reads from the real target and writes nothing."""

    _endpoint: DryRun
    _stack: AsyncExitStack
    _opened: ReadSession | None = None
    _opening: trio.Lock = attrs.Factory(trio.Lock)

    async def connect(self) -> ReadSession:
        """Return the session of the real target, which is opened at the first call, whichever lane makes it."""
        async with self._opening:
            if self._opened is None:
                self._endpoint.is_read = True
                self._opened = await self._stack.enter_async_context(self._endpoint.real.open_session())
            return self._opened

    async def list_directory(self, directory: str) -> Listing:
        """List a directory of the real target. A missing root is empty: a run would make it first."""
        listing = await (await self.connect()).list_directory(directory)
        return Listing("") if directory == "" and listing.problem is not None else listing

    @asynccontextmanager
    async def _open(self, path: str) -> AsyncIterator[Content]:
        async with (await self.connect()).open(path) as content:
            yield content

    def open(self, path: str) -> AbstractAsyncContextManager[Content]:
        """Open a file of the real target."""
        return self._open(path)

    async def hash_files(self, entries: Sequence[Entry]) -> Sequence[ContentHash | None]:
        """Return the hashes of files of the real target."""
        return await content_hashes(await self.connect(), entries)

    async def look(self, entries: Sequence[Entry]) -> list[Entry | OperationRefused | None]:
        """Ask the real target for entries."""
        return await look(await self.connect(), entries)

    async def stage(
        self, upload: Upload, *, commit: Sequence[Staged] = (), ahead: Callable[[], bool] = nothing_ahead
    ) -> tuple[Staged | OperationRefused, list[Entry | OperationRefused]]:
        """Send nothing, and report the upload as whole. Content of unknown size counts as the size of its source."""
        committed = await self.commit(commit)
        source = upload.content.entry
        upload.sent = source.size if upload.size is None else upload.size
        ahead()
        self._endpoint.staged.add(upload.temporary)
        return Staged(upload.path, upload.temporary, upload.sent, source.mtime_ns, upload.mode), committed

    async def commit(self, staged: Sequence[Staged]) -> list[Entry | OperationRefused]:
        """Rename nothing, and return the entries that a run would leave.

        What this run has not staged is an earlier run's. The real target is asked for it: a run could rename it, or
        would find that it has its final name already, or would be refused.
        """
        await trio.lowlevel.checkpoint()
        return [
            _left_by(item) if item.temporary in self._endpoint.staged else await self._commit_earlier(item)
            for item in staged
        ]

    async def _commit_earlier(self, item: Staged) -> Entry | OperationRefused:
        left = _left_by(item)
        temporary, final = await self.look([Entry(item.temporary, Kind.FILE, item.size), left])
        is_there = isinstance(temporary, Entry) and item.temporary not in self._endpoint.swept
        if is_there or (isinstance(final, Entry) and _is_alike(final, left)):
            return left
        return final if isinstance(final, OperationRefused) else OperationRefused("it was never renamed")

    async def publish(self, items: Sequence[Publication]) -> list[Published | OperationRefused]:
        """Rename nothing, and return what a run would leave, with every old file set aside that has a name for it."""
        await trio.lowlevel.checkpoint()
        return [Published(_left_by(item.staged), item.aside is not None) for item in items]

    async def put_back(self, items: Sequence[Publication]) -> list[Entry | OperationRefused | None]:
        """Rename nothing. Nothing was published."""
        await trio.lowlevel.checkpoint()
        return [None for _ in items]

    async def make_directories(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        """Make nothing, and return the entries that a run would leave."""
        await trio.lowlevel.checkpoint()
        return [Entry(path, Kind.DIRECTORY) for path in paths]

    async def move(self, relocations: Sequence[Relocation]) -> list[Entry | OperationRefused]:
        """Rename nothing, and return the entries that a run would leave."""
        await trio.lowlevel.checkpoint()
        return [attrs.evolve(item.entry, path=item.path) for item in relocations]

    async def set_modes(self, entries: Sequence[Entry]) -> list[Entry | OperationRefused]:
        """Set nothing, and return the entries that a run would leave."""
        await trio.lowlevel.checkpoint()
        return [*entries]

    async def respell(self, items: Sequence[NewSpelling]) -> list[Entry | OperationRefused]:
        """Rename nothing, and return the entries that a run would leave on a target that is known to fold names."""
        await trio.lowlevel.checkpoint()
        folds = is_folding(traits_of(self._endpoint.real).get(NAMES))
        apart = OperationRefused("it is not known whether the target takes both names for one")
        return [attrs.evolve(item.entry, path=item.path) if folds else apart for item in items]

    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        """Remove nothing."""
        await trio.lowlevel.checkpoint()
        return [True for _ in entries]

    async def sweep(
        self,
        temporaries: Sequence[str],
        finals: Mapping[str, str] | None = None,  # noqa: ARG002 - nothing is ever set aside
    ) -> list[bool | OperationRefused]:
        """Remove nothing."""
        await trio.lowlevel.checkpoint()
        self._endpoint.swept.update(temporaries)
        return [True for _ in temporaries]

    async def abandon(self, temporary: str) -> bool:  # noqa: ARG002 - the contract has it
        """Return True: no upload was begun."""
        await trio.lowlevel.checkpoint()
        return True

    def describe(self) -> Sequence[tuple[str, str]]:
        """Describe the real target, if it was connected to."""
        return () if self._opened is None else self._opened.describe()

    def warnings(self) -> Sequence[str]:
        """Return the warnings of the real target, if it was connected to."""
        return () if self._opened is None else self._opened.warnings()


def _is_alike(found: Entry, left: Entry) -> bool:
    """Return whether an entry may be the one that a run has left. A listing may show whole seconds."""
    times = {None if it.mtime_ns is None else it.mtime_ns // 10**9 for it in (found, left)} - {None}
    return (found.kind, found.size) == (left.kind, left.size) and len(times) < 2


def _left_by(staged: Staged) -> Entry:
    return Entry(staged.path, Kind.FILE, staged.size, staged.mtime_ns, mode=staged.mode)
