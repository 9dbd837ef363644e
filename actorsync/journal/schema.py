"""The tables of a journal, their versions, and how rows are read.

No files and no locks here. ``actorsync.journal.writes`` turns events into rows.

* Paths are BLOBs, as (directory, name). So any name of a file system is kept byte for byte, and the children of a
  directory are stored together, in the order in which they are read. The root is ("", "").
* Numbers have no declared type. SQLite stores a number of up to 64 bits as an integer. A larger one (an inode of a
  large file system, the year 9999 in nanoseconds) is stored as decimal text, exactly, so that it compares equal.
* ``PRAGMA quick_check`` verifies the CHECKs, and the structure of the file, when a journal is opened. The CHECKs are
  written for speed: a BLOB sorts after all other values, and ``IN`` would take ten times as long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from actorsync.journal import audits, leaving, releases
from actorsync.journal.pairs import tables as pair_tables
from actorsync.journal.trash import rows as trash
from actorsync.journal.values.meta import Unreadable, fit, number_in_text, read_meta, write_meta
from actorsync.journal.values.paths import MANY, bounds, split
from actorsync.journal.values.texts import parsed_root
from actorsync.model.entry import Entry, Kind, Listing, Record, Root, join, parent_of
from actorsync.model.event import Parked
from actorsync.model.row import KINDS, ListingRows, Row, decode, encode, entries_of, without_inode
from actorsync.planning.reconcile import looks_equal

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

__all__ = [
    "APPLICATION_ID",
    "SCHEMA_VERSION",
    "Unreadable",
    "count_records",
    "create",
    "holds_any",
    "index_files",
    "migrate",
    "prepare",
    "read_children",
    "read_differences",
    "read_familiar",
    "read_kept_names",
    "read_pending",
    "read_record",
    "read_root",
    "read_subtree",
    "read_troubles",
    "version_of",
]

APPLICATION_ID: Final = 0x61637379  # "acsy"
SCHEMA_VERSION: Final = 8

_TROUBLES: Final = """
-- paths that failed in the last runs: how often in a row, since when, and when they are tried again if they are parked;
-- and the source that failed. No source: it was to be removed
CREATE TABLE troubles (
    path BLOB NOT NULL PRIMARY KEY CHECK (path >= x''),
    failures INTEGER NOT NULL CHECK (failures < x''), since REAL NOT NULL, failed_at REAL NOT NULL, retry_at REAL,
    reason BLOB NOT NULL CHECK (reason >= x''),
    source_kind CHECK (source_kind BETWEEN 1 AND 4),
    source_size CHECK (source_size < x''), source_mtime, source_ctime, source_inode
) WITHOUT ROWID;
"""

_SCHEMA: Final = """
-- profile: whose journal this is, name: what its user calls it, surveyed: the target is known, root: of the last scan,
-- ceiling: connections that the server lets in, trait:SIDE:NAME: what an endpoint learned of its server,
-- seen: when the target was last looked at, target: its root then, audit: how far the audits have come
CREATE TABLE meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- both sides of a path as they were when they last agreed. No source: found on the target, not ours
CREATE TABLE records (
    directory BLOB NOT NULL CHECK (directory >= x''),
    name BLOB NOT NULL CHECK (name >= x''),
    source_kind CHECK (source_kind BETWEEN 1 AND 4),
    source_size CHECK (source_size < x''), source_mtime, source_ctime, source_inode,
    target_kind NOT NULL CHECK (target_kind BETWEEN 1 AND 4),
    target_size NOT NULL CHECK (target_size < x''), target_mtime, target_ctime, target_inode,
    digest BLOB, checksum BLOB, source_mode, target_mode,
    PRIMARY KEY (directory, name)
) WITHOUT ROWID;

-- temporaries that may exist on the target, and the file that each is for
CREATE TABLE intents (
    path BLOB NOT NULL PRIMARY KEY CHECK (path >= x''),
    final BLOB, size, mtime
) WITHOUT ROWID;

-- no report: still running, or killed
CREATE TABLE runs (id INTEGER PRIMARY KEY, started_at REAL NOT NULL, report TEXT);

