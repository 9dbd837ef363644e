"""Events become rows of a journal: one ``match``, and a few statements.

The caller holds the transaction. Every value is a parameter, and paths are BLOBs: a name is never part of a statement.
`actorsync.model.event.is_durable` says which events change a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from actorsync.journal import audits, leaving, releases
from actorsync.journal.rows import INSERT, UPSERT, foreign_row, row_of, upsert
from actorsync.journal.trash import rows as trash
from actorsync.journal.values.meta import Value, fit, trait_key, write_meta
from actorsync.journal.values.paths import bounds, split
from actorsync.journal.values.rows import NO_SOURCE, Row, half, put
from actorsync.journal.values.texts import dump
from actorsync.model.entry import WHOLE_TREE, Entry, Kind, ScanComplete, join
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
    RemovalsDelayed,
    Resized,
    SurveyComplete,
    Swept,
    TargetSeen,
    TrashOpened,
)
from actorsync.model.operation import (
    Compare,
    Copy,
    Done,
    Maintain,
    MakeDirectory,
    Move,
    Prepare,
    Publish,
    PutBack,
    Recall,
    Remove,
    Respell,
    SetMode,
    Skipped,
    Survey,
    Sweep,
)
from actorsync.model.row import decode, encode
from actorsync.model.trash import Because, Trashed
from actorsync.planning.publishing.trash import TrashRun, is_place

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable

    from actorsync.model.entry import Listing

__all__ = ["write_facts"]

_DIRECTORIES: Final = "SELECT name FROM records WHERE directory = ? AND name > x'' AND target_kind = 2"
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


def write_facts(connection: sqlite3.Connection, facts: Iterable[Event]) -> None:
    """Write the facts to the rows, in their order."""
    agreed: list[Row] = []
    has_held = trash.holds_any(connection)
    for fact in facts:
        if has_held:
            trash.end_hold(connection, _mirrored_again(fact))
        if isinstance(fact, Adopted | Confirmed):
            checksum = fact.checksum if isinstance(fact, Confirmed) else None
            agreed.append(row_of(fact.source, fact.target, fact.digest, checksum))
            continue
        put(connection, UPSERT, agreed)
        agreed = []
        _write_fact(connection, fact)
    put(connection, UPSERT, agreed)


def _mirrored_again(fact: Event) -> tuple[str, ...]:
    """Return the paths that do not stay undone any more, now that a run has mirrored them."""
    match fact:
        case Done(Move(target=before) as move):
            return before.path, move.path
        case Done(Copy() | MakeDirectory() | Compare() | Publish() | Remove() as operation):
            return (operation.path,)
        case Adopted(source):
            return (source.path,)
        case Forgotten(path):
            return (path,)
        case _:
            return ()


def _write_fact(connection: sqlite3.Connection, fact: Event) -> None:
    """Write one fact to the rows. An event that is not durable changes none."""
    match fact:
        case Done(operation=operation):
            _write_done(connection, operation.path, fact)
            if fact.trashed is not None and isinstance(operation, Publish):
                trash.note_kind(connection, fact.trashed)  # it counts when the release has ended
            elif fact.trashed is not None and not isinstance(operation, Recall):
                trash.finish(connection, fact.trashed)
        case TrashOpened(run, directory, at):
            trash.open_run(connection, TrashRun(run, directory, at))
        case Intended(temporaries, source, trashed):
            if trashed is not None:
                trash.intend(connection, (trashed,))
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
            trash.intend(connection, map(_set_aside, filter(_is_to_trash, items)))
        case ReleaseEnded(rolled_back, refused):
            _end_release(connection, refused, is_published=rolled_back is None)
        case RemovalIntended(paths, trashed=going):
            trash.intend(connection, going)
            connection.executemany(_DOOM, [split(path) for path in paths])
        case MovesIntended(moves):
            connection.executemany(_DOOM, [split(move.target.path) for move in moves])
            rows = [
                row_of(move.source, attrs.evolve(move.target, path=move.path), b"", move.checksum) for move in moves
            ]
            put(connection, UPSERT, rows)
        case Skipped(operation=Move() as move):
            connection.execute(_DELETE_DOOMED, split(move.path))
        case Skipped(operation=Remove(Entry(path))):
            connection.execute(_DELETE, split(path))
            leaving.forget(connection, path)
        case RemovalsDelayed():
            leaving.write(connection, fact)
        case Forgotten(path):
            connection.execute(_DELETE, split(path))
            _drop_foreign(connection, path)
        case SurveyComplete():
            write_meta(connection, "surveyed", "1")
        case ScanComplete() if fact.scope == WHOLE_TREE:  # a part of a tree does not tell what the whole is
            write_meta(connection, "root", dump(fact.root))
        case TargetSeen(at, root):
            audits.write_seen(connection, at)
            if root is not None:
                write_meta(connection, "target", dump(root))
        case MemoryVoided():
            connection.execute("DELETE FROM records")
            connection.execute("DELETE FROM drifts")
            connection.execute("DELETE FROM leaving")
            connection.execute("DELETE FROM held")
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
            source_half = map(fit, half(fact.source) if fact.source is not None else NO_SOURCE)
            counted = (fact.failures, fact.since, fact.failed_at, fact.retry_at, encode(fact.reason))
            connection.execute(_UPSERT_TROUBLE, (encode(fact.path), *counted, *source_half))
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
            upsert(connection, done.source, done.target, done.digest, done.checksum)
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
            if _is_to_trash(item):
                trash.drop_open(connection, (item.aside or "",))
        case Maintain(begins=begins):
            if done.temporary is not None:
                _drop_intents(connection, (done.temporary,))
            if not begins:
                _drop_intents(connection, (path,))
        case Compare():
            assert done.source is not None, f"a comparison without its source: {path}"
            assert done.target is not None, f"a comparison without its target: {path}"
            upsert(connection, done.source, done.target, done.digest, done.checksum)
        case Move(source, before):
            assert done.target is not None, f"a move without its target: {path}"
            upsert(connection, source, done.target, done.digest, done.checksum)
            connection.execute(_DELETE, split(before.path))
        case SetMode(source):
            assert done.target is not None, f"a mode without its target: {path}"
            upsert(connection, source, done.target, done.digest, done.checksum)
        case Respell(source, before):
            assert done.target is not None, f"a new spelling without its target: {path}"
            if before.kind is Kind.DIRECTORY:
                old = encode(before.path)
                connection.execute(_MOVE_TREE, (encode(path), len(old) + 1, *bounds(before.path)))
            connection.execute(_DELETE, split(before.path))
            upsert(connection, source, done.target, done.digest, done.checksum)
            if done.temporary is not None:
                _drop_intents(connection, (done.temporary,))
        case MakeDirectory(source):
            assert done.target is not None, f"a directory without its target: {path}"
            upsert(connection, source, done.target)
        case Remove(target):
            connection.execute(_DELETE, split(path))
            leaving.forget(connection, path)
            if target.kind is Kind.DIRECTORY:
                _drop_foreign(connection, path)
        case Recall(trashed):
            if done.trashed is None:
                trash.drop_open(connection, (trashed.place or "",))
            else:
                trash.close(connection, done.trashed)
        case Survey():
            assert done.listing is not None, f"a survey without a listing: {path}"
            _write_listing(connection, done.listing)
        case Sweep(recovers=recovers):
            if not recovers:  # otherwise data of a killed run may still arrive: the end of this run sweeps again
                _drop_intents(connection, (path,))
            if done.source is not None and done.target is not None:
                upsert(connection, done.source, done.target, done.digest, done.checksum)


def _end_release(connection: sqlite3.Connection, refused: Collection[str], *, is_published: bool) -> None:
    """Record a release as a whole. What was set aside is not needed any more: it is swept like any temporary.

    A part that was taken back, or was ``refused``, is kept for the next release.
    """
    for item, target in releases.read_release(connection) if is_published else ():
        if item.path in refused:
            continue
        assert target is not None, f"a release ended before a part of it was published: {item.path}"
        kept = item.kept
        upsert(connection, kept.source, target, kept.digest, kept.checksum)
        connection.execute(_DELETE_TREE, bounds(item.path))  # it may have replaced a directory
        _drop_intents(connection, (kept.temporary,))
        if _is_to_trash(item):
            because: Because = "made" if trash.is_of_something_new(connection, item.aside or "") else "replaced"
            trash.finish(connection, attrs.evolve(_set_aside(item), because=because, now=target))
        elif item.aside is not None:
            connection.execute(_INTEND, (encode(item.aside), None, None, None))
    releases.end(connection)


def _is_to_trash(item: Publish) -> bool:
    return item.aside is not None and is_place(item.aside)


def _set_aside(item: Publish) -> Trashed:
    return Trashed(item.path, "replaced", item.aside, item.replaced)


def _write_drift(connection: sqlite3.Connection, fact: Drifted) -> None:
    """Record what has drifted. What is mended is from now on what it is found to be: nothing, or a foreign entry."""
    if not fact.is_mended:
        audits.write_drift(connection, fact)
        return
    audits.end_drift(connection, fact.path)
    connection.execute(_DELETE, split(fact.path))
    connection.execute(_DELETE_TREE, bounds(fact.path))
    if fact.now is not None:
        put(connection, INSERT, [foreign_row(fact.now)])


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
    put(connection, INSERT, (foreign_row(entry) for entry in listing.entries if entry.path))


def _drop_foreign(connection: sqlite3.Connection, directory: str) -> None:
    """Delete the foreign records strictly below ``directory``, which is missing."""
    connection.execute(_DELETE_FOREIGN_IN_TREE, bounds(directory))
