"""A session for places that are quick and near: seven functions of yours that block, and the contract made of them.

`SimpleSession` decides what the contract demands (what is refused, what is done already, what was changed meanwhile),
and runs your functions in a thread, for one item at a time. Each file passes through memory in one piece. A place with
big files, or a wire that is worth filling, is better off with a session of its own.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from typing import ClassVar, TypeVar

import trio

from actorsync.endpoints.contract import Content, Relocation, Staged, Upload, nothing_ahead
from actorsync.errors import OperationRefused, Vanished
from actorsync.model.entry import Entry, Kind, Listing, Problem, parent_of
from actorsync.model.text import display, shorten

__all__ = ["SimpleSession"]

_PIECE = 1 << 20

_ItemT = TypeVar("_ItemT")
_ResultT = TypeVar("_ResultT")


class SimpleSession(ABC):
    """A session made of functions that block. Of use for an endpoint whose ``lanes`` is 1.

    Paths are checked before your functions see them: ``""`` is the root, and no other has an empty name, ``.`` or
    ``..`` in it. They never run at the same time. What they raise that is one of ``errors`` is a refusal of one item,
    with its text; `OperationRefused` is one as well, and anything else a bug.
    """

    errors: ClassVar[tuple[type[Exception], ...]] = (OSError,)

    @abstractmethod
    def find(self, path: str) -> Entry | None:
        """Describe what is at a path; None for nothing."""

    @abstractmethod
    def children(self, directory: str) -> Iterable[Entry]:
        """Describe everything in a directory that is there, as `find` does."""

    @abstractmethod
    def load(self, path: str) -> bytes:
        """Read a file that is there."""

    @abstractmethod
    def write(self, path: str, data: bytes, mtime_ns: int | None) -> None:
        """Write a new file in a directory that is there."""

    @abstractmethod
    def make(self, path: str) -> None:
        """Make a directory in one that is there; or the root, where `find` can miss it."""

    @abstractmethod
    def rename(self, old: str, new: str) -> None:
        """Give a file another path, in one stroke in place of the file that has it. Its directory is there."""

    @abstractmethod
    def remove_one(self, entry: Entry) -> None:
        """Remove a file, or a directory that is empty."""

    def check_name(self, path: str) -> None:
        """Raise `OperationRefused` for a path that cannot be used here; by default, for what is not UTF-8."""
        try:
            path.encode()
        except UnicodeEncodeError:
            raise OperationRefused("its name is not UTF-8") from None

    def transaction(self) -> AbstractContextManager[object]:
        """Give what is entered around all that is done to one item, and left with what is raised."""
        return contextlib.nullcontext()

    # The contract.

    async def list_directory(self, directory: str) -> Listing:
        """List one directory."""
        (listing,) = await self._each(self._list, [directory])
        if isinstance(listing, OperationRefused):
            return Listing(directory, problem=Problem(directory, str(listing)))
        return listing

    @asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[Content]:
        """Read a file, and give what was read."""
        (opened,) = await self._each(self._open, [path])
        if isinstance(opened, OperationRefused):
            raise opened
        yield opened

    async def stage(
        self, upload: Upload, *, commit: Sequence[Staged] = (), ahead: Callable[[], bool] = nothing_ahead
    ) -> tuple[Staged | OperationRefused, list[Entry | OperationRefused]]:
        """Commit what was staged before, then write the temporary, and look at it."""
        committed = await self.commit(commit) if commit else []
        size, pieces = upload.size, []
        try:
            while (size is None or upload.sent <= size) and (piece := await upload.content.read(_PIECE)):
                pieces.append(piece)
                upload.sent += len(piece)
        except OperationRefused as refused:
            return refused, committed
        if upload.sent != upload.due:
            return OperationRefused("it was changed while it was read", retry=True), committed
        data = b"".join(pieces)
        (staged,) = await self._each(lambda it: self._stage(it, data), [upload])
        ahead()
        return staged, committed

    async def commit(self, staged: Sequence[Staged]) -> list[Entry | OperationRefused]:
        """Rename one after the other."""
        return await self._each(self._commit, staged)

    async def make_directories(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        """Make one after the other."""
        return await self._each(self._make, paths)

    async def move(self, relocations: Sequence[Relocation]) -> list[Entry | OperationRefused]:
        """Rename, one after the other, what is still as its entry says."""
        return await self._each(self._move, relocations)

    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        """Remove, one after the other, what is still as its entry says."""
        return await self._each(self._remove, entries)

    async def sweep(
        self,
        temporaries: Sequence[str],
        finals: Mapping[str, str] | None = None,  # noqa: ARG002 - `rename` replaces in one stroke
    ) -> list[bool | OperationRefused]:
        """Remove one temporary after the other."""
        return await self._each(self._sweep, temporaries)

    async def abandon(self, temporary: str) -> bool:
        """Remove the temporary: nobody is at work on it."""
        return await self.sweep([temporary]) == [True]

    def describe(self) -> Sequence[tuple[str, str]]:
        """There is nothing to say."""
        return ()

    def warnings(self) -> Sequence[str]:
        """There is nothing to warn of."""
        return ()

    # What it is made of.

    async def _each(
        self, do: Callable[[_ItemT], _ResultT], items: Sequence[_ItemT]
    ) -> list[_ResultT | OperationRefused]:
        def one(item: _ItemT) -> _ResultT | OperationRefused:
            try:
                with self.transaction():
                    return do(item)
            except OperationRefused as refused:
                return refused
            except self.errors as error:
                text = f"{type(error).__name__}: {error}"
                return OperationRefused(shorten(display(" ".join(text.split())), 300), retry=True)

        return await trio.to_thread.run_sync(lambda: [one(item) for item in items])

    def _look(self, path: str) -> Entry | None:
        if path and not {"", ".", ".."}.isdisjoint(path.split("/")):
            raise OperationRefused("it is not a path below the root")
        self.check_name(path)
        return self.find(path)

    def _require_parent(self, path: str) -> None:
        above = self._look(parent_of(path))
        if above is None or above.kind is not Kind.DIRECTORY:
            raise OperationRefused("its directory is not there")

    def _list(self, directory: str) -> Listing:
        found = self._look(directory)
        if found is not None and found.kind is Kind.DIRECTORY:
            return Listing(directory, tuple(self.children(directory)))
        reason = "it is not there" if found is None else "it is not a directory"
        return Listing(directory, problem=Problem(directory, reason, vanished=found is None and directory != ""))

    def _open(self, path: str) -> _BytesContent:
        found = self._look(path)
        if found is None:
            if self.find("") is None:
                raise OperationRefused("the root is not there")
            raise Vanished(f"cannot open {display(path)!r}: it is gone")
        if found.kind is not Kind.FILE:
            raise OperationRefused(f"cannot open {display(path)!r}: it is not a regular file")
        data = self.load(path)
        return _BytesContent(found, data, is_unchanged=len(data) == found.size and self.find(path) == found)

    def _stage(self, upload: Upload, data: bytes) -> Staged:
        self._require_parent(upload.path)
        if self._look(upload.temporary) is not None:
            raise OperationRefused("its temporary is there already", retry=True)
        self._look(upload.path)
        self.write(upload.temporary, data, upload.content.entry.mtime_ns)
        found = self.find(upload.temporary)
        if found is None or found.size != len(data):
            raise OperationRefused(f"{0 if found is None else found.size} of {len(data)} bytes arrived", retry=True)
        return Staged(upload.path, upload.temporary, found.size, found.mtime_ns)

    def _commit(self, staged: Staged) -> Entry:
        temporary, final = self._look(staged.temporary), self._look(staged.path)
        meant = (Kind.FILE, staged.size, staged.mtime_ns)
        if temporary is None and final is not None and (final.kind, final.size, final.mtime_ns) == meant:
            return final  # by an earlier call
        if temporary is None or temporary.size != staged.size:
            raise OperationRefused("its temporary is gone, or was changed", retry=True)
        if final is not None and final.kind is not Kind.FILE:
            raise OperationRefused(f"a {final.kind.value} has its name")
        self.rename(staged.temporary, staged.path)
        if (now := self.find(staged.path)) is None or now.size != staged.size:
            raise OperationRefused("it was put in place, and is not as it was sent", retry=True)
        return now

    def _make(self, path: str) -> Entry:
        found = self._look(path)
        if found is None:
            if path:
                self._require_parent(path)
            self.make(path)
            found = self.find(path)
        if found is None or found.kind is not Kind.DIRECTORY:
            raise OperationRefused("something that is no directory has its name")
        return found

    def _move(self, item: Relocation) -> Entry:
        was, found, there = item.entry, self._look(item.entry.path), self._look(item.path)
        if found is None and there is not None and _is_as(was, there):
            return there  # by an earlier call
        if found is None or found.kind is not Kind.FILE or not _is_as(was, found):
            raise OperationRefused("it was changed by somebody else: not moved")
        self._require_parent(item.path)
        if there is not None:
            raise OperationRefused("something has its new name: not moved")
        self.rename(was.path, item.path)
        if (now := self.find(item.path)) is None or not _is_as(was, now):
            raise OperationRefused("it was moved, and is not as it was", retry=True)
        return now

    def _remove(self, entry: Entry) -> bool:
        if not entry.path:
            raise OperationRefused("the root is never removed")
        found = self._look(entry.path)
        if found is None:
            if self.find("") is None:
                raise OperationRefused("the root is not there")
            return True
        if found.kind is not entry.kind or (entry.kind is Kind.FILE and not _is_as(entry, found)):
            raise OperationRefused("it was changed by somebody else: not removed")
        if found.kind is Kind.DIRECTORY and any(True for _ in self.children(entry.path)):
            return False
        self.remove_one(found)
        return True

    def _sweep(self, temporary: str) -> bool:
        found = self._look(temporary)
        if found is not None and found.kind is Kind.DIRECTORY:
            raise OperationRefused("it is a directory")
        if found is not None:
            self.remove_one(found)
        return True


def _is_as(entry: Entry, found: Entry) -> bool:
    """Tell whether a file is as its entry says, as far as that says anything."""
    return (found.kind, found.size) == (entry.kind, entry.size) and entry.mtime_ns in {None, found.mtime_ns}


class _BytesContent(Content):
    """A file that was read when it was opened."""

    def __init__(self, entry: Entry, data: bytes, *, is_unchanged: bool) -> None:
        self._entry, self._rest, self._is_unchanged = entry, memoryview(data), is_unchanged

    @property
    def entry(self) -> Entry:
        return self._entry

    def fileno(self) -> None:
        """There is no descriptor."""

    async def read(self, max_bytes: int) -> bytes:
        """Read on in memory."""
        await trio.lowlevel.checkpoint()
        piece, self._rest = bytes(self._rest[:max_bytes]), self._rest[max_bytes:]
        return piece

    async def is_unchanged(self) -> bool:
        """Say whether it was the same before and after it was read."""
        await trio.lowlevel.checkpoint()
        return self._is_unchanged
