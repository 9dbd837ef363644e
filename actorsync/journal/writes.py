"""Events become rows of a journal: one ``match``, and a few statements.

The caller holds the transaction. Every value is a parameter, and paths are BLOBs: a name is never part of a statement.
`actorsync.model.event.is_durable` says which events change a row.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from actorsync.journal import audits, releases
from actorsync.journal.meta import Value, fit, trait_key, write_meta
from actorsync.journal.schema import bounds, dump, split
from actorsync.model.entry import Entry, Kind, ScanComplete, join
from actorsync.model.event import (
    Adopted,
    Audited,
    Confirmed,
    Drifted,
    DriftEnded,
    Event,
    Forgotten,
    Intended,
    Learned,
    MemoryVoided,
    MovesIntended,
    Parked,
    PartSent,
    Recovered,
    Released,
    ReleaseEnded,
    Relisted,
    RemovalIntended,
    Resized,
    SurveyComplete,
    Swept,
    TargetSeen,
)
from actorsync.model.operation import (
    Compare,
    Copy,
    Done,
    MakeDirectory,
    Move,
    Prepare,
    Publish,
    PutBack,
    Remove,
    Respell,
    SetMode,
    Skipped,
    Survey,
    Sweep,
)
from actorsync.model.row import CODES, decode, encode

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable

    from actorsync.model.entry import Listing

__all__ = ["write_facts"]

_DIRECTORIES: Final = "SELECT name FROM records WHERE directory = ? AND name > x'' AND target_kind = 2"
#: Rows in one statement: the interpreter's lock is released once for each statement, not for each row. Older versions
#: of SQLite accept no more than 999 values.
_ROWS: Final = 62
_COLUMNS: Final = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_VALUES: Final = tuple(", ".join([_COLUMNS] * count) for count in range(_ROWS + 1))
_UPSERT: Final = "INSERT OR REPLACE INTO records VALUES {}"
_INSERT: Final = "INSERT INTO records VALUES {} ON CONFLICT DO NOTHING"
_UPSERT_TROUBLE: Final = "INSERT OR REPLACE INTO troubles VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
# The event for a temporary may come twice: see `Intended`.
_INTEND: Final = """INSERT INTO intents VALUES (?, ?, ?, ?)
    ON CONFLICT (path) DO UPDATE SET final = excluded.final, size = excluded.size, mtime = excluded.mtime"""
_DELETE: Final = "DELETE FROM records WHERE directory = ? AND name = ?"
# An empty digest marks a record as doomed. A digest that it had stays as the checksum.
_DOOM: Final = """UPDATE records SET digest = x'', checksum = CASE WHEN digest > x'' THEN digest ELSE checksum END
    WHERE directory = ? AND name = ?"""
_DELETE_DOOMED: Final = f"{_DELETE} AND digest = x''"
_DELETE_FOREIGN: Final = "DELETE FROM records WHERE directory = ? AND source_kind IS NULL AND name > x''"
_DELETE_FOREIGN_IN_TREE: Final = """DELETE FROM records
    WHERE directory >= ? AND directory < ? AND (directory = ? OR directory > ?) AND source_kind IS NULL"""

_DELETE_TREE: Final = "DELETE FROM records WHERE directory >= ? AND directory < ? AND (directory = ? OR directory > ?)"

# ``||`` makes text of two BLOBs, byte for byte.
_MOVE_TREE: Final = """UPDATE OR REPLACE records SET directory = CAST(? || substr(directory, ?) AS BLOB)
    WHERE directory >= ? AND directory < ? AND (directory = ? OR directory > ?)"""

_Half: TypeAlias = tuple[int | None, int | None, int | None, int | None, int | None]
_Row: TypeAlias = tuple[Value, ...]
_NO_SOURCE: Final[_Half] = (None, None, None, None, None)


def write_facts(connection: sqlite3.Connection, facts: Iterable[Event]) -> None:
    """Write the facts to the rows, in their order."""
    agreed: list[_Row] = []
    for fact in facts:
        if isinstance(fact, Adopted | Confirmed):
            checksum = fact.checksum if isinstance(fact, Confirmed) else None
            agreed.append(_row(fact.source, fact.target, fact.digest, checksum))
            continue
        _put(connection, _UPSERT, agreed)
        agreed = []
        _write_fact(connection, fact)
    _put(connection, _UPSERT, agreed)


def _write_fact(connection: sqlite3.Connection, fact: Event) -> None:
    """Write one fact to the rows. An event that is not durable changes none."""
    match fact:
        case Done(operation=operation):
            _write_done(connection, operation.path, fact)
        case Intended(temporaries, source):
            purpose: tuple[Value, Value, Value] = (None, None, None)
            if source is not None:
                is_sent = source.kind is Kind.FILE
                sent = (fit(source.size), fit(source.mtime_ns)) if is_sent else (None, None)
                purpose = (encode(source.path), *sent)
            connection.executemany(
                _INTEND,
                [(encode(path), *purpose) for path in temporaries],
            )
        case Swept(temporaries):
            _drop_intents(connection, temporaries)
        case PartSent(kept):
            releases.write_kept(connection, kept)
        case Released(items):
            releases.begin(connection, items)
        case ReleaseEnded(rolled_back, refused):
            _end_release(connection, refused, is_published=rolled_back is None)
        case RemovalIntended(paths):
            connection.executemany(_DOOM, [split(path) for path in paths])
        case MovesIntended(moves):
            connection.executemany(_DOOM, [split(move.target.path) for move in moves])
            rows = [_row(move.source, attrs.evolve(move.target, path=move.path), b"", move.checksum) for move in moves]
            _put(connection, _UPSERT, rows)
        case Skipped(operation=Move() as move):
            connection.execute(_DELETE_DOOMED, split(move.path))
        case Skipped(operation=Remove(Entry(path))):
            connection.execute(_DELETE, split(path))
        case Forgotten(path):
            connection.execute(_DELETE, split(path))
            _drop_foreign(connection, path)
        case SurveyComplete():
            write_meta(connection, "surveyed", "1")
        case ScanComplete():
            write_meta(connection, "root", dump(fact.root))
        case TargetSeen(at, root):
            audits.write_seen(connection, at)
            if root is not None:
                write_meta(connection, "target", dump(root))
        case MemoryVoided():
            connection.execute("DELETE FROM records")
            connection.execute("DELETE FROM drifts")
            releases.end(connection)  # what it was to replace, and its temporaries, were in another root
            connection.execute("DELETE FROM meta WHERE key IN ('surveyed', 'seen', 'target', 'audit')")
        case Audited():
            audits.write_round(connection, fact)
        case Drifted():
            _write_drift(connection, fact)
        case DriftEnded(path):
            audits.end_drift(connection, path)
        case Relisted(listing):
            _write_listing(connection, listing)
        case Parked():
            half = map(fit, _half(fact.source) if fact.source is not None else _NO_SOURCE)
            counted = (fact.failures, fact.since, fact.failed_at, fact.retry_at, encode(fact.reason))
            connection.execute(_UPSERT_TROUBLE, (encode(fact.path), *counted, *half))
        case Recovered(path):
            connection.execute("DELETE FROM troubles WHERE path = ?", (encode(path),))
        case Resized(ceiling=int(ceiling)):
            write_meta(connection, "ceiling", str(ceiling))
        case Learned(side, name, text):
            write_meta(connection, trait_key(side.value, name), text)


def _write_done(connection: sqlite3.Connection, path: str, done: Done) -> None:
    match done.operation:
        case Copy():
            assert done.source is not None, f"a copy without its source: {path}"
            assert done.target is not None, f"a copy without its target: {path}"
            _upsert(connection, done.source, done.target, done.digest, done.checksum)
            if done.operation.replaces:
                connection.execute(_DELETE_TREE, bounds(path))  # it may have replaced a directory
            if done.temporary is not None:
                _drop_intents(connection, (done.temporary,))
        case Prepare():
            assert done.kept is not None, f"a stage that leaves nothing: {path}"
            releases.write_kept(connection, done.kept)
        case Publish() as item:
            assert done.target is not None, f"a file was published, and there is none: {path}"
            releases.note_published(connection, item, done.target)
        case PutBack(item):
            releases.note_put_back(connection, item)
        case Compare():
            assert done.source is not None, f"a comparison without its source: {path}"
            assert done.target is not None, f"a comparison without its target: {path}"
            _upsert(connection, done.source, done.target, done.digest, done.checksum)
        case Move(source, before):
            assert done.target is not None, f"a move without its target: {path}"
            _upsert(connection, source, done.target, done.digest, done.checksum)
            connection.execute(_DELETE, split(before.path))
        case SetMode(source):
            assert done.target is not None, f"a mode without its target: {path}"
            _upsert(connection, source, done.target, done.digest, done.checksum)
        case Respell(source, before):
            assert done.target is not None, f"a new spelling without its target: {path}"
            if before.kind is Kind.DIRECTORY:
                old = encode(before.path)
                connection.execute(_MOVE_TREE, (encode(path), len(old) + 1, *bounds(before.path)))
            connection.execute(_DELETE, split(before.path))
            _upsert(connection, source, done.target, done.digest, done.checksum)
            if done.temporary is not None:
                _drop_intents(connection, (done.temporary,))
        case MakeDirectory(source):
            assert done.target is not None, f"a directory without its target: {path}"
            _upsert(connection, source, done.target)
        case Remove(target):
            connection.execute(_DELETE, split(path))
            if target.kind is Kind.DIRECTORY:
                _drop_foreign(connection, path)
        case Survey():
            assert done.listing is not None, f"a survey without a listing: {path}"
            _write_listing(connection, done.listing)
        case Sweep(recovers=recovers):
            if not recovers:  # otherwise data of a killed run may still arrive: the end of this run sweeps again
                _drop_intents(connection, (path,))
            if done.source is not None and done.target is not None:
                _upsert(connection, done.source, done.target)


def _end_release(connection: sqlite3.Connection, refused: Collection[str], *, is_published: bool) -> None:
    """Record a release as a whole. What was set aside is not needed any more: it is swept like any temporary.

    A part that was taken back, or was ``refused``, is kept for the next release.
    """
    for item, target in releases.read_release(connection) if is_published else ():
        if item.path in refused:
            continue
        assert target is not None, f"a release ended before a part of it was published: {item.path}"
        kept = item.kept
        _upsert(connection, kept.source, target, kept.digest, kept.checksum)
        connection.execute(_DELETE_TREE, bounds(item.path))  # it may have replaced a directory
        _drop_intents(connection, (kept.temporary,))
        if item.aside is not None:
            connection.execute(_INTEND, (encode(item.aside), None, None, None))
    releases.end(connection)


def _write_drift(connection: sqlite3.Connection, fact: Drifted) -> None:
    """Record what has drifted. What is mended is from now on what it is found to be: nothing, or a foreign entry."""
    if not fact.is_mended:
        audits.write_drift(connection, fact)
        return
    audits.end_drift(connection, fact.path)
    connection.execute(_DELETE, split(fact.path))
    connection.execute(_DELETE_TREE, bounds(fact.path))
    if fact.now is not None:
        _put(connection, _INSERT, [_foreign_row(fact.now)])


def _half(entry: Entry) -> _Half:
    return (CODES[entry.kind], entry.size, entry.mtime_ns, entry.ctime_ns, entry.inode)


def _upsert(
    connection: sqlite3.Connection,
    source: Entry,
    target: Entry,
    digest: bytes | None = None,
    checksum: bytes | None = None,
) -> None:
    _put(connection, _UPSERT, [_row(source, target, digest, checksum)])


def _row(source: Entry, target: Entry, digest: bytes | None, checksum: bytes | None) -> _Row:
    assert source.path == target.path, f"the two sides have different paths: {source.path!r}, {target.path!r}"
    return (*split(target.path), *_half(source), *_half(target), digest, checksum, source.mode, target.mode)


def _foreign_row(target: Entry) -> _Row:
    return (*split(target.path), *_NO_SOURCE, *_half(target), None, None, None, target.mode)


def _put(connection: sqlite3.Connection, statement: str, rows: Iterable[_Row]) -> None:
    rest = iter(rows)
    while piece := list(islice(rest, _ROWS)):
        values = [value for row in piece for value in row]
        try:
            connection.execute(statement.format(_VALUES[len(piece)]), values)
        except OverflowError:  # rare: cheaper to let SQLite find it than to test each value
            connection.execute(statement.format(_VALUES[len(piece)]), [fit(value) for value in values])


def _drop_intents(connection: sqlite3.Connection, temporaries: Iterable[str]) -> None:
    temporaries = [*temporaries]
    releases.drop_kept(connection, temporaries)
    connection.executemany("DELETE FROM intents WHERE path = ?", [(encode(path),) for path in temporaries])


def _write_listing(connection: sqlite3.Connection, listing: Listing) -> None:
    """Replace the foreign records of one directory by the entries of a survey's listing. Records with a source stay.

    Foreign records below a directory that is missing are deleted too. Otherwise such a record could be adopted, and its
    file would be taken to be on the target.
    """
    if listing.problem is None:
        directories = {entry.path for entry in listing.entries if entry.kind is Kind.DIRECTORY}
        known = connection.execute(_DIRECTORIES, (encode(listing.directory),)).fetchall()
        for path in {join(listing.directory, decode(name)) for (name,) in known} - directories:
            _drop_foreign(connection, path)
        connection.execute(_DELETE_FOREIGN, (encode(listing.directory),))
    _put(connection, _INSERT, (_foreign_row(entry) for entry in listing.entries if entry.path))


def _drop_foreign(connection: sqlite3.Connection, directory: str) -> None:
    """Delete the foreign records strictly below ``directory``, which is missing."""
    connection.execute(_DELETE_FOREIGN_IN_TREE, bounds(directory))
