"""The report of a rehearsal: as lines for people, and as one record for programs. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from actorsync.model.text import counted, display, duration_text, size_text
from actorsync.rehearsal.rehearsal import MOST_RUNS
from actorsync.rehearsal.result import Began, Rehearsal, Result, Run, Shown
from actorsync.testing.servers.faults import NAMES, Happened, ServerFault

__all__ = ["FAULT_SYNTAX", "beginning_text", "record", "report_rows", "run_text", "verdict"]

_NAMED: Final = 5  # paths that one line names; there may be thousands
_SHOWN: Final = 3  # failures shown of one run
_KILLED: Final = 137
_WHOLE: Final = "every file complete at every check"
_SHOWN_TEXT: Final[Mapping[Shown, str]] = {
    "old": "the old site is on the target",
    "new": "the new site is on the target",
    "mixed": "some files on the target are old and some new",
}

#: How ``--fault`` is written, for ``--list-faults``.
FAULT_SYNTAX: Final = (
    "A fault is NAME@PLACE[:COUNT][*TIMES]. COUNT and TIMES are 1 unless given:",
    "cut@store:3 happens at the third file, reset@line:20*2 at the 20th and at the 40th command.",
)


def beginning_text(began: Began, rehearsal: Rehearsal) -> str:
    """Return the line that says what is about to be rehearsed, and where."""
    files = f"{counted(began.files, 'file')} ({size_text(began.size)})"
    server = f"an embedded {rehearsal.profile.target.scheme}:// server"
    state = "empty at the start" if rehearsal.from_nothing else "with old versions of the files"
    folder = f"in {display(str(began.folder))} (needs up to {size_text(began.room)})"
    without = ", without the programs of hooks and publish.check" if rehearsal.leaves_programs_out else ""
    return f"rehearsing {files} against {server}, {state}, {folder}{without}"


def run_text(run: Run, *, is_burst: bool = False) -> Iterator[str]:
    """Yield how a run ended, with ``is_burst`` what it left on the target, and its first failures."""
    how = "killed" if run.exit_code == _KILLED else f"exit code {run.exit_code}"
    last = next((line for line in reversed(run.lines) if "sync:" in line or line.startswith("actorsync:")), "")
    summary = f"; {display(last)}" if last and run.exit_code != _KILLED else ""
    yield f"run {run.number}: {how} after {duration_text(run.seconds)}{summary}"
    if run.exit_code not in {0, _KILLED}:
        yield from (f"    {display(line)}" for line in _failures(run))
    if is_burst:
        yield f"    {_SHOWN_TEXT[run.shows]}"


def report_rows(result: Result) -> Sequence[tuple[str, str]]:
    """Return the report on the faults and on what the visitor saw, as rows of a label and a text."""
    faults = [("fault", f"{fault}: {_fate(result, fault)}") for fault in result.plan.faults]
    seen = [("" if number else "seen", text) for number, text in enumerate(_seen(result))]
    return [*faults, *seen]


def _failures(run: Run) -> Sequence[str]:
    return [line for line in run.lines if line.startswith("failed: ")][:_SHOWN]


def _fate(result: Result, fault: ServerFault) -> str:
    happened = [one for one in result.plan.happened if one.fault is fault]
    if not happened:
        return f"NEVER HAPPENED: {_why_never(result, fault)}"
    runs = list(dict.fromkeys(one.run for one in happened))
    when = f"in {'run' if len(runs) == 1 else 'runs'} {', '.join(map(str, runs))}"
    often = "" if len(happened) == 1 else f"{len(happened)} times "
    missing = fault.times - len(happened)
    left = f"; expected {counted(missing, 'more time')}" if missing > 0 else ""
    return f"happened {often}{when} ({display(happened[0].where)}): {NAMES[fault.name].partition(':')[0]}{left}"


def _why_never(result: Result, fault: ServerFault) -> str:
    plan = result.plan
    if fault.place == "data" or fault.name in {"full", "slow"}:
        return f"the server received only {size_text(plan.received)} in all"
    if fault.place == "restart" and not plan.seen.get("restart"):
        return "no upload was continued; break one off behind 2 MiB, for example with cut@data:3MB"
    if fault.place == "time":
        return "no run lasted that long"
    if fault.name == "capacity":
        return "there were never more connections than that"
    return f"{fault.place} was reached {counted(plan.seen.get(fault.place, 0), 'time')} in all"


def _seen(result: Result) -> Iterator[str]:
    seen, from_nothing = result.seen, result.rehearsal.from_nothing
    old, new = seen.showing
    broken = tuple(dict.fromkeys(one.path for one in seen.broken))
    yield f"a visitor checked the site {counted(seen.looks, 'time')}"
    if broken:
        yield f"{counted(len(broken), 'file')} INCOMPLETE at some check: {_some(broken)}"
    else:
        yield "every file was complete at every check"
    if seen.missing:
        why = ", while the old file was set aside" if result.rehearsal.sets_aside else ""
        yield f"{counted(len(seen.missing), 'file')} MISSING after having been there{why}: {_some(seen.missing)}"
    if result.mixtures:
        yield f"a MIXTURE of old and new files was left by run {', '.join(map(str, result.mixtures))}"
    before = "" if from_nothing else f", {old} the old one"
    yield f"at the end, {new} of {counted(result.files, 'file')} have the new version{before}"
    pair = "some files were there and others not yet" if from_nothing else "old and new files were side by side"
    yield f"{pair} for {duration_text(seen.mixed_seconds)}"
    left = f"{counted(len(seen.left), 'temporary file')} LEFT: {_some(seen.left)}" if seen.left else "none left"
    yield f"at most {counted(seen.temporaries, 'temporary file')} at a time, {left}"
    if seen.strangers:
        yield f"{counted(len(seen.strangers), 'UNEXPECTED file')}: {_some(seen.strangers)}"
    if seen.changed:
        changed = counted(len(seen.changed), "file")
        yield f"{changed} changed in the source during the rehearsal, not judged: {_some(seen.changed)}"


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(display(path) for path in paths[:_NAMED]) + more


def verdict(result: Result) -> str:
    """Return the last line of the report: whether files were complete, and whether the target converged."""
    runs = counted(len(result.runs), "run")
    whole = _wholeness(result)
    if result.has_converged:
        synced = f"in sync after {runs}"
    else:
        limit = " (the limit)" if len(result.runs) == MOST_RUNS else ""
        synced = f"NOT in sync after {runs}{limit}"
    never = len(result.plan.never_happened())
    rest = f"; {counted(never, 'fault')} never happened" if never else ""
    return f"{whole}, {'and' if result.is_whole == result.has_converged else 'but'} {synced}{rest}"


def _wholeness(result: Result) -> str:
    missing = counted(len(result.seen.missing), "file")
    if result.is_whole:
        return f"no file INCOMPLETE, {missing} MISSING for a moment" if result.seen.missing else _WHOLE
    if result.seen.broken:
        return "files INCOMPLETE at some check"
    return "a MIXTURE left on the target" if result.mixtures else f"{missing} MISSING at some check"


# For programs.


def record(result: Result) -> dict[str, Any]:
    """Return the whole result as one JSON record."""
    seen = result.seen
    return {
        "event": "rehearsed",
        "exit_code": result.exit_code,
        "whole": result.is_whole,
        "converged": result.has_converged,
        "files": result.files,
        "size": result.size,
        "from_nothing": result.rehearsal.from_nothing,
        "sets_aside": result.rehearsal.sets_aside,
        "mixtures": list(result.mixtures),
        "runs": [_run_record(run) for run in result.runs],
        "faults": [_fault_record(fault, result.plan.happened) for fault in result.plan.faults],
        "seen": {
            "looks": seen.looks,
            "broken": sorted({one.path for one in seen.broken}),
            "missing": list(seen.missing),
            "old": seen.showing[0],
            "new": seen.showing[1],
            "mixed_seconds": round(seen.mixed_seconds, 3),
            "temporaries": seen.temporaries,
            "left": list(seen.left),
            "strangers": list(seen.strangers),
            "changed": list(seen.changed),
        },
    }


def _run_record(run: Run) -> dict[str, Any]:
    return {
        "run": run.number,
        "exit_code": run.exit_code,
        "seconds": round(run.seconds, 3),
        "faults": [str(fault) for fault in run.faults],
        "shows": run.shows,
        "said": list(run.lines),
    }


def _fault_record(fault: ServerFault, happened: Sequence[Happened]) -> dict[str, Any]:
    mine = [one for one in happened if one.fault is fault]
    return {
        "fault": str(fault),
        "happened": len(mine),
        "runs": sorted({one.run for one in mine}),
        "at": [one.where for one in mine],
    }
