"""A session in a file system of fsspec: the contract, with each verb in a thread.

A thread that waits for a server cannot be stopped, so a call that is cancelled is left behind: its thread comes to the
end of the one request that it is in, begins nothing more, and nobody hears of it. What is abandoned waits for such
threads, for a while, so that what they write is removed after that and not before.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar, TypeVarTuple, Unpack

import trio

from actorsync.endpoints.contract import Content, Relocation, Staged, Upload, nothing_ahead
from actorsync.endpoints.fsspec.store import Store, Writer
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.entry import Entry, Listing

__all__ = ["FsspecSession", "Threads"]

#: A file up to this size is written by one call, and is in memory meanwhile.
_SMALL: Final = 4 << 20
#: What a bigger one is written in, and any is read in. Object stores take 10,000 pieces at most.
_PIECE: Final = 8 << 20
_MOST_PIECES: Final = 9_000
#: What a file is written in whose size only its end tells: up to 288 GB.
_BIG_PIECE: Final = 32 << 20
_THREADS: Final = 64
#: Seconds that threads which were left behind are waited for when a temporary is abandoned.
_ABANDON_SECONDS: Final = 2.0

_ArgsT = TypeVarTuple("_ArgsT")
_ResultT = TypeVar("_ResultT")


class Threads:
    """The threads of an endpoint: those that work, and those that were left behind."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(_THREADS)
        self._strays: set[trio.Event] = set()

    async def call(
        self, function: Callable[[Unpack[_ArgsT]], _ResultT], *args: *_ArgsT, stop: threading.Event | None = None
    ) -> _ResultT:
        """Do something that blocks. Cancelled, it sets ``stop``, and leaves the thread behind."""
        stop = stop or threading.Event()
        began, ended = threading.Event(), trio.Event()
        token = trio.lowlevel.current_trio_token()

        def work() -> _ResultT:
            began.set()
            try:
                if stop.is_set():
                    raise ConnectionLost("it was given up")
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
        """Have something done that nobody waits for, unless something is abandoned meanwhile."""
        ended, token = trio.Event(), trio.lowlevel.current_trio_token()
        self._strays.add(ended)

        def deliver(_: object) -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(self._end, ended)

        trio.lowlevel.start_thread_soon(function, deliver)

    async def settled(self) -> None:
        """Wait until nobody is left behind any more."""
        for stray in [*self._strays]:
            await stray.wait()

    def _end(self, ended: trio.Event) -> None:
        ended.set()
        self._strays.discard(ended)


class _FsspecContent(Content):
    """An open file: what is read of it comes in pieces, each asked for by itself."""

    def __init__(self, threads: Threads, store: Store, path: str, described: tuple[Entry, tuple[object, ...]]) -> None:
        self._threads, self._store, self._path = threads, store, path
        self._entry, self._version = described
        self._piece = memoryview(b"")
        self._asked = 0

    @property
    def entry(self) -> Entry:
        return self._entry

    def fileno(self) -> None:
        """There is no descriptor."""

    async def read(self, max_bytes: int) -> bytes:
        """Read on, from what came with the last piece as long as there is any of it."""
        await trio.lowlevel.checkpoint()
        if not self._piece and self._asked < self._entry.size:
            end = min(self._entry.size, self._asked + max(max_bytes, _PIECE))
            piece = await self._threads.call(self._store.read, self._path, self._asked, end)
            self._asked = self._asked + len(piece) if piece else self._entry.size
            self._piece = memoryview(piece)
        piece, self._piece = bytes(self._piece[:max_bytes]), self._piece[max_bytes:]
        return piece

    async def is_unchanged(self) -> bool:
        """Ask again what the file is."""
        try:
            return await self._threads.call(self._store.version, self._path) == self._version
        except OperationRefused:
            return False


