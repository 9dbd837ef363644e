"""A directory of this machine, as source or as target.

The system calls are in ``tree`` and ``writer``; here they run in worker threads. A call to a thread (a *hop*) does as
much as possible: it lists a directory, reads a small file (open, stat, read, stat again), or writes a small file. A hop
is never abandoned: when a cancelled call returns, its thread has finished.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final, Literal, TypeVar, TypeVarTuple, Unpack

import attrs
import trio

from actorsync.classes import define
from actorsync.endpoints.contract import Capabilities, Content, Relocation, Staged, Upload, nothing_ahead
from actorsync.endpoints.hints import Hints
from actorsync.endpoints.local import publish as releases
from actorsync.endpoints.local.content import LocalContent
from actorsync.endpoints.local.links import KeepsBack
from actorsync.endpoints.local.openat import reason_of, refusal, shown
from actorsync.endpoints.local.page_cache import Readiness
from actorsync.endpoints.local.resume import BLOCKS, open_kept
from actorsync.endpoints.local.tree import Opened, Tree
from actorsync.endpoints.local.writer import Writer
from actorsync.endpoints.releases import Publication, Published
from actorsync.endpoints.resuming import BLOCK, restart_at
from actorsync.endpoints.shared.resource_limits import is_own_limit, own_limit
from actorsync.endpoints.shared.seam import find_start
from actorsync.errors import OperationRefused, Vanished
from actorsync.model.entry import Entry, Listing, Problem, Root
from actorsync.model.row import ListingRows
from actorsync.model.text import display
from actorsync.model.traits import Traits
from actorsync.planning.name_folding import NewSpelling
from actorsync.planning.selection import Selection

__all__ = ["LocalEndpoint", "LocalSession"]

_THREADS: Final = 32
#: How often to wait for a free descriptor, and the first wait in seconds; each wait is twice as long as the one before.
_WAITS, _FIRST_WAIT = 6, 0.02
#: The number of hops that open files at once. Further files share the next hop.
_OPENERS: Final = 4
_PIECE: Final = 1 << 20
_MOVED_PIECE: Final = 8 << 20
#: The number of seconds in which small pieces are joined; slower content is written as it arrives.
_PATIENCE: Final = 0.5

_ArgsT = TypeVarTuple("_ArgsT")
_ResultT = TypeVar("_ResultT")


class LocalEndpoint:
    """The tree below ``root``, which may be a link to a directory: it is resolved once, here.

    With ``links="follow"`` a link is listed and read as its target, if the target is inside the root and does not
    contain the link. Otherwise a link is listed as a link: ``"skip"`` and ``"error"`` differ only for the scanner. No
    link is followed to a path that ``keeps_back`` returns true for.
    """

    capabilities: Final = Capabilities(lanes=1, keeps_modes=True)  # other connections are other threads

    def __init__(
        self,
        root: Path,
        *,
        links: Literal["skip", "follow", "error"] = "skip",
        keeps_back: KeepsBack | None = None,
        outside: str = "",
    ) -> None:
        self._path = root
        self.root = Path(os.path.realpath(root))
        self.links = links
        self.tree = Tree(os.fspath(self.root), follow=links == "follow", keeps_back=keeps_back, outside=outside)
        self._limiter = trio.CapacityLimiter(_THREADS)
        #: Separate threads for file content: slow transfers delay no listing.
        self._transfers = trio.CapacityLimiter(_THREADS)
        self._readiness: Readiness | None = None
        self._openings: list[_Opening] = []
        self._openers = trio.Semaphore(_OPENERS)

    @property
    def display(self) -> str:
        return display(os.fspath(self.root))

    @property
    def traits(self) -> Traits:
        """What is learned of the file system."""
        return self.tree.names.traits

    async def identify(self) -> Root:
        """Describe the root. Raises `GuardRefused` if it is missing, not a directory, or cannot be read."""
        return await self.hop(self.tree.identify)

    def watch(self, selection: Selection) -> AbstractAsyncContextManager[Hints]:
        """Watch the directory that the path of the root leads to, also when that is another one than at first."""
        from actorsync.endpoints.local.watching.local_hints import watch_directory  # of use to a run that watches only

        return watch_directory(self._path, self._again, selection)

    def _again(self) -> LocalEndpoint:
        tree = self.tree
        return LocalEndpoint(self._path, links=self.links, keeps_back=tree.keeps_back, outside=tree.outside)

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[LocalSession]:
        """Open a session. The root need not exist yet."""
        await trio.lowlevel.checkpoint()
        yield LocalSession(self)

    async def list_directory(self, directory: str) -> Listing:
        """List one directory, in one hop."""
        try:
            return await _patiently(self.hop, self.tree.list_directory, directory)
        except OSError as error:
            return Listing(directory, problem=Problem(directory, reason_of(error)))

    async def list_many(self, directories: Sequence[str]) -> Sequence[ListingRows]:
        """List as many directories as fit one hop."""
        try:
            return await _patiently(self.hop, self.tree.list_many, directories)
        except OSError as error:
            return [ListingRows(directories[0], problem=Problem(directories[0], reason_of(error)))]

    async def open_file(self, path: str) -> Opened:
        """Open a file. If that could block, open it in a thread, in one hop with the files that other tasks open.

        Raises ``OSError`` or `OperationRefused`.
        """
        if self._readiness is None:
            self._readiness = Readiness(self.tree.root)
        if self._readiness.is_told:
            try:
                if (opened := self.tree.open_now(path, self._readiness)) is not None:
                    return opened
            except OSError as error:
                if not is_own_limit(error):
                    raise
        return await _patiently(self._open_file, path)

    async def _open_file(self, path: str) -> Opened:
        mine = _Opening(path)
        self._openings.append(mine)
        try:
            async with self._openers:
                if not mine.is_taken:
                    await self._open_all()
            await mine.done.wait()
        except trio.Cancelled:
            mine.give_up()
            raise
        return mine.opened()

    async def _open_all(self) -> None:
        batch, self._openings = [opening for opening in self._openings if not opening.is_given_up], []
        for opening in batch:
            opening.is_taken = True
        with trio.CancelScope(shield=True):  # other tasks wait for this batch, and are not cancelled
            results = await self.hop(self.tree.open_all, [opening.path for opening in batch])
        for opening, result in zip(batch, results, strict=True):
            opening.end(result)

    async def hop(self, function: Callable[[Unpack[_ArgsT]], _ResultT], *args: *_ArgsT) -> _ResultT:
        """Run a blocking function in a thread."""
        return await trio.to_thread.run_sync(function, *args, limiter=self._limiter)

    async def transfer(self, function: Callable[[Unpack[_ArgsT]], _ResultT], *args: *_ArgsT) -> _ResultT:
        """Run a function that moves file content, in a thread."""
        return await trio.to_thread.run_sync(function, *args, limiter=self._transfers)


@define(eq=False)
class _Opening:
    """A file that a task is waiting to open."""

    path: str
    is_taken: bool = False
    is_given_up: bool = False
    done: trio.Event = attrs.Factory(trio.Event)
    result: Opened | OSError | OperationRefused | None = None

    def end(self, result: Opened | OSError | OperationRefused) -> None:
        """Set the result, or close the file if the task gave up."""
        self.result = result
        self.done.set()
        if self.is_given_up:
            self.give_up()

    def give_up(self) -> None:
        """Close the file now or when it is open: the task was cancelled."""
        self.is_given_up = True
        if isinstance(self.result, Opened) and self.result.fd >= 0:
            os.close(self.result.fd)

    def opened(self) -> Opened:
        """Return the open file, or raise the error of opening it."""
        assert self.result is not None
        if isinstance(self.result, Opened):
            return self.result
        raise self.result


class LocalSession:
    """A session of a `LocalEndpoint`. It has no connection that could be lost."""

    def __init__(self, endpoint: LocalEndpoint) -> None:
        self._endpoint = endpoint
        self._tree = endpoint.tree
        self._hop = endpoint.hop

    async def list_directory(self, directory: str) -> Listing:
        """List one directory, in one hop."""
        return await self._endpoint.list_directory(directory)

    async def list_many(self, directories: Sequence[str]) -> Sequence[ListingRows]:
        """List as many directories as fit one hop."""
        return await self._endpoint.list_many(directories)

    def open(self, path: str) -> AbstractAsyncContextManager[Content]:
        """Open a regular file, in one hop. Raises `OwnLimit` if no descriptor becomes free."""
        return self.open_at(path, 0)

    @asynccontextmanager
    async def open_at(self, path: str, start: int) -> AsyncIterator[Content]:
        """Open a regular file for reading from byte ``start`` on, like `open`."""
        try:
            opened = await self._endpoint.open_file(path)
        except FileNotFoundError as error:
            raise Vanished(f"cannot open {shown(path)}: it is gone") from error
        except OSError as error:
            if is_own_limit(error):
                raise own_limit(error) from error
            raise refusal("open", path, error) from error
        content = LocalContent(opened, self._endpoint.transfer, start)
        try:
            yield content
        finally:
            content.close()

    async def stage(
        self,
        upload: Upload,
        *,
        commit: Sequence[Staged] = (),
        ahead: Callable[[], bool] = nothing_ahead,
    ) -> tuple[Staged | OperationRefused, list[Entry | OperationRefused]]:
        """Commit the earlier uploads, then write, sync and verify the temporary."""
        committed = await self.commit(commit) if commit else []
        writer = Writer(self._tree.root, self._tree.names, self._tree.unset, upload)
        try:
            staged = await self._write(writer, upload)
        except OperationRefused as refused:
            await self._hop(writer.discard)
            return refused, committed
        finally:
            writer.close()
        ahead()
        return staged, committed

    async def commit(self, staged: Sequence[Staged]) -> list[Entry | OperationRefused]:
        """Rename temporaries in one hop, with one fsync for each directory."""
        return await self._hop(self._tree.commit, staged)

    async def publish(self, items: Sequence[Publication]) -> list[Published | OperationRefused]:
        """Publish staged files in one hop."""
        return await self._hop(releases.publish, self._tree, items)

    async def put_back(self, items: Sequence[Publication]) -> list[Entry | OperationRefused | None]:
        """Take publications back in one hop."""
        return await self._hop(releases.put_back, self._tree, items)

    async def free_space(self) -> int | None:
        """Ask the file system of the root."""
        return await self._hop(releases.free_space, self._tree.root)

    async def make_directories(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        """Make directories in one hop; ``""`` makes the root and the directories above it."""
        return await self._hop(self._tree.make_directories, paths)

    async def move(self, relocations: Sequence[Relocation]) -> list[Entry | OperationRefused]:
        """Rename unchanged files in one hop."""
        return await self._hop(self._tree.move, relocations)

    async def set_modes(self, entries: Sequence[Entry]) -> list[Entry | OperationRefused]:
        """Set modes in one hop."""
        return await self._hop(self._tree.set_modes, entries)

    async def respell(self, items: Sequence[NewSpelling]) -> list[Entry | OperationRefused]:
        """Change the spelling of names in one hop, where the file system takes both spellings for one name."""
        return await self._hop(self._tree.respell, items)

    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        """Remove unchanged entries in one hop."""
        return await self._hop(self._tree.remove, entries)

    async def sweep(
        self,
        temporaries: Sequence[str],
        finals: Mapping[str, str] | None = None,
    ) -> list[bool | OperationRefused]:
        """Remove temporaries in one hop."""
        return await self._hop(self._tree.sweep, temporaries, finals or {})

    async def abandon(self, temporary: str) -> bool:
        """Remove the temporary. No thread is writing to it any more."""
        return (await self.sweep([temporary])) == [True]

    async def may_continue(self, temporary: str) -> int:
        """Return where content is to be opened, by the size of the temporary."""
        if (kept := await self._hop(open_kept, self._tree.root, temporary)) is None:
            return 0
        os.close(kept[0])
        return max(0, restart_at(kept[1]) - BLOCK)

    async def continue_from(self, upload: Upload) -> int:
        """Compare the temporary with the content. The contract is `Resuming.continue_from`."""
        if (kept := await self._hop(open_kept, self._tree.root, upload.temporary)) is None:
            return 0
        descriptor, size = kept

        async def read_back(offset: int, length: int) -> bytes:
            return await self._endpoint.transfer(os.pread, descriptor, length, offset)

        try:
            return await find_start(upload, size, read_back, BLOCKS)
        except OSError:
            return 0
        finally:
            os.close(descriptor)

    async def leave(self, temporary: str) -> None:  # noqa: ARG002 - no thread is writing to it any more
        """Keep the temporary as it is."""
        await trio.lowlevel.checkpoint()

    def describe(self) -> Sequence[tuple[str, str]]:
        """Describe the directory, with links resolved, and how links in it are treated."""
        root = display(os.path.realpath(self._endpoint.root))
        return (("root", root), ("symbolic links", self._endpoint.links))

    def warnings(self) -> Sequence[str]:
        """Warn of modes that the file system has not set."""
        return self._tree.unset.warnings

    async def _write(self, writer: Writer, upload: Upload) -> Staged:
        content, staged = upload.content, None
        descriptor, admit = content.fileno(), content.admit
        while staged is None:
            if descriptor is not None:
                count = _MOVED_PIECE
                if admit is not None:  # after the last byte, ask for nothing: read once more to see the end
                    count = await admit(min(count, left)) if (left := content.entry.size - writer.sent) > 0 else 1
                staged = await self._endpoint.transfer(writer.pull, descriptor, count)
            else:
                piece, is_last = await _read_piece(content)
                staged = await self._endpoint.transfer(writer.put, piece, is_last)
            upload.sent = writer.sent
        return staged


async def _patiently(do: Callable[[Unpack[_ArgsT]], Awaitable[_ResultT]], *args: *_ArgsT) -> _ResultT:
    """Call ``do``, and call it again after a wait while this process or machine has no free descriptor.

    Raises what ``do`` raises; after the last wait, also the error for the missing descriptor.
    """
    for wait in range(_WAITS):
        try:
            return await do(*args)
        except OSError as error:
            if not is_own_limit(error):
                raise
        await trio.sleep(_FIRST_WAIT * 2**wait)
    return await do(*args)


async def _read_piece(content: Content) -> tuple[bytes, bool]:
    """Read one piece, or the part of it that arrives in time, and return it with whether it is the last one."""
    piece = await content.read(_PIECE)
    until = trio.current_time() + _PATIENCE
    while piece and len(piece) < _PIECE and trio.current_time() < until:
        more = await content.read(_PIECE - len(piece))
        if not more:
            return piece, True
        piece += more
    return piece, not piece
