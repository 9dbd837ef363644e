"""The rows of a journal for both sides of a path. The caller holds the transaction."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

from actorsync.journal.meta import Value, fit
from actorsync.journal.schema import split
from actorsync.model.entry import Entry
from actorsync.model.row import CODES

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

__all__ = ["INSERT", "NO_SOURCE", "UPSERT", "Row", "foreign_row", "half", "put", "row_of", "upsert"]

#: Rows in one statement: the interpreter's lock is released once for each statement, not for each row. Older versions
#: of SQLite accept no more than 999 values.
_ROWS: Final = 62
_COLUMNS: Final = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_VALUES: Final = tuple(", ".join([_COLUMNS] * count) for count in range(_ROWS + 1))
UPSERT: Final = "INSERT OR REPLACE INTO records VALUES {}"
INSERT: Final = "INSERT INTO records VALUES {} ON CONFLICT DO NOTHING"

_Half: TypeAlias = tuple[int | None, int | None, int | None, int | None, int | None]
Row: TypeAlias = tuple[Value, ...]
NO_SOURCE: Final[_Half] = (None, None, None, None, None)


def half(entry: Entry) -> _Half:
    """Return the values of one side."""
    return (CODES[entry.kind], entry.size, entry.mtime_ns, entry.ctime_ns, entry.inode)


def upsert(
    connection: sqlite3.Connection,
    source: Entry,
    target: Entry,
    digest: bytes | None = None,
    checksum: bytes | None = None,
) -> None:
    """Record both sides of a path."""
    put(connection, UPSERT, [row_of(source, target, digest, checksum)])


def row_of(source: Entry, target: Entry, digest: bytes | None, checksum: bytes | None) -> Row:
    """Return the row of both sides."""
    assert source.path == target.path, f"the two sides have different paths: {source.path!r}, {target.path!r}"
    return (*split(target.path), *half(source), *half(target), digest, checksum, source.mode, target.mode)


def foreign_row(target: Entry) -> Row:
    """Return the row of what no run has put there."""
    return (*split(target.path), *NO_SOURCE, *half(target), None, None, None, target.mode)


def put(connection: sqlite3.Connection, statement: str, rows: Iterable[Row]) -> None:
    """Write rows, many with one statement: ``UPSERT`` or ``INSERT``."""
    rest = iter(rows)
    while piece := list(islice(rest, _ROWS)):
        values = [value for row in piece for value in row]
        try:
            connection.execute(statement.format(_VALUES[len(piece)]), values)
        except OverflowError:  # rare: cheaper to let SQLite find it than to test each value
            connection.execute(statement.format(_VALUES[len(piece)]), [fit(value) for value in values])
