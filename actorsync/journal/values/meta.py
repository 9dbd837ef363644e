"""The table ``meta`` of a journal: single values by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from actorsync.model.row import decode, encode

if TYPE_CHECKING:
    import sqlite3

__all__ = [
    "Unreadable",
    "Value",
    "fit",
    "number_in_text",
    "read_ceiling",
    "read_meta",
    "read_traits",
    "trait_key",
    "write_meta",
]

#: A value of a column.
Value: TypeAlias = int | str | bytes | None


class Unreadable(Exception):
    """A value in a journal cannot have been written by actorsync."""


def number_in_text(text: bytes) -> int:
    """Return the number in a column that holds numbers; raise `Unreadable` for any other text."""
    try:
        return int(text)
    except ValueError:
        raise Unreadable("text in place of a number") from None


def fit(value: Value) -> Value:
    """Return a value that SQLite can store: a number of more than 64 bits becomes decimal text."""
    return value if not isinstance(value, int) or -(1 << 63) <= value < 1 << 63 else str(value)


def read_meta(connection: sqlite3.Connection, key: str) -> str | None:
    """Return one value of the table ``meta``; None when it is not set."""
    row = connection.execute("SELECT CAST(value AS BLOB) FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else decode(row[0])


def read_ceiling(connection: sqlite3.Connection) -> int | None:
    """Return how many connections the server was seen to allow; None when it never refused one."""
    text = read_meta(connection, "ceiling")
    return None if text is None else number_in_text(encode(text))


def read_traits(connection: sqlite3.Connection, side: str) -> dict[str, str]:
    """Return what was learned of the server of one side, by name."""
    start = trait_key(side, "")
    keys = [decode(key) for (key,) in connection.execute("SELECT CAST(key AS BLOB) FROM meta")]
    return {key.removeprefix(start): read_meta(connection, key) or "" for key in keys if key.startswith(start)}


def trait_key(side: str, name: str) -> str:
    """Return the key of a trait in the table ``meta``."""
    return f"trait:{side}:{name}"


def write_meta(connection: sqlite3.Connection, key: str, value: str) -> None:
    """Set one value of the table ``meta``."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, CAST(? AS TEXT))", (key, encode(value)))
