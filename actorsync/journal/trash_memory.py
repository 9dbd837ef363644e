"""What a journal knows of changes that can be undone, as its readers call it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager

from actorsync.classes import frozen
from actorsync.journal.rows import UPSERT, foreign_row, upsert
from actorsync.journal.schema import read_record
from actorsync.journal.trash import rows as trash
from actorsync.journal.trash.rows import Change
from actorsync.journal.values.paths import split
from actorsync.journal.values.rows import put
from actorsync.model.entry import Entry
from actorsync.model.operation import Side
from actorsync.model.trash import Trashed
from actorsync.planning.publishing.trash import TrashRun

__all__ = ["TrashMemory", "Undone"]


@frozen
class Undone:
    """One change that was undone. ``inverse`` is that as a change of its own; None if nothing had to be done.

    ``results`` has what the target has of each path that the undo has changed; None for nothing. ``is_redone`` says
    that the change was one of an undo.
    """

    position: int
    inverse: Trashed | None
    results: Mapping[str, Entry | None]
    is_redone: bool = False


@frozen(eq=False)
class TrashMemory:
    """Reads and writes what runs have changed. Calls block, and raise as those of `Journal` do."""

    _read: Callable[[], AbstractContextManager[sqlite3.Connection]]
    _transaction: Callable[[], AbstractContextManager[sqlite3.Connection]]

    def next_run(self) -> int:
        """Return the number of the run that is going on."""
        with self._read() as connection:
            return trash.next_run(connection)

    def runs(self) -> list[TrashRun]:
        """Return the runs whose changes are kept, newest first."""
        with self._read() as connection:
            return trash.read_runs(connection)

    def changes(self, run: int) -> list[Change]:
        """Return the changes of a run, in the order in which they were made."""
        with self._read() as connection:
            return trash.read_changes(connection, run)

    def open(self, side: Side | None = None) -> list[Trashed]:
        """Return the changes of which it is not known whether they were made, newest first.

        Those on a side were made by two-way runs, those on none by mirrors.
        """
        with self._read() as connection:
            return trash.read_open(connection, side)

    def held(self) -> dict[str, Entry | None]:
        """Return what stays undone, by path, each with the source that is not sent; None where there was none."""
        with self._read() as connection:
            return trash.read_held(connection)

    def held_count(self) -> int:
        """Return how many paths stay undone."""
        with self._read() as connection:
            return trash.read_held_count(connection)

    def open_undo(self, run: TrashRun) -> None:
        """Record that a run undoes another, and where it keeps what it changes."""
        with self._transaction() as connection:
            trash.open_run(connection, run)

    def intend(self, items: Iterable[Trashed]) -> None:
        """Record files that may be in the trash from now on."""
        with self._transaction() as connection:
            trash.intend(connection, items)

    def settle(self, items: Iterable[tuple[Trashed, Trashed | None]]) -> None:
        """Record what became of open changes: each with what is in the trash of it, or with None."""
        with self._transaction() as connection:
            for item, found in items:
                if found is None:
                    trash.drop_open(connection, (item.place or "",))
                else:
                    trash.close(connection, found)

    def undo(self, items: Iterable[Undone]) -> None:
        """Record changes that were undone, and that both sides agree on what the target has since."""
        with self._transaction() as connection:
            for item in items:
                trash.drop_change(connection, item.position)
                keeps_content = item.inverse is not None and item.inverse.because == "mode"
                for path, target in item.results.items():
                    _agree(connection, path, target, is_held=not item.is_redone, keeps_content=keeps_content)
                if item.inverse is not None:
                    trash.finish(connection, item.inverse)

    def forget(self, run: int) -> None:
        """Forget the changes of a run, which have left the trash."""
        with self._transaction() as connection:
            trash.drop_run(connection, run)


def _agree(
    connection: sqlite3.Connection,
    path: str,
    target: Entry | None,
    *,
    is_held: bool,
    keeps_content: bool = False,
) -> None:
    """Record what the target has of a path after an undo, as agreed with what the source has.

    The source is the one that was mirrored last. With ``is_held`` nothing is done about the path while it stays so.
    Otherwise an undo was taken back, and the path is mirrored like any other.
    """
    was_held, source = trash.read_held_source(connection, path)
    record = read_record(connection, path)
    if not was_held and record is not None:
        source = record.source
    if is_held:
        trash.hold(connection, path, source)
    else:
        trash.end_hold(connection, (path,))
    if target is None:
        connection.execute("DELETE FROM records WHERE directory = ? AND name = ?", split(path))
    elif source is None or source.kind is not target.kind:
        put(connection, UPSERT, [foreign_row(target)])
    else:
        digest = record.digest if record is not None and not record.is_removal_intended else None
        checksum = record.checksum if record is not None and keeps_content else None
        upsert(connection, source, target, digest, checksum)
