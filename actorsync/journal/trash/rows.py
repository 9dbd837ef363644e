"""What a journal knows of the changes of runs: where the old files are, and what of it was undone and stays so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

from actorsync.classes import frozen
from actorsync.journal.values.meta import fit
from actorsync.model.entry import Entry, Kind
from actorsync.model.operation import Side
from actorsync.model.row import CODES, KINDS, decode, encode
from actorsync.model.trash import Because, Trashed
from actorsync.planning.publishing.trash import TrashRun

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

__all__ = [
    "SIDES",
    "TABLES",
    "Change",
    "close",
    "drop_change",
    "drop_open",
    "drop_run",
    "end_hold",
    "finish",
    "hold",
    "holds_any",
    "intend",
    "is_of_something_new",
    "next_run",
    "note_kind",
    "open_run",
    "read_changes",
    "read_held",
    "read_held_count",
    "read_held_source",
    "read_open",
    "read_runs",
]

TABLES: Final = """
-- runs that keep what they change: the directory of the run in the trash, and whether the run has undone another
CREATE TABLE trash_runs (
    run INTEGER PRIMARY KEY, directory BLOB NOT NULL, at REAL NOT NULL, is_undo INTEGER NOT NULL
);

-- their changes, in their order. Because: a position in `Because`. Open: it is not known whether it was done
CREATE TABLE trash (
    position INTEGER PRIMARY KEY,
    run INTEGER NOT NULL, path BLOB NOT NULL CHECK (path >= x''), because INTEGER NOT NULL, place BLOB,
    old_kind CHECK (old_kind BETWEEN 1 AND 4), old_size, old_mtime, old_mode,
    now_kind CHECK (now_kind BETWEEN 1 AND 4), now_size, now_mtime, now_mode,
    is_open INTEGER NOT NULL
);
CREATE INDEX trash_places ON trash (place);
CREATE INDEX trash_of_runs ON trash (run);

