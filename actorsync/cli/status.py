"""The last runs and the parked paths, read from the journal: what the command ``status`` does."""

from __future__ import annotations

import os
from collections.abc import Iterator

from actorsync.cli.output.messages import drifts_table, parked_table, runs_table
from actorsync.journal import journal_path, read_drifts, read_runs, read_troubles, state_directory
from actorsync.model.report import Run
from actorsync.planning.parking import is_parked
from actorsync.profile import Profile
from actorsync.runs.profile_journal import refuse_moved

__all__ = ["status"]


def status(profile: Profile, limit: int = 10) -> Iterator[str]:
    """Yield the last ``limit`` runs, what has drifted, and the parked paths as lines of tables.

    Takes no lock: it works during a run.
    """
    refuse_moved(profile)
    runs = read_runs(state_directory(), profile.identity, limit)
    if not runs:
        yield "no runs yet"
        return
    newest = runs[0].id
    is_locked = _is_locked(profile)

    def is_running(run: Run) -> bool:
        return run.id == newest and is_locked

    yield from runs_table(runs, is_running)
    yield from drifts_table(read_drifts(state_directory(), profile.identity))
    yield from parked_table([it for it in read_troubles(state_directory(), profile.identity) if is_parked(it)])


def _is_locked(profile: Profile) -> bool:
    """Return whether the process named in the lock file is alive.

    The lock itself is not tried: that could prevent a run from starting.
    """
    journal = journal_path(state_directory(), profile.identity)
    try:
        os.kill(int(journal.with_name(f"{journal.name}.lock").read_text()), 0)
    except (OSError, ValueError):
        return False
    return True
