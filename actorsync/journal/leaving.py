"""What a journal knows of entries that are gone from the source and stay on the target for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from actorsync.model.row import decode, encode

if TYPE_CHECKING:
    import sqlite3

    from actorsync.model.event import RemovalsDelayed

__all__ = ["TABLES", "forget", "read", "write"]

TABLES: Final = """
-- entries that are to be removed later: since when they are gone from the source
CREATE TABLE leaving (path BLOB NOT NULL PRIMARY KEY CHECK (path >= x''), since REAL NOT NULL) WITHOUT ROWID;
"""


def write(connection: sqlite3.Connection, delayed: RemovalsDelayed) -> None:
    """Record what was found gone, and forget what is there again."""
    forget(connection, *delayed.returned)
    rows = [(encode(path), delayed.at) for path in delayed.found]
    connection.executemany("INSERT OR REPLACE INTO leaving VALUES (?, ?)", rows)


def forget(connection: sqlite3.Connection, *paths: str) -> None:
    """Forget since when paths are gone: they are removed, or there again."""
    connection.executemany("DELETE FROM leaving WHERE path = ?", [(encode(path),) for path in paths])


def read(connection: sqlite3.Connection) -> dict[str, float]:
    """Return since when entries are gone that are to be removed later, by path, in seconds since the epoch."""
    return {decode(path): since for path, since in connection.execute("SELECT path, since FROM leaving")}
