"""What both sides looked like when they last agreed: one SQLite file for each profile.

The journal holds observations, and no work to do: records of what was read back from the target, the names of
temporaries that may be on it, and the reports of the last runs. Each run plans its work again. Losing the journal costs
a survey and some comparisons, never a file: an entry that the journal does not know is never removed.

* One writer. `open_journal` holds a lock on ``<journal>.lock`` for as long as the journal is open. The kernel releases
  it when the process dies, however it dies.
* `Journal.apply` is one transaction, durable when it returns: write-ahead log, ``synchronous=FULL``.
* Two connections. Reads go over a read-only connection of their own, so that they do not wait for the disk while
  another thread is in ``apply``. Each read sees one state, with all that was committed before it. A journal in memory
  has one connection, and its reads and writes take turns.

``actorsync.journal.file`` opens and locks the file, ``schema`` holds the tables, and ``writes`` turns events into rows.

No trio here: calls block, and the caller runs them in worker threads. They raise `JournalLocked` and `FatalError` only.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import platformdirs

from actorsync.endpoints.shared.home import NO_HOME_REASON, home_directory
from actorsync.errors import FatalError, JournalUnusable
from actorsync.journal import releases, runs, schema
from actorsync.journal.audit_memory import AuditMemory
from actorsync.journal.directories import DirectoryMemory
from actorsync.journal.file import (
    check_structure,
    connect_to_memory,
    hold_lock,
    move_aside,
    naming,
    open_pair,
)
from actorsync.journal.pairs import rows as pairs
from actorsync.journal.pairs.memory import PairMemory
from actorsync.journal.trash_memory import TrashMemory
from actorsync.journal.values import meta
from actorsync.journal.values.paths import MANY
from actorsync.journal.writes import write_facts
from actorsync.model.entry import WHOLE_TREE, Entry, Listing, Root, ScanComplete
from actorsync.model.event import MemoryVoided, Parked, Resized, SurveyComplete, is_durable
from actorsync.model.kept import Kept
from actorsync.model.operation import Publish, Side
from actorsync.model.report import Report
from actorsync.model.row import encode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from actorsync.model.entry import Record
    from actorsync.model.event import Event
    from actorsync.model.row import ListingRows

__all__ = [
    "Journal",
    "begin_mode",
    "journal_path",
    "open_journal",
    "open_memory_journal",
    "state_directory",
    "wait_for_turn",
]


class Journal:
    """The journal of one profile. Opened by `open_journal` or `open_memory_journal`."""

    aside: tuple[Path, str] | None = None
    """Where an unusable journal was moved to when this one replaced it, and what was wrong with it."""

    def __init__(self, writer: sqlite3.Connection, reader: sqlite3.Connection, where: str) -> None:
        self._writer = writer
        self._reader = reader
        self._writing = threading.Lock()
        self._reading = self._writing if reader is writer else threading.Lock()
        self._where = where
        self._has_index = False
        self.audits = AuditMemory(self._read)
        """What the audits of the target have found."""
        self.directories = DirectoryMemory(self._read)
        """Which directories the mirror has."""
        self.trash = TrashMemory(self._read, self._transaction)
        """What runs have changed, and what of it was undone."""
        self.pairs = PairMemory(self._read, self._transaction, self.trash)
        """What both sides of a two-way mirror agreed on."""

    @property
    def is_fresh(self) -> bool:
        """Whether the target is unknown: no survey of it was ever completed."""
        with self._read() as connection:
            return meta.read_meta(connection, "surveyed") is None

    def root(self) -> Root | None:
        """Return the root of the source as the last scan found it; None before the first scan."""
        with self._read() as connection:
            return schema.read_root(connection)

    def differences(
        self, listed: ListingRows, *, is_complete: bool = False, by_size_time: bool = False
    ) -> tuple[Listing, dict[str, Record]]:
        """Return the entries of ``listed`` that differ from their records, and the records without an equal entry.

        An entry is left out if it equals the source of its record in all fields, and its times can be trusted. With
        ``by_size_time`` the inode and its time are no such fields, and with ``is_complete`` nothing is left out.
        """
        with self._read() as connection:
            return schema.read_differences(connection, listed, is_complete=is_complete, by_size_time=by_size_time)

    def subtree(self, directory: str) -> list[Record]:
        """Return all records strictly below ``directory``, parents before children."""
        with self._read() as connection:
            connection.execute("BEGIN")
            try:
                return schema.read_subtree(connection, directory)
            finally:
                connection.execute("COMMIT")

    def children(self, directory: str, limit: int = MANY) -> dict[str, Record]:
        """Return the records of what is in ``directory``, by name; not more than ``limit`` of them."""
        with self._read() as connection:
            return schema.read_children(connection, directory, limit)

    def kept_names(self, directory: str) -> list[str]:
        """Return the names in a directory that the target has from the source, and is to keep."""
        with self._read() as connection:
            return schema.read_kept_names(connection, directory)

    def record(self, path: str) -> Record | None:
        """Return the record of one path; None when there is none."""
        with self._read() as connection:
            return schema.read_record(connection, path)

    def familiar(self, entries: Sequence[Entry]) -> set[str]:
        """Return the paths of those files whose inode, size and time are recorded under another path as well.

        The first call makes an index, which takes half a second for a million files, once.
        """
        if not self._has_index:
            with self._writing, naming(self._where):
                schema.index_files(self._writer)
            self._has_index = True
        with self._read() as connection:
            return schema.read_familiar(connection, entries)

    def owned_count(self) -> int:
        """Return how many records have a source, without the root."""
        with self._read() as connection:
            return schema.count_records(connection, are_foreign=False)

    def foreign_count(self) -> int:
        """Return how many records have no source: what the target has, and no run has put there."""
        with self._read() as connection:
            return schema.count_records(connection, are_foreign=True)

    def ceiling(self) -> int | None:
        """Return how many connections the server was seen to allow; None when it never refused one."""
        with self._read() as connection:
            return meta.read_ceiling(connection)

    def traits(self, side: Side) -> dict[str, str]:
        """Return what earlier runs learned of the server of one side, by name."""
        with self._read() as connection:
            return meta.read_traits(connection, side.value)

    def pending(self) -> list[tuple[str, Entry | None]]:
        """Return the temporaries that may exist on the target, in order of their paths.

        Each comes with the source file that it is for, or with None where that is unknown or has arrived.
        """
        with self._read() as connection:
            return schema.read_pending(connection)

    def kept(self) -> list[Kept]:
        """Return the files that are on the target under temporary names, whole or in part, in order of these names."""
        with self._read() as connection:
            return releases.read_kept(connection)

    def release(self) -> list[tuple[Publish, Entry | None]]:
        """Return the release that a run has begun and not ended: see `releases.read_release`. Mostly empty."""
        with self._read() as connection:
            return releases.read_release(connection)

    def troubles(self) -> list[Parked]:
        """Return the paths that failed in the last runs, in order, whether or not they are parked already."""
        with self._read() as connection:
            return schema.read_troubles(connection)

    def apply(self, facts: Sequence[Event]) -> None:
        """Record the facts in their order, in one transaction: durable on return, undone on any error.

        Facts that change nothing begin no transaction: a run with nothing to do writes nothing.
        """
        if not any(is_durable(fact) and not self._is_known(fact) for fact in facts):
            return
        with self._transaction() as connection:
            write_facts(connection, facts)

    def _is_known(self, fact: Event) -> bool:
        """Return whether the journal holds exactly this already."""
        match fact:
            case SurveyComplete():
                return not self.is_fresh
            case Resized(ceiling=ceiling):
                return ceiling == self.ceiling()
            case ScanComplete():
                return fact.scope != WHOLE_TREE or fact.root == self.root()
            case _:
                return False

    def begin_run(self, started_at: float) -> int:
        """Record that a run began, and return its number. Only the last hundred runs are kept."""
        with self._transaction() as connection:
            return runs.insert_run(connection, started_at)

    def end_run(self, run: int | None, report: Report) -> None:
        """Record what a run did. None for one whose beginning was not recorded: it is recorded as a whole.

        Of the runs over a part of the source, the last hundred are kept besides the last hundred others.
        """
        with self._transaction() as connection:
            if run is None:
                runs.insert_run(connection, report.started_at, report)
            else:
                runs.end_run(connection, run, report)

    def copy_to_memory(self) -> Journal:
        """Return an independent copy in memory, for dry runs. Its changes are lost when it is closed."""
        copy = connect_to_memory()
        with self._read() as connection:
            connection.backup(copy)
            check_structure(copy, self._where)
            schema.migrate(copy)
        return Journal(copy, copy, f"copy of {self._where}")

    def close(self) -> None:
        """Close the journal. SQLite folds the write-ahead log into the file when its last connection closes."""
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
    """Open the journal of a profile, and lock it until the end of the block. Make it if it is missing or empty.

    ``name`` is the user's name for the profile: for messages, and to be read in the file. Raises `JournalLocked` at
    once if another process has the journal open, and `FatalError` if it cannot be used; the file is then unchanged.
    ``is_rebuilding`` moves an unusable journal (`JournalUnusable`) aside, and makes a new one.
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


