"""What a journal keeps of the audits of the target: the round that goes on, and what has drifted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from actorsync.journal.values.meta import Unreadable, read_meta, write_meta
from actorsync.model.entry import Entry, join
from actorsync.model.row import CODES, KINDS, decode, encode
from actorsync.planning.drift import Drift, Round

if TYPE_CHECKING:
    import sqlite3

    from actorsync.model.event import Audited, Drifted

__all__ = [
    "TABLES",
    "count_directories",
    "end_drift",
    "read_directories",
    "read_drifts",
    "read_round",
    "read_seen",
    "write_drift",
    "write_round",
    "write_seen",
]

TABLES: Final = """
-- for audits: the directories in their order
CREATE INDEX directories ON records (directory, name, source_kind) WHERE target_kind = 2;

-- entries that are not on the target as they were put there: since when that is known, and what was there instead
CREATE TABLE drifts (
    path BLOB NOT NULL PRIMARY KEY CHECK (path >= x''),
    since REAL NOT NULL,
    now_kind CHECK (now_kind BETWEEN 1 AND 4), now_size CHECK (now_size < x''), now_mtime
) WITHOUT ROWID;
"""

_AFTER: Final = """SELECT directory, name FROM records INDEXED BY directories
    WHERE target_kind = 2 AND source_kind IS NOT NULL AND name > x'' AND (directory, name) > (?, ?)
    ORDER BY directory, name LIMIT ?"""
_COUNT: Final = """SELECT count(*) FROM records INDEXED BY directories
    WHERE target_kind = 2 AND source_kind IS NOT NULL AND name > x''"""
_UPSERT: Final = "INSERT OR REPLACE INTO drifts VALUES (?, ?, ?, ?, ?)"


def read_directories(connection: sqlite3.Connection, after: str, limit: int) -> list[str]:
    """Return the directories of the mirror that follow ``after``, without the root; those of one directory together."""
    parent, _, name = encode(after).rpartition(b"/")
    rows = connection.execute(_AFTER, (parent, name, min(limit, (1 << 63) - 1)))
    return [join(decode(directory), decode(name)) for directory, name in rows]


def count_directories(connection: sqlite3.Connection) -> int:
    """Return how many directories the mirror has, without the root."""
    return int(connection.execute(_COUNT).fetchone()[0])


def read_round(connection: sqlite3.Connection) -> Round | None:
    """Return how far the audits have come; None before the first one."""
    text = read_meta(connection, "audit")
    if text is None:
        return None
    try:
        last, began, whole = json.loads(text)
        return Round(str(last), float(began), None if whole is None else float(whole))
    except (ValueError, TypeError):
        raise Unreadable("not the state of the audits") from None


def write_round(connection: sqlite3.Connection, audited: Audited) -> None:
    """Record how far the audits have come."""
    write_meta(connection, "audit", json.dumps([audited.last, audited.began, audited.whole]))


def read_seen(connection: sqlite3.Connection) -> float | None:
    """Return when the target was last looked at, in seconds since the epoch; None if it never was."""
    text = read_meta(connection, "seen")
    try:
        return None if text is None else float(text)
    except ValueError:
        raise Unreadable("text in place of a time") from None


def write_seen(connection: sqlite3.Connection, at: float) -> None:
    """Record when the target was last looked at."""
    write_meta(connection, "seen", repr(at))


def read_drifts(connection: sqlite3.Connection) -> list[Drift]:
    """Return what has drifted and is not mended, in order."""
    kinds: Any = KINDS
    drifts = []
    query = "SELECT path, since, now_kind, now_size, now_mtime FROM drifts ORDER BY path"
    for encoded, since, kind, size, mtime in connection.execute(query):
        path = decode(encoded)
        drifts.append(Drift(path, since, None if kind is None else Entry(path, kinds[kind], size, mtime)))
    return drifts


def write_drift(connection: sqlite3.Connection, drifted: Drifted) -> None:
    """Record what has drifted."""
    now = drifted.now
    found: tuple[Any, ...] = (None, None, None) if now is None else (CODES[now.kind], now.size, now.mtime_ns)
    fitting = [str(it) if isinstance(it, int) and not -(1 << 63) <= it < 1 << 63 else it for it in found]
    connection.execute(_UPSERT, (encode(drifted.path), drifted.since, *fitting))


def end_drift(connection: sqlite3.Connection, path: str) -> None:
    """Record that a path has not drifted any more."""
    connection.execute("DELETE FROM drifts WHERE path = ?", (encode(path),))