-- for people
CREATE VIEW tree AS SELECT
    CAST(CASE WHEN directory = x'' THEN name ELSE directory || '/' || name END AS TEXT) AS path,
    CASE WHEN source_kind IS NULL THEN 'foreign' ELSE 'ours' END AS owner,
    CASE target_kind WHEN 1 THEN 'file' WHEN 2 THEN 'directory' WHEN 3 THEN 'link' ELSE 'other' END AS kind,
    target_size AS size,
    datetime(source_mtime / 1000000000, 'unixepoch') AS source_time,
    datetime(target_mtime / 1000000000, 'unixepoch') AS target_time
    FROM records;
"""

#: The statements that bring a journal of a version to the next version.
_STEPS: Final[dict[int, tuple[str, ...]]] = {
    1: (_TROUBLES,),
    2: ("ALTER TABLE records ADD COLUMN checksum BLOB",),
    3: ("ALTER TABLE records ADD COLUMN source_mode", "ALTER TABLE records ADD COLUMN target_mode"),
    4: tuple(audits.TABLES.split(";")[:-1]),
    5: tuple((releases.TABLES + leaving.TABLES + trash.TABLES).split(";")[:-1]),
    6: pair_tables.STEP,
    7: (trash.SIDES,),
}

#: Made when it is first needed: a first mirror, or a source without renames, does not pay for it.
#: Without the temporaries of an open release: those are renamed, not swept.
_PENDING: Final = """SELECT path, final, size, mtime FROM intents
    WHERE path NOT IN (SELECT temporary FROM publication) ORDER BY path"""

_INDEX: Final = "CREATE INDEX IF NOT EXISTS files ON records (source_inode) WHERE source_kind = 1"
_SAME_FILE: Final = """SELECT 1 FROM records WHERE source_kind = 1 AND source_inode = ?
    AND source_size = ? AND source_mtime = ? AND NOT (directory = ? AND name = ?) LIMIT 1"""

_CHILDREN: Final = """
SELECT name, source_kind, source_size, source_mtime, source_ctime, source_inode, source_mode,
    target_kind, target_size, target_mtime, target_ctime, target_inode, target_mode, digest, checksum
    FROM records WHERE directory = ? AND name > x''"""
# The times of a row with a digest prove nothing. It is read without a kind, so that it equals no listed entry.
_ROWS: Final = """
SELECT name, CASE WHEN digest IS NULL THEN source_kind END, source_size, source_mtime, source_ctime, source_inode,
    source_mode FROM records WHERE directory = ? AND name > x'' ORDER BY name"""
# As `without_inode` makes it of a listed entry. A fingerprint has 38 digits or more, and an inode 20 at most.
_ROWS_WITHOUT_INODE: Final = """
SELECT name, CASE WHEN digest IS NULL THEN source_kind END, source_size, source_mtime, NULL,
    CASE WHEN typeof(source_inode) = 'text' AND length(source_inode) > 20 THEN source_inode END,
    source_mode FROM records WHERE directory = ? AND name > x'' ORDER BY name"""
_KEPT_NAMES: Final = """SELECT name FROM records
    WHERE directory = ? AND name > x'' AND source_kind IS NOT NULL AND (digest IS NULL OR digest > x'')"""
_RECORD: Final = """
SELECT name, source_kind, source_size, source_mtime, source_ctime, source_inode, source_mode,
    target_kind, target_size, target_mtime, target_ctime, target_inode, target_mode, digest, checksum
    FROM records WHERE directory = ? AND name = ?"""
_PARENTS_IN_TREE: Final = """SELECT DISTINCT directory FROM records
    WHERE directory >= ? AND directory < ? AND (directory = ? OR directory > ?) ORDER BY directory"""

#: Rows that are compared at once: a few first, which are enough for an unknown directory, and then more.
_FIRST_PIECE, _PIECE = 16, 1_000


def prepare(connection: sqlite3.Connection) -> None:
    """Set a connection up for the functions below: a text is read as a number too large for SQLite."""
    connection.text_factory = number_in_text


def create(connection: sqlite3.Connection, profile_id: str, name: str) -> None:
    """Make the tables of a new journal in an empty database."""
    header = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
    later = f"{_TROUBLES} {audits.TABLES} {releases.TABLES} {leaving.TABLES} {trash.TABLES} {pair_tables.TABLES}"
    later = f"{later} {trash.SIDES};"
    connection.executescript(f"BEGIN; {header} {_SCHEMA} {later}")
    write_meta(connection, "profile", profile_id)
    write_meta(connection, "name", name)
    connection.execute("COMMIT")


def version_of(connection: sqlite3.Connection) -> int:
    """Return the schema version of a journal."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection) -> None:
    """Bring an older journal to `SCHEMA_VERSION`, in one transaction."""
    version = version_of(connection)
    if version == SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in range(version, SCHEMA_VERSION):
            for statement in _STEPS[step]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


