"""What each side looked like when they last agreed: one SQLite file for each profile.

The journal holds observations, never work: records of what was read back from the target, the names of temporaries
that may be on it, and the reports of the last runs. What has to be done is planned anew by every run. Losing the
journal costs a survey and some comparisons, never a file: what it does not know to be ours is never removed.

* One writer. ``open_journal`` holds a lock on ``<journal>.lock`` for as long as the journal is open; the kernel lets
  go of it when the process dies, however it dies.
* ``apply`` is one transaction, durable when it returns: write-ahead log, ``synchronous=FULL``.
* Two connections. Reads go over a read-only one of their own, so that ``children`` never waits for the disk while
  another thread is in ``apply``; each read sees one state, with all that was committed before it. A journal in
  memory has only one connection, and there reads and writes take turns.

How it lies on disk is the business of ``actorsync.journal.file``, what is in it that of ``journal_schema``, and what
facts do to it that of ``journal_facts``.

No trio here: calls block, and the caller runs them in worker threads. Only `JournalLocked` and `FatalError` are raised.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import platformdirs

from actorsync.errors import JournalUnusable
from actorsync.journal import schema
from actorsync.journal.file import (
    check_structure,
    connect_to_memory,
    hold_lock,
    move_aside,
    naming,
    open_pair,
    open_reader,
)
from actorsync.journal.schema import Run
from actorsync.journal.writes import write_facts
from actorsync.model.entry import Entry, Listing, Root, ScanComplete
from actorsync.model.event import (
    Adopted,
    Confirmed,
    Forgotten,
    Intended,
    MovesIntended,
    Parked,
    Recovered,
    RemovalIntended,
    Resized,
    SurveyComplete,
    Swept,
)
from actorsync.model.operation import Done, Move, Remove, Skipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from actorsync.model.entry import Record
    from actorsync.model.event import Event, Report
    from actorsync.model.row import ListingRows

__all__ = [
    "Journal",
    "Run",
    "journal_path",
    "open_journal",
    "open_memory_journal",
    "read_runs",
    "read_troubles",
    "state_directory",
]


class Journal:
    """The memory of one profile. Opened by `open_journal` or `open_memory_journal`."""

    aside: tuple[Path, str] | None = None
    """Where an unusable journal was moved to so that this one could take its place, and what was wrong with it."""

    def __init__(self, writer: sqlite3.Connection, reader: sqlite3.Connection, where: str) -> None:
        self._writer = writer
        self._reader = reader
        self._writing = threading.Lock()
        self._reading = self._writing if reader is writer else threading.Lock()
        self._where = where
        self._has_index = False

    @property
    def is_fresh(self) -> bool:
        """Whether the target is not known yet: no survey of it was ever completed."""
        with self._read() as connection:
            return schema.read_meta(connection, "surveyed") is None

    def root(self) -> Root | None:
        """Give the source's root as the last scan found it."""
        with self._read() as connection:
            return schema.read_root(connection)

    def children(self, directory: str) -> dict[str, Record]:
        """Give the records of the direct children, by name."""
        with self._read() as connection:
            return schema.read_children(connection, directory)

    def differences(self, listed: ListingRows) -> tuple[Listing, dict[str, Record]]:
        """Leave out what is as it was: give the rest of ``listed``, and the records that this does not account for.

        What is left out is a source entry that equals its record's in everything, and whose times can be trusted.
        """
        with self._read() as connection:
            return schema.read_differences(connection, listed)

    def subtree(self, directory: str) -> list[Record]:
        """Give all records strictly below, parents before children."""
        with self._read() as connection:
            connection.execute("BEGIN")
            try:
                return schema.read_subtree(connection, directory)
            finally:
                connection.execute("COMMIT")

    def record(self, path: str) -> Record | None:
        """Give the record of one path."""
        with self._read() as connection:
            return schema.read_record(connection, path)

    def familiar(self, entries: Sequence[Entry]) -> set[str]:
        """Give the paths of those files that are recorded, by inode, size and time, under another path as well.

        The first question makes an index, which takes half a second for a million files, once and for all.
        """
        if not self._has_index:
            with self._writing, naming(self._where):
                schema.index_files(self._writer)
            self._has_index = True
        with self._read() as connection:
            return schema.read_familiar(connection, entries)

    def owned_count(self) -> int:
        """Count the records that have a source, without the root."""
        with self._read() as connection:
            return schema.count_owned(connection)

    def ceiling(self) -> int | None:
        """Give how many connections the server was seen to allow; None when it never refused one."""
        with self._read() as connection:
            return schema.read_ceiling(connection)

    def intents(self) -> list[str]:
        """Give the temporaries that may exist on the target, in order."""
        with self._read() as connection:
            return schema.read_intents(connection)

    def pending(self) -> list[tuple[str, Entry | None]]:
        """Give the same temporaries, each with the file it is for where the journal does not know that it arrived."""
        with self._read() as connection:
            return schema.read_pending(connection)

    def troubles(self) -> list[Parked]:
        """Give the paths that failed in the last runs, in order: those that are parked, and those on the way there."""
        with self._read() as connection:
            return schema.read_troubles(connection)

    def runs(self, limit: int = 10) -> list[Run]:
        """Give the last runs, newest first."""
        with self._read() as connection:
            return schema.read_runs(connection, limit)

    def apply(self, facts: Sequence[Event]) -> None:
        """Do what the facts ask for, in their order and all together; durable on return, undone on any error.

        Facts that change nothing do not even begin a transaction: a run with nothing to do writes nothing.
        """
        if not any(map(self._matters, facts)):
            return
        with self._transaction() as connection:
            write_facts(connection, facts)

    def _matters(self, fact: Event) -> bool:
        match fact:
            case (
                Done()
                | Adopted()
                | Confirmed()
                | RemovalIntended()
                | Intended()
                | MovesIntended()
                | Swept()
                | Forgotten()
            ):
                return True
            case Skipped(operation=Move() | Remove()):
                return True
            case Parked() | Recovered():
                return True
            case SurveyComplete():
                return self.is_fresh
            case Resized(ceiling=ceiling):
                return ceiling is not None and ceiling != self.ceiling()
            case ScanComplete():
                return fact.root != self.root()
            case _:
                return False

    def begin_run(self, started_at: float) -> int:
        """Note that a run began; give its number. Only the last hundred are kept."""
        with self._transaction() as connection:
            run = connection.execute("INSERT INTO runs (started_at) VALUES (?)", (started_at,)).lastrowid
            assert run is not None
            connection.execute("DELETE FROM runs WHERE id <= ?", (run - schema.RUNS_KEPT,))
            return run

    def end_run(self, run: int, report: Report) -> None:
        """Note what a run did."""
        with self._transaction() as connection:
            connection.execute("UPDATE runs SET report = ? WHERE id = ?", (schema.dump(report), run))

    def copy_to_memory(self) -> Journal:
        """Give an independent copy, whose changes are lost with it: for dry runs."""
        copy = connect_to_memory()
        with self._read() as connection:
            connection.backup(copy)
            check_structure(copy, self._where)
            schema.migrate(copy)
        return Journal(copy, copy, f"copy of {self._where}")

    def close(self) -> None:
        """Close the journal. The last one to leave folds the write-ahead log into the file."""
        with self._reading, naming(self._where):
            self._reader.close()
        with self._writing, naming(self._where):
            self._writer.close()

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        with self._reading, naming(self._where):
            yield self._reader

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._writing, naming(self._where):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            finally:
                if self._writer.in_transaction:
                    with suppress(sqlite3.Error):
                        self._writer.execute("ROLLBACK")


