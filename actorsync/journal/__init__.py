"""The journal: what both sides looked like when they last agreed, in one SQLite file per profile.

``journal`` is the interface, ``writes`` turns events into rows, ``schema`` holds the tables and their versions,
and ``file`` opens and locks the file.
"""

from actorsync.journal.journal import (
    Journal,
    journal_path,
    open_journal,
    open_memory_journal,
    read_drifts,
    read_held_count,
    read_runs,
    read_trash,
    read_troubles,
    state_directory,
    wait_for_turn,
)

__all__ = [
    "Journal",
    "journal_path",
    "open_journal",
    "open_memory_journal",
    "read_drifts",
    "read_held_count",
    "read_runs",
    "read_trash",
    "read_troubles",
    "state_directory",
    "wait_for_turn",
]
