"""A tree in memory, for simulations: no threads, no clock of its own, and a checkpoint at every step.

Two tasks can interfere here as on a real server, at a checkpoint: one sees a half-written temporary, replaces a file
while it is read, or removes the directory of a writer. The test API of `MemoryEndpoint` is synchronous: a test uses it
to change the tree as another program would.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Final, TypeVar

import trio

from actorsync.endpoints.contract import Capabilities, Content, Relocation, Staged, Upload, nothing_ahead
from actorsync.endpoints.memory.store import MemoryStore, require_itself
from actorsync.endpoints.memory.tree import Directory, File, Special
from actorsync.endpoints.memory.writer import may_continue, sweep, where_to_continue, write
from actorsync.errors import (
    GuardRefused,
    OperationRefused,
    TooManyConnections,
    Vanished,
)
from actorsync.model.entry import Entry, Kind, Listing, Problem, Root, join, parent_of
from actorsync.planning.name_folding import NewSpelling

__all__ = ["MemoryEndpoint", "MemorySession"]

_EPOCH_NS: Final = 1_700_000_000 * 10**9
_TICK_NS: Final = 10**6


_ItemT = TypeVar("_ItemT")
_ResultT = TypeVar("_ResultT")


class MemoryEndpoint(MemoryStore):
    """A tree of files and directories in memory.

    Args:
        display: the name of the endpoint.
        now: returns nanoseconds; without it, every call of the clock is a millisecond after the one before.
        precision_ns: times are rounded down to a multiple of this. An FTP server has one second.
        inodes: whether entries have an inode and a ctime. Those of an FTP server have none.
        exists: whether the root exists at first.
        lanes: the operations that the engine gives to a session at once.
        max_sessions: the number of sessions that may be open at once.
        is_remote: whether the engine treats the endpoint as a server.
        fold: names for which this function returns the same value are one name (``str.casefold``).
        modes: whether entries have permissions, and sessions set them.

    A test may read ``sessions``, the number of open sessions, and ``log``: every command of a session that changes the
    tree, as verb and path. The verbs are ``make``, ``stage``, ``commit``, ``move`` and ``respell`` (with the
    new path), ``set_mode``, ``remove``, ``sweep``, ``abandon``, ``continue_from`` and ``leave``.

    A test may set at any time: ``device``, the number of the disk that holds the root; ``capabilities``; and what
    `MemoryStore` has.
    """

    def __init__(
        self,
        display: str = "memory",
        *,
        now: Callable[[], int] | None = None,
        precision_ns: int = 1,
        inodes: bool = True,
        exists: bool = True,
        lanes: int = 1,
        max_sessions: int | None = None,
        is_remote: bool = False,
        fold: Callable[[str], str] | None = None,
        modes: bool = False,
    ) -> None:
        super().__init__(
            now=now or itertools.count(_EPOCH_NS, _TICK_NS).__next__,
            precision_ns=precision_ns,
            inodes=inodes,
            exists=exists,
            fold=fold,
        )
        self.display = display
        self.max_sessions = max_sessions
        self.has_modes = modes
        self.capabilities = Capabilities(lanes=lanes, is_remote=is_remote, keeps_modes=modes)
        self.sessions = 0
        self.device = 1

    async def identify(self) -> Root:
        """Describe the root. Raises `GuardRefused` if it does not exist."""
        await trio.lowlevel.checkpoint()
        root = self.find("")
        if root is None:
            raise GuardRefused("the root does not exist")
        return Root(self.entry("", root), self.device)

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[MemorySession]:
        """Open a session. The root need not exist yet."""
        await trio.lowlevel.checkpoint()
        if self.max_sessions is not None and self.sessions >= self.max_sessions:
            raise TooManyConnections(f"{self.sessions} sessions are open, and no more are allowed")
        self.sessions += 1
        try:
            yield MemorySession(self)
        finally:
            self.sessions -= 1


class _MemoryContent(Content):
    """An open file. It sees bytes that are written in place, but not a file that is renamed over it."""

    def __init__(self, node: File, entry: Entry, start: int = 0) -> None:
        self._node, self._entry, self._start = node, entry, start
        self._identity = self._look()
        self._offset = start

    @property
    def entry(self) -> Entry:
        return self._entry

    @property
    def start(self) -> int:
        """Where it was opened."""
        return self._start

    def fileno(self) -> None:
        """Return None: there is no descriptor."""

    async def read(self, max_bytes: int) -> bytes:
        """Return the next piece, as the file is now."""
        await trio.lowlevel.checkpoint()
        piece = self._node.data[self._offset : self._offset + max_bytes]
        self._offset += len(piece)
        return piece

    async def is_unchanged(self) -> bool:
        """Return whether size and times are those at the opening."""
        await trio.lowlevel.checkpoint()
        return self._identity == self._look()

    def _look(self) -> tuple[int, int, int]:
        return len(self._node.data), self._node.mtime_ns, self._node.ctime_ns


class MemorySession:
    """A session of a `MemoryEndpoint`. It is never lost; for that, wrap the endpoint in `actorsync.testing.Faulty`."""

    def __init__(self, endpoint: MemoryEndpoint) -> None:
        self._endpoint = endpoint

    async def list_directory(self, directory: str) -> Listing:
        """List one directory as it is now."""
        await trio.lowlevel.checkpoint()
        node = self._endpoint.find(directory)
        if not isinstance(node, Directory):
            vanished = node is None and directory != ""
            reason = "does not exist" if node is None else "is not a directory"
            has_no_root = self._endpoint.find("") is None
            return Listing(directory, problem=Problem(directory, reason, vanished, has_no_root))
        children = [(join(directory, name), child) for name, child in node.children.items()]
        return Listing(directory, tuple(self._endpoint.entry(path, child) for path, child in children))

    def open(self, path: str) -> AbstractAsyncContextManager[Content]:
        """Open one file."""
        return self.open_at(path, 0)

    @asynccontextmanager
    async def open_at(self, path: str, start: int) -> AsyncIterator[Content]:
        """Open one file from byte ``start`` on."""
        await trio.lowlevel.checkpoint()
        self._endpoint.check_trouble(path)
        node = self._endpoint.find(path)
        if node is None:
            raise Vanished(f"cannot open {path!r}: it is gone")
        if not isinstance(node, File):
            raise OperationRefused(f"cannot open {path!r}: it is not a regular file")
        yield _MemoryContent(node, self._endpoint.entry(path, node), start)

    async def stage(
        self,
        upload: Upload,
        *,
        commit: Sequence[Staged] = (),
        ahead: Callable[[], bool] = nothing_ahead,
    ) -> tuple[Staged | OperationRefused, list[Entry | OperationRefused]]:
        """Commit the earlier uploads, then write the temporary in a few pieces, with a checkpoint before each."""
        committed = await self.commit(commit)
        try:
            return await self._write(upload, ahead), committed
        except OperationRefused as refused:
            return refused, committed

    async def commit(self, staged: Sequence[Staged]) -> list[Entry | OperationRefused]:
        """Rename temporaries, one after the other."""
        return [await self._one("commit", item.path, self._commit, item) for item in staged]

    async def make_directories(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        """Make directories, one after the other."""
        return [await self._one("make", path, self._make, path) for path in paths]

    async def move(self, relocations: Sequence[Relocation]) -> list[Entry | OperationRefused]:
        """Rename unchanged files, one after the other."""
        return [await self._one("move", item.path, self._move, item) for item in relocations]

    async def set_modes(self, entries: Sequence[Entry]) -> list[Entry | OperationRefused]:
        """Set modes, one after the other."""
        return [await self._one("set_mode", entry.path, self._set_mode, entry) for entry in entries]

    async def respell(self, items: Sequence[NewSpelling]) -> list[Entry | OperationRefused]:
        """Change the spelling of names, one after the other."""
        return [await self._one("respell", item.path, partial(_respell, self._endpoint), item) for item in items]

    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        """Remove unchanged entries, one after the other."""
        return [await self._one("remove", entry.path, self._remove, entry) for entry in entries]

    async def sweep(
        self,
        temporaries: Sequence[str],
        finals: Mapping[str, str] | None = None,  # noqa: ARG002 - a rename is atomic, so nothing was set aside
    ) -> list[bool | OperationRefused]:
        """Remove temporaries, one after the other."""
        return [await self._one("sweep", path, partial(sweep, self._endpoint), path) for path in temporaries]

    async def abandon(self, temporary: str) -> bool:
        """Remove the temporary."""
        return await self._one("abandon", temporary, partial(sweep, self._endpoint), temporary) is True

    async def may_continue(self, temporary: str) -> int:
        """Return where content is to be opened to continue an upload."""
        await trio.lowlevel.checkpoint()
        return may_continue(self._endpoint, temporary)

    async def continue_from(self, upload: Upload) -> int:
        """Return where the upload may go on: a little before the end of the temporary, if that is right."""
        await trio.lowlevel.checkpoint()
        self._endpoint.log.append(("continue_from", upload.temporary))
        return await where_to_continue(self._endpoint, upload)

    async def leave(self, temporary: str) -> None:
        """Leave the temporary as it is."""
        await trio.lowlevel.checkpoint()
        self._endpoint.log.append(("leave", temporary))

    def describe(self) -> Sequence[tuple[str, str]]:
        """Name the tree."""
        return (("memory", self._endpoint.display),)

    def warnings(self) -> Sequence[str]:
        """Return no warnings."""
        return ()

    async def _one(
        self, verb: str, path: str, do: Callable[[_ItemT], _ResultT], item: _ItemT
    ) -> _ResultT | OperationRefused:
        await trio.lowlevel.checkpoint()
        self._endpoint.log.append((verb, path))
        try:
            return do(item)
        except OperationRefused as refused:
            return refused

    async def _write(self, upload: Upload, ahead: Callable[[], bool]) -> Staged:
        return await write(self._endpoint, upload, ahead)

    def _make(self, path: str) -> Entry:
        self._endpoint.check_trouble(path)
        require_itself(self._endpoint, path)
        return self._endpoint.make(path)

    def _commit(self, staged: Staged) -> Entry:
        if parent_of(staged.temporary) != parent_of(staged.path):
            raise ValueError(f"{staged.temporary!r} is not in the directory of {staged.path!r}")
        node, final = self._endpoint.find(staged.temporary), self._endpoint.find(staged.path)
        time = None if staged.mtime_ns is None else self._endpoint.rounded(staged.mtime_ns)
        committed = isinstance(final, File) and (len(final.data), final.mtime_ns) == (staged.size, time)
        require_itself(self._endpoint, staged.path)
        if node is None and final is not None and committed:  # by an earlier call
            return self._endpoint.entry(staged.path, final)
        if not isinstance(node, File) or len(node.data) != staged.size:
            raise OperationRefused(f"the temporary of {staged.path!r} is gone, or was changed", retry=True)
        self._endpoint.rename(staged.temporary, staged.path)
        return self._endpoint.entry(staged.path, node)

    def _move(self, item: Relocation) -> Entry:
        self._endpoint.check_trouble(item.path)
        node, there = self._endpoint.find(item.entry.path), self._endpoint.find(item.path)
        if node is None and there is not None and _is_as(item.entry, self._endpoint.entry(item.path, there)):
            return self._endpoint.entry(item.path, there)  # by an earlier call
        if node is None:
            raise OperationRefused(f"{item.entry.path!r} is gone")
        if not _is_as(item.entry, self._endpoint.entry(item.entry.path, node)):
            raise OperationRefused(f"{item.entry.path!r} was changed by another program: not moved")
        if there is not None:
            raise OperationRefused(f"cannot move to {item.path!r}: the name is taken")
        self._endpoint.rename(item.entry.path, item.path)
        return self._endpoint.entry(item.path, node)

    def _set_mode(self, entry: Entry) -> Entry:
        self._endpoint.check_trouble(entry.path)
        node = self._endpoint.find(entry.path)
        is_as_expected = node is not None and self._endpoint.entry(entry.path, node).kind is entry.kind
        if isinstance(node, Special) or node is None or not is_as_expected or entry.mode is None:
            raise OperationRefused(f"{entry.path!r} was changed by another program: its mode is not set")
        node.mode = entry.mode
        self._endpoint.touch(node, node.mtime_ns)
        return self._endpoint.entry(entry.path, node)

    def _remove(self, entry: Entry) -> bool:
        self._endpoint.check_trouble(entry.path)
        node = self._endpoint.find(entry.path)
        if node is not None and self._endpoint.shown_as(entry.path) != entry.path:
            return True  # what has another spelling is not this entry, which is gone
        if node is None:
            if self._endpoint.find("") is None:
                raise OperationRefused("the root does not exist")
            return True
        found = self._endpoint.entry(entry.path, node)
        if found.kind is not entry.kind or (entry.kind is Kind.FILE and not _is_as(entry, found)):
            raise OperationRefused(f"{entry.path!r} was changed by another program: not removed")
        if isinstance(node, Directory) and node.children:
            return False
        self._endpoint.take(entry.path)
        return True


def _is_as(entry: Entry, found: Entry) -> bool:
    """Return whether a file matches its entry, as far as the entry has facts."""
    return (found.kind, found.size) == (entry.kind, entry.size) and entry.mtime_ns in {None, found.mtime_ns}


def _respell(endpoint: MemoryEndpoint, item: NewSpelling) -> Entry:
    old = item.entry.path
    endpoint.check_trouble(item.path)
    there = endpoint.find(item.path)
    if there is None or endpoint.shown_as(item.path) not in {old, item.path}:
        raise OperationRefused("the target tells both spellings of its name apart")
    if endpoint.find(old) is not there:
        raise OperationRefused("both spellings of its name exist on the target")
    endpoint.put(item.path, endpoint.take(old))
    return endpoint.entry(item.path, there)