# Rows


def _records(rows: Iterable[tuple[Any, ...]], directory: str) -> Iterator[tuple[str, Record]]:
    """Yield the name and the record of each row. Flat for speed: every path of every run passes here."""
    kinds: Any = KINDS  # a CHECK excludes code 0, which stands for None
    prefix = join(directory, "") if directory else ""
    for name_, s_kind, s_size, s_mtime, s_ctime, s_inode, s_mode, t_kind, *target, digest, checksum in rows:
        name = name_.decode("utf-8", "surrogateescape")
        path = prefix + name
        source = None if s_kind is None else Entry(path, kinds[s_kind], s_size, s_mtime, s_ctime, s_inode, s_mode)
        yield name, Record(source, Entry(path, kinds[t_kind], *target), digest, checksum)


# Reading


def read_children(connection: sqlite3.Connection, directory: str, limit: int = MANY) -> dict[str, Record]:
    """Return the records of the direct children, by name; not more than ``limit`` of them."""
    rows = connection.execute(f"{_CHILDREN} LIMIT ?", (encode(directory), limit))
    return dict(_records(rows, directory))


def read_kept_names(connection: sqlite3.Connection, directory: str) -> list[str]:
    """Return the names in a directory that the target has from the source, without those that were to be removed."""
    return [decode(name) for (name,) in connection.execute(_KEPT_NAMES, (encode(directory),))]


def read_differences(
    connection: sqlite3.Connection, listed: ListingRows, *, is_complete: bool = False, by_size_time: bool = False
) -> tuple[Listing, dict[str, Record]]:
    """Return the entries of ``listed`` that differ from their records, and the records without an equal entry, by name.

    For an unchanged directory nothing is left and no object is built: this is most of a run with nothing to do. With
    ``is_complete``, every entry and every record of the directory is returned. With ``by_size_time`` the inode and its
    time do not count.
    """
    rows = [without_inode(row) for row in listed.rows] if by_size_time else listed.rows
    statement = _ROWS_WITHOUT_INODE if by_size_time else _ROWS
    if not is_complete and _is_as_recorded(connection, statement, listed.directory, rows):
        return Listing(listed.directory, (), listed.hidden), {}
    left = {row[0]: row for row in listed.rows}
    seen = left if rows is listed.rows else {row[0]: row for row in rows}
    differing: list[tuple[Any, ...]] = []
    for row in connection.execute(_CHILDREN, (encode(listed.directory),)):
        # The times of a row with a digest prove nothing.
        then = without_inode(row[:7]) if by_size_time else row[:7]
        if not is_complete and row[13] is None and seen.get(row[0]) == then:
            del left[row[0]]
        else:
            differing.append(row)
    rest = Listing(listed.directory, tuple(entries_of(listed.directory, left.values())), listed.hidden)
    return rest, dict(_records(differing, listed.directory))


def _is_as_recorded(connection: sqlite3.Connection, statement: str, directory: str, rows: list[Row]) -> bool:
    seen, piece = 0, _FIRST_PIECE
    cursor = connection.execute(statement, (encode(directory),))
    while True:
        recorded = cursor.fetchmany(piece)
        if rows[seen : seen + len(recorded)] != recorded:
            return False
        seen += len(recorded)
        if len(recorded) < piece:
            return seen == len(rows)
        piece = _PIECE


