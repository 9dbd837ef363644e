"""The last runs and the parked paths, read from the journal: what the command ``status`` does."""

from __future__ import annotations

import os
from collections.abc import Iterator

from actorsync.cli.output.messages import parked_table, runs_table
from actorsync.journal import Run, journal_path, read_runs, read_troubles, state_directory
from actorsync.planning.parking import is_parked
from actorsync.profile import Profile

__all__ = ["status"]


def status(profile: Profile, limit: int = 10) -> Iterator[str]:
    """Give the last runs, and what is parked, as the lines of tables. Works while a run is going on, locks nothing."""
    runs = read_runs(state_directory(), profile.identity, limit)
    if not runs:
        yield "no runs yet"
        return
    newest = runs[0].id
    holder = _holder(profile)

    def is_running(run: Run) -> bool:
        return run.id == newest and holder

    yield from runs_table(runs, is_running)
    yield from parked_table([it for it in read_troubles(state_directory(), profile.identity) if is_parked(it)])


def _holder(profile: Profile) -> bool:
    """Tell whether the process that the lock names is alive. To try the lock could keep a run from starting."""
    journal = journal_path(state_directory(), profile.identity)
    try:
        os.kill(int(journal.with_name(f"{journal.name}.lock").read_text()), 0)
    except (OSError, ValueError):
        return False
    return True
