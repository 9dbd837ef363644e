"""The commands ``history`` and ``trash``: which runs can be undone, what is in the trash, and how it is emptied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from actorsync.cli.options import load, only_option, print_lines, profile_argument, set_option
from actorsync.cli.undo import words_of

if TYPE_CHECKING:
    from actorsync.journal.trash.rows import Change
    from actorsync.model.report import Run
    from actorsync.planning.publishing.trash import TrashRun

__all__ = ["history", "trash"]

records_option = click.option("--json", "as_json", is_flag=True, help="Write each row as one line of JSON.")


@click.command()
@profile_argument
@records_option
@only_option
@set_option
def history(profile: Path, as_json: bool, only: tuple[str, ...], overrides: tuple[str, ...]) -> int:
    """Show the last hundred runs, and which of them can be undone. Works during a run."""
    loaded = load(profile, overrides, only)
    from actorsync.journal import read_runs, read_trash, state_directory
    from actorsync.journal.runs import RUNS_KEPT
    from actorsync.runs.profile_journal import refuse_moved

    refuse_moved(loaded)
    runs = read_runs(state_directory(), loaded.identity, RUNS_KEPT)
    kept = {run.run: run for run, _ in read_trash(state_directory(), loaded.identity)}
    return _print(as_json, [_run_record(run, kept.get(run.id)) for run in runs], partial(_history_lines, runs, kept))


def _run_record(run: Run, kept: TrashRun | None) -> dict[str, Any]:
    from actorsync.model.messages import result_of

    report = run.report
    return {
        "run": run.id,
        "started_at": run.started_at,
        "result": None if report is None else result_of(report),
        "copied": None if report is None else report.copied,
        "moved": None if report is None else report.moved,
        "removed": None if report is None else report.removed,
        "failed": None if report is None else report.failed,
        "changes_to_undo": 0 if kept is None else kept.changes,
        "is_undo": kept is not None and kept.is_undo,
    }


def _history_lines(runs: Sequence[Run], kept: dict[int, TrashRun]) -> Iterator[str]:
    from actorsync.cli.output.tables import table_lines
    from actorsync.model.messages import moment, result_of

    if not runs:
        yield "no runs yet"
        return
    rows = []
    for run in runs:
        report, of_trash = run.report, kept.get(run.id)
        counts = ("", "", "") if report is None else (str(report.copied), str(report.moved), str(report.removed))
        can = "" if of_trash is None or not of_trash.changes else f"{of_trash.changes} changes"
        what = "undo" if of_trash is not None and of_trash.is_undo else "" if report is None else result_of(report)
        rows.append((str(run.id), moment(run.started_at), *counts, what, can))
    head = ("RUN", "STARTED", "COPIED", "MOVED", "REMOVED", "RESULT", "CAN BE UNDONE")
    yield from table_lines(rows, head=head, numbers={0, 2, 3, 4})


@click.group()
def trash() -> None:
    """Show or empty the trash: old versions, and what was removed."""


@trash.command("list")
@profile_argument
@records_option
@only_option
@set_option
def list_trash(profile: Path, as_json: bool, only: tuple[str, ...], overrides: tuple[str, ...]) -> int:
    """Show the files that are in the trash, the newest run first. Does not connect, and works during a run."""
    loaded = load(profile, overrides, only)
    from actorsync.journal import read_trash, state_directory
    from actorsync.runs.profile_journal import refuse_moved

    refuse_moved(loaded)
    files = [
        (run, change)
        for run, changes in read_trash(state_directory(), loaded.identity)
        for change in changes
        if change.trashed.is_in_trash
    ]
    return _print(as_json, [_file_record(run, it) for run, it in files], partial(_trash_lines, files))


def _file_record(run: TrashRun, change: Change) -> dict[str, Any]:
    from actorsync.model.operation import Side

    item = change.trashed
    return {
        "run": run.run,
        "at": run.at,
        "path": item.path,
        "size": None if item.old is None else item.old.size,
        "because": item.because,
        "place": item.place,
        "side": (change.side or Side.TARGET).value,
    }


def _trash_lines(files: Sequence[tuple[TrashRun, Change]]) -> Iterator[str]:
    from actorsync.cli.output.tables import table_lines
    from actorsync.model.messages import moment, named
    from actorsync.model.text import counted, display, size_text

    if not files:
        yield "the trash is empty"
        return
    rows = []
    is_mirror = all(change.side is None for _, change in files)
    for run, change in files:
        item = change.trashed
        size = "" if item.old is None else size_text(item.old.size)
        side = () if is_mirror else ("" if change.side is None else change.side.value,)
        what = item.because, named(item.path), display(item.place or "")
        rows.append((str(run.run), moment(run.at), size, *side, *what))
    of_side = () if is_mirror else ("SIDE",)
    head = ("RUN", "STARTED", "SIZE", *of_side, "BECAUSE", "PATH", "PLACE")
    yield from table_lines(rows, head=head, numbers={0, 2})
    total = sum(change.trashed.old.size for _, change in files if change.trashed.old is not None)
    yield f"{counted(len(files), 'file')}, {size_text(total)}"


def _read_age(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    from actorsync.profile import parse_duration

    try:
        return None if value is None else parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@trash.command()
@click.argument("words", nargs=-1, metavar="[PROFILE] [RUN]...")
@click.option("--older-than", metavar="AGE", callback=_read_age, help="Only what is older, for example 3d.")
@only_option
@set_option
def empty(words: tuple[str, ...], older_than: float | None, only: tuple[str, ...], overrides: tuple[str, ...]) -> int:
    """Delete old files for good: all of them, those of the given runs, or those that are older than AGE.

    A run whose files were deleted cannot be undone any more.
    """
    profile, run, others = words_of(words)
    if wrong := next((word for word in others if not word.isdecimal()), None):
        raise click.UsageError(f"{wrong} is not the number of a run; to see the numbers: actorsync trash list")
    loaded = load(profile, overrides, only).answered()
    from actorsync.model.messages import named
    from actorsync.model.text import counted, display, size_text
    from actorsync.runs.stop_signals import abortable
    from actorsync.runs.undo import empty_trash

    runs = [] if run is None else [run, *map(int, others)]
    code, emptied = abortable(partial(empty_trash, loaded, runs, older_than))
    if emptied is None:
        return code
    lines = [f"failed: {named(place)}: {display(reason)}" for place, reason in emptied.failures]
    gone = f"{counted(emptied.files, 'file')} of {counted(emptied.runs, 'run')} deleted, {size_text(emptied.size)}"
    print_lines([*lines, gone])
    return 1 if emptied.failures else 0


def _print(as_json: bool, records: Sequence[dict[str, Any]], lines: partial[Iterator[str]]) -> int:
    if not as_json:
        return print_lines(lines())
    from actorsync.model.json_records import json_line

    return print_lines(map(json_line, records))
