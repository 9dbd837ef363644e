"""What is watched by an oracle: a target, a source and a journal that tell it what is done to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import attrs

from actorsync.endpoints.contract import Relocation, Staged, Upload
from actorsync.endpoints.memory.endpoint import MemoryEndpoint, MemorySession
from actorsync.endpoints.memory.tree import Directory, File, Node, walk
from actorsync.endpoints.releases import Publication, Published
from actorsync.errors import OperationRefused
from actorsync.journal import Journal
from actorsync.journal.audit_memory import AuditMemory
from actorsync.journal.directories import DirectoryMemory
from actorsync.journal.trash_memory import TrashMemory
from actorsync.model.entry import Entry, Listing, Record, Root
from actorsync.model.event import Event, Parked
from actorsync.model.kept import Kept
from actorsync.model.operation import Publish, Side
from actorsync.model.row import ListingRows
from actorsync.testing.faulty_endpoint import Faulty, FaultySession
from tests.support.world.oracle import Oracle

__all__ = ["WatchedJournal", "WatchedSource", "WatchedTarget"]

_ItemT = TypeVar("_ItemT")
_ResultT = TypeVar("_ResultT")


class WatchedTarget(MemoryEndpoint):
    """A target whose every command and every change is shown to an oracle.

    ``saw`` is told the kind of each trouble that it gave.
    """

    def __init__(
        self, now: Callable[[], int], precision_ns: int, *, exists: bool, saw: Callable[[str], None] = lambda kind: None
    ) -> None:
        self.oracle: Oracle | None = None
        self.saw = saw
        super().__init__("target", now=now, precision_ns=precision_ns, inodes=False, exists=exists)
        self.log = _Log(self._command)
        self.busy: dict[str, list[str]] = {}
        self.relocations: dict[str, Relocation] = {}
        self.uploads: dict[str, Upload] = {}
        self.continued = 0

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[MemorySession]:
        async with super().open_session():
            yield _WatchedTargetSession(self)

    def is_at(self, path: str, *verbs: str) -> bool:
        """Return whether one of these verbs is under way for a path."""
        return not set(verbs).isdisjoint(self.busy.get(path, ()))

    def has_room(self, more: int) -> bool:
        if super().has_room(more):
            return True
        self.saw("full")
        return False

    def check_trouble(self, path: str) -> None:
        if path in self.trouble:
            self.saw("cursed")
        super().check_trouble(path)

    @contextmanager
    def working_on(self, path: str, verb: str) -> Iterator[None]:
        """10: at most one of us changes what is at one path at a time. A directory may be made sure of by several."""
        others = self.busy.setdefault(path, [])
        if others and {*others, verb} != {"make"} and self.oracle is not None:
            self.oracle.blame(f"10: {verb} {path!r}, and {others} are under way")
        others.append(verb)
        try:
            yield
        finally:
            others.remove(verb)

    def holds(self, node: Node) -> bool:
        """Return whether a file has a name anywhere, in the trash or out of it."""
        return any(it is node for root in (self._root, self._above) for _, it in walk(root))

    def put(self, path: str, node: Node) -> None:
        old = self.find(path)
        super().put(path, node)
        if self.oracle is not None:
            self.oracle.was_put(path, node)
            if isinstance(old, File) and old is not node:
                self.oracle.was_replaced(path, old)

    def take(self, path: str) -> Node:
        node = super().take(path)
        if self.oracle is not None:
            self.oracle.was_taken(path, node)
            if isinstance(node, File):
                self.oracle.was_replaced(path, node)
        return node

    def fork(self) -> WatchedTarget:
        """Return a copy of the tree as it is now: what is on the disk of a server when its clients are killed."""
        copy = WatchedTarget(self._now, self.precision_ns, exists=False, saw=self.saw)
        copies: dict[int, Node] = {}
        copy._root = None if self._root is None else _copy_of(self._root, copies)
        copy._above = _copy_of(self._above, copies)
        copy.outside, copy.has_links = self.outside, self.has_links
        copy.can_resume, copy.overlap, copy.block = self.can_resume, self.overlap, self.block
        copy.pieces, copy.continued = self.pieces, self.continued
        copy.capabilities, copy.max_sessions = self.capabilities, self.max_sessions
        copy.trouble, copy.capacity = self.trouble, self.capacity
        return copy

    def _command(self, verb: str, path: str) -> None:
        if self.oracle is not None:
            self.oracle.was_told(verb, path)


def _copy_of(directory: Directory, copies: dict[int, Node]) -> Directory:
    """Return a copy of a directory. A file with two names is one file in the copy as well."""
    children: dict[str, Node] = {}
    for name, node in directory.children.items():
        if isinstance(node, Directory):
            children[name] = _copy_of(node, copies)
        else:
            children[name] = copies.setdefault(id(node), attrs.evolve(node))
    return attrs.evolve(directory, children=children)


class _WatchedTargetSession(MemorySession):
    """A session that shows which path it is at work on."""

    _endpoint: WatchedTarget

    async def _one(
        self, verb: str, path: str, do: Callable[[_ItemT], _ResultT], item: _ItemT
    ) -> _ResultT | OperationRefused:
        if isinstance(item, Staged) and self._endpoint.find(item.temporary) is None:
            return await super()._one(verb, path, do, item)  # what is gone cannot be renamed: this only looks
        if isinstance(item, Relocation):
            self._endpoint.relocations[path] = item
        with self._endpoint.working_on(path, verb):
            return await super()._one(verb, path, do, item)

    async def publish(self, items: Sequence[Publication]) -> list[Published | OperationRefused]:
        results: list[Published | OperationRefused] = []
        for item in items:
            with self._endpoint.working_on(item.staged.path, "publish"):
                results += await super().publish([item])
        return results

    async def put_back(self, items: Sequence[Publication]) -> list[Entry | OperationRefused | None]:
        results: list[Entry | OperationRefused | None] = []
        for item in items:
            with self._endpoint.working_on(item.staged.path, "put_back"):
                results += await super().put_back([item])
        return results

    async def _write(self, upload: Upload, ahead: Callable[[], bool]) -> Staged:
        self._endpoint.uploads[upload.temporary] = upload
        if upload.start:
            self._endpoint.continued += 1
        with self._endpoint.working_on(upload.path, "stage"):
            return await super()._write(upload, ahead)


class _Log(list[tuple[str, str]]):
    def __init__(self, told: Callable[[str, str], None]) -> None:
        super().__init__()
        self._told = told

    def append(self, command: tuple[str, str]) -> None:
        super().append(command)
        self._told(*command)


@attrs.frozen
class WatchedSource(Faulty):
    """A source that goes wrong, and keeps what each directory was said to hold in this run."""

    listings: dict[str, Listing] = attrs.field(factory=dict)

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[FaultySession]:
        async with self.real.open_session() as session:
            watched = _WatchedSession(session, self.decide)
            watched.listings = self.listings
            yield watched


class _WatchedSession(FaultySession):
    listings: dict[str, Listing]

    async def list_directory(self, directory: str) -> Listing:
        listing = await super().list_directory(directory)
        known = self.listings.get(directory)
        if known is None or known.problem is not None:  # a later look for a missing entry is no part of the scan
            self.listings[directory] = listing
        return listing


class WatchedJournal:
    """A journal whose facts are shown to an oracle once they are durable.

    ``meet`` may raise what a journal can: it is asked before every read (``"read"``), and around every ``apply``
    (``"before"`` it: nothing of it is durable; ``"after"`` it: all is, and nobody is told).
    """

    def __init__(
        self,
        inner: Journal,
        oracle: Oracle,
        step: Callable[[], None],
        meet: Callable[[str], None] = lambda when: None,
    ) -> None:
        self.inner, self._oracle, self._step, self._meet = inner, oracle, step, meet

    @property
    def is_fresh(self) -> bool:
        return self.inner.is_fresh

    def differences(
        self, listed: ListingRows, *, is_complete: bool = False, by_size_time: bool = False
    ) -> tuple[Listing, Mapping[str, Record]]:
        self._meet("read")
        return self.inner.differences(listed, is_complete=is_complete, by_size_time=by_size_time)

    def familiar(self, entries: Sequence[Entry]) -> set[str]:
        self._meet("read")
        return self.inner.familiar(entries)

    def subtree(self, directory: str) -> Sequence[Record]:
        self._meet("read")
        return self.inner.subtree(directory)

    def kept_names(self, directory: str) -> Sequence[str]:
        self._meet("read")
        return self.inner.kept_names(directory)

    @property
    def directories(self) -> DirectoryMemory:
        return self.inner.directories

    def ceiling(self) -> int | None:
        return self.inner.ceiling()

    def traits(self, side: Side) -> Mapping[str, str]:
        return self.inner.traits(side)

    def foreign_count(self) -> int:
        self._meet("read")
        return self.inner.foreign_count()

    def owned_count(self) -> int:
        self._meet("read")
        return self.inner.owned_count()

    def pending(self) -> Sequence[tuple[str, Entry | None]]:
        self._meet("read")
        return self.inner.pending()

    def kept(self) -> Sequence[Kept]:
        self._meet("read")
        return self.inner.kept()

    def release(self) -> Sequence[tuple[Publish, Entry | None]]:
        self._meet("read")
        return self.inner.release()

    def root(self) -> Root | None:
        return self.inner.root()

    def troubles(self) -> Sequence[Parked]:
        self._meet("read")
        return self.inner.troubles()

    def children(self, directory: str, limit: int = 1 << 62) -> Mapping[str, Record]:
        self._meet("read")
        return self.inner.children(directory, limit)

    def record(self, path: str) -> Record | None:
        self._meet("read")
        return self.inner.record(path)

    @property
    def audits(self) -> AuditMemory:
        self._meet("read")
        return self.inner.audits

    @property
    def trash(self) -> TrashMemory:
        return self.inner.trash  # read before the run begins, like the traits

    def apply(self, facts: Sequence[Event]) -> None:
        self._step()
        self._meet("before")
        self.inner.apply(facts)
        self._oracle.was_recorded(facts)
        self._meet("after")
        self._step()
