"""Check that the events of a run are consistent with each other and with its report.

This needs no trees and no journal, so it works for any run: an observer collects the events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actorsync.model.entry import parent_of
from actorsync.model.event import Event, Planned, Scanned, Started, Stopped
from actorsync.model.operation import (
    Audit,
    Copy,
    Done,
    Failed,
    Look,
    MakeDirectory,
    Move,
    Outcome,
    Prepare,
    Publish,
    PutBack,
    Recall,
    Remove,
    Returned,
    Skipped,
    Survey,
    Sweep,
)
from actorsync.model.report import Report

__all__ = ["check_trace"]

#: Reasons of failures for operations that the planner never planned.
NEVER_PLANNED = (
    "blocked by an existing entry that actorsync did not create",
    "blocked by a directory that holds excluded entries; exclude it as well",
)


def check_trace(events: Sequence[Event], report: Report | None, *, drained: bool) -> str | None:
    """Return what is wrong with the events of a run, or None. ``report`` is the run's result, if it returned one.

    The first event is `Started`, and the last is the only `Stopped`. Each operation has one outcome. A directory is
    made before its entries and removed after them. The parts of a release may be tried, and taken back, more than
    once. Only a directory in which a removal has failed may be listed again, by an exact mirror. The sums of the
    report match the events. A run that was not ``drained`` and ended by itself has an outcome for exactly the
    planned operations.
    """
    if not isinstance(events[0], Started) or sum(isinstance(event, Stopped) for event in events) != 1:
        return "not one Started and one Stopped"
    last = events[-1]
    if not isinstance(last, Stopped) or (report is not None and last.report != report):
        return f"the last event is {last}"
    report = last.report
    ended: dict[tuple[type, str], Outcome] = {}
    returned: dict[tuple[type, str], Returned] = {}
    published: set[str] = set()
    for event in events:
        if not isinstance(event, Outcome) or isinstance(event.operation, Audit | Look | Recall | Sweep):
            continue
        if isinstance(event.operation, Publish | PutBack):
            _note_part(event, published)
            continue
        key = type(event.operation), event.operation.path
        is_listed_again = isinstance(event.operation, Survey) and any(
            isinstance(earlier, Failed) and f"{event.operation.path}/".startswith(parent_of(path))
            for (kind, path), earlier in ended.items()
            if kind is Remove
        )
        if key in ended and not is_listed_again:
            return f"{key} has two outcomes: {ended[key]} and {event}"
        if isinstance(event, Returned):
            returned[key] = event
            continue
        returned.pop(key, None)
        problem = _misplaced(event, ended)
        if problem:
            return problem
        ended[key] = event
    failed = sum(isinstance(event, Failed) for event in events)
    failed += sum(not problem.vanished for event in events if isinstance(event, Scanned) for problem in event.problems)
    if failed != report.failed:
        return f"there are {failed} failures in the events, and {report.failed} in the report"
    done = [type(event.operation) for event in ended.values() if isinstance(event, Done) and event.operation.path]
    if (done.count(Copy) + len(published), done.count(MakeDirectory), done.count(Move), done.count(Remove)) != (
        report.copied,
        report.directories_made,
        report.moved,
        report.removed,
    ):
        return "the numbers of operations in the events and in the report differ"
    if report.exit_code == 1 and not failed and report.not_published is None and report.error is None:
        return "the exit code is 1 without a failure"
    if report.exit_code == 0 and (failed or report.left or report.refused or returned):
        return f"the exit code is 0 with {failed} failed, {report.left} left, {returned} not done"
    if report.exit_code in {0, 1, 4} and not drained and report.error is None:
        return _unsettled(events, ended, returned)
    return None


def _note_part(outcome: Outcome, published: set[str]) -> None:
    """Keep in ``published`` what a release has renamed in this run."""
    if isinstance(outcome, Done) and isinstance(outcome.operation, Publish):
        published.add(outcome.operation.kept.temporary)
    elif isinstance(outcome, Done) and isinstance(outcome.operation, PutBack):
        published.discard(outcome.operation.published.kept.temporary)


def _misplaced(outcome: Outcome, ended: Mapping[tuple[type, str], Outcome]) -> str | None:
    """Return how an outcome breaks the order of directories and their entries, or None."""
    path = outcome.operation.path
    if isinstance(outcome, Done):
        match outcome.operation:
            case MakeDirectory():
                below: tuple[type, ...] = (Copy, Move, Prepare)
            case Remove():
                below = (MakeDirectory,)
            case _:
                return None
        for (kind, other), earlier in ended.items():
            if isinstance(earlier, Done) and kind in below and other.startswith(path + "/") and path:
                return f"{outcome.operation} came after {earlier}"
        parent = ended.get((Remove, parent_of(path)))
        if isinstance(outcome.operation, Remove) and isinstance(parent, Done):
            return f"{path!r} was removed after its directory"
    return None


def _unsettled(
    events: Sequence[Event],
    ended: Mapping[tuple[type, str], Outcome],
    returned: Mapping[tuple[type, str], Returned],
) -> str | None:
    planned = next((event for event in events if isinstance(event, Planned)), None)
    if planned is None:
        return "there is no Planned event"
    settled = [
        operation
        for (operation, path), outcome in ended.items()
        if path and not (isinstance(outcome, Failed) and operation is not Remove and _was_never_planned(outcome))
    ]
    removals = settled.count(Remove) + sum(operation is Remove for operation, _ in returned)
    # An entry that could not be renamed is copied, and its old name removed.
    unmoved = sum(operation is Move and isinstance(outcome, Skipped) for (operation, _), outcome in ended.items())
    files = settled.count(Copy) + settled.count(Prepare)
    if (files - unmoved, settled.count(MakeDirectory), settled.count(Move), removals - unmoved) != (
        planned.files,
        planned.directories,
        planned.moves,
        planned.removals,
    ):
        return f"{planned} does not match the outcomes: {settled}"
    return None


def _was_never_planned(failed: Failed) -> bool:
    return failed.reason in NEVER_PLANNED or failed.reason.startswith("parked after ")