-- what was undone, and the source that is not sent again while it is the same. No source: it was gone, and stays
CREATE TABLE held (
    path BLOB NOT NULL PRIMARY KEY CHECK (path >= x''),
    source_kind CHECK (source_kind BETWEEN 1 AND 4), source_size, source_mtime, source_ctime, source_inode, source_mode
) WITHOUT ROWID;
"""

#: Which side of a two-way run a change was made on, a position in `Side`. No side: a mirror has made it, on its target.
SIDES: Final = "ALTER TABLE trash ADD COLUMN side CHECK (side BETWEEN 0 AND 1)"
#: The first version of a journal that has these. One that is only read may be older.
_WITH_SIDES: Final = 8

_SIDES: Final = tuple(Side)

_REASONS: Final[tuple[Because, ...]] = get_args(Because)
_INSERT: Final = "INSERT INTO trash VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_OLD: Final = "SELECT target_kind, target_size, target_mtime, target_mode FROM records WHERE directory = ? AND name = ?"
_FINISH: Final = """UPDATE trash SET because = ?, place = ?, is_open = 0,
    now_kind = ?, now_size = ?, now_mtime = ?, now_mode = ? WHERE place = ?"""
_FINISH_OLD: Final = "UPDATE trash SET old_kind = ?, old_size = ?, old_mtime = ?, old_mode = ? WHERE place = ?"
# What a release has set aside is found out about as a part of the release.
_OPEN: Final = """SELECT path, because, place, old_kind, old_size, old_mtime, old_mode,
    now_kind, now_size, now_mtime, now_mode FROM trash WHERE is_open AND side IS ?
    AND place NOT IN (SELECT aside FROM publication WHERE aside IS NOT NULL) ORDER BY position DESC"""
_CHANGES: Final = """SELECT position, is_open, side, path, because, place, old_kind, old_size, old_mtime, old_mode,
    now_kind, now_size, now_mtime, now_mode FROM trash WHERE run = ? ORDER BY position"""
_RUNS: Final = """SELECT run, directory, at, is_undo,
    (SELECT count(*) FROM trash WHERE trash.run = trash_runs.run AND side IS NULL),
    (SELECT count(*) FROM trash WHERE trash.run = trash_runs.run AND because <= 1 AND place IS NOT NULL),
    (SELECT coalesce(sum(CAST(old_size AS INTEGER)), 0) FROM trash
        WHERE trash.run = trash_runs.run AND because <= 1 AND place IS NOT NULL),
    EXISTS (SELECT 1 FROM trash WHERE trash.run = trash_runs.run AND is_open)
    FROM trash_runs ORDER BY run DESC"""


@frozen
class Change:
    """One change of a run, and its place in the order of all changes. ``side`` is that of a two-way run."""

    position: int
    trashed: Trashed
    is_open: bool = False
    side: Side | None = None


def next_run(connection: sqlite3.Connection) -> int:
    """Return the number of the run that is going on, or one that no run in the trash has.

    A partial run is recorded at its end, with the number that is the next one now.
    """
    query = "SELECT id + (report IS NOT NULL) FROM runs ORDER BY id DESC LIMIT 1"
    (run,) = connection.execute(query).fetchone() or (0,)
    (last,) = connection.execute("SELECT coalesce(max(run), -1) FROM trash_runs").fetchone()
    return int(max(run, last + 1))


def open_run(connection: sqlite3.Connection, run: TrashRun) -> None:
    """Record that a run keeps what it changes from now on, and where."""
    row = (run.run, encode(run.directory), run.at, run.is_undo)
    connection.execute("INSERT INTO trash_runs VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", row)


def _current(connection: sqlite3.Connection) -> int:
    (run,) = connection.execute("SELECT max(run) FROM trash_runs").fetchone()
    assert run is not None, "a change is kept by a run that keeps nothing"
    return int(run)


def _four(entry: Entry | None) -> tuple[Any, ...]:
    if entry is None:
        return (None, None, None, None)
    return (CODES[entry.kind], fit(entry.size), fit(entry.mtime_ns), entry.mode)


def intend(connection: sqlite3.Connection, items: Iterable[Trashed], side: Side | None = None) -> None:
    """Record files that may be in the trash from now on. What the target has of them is as the journal knows it."""
    for item in items:
        run = _current(connection)
        if connection.execute("SELECT 1 FROM trash WHERE place = ?", (encode(item.place or ""),)).fetchone():
            continue  # another attempt
        old: tuple[Any, ...] = _four(item.old)
        if item.old is None:
            directory, _, name = encode(item.path).rpartition(b"/")
            old = tuple(map(fit, connection.execute(_OLD, (directory, name)).fetchone() or old))
        _insert(connection, run, item, old, side, is_open=True)


def _insert(
    connection: sqlite3.Connection,
    run: int,
    item: Trashed,
    old: tuple[Any, ...],
    side: Side | None,
    *,
    is_open: bool,
) -> None:
    place = None if item.place is None else encode(item.place)
    reason = _REASONS.index(item.because)
    connection.execute(_INSERT, (run, encode(item.path), reason, place, *old, *_four(item.now), is_open, _code(side)))


def _code(side: Side | None) -> int | None:
    return None if side is None else _SIDES.index(side)


def finish(connection: sqlite3.Connection, item: Trashed, side: Side | None = None) -> None:
    """Record a change that was made. Its place is forgotten if it is of something new: no old file is there."""
    if item.place is not None:
        place = None if item.because == "made" else encode(item.place)
        row = (_REASONS.index(item.because), place, *_four(item.now), encode(item.place))
        if connection.execute(_FINISH, row).rowcount > 0:
            if item.old is not None or place is None:
                kept = None if place is None else item.old
                connection.execute(_FINISH_OLD, (*_four(kept), encode(item.place)))
            return
    _insert(connection, _current(connection), item, _four(item.old), side, is_open=False)


def note_kind(connection: sqlite3.Connection, item: Trashed) -> None:
    """Record whether an open change has an old file in the trash."""
    row = (_REASONS.index(item.because), encode(item.place or ""))
    connection.execute("UPDATE trash SET because = ? WHERE is_open AND place = ?", row)


def is_of_something_new(connection: sqlite3.Connection, place: str) -> bool:
    """Return whether no old file is at a place, because the path was new."""
    row = connection.execute("SELECT because FROM trash WHERE place = ?", (encode(place),)).fetchone()
    return row is not None and row[0] == _REASONS.index("made")


def close(connection: sqlite3.Connection, item: Trashed) -> None:
    """Record that a file of an open change is in the trash, and what the target has in its stead."""
    row = (*_four(item.now), encode(item.place or ""))
    statement = "UPDATE trash SET is_open = 0, now_kind = ?, now_size = ?, now_mtime = ?, now_mode = ? WHERE place = ?"
    connection.execute(statement, row)


def drop_open(connection: sqlite3.Connection, places: Iterable[str]) -> None:
    """Forget changes that were not made: no file is at these places."""
    connection.executemany("DELETE FROM trash WHERE is_open AND place = ?", [(encode(place),) for place in places])


def drop_change(connection: sqlite3.Connection, position: int) -> None:
    """Forget a change that was undone."""
    connection.execute("DELETE FROM trash WHERE position = ?", (position,))


def drop_run(connection: sqlite3.Connection, run: int) -> None:
    """Forget the changes of a run, which have left the trash."""
    connection.execute("DELETE FROM trash WHERE run = ?", (run,))
    connection.execute("DELETE FROM trash_runs WHERE run = ?", (run,))


def read_runs(connection: sqlite3.Connection) -> list[TrashRun]:
    """Return the runs whose changes are kept, newest first. What two-way runs have changed cannot be undone."""
    return [
        TrashRun(run, decode(directory), at, changes, files, size, bool(has_open), bool(is_undo))
        for run, directory, at, is_undo, changes, files, size, has_open in connection.execute(
            _readable(connection, _RUNS)
        )
    ]


def _readable(connection: sqlite3.Connection, query: str) -> str:
    """Return a query as the journal can answer it: there are no sides in one that was not upgraded yet."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return query if version >= _WITH_SIDES else query.replace(" side", " NULL")