def read_subtree(connection: sqlite3.Connection, directory: str) -> list[Record]:
    """Return the records strictly below ``directory``, parents before children. Call it in a transaction.

    The directory of a parent is a proper prefix of the directory of its children, and so sorts before it.
    """
    if directory:
        parents = connection.execute(_PARENTS_IN_TREE, bounds(directory))
    else:
        parents = connection.execute("SELECT DISTINCT directory FROM records ORDER BY directory")
    return [record for (parent,) in parents for record in read_children(connection, decode(parent)).values()]


def read_record(connection: sqlite3.Connection, path: str) -> Record | None:
    """Return the record of one path, which may be the root; None when there is none."""
    rows = connection.execute(_RECORD, split(path)).fetchall()
    return next((record for _, record in _records(rows, parent_of(path))), None)


def index_files(connection: sqlite3.Connection) -> None:
    """Make the index that `read_familiar` needs."""
    connection.execute(_INDEX)


def read_familiar(connection: sqlite3.Connection, entries: Iterable[Entry]) -> set[str]:
    """Return the paths of those files whose inode, size and time are recorded under another path as well."""
    familiar = set()
    for entry in entries:
        key = [fit(value) for value in (entry.inode, entry.size, entry.mtime_ns)]
        if connection.execute(_SAME_FILE, (*key, *split(entry.path))).fetchone() is not None:
            familiar.add(entry.path)
    return familiar


def read_pending(connection: sqlite3.Connection) -> list[tuple[str, Entry | None]]:
    """Return the temporaries, each with the file that it is for, or None if that is unknown or has arrived.

    A name that is used while an entry gets another spelling comes with that spelling, and no kind. So does a file that
    would be recognized by its size and time on a target that had another file with these.
    """
    pending: list[tuple[str, Entry | None]] = []
    for path, final, size, mtime in connection.execute(_PENDING):
        source: Entry | None = None
        if final is not None and size is None:
            source = Entry(decode(final), Kind.OTHER)
        elif final is not None:
            source = Entry(decode(final), Kind.FILE, int(size), None if mtime is None else int(mtime))
            record = read_record(connection, source.path)
            known = record.source if record is not None else None
            if known is not None and (known.size, known.mtime_ns) == (source.size, source.mtime_ns):
                source = None
            elif record is not None and looks_equal(source, record.target):
                source = Entry(source.path, Kind.OTHER)  # what the target had before has its size and time as well
        pending.append((decode(path), source))
    return pending


def count_records(connection: sqlite3.Connection, *, are_foreign: bool) -> int:
    """Return how many records have a source, or how many have none; without the root."""
    query = "SELECT count(*) FROM records WHERE (source_kind IS NULL) = ? AND name > x''"
    return int(connection.execute(query, (are_foreign,)).fetchone()[0])


def holds_any(connection: sqlite3.Connection) -> bool:
    """Return whether anything is recorded of a mirror: an entry, or that its target is known."""
    query = "SELECT EXISTS (SELECT 1 FROM records) OR EXISTS (SELECT 1 FROM meta WHERE key = 'surveyed')"
    return bool(connection.execute(query).fetchone()[0])


def read_troubles(connection: sqlite3.Connection) -> list[Parked]:
    """Return the paths that failed in the last runs, in order. Schema 1 had no table for them."""
    if version_of(connection) < 2:
        return []
    kinds: Any = KINDS
    query = """SELECT path, failures, since, failed_at, retry_at, reason,
        source_kind, source_size, source_mtime, source_ctime, source_inode FROM troubles ORDER BY path"""
    troubles = []
    for encoded, failures, since, failed_at, retry_at, reason, kind, *numbers in connection.execute(query):
        path = decode(encoded)
        source = None if kind is None else Entry(path, kinds[kind], *numbers)
        troubles.append(Parked(path, source, failures, since, failed_at, decode(reason), retry_at))
    return troubles


def read_root(connection: sqlite3.Connection, key: Literal["root", "target"] = "root") -> Root | None:
    """Return the root of the source as the last scan found it; None before the first scan. ``target``: that one."""
    text = read_meta(connection, key)
    return None if text is None else parsed_root(text)
