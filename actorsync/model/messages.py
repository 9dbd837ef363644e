"""Events and reports as lines for people: for the command line and for logs. Pure: no I/O, no clock.

Every name and text from outside passes through `actorsync.model.text.display` on its way into a line.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import attrs

from actorsync.errors import DRIFTED, FatalError, GuardRefused, LoginRefused, TargetUnreachable
from actorsync.model.entry import Entry
from actorsync.model.event import (
    BreakerOpened,
    Conflicted,
    Drifted,
    Event,
    LoginDeferred,
    MemoryVoided,
    NotPublished,
    Parked,
    Reconnecting,
    Recovered,
    ReleaseEnded,
    RemovalsRefused,
    Resized,
    Resumed,
    Retired,
    Scanned,
    WatchLost,
    WatchStarted,
)
from actorsync.model.left_out import LeftOut
from actorsync.model.operation import Failed, Fault
from actorsync.model.report import Report
from actorsync.model.text import counted, display, duration_text, size_text

__all__ = [
    "RESULTS",
    "did_nothing",
    "drift_text",
    "drifted_text",
    "entries_text",
    "held_text",
    "is_whole",
    "moment",
    "named",
    "only_waits",
    "parking_text",
    "plan_summary",
    "result_of",
    "summary",
    "trouble_in",
    "unplanned_text",
    "unsent_text",
    "warning_text",
    "watch_text",
]

#: The result of a run by its exit code; part of the JSON record.
RESULTS: Final = {
    0: "in sync",
    1: "not in sync",
    3: "stopped early",
    GuardRefused.exit_code: "refused",
    TargetUnreachable.exit_code: "unreachable",
    LoginRefused.exit_code: "not logged in",
    FatalError.exit_code: "failed",
    DRIFTED: "drifted",
    130: "cancelled",
}


#: What the last line of a run says about drift.
_WAY_OUT: Final = 'actorsync status lists them, audit.repair = "fix" restores them'


def trouble_in(event: Event) -> Iterator[tuple[bool, str]]:
    """Yield a line for each problem in ``event``, with True if it is about a failure.

    Operations that were not tried have no line: a full target may have thousands of them, all for the same reason
    (see `unsent_text`), and a parked path had its line when it was last tried.
    """
    match event:
        case Failed(fault=Fault.PARKED | Fault.UNSENT):
            return
        case Failed(operation, reason):
            yield True, f"failed: {named(operation.path)}: {display(reason)}"
        case Scanned(problems=problems):
            for problem in problems:
                if not problem.vanished:
                    yield True, f"failed: {named(problem.path)}: {display(problem.reason)}"
        case RemovalsRefused(reason):
            yield True, reason
        case ReleaseEnded(str(reason)):
            yield True, f"rolled back: {reason}; everything that was published is as it was before"
        case NotPublished(reason):
            yield True, reason
        case Drifted(path, then, now, is_new=is_new, is_mended=is_mended) if is_new or is_mended:
            follows = "; it is restored" if is_mended else ""
            yield not is_mended, f"changed on the target: {named(path)} {drift_text(then, now)}{follows}"
        case Conflicted(conflict):
            yield True, f"conflict: {named(conflict.path)}: {display(conflict.reason)}"
        case MemoryVoided(reason):
            yield False, f"the root of the target {reason}: listing the whole target, nothing is taken for granted"
        case Retired(connection, reason):
            yield True, f"connection {connection} failed for good: {display(reason)}"
        case BreakerOpened("full", reason, delay):
            again = f"retrying in {duration_text(delay)}, smaller files sooner"
            yield True, f"uploads paused: the target is full ({display(reason)}); {again}"
        case Resumed("full"):
            yield False, "uploads resumed: the target has space again"
        case Resized(connections, ceiling, reason, before) if connections < before:
            limit = " (the server's limit)" if ceiling == connections else ""
            yield False, f"reduced to {counted(connections, 'connection')}{limit}: {display(reason)}"
        case LoginDeferred(connection, reason):
            yield False, f"connection {connection}: {display(reason)}; logging in one connection at a time from now on"
        case Reconnecting(connection, reason, delay):
            yield False, f"connection {connection}: {display(reason)}; reconnecting in {duration_text(delay)}"


def drift_text(then: Entry, now: Entry | None) -> str:
    """Return in a few words what has become of an entry."""
    if now is None:
        return "is missing"
    if now.kind is not then.kind:
        return f"is a {now.kind.value} now"
    if now.size != then.size:
        return f"has {now.size:,} bytes instead of {then.size:,}"
    return "was written by another program"


def entries_text(count: int) -> str:
    """Return a number of entries in words."""
    return counted(count, "entry", "entries")


def held_text(count: int) -> str:
    """Return one line about ``count`` paths that were undone."""
    stay = "stays undone until its source changes" if count == 1 else "stay undone until their sources change"
    return f"{counted(count, 'path')} {stay}; to take the undo back: actorsync undo"


def unsent_text(count: int, reason: str) -> str:
    """Return one line for ``count`` files that were not tried because of ``reason``."""
    return f"failed: {counted(count, 'more file')}: {display(reason)}"


def unplanned_text(count: int) -> str:
    """Return the warning of a plan about ``count`` entries that have drifted: it does not ask the target for them."""
    has, them = ("has", "it") if count == 1 else ("have", "them")
    return (
        f"{entries_text(count)} {has} been changed on the target by other programs, and the plan does not show {them}; "
        f"run: actorsync status"
    )


def parking_text(event: Event, *, is_repeated: bool = True) -> str | None:
    """Return the line for a path that is now parked or no longer parked; None for other events.

    A run that is not repeated retries nothing, and the next one that is started retries everything.
    """
    match event:
        case Parked(path, failures=failures, failed_at=failed_at, retry_at=float(retry_at)):
            again = f"retrying in {duration_text(retry_at - failed_at)}" if is_repeated else "the next run retries it"
            return f"parked: {named(path)}: failed {failures} times in a row; {again}"
        case Recovered(path, was_parked=True):
            return f"no longer parked: {named(path)}"
    return None


def warning_text(text: str) -> str:
    """Return the line for a warning."""
    return f"warning: {display(text)}"


def named(path: str) -> str:
    """Return a path for display."""
    return display(path) or "the root"


def result_of(report: Report) -> str:
    """Return in a word or two how a run ended; part of the JSON record."""
    return RESULTS.get(report.exit_code, f"exit code {report.exit_code}")


def did_nothing(report: Report) -> bool:
    """Return whether a run changed nothing and has nothing left to do, or ended before it could do anything."""
    done = report.copied + report.moved + report.directories_made + report.removed + report.adopted + report.modes_set
    return not (done or report.failed or report.skipped or report.left or report.conflicts)


def only_waits(report: Report) -> bool:
    """Return whether everything that a run had to do is parked, or postponed because of parked paths."""
    failed = report.failed == report.parked and report.left == report.withheld
    return report.exit_code == 1 and failed and did_nothing(attrs.evolve(report, failed=0, left=0))


def is_whole(report: Report) -> bool:
    """Return whether a run reached its end: without an error, and not stopped."""
    return report.error is None and not report.drained and not report.cancelled


def _changes_text(report: Report) -> str:
    """Return the line of a pass over a part of the source: ``3 copied (1.2 KiB), 1 removed in 0.4 s``."""
    counts = (
        (report.copied, f"{report.copied} copied ({size_text(report.copied_bytes)}{_back_text(report)})"),
        (report.moved, f"{report.moved} moved"),
        (report.modes_set, f"{counted(report.modes_set, 'mode')} set"),
        (report.directories_made, f"{counted(report.directories_made, 'directory', 'directories')} made"),
        (report.adopted, f"{report.adopted} already there"),
        (report.removed, f"{report.removed} removed"),
        (report.failed, f"{report.failed} failed"),
        (report.skipped, f"{report.skipped} skipped"),
        (report.withheld, f"{counted(report.withheld, 'removal')} postponed"),
        (report.conflicts, counted(report.conflicts, "conflict")),
    )
    done = ", ".join(text for count, text in counts if count)
    refused = "" if report.not_published is None else f"; {display(report.not_published)}"
    return f"{done or result_of(report)} in {duration_text(report.seconds)}{refused}"


def watch_text(event: WatchStarted | WatchLost) -> str:
    """Return one line on how the source is watched, or on changes that may have been missed."""
    if isinstance(event, WatchLost):
        return f"changes may have been missed ({display(event.reason)}): comparing everything"
    where = counted(event.directories, "directory", "directories") if event.directories else "the source"
    return f"watching {where} ({event.how}{f': {display(event.why)}' if event.why else ''})"


def summary(report: Report) -> str:
    """Return the last line of a run: ``in sync: 12 copied (3.4 MiB), 1 removed, 0 failed in 2.1 s``."""
    if report.is_partial:
        return _changes_text(report)
    took = f"in {duration_text(report.seconds)}"
    if report.is_audit:
        return _audit_summary(report, took)
    if report.exit_code == 0 and did_nothing(report):
        held = f"; {counted(report.held, 'path')} undone" if report.held else ""
        end = f"{held}{_left_out_text(report.left_out)}{_as_of(report)}"
        return f"in sync: nothing to do ({counted(report.files_seen, 'file')}) {took}{_delayed_text(report)}{end}"
    if report.exit_code == DRIFTED and did_nothing(report):
        return f"drifted: {_drifted(report)} {took}{_left_out_text(report.left_out)}; {_WAY_OUT}"
    resumed = f", {size_text(report.resumed_bytes)} of it there already" if report.resumed_bytes else ""
    parts = [f"{report.copied} copied ({size_text(report.copied_bytes)}{resumed}{_back_text(report)})"]
    if report.moved:
        parts.append(f"{report.moved} moved")
    if report.modes_set:
        parts.append(f"{counted(report.modes_set, 'mode')} set")
    if report.directories_made:
        parts.append(f"{counted(report.directories_made, 'directory', 'directories')} made")
    if report.adopted:
        parts.append(f"{report.adopted} already there")
    parked = f" ({report.parked} parked)" if report.parked else ""
    parts += [f"{report.removed} removed", f"{report.failed} failed{parked}"]
    if report.skipped:
        parts.append(f"{report.skipped} skipped")
    if report.withheld:
        parts.append(f"{counted(report.withheld, 'removal')} postponed")
    if left := _left_text(report):
        parts.append(left)
    if report.held:
        parts.append(f"{report.held} undone")
    if report.drifted:
        parts.append(_drifted(report))
    way_out = f"; {_WAY_OUT}" if report.drifted else ""
    if report.conflicts:
        parts.append(counted(report.conflicts, "conflict"))
        way_out += "; see them with actorsync status, and choose with actorsync resolve"
    if report.not_published is not None:
        way_out += f"; {display(report.not_published)}"
    end = f"{_delayed_text(report)}{_left_out_text(report.left_out)}{_as_of(report)}{way_out}"
    return f"{result_of(report)}: {', '.join(parts)} {took}{end}"


def _back_text(report: Report) -> str:
    """Return what is said of the copies of a two-way run that went to the source, or ""."""
    return f", {report.to_source} of them to the source" if report.to_source else ""


def _left_out_text(left_out: LeftOut) -> str:
    """Return the end of the last line of a run: what is not mirrored and why, or ""."""
    outside = "link that leads outside the source or nowhere", "links that lead outside the source or nowhere"
    reasons = [
        (left_out.links, counted(left_out.links, "symbolic link")),
        (left_out.outside, counted(left_out.outside, *outside)),
        (left_out.special, counted(left_out.special, "special file")),
        (left_out.excluded, f"{left_out.excluded} excluded"),
        (left_out.private, f"{left_out.private} kept back"),
    ]
    named = [text for count, text in reasons if count]
    text = f"; left out: {', '.join(named)}" if named else ""
    if left_out.foreign:
        kept = counted(left_out.foreign, "entry", "entries")
        text += f"; kept on the target: {kept} that actorsync did not create"
    return text


#: Seconds. What waits less than this for a second look is gone before anybody has read that it waits.
_SOON: Final = 10.0


def _delayed_text(report: Report) -> str:
    """Return what is said of entries that are gone from the source and stay for a while, or ""."""
    if not report.delayed or report.delayed_until is None or report.delayed_until < report.started_at + _SOON:
        return ""
    stay = "stays" if report.delayed == 1 else "stay"
    until = moment(report.delayed_until)
    return f"; {entries_text(report.delayed)} gone from the source {stay} until {until} at the latest"


def _left_text(report: Report) -> str:
    left = report.left - report.withheld
    if not report.left_is_minimum:
        return f"{left} left" if left else ""
    return f"{f'at least {left}' if left else 'more may be'} left (the scan did not finish)"


def _audit_summary(report: Report, took: str) -> str:
    seen = f"{counted(report.audited, 'directory', 'directories')} compared"
    if is_whole(report) and report.failed:
        drifted = f", {_drifted(report)}" if report.drifted else ""
        return f"incomplete: {seen}, {report.failed} failed{drifted} {took}"
    if not is_whole(report) or report.exit_code not in {0, DRIFTED}:
        return f"{result_of(report)}: {seen} {took}"
    if report.drifted and not report.audited:  # nothing was compared, because the root itself is not as it was
        return (
            f"drifted: the target has lost what was put there {took}; the next run lists all of it and sends the rest"
        )
    if report.drifted:
        return f"drifted: {seen}, {drifted_text(report)}"
    return f"no difference: {seen} {took}"


def drifted_text(report: Report) -> str:
    """Return what a run says that has found changes of others and has only reported them, with the way out."""
    return f"{_drifted(report)} in {duration_text(report.seconds)}; {_WAY_OUT}"


def _drifted(report: Report) -> str:
    return f"{entries_text(report.drifted)} changed on the target by other programs"


def _as_of(report: Report, seconds: float = 0.0) -> str:
    """Return what the last line adds if the run did not look at the target, and the last look is so long ago."""
    if report.looked_at is None or report.looked_at >= report.started_at - seconds:
        return ""
    return f"; the target was last looked at {duration_text(report.started_at - report.looked_at)} ago"


def plan_summary(report: Report, refused: int = 0) -> str:
    """Return the last line of a plan that reached its end. ``refused`` counts the removals that a guard refused."""
    parts = []
    if report.copied:
        size = f"{size_text(report.copied_bytes)}{_back_text(report)}"
        parts.append(f"{counted(report.copied, 'file')} to copy ({size})")
    if report.moved:
        parts.append(f"{report.moved} to move")
    if report.modes_set:
        parts.append(f"{counted(report.modes_set, 'mode')} to set")
    if report.directories_made:
        parts.append(f"{counted(report.directories_made, 'directory', 'directories')} to make")
    if report.removed:
        parts.append(f"{report.removed} to remove")
    if report.conflicts:
        parts.append(f"{counted(report.conflicts, 'conflict')} to decide")
    if refused:
        parts.append(f"{counted(refused, 'removal')} refused")
    if report.failed:
        parts.append(f"{report.failed} that cannot be done")
    text = ", ".join(parts) if parts else f"nothing to do ({counted(report.files_seen, 'file')})"
    return f"{text}{_delayed_text(report)}{_left_out_text(report.left_out)}{_as_of(report, 60)}"


def moment(seconds: float) -> str:
    """Return a time in seconds since the epoch as local date and time, to the second."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
