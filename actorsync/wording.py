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
from actorsync.journal_schema import Run
from actorsync.model.entry import Entry, Kind, ScanComplete
from actorsync.model.event import (
    Adopted,
    Confirmed,
    Connected,
    Event,
    Forgotten,
    Intended,
    Planned,
    Reconnecting,
    RemovalsRefused,
    Report,
    Resized,
    Resumed,
    Retired,
    Scanned,
    Started,
    Stopped,
    SurveyComplete,
    Suspended,
    Swept,
    TurnedAway,
    Warned,
)
from actorsync.model.operation import Copy, Done, Failed, MakeDirectory, Remove, Returned, Skipped
from actorsync.model.text import display

__all__ = [
    "change_of",
    "counted",
    "did_nothing",
    "duration_text",
    "is_whole",
    "json_line",
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


def duration_text(seconds: float) -> str:
    """Give a duration as people say it: ``2.1 s``, ``1 min 05 s``, ``2 h 10 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def counted(count: int, singular: str, plural: str = "") -> str:
    """Give a number with its noun."""
    return f"{count} {singular if count == 1 else plural or singular + 's'}"


# For people.


def change_of(event: Event) -> tuple[str, str] | None:
    """Give the symbol (rclone's: + new, * changed, - removed) and the path of a change; None when it is none."""
    match event:
        case Done(Copy(source, replaces)):
            return ("*" if replaces else "+"), display(source.path)
        case Done(MakeDirectory(source)):
            return ("+", f"{display(source.path)}/") if source.path else None
        case Done(Remove(target)):
            return "-", display(target.path) + ("/" if target.kind is Kind.DIRECTORY else "")
    return None


def trouble_in(event: Event) -> Iterator[tuple[bool, str]]:
    """Give what a user should know at once, as lines; True with one that is about a failure.

    Not those that were not even tried: there may be thousands, all for one reason, which was told (see `unsent_text`).
    """
    match event:
        case Failed(operation, reason, unsent=False):
            yield True, f"failed: {_named(operation.path)}: {display(reason)}"
        case Scanned(problems=problems):
            for problem in problems:
                if not problem.vanished:
                    yield True, f"failed: {_named(problem.path)}: {display(problem.reason)}"
        case RemovalsRefused(reason):
            yield True, reason
        case Retired(connection, reason):
            yield True, f"connection {connection} gave up: {display(reason)}"
        case Suspended("full", reason, delay):
            again = f"another one is tried in {duration_text(delay)}, a smaller one before"
            yield True, f"no more files are sent: the target is full ({display(reason)}); {again}"
        case Resumed("full"):
            yield False, "the target has room again: files are sent"
        case Resized(connections, ceiling, reason, before) if connections < before:
            known = "; as many as the server lets in" if ceiling == connections else ""
            yield False, f"up to {counted(connections, 'connection')}: {display(reason)}{known}"
        case TurnedAway(connection, reason):
            yield False, f"connection {connection}: {display(reason)}; logins go one at a time from now on"
        case Reconnecting(connection, reason, delay):
            yield False, f"connection {connection}: {display(reason)}; trying again in {duration_text(delay)}"


def unsent_text(count: int, reason: str) -> str:
    """Give the files that were not even tried, and why, as one line."""
    return f"failed: {counted(count, 'more file')}: {display(reason)}"


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
    done = report.copied + report.directories_made + report.removed + report.adopted
    return not (done or report.failed or report.skipped or report.left)


def is_whole(report: Report) -> bool:
    """Tell whether a run came to its end, and was not ended."""
    return report.error is None and not report.drained and not report.cancelled


def summary(report: Report) -> str:
    """Give the last line of a run: ``in sync: 12 copied (3.4 MiB), 1 removed, 0 failed in 2.1 s``."""
    took = f"in {duration_text(report.seconds)}"
    if report.exit_code == 0 and did_nothing(report):
        return f"in sync: nothing to do ({counted(report.files_seen, 'file')}) {took}"
    parts = [f"{report.copied} copied ({size_text(report.copied_bytes)})"]
    if report.directories_made:
        parts.append(f"{counted(report.directories_made, 'directory', 'directories')} made")
    if report.adopted:
        parts.append(f"{report.adopted} already there")
    parts += [f"{report.removed} removed", f"{report.failed} failed"]
    if report.skipped:
        parts.append(f"{report.skipped} skipped")
    if report.left:
        parts.append(f"{report.left} left")
    return f"{result_of(report)}: {', '.join(parts)} {took}"


def plan_summary(report: Report) -> str:
    """Give the last line of a plan that came to its end."""
    parts = []
    if report.copied:
        parts.append(f"{counted(report.copied, 'file')} to copy ({size_text(report.copied_bytes)})")
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
        started, report = datetime.fromtimestamp(run.started_at).astimezone().strftime("%Y-%m-%d %H:%M:%S"), run.report
        if report is None:
            rows.append((started, "", "", "", "", "", "running" if is_running(run) else "killed"))
            continue
        counts = (str(report.copied), size_text(report.copied_bytes), str(report.removed), str(report.failed))
        why = report.error or report.refused
        result = f"{result_of(report)}: {display(why)}" if why else result_of(report)
        rows.append((started, duration_text(report.seconds), *counts, result))
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
    name = re.sub(r"(?<!^)([A-Z])", r"_\1", type(event).__name__).lower()
    match event:
        case Done(operation, target, temporary=temporary):
            record = _operation(name, operation)
            if isinstance(operation, Copy) and target is not None:
                record |= {"size": target.size, "temporary": temporary}
            yield record
        case Failed(operation, reason) | Skipped(operation, reason) | Returned(operation, reason):
            yield _operation(name, operation) | {"reason": reason}
        case Scanned(directory, files, directories, hidden, problems):
            yield {"event": name, "path": directory, "files": files, "directories": directories, "hidden": hidden}
            for problem in problems:
                yield {"event": "problem"} | attrs.asdict(problem)
        case Adopted(source) | Confirmed(source):
            yield {"event": name, **_entry(source)}
        case Intended(temporaries) | Swept(temporaries):
            yield {"event": name, "temporaries": list(temporaries)}
        case Stopped(report):
            shown = attrs.asdict(report, filter=lambda field, _: field.name != "failures")
            yield {"event": name, "result": result_of(report), **shown}
        case ScanComplete() | SurveyComplete():
            yield {"event": name}
        case (
            Started()
            | Planned()
            | Forgotten()
            | RemovalsRefused()
            | Connected()
            | Reconnecting()
            | Resized()
            | TurnedAway()
            | Suspended()
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
