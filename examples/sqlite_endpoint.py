"""An endpoint of your own: a tree in one table of an SQLite file, for ``sqlite:///srv/site.db``."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from actorsync.endpoints import Capabilities, Entry, Kind, Location, Root, SimpleSession, Unusable, parent_of
from actorsync.errors import GuardRefused, OperationRefused

TABLE = "CREATE TABLE IF NOT EXISTS tree (path TEXT PRIMARY KEY, parent TEXT, data BLOB, mtime_ns INTEGER)"
ENTRIES = "SELECT path, data IS NULL, length(data), mtime_ns FROM tree WHERE "


def open_endpoint(location: Location, /) -> "SqliteEndpoint":
    """Return the endpoint of a location. The entry point names this function. It opens nothing."""
    location.allow()
    if location.host or not location.path:
        raise Unusable("url", "names no file; write sqlite:///srv/site.db")
    return SqliteEndpoint(Path("/", location.path))


class SqliteEndpoint:
    """The endpoint. Its root exists as soon as something was written to the file."""

    capabilities = Capabilities()

    def __init__(self, file: Path) -> None:
        self.file = file

    @property
    def display(self) -> str:
        return f"sqlite://{self.file}"

    async def identify(self) -> Root:
        """Describe the root. No file, or the empty one that connecting makes, must not look like an empty tree."""
        file = trio.Path(self.file)
        if not await file.is_file() or not (await file.stat()).st_size:
            raise GuardRefused(f"{self.display} is not there")
        return Root(Entry("", Kind.DIRECTORY))

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator["SqliteSession"]:
        with contextlib.closing(sqlite3.connect(self.file, timeout=30, check_same_thread=False)) as db:
            yield SqliteSession(db)


class SqliteSession(SimpleSession):
    """One connection to the database, used by one thread at a time."""

    errors = (sqlite3.Error,)

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def transaction(self) -> sqlite3.Connection:
        self.db.execute(TABLE)
        return self.db

    def check_name(self, path: str) -> None:
        if not path.isprintable():
            raise OperationRefused("its name has a character that cannot be printed")

    def _entries(self, condition: str, value: str) -> list[Entry]:
        rows = self.db.execute(ENTRIES + condition, [value])
        return [Entry(path, Kind.DIRECTORY if no else Kind.FILE, size or 0, time) for path, no, size, time in rows]

    def find(self, path: str) -> Entry | None:
        return next(iter(self._entries("path = ?", path)), None) if path else Entry("", Kind.DIRECTORY)

    def children(self, directory: str) -> Iterable[Entry]:
        return self._entries("parent = ?", directory)

    def load(self, path: str) -> bytes:
        data: bytes = self.db.execute("SELECT data FROM tree WHERE path = ?", [path]).fetchone()[0]
        return data

    def write(self, path: str, data: bytes | None, mtime_ns: int | None) -> None:
        self.db.execute("INSERT INTO tree VALUES (?, ?, ?, ?)", [path, parent_of(path), data, mtime_ns])

    def make(self, path: str) -> None:
        self.write(path, None, None)

    def rename(self, old: str, new: str) -> None:
        self.db.execute("UPDATE OR REPLACE tree SET path = ?, parent = ? WHERE path = ?", [new, parent_of(new), old])

    def remove_one(self, entry: Entry) -> None:
        self.db.execute("DELETE FROM tree WHERE path = ?", [entry.path])
