"""What a journal knows of files under temporary names: how far they got, and the release that publishes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from actorsync.journal.values.meta import fit
from actorsync.model.entry import Entry, Kind
from actorsync.model.kept import Kept
from actorsync.model.operation import Publish
from actorsync.model.row import CODES, KINDS, decode, encode

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

__all__ = [
    "TABLES",
    "begin",
    "drop_kept",
    "end",
    "note_published",
    "note_put_back",
    "read_kept",
    "read_release",
    "write_kept",
]

TABLES: Final = """
-- what is on the target under some temporary names: a part of one version of a source file, or all of it
CREATE TABLE kept (
    temporary BLOB NOT NULL PRIMARY KEY CHECK (temporary >= x''),
    final BLOB NOT NULL CHECK (final >= x''),
    source_size NOT NULL CHECK (source_size < x''), source_mtime, source_ctime, source_inode, source_mode,
    sent NOT NULL CHECK (sent < x''), at REAL NOT NULL, is_complete INTEGER NOT NULL,
    size NOT NULL CHECK (size < x''), mtime, mode, digest BLOB, checksum BLOB
) WITHOUT ROWID;

-- the release that is being published, in its order. No target: not published yet
CREATE TABLE publication (
    position INTEGER PRIMARY KEY,
    temporary BLOB NOT NULL UNIQUE CHECK (temporary >= x''),
    rank INTEGER NOT NULL,
    aside BLOB,
    replaced_kind CHECK (replaced_kind BETWEEN 1 AND 4), replaced_size, replaced_mtime,
    target_size, target_mtime, target_ctime, target_inode, target_mode
);
"""

_UPSERT_KEPT: Final = "INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_KEPT: Final = "SELECT * FROM kept WHERE temporary NOT IN (SELECT temporary FROM publication) ORDER BY temporary"
_INSERT: Final = "INSERT INTO publication VALUES (NULL, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL, NULL, NULL)"
_NOTE: Final = """UPDATE publication SET target_size = ?, target_mtime = ?, target_ctime = ?, target_inode = ?,
    target_mode = ? WHERE temporary = ?"""
_SET_ASIDE: Final = "UPDATE publication SET aside = ? WHERE temporary = ?"
_ITEMS: Final = """SELECT rank, aside, replaced_kind, replaced_size, replaced_mtime,
    target_size, target_mtime, target_ctime, target_inode, target_mode, kept.*
    FROM publication JOIN kept USING (temporary) ORDER BY position"""


def write_kept(connection: sqlite3.Connection, kept: Kept) -> None:
    """Record what is on the target under a temporary name."""
    source = kept.source
    about_source = (source.size, source.mtime_ns, source.ctime_ns, source.inode, source.mode)
    about_target = (kept.size, kept.mtime_ns, kept.mode, kept.digest, kept.checksum)
    sent = (kept.sent, kept.at, kept.is_complete)
    row = (encode(kept.temporary), encode(kept.path), *about_source, *sent, *about_target)
    connection.execute(_UPSERT_KEPT, [fit(value) if isinstance(value, int) else value for value in row])


def drop_kept(connection: sqlite3.Connection, temporaries: Iterable[str]) -> None:
    """Forget what was kept under temporary names that are gone."""
    connection.executemany("DELETE FROM kept WHERE temporary = ?", [(encode(path),) for path in temporaries])


def read_kept(connection: sqlite3.Connection) -> list[Kept]:
    """Return what is kept on the target, without what an open release publishes, in order of the temporary names."""
    return [_kept(row) for row in connection.execute(_KEPT)]


def _kept(row: Iterable[Any]) -> Kept:
    temporary, final, size, mtime, ctime, inode, mode, sent, at, is_complete, *about_target = row
    source = Entry(decode(final), Kind.FILE, size, mtime, ctime, inode, mode)
    return Kept(decode(temporary), source, sent, at, bool(is_complete), *about_target)


def begin(connection: sqlite3.Connection, items: Iterable[Publish]) -> None:
    """Record a release, in the order in which it is published."""
    for item in items:
        write_kept(connection, item.kept)
        old = item.replaced
        replaced = (None, None, None) if old is None else (CODES[old.kind], fit(old.size), fit(old.mtime_ns))
        aside = None if item.aside is None else encode(item.aside)
        row = (encode(item.kept.temporary), item.rank, aside, *replaced)
        connection.execute(_INSERT, row)


def note_published(connection: sqlite3.Connection, item: Publish, target: Entry) -> None:
    """Record that one part of the release has its final name: what the target then showed.

    A part whose ``aside`` is None, although the release has one for it, has replaced nothing.
    """
    aside = None if item.aside is None else encode(item.aside)
    connection.execute(_SET_ASIDE, (aside, encode(item.kept.temporary)))
    facts = (target.size, target.mtime_ns, target.ctime_ns, target.inode, target.mode)
    connection.execute(_NOTE, (*map(fit, facts), encode(item.kept.temporary)))


def note_put_back(connection: sqlite3.Connection, item: Publish) -> None:
    """Record that one part of the release is taken back."""
    connection.execute(_NOTE, (*[None] * 5, encode(item.kept.temporary)))


def read_release(connection: sqlite3.Connection) -> list[tuple[Publish, Entry | None]]:
    """Return the release that is being published, in its order: each part with what the target shows of it.

    None for a part that is not known to be published. Empty when there is no release.
    """
    items: list[tuple[Publish, Entry | None]] = []
    for rank, aside, old_kind, old_size, old_mtime, *about_target in connection.execute(_ITEMS):
        size, mtime, ctime, inode, mode = about_target[:5]
        kept = _kept(about_target[5:])
        old = None if old_kind is None else Entry(kept.path, _kind(old_kind), old_size, old_mtime)
        item = Publish(kept, rank, None if aside is None else decode(aside), old)
        target = None if size is None else Entry(kept.path, Kind.FILE, size, mtime, ctime, inode, mode)
        items.append((item, target))
    return items


def _kind(code: int) -> Kind:
    kind = KINDS[code]
    assert kind is not None, "a CHECK excludes code 0"
    return kind


def end(connection: sqlite3.Connection) -> None:
    """Forget the release, which is published or taken back as a whole."""
    connection.execute("DELETE FROM publication")
