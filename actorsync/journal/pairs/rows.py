"""What both sides of a two-way mirror agreed on: its tables, and how their rows are read and written.

No files and no locks here. These tables have nothing to do with ``records``, which a mirror keeps: who changes the mode
of a profile begins anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from actorsync.journal.values.meta import fit
from actorsync.journal.values.paths import MANY, bounds, split
from actorsync.journal.values.rows import half, put
from actorsync.model.entry import Entry, Kind, join, parent_of
from actorsync.model.operation import Side
from actorsync.model.pair import Agreement, Conflict, Doubt, Pending
from actorsync.model.row import KINDS, decode, encode
from actorsync.planning.temporary_names import is_aside

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from actorsync.journal.values.meta import Value
    from actorsync.journal.values.rows import Row

__all__ = [
    "PAIR_ROOTS",
    "add_doubt",
    "clear",
    "count",
    "drop_below",
    "drop_conflict",
    "drop_intents",
    "forget",
    "forget_leaf",
    "holds_any",
    "index_files",
    "read_agreement",
    "read_children",
    "read_conflict",
    "read_conflicts",
    "read_elsewhere",
    "read_pending",
    "read_rows",
    "read_subtree",
    "take_doubt",
    "upsert",
    "write_conflict",
    "write_intents",
]

#: Where the roots are kept that the last whole scan found.
PAIR_ROOTS: Final = {Side.SOURCE: "pair:source", Side.TARGET: "pair:target"}

_HALVES: Final = """source_kind, source_size, source_mtime, source_ctime, source_inode, source_mode,
    target_kind, target_size, target_mtime, target_ctime, target_inode, target_mode"""
_CHILDREN: Final = f"SELECT name, {_HALVES}, digest, doubt FROM pairs WHERE directory = ? AND name > x''"  # noqa: S608 - of constants
_ONE: Final = f"SELECT name, {_HALVES}, digest, doubt FROM pairs WHERE directory = ? AND name = ?"  # noqa: S608
_ROWS: Final = """SELECT name, source_kind, source_size, source_mtime, source_ctime, source_inode,
    target_kind, target_size, target_mtime, target_ctime, target_inode, doubt
    FROM pairs WHERE directory = ? AND name > x'' ORDER BY name"""
_PARENTS: Final = """SELECT DISTINCT directory FROM pairs
    WHERE directory >= ? AND directory < ? AND (directory = ? OR directory > ?) ORDER BY directory"""
_UPSERT: Final = "INSERT OR REPLACE INTO pairs VALUES {}"
_DELETE: Final = "DELETE FROM pairs WHERE directory = ? AND name = ?"
_BELOW: Final = "directory >= ? AND directory < ? AND (directory = ? OR directory > ?)"
_DELETE_BELOW: Final = f"DELETE FROM pairs WHERE {_BELOW}"  # noqa: S608
_DELETE_LEAF: Final = f"{_DELETE} AND NOT EXISTS (SELECT 1 FROM pairs WHERE {_BELOW})"  # noqa: S608
_DOUBT: Final = "UPDATE pairs SET doubt = doubt | ? WHERE directory = ? AND name = ?"
_TRUST: Final = "UPDATE pairs SET doubt = doubt & ~? WHERE directory = ? AND name = ?"
_INDEX: Final = "CREATE INDEX IF NOT EXISTS pairs_of_{side} ON pairs ({side}_inode) WHERE {side}_kind = 1"
_ELSEWHERE: Final = """SELECT directory, name FROM pairs WHERE {side}_kind = 1 AND {side}_inode = ?
    AND {side}_size = ? AND {side}_mtime = ? AND NOT (directory = ? AND name = ?) ORDER BY directory, name"""
_CONFLICTS: Final = f"SELECT path, since, reason, {_HALVES} FROM conflicts"  # noqa: S608
#: Without the temporaries of a release that a mirror of the same name has begun, and will finish.
_PENDING: Final = """SELECT path, 1, final, size, mtime FROM pair_intents WHERE side = ?
    UNION ALL SELECT path, 0, final, size, mtime FROM intents
    WHERE ? AND path NOT IN (SELECT temporary FROM publication) ORDER BY path"""
_INTEND: Final = "INSERT OR REPLACE INTO pair_intents VALUES (?, ?, ?, ?, ?)"
_INTEND_TEMPORARY: Final = "INSERT OR REPLACE INTO intents VALUES (?, ?, ?, ?)"
#: A part of a file that a mirror of the same name has sent.
_DROP_KEPT: Final = "DELETE FROM kept WHERE temporary = ?"
_DROP_INTENT: Final = "DELETE FROM pair_intents WHERE path = ? AND side = ?"
_DROP_TEMPORARY: Final = "DELETE FROM intents WHERE path = ?"
_UPSERT_CONFLICT: Final = "INSERT OR REPLACE INTO conflicts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def index_files(connection: sqlite3.Connection, side: Side) -> None:
    """Make the index that `read_elsewhere` needs."""
    connection.execute(_INDEX.format(side=side.value))


# Reading


def _agreements(rows: Iterable[tuple[Any, ...]], directory: str) -> Iterator[tuple[str, Agreement]]:
    kinds: Any = KINDS
    for name_, s_kind, *values in rows:
        source, (t_kind, *target), (digest, doubt) = values[:5], values[5:11], values[11:]
        name = decode(name_)
        path = join(directory, name) if name else directory
        halves = Entry(path, kinds[s_kind], *source), Entry(path, kinds[t_kind], *target)
        yield name, Agreement(*halves, digest, Doubt(doubt))


def read_children(connection: sqlite3.Connection, directory: str, limit: int = MANY) -> dict[str, Agreement]:
    """Return the agreements about what is in a directory, by name; not more than ``limit`` of them."""
    rows = connection.execute(f"{_CHILDREN} LIMIT ?", (encode(directory), limit))
    return dict(_agreements(rows, directory))


def read_rows(connection: sqlite3.Connection, directory: str) -> list[tuple[Any, ...]]:
    """Return the agreements about what is in a directory as plain rows, in order of their names."""
    return connection.execute(_ROWS, (encode(directory),)).fetchall()


def read_agreement(connection: sqlite3.Connection, path: str) -> Agreement | None:
    """Return the agreement about one path; None if there is none."""
    rows = connection.execute(_ONE, split(path)).fetchall()
    return next((agreement for _, agreement in _agreements(rows, parent_of(path))), None)


def read_subtree(connection: sqlite3.Connection, directory: str) -> list[Agreement]:
    """Return the agreements strictly below a directory, parents before children. Call it in a transaction."""
    if directory:
        parents = connection.execute(_PARENTS, bounds(directory))
    else:
        parents = connection.execute("SELECT DISTINCT directory FROM pairs ORDER BY directory")
    names = [decode(parent) for (parent,) in parents]
    return [agreement for parent in names for agreement in read_children(connection, parent).values()]


def count(connection: sqlite3.Connection) -> int:
    """Return how many agreements there are."""
    return int(connection.execute("SELECT count(*) FROM pairs WHERE name > x''").fetchone()[0])


def holds_any(connection: sqlite3.Connection) -> bool:
    """Return whether anything is recorded of a two-way mirror: an agreement, a conflict, or a whole scan."""
    query = """SELECT EXISTS (SELECT 1 FROM pairs) OR EXISTS (SELECT 1 FROM conflicts)
        OR EXISTS (SELECT 1 FROM meta WHERE key = ?)"""
    return bool(connection.execute(query, (PAIR_ROOTS[Side.SOURCE],)).fetchone()[0])


def read_elsewhere(connection: sqlite3.Connection, side: Side, entries: Sequence[Entry]) -> dict[str, list[Agreement]]:
    """Return, by path, the agreements that have the same file on a side (inode, size, time) under another path."""
    query = _ELSEWHERE.format(side=side.value)
    found: dict[str, list[Agreement]] = {}
    for entry in entries:
        if entry.kind is not Kind.FILE or entry.inode is None or entry.mtime_ns is None:
            continue
        key = [fit(value) for value in (entry.inode, entry.size, entry.mtime_ns)]
        places = connection.execute(query, (*key, *split(entry.path))).fetchall()
        agreements = [read_agreement(connection, join(decode(directory), decode(name))) for directory, name in places]
        if any(agreements):
            found[entry.path] = [it for it in agreements if it is not None]
    return found


def read_conflicts(connection: sqlite3.Connection) -> list[Conflict]:
    """Return the conflicts, in order of their paths."""
    return _conflicts(connection.execute(f"{_CONFLICTS} ORDER BY path"))


def read_conflict(connection: sqlite3.Connection, path: str) -> Conflict | None:
    """Return the conflict about one path; None if there is none."""
    return next(iter(_conflicts(connection.execute(f"{_CONFLICTS} WHERE path = ?", (encode(path),)))), None)


def _conflicts(rows: Iterable[tuple[Any, ...]]) -> list[Conflict]:
    kinds: Any = KINDS
    conflicts = []
    for encoded, since, reason, *values in rows:
        path = decode(encoded)
        halves = [None if kind is None else Entry(path, kinds[kind], *rest) for kind, *rest in (values[:6], values[6:])]
        conflicts.append(Conflict(path, halves[0], halves[1], decode(reason), since))
    return conflicts


def read_pending(connection: sqlite3.Connection, side: Side) -> list[Pending]:
    """Return the temporaries of a side, and what was set aside there, in order of their paths."""
    rows = connection.execute(_PENDING, (side.value, side is Side.TARGET))
    return [
        Pending(name, None if final is None else decode(final), size, mtime, is_aside=bool(is_ours) and is_aside(name))
        for name, is_ours, final, size, mtime in ((decode(path), *rest) for path, *rest in rows)
    ]


# Writing


def upsert(connection: sqlite3.Connection, agreements: Iterable[Agreement]) -> None:
    """Record what both sides agree on. The last agreement about a path counts."""
    put(connection, _UPSERT, map(_row_of, agreements))


def _row_of(agreement: Agreement) -> Row:
    source, target = agreement.source, agreement.target
    assert source.path == target.path, f"the two sides have different paths: {source.path!r}, {target.path!r}"
    halves = (*half(source), source.mode, *half(target), target.mode)
    return (*split(source.path), *halves, agreement.digest, int(agreement.doubt))


def add_doubt(connection: sqlite3.Connection, path: str, doubt: Doubt) -> None:
    """Record why the state of a path may tell nothing."""
    connection.execute(_DOUBT, (int(doubt), *split(path)))


def take_doubt(connection: sqlite3.Connection, path: str, doubt: Doubt) -> None:
    """Take a doubt back."""
    connection.execute(_TRUST, (int(doubt), *split(path)))


def forget(connection: sqlite3.Connection, path: str) -> None:
    """Drop the agreement about a path, and those about all below it."""
    connection.execute(_DELETE, split(path))
    drop_below(connection, path)


def drop_below(connection: sqlite3.Connection, path: str) -> None:
    """Drop the agreements about what is below a path."""
    if path:
        connection.execute(_DELETE_BELOW, bounds(path))
    else:
        connection.execute("DELETE FROM pairs WHERE name > x''")


def forget_leaf(connection: sqlite3.Connection, path: str) -> None:
    """Drop the agreement about a path, unless there are others about what is below it."""
    connection.execute(_DELETE_LEAF, (*split(path), *bounds(path)))


def clear(connection: sqlite3.Connection) -> None:
    """Drop all agreements and conflicts."""
    connection.execute("DELETE FROM pairs")
    connection.execute("DELETE FROM conflicts")


def write_conflict(connection: sqlite3.Connection, conflict: Conflict) -> None:
    """Record a conflict. One between the same versions keeps the time at which it was first seen."""
    then = read_conflict(connection, conflict.path)
    is_same = then is not None and (then.source, then.target) == (conflict.source, conflict.target)
    since = then.since if then is not None and is_same else conflict.since
    halves: list[Value] = []
    for entry in (conflict.source, conflict.target):
        halves += [None] * 6 if entry is None else [*half(entry), entry.mode]
    row: list[Any] = [encode(conflict.path), since, encode(conflict.reason), *halves]
    connection.execute(_UPSERT_CONFLICT, [value if isinstance(value, float) else fit(value) for value in row])


def drop_conflict(connection: sqlite3.Connection, path: str) -> None:
    """Forget a conflict."""
    connection.execute("DELETE FROM conflicts WHERE path = ?", (encode(path),))


def write_intents(
    connection: sqlite3.Connection, paths: Iterable[str], side: Side, source: Entry | None, over: Entry | None
) -> None:
    """Record names that may be on a side from now on, the file that they are for, and what is set aside for it.

    A mirror of the same name sweeps its temporaries unseen, and must not take for one what is set aside on the target.
    """
    final = None if source is None else encode(source.path)
    for path in paths:
        kept = over if is_aside(path) else source
        size = mtime = None
        if kept is not None and kept.kind is Kind.FILE:
            size, mtime = fit(kept.size), fit(kept.mtime_ns)
        if side is Side.TARGET and not is_aside(path):
            connection.execute(_INTEND_TEMPORARY, (encode(path), final, size, mtime))
        else:
            connection.execute(_INTEND, (encode(path), side.value, final, size, mtime))


def drop_intents(connection: sqlite3.Connection, paths: Iterable[str], side: Side) -> None:
    """Forget names that are not on a side any more."""
    names = [encode(path) for path in paths]
    connection.executemany(_DROP_INTENT, [(name, side.value) for name in names])
    if side is Side.TARGET:
        for statement in (_DROP_TEMPORARY, _DROP_KEPT):
            connection.executemany(statement, [(name,) for name in names])
