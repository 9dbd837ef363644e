"""How a rehearsal is told: as lines for people, and as one record for programs. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from actorsync.model.text import counted, display, duration_text, size_text
from actorsync.rehearsal.rehearsal import MOST_RUNS, Began, Rehearsal, Result, Run
from actorsync.testing.servers.faults import NAMES, PLACES, Happened, ServerFault

__all__ = ["beginning_text", "faults_table", "record", "report", "run_text"]

_NAMED: Final = 5  # files, at most, where there may be thousands
_SAID: Final = 3  # lines of a run that did not end well
_KILLED: Final = 137


def faults_table() -> Iterator[str]:
    """Give what can go wrong, and where."""
    yield "A fault is NAME@PLACE[:COUNT][*TIMES]; the count is 1 unless it is given, and so are the times:"
    yield "cut@store:3 happens at the third file, reset@line:20*2 at the 20th and at the 40th command."
    yield ""
    yield "NAME      what happens"
    yield from (f"{name:<8}  {what}" for name, what in NAMES.items())
    yield ""
    yield "PLACE     when it happens"
    yield from (f"{place:<8}  {when}" for place, when in PLACES.items())


def beginning_text(began: Began, rehearsal: Rehearsal) -> str:
    """Say what will be done."""
    what = f"{counted(began.files, 'file')} ({size_text(began.size)})"
    scheme, state = rehearsal.profile.target.scheme, "empty" if rehearsal.from_nothing else "with old versions"
    where = f"in {display(str(began.folder))}, {state}; it takes up to {size_text(began.room)} there"
    return f"rehearsing {what} against a server of {scheme}:// {where}"


def run_text(run: Run) -> Iterator[str]:
    """Say how a run ended, and some of what failed."""
    how = "killed" if run.exit_code == _KILLED else f"exit code {run.exit_code}"
    last = next((line for line in reversed(run.lines) if "sync:" in line or line.startswith("actorsync:")), "")
    said = f": {display(last)}" if last and run.exit_code != _KILLED else ""
    yield f"run {run.number}  {how} after {duration_text(run.seconds)}{said}"
    if run.exit_code not in {0, _KILLED}:
        yield from (f"       {display(line)}" for line in _reasons(run))


def report(result: Result) -> Iterator[str]:
    """Give what came of it, besides the runs, as lines, the verdict last."""
    for fault in result.plan.faults:
        yield f"fault  {fault}: {_fate(result, fault)}"
    yield from (f"{'seen' if not number else '':<5}  {line}" for number, line in enumerate(_sights(result)))
    yield _verdict(result)


def _reasons(run: Run) -> Sequence[str]:
    return [line for line in run.lines if line.startswith("failed: ")][:_SAID]


def _fate(result: Result, fault: ServerFault) -> str:
    happened = [one for one in result.plan.happened if one.fault is fault]
    if not happened:
        return f"NEVER HAPPENED: {_what_came(result, fault)}"
    runs = list(dict.fromkeys(one.run for one in happened))
    when = f"in {'run' if len(runs) == 1 else 'runs'} {', '.join(map(str, runs))}"
    often = "" if len(happened) == 1 else f"{len(happened)} times "
    missing = fault.times - len(happened)
    left = f"; it was to happen {counted(missing, 'more time')}" if missing > 0 else ""
    return f"happened {often}{when} ({display(happened[0].where)}): {NAMES[fault.name].partition(':')[0]}{left}"


def _what_came(result: Result, fault: ServerFault) -> str:
    plan = result.plan
    if fault.place == "data" or fault.name in {"full", "slow"}:
        return f"only {size_text(plan.received)} arrived in all"
    if fault.place == "time":
        return "no run took so long"
    if fault.name == "capacity":
        return "there were never more connections than that"
    return f"{fault.place} came up {counted(plan.seen.get(fault.place, 0), 'time')} in all"


def _sights(result: Result) -> Iterator[str]:
    seen = result.seen
    old, new = seen.showing
    broken = tuple(dict.fromkeys(one.path for one in seen.broken))
    yield f"a visitor looked {counted(seen.looks, 'time')}"
    if broken:
        yield f"{counted(len(broken), 'file')} NOT WHOLE at some look: {_some(broken)}"
    else:
        yield "every file was whole, whenever it was looked at"
    if seen.missing:
        yield f"{counted(len(seen.missing), 'file')} MISSING that had been there: {_some(seen.missing)}"
    before = "" if result.from_nothing else f", {old} the old one"
    yield f"at the end {new} of {counted(result.files, 'file')} show the new version{before}"
    pair = "some files there, others not yet" if result.from_nothing else "old and new files beside each other"
    yield f"mixed ({pair}) for {duration_text(seen.mixed_seconds)}"
    left = (
        f"{counted(len(seen.left), 'temporary', 'temporaries')} LEFT: {_some(seen.left)}" if seen.left else "none left"
    )
    yield f"up to {counted(seen.temporaries, 'temporary', 'temporaries')} at a time, {left}"
    if seen.strangers:
        yield f"{counted(len(seen.strangers), 'file')} that nobody meant: {_some(seen.strangers)}"
    if seen.changed:
        changed = counted(len(seen.changed), "file")
        yield f"{changed} changed in the source meanwhile, and not judged: {_some(seen.changed)}"


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(display(path) for path in paths[:_NAMED]) + more


def _verdict(result: Result) -> str:
    runs = counted(len(result.runs), "run")
    whole = "whole at every look" if result.is_whole else "NOT WHOLE at every look"
    if result.has_converged:
        synced = f"in sync after {runs}"
    else:
        limit = ", which is as often as it is tried" if len(result.runs) == MOST_RUNS else ""
        synced = f"NOT in sync after {runs}{limit}"
    never = len(result.plan.never_happened())
    rest = f"; {counted(never, 'fault')} never happened" if never else ""
    return f"{whole}, and {synced}{rest}" if result.is_whole == result.has_converged else f"{whole}, but {synced}{rest}"


# For programs.


def record(result: Result) -> dict[str, Any]:
    """Give all of it as one record."""
    seen = result.seen
    return {
        "event": "rehearsed",
        "exit_code": result.exit_code,
        "whole": result.is_whole,
        "converged": result.has_converged,
        "files": result.files,
        "size": result.size,
        "from_nothing": result.from_nothing,
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
