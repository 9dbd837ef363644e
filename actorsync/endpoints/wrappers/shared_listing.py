"""One scan of a source for several runs: each directory is listed once, and each run reads it at its own pace.

The runs share `SharedListings`. The first one that asks for a directory lists it; the others read that listing, if it
began no earlier than they did. So no run sees a source that is older than itself, whichever began first, and a run that
begins late lists anew what it must. A run that is slow, or over, is waited for by nobody: what others still need is in
a *spool*, and the files themselves are read from the source by each run.

The spool is a temporary database of SQLite, which keeps a few megabytes in memory and the rest in a file without a
name: the file is gone when the process is, however that ends. If there is no room for it, each run lists for itself.
"""

from __future__ import annotations

import contextlib
import marshal
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import takewhile
from typing import Final

import attrs
import trio

from actorsync.classes import define
from actorsync.endpoints.contract import BulkListing, ReadSession, Source, list_first
from actorsync.endpoints.wrappers.base import EndpointWrapper, ReadSessionWrapper
from actorsync.model.entry import Root
from actorsync.model.row import ListingRows, encode

__all__ = ["ListingReader", "SharedListings", "SharedSource"]

#: Seconds for which a run waits for a listing of another one. Then it makes its own: the other may be stuck.
_PATIENCE: Final = 5.0
#: What the spool keeps in memory, in KiB.
_CACHE: Final = 4_096
#: How many passes are told apart in one spool: bits of a number in SQLite. Any further one lists for itself.
_MOST: Final = 62
#: Rows that are read from the spool at once, and those of one directory more.
_ROWS: Final = 10_000

_TABLES: Final = f"""
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA cache_size = -{_CACHE};
    CREATE TABLE state (id INTEGER PRIMARY KEY, root INTEGER, directory BLOB, began REAL, asked INTEGER,
                        UNIQUE (root, directory));
    CREATE TABLE body (id INTEGER PRIMARY KEY, data BLOB);
"""


