"""The lines and tables that people read."""

from __future__ import annotations

import typing
from collections.abc import Callable

import attrs
import pytest

from actorsync.cli.status import parked_table, runs_table
from actorsync.model.changes import change_of, change_text
from actorsync.model.entry import Entry, Kind
from actorsync.model.event import (
    Event,
    Parked,
)
from actorsync.model.left_out import LeftOut
from actorsync.model.messages import (
    plan_summary,
    summary,
)
from actorsync.model.operation import (
    Copy,
    Done,
    Failed,
    MakeDirectory,
    Remove,
    Side,
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


def test_change_of_a_two_way_run_shows_the_side_that_is_changed() -> None:
    to_target, to_source = Done(Copy(FILE), FILE), Done(Remove(FILE, side=Side.SOURCE))
    assert change_text(to_target, shows_sides=True) == "-> + dir/a.txt"
    assert change_text(to_source, shows_sides=True) == "<- - dir/a.txt"
    assert change_text(to_source, shows_sides=False) == "- dir/a.txt"
    assert change_text(Done(Sweep("x")), shows_sides=True) is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (summary, "not in sync: 3 copied (4 B, 2 of them to the source), 0 removed, 0 failed, 1 conflict in 0.5 s"),
        (plan_summary, "3 files to copy (4 B, 2 of them to the source), 1 conflict to decide"),
    ],
)
def test_end_of_a_two_way_run_or_plan_counts_what_goes_to_the_source(text: Callable[[Report], str], line: str) -> None:
    report = Report(1, 0, 0.5, copied=3, copied_bytes=4, to_source=2, conflicts=1)
    assert text(report).startswith(line)


def test_pass_over_a_part_of_both_sides_counts_what_goes_to_the_source_and_conflicts() -> None:
    report = Report(1, 0, 0.5, copied=3, copied_bytes=4, to_source=2, conflicts=1, is_partial=True)
    assert summary(report) == "3 copied (4 B, 2 of them to the source), 1 conflict in 0.5 s"


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
            Report(3, 0, 2.1, left=5, withheld=2, drained=True, left_is_minimum=True),
            (
                "stopped early: 0 copied (0 B), 0 removed, 0 failed, 2 removals postponed, at least 3 left "
                "(the scan did not finish) in 2.1 s"
            ),
        ),
        (
            Report(0, 0, 2.1, files_seen=1, left_out=LeftOut(links=1, foreign=2)),
            (
                "in sync: nothing to do (1 file) in 2.1 s; left out: 1 symbolic link; "
                "kept on the target: 2 entries that actorsync did not create"
            ),
        ),
        (
            Report(0, 0, 2.1, copied=1, left_out=LeftOut(5, 4, 3, 2, 1)),
            (
                "in sync: 1 copied (0 B), 0 removed, 0 failed in 2.1 s; left out: 4 symbolic links, "
                "3 links that lead outside the source or nowhere, 2 special files, 5 excluded, 1 kept back"
            ),
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
    assert (
        plan_summary(Report(0, 0, 0, left_out=LeftOut(special=1)))
        == "nothing to do (0 files); left out: 1 special file"
    )
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
