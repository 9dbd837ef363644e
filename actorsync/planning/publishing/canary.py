"""Whether the other targets may publish, by how the run of the canary ended. Pure."""

from __future__ import annotations

from typing import Final

from actorsync.errors import DRIFTED
from actorsync.model.report import Report
from actorsync.model.text import counted, display

__all__ = ["PASSED", "why_closed"]

#: Exit codes after which the canary shows all that it should: also if there was nothing to do, and if other programs
#: have changed something there, which says nothing about the new version. The check has passed as well.
PASSED: Final = frozenset({0, DRIFTED})

#: What else ends a run, by its exit code, where the report itself gives no reason.
_ENDS: Final = {
    3: "was stopped",
    4: "was refused by a guard",
    5: "could not be reached",
    6: "rejected the login",
    130: "was cancelled",
}


def why_closed(name: str, report: Report) -> str | None:
    """Return why the other targets stay as they are after the run of the canary ``name``; None if they may publish."""
    if report.exit_code in PASSED:
        return None
    return f"the canary {name} {_end(report)}"


def _end(report: Report) -> str:
    if report.drained or report.cancelled:
        return _ENDS[3]
    if reason := report.error or report.refused or report.not_published:
        return f"did not pass: {display(reason)}"
    if report.failed:
        return f"did not pass: {counted(report.failed, 'path')} failed"
    return _ENDS.get(report.exit_code, f"ended with exit code {report.exit_code}")
