"""How events are told: as lines for people, and as flat records for programs. Pure: no I/O, no clock.

Every name and text from outside passes through `actorsync.model.text.display` on its way into a line. Records keep
them as they are, and JSON escapes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import attrs

from actorsync.errors import FatalError, GuardRefused, LoginRefused, TargetUnreachable
from actorsync.model.entry import Entry, Kind, ScanComplete
from actorsync.model.event import (
    Adopted,
    BreakerOpened,
    Confirmed,
    Connected,
    Event,
    Forgotten,
    Intended,
    LoginDeferred,
    MovesIntended,
    Parked,
    Planned,
    Reconnecting,
    Recovered,
    RemovalIntended,
    RemovalsRefused,
    RemovalsWithheld,
    Resized,
    Resumed,
    Retired,
    Scanned,
    Started,
    Stopped,
    SurveyComplete,
    Swept,
    Warned,
)
from actorsync.model.operation import Copy, Done, Failed, Fault, MakeDirectory, Move, Remove, Returned, Skipped
from actorsync.model.report import Report, Run
from actorsync.model.text import display, duration_text, shorten

__all__ = [
    "change_of",
    "counted",
    "did_nothing",
    "duration_text",
    "is_whole",
    "json_line",
    "only_waits",
    "parked_table",
    "parking_text",
    "plan_summary",
    "records_of",
    "result_of",
    "runs_table",
    "size_text",
    "summary",
    "trouble_in",
    "unsent_text",
    "warning_text",
]

#: Events whose record keeps the name that it had when scripts began to read it; all others are named after their class.
_RECORD_NAMES: Final = {
    BreakerOpened: "suspended",
    LoginDeferred: "turned_away",
    Parked: "troubled",
    RemovalIntended: "doomed",
}

_RESULTS: Final = {
    0: "in sync",
    1: "not in sync",
    3: "stopped early",
    GuardRefused.exit_code: "refused",
    TargetUnreachable.exit_code: "unreachable",
    LoginRefused.exit_code: "not logged in",
    FatalError.exit_code: "failed",
    130: "cancelled",
}


def size_text(size: float) -> str:
    """Give a number of bytes as people say it: ``812 B``, ``3.4 MiB``."""
    if size < 1024:
        return f"{size:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TiB"


def counted(count: int, singular: str, plural: str = "") -> str:
    """Give a number with its noun."""
    return f"{count} {singular if count == 1 else plural or singular + 's'}"


# For people.


def change_of(event: Event) -> tuple[str, str] | None:
    """Give the symbol (rclone's + new, * changed, - removed; > moved) and the path of a change, or None."""
    match event:
        case Done(Copy(source, replaces)):
            return ("*" if replaces else "+"), display(source.path)
        case Done(MakeDirectory(source)):
            return ("+", f"{display(source.path)}/") if source.path else None
        case Done(Move(source, target)):
            return ">", f"{display(target.path)} -> {display(source.path)}"
        case Done(Remove(target)):
            return "-", display(target.path) + ("/" if target.kind is Kind.DIRECTORY else "")
    return None


def trouble_in(event: Event) -> Iterator[tuple[bool, str]]:
    """Give what a user should know at once, as lines; True with one that is about a failure.

    Not those that were not even tried. For want of room there may be thousands, all for one reason, which was told (see
    `unsent_text`); and what is parked was told when it was tried.
    """
    match event:
        case Failed(fault=Fault.PARKED | Fault.UNSENT):
            return
        case Failed(operation, reason):
            yield True, f"failed: {_named(operation.path)}: {display(reason)}"
        case Scanned(problems=problems):
            for problem in problems:
                if not problem.vanished:
                    yield True, f"failed: {_named(problem.path)}: {display(problem.reason)}"
        case RemovalsRefused(reason):
            yield True, reason
        case Retired(connection, reason):
            yield True, f"connection {connection} gave up: {display(reason)}"
        case BreakerOpened("full", reason, delay):
            again = f"another one is tried in {duration_text(delay)}, a smaller one before"
            yield True, f"no more files are sent: the target is full ({display(reason)}); {again}"
        case Resumed("full"):
            yield False, "the target has room again: files are sent"
        case Resized(connections, ceiling, reason, before) if connections < before:
            known = "; as many as the server lets in" if ceiling == connections else ""
            yield False, f"up to {counted(connections, 'connection')}: {display(reason)}{known}"
        case LoginDeferred(connection, reason):
            yield False, f"connection {connection}: {display(reason)}; logins go one at a time from now on"
        case Reconnecting(connection, reason, delay):
            yield False, f"connection {connection}: {display(reason)}; trying again in {duration_text(delay)}"


def unsent_text(count: int, reason: str) -> str:
    """Give the files that were not even tried, and why, as one line."""
    return f"failed: {counted(count, 'more file')}: {display(reason)}"


def parking_text(event: Event) -> str | None:
    """Give what is to be said of a path that is parked now, or that was; None of any other event."""
    match event:
        case Parked(path, failures=failures, failed_at=failed_at, retry_at=float(retry_at)):
            left = duration_text(retry_at - failed_at)
            return f"parked: {_named(path)}: {failures} failures in a row, tried again in {left}"
        case Recovered(path, was_parked=True):
            return f"no longer parked: {_named(path)}"
    return None


def warning_text(text: str) -> str:
    """Give what the user should know of a connection as a line."""
    return f"warning: {display(text)}"


def _named(path: str) -> str:
    return display(path) or "the root"


def result_of(report: Report) -> str:
    """Say in a word or two how a run ended."""
    return _RESULTS.get(report.exit_code, f"exit code {report.exit_code}")


def did_nothing(report: Report) -> bool:
    """Tell whether a run found everything in place, or had no chance to do anything."""
    done = report.copied + report.moved + report.directories_made + report.removed + report.adopted
    return not (done or report.failed or report.skipped or report.left)


def only_waits(report: Report) -> bool:
    """Tell whether all that a run had to do is parked, or waits for what is."""
    done = report.copied + report.moved + report.directories_made + report.removed + report.adopted + report.skipped
    return report.exit_code == 1 and not done and report.failed == report.parked and report.left == report.withheld


def is_whole(report: Report) -> bool:
    """Tell whether a run came to its end, and was not ended."""
    return report.error is None and not report.drained and not report.cancelled


def summary(report: Report) -> str:
    """Give the last line of a run: ``in sync: 12 copied (3.4 MiB), 1 removed, 0 failed in 2.1 s``."""
    took = f"in {duration_text(report.seconds)}"
    if report.exit_code == 0 and did_nothing(report):
        return f"in sync: nothing to do ({counted(report.files_seen, 'file')}) {took}"
    parts = [f"{report.copied} copied ({size_text(report.copied_bytes)})"]
    if report.moved:
        parts.append(f"{report.moved} moved")
    if report.directories_made:
        parts.append(f"{counted(report.directories_made, 'directory', 'directories')} made")
    if report.adopted:
        parts.append(f"{report.adopted} already there")
    parked = f" ({report.parked} parked)" if report.parked else ""
    parts += [f"{report.removed} removed", f"{report.failed} failed{parked}"]
    if report.skipped:
        parts.append(f"{report.skipped} skipped")
    if report.withheld:
        parts.append(f"{counted(report.withheld, 'removal')} withheld")
    if report.left - report.withheld:
        parts.append(f"{report.left - report.withheld} left")
    return f"{result_of(report)}: {', '.join(parts)} {took}"


def plan_summary(report: Report) -> str:
    """Give the last line of a plan that came to its end."""
    parts = []
    if report.copied:
        parts.append(f"{counted(report.copied, 'file')} to copy ({size_text(report.copied_bytes)})")
    if report.moved:
        parts.append(f"{report.moved} to move")
    if report.directories_made:
        parts.append(f"{counted(report.directories_made, 'directory', 'directories')} to make")
    if report.removed:
        parts.append(f"{report.removed} to remove")
    if report.failed:
        parts.append(f"{report.failed} that cannot be done")
    return ", ".join(parts) if parts else f"nothing to do ({counted(report.files_seen, 'file')})"


def runs_table(runs: Sequence[Run], is_running: Callable[[Run], bool]) -> Iterator[str]:
    """Give the last runs as the lines of a table, newest first."""
    rows = [("STARTED", "TOOK", "COPIED", "SIZE", "REMOVED", "FAILED", "RESULT")]
    for run in runs:
        started, report = _moment(run.started_at), run.report
        if report is None:
            rows.append((started, "", "", "", "", "", "running" if is_running(run) else "killed"))
            continue
        counts = (str(report.copied), size_text(report.copied_bytes), str(report.removed), str(report.failed))
        why = report.error or report.refused
        result = f"{result_of(report)}: {display(why)}" if why else result_of(report)
        rows.append((started, duration_text(report.seconds), *counts, result))
    yield from _aligned(rows)


#: How many of the parked paths a table names, and how long a reason may be in it.
_MOST_PARKED: Final = 20
_LONGEST_REASON: Final = 200


def parked_table(parked: Sequence[Parked]) -> Iterator[str]:
    """Give the paths that are parked as the lines of a table, the first of them if there are many."""
    if not parked:
        return
    yield f"{counted(len(parked), 'path')} parked; a run that you start tries them at once:"
    rows = [("FAILING SINCE", "FAILURES", "NEXT TRY", "PATH AND REASON")]
    for trouble in parked[:_MOST_PARKED]:
        reason = f"{_named(trouble.path)}: {shorten(display(trouble.reason), _LONGEST_REASON)}"
        retry_at = trouble.failed_at if trouble.retry_at is None else trouble.retry_at
        rows.append((_moment(trouble.since), str(trouble.failures), _moment(retry_at), reason))
    yield from _aligned(rows)
    if len(parked) > _MOST_PARKED:
        yield f"... and {len(parked) - _MOST_PARKED} more"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for started, *numbers, result in rows:
        cells = (number.rjust(width) for number, width in zip(numbers, widths[1:-1], strict=True))
        yield "  ".join((started.ljust(widths[0]), *cells, result))


# For programs.


def json_line(record: dict[str, Any]) -> str:
    r"""Give a record as one line of ASCII. A byte that is not UTF-8 is ``\udcXX`` in a path."""
    return json.dumps(record, ensure_ascii=True, separators=(",", ":"))


def records_of(event: Event) -> Iterator[dict[str, Any]]:
    """Give an event as flat records; each problem of a scanned directory is a record of its own."""
    name = _RECORD_NAMES.get(type(event)) or re.sub(r"(?<!^)([A-Z])", r"_\1", type(event).__name__).lower()
    match event:
        case Done(operation, target, temporary=temporary):
            record = _operation(name, operation)
            if isinstance(operation, Copy) and target is not None:
                record |= {"size": target.size, "temporary": temporary}
            if isinstance(operation, Move):
                record |= {"from": operation.target.path, "size": operation.target.size}
            yield record
        case Failed(operation, reason, fault):
            yield _operation(name, operation) | {"reason": reason, "fault": fault.value}
        case Skipped(operation, reason) | Returned(operation, reason):
            yield _operation(name, operation) | {"reason": reason}
        case Scanned(directory, files, directories, hidden, problems):
            yield {"event": name, "path": directory, "files": files, "directories": directories, "hidden": hidden}
            for problem in problems:
                yield {"event": "problem"} | attrs.asdict(problem)
        case Adopted(source) | Confirmed(source):
            yield {"event": name, **_entry(source)}
        case Intended(temporaries) | Swept(temporaries):
            yield {"event": name, "temporaries": list(temporaries)}
        case RemovalIntended(paths):
            yield {"event": name, "paths": list(paths)}
        case MovesIntended(moves):
            yield {"event": name, "from": [it.target.path for it in moves], "paths": [it.path for it in moves]}
        case Stopped(report):
            shown = attrs.asdict(report, filter=lambda field, _: field.name != "failures")
            yield {"event": name, "result": result_of(report), **shown}
        case Parked():
            yield {"event": name, **attrs.asdict(event, filter=lambda field, _: field.name != "source")}
        case ScanComplete() | SurveyComplete():
            yield {"event": name}
        case (
            Started()
            | Planned()
            | Forgotten()
            | RemovalsRefused()
            | RemovalsWithheld()
            | Recovered()
            | Connected()
            | Reconnecting()
            | Resized()
            | LoginDeferred()
            | BreakerOpened()
            | Resumed()
            | Retired()
            | Warned()
        ):
            yield {"event": name, **attrs.asdict(event)}


def _operation(name: str, operation: Any) -> dict[str, Any]:
    verb = re.sub(r"(?<!^)([A-Z])", r"_\1", type(operation).__name__).lower()
    return {"event": name, "operation": verb, "path": operation.path}


def _entry(entry: Entry) -> dict[str, Any]:
    return {"path": entry.path, "kind": entry.kind.value, "size": entry.size}
