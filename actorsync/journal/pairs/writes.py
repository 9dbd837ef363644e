"""Events of a two-way run become rows: one ``match``, and a few statements. The caller holds the transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from actorsync.journal.meta import fit, trait_key, write_meta
from actorsync.journal.pairs import rows
from actorsync.journal.schema import dump
from actorsync.model.entry import Entry, Kind
from actorsync.model.event import (
    Agreed,
    Conflicted,
    ConflictEnded,
    Event,
    Forgotten,
    Intended,
    Learned,
    MemoryVoided,
    MovesIntended,
    PairScanned,
    RemovalIntended,
    Resized,
    Swept,
)
from actorsync.model.operation import Copy, Done, Maintain, MakeDirectory, Move, Remove, Side, Skipped
from actorsync.model.pair import Agreement, Doubt
from actorsync.model.row import encode

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

__all__ = ["PAIR_ROOTS", "write_pair_facts"]

#: Where the roots are kept that the last whole scan found.
PAIR_ROOTS: Final = {Side.SOURCE: "pair:source", Side.TARGET: "pair:target"}

_INTEND: Final = """INSERT INTO intents VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (path) DO UPDATE SET final = excluded.final, size = excluded.size, mtime = excluded.mtime"""
_DROP_INTENT: Final = "DELETE FROM intents WHERE path = ? AND side IS ?"


def write_pair_facts(connection: sqlite3.Connection, facts: Iterable[Event]) -> None:
    """Write the facts to the rows, in their order."""
    for fact in facts:
        _write_fact(connection, fact)


def _write_fact(connection: sqlite3.Connection, fact: Event) -> None:
    """Write one fact to the rows. An event that is not durable changes none."""
    match fact:
        case Done():
            _write_done(connection, fact)
        case Agreed(agreement):
            rows.upsert(connection, agreement)
        case Forgotten(path) | Skipped(operation=Remove(Entry(path))):
            rows.forget(connection, path)
        case RemovalIntended(paths, side=side):
            for path in paths:
                rows.add_doubt(connection, path, Doubt.missing(side))
        case MovesIntended(moves):
            for move in moves:
                rows.add_doubt(connection, move.target.path, Doubt.missing(move.side))
        case Skipped(operation=Move(target=before) as move):
            rows.take_doubt(connection, before.path, Doubt.missing(move.side))
        case Intended():
            _intend(connection, fact)
        case Swept(temporaries, side=side):
            _drop_intents(connection, temporaries, side)
        case Conflicted(conflict):
            rows.write_conflict(connection, conflict)
        case ConflictEnded(path):
            rows.drop_conflict(connection, path)
        case PairScanned(source, target):
            write_meta(connection, PAIR_ROOTS[Side.SOURCE], dump(source))
            write_meta(connection, PAIR_ROOTS[Side.TARGET], dump(target))
        case MemoryVoided():
            rows.clear(connection)
            for key in PAIR_ROOTS.values():
                connection.execute("DELETE FROM meta WHERE key = ?", (key,))
        case Resized(ceiling=int(ceiling)):
            write_meta(connection, "ceiling", str(ceiling))
        case Learned(side, name, text):
            write_meta(connection, trait_key(side.value, name), text)


def _write_done(connection: sqlite3.Connection, done: Done) -> None:
    operation = done.operation
    match operation:
        case Copy():
            assert done.source is not None, f"a copy without what was read: {operation.path}"
            assert done.target is not None, f"a copy without what was written: {operation.path}"
            doubt = Doubt.NONE
            for side in done.doubts:
                doubt |= Doubt.time(side)
            digest = done.digest or done.checksum
            rows.upsert(connection, _both(done.source, done.target, operation.side, digest, doubt))
            rows.drop_below(connection, operation.path)  # it may have replaced a directory
        case MakeDirectory(source):
            assert done.target is not None, f"a directory that is not there: {operation.path}"
            rows.upsert(connection, _both(source, done.target, operation.side))
        case Move(source, before) if not operation.is_aside:
            assert done.target is not None, f"a move without its target: {operation.path}"
            then = rows.read_agreement(connection, before.path)
            time_doubts = Doubt.NONE if then is None else then.doubt & (Doubt.SOURCE_TIME | Doubt.TARGET_TIME)
            rows.forget(connection, before.path)
            rows.upsert(connection, _both(source, done.target, operation.side, operation.digest, time_doubts))
        case Remove():
            rows.forget(connection, operation.path)
        case Maintain(begins=False):
            _drop_intents(connection, (operation.path,), operation.side)
    if done.temporary is not None:
        _drop_intents(connection, (done.temporary,), operation.side)


def _both(
    other: Entry, changed: Entry, side: Side, digest: bytes | None = None, doubt: Doubt = Doubt.NONE
) -> Agreement:
    """Return the agreement after ``side`` was made what the other side is."""
    halves = (other, changed) if side is Side.TARGET else (changed, other)
    return Agreement(*halves, digest, doubt)


def _intend(connection: sqlite3.Connection, fact: Intended) -> None:
    source, side = fact.source, None if fact.side is Side.TARGET else fact.side.value
    final = size = mtime = None
    if source is not None:
        final = encode(source.path)
        if source.kind is Kind.FILE:
            size, mtime = fit(source.size), fit(source.mtime_ns)
    connection.executemany(_INTEND, [(encode(path), final, size, mtime, side) for path in fact.temporaries])


def _drop_intents(connection: sqlite3.Connection, temporaries: Iterable[str], side: Side) -> None:
    of_side = None if side is Side.TARGET else side.value
    connection.executemany(_DROP_INTENT, [(encode(path), of_side) for path in temporaries])
