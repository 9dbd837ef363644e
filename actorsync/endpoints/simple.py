"""A session for fast, local places, made of blocking functions of your own.

`SimpleSession` applies the rules of the contract (what to refuse, what is done already, what was changed meanwhile) and
calls your functions in a thread, for one item at a time. Each file passes through memory in one piece. For big files,
or for a network, write a session of your own.
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
    """A session made of blocking functions, for an endpoint with one lane.

    A subclass defines the abstract methods. They never run at the same time. Paths are checked before: ``""`` is the
    root, and no other path has an empty name, ``.`` or ``..`` in it. An exception of a type in ``errors`` refuses one
    item, with its text; so does `OperationRefused`. Any other exception is a bug.
    """

    errors: ClassVar[tuple[type[Exception], ...]] = (OSError,)

    @abstractmethod
    def find(self, path: str) -> Entry | None:
        """Return the entry at a path, or None."""

    @abstractmethod
    def children(self, directory: str) -> Iterable[Entry]:
        """Return the entries of an existing directory."""

    @abstractmethod
    def load(self, path: str) -> bytes:
        """Return the content of an existing file."""

    @abstractmethod
    def write(self, path: str, data: bytes, mtime_ns: int | None) -> None:
        """Write a new file in an existing directory."""

    @abstractmethod
    def make(self, path: str) -> None:
        """Make a directory in an existing one; or the root, if `find` can return None for it."""

    @abstractmethod
    def rename(self, old: str, new: str) -> None:
        """Rename a file atomically, replacing any file of that name. The directory of ``new`` exists."""

    @abstractmethod
    def remove_one(self, entry: Entry) -> None:
        """Remove a file or an empty directory."""

    def check_name(self, path: str) -> None:
        """Raise `OperationRefused` for a path that cannot be used here; by default, for a path that is not UTF-8."""
        try:
            path.encode()
        except UnicodeEncodeError:
            raise OperationRefused("its name is not UTF-8") from None

    def transaction(self) -> AbstractContextManager[object]:
        """Return a context manager that is entered around the work on one item, and sees the exception, if any."""
        return contextlib.nullcontext()

    # The contract.

    async def list_directory(self, directory: str) -> Listing:
        """List one directory."""
        (listing,) = await self._each(_Rules.list, [directory])
        if isinstance(listing, OperationRefused):
            return Listing(directory, problem=Problem(directory, str(listing)))
        return listing

    @asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[Content]:
        """Read a whole file, and yield its content."""
        (opened,) = await self._each(_Rules.open, [path])
        if isinstance(opened, OperationRefused):
            raise opened
        yield opened

    async def stage(
        self, upload: Upload, *, commit: Sequence[Staged] = (), ahead: Callable[[], bool] = nothing_ahead
    ) -> tuple[Staged | OperationRefused, list[Entry | OperationRefused]]:
        """Commit the earlier uploads, then write the temporary and read its size back."""
        committed = await self.commit(commit) if commit else []
        size, pieces, read = upload.size, list[bytes](), 0
        try:
            while (size is None or read <= size) and (piece := await upload.content.read(_PIECE)):
                pieces.append(piece)
                read += len(piece)
        except OperationRefused as refused:
            return refused, committed
        if size is not None and read != size:
            return OperationRefused("it changed while it was read", retry=True), committed
        data = b"".join(pieces)
        (staged,) = await self._each(lambda rules, it: rules.stage(it, data), [upload])
        if isinstance(staged, Staged):
            upload.sent = read
        ahead()
        return staged, committed

    async def commit(self, staged: Sequence[Staged]) -> list[Entry | OperationRefused]:
        """Rename temporaries, one after the other."""
        return await self._each(_Rules.commit, staged)

    async def make_directories(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        """Make directories, one after the other."""
        return await self._each(_Rules.make, paths)

    async def move(self, relocations: Sequence[Relocation]) -> list[Entry | OperationRefused]:
        """Rename unchanged files, one after the other."""
        return await self._each(_Rules.move, relocations)

    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        """Remove unchanged entries, one after the other."""
        return await self._each(_Rules.remove, entries)

    async def sweep(
        self,
        temporaries: Sequence[str],
        finals: Mapping[str, str] | None = None,  # noqa: ARG002 - `rename` is atomic, so nothing was set aside
    ) -> list[bool | OperationRefused]:
        """Remove temporaries, one after the other."""
        return await self._each(_Rules.sweep, temporaries)

    async def abandon(self, temporary: str) -> bool:
        """Remove the temporary. No thread is writing to it."""
        return await self.sweep([temporary]) == [True]

    def describe(self) -> Sequence[tuple[str, str]]:
        """Return no description."""
        return ()

    def warnings(self) -> Sequence[str]:
        """Return no warnings."""
        return ()

    async def _each(
        self, do: Callable[[_Rules, _ItemT], _ResultT], items: Sequence[_ItemT]
    ) -> list[_ResultT | OperationRefused]:
        """Apply ``do`` to one item after the other in a thread; an exception of the place refuses its item."""
        rules = _Rules(self)

        def one(item: _ItemT) -> _ResultT | OperationRefused:
            try:
                with self.transaction():
                    return do(rules, item)
            except OperationRefused as refused:
                return refused
            except self.errors as error:
                text = f"{type(error).__name__}: {error}"
                return OperationRefused(shorten(display(" ".join(text.split())), 300), retry=True)

        return await trio.to_thread.run_sync(lambda: [one(item) for item in items])


class _Rules:
    """The rules of the contract, for one item at a time. Every method blocks."""

    def __init__(self, place: SimpleSession) -> None:
        self._place = place

    def look(self, path: str) -> Entry | None:
        """Return the entry at a path, or None. Raises `OperationRefused` for a path that cannot be used."""
        if path and not {"", ".", ".."}.isdisjoint(path.split("/")):
            raise OperationRefused("it is not a path below the root")
        self._place.check_name(path)
        return self._place.find(path)

    def _require_parent(self, path: str) -> None:
        above = self.look(parent_of(path))
        if above is None or above.kind is not Kind.DIRECTORY:
            raise OperationRefused("its directory does not exist")

    def list(self, directory: str) -> Listing:
        """List a directory, or return a listing with a problem."""
        found = self.look(directory)
        if found is not None and found.kind is Kind.DIRECTORY:
            return Listing(directory, tuple(self._place.children(directory)))
        reason = "it does not exist" if found is None else "it is not a directory"
        has_no_root = found is None and (directory == "" or self.look("") is None)
        return Listing(directory, problem=Problem(directory, reason, found is None and directory != "", has_no_root))

    def open(self, path: str) -> _BytesContent:
        """Read a whole file. Raises `Vanished` if it is gone."""
        found = self.look(path)
        if found is None:
            if self._place.find("") is None:
                raise OperationRefused("the root does not exist")
            raise Vanished(f"cannot open {display(path)!r}: it is gone")
        if found.kind is not Kind.FILE:
            raise OperationRefused(f"cannot open {display(path)!r}: it is not a regular file")
        data = self._place.load(path)
        return _BytesContent(found, data, is_unchanged=len(data) == found.size and self._place.find(path) == found)

    def stage(self, upload: Upload, data: bytes) -> Staged:
        """Write a new temporary, and verify its size."""
        self._require_parent(upload.path)
        if self.look(upload.temporary) is not None:
            raise OperationRefused("its temporary exists already", retry=True)
        self.look(upload.path)
        self._place.write(upload.temporary, data, upload.content.entry.mtime_ns)
        found = self._place.find(upload.temporary)
        if found is None or found.size != len(data):
            raise OperationRefused(f"{0 if found is None else found.size} of {len(data)} bytes arrived", retry=True)
        return Staged(upload.path, upload.temporary, found.size, found.mtime_ns)

    def commit(self, staged: Staged) -> Entry:
        """Rename a temporary to its final name, unless an earlier call did."""
        temporary, final = self.look(staged.temporary), self.look(staged.path)
        meant = (Kind.FILE, staged.size, staged.mtime_ns)
        if temporary is None and final is not None and (final.kind, final.size, final.mtime_ns) == meant:
            return final  # by an earlier call
        if temporary is None or temporary.size != staged.size:
            raise OperationRefused("its temporary is gone, or was changed", retry=True)
        if final is not None and final.kind is not Kind.FILE:
            raise OperationRefused(f"a {final.kind.value} has its name")
        self._place.rename(staged.temporary, staged.path)
        if (now := self._place.find(staged.path)) is None or now.size != staged.size:
            raise OperationRefused("after the rename its size is wrong", retry=True)
        return now

    def make(self, path: str) -> Entry:
        """Make a directory, unless it exists."""
        found = self.look(path)
        if found is None:
            if path:
                self._require_parent(path)
            self._place.make(path)
            found = self._place.find(path)
        if found is None or found.kind is not Kind.DIRECTORY:
            raise OperationRefused("an entry that is not a directory has its name")
        return found

    def move(self, item: Relocation) -> Entry:
        """Rename an unchanged file to a free name, unless an earlier call did."""
        was, found, there = item.entry, self.look(item.entry.path), self.look(item.path)
        if found is None and there is not None and _is_as(was, there):
            return there  # by an earlier call
        if found is None or found.kind is not Kind.FILE or not _is_as(was, found):
            raise OperationRefused("it was changed by another program: not moved")
        self._require_parent(item.path)
        if there is not None:
            raise OperationRefused("its new name is taken: not moved")
        self._place.rename(was.path, item.path)
        if (now := self._place.find(item.path)) is None or not _is_as(was, now):
            raise OperationRefused("after the move it differs from its entry", retry=True)
        return now

    def remove(self, entry: Entry) -> bool:
        """Remove an unchanged file or an empty directory; True if it is gone."""
        if not entry.path:
            raise OperationRefused("the root is never removed")
        found = self.look(entry.path)
        if found is None:
            if self._place.find("") is None:
                raise OperationRefused("the root does not exist")
            return True
        if found.kind is not entry.kind or (entry.kind is Kind.FILE and not _is_as(entry, found)):
            raise OperationRefused("it was changed by another program: not removed")
        if found.kind is Kind.DIRECTORY and any(True for _ in self._place.children(entry.path)):
            return False
        self._place.remove_one(found)
        return True

    def sweep(self, temporary: str) -> bool:
        """Remove a temporary in any state."""
        found = self.look(temporary)
        if found is not None and found.kind is Kind.DIRECTORY:
            raise OperationRefused("it is a directory")
        if found is not None:
            self._place.remove_one(found)
        return True


def _is_as(entry: Entry, found: Entry) -> bool:
    """Return whether a file matches its entry, as far as the entry has facts."""
    return (found.kind, found.size) == (entry.kind, entry.size) and entry.mtime_ns in {None, found.mtime_ns}


class _BytesContent(Content):
    """A file that was read when it was opened."""

    def __init__(self, entry: Entry, data: bytes, *, is_unchanged: bool) -> None:
        self._entry, self._rest, self._is_unchanged = entry, memoryview(data), is_unchanged

    @property
    def entry(self) -> Entry:
        return self._entry

    def fileno(self) -> None:
        """Return None: there is no descriptor."""

    async def read(self, max_bytes: int) -> bytes:
        """Return the next piece from memory."""
        await trio.lowlevel.checkpoint()
        piece, self._rest = bytes(self._rest[:max_bytes]), self._rest[max_bytes:]
        return piece

    async def is_unchanged(self) -> bool:
        """Return whether the file was the same before and after it was read."""
        await trio.lowlevel.checkpoint()
        return self._is_unchanged