# Opening


@contextmanager
def open_journal(directory: Path, profile_id: str, *, name: str = "", is_rebuilding: bool = False) -> Iterator[Journal]:
    """Open the journal of a profile, which is made when it is missing or has no bytes; locked until the end.

    ``name`` is what the user calls the profile: for messages, and for whoever looks into the file. Raises
    `JournalLocked` at once when another process has it open, `FatalError` when it cannot be used, and then it was
    not touched. ``is_rebuilding`` moves a journal aside that is of no use (`JournalUnusable`), and makes a new one.
    """
    path = journal_path(directory, profile_id)
    with hold_lock(path, name or profile_id):
        aside = None
        try:
            writer, reader = open_pair(path, profile_id, name)
        except JournalUnusable as error:
            if not is_rebuilding:
                raise
            aside = move_aside(path, time.time()), str(error)
            writer, reader = open_pair(path, profile_id, name)
        with closing(Journal(writer, reader, str(path))) as journal:
            journal.aside = aside
            yield journal


def open_memory_journal(profile_id: str = "memory") -> Journal:
    """Open an empty journal that is lost when it is closed."""
    connection = connect_to_memory()
    schema.create(connection, profile_id, "")
    return Journal(connection, connection, "in memory")


def read_runs(directory: Path, profile_id: str, limit: int) -> list[Run]:
    """Give the last runs of a profile, newest first, whether or not one is going on; none without a journal."""
    path = journal_path(directory, profile_id)
    reader = open_reader(path, profile_id)
    if reader is None:
        return []
    with naming(str(path)), closing(reader):
        return schema.read_runs(reader, limit)


def read_troubles(directory: Path, profile_id: str) -> list[Parked]:
    """Give the paths of a profile that failed in its last runs, in order; none without a journal."""
    path = journal_path(directory, profile_id)
    reader = open_reader(path, profile_id)
    if reader is None:
        return []
    with naming(str(path)), closing(reader):
        return schema.read_troubles(reader)


def journal_path(directory: Path, profile_id: str) -> Path:
    """Give the file of a profile's journal. Any text will do for an id; what is no file name is escaped."""
    stem = quote(profile_id, safe="", errors="surrogateescape")
    if len(stem) > 150:  # with all that is appended to it, a name has to stay below 255
        stem = hashlib.sha256(schema.encode(profile_id)).hexdigest()
    return directory / f"{stem}.journal"


def state_directory() -> Path:
    """Give the directory where journals live unless the profile says otherwise."""
    return platformdirs.user_state_path("actorsync")