@define(eq=False)
class ListingReader:
    """One run among those that share listings, over all its passes. It reads each directory once in a pass.

    A pass begins with `Source.identify` of the `SharedSource`, and ends when its last session is closed.
    """

    shared: SharedListings
    since: float = 0.0
    """Listings that began earlier, on trio's clock, are too old for the pass."""
    bit: int = 0
    """The mark of the pass in the spool; 0 while none goes on, or if there was no mark left."""
    root: int | None = None
    """The number of the root that the pass has found; None before that."""
    _is_prepared: bool = False
    _sessions: int = 0

    def source(self, source: Source) -> SharedSource:
        """Return a source whose listings are shared."""
        return SharedSource(source, self)

    def prepare(self, since: float) -> None:
        """Begin the next pass now: others keep what they list from ``since`` on, until it has read that, or ended."""
        self.end()
        self.since, self._is_prepared = since, True
        self.shared.join(self)

    def begin(self) -> None:
        """Begin a pass, unless it was prepared."""
        if not self._is_prepared:
            self.prepare(trio.current_time())
        self._is_prepared = False

    def end(self) -> None:
        """End the pass: nothing is kept for it any more."""
        self._is_prepared, self.root = False, None
        self.shared.leave(self)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Keep the pass going during the block."""
        self._sessions += 1
        try:
            yield
        finally:
            self._sessions -= 1
            if not self._sessions:
                self.end()


@define(eq=False)
class SharedListings:
    """The listings that several runs of one process share. Use it in trio's thread only."""

    _readers: list[ListingReader] = attrs.Factory(list)
    _roots: list[Root] = attrs.Factory(list)
    _given: int = 0  # marks that were given out since the spool was empty
    _spool: sqlite3.Connection | None = None
    _has_room: bool = True
    _under_way: dict[tuple[int, str], trio.Event] = attrs.Factory(dict)
    _stuck: set[trio.Event] = attrs.Factory(set)  # those of `_under_way` that nobody waits for any more

    def reader(self) -> ListingReader:
        """Return the reader of one more run."""
        return ListingReader(self)

    def number_of(self, root: Root) -> int:
        """Return the number of a root. Only runs that have found the same directory share its listings."""
        entry = root.entry
        for number, known in enumerate(self._roots):
            if (known.device, known.entry.inode) == (root.device, entry.inode):
                return number
        self._roots.append(root)
        return len(self._roots) - 1

    def join(self, reader: ListingReader) -> None:
        """Let a pass take part."""
        reader.bit = 1 << self._given if self._given < _MOST else 0
        if reader.bit:
            self._given += 1
            self._readers.append(reader)

    def leave(self, reader: ListingReader) -> None:
        """Let go what was kept for a pass that is over."""
        if reader not in self._readers:
            return
        self._readers.remove(reader)
        reader.bit = 0
        if not self._readers:
            self._roots.clear()
            self._close()
        elif self._spool is not None:
            needed, values = self._needed()
            with self._unless_full():
                self._spool.execute(
                    f"DELETE FROM body WHERE id IN (SELECT id FROM state WHERE NOT ({needed}))",  # noqa: S608 - no text
                    values,
                )

    async def list_many(
        self, session: ReadSession, reader: ListingReader, directories: Sequence[str]
    ) -> Sequence[ListingRows]:
        """Return listings of the first of the directories, and maybe more: from the spool, or from the session."""
        while True:
            if found := self._read(reader, directories):
                return found
            if (other := self._lister_of(reader, directories[0])) is None:
                return await self._list(session, reader, directories)
            with trio.move_on_after(_PATIENCE) as waiting:
                await other.wait()
            if waiting.cancelled_caught:
                self._stuck.add(other)

    async def _list(
        self, session: ReadSession, reader: ListingReader, directories: Sequence[str]
    ) -> Sequence[ListingRows]:
        """List the first directories that nobody has listed or is listing, and keep them for the others."""
        root = reader.root or 0
        more = directories[1:] if isinstance(session, BulkListing) else ()
        mine = [directories[0], *takewhile(lambda it: self._is_new(reader, it), more)]
        done, began = trio.Event(), trio.current_time()
        self._under_way |= {(root, directory): done for directory in mine}
        try:
            found = await list_first(session, mine)
            for listed in found:
                self._keep(reader, listed, began)
        finally:
            for directory in mine:
                if self._under_way.get((root, directory)) is done:
                    del self._under_way[root, directory]
            self._stuck.discard(done)
            done.set()
        return found

    # The spool.

    def _read(self, reader: ListingReader, directories: Sequence[str]) -> Sequence[ListingRows]:
        """Return what the spool has for a reader of the first directories, up to one that it has not."""
        found: list[ListingRows] = []
        rows = 0
        with self._unless_full():
            for directory in directories:
                if rows > _ROWS or (listed := self._take(reader, directory)) is None:
                    break
                found.append(listed)
                rows += len(listed.rows)
        return found

    def _take(self, reader: ListingReader, directory: str) -> ListingRows | None:
        if self._spool is None or not reader.bit:
            return None
        row = self._spool.execute(
            "SELECT id, began, asked, data FROM state JOIN body USING (id) WHERE root = ? AND directory = ?",
            (reader.root, encode(directory)),
        ).fetchone()
        if row is None:
            return None
        number, began, asked, data = row
        if began < reader.since or asked & reader.bit:
            return None
        self._spool.execute("UPDATE state SET asked = ? WHERE id = ?", (asked | reader.bit, number))
        if not self._is_needed(reader.root, began, asked | reader.bit):
            self._spool.execute("DELETE FROM body WHERE id = ?", (number,))
        rows, hidden = marshal.loads(data)  # noqa: S302 - this process has written it, where nobody else can
        return ListingRows(directory, rows, hidden)

    def _keep(self, reader: ListingReader, listed: ListingRows, began: float) -> None:
        """Keep a listing for the others. What could not be listed, each tries itself."""
        if not reader.bit or not self._has_room or len(self._readers) < 2:
            return
        with self._unless_full():
            if self._spool is None:
                self._spool = sqlite3.connect("", isolation_level=None)  # no name: a temporary file
                self._spool.executescript(_TABLES)
            number, asked = self._spool.execute(
                "INSERT INTO state (root, directory, began, asked) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
                "SET began = excluded.began, asked = asked | excluded.asked RETURNING id, asked",
                (reader.root, encode(listed.directory), began, reader.bit),
            ).fetchone()
            if listed.problem is None and self._is_needed(reader.root, began, asked):
                data = marshal.dumps((listed.rows, listed.hidden))
                self._spool.execute("INSERT OR REPLACE INTO body VALUES (?, ?)", (number, data))
            else:
                self._spool.execute("DELETE FROM body WHERE id = ?", (number,))

    def _lister_of(self, reader: ListingReader, directory: str) -> trio.Event | None:
        """Return what is set when another run has listed a directory; None if none is listing it, or is stuck."""
        other = self._under_way.get((reader.root or 0, directory))
        return None if other in self._stuck else other

    def _is_new(self, reader: ListingReader, directory: str) -> bool:
        """Return whether a directory has to be listed for a reader, and nobody is doing that."""
        if self._lister_of(reader, directory) is not None:
            return False
        if self._spool is None:
            return True
        row = self._spool.execute(
            "SELECT began, asked FROM state JOIN body USING (id) WHERE root = ? AND directory = ?",
            (reader.root, encode(directory)),
        ).fetchone()
        return row is None or row[0] < reader.since or bool(row[1] & reader.bit)

    def _is_needed(self, root: int | None, began: float, asked: int) -> bool:
        return any(it.root in {None, root} and not asked & it.bit and it.since <= began for it in self._readers)

    def _needed(self) -> tuple[str, list[float | int | None]]:
        """Return `_is_needed` as a condition in SQL, with its values."""
        values: list[float | int | None] = []
        for reader in self._readers:
            values += [reader.bit, reader.since, reader.root, reader.root]
        one = "(NOT asked & ? AND began >= ? AND (? IS NULL OR root = ?))"
        return " OR ".join([one] * len(self._readers)), values

    @contextlib.contextmanager
    def _unless_full(self) -> Iterator[None]:
        """Do without the spool if its disk fails: from then on each run lists for itself."""
        try:
            yield
        except sqlite3.Error:
            self._has_room = False
            self._close()

    def _close(self) -> None:
        if self._spool is not None:
            self._spool.close()
        self._spool, self._given = None, max((it.bit.bit_length() for it in self._readers), default=0)


@define(eq=False)
class SharedSource(EndpointWrapper[Source]):
    """The source ``real`` for the scan of one run, whose listings are shared. A single directory is always listed anew.

    That is what a second look asks for.
    """

    reader: ListingReader

    async def identify(self) -> Root:
        """Describe the real root. A pass begins with this."""
        self.reader.begin()
        root = await self.real.identify()
        self.reader.root = self.reader.shared.number_of(root)
        return root

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[ReadSession]:
        """Open a session of the real place."""
        with self.reader.reading():
            async with self.real.open_session() as session:
                yield _SharedSession(session, self.reader)


class _SharedSession(ReadSessionWrapper):
    """A session of a `SharedSource`."""

    def __init__(self, real: ReadSession, reader: ListingReader) -> None:
        super().__init__(real)
        self._reader = reader

    async def list_many(self, directories: Sequence[str]) -> Sequence[ListingRows]:
        """List the first directories, or read what another run has listed."""
        return await self._reader.shared.list_many(self._real, self._reader, directories)