class FsspecSession:
    """What all sessions of an endpoint are: there is no connection that one of them would have for itself."""

    def __init__(
        self, threads: Threads, store: Store, described: Sequence[tuple[str, str]], warnings: Sequence[str]
    ) -> None:
        self._threads, self._store = threads, store
        self._described, self._warnings = described, warnings

    async def list_directory(self, directory: str) -> Listing:
        """List one directory."""
        return await self._threads.call(self._store.list_directory, directory)

    @asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[Content]:
        """Look at a file, and read it when it is asked for."""
        described = await self._threads.call(self._store.opened, path)
        yield _FsspecContent(self._threads, self._store, path, described)

    async def stage(
        self,
        upload: Upload,
        *,
        commit: Sequence[Staged] = (),
        ahead: Callable[[], bool] = nothing_ahead,
    ) -> tuple[Staged | OperationRefused, list[Entry | OperationRefused]]:
        """Commit what was staged before, then write the temporary, and read its size back."""
        committed = await self.commit(commit) if commit else []
        try:
            return await self._write(upload, ahead), committed
        except OperationRefused as refused:
            return refused, committed

    async def _write(self, upload: Upload, ahead: Callable[[], bool]) -> Staged:
        size = upload.size
        await self._threads.call(self._store.check_place, upload.path, upload.temporary)
        begun = await _read(upload, (_SMALL if size is None else min(size, _SMALL)) + 1)
        if len(begun) <= _SMALL:
            if upload.sent == upload.due:
                await self._threads.call(self._store.put, upload.path, upload.temporary, begun)
        else:
            await self._write_pieces(upload, begun)
        if upload.sent != upload.due:
            raise OperationRefused("it was changed while it was read", retry=True)
        ahead()
        return await self._threads.call(self._store.verified, upload.path, upload.temporary, upload.due)

    async def _write_pieces(self, upload: Upload, begun: bytes) -> None:
        """Write a file that has begun with more than fits into one call."""
        size = upload.size
        piece_size = _BIG_PIECE if size is None else max(_PIECE, -(-size // _MOST_PIECES))
        writer = Writer(self._store, upload.path, upload.temporary, piece_size)
        is_whole = False
        try:
            piece = begun + await _read(upload, piece_size - len(begun))
            while piece:
                await self._threads.call(writer.put, piece)
                piece = await _read(upload, piece_size) if size is None or upload.sent <= size else b""
            if upload.sent == upload.due:
                await self._threads.call(writer.finish)
                is_whole = True
        finally:
            if not is_whole:
                self._threads.leave(writer.discard)
                with trio.move_on_after(_ABANDON_SECONDS):
                    await self._threads.settled()

    async def commit(self, staged: Sequence[Staged]) -> list[Entry | OperationRefused]:
        """Give temporaries their names, one after the other."""
        return await self._each("put in place", staged, lambda item: item.path, self._store.commit_one)

    async def make_directories(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        """Make directories, one after the other."""
        return await self._each("make directory", paths, lambda path: path, self._store.make_one)

    async def move(self, relocations: Sequence[Relocation]) -> list[Entry | OperationRefused]:
        """Rename, one after the other, what is still as its entry says; a store that cannot rename copies by itself."""
        return await self._each("move", relocations, lambda item: item.path, self._store.move_one)

    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        """Remove, one after the other, what is still as its entry says."""
        return await self._each("remove", entries, lambda entry: entry.path, self._store.remove_one)

    async def sweep(
        self, temporaries: Sequence[str], finals: Mapping[str, str] | None = None
    ) -> list[bool | OperationRefused]:
        """Remove temporaries; what was set aside for one comes back to its final name."""
        stop = threading.Event()
        return await self._threads.call(self._store.sweep, temporaries, finals or {}, stop, stop=stop)

    async def abandon(self, temporary: str) -> bool:
        """Remove the temporary, once nobody is at work on it any more."""
        with trio.move_on_after(_ABANDON_SECONDS):
            await self._threads.settled()
            return (await self.sweep([temporary]))[0] is True
        return False

    def describe(self) -> Sequence[tuple[str, str]]:
        """Say what the store is, and how a file gets its name there."""
        return self._described

    def warnings(self) -> Sequence[str]:
        """Say what the store cannot promise."""
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


async def _read(upload: Upload, size: int) -> bytes:
    """Read so many bytes, or to the end of the file, and count them."""
    pieces: list[bytes] = []
    left = size
    while left and (piece := await upload.content.read(left)):
        pieces.append(piece)
        left -= len(piece)
        upload.sent += len(piece)
    return b"".join(pieces)
