"""A session in a file system of fsspec: the contract, with each verb in a thread.

A thread that waits for a server cannot be stopped. So a cancelled call leaves its thread behind: the thread finishes
its current request, begins nothing more, and its result is dropped. `FsspecSession.abandon` waits a while for such
threads, so that the temporary is removed after they wrote to it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar, TypeVarTuple, Unpack

import trio

from actorsync.classes import define
from actorsync.endpoints.contract import Content, Relocation, Staged, Upload, nothing_ahead
from actorsync.endpoints.fsspec.store import Store
from actorsync.endpoints.fsspec.tree import Tree
from actorsync.endpoints.fsspec.writer import Writer
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.entry import Entry, Listing
from actorsync.planning.name_folding import NewSpelling

__all__ = ["FsspecSession", "Threads"]

#: A file up to this size is written by one call, from memory.
_SMALL: Final = 4 << 20
#: The piece size for reading, and for writing a bigger file. Object stores accept at most 10,000 pieces.
_PIECE: Final = 8 << 20
_MOST_PIECES: Final = 9_000
#: The piece size for content of unknown size: up to 288 GB.
_BIG_PIECE: Final = 32 << 20
_THREADS: Final = 64
#: Seconds to wait for threads that were left behind, before a temporary is abandoned.
_ABANDON_SECONDS: Final = 2.0

_ArgsT = TypeVarTuple("_ArgsT")
_ResultT = TypeVar("_ResultT")


class Threads:
    """The threads of an endpoint: working ones, and ones that were left behind by a cancelled call."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(_THREADS)
        self._strays: set[trio.Event] = set()

    async def call(
        self, function: Callable[[Unpack[_ArgsT]], _ResultT], *args: *_ArgsT, stop: threading.Event | None = None
    ) -> _ResultT:
        """Run a blocking function in a thread. If cancelled, set ``stop`` and leave the thread behind."""
        stop = stop or threading.Event()
        began, ended = threading.Event(), trio.Event()
        token = trio.lowlevel.current_trio_token()

        def work() -> _ResultT:
            began.set()
            try:
                if stop.is_set():
                    raise ConnectionLost("the call was cancelled")
                return function(*args)
            finally:
                with contextlib.suppress(trio.RunFinishedError):
                    token.run_sync_soon(self._end, ended)

        try:
            return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._limiter)
        except trio.Cancelled:
            stop.set()
            if began.is_set():
                self._strays.add(ended)
                if ended.is_set():
                    self._strays.discard(ended)
            raise

    def leave(self, function: Callable[[], object]) -> None:
        """Run a function in a thread without waiting for it. `settled` waits for it."""
        ended, token = trio.Event(), trio.lowlevel.current_trio_token()
        self._strays.add(ended)

        def deliver(_: object) -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(self._end, ended)

        trio.lowlevel.start_thread_soon(function, deliver)

    async def settled(self) -> None:
        """Wait until all threads that were left behind have ended."""
        for stray in [*self._strays]:
            await stray.wait()

    def _end(self, ended: trio.Event) -> None:
        ended.set()
        self._strays.discard(ended)


class _FsspecContent(Content):
    """An open file. Each piece is a request of its own."""

    def __init__(self, threads: Threads, tree: Tree, path: str, described: tuple[Entry, tuple[object, ...]]) -> None:
        self._threads, self._tree, self._path = threads, tree, path
        self._entry, self._version = described
        self._piece = memoryview(b"")
        self._asked = 0

    @property
    def entry(self) -> Entry:
        return self._entry

    def fileno(self) -> None:
        """Return None: there is no descriptor."""

    async def read(self, max_bytes: int) -> bytes:
        """Return the next bytes, from the last piece while it lasts."""
        await trio.lowlevel.checkpoint()
        if not self._piece and self._asked < self._entry.size:
            end = min(self._entry.size, self._asked + max(max_bytes, _PIECE))
            piece = await self._threads.call(self._tree.read, self._path, self._asked, end)
            self._asked = self._asked + len(piece) if piece else self._entry.size
            self._piece = memoryview(piece)
        piece, self._piece = bytes(self._piece[:max_bytes]), self._piece[max_bytes:]
        return piece

    async def is_unchanged(self) -> bool:
        """Return whether the store still reports the same version."""
        try:
            return await self._threads.call(self._tree.version, self._path) == self._version
        except OperationRefused:
            return False


