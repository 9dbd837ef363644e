"""Traces: whether what a run announced can be true, by itself and beside the report that it gave.

An invariant that needs no trees and no journal, so any run may be asked for it: an observer collects the events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actorsync.model.entry import parent_of
from actorsync.model.event import Event, Planned, Report, Scanned, Started, Stopped
from actorsync.model.operation import Copy, Done, Failed, MakeDirectory, Move, Outcome, Remove, Returned, Skipped, Sweep

__all__ = ["check_trace"]

#: What the planner says of operations that it never planned.
NEVER_PLANNED = ("blocked by an existing entry that actorsync did not create",)


def check_trace(events: Sequence[Event], report: Report | None, *, drained: bool) -> str | None:
    """Say what is wrong with the story that a run told, or None. ``report``: what it returned, if it came to that.

    It begins with `Started` and ends with the one `Stopped`; each operation has one outcome, directories come before
    what is in them and go after it, and the sums of the report are those of what was announced. A run that was not
    ``drained``, and went through to its end, has settled exactly what it had planned.
    """
    if not isinstance(events[0], Started) or sum(isinstance(event, Stopped) for event in events) != 1:
        return "not one Started and one Stopped"
    last = events[-1]
    if not isinstance(last, Stopped) or (report is not None and last.report != report):
        return f"the last event is {last}"
    report = last.report
    ended: dict[tuple[type, str], Outcome] = {}
    returned: dict[tuple[type, str], Returned] = {}
    for event in events:
        if not isinstance(event, Outcome) or isinstance(event.operation, Sweep):
            continue
        key = type(event.operation), event.operation.path
        if key in ended:
            return f"{key} has two outcomes: {ended[key]}, {event}"
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
        return f"{failed} failures were announced, {report.failed} reported"
    done = [type(event.operation) for event in ended.values() if isinstance(event, Done) and event.operation.path]
    if (done.count(Copy), done.count(MakeDirectory), done.count(Move), done.count(Remove)) != (
        report.copied,
        report.directories_made,
        report.moved,
        report.removed,
    ):
        return "what was done is not what was reported"
    if report.exit_code == 1 and not failed:
        return "exit 1, and nothing has failed"
    if report.exit_code == 0 and (failed or report.left or report.refused or returned):
        return f"exit 0, and {failed} failed, {report.left} left, {returned} not done"
    if report.exit_code in {0, 1, 4} and not drained:
        return _unsettled(events, ended, returned)
    return None


def _misplaced(outcome: Outcome, ended: Mapping[tuple[type, str], Outcome]) -> str | None:
    """Say what of the order of directories and contents an outcome breaks."""
    path = outcome.operation.path
    if isinstance(outcome, Done):
        match outcome.operation:
            case MakeDirectory():
                below: tuple[type, ...] = (Copy, Move)
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
        return "nothing was planned"
    settled = [
        operation
        for (operation, path), outcome in ended.items()
        if path and not (isinstance(outcome, Failed) and operation is not Remove and _was_never_planned(outcome))
    ]
    removals = settled.count(Remove) + sum(operation is Remove for operation, _ in returned)
    # What could not be moved is sent, and removed.
    unmoved = sum(operation is Move and isinstance(outcome, Skipped) for (operation, _), outcome in ended.items())
    if (settled.count(Copy) - unmoved, settled.count(MakeDirectory), settled.count(Move), removals - unmoved) != (
        planned.files,
        planned.directories,
        planned.moves,
        planned.removals,
    ):
        return f"{planned}, and what was settled is {settled}"
    return None


def _was_never_planned(failed: Failed) -> bool:
    return failed.reason in NEVER_PLANNED or failed.reason.startswith("parked after ")