def begin_mode(journal: Journal, *, is_two_way: bool) -> None:
    """Forget what a journal remembers of the other mode, because the run that begins will not keep that up.

    So a change of mode is a first run: nothing follows from what was so before the change. Names of temporaries, and of
    what was set aside, are kept.
    """
    with journal._read() as connection:
        is_known = schema.holds_any(connection) if is_two_way else pairs.holds_any(connection)
    if is_known:
        memory = journal if is_two_way else journal.pairs
        memory.apply([MemoryVoided("is of the other mode")])


def wait_for_turn(journal: Journal) -> None:
    """Return when the write in progress has ended. A disk that hangs keeps this from returning."""
    with journal._writing:
        pass


def journal_path(directory: Path, profile_id: str) -> Path:
    """Return the path of a profile's journal. An id may be any text: characters unfit for a file name are escaped."""
    stem = quote(profile_id, safe="", errors="surrogateescape")
    if len(stem) > 150:  # a file name has at most 255 bytes, and suffixes are appended
        stem = hashlib.sha256(encode(profile_id)).hexdigest()
    return directory / f"{stem}.journal"


def state_directory() -> Path:
    """Return the directory of the journals.

    Raises:
        FatalError: there is none: ``$XDG_STATE_HOME`` is not an absolute path, and there is no home directory.
    """
    if not os.path.isabs(os.environ.get("XDG_STATE_HOME", "")) and home_directory() is None:
        raise FatalError(
            f"{NO_HOME_REASON}; set XDG_STATE_HOME to the absolute path of a directory for the journal, on a disk that "
            "lasts from one run to the next"
        )
    return platformdirs.user_state_path("actorsync")
