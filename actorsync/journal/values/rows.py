"""Rows that hold both sides of a path: their values, and how many of them are written at once."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

from actorsync.journal.values.meta import Value, fit
from actorsync.model.entry import Entry
from actorsync.model.row import CODES

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

__all__ = ["NO_SOURCE", "Row", "half", "put"]

#: Rows in one statement: the interpreter's lock is released once for each statement, not for each row. Older versions
#: of SQLite accept no more than 999 values.
_ROWS: Final = 62
_COLUMNS: Final = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_VALUES: Final = tuple(", ".join([_COLUMNS] * count) for count in range(_ROWS + 1))

_Half: TypeAlias = tuple[int | None, int | None, int | None, int | None, int | None]
Row: TypeAlias = tuple[Value, ...]
NO_SOURCE: Final[_Half] = (None, None, None, None, None)


def half(entry: Entry) -> _Half:
    """Return the values of one side."""
    return (CODES[entry.kind], entry.size, entry.mtime_ns, entry.ctime_ns, entry.inode)


def put(connection: sqlite3.Connection, statement: str, rows: Iterable[Row]) -> None:
    """Write rows, many at once. ``statement`` has ``{}`` in place of their values, which are `_COLUMNS` each."""
    rest = iter(rows)
    while piece := list(islice(rest, _ROWS)):
        values = [value for row in piece for value in row]
        try:
            connection.execute(statement.format(_VALUES[len(piece)]), values)
        except OverflowError:  # rare: cheaper to let SQLite find it than to test each value
            connection.execute(statement.format(_VALUES[len(piece)]), [fit(value) for value in values])
