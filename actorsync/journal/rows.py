"""The rows of a mirror for both sides of a path. The caller holds the transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from actorsync.journal.values.paths import split
from actorsync.journal.values.rows import NO_SOURCE, Row, half, put
from actorsync.model.entry import Entry

if TYPE_CHECKING:
    import sqlite3

__all__ = ["INSERT", "UPSERT", "foreign_row", "row_of", "upsert"]

UPSERT: Final = "INSERT OR REPLACE INTO records VALUES {}"
INSERT: Final = "INSERT INTO records VALUES {} ON CONFLICT DO NOTHING"


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
