"""The rows of the runs in a journal: when each began, and its report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from actorsync.journal.values.texts import dump, parsed_report
from actorsync.model.report import Report, Run

if TYPE_CHECKING:
    import sqlite3

__all__ = ["RUNS_KEPT", "end_run", "insert_run", "read_runs"]

#: How many runs of each kind are kept: those over the whole source, and those over a part of it.
RUNS_KEPT: Final = 100

#: A run that begins has a number that no run in the trash has, not even one that was killed before it was recorded. One
#: that is recorded at its end has the number that its changes have in the trash, if it has put any there.
_INSERT: Final = """INSERT INTO runs (id, started_at, report) VALUES (max(
    1 + (SELECT coalesce(max(id), 0) FROM runs), (SELECT coalesce(max(run), 0) FROM trash_runs) + ?
), ?, ?)"""

#: Deletes those of one kind that are not among the newest. A path in a report has its quotes escaped.
_DELETE_OLD: Final = """DELETE FROM runs WHERE id IN (
    SELECT id FROM runs WHERE coalesce(report LIKE '%"is_partial": true%', 0) = ? ORDER BY id DESC LIMIT -1 OFFSET ?
)"""


def insert_run(connection: sqlite3.Connection, started_at: float, report: Report | None = None) -> int:
    """Add a run, and return its number. A run without a ``report`` goes on."""
    text = None if report is None else dump(report)
    run = connection.execute(_INSERT, (report is None, started_at, text)).lastrowid
    assert run is not None
    connection.execute(_DELETE_OLD, (report is not None and report.is_partial, RUNS_KEPT))
    return run


def end_run(connection: sqlite3.Connection, run: int, report: Report) -> None:
    """Record what a run did."""
    connection.execute("UPDATE runs SET report = ? WHERE id = ?", (dump(report), run))


def read_runs(connection: sqlite3.Connection, limit: int) -> list[Run]:
    """Return the last runs, newest first."""
    rows = connection.execute(
        "SELECT id, started_at, CAST(report AS BLOB) FROM runs ORDER BY id DESC LIMIT ?", (limit,)
    )
    return [Run(run, started_at, None if report is None else parsed_report(report)) for run, started_at, report in rows]