def read_changes(connection: sqlite3.Connection, run: int) -> list[Change]:
    """Return the changes of a run, in the order in which they were made."""
    rows = connection.execute(_readable(connection, _CHANGES), (run,))
    return [
        Change(position, _trashed(row), bool(is_open), None if side is None else _SIDES[side])
        for position, is_open, side, *row in rows
    ]


def read_open(connection: sqlite3.Connection, side: Side | None) -> list[Trashed]:
    """Return the changes of which it is not known whether they were made, newest first.

    Those on a side were made by two-way runs, those on none by mirrors.
    """
    return [_trashed(row) for row in connection.execute(_OPEN, (_code(side),))]


def _trashed(row: Iterable[Any]) -> Trashed:
    path, because, place, *both = row
    name = decode(path)
    old, now = _entry(name, both[:4]), _entry(name, both[4:])
    return Trashed(name, _REASONS[because], None if place is None else decode(place), old, now)


def _entry(path: str, row: Iterable[Any]) -> Entry | None:
    code, size, mtime, mode = row
    kind = None if code is None else KINDS[code]
    return None if kind is None else Entry(path, kind, size, mtime, mode=mode)


# What was undone.


def holds_any(connection: sqlite3.Connection) -> bool:
    """Return whether anything was undone and stays so."""
    return connection.execute("SELECT 1 FROM held LIMIT 1").fetchone() is not None


def hold(connection: sqlite3.Connection, path: str, source: Entry | None) -> None:
    """Record that a path stays undone as long as its source is ``source``."""
    values: tuple[Any, ...] = (None,) * 6
    if source is not None:
        values = (CODES[source.kind], source.size, source.mtime_ns, source.ctime_ns, source.inode, source.mode)
    connection.execute("INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?, ?, ?, ?)", (encode(path), *map(fit, values)))


def end_hold(connection: sqlite3.Connection, paths: Iterable[str]) -> None:
    """Record that paths are mirrored again like any other."""
    connection.executemany("DELETE FROM held WHERE path = ?", [(encode(path),) for path in paths])


def read_held(connection: sqlite3.Connection) -> dict[str, Entry | None]:
    """Return what stays undone, by path, each with the source that is not sent."""
    return {decode(path): _source(path, row) for path, *row in connection.execute("SELECT * FROM held")}


def read_held_source(connection: sqlite3.Connection, path: str) -> tuple[bool, Entry | None]:
    """Return whether a path stays undone, and the source that is not sent."""
    row = connection.execute("SELECT * FROM held WHERE path = ?", (encode(path),)).fetchone()
    return (False, None) if row is None else (True, _source(row[0], row[1:]))


def _source(path: bytes, row: Iterable[Any]) -> Entry | None:
    code, size, mtime, ctime, inode, mode = row
    kind: Kind | None = None if code is None else KINDS[code]
    return None if kind is None else Entry(decode(path), kind, size, mtime, ctime, inode, mode)


def read_held_count(connection: sqlite3.Connection) -> int:
    """Return how many paths stay undone."""
    return int(connection.execute("SELECT count(*) FROM held").fetchone()[0])
