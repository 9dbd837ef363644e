"""What a journal knows of a two-way mirror."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from actorsync.journal.pairs import rows
from actorsync.journal.pairs.rows import PAIR_ROOTS
from actorsync.journal.pairs.writes import write_pair_facts
from actorsync.journal.values import meta
from actorsync.journal.values.texts import parsed_root
from actorsync.model.event import Conflicted, Learned, PairScanned, Resized, is_durable
from actorsync.model.operation import Side

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager
    from typing import Any

    from actorsync.model.entry import Entry, Root
    from actorsync.model.event import Event
    from actorsync.model.pair import Agreement, Conflict, Pending
    from actorsync.model.trash import Trashed

__all__ = ["PairMemory"]


class TrashOfSides(Protocol):
    """What a journal knows of the trash of either side."""

    def next_run(self) -> int:
        """Return the number of the run that is going on."""

    def open(self, side: Side) -> list[Trashed]:
        """Return the changes of a side of which it is not known whether they were made, newest first."""

    def settle(self, items: Iterable[tuple[Trashed, Trashed | None]]) -> None:
        """Record what became of such changes: each with what is in the trash of it, or with None."""


class PairMemory:
    """What a journal knows of a two-way mirror. Apart from what it knows of a mirror with the same name."""

    def __init__(
        self,
        read: Callable[[], AbstractContextManager[sqlite3.Connection]],
        transaction: Callable[[], AbstractContextManager[sqlite3.Connection]],
        trash: TrashOfSides,
    ) -> None:
        self._read = read
        self._transaction = transaction
        self.trash = trash
        self._indexed: set[Side] = set()

    @property
    def is_fresh(self) -> bool:
        """Whether no run has ever listed both sides as a whole."""
        return self.roots() is None

    def roots(self) -> tuple[Root, Root] | None:
        """Return the roots of both sides as the last whole scan found them; None before the first one."""
        with self._read() as connection:
            found = [self._root(connection, side) for side in (Side.SOURCE, Side.TARGET)]
        return None if found[0] is None or found[1] is None else (found[0], found[1])

    @staticmethod
    def _root(connection: sqlite3.Connection, side: Side) -> Root | None:
        text = meta.read_meta(connection, PAIR_ROOTS[side])
        return None if text is None else parsed_root(text)

    def children(self, directory: str) -> dict[str, Agreement]:
        """Return the agreements about what is in a directory, by name."""
        with self._read() as connection:
            return rows.read_children(connection, directory)

    def rows(self, directory: str) -> list[tuple[Any, ...]]:
        """Return the agreements about what is in a directory as rows of plain values, in order of their names.

        A row has the name; kind, size, mtime, ctime and inode of the source, and of the target; and the doubt.
        """
        with self._read() as connection:
            return rows.read_rows(connection, directory)

    def subtree(self, directory: str) -> list[Agreement]:
        """Return the agreements strictly below a directory, parents before children."""
        with self._read() as connection:
            connection.execute("BEGIN")
            try:
                return rows.read_subtree(connection, directory)
            finally:
                connection.execute("COMMIT")

    def agreement(self, path: str) -> Agreement | None:
        """Return the agreement about one path; None if there is none."""
        with self._read() as connection:
            return rows.read_agreement(connection, path)

    def count(self) -> int:
        """Return how many agreements there are, without the root."""
        with self._read() as connection:
            return rows.count(connection)

    def elsewhere(self, side: Side, entries: Sequence[Entry]) -> dict[str, list[Agreement]]:
        """Return, by path, the agreements that have the same file on a side under another path.

        It is the same if its inode, size and time are. The first call for a side makes an index.
        """
        if side not in self._indexed:
            with self._transaction() as connection:
                rows.index_files(connection, side)
            self._indexed.add(side)
        with self._read() as connection:
            return rows.read_elsewhere(connection, side, entries)

    def conflicts(self) -> list[Conflict]:
        """Return the conflicts for which nothing was done, in order of their paths."""
        with self._read() as connection:
            return rows.read_conflicts(connection)

    def pending(self, side: Side) -> list[Pending]:
        """Return the temporaries of a side, and what was set aside there, in order of their paths."""
        with self._read() as connection:
            return rows.read_pending(connection, side)

    def traits(self, side: Side) -> dict[str, str]:
        """Return what earlier runs learned of the server of one side, by name."""
        with self._read() as connection:
            return meta.read_traits(connection, side.value)

    def ceiling(self) -> int | None:
        """Return how many connections the server was seen to allow; None when it never refused one."""
        with self._read() as connection:
            return meta.read_ceiling(connection)

    def apply(self, facts: Sequence[Event]) -> None:
        """Record the facts in their order, in one transaction: durable on return, undone on any error.

        Facts that change nothing begin no transaction: a run with nothing to do writes nothing.
        """
        if not any(is_durable(fact) and not self._is_known(fact) for fact in facts):
            return
        with self._transaction() as connection:
            write_pair_facts(connection, facts)

    def _is_known(self, fact: Event) -> bool:
        """Return whether the journal holds exactly this already."""
        match fact:
            case Conflicted(conflict):
                with self._read() as connection:
                    return rows.read_conflict(connection, conflict.path) == conflict
            case PairScanned(source, target):
                return self.roots() == (source, target)
            case Resized(ceiling=ceiling):
                return ceiling == self.ceiling()
            case Learned(side, name, text):
                return self.traits(side).get(name) == text
            case _:
                return False