class FsspecSession:
    """A session of an `FsspecEndpoint`. All sessions share the connections of the library."""

    def __init__(
        self, threads: Threads, store: Store, described: Sequence[tuple[str, str]], warnings: Sequence[str]
    ) -> None:
        self._threads, self._store = threads, store
        self._described, self._warnings = described, warnings

    async def list_directory(self, directory: str) -> Listing:
        """List one directory."""
        return await self._threads.call(self._store.tree.list_directory, directory)

    @asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[Content]:
        """Look at a file, and read it piece by piece on request."""
        described = await self._threads.call(self._store.tree.opened, path)
        yield _FsspecContent(self._threads, self._store.tree, path, described)

    async def stage(
        self,
        upload: Upload,
        *,
        commit: Sequence[Staged] = (),
        ahead: Callable[[], bool] = nothing_ahead,
    ) -> tuple[Staged | OperationRefused, list[Entry | OperationRefused]]:
        """Commit the earlier uploads, then write the temporary and read its size back."""
        committed = await self.commit(commit) if commit else []
        try:
            return await self._write(upload, ahead), committed
        except OperationRefused as refused:
            return refused, committed

    async def _write(self, upload: Upload, ahead: Callable[[], bool]) -> Staged:
        size = upload.size
        await self._threads.call(self._store.check_place, upload.path, upload.temporary)
        progress = _Progress()
        upload.unconfirmed = progress.unconfirmed
        begun = await _read(upload, progress, (_SMALL if size is None else min(size, _SMALL)) + 1)
        if len(begun) <= _SMALL:
            if upload.sent == upload.due:
                await self._threads.call(self._store.put, upload.path, upload.temporary, begun)
                progress.put = len(begun)
        else:
            await self._write_pieces(upload, progress, begun)
        if upload.sent != upload.due:
            raise OperationRefused("it changed while it was read", retry=True)
        ahead()
        return await self._threads.call(self._store.verified, upload.path, upload.temporary, upload.due)

    async def _write_pieces(self, upload: Upload, progress: _Progress, begun: bytes) -> None:
        """Write a file that is too big for one call. ``begun`` is its beginning."""
        size = upload.size
        piece_size = _BIG_PIECE if size is None else max(_PIECE, -(-size // _MOST_PIECES))
        writer = progress.writer = Writer(self._store, upload.path, upload.temporary, piece_size)
        is_whole = False
        try:
            piece = begun + await _read(upload, progress, piece_size - len(begun))
            while piece:
                await self._threads.call(writer.put, piece)
                has_more = size is None or upload.sent <= size
                piece = await _read(upload, progress, piece_size) if has_more else b""
            if upload.sent == upload.due:
                await self._threads.call(writer.finish)
                is_whole = True
        finally:
            if not is_whole:
                self._threads.leave(writer.discard)
                with trio.move_on_after(_ABANDON_SECONDS):
                    await self._threads.settled()

    async def commit(self, staged: Sequence[Staged]) -> list[Entry | OperationRefused]:
        """Rename temporaries, one after the other."""
        return await self._each("put in place", staged, lambda item: item.path, self._store.commit_one)

    async def make_directories(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        """Make directories, one after the other."""
        return await self._each("make directory", paths, lambda path: path, self._store.make_one)

    async def move(self, relocations: Sequence[Relocation]) -> list[Entry | OperationRefused]:
        """Move unchanged files, one after the other. A store that cannot rename copies them itself."""
        return await self._each("move", relocations, lambda item: item.path, self._store.move_one)

    async def respell(self, items: Sequence[NewSpelling]) -> list[Entry | OperationRefused]:
        """Change the spelling of names, in a store that takes both spellings for one name and can rename."""
        return await self._threads.call(self._store.respell, items)

    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        """Remove unchanged entries, one after the other."""
        return await self._each("remove", entries, lambda entry: entry.path, self._store.remove_one)

    async def sweep(
        self, temporaries: Sequence[str], finals: Mapping[str, str] | None = None
    ) -> list[bool | OperationRefused]:
        """Remove temporaries, and restore the old files that an interrupted commit set aside."""
        stop = threading.Event()
        return await self._threads.call(self._store.sweep, temporaries, finals or {}, stop, stop=stop)

    async def abandon(self, temporary: str) -> bool:
        """Remove the temporary, after the threads that may write to it have ended."""
        with trio.move_on_after(_ABANDON_SECONDS):
            await self._threads.settled()
            return (await self.sweep([temporary]))[0] is True
        return False

    def describe(self) -> Sequence[tuple[str, str]]:
        """Describe the store, and how it replaces files."""
        return self._described

    def warnings(self) -> Sequence[str]:
        """Return what the store cannot guarantee."""
        return self._warnings

    async def _each(
        self,
        doing: str,
        items: Sequence[_ItemT],
        path_of: Callable[[_ItemT], str],
        do: Callable[[_ItemT], _ResultT],
    ) -> list[_ResultT | OperationRefused]:
        stop = threading.Event()
        return await self._threads.call(self._store.each, doing, items, path_of, do, stop, stop=stop)


_ItemT = TypeVar("_ItemT")


@define(eq=False)
class _Progress:
    """How far a file is: the bytes ``read``, and those ``put`` at once or by ``writer``."""

    read: int = 0
    put: int = 0
    writer: Writer | None = None

    def unconfirmed(self) -> int:
        """Return how many bytes are in memory only, as far as the library tells."""
        return self.read - (self.put if self.writer is None else self.writer.stored)


async def _read(upload: Upload, progress: _Progress, size: int) -> bytes:
    """Read ``size`` bytes, or to the end of the content, and count them."""
    pieces: list[bytes] = []
    left = size
    while left and (piece := await upload.content.read(left)):
        pieces.append(piece)
        left -= len(piece)
        upload.sent += len(piece)
        progress.read += len(piece)
    return b"".join(pieces)
