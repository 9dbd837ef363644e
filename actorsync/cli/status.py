"""The last runs and the parked paths, read from the journal: what the command ``status`` does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from actorsync.cli.output.going_on import going_on
from actorsync.cli.output.tables import table_lines
from actorsync.cli.resolve import WAY_OUT, conflicts_table
from actorsync.journal import (
    journal_path,
    read_conflicts,
    read_drifts,
    read_held_count,
    read_runs,
    read_troubles,
    state_directory,
)
from actorsync.model.entry import Entry
from actorsync.model.event import Parked
from actorsync.model.messages import drift_text, entries_text, held_text, moment, named, result_of
from actorsync.model.report import Run
from actorsync.model.text import counted, display, duration_text, shorten, size_text
from actorsync.planning.drift import Drift
from actorsync.planning.parking import is_parked
from actorsync.profile import Profile
from actorsync.runs.profile_journal import refuse_moved

__all__ = ["parked_table", "runs_table", "status"]

#: How many of the parked paths a table names, and how many characters of a reason it shows.
_MOST_PARKED: Final = 20
_LONGEST_REASON: Final = 200


def status(profile: Profile, limit: int = 10) -> Iterator[str]:
    """Yield the last ``limit`` runs, what has drifted, and the parked paths as lines of tables.

    Takes no lock: it works during a run. What a run that goes on does comes first.
    """
    refuse_moved(profile)
    is_locked = _is_locked(profile)
    if is_locked:
        yield from going_on(profile)
    runs = read_runs(state_directory(), profile.identity, limit)
    if not runs:
        yield "no runs yet"
        return
    newest = runs[0].id

    def is_running(run: Run) -> bool:
        return run.id == newest and is_locked

    yield from runs_table(runs, is_running)
    yield from drifts_table(read_drifts(state_directory(), profile.identity))
    if held := read_held_count(state_directory(), profile.identity):
        yield held_text(held)
    conflicts = read_conflicts(state_directory(), profile.identity)
    yield from conflicts_table(conflicts)
    if conflicts:
        yield WAY_OUT
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


def runs_table(runs: Sequence[Run], is_running: Callable[[Run], bool]) -> Iterator[str]:
    """Yield the lines of a table of ``runs``, in the order given."""
    rows = [_run_row(run, is_running) for run in runs]
    head = ("STARTED", "TOOK", "COPIED", "SIZE", "REMOVED", "FAILED", "RESULT")
    yield from table_lines(rows, head=head, numbers=range(1, 6))


def _run_row(run: Run, is_running: Callable[[Run], bool]) -> Sequence[str]:
    started, report = moment(run.started_at), run.report
    if report is None:
        return started, "", "", "", "", "", "running" if is_running(run) else "killed"
    counts = (str(report.copied), size_text(report.copied_bytes), str(report.removed), str(report.failed))
    why = report.error or report.refused
    result = f"{result_of(report)}: {display(why)}" if why else result_of(report)
    return started, duration_text(report.seconds), *counts, result


def parked_table(parked: Sequence[Parked]) -> Iterator[str]:
    """Yield the lines of a table of the parked paths, at most twenty of them; nothing when there are none."""
    if not parked:
        return
    yield f"{counted(len(parked), 'path')} parked; the next run that you start retries them at once:"
    rows = [_parked_row(path) for path in parked[:_MOST_PARKED]]
    head = ("FAILING SINCE", "FAILURES", "NEXT TRY", "PATH AND REASON")
    yield from table_lines(rows, head=head, numbers={1})
    if len(parked) > _MOST_PARKED:
        yield f"... and {len(parked) - _MOST_PARKED} more"


def _parked_row(parked: Parked) -> Sequence[str]:
    reason = f"{named(parked.path)}: {shorten(display(parked.reason), _LONGEST_REASON)}"
    retry_at = parked.failed_at if parked.retry_at is None else parked.retry_at
    return moment(parked.since), str(parked.failures), moment(retry_at), reason


def drifts_table(drifts: Sequence[tuple[Drift, Entry | None]]) -> Iterator[str]:
    """Yield the lines of a table of what has drifted, at most twenty, each given with what was there before."""
    if not drifts:
        return
    yield f"{entries_text(len(drifts))} changed on the target by other programs:"
    rows = [
        (moment(it.since), f"{named(it.path)} {'differs' if was is None else drift_text(was, it.now)}")
        for it, was in drifts[:_MOST_PARKED]
    ]
    yield from table_lines(rows, head=("FOUND", "ENTRY"), numbers=())
    if len(drifts) > _MOST_PARKED:
        yield f"... and {len(drifts) - _MOST_PARKED} more"
