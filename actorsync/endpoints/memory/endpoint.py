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
from actorsync.endpoints.memory import changes, releases
from actorsync.endpoints.memory.tree import Directory, File, MemoryTree
from actorsync.endpoints.memory.writer import may_continue, where_to_continue, write
from actorsync.endpoints.releases import Publication, Published
from actorsync.errors import (
    GuardRefused,
    OperationRefused,
    TooManyConnections,
    Vanished,
)
from actorsync.model.entry import Entry, Listing, Problem, Root, join
from actorsync.planning.name_folding import NewSpelling

__all__ = ["MemoryEndpoint", "MemorySession"]

_EPOCH_NS: Final = 1_700_000_000 * 10**9
_TICK_NS: Final = 10**6


_ItemT = TypeVar("_ItemT")
_ResultT = TypeVar("_ResultT")


class MemoryEndpoint(MemoryTree):
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
    new path), ``publish`` and ``put_back`` (with the final path), ``set_mode``, ``remove``, ``sweep``, ``abandon``,
    ``continue_from`` and ``leave``.

    A test may set at any time: ``capacity``, the size of the disk in bytes; ``device``, the number of the disk that
    holds the root; ``trouble``, the error that a session gets when it stores, makes, removes or opens a path;
    ``can_resume``, whether uploads can be continued; ``pieces``, how many pieces a file is written in; ``in_between``,
    what another program does between the check and the rename of a move; ``capabilities``.
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

    def has_room(self, more: int) -> bool:
        """Return whether ``more`` bytes would fit."""
        room = changes.room(self)
        return room is None or more <= room

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
        return [await self._one("commit", item.path, partial(changes.commit, self._endpoint), item) for item in staged]

    async def publish(self, items: Sequence[Publication]) -> list[Published | OperationRefused]:
        """Publish staged files, one after the other."""
        return [await releases.publish(self._endpoint, item) for item in items]

    async def put_back(self, items: Sequence[Publication]) -> list[Entry | OperationRefused | None]:
        """Take publications back, one after the other."""
        return [await releases.put_back(self._endpoint, item) for item in items]

    async def free_space(self) -> int | None:
        """Return what is left of the capacity; None without one."""
        await trio.lowlevel.checkpoint()
        return changes.room(self._endpoint)

    async def make_directories(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        """Make directories, one after the other."""
        return [await self._one("make", path, partial(changes.make, self._endpoint), path) for path in paths]

    async def move(self, relocations: Sequence[Relocation]) -> list[Entry | OperationRefused]:
        """Rename unchanged files, one after the other."""
        return [await self._one("move", item.path, partial(changes.move, self._endpoint), item) for item in relocations]

    async def set_modes(self, entries: Sequence[Entry]) -> list[Entry | OperationRefused]:
        """Set modes, one after the other."""
        return [
            await self._one("set_mode", entry.path, partial(changes.set_mode, self._endpoint), entry)
            for entry in entries
        ]

    async def respell(self, items: Sequence[NewSpelling]) -> list[Entry | OperationRefused]:
        """Change the spelling of names, one after the other."""
        return [await self._one("respell", item.path, partial(changes.respell, self._endpoint), item) for item in items]

    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        """Remove unchanged entries, one after the other."""
        return [
            await self._one("remove", entry.path, partial(changes.remove, self._endpoint), entry) for entry in entries
        ]

    async def sweep(
        self,
        temporaries: Sequence[str],
        finals: Mapping[str, str] | None = None,  # noqa: ARG002 - a rename is atomic, so nothing was set aside
    ) -> list[bool | OperationRefused]:
        """Remove temporaries, one after the other."""
        return [await self._one("sweep", path, partial(changes.sweep, self._endpoint), path) for path in temporaries]

    async def abandon(self, temporary: str) -> bool:
        """Remove the temporary."""
        return await self._one("abandon", temporary, partial(changes.sweep, self._endpoint), temporary) is True

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
        return await write(self._endpoint, upload, ahead, self._endpoint.has_room)
