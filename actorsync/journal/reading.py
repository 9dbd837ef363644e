"""What commands read of the journal of a profile, while a run of it may go on. They take no lock and change nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from actorsync.journal import audits, runs, schema
from actorsync.journal.file import naming, open_reader
from actorsync.journal.journal import journal_path
from actorsync.journal.pairs import rows as pairs
from actorsync.journal.trash import rows as trash

if TYPE_CHECKING:
    import sqlite3

    from actorsync.journal.trash.rows import Change
    from actorsync.model.entry import Entry
    from actorsync.model.event import Parked
    from actorsync.model.pair import Conflict
    from actorsync.model.report import Run
    from actorsync.planning.drift import Drift
    from actorsync.planning.publishing.trash import TrashRun

__all__ = ["read_conflicts", "read_drifts", "read_held_count", "read_runs", "read_trash", "read_troubles"]


@contextmanager
def _reading(directory: Path, profile_id: str, version: int = 1) -> Iterator[sqlite3.Connection | None]:
    """Open the journal of a profile for reading. None if there is none, or one of a schema before ``version``."""
    path = journal_path(directory, profile_id)
    reader = open_reader(path, profile_id)
    if reader is None:
        yield None
        return
    with naming(str(path)), closing(reader):
        yield reader if schema.version_of(reader) >= version else None


def read_runs(directory: Path, profile_id: str, limit: int) -> list[Run]:
    """Return the last runs of a profile, newest first, even while one goes on. Without a journal there are none."""
    with _reading(directory, profile_id) as reader:
        return [] if reader is None else runs.read_runs(reader, limit)


def read_troubles(directory: Path, profile_id: str) -> list[Parked]:
    """Return the paths of a profile that failed in its last runs, in order. Without a journal there are none."""
    with _reading(directory, profile_id) as reader:
        return [] if reader is None else schema.read_troubles(reader)


def read_drifts(directory: Path, profile_id: str) -> list[tuple[Drift, Entry | None]]:
    """Return what has drifted on the target of a profile, in order, each with what was there before, if it is known."""
    with _reading(directory, profile_id, version=5) as reader:
        if reader is None:
            return []
        drifts = audits.read_drifts(reader)
        records = [schema.read_record(reader, drift.path) for drift in drifts]
    return [(it, None if was is None else was.target) for it, was in zip(drifts, records, strict=True)]


def read_trash(directory: Path, profile_id: str) -> list[tuple[TrashRun, list[Change]]]:
    """Return the runs whose changes are kept, newest first, each with these changes. Works during a run."""
    with _reading(directory, profile_id, version=6) as reader:
        if reader is None:
            return []
        return [(run, trash.read_changes(reader, run.run)) for run in trash.read_runs(reader)]


def read_held_count(directory: Path, profile_id: str) -> int:
    """Return how many paths of a profile were undone, and stay so until their source changes."""
    with _reading(directory, profile_id, version=6) as reader:
        return 0 if reader is None else trash.read_held_count(reader)


def read_conflicts(directory: Path, profile_id: str) -> list[Conflict]:
    """Return the conflicts of a two-way mirror for which nothing was done, in order of their paths.

    Without a journal there are none. Works during a run.
    """
    with _reading(directory, profile_id, version=7) as reader:
        return [] if reader is None else pairs.read_conflicts(reader)
