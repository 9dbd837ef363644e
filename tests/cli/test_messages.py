"""The lines and tables that people read."""

from __future__ import annotations

import typing

import attrs
import pytest

from actorsync.cli.status import parked_table, runs_table
from actorsync.model.entry import Entry, Kind
from actorsync.model.event import (
    Event,
    Parked,
)
from actorsync.model.messages import (
    change_of,
    plan_summary,
    summary,
)
from actorsync.model.operation import (
    Copy,
    Done,
    Failed,
    MakeDirectory,
    Remove,
    Sweep,
)
from actorsync.model.report import Report, Run
from actorsync.model.text import duration_text, size_text
from tests.support.every_event import EVERY_EVENT, EVIL, FILE, FOLDER


def test_every_event_examples_cover_every_kind() -> None:
    """Otherwise a new event could be missing from the lines and the JSON unnoticed."""
    assert {type(event) for event in EVERY_EVENT} == set(typing.get_args(Event))


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (3_565_158, "3.4 MiB"),
        (1 << 40, "1.0 TiB"),
        (1 << 52, "4096.0 TiB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (2.06, "2.1 s"),
        (59.96, "1 min 00 s"),
        (65, "1 min 05 s"),
        (3600, "1 h 00 min"),
        (7_800, "2 h 10 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("event", "change"),
    [
        (Done(Copy(FILE), FILE), ("+", "dir/a.txt")),
        (Done(Copy(Entry("old", Kind.FILE), replaces=True), FILE), ("*", "old")),
        (Done(MakeDirectory(FOLDER), FOLDER), ("+", "dir/")),
        (Done(MakeDirectory(Entry("", Kind.DIRECTORY))), None),
        (Done(Remove(FILE)), ("-", "dir/a.txt")),
        (Done(Remove(FOLDER)), ("-", "dir/")),
        (Done(Copy(EVIL), EVIL), ("+", "\\x1b[31mred\\xff\\x0a")),
        (Done(Sweep("x")), None),
        (Failed(Copy(FILE), "no"), None),
    ],
)
def test_changes(event: Event, change: tuple[str, str] | None) -> None:
    assert change_of(event) == change


@pytest.mark.parametrize(
    ("report", "line"),
    [
        (Report(0, 0, 2.1, files_seen=1), "in sync: nothing to do (1 file) in 2.1 s"),
        (
            Report(0, 0, 2.1, copied=12, copied_bytes=3_565_158, removed=1),
            "in sync: 12 copied (3.4 MiB), 1 removed, 0 failed in 2.1 s",
        ),
        (
            Report(0, 0, 2.1, adopted=4),
            "in sync: 0 copied (0 B), 4 already there, 0 removed, 0 failed in 2.1 s",
        ),
        (
            Report(1, 0, 2.1, failed=2, directories_made=1),
            "not in sync: 0 copied (0 B), 1 directory made, 0 removed, 2 failed in 2.1 s",
        ),
        (
            Report(3, 0, 2.1, left=5, drained=True),
            "stopped early: 0 copied (0 B), 0 removed, 0 failed, 5 left in 2.1 s",
        ),
        (
            Report(130, 0, 2.1, skipped=1),
            "cancelled: 0 copied (0 B), 0 removed, 0 failed, 1 skipped in 2.1 s",
        ),
        (
            Report(0, 0, 2.1, moved=1),
            "in sync: 0 copied (0 B), 1 moved, 0 removed, 0 failed in 2.1 s",
        ),
    ],
)
def test_summaries(report: Report, line: str) -> None:
    assert summary(report) == line


def test_plan_summaries() -> None:
    assert plan_summary(Report(0, 0, 0, files_seen=2)) == "nothing to do (2 files)"
    report = Report(1, 0, 0, copied=1, copied_bytes=3, directories_made=2, removed=4, failed=1)
    assert plan_summary(report) == "1 file to copy (3 B), 2 directories to make, 4 to remove, 1 that cannot be done"


def test_runs_table_aligns_columns() -> None:
    table = list(
        runs_table(
            [
                Run(3, 0.0, None),
                Run(2, 0.0, None),
                Run(1, 0.0, Report(5, 0.0, 100.0, copied=1000, error="h\x1b stayed away")),
            ],
            lambda run: run.id == 3,
        )
    )
    assert table[1].endswith("running")
    assert table[2].endswith("killed")
    assert table[3].endswith("1 min 40 s    1000   0 B        0       0  unreachable: h\\x1b stayed away")
    assert (
        len({line.index(word) for line, word in zip(table, ("RESULT", "running", "killed", "unre"), strict=True)}) == 1
    )


def test_parked_table_names_at_most_twenty_paths() -> None:
    trouble = Parked("\x1b[31mred", None, 4, 0.0, 0.0, "no " * 400, 3600.0)
    lines = list(parked_table([attrs.evolve(trouble, path=f"{trouble.path}{n}") for n in range(23)]))
    assert lines[0] == "23 paths parked; the next run that you start retries them at once:"
    assert lines[-1] == "... and 3 more"
    assert len(lines) == 23
    assert "\x1b" not in "".join(lines) and max(map(len, lines)) < 300
    assert list(parked_table([])) == []
