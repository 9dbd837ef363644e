"""The journal: what both sides looked like when they last agreed, in one SQLite file per profile.

``journal`` is the interface, ``reading`` is for commands that look into it during a run, ``writes`` turns events into
rows, ``schema`` holds the tables and their versions, and ``file`` opens and locks the file. ``pairs`` is what a two-way
mirror remembers.
"""

from actorsync.journal.journal import (
    Journal,
    begin_mode,
    journal_path,
    open_journal,
    open_memory_journal,
    state_directory,
    wait_for_turn,
)
from actorsync.journal.reading import (
    read_conflicts,
    read_drifts,
    read_held_count,
    read_runs,
    read_trash,
    read_troubles,
)

__all__ = [
    "Journal",
    "begin_mode",
    "journal_path",
    "open_journal",
    "open_memory_journal",
    "read_conflicts",
    "read_drifts",
    "read_held_count",
    "read_runs",
    "read_trash",
    "read_troubles",
    "state_directory",
    "wait_for_turn",
]
