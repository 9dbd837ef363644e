"""Events of a two-way run become rows: one ``match``, and a few statements. The caller holds the transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorsync.journal.pairs import rows
from actorsync.journal.pairs.rows import PAIR_ROOTS
from actorsync.journal.trash import rows as trash
from actorsync.journal.values.meta import trait_key, write_meta
from actorsync.journal.values.texts import dump
from actorsync.model.entry import Entry
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
    TrashOpened,
)
from actorsync.model.operation import Copy, Done, Maintain, MakeDirectory, Move, Remove, Side, Skipped
from actorsync.model.pair import Agreement, Doubt
from actorsync.planning.publishing.trash import TrashRun

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

__all__ = ["write_pair_facts"]


def write_pair_facts(connection: sqlite3.Connection, facts: Iterable[Event]) -> None:
    """Write the facts to the rows, in their order."""
    agreed: list[Agreement] = []
    for fact in facts:
        if isinstance(fact, Agreed):
            agreed.append(fact.agreement)
            continue
        rows.upsert(connection, agreed)
        agreed = []
        _write_fact(connection, fact)
    rows.upsert(connection, agreed)


def _write_fact(connection: sqlite3.Connection, fact: Event) -> None:
    """Write one fact to the rows. An event that is not durable changes none."""
    match fact:
        case Done():
            _write_done(connection, fact)
        case Forgotten(path):
            rows.forget(connection, path)
        case Skipped(operation=Remove(Entry(path))):
            # Something is in the directory. If it is known, its removal has failed, and both are tried again.
            rows.forget_leaf(connection, path)
        case TrashOpened(run, directory, at):
            trash.open_run(connection, TrashRun(run, directory, at))
        case RemovalIntended(paths, trashed=going, side=side):
            trash.intend(connection, going, side)
            for path in paths:
                rows.add_doubt(connection, path, Doubt.missing(side))
        case MovesIntended(moves):
            for move in moves:
                rows.add_doubt(connection, move.target.path, Doubt.missing(move.side))
        case Skipped(operation=Move(target=before) as move):
            rows.take_doubt(connection, before.path, Doubt.missing(move.side))
        case Intended(temporaries, source, trashed, over=over, side=side):
            if trashed is not None:
                trash.intend(connection, (trashed,), side)
            rows.write_intents(connection, temporaries, side, source, over)
        case Swept(temporaries, trashed=kept, side=side):
            rows.drop_intents(connection, temporaries, side)
            for item in kept:
                trash.finish(connection, item, side)
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
            rows.upsert(connection, [_both(done.source, done.target, operation.side, digest, doubt)])
            rows.drop_below(connection, operation.path)  # it may have replaced a directory
        case MakeDirectory(source):
            assert done.target is not None, f"a directory that is not there: {operation.path}"
            rows.upsert(connection, [_both(source, done.target, operation.side)])
        case Move(source, before) if not operation.is_aside:
            assert done.target is not None, f"a move without its target: {operation.path}"
            then = rows.read_agreement(connection, before.path)
            time_doubts = Doubt.NONE if then is None else then.doubt & (Doubt.SOURCE_TIME | Doubt.TARGET_TIME)
            rows.forget(connection, before.path)
            rows.upsert(connection, [_both(source, done.target, operation.side, operation.digest, time_doubts)])
        case Remove():
            rows.forget(connection, operation.path)
        case Maintain(begins=False):
            rows.drop_intents(connection, (operation.path,), operation.side)
    if done.temporary is not None:
        rows.drop_intents(connection, (done.temporary,), operation.side)


def _both(
    other: Entry, changed: Entry, side: Side, digest: bytes | None = None, doubt: Doubt = Doubt.NONE
) -> Agreement:
    """Return the agreement after ``side`` was made what the other side is."""
    halves = (other, changed) if side is Side.TARGET else (changed, other)
    return Agreement(*halves, digest, doubt)
