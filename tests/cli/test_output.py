"""What is said of a run: the words, the lines, the JSON, and the live view."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import time
import typing
from collections.abc import Sequence
from typing import TextIO
from unittest.mock import ANY

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.statistics import ConnectionLevel, LaneLevel, Rate, Statistics
from actorsync.cli.output.lines import JsonLines, Lines, Output, PlanLines, progress_text
from actorsync.cli.output.live_view import LiveView
from actorsync.cli.output.messages import (
    change_of,
    duration_text,
    json_line,
    parked_table,
    plan_summary,
    records_of,
    runs_table,
    size_text,
    summary,
)
from actorsync.cli.output.streams import Sink
from actorsync.endpoints.contract import Upload
from actorsync.journal import Run
from actorsync.model.entry import WHOLE_TREE, Entry, Kind, Listing, Problem, Root, ScanComplete
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
    Report,
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
from actorsync.model.operation import (
    Copy,
    Done,
    Failed,
    Fault,
    MakeDirectory,
    Move,
    Remove,
    Returned,
    Skipped,
    Survey,
    Sweep,
)
from tests.support.root import ROOT

FILE = Entry("dir/a.txt", Kind.FILE, 3)
OLD = Entry("dir/old.txt", Kind.FILE, 3)
FOLDER = Entry("dir", Kind.DIRECTORY)
EVIL = Entry("\x1b[31mred\udcff\n", Kind.FILE, 3)

#: Scripts read these names; the classes have other names now.
KEPT_NAMES: dict[type[Event], str] = {
    BreakerOpened: "suspended",
    LoginDeferred: "turned_away",
    Parked: "troubled",
    RemovalIntended: "doomed",
}

EVERY_EVENT: list[Event] = [
    Started("/src", "ftp://h/", 4),
    Scanned("", 1, 1, 0, (Problem("x", "Permission denied"),)),
    Planned(1, 3, 1, 0),
    ScanComplete(Root(Entry("", Kind.DIRECTORY)), WHOLE_TREE),
    SurveyComplete(),
    Adopted(FILE, FILE, b"digest"),
    Confirmed(FILE, FILE, b"digest"),
    Intended(("dir/.tmp",)),
    Forgotten("dir/a.txt"),
    RemovalsRefused("too many", 7),
    RemovalsWithheld(2, "2 removals withheld"),
    Parked("y", None, 1, 0.0, 0.0, "550 no"),
    Parked("x", FILE, 3, 0.0, 100.0, "553 never", 160.0),
    Recovered("y", was_parked=False),
    Recovered("z", was_parked=True),
    Connected(1, "ftp://h/"),
    Reconnecting(1, "the server hung up", 0.5),
    Resized(8, 8, "421 too many", 20),
    LoginDeferred(2, "the server hung up"),
    BreakerOpened("down", "the server hung up", 0.5),
    Resumed("down"),
    BreakerOpened("full", "a: the disk is full", 10.0),
    Resumed("full"),
    Retired(1, "the server hung up"),
    Warned("passwords travel in clear"),
    Swept(("dir/.tmp",)),
    RemovalIntended(("dir/a.txt",)),
    MovesIntended((Move(FILE, OLD),)),
    Done(Move(FILE, OLD), FILE, FILE),
    Done(Copy(FILE), FILE, FILE, b"digest", "dir/.tmp"),
    Done(MakeDirectory(FOLDER), FOLDER),
    Done(Remove(FILE)),
    Done(Survey("dir"), listing=Listing("dir", (FILE,))),
    Done(Sweep("dir/.tmp")),
    Failed(Copy(FILE), "no room"),
    Failed(Copy(FILE), "parked after 3 failures, tried again in 2.0 s: no room", Fault.PARKED),
    Failed(Copy(FILE), "not sent: the target is full (a: the disk is full)", Fault.UNSENT),
    Skipped(Remove(FOLDER), "not empty"),
    Returned(Copy(FILE), "drained"),
    Stopped(Report(0, 0.0, 2.1, failures=(("x", "y"),))),
]


FULL = (
    "no more files are sent: the target is full (a: the disk is full); another one is tried in 10.0 s, "
    "a smaller one before"
)


def test_every_kind_of_event_is_among_them() -> None:
    """Or a new one could be missing from the lines and from the JSON, and nobody would notice."""
    assert {type(event) for event in EVERY_EVENT} == set(typing.get_args(Event))


# Words.


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


def test_a_table_of_runs_lines_up() -> None:
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


@pytest.mark.parametrize("event", EVERY_EVENT, ids=lambda event: type(event).__name__)
def test_records_are_flat_and_named_after_their_event(event: Event) -> None:
    records = list(records_of(event))
    assert records
    for record in records:
        assert json.loads(json_line(record)) == record
        for value in record.values():
            assert isinstance(value, str | int | float | list | None)
            assert not isinstance(value, list) or all(isinstance(item, str) for item in value)
    assert records[0]["event"] == KEPT_NAMES.get(type(event), snake_case(type(event).__name__))


def snake_case(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def test_records_keep_names_as_they_are() -> None:
    (record,) = records_of(Failed(MakeDirectory(EVIL), "why\u202e"))
    line = json_line(record)
    assert (
        line
        == '{"event":"failed","operation":"make_directory","path":"\\u001b[31mred\\udcff\\n","reason":"why\\u202e",'
        '"fault":"path"}'
    )
    assert json.loads(line)["path"] == EVIL.path


def test_the_documentation_lists_every_record() -> None:
    text = (ROOT / "docs" / "cli.md").read_text().partition("## JSON")[2]
    documented = {
        name: set(re.findall(r"`(\w+)`", keys))
        for name, keys in re.findall(r"^\| `(\w+)` \| (.*?)\|", text, re.MULTILINE)
    }
    documented["done"] |= {"size", "temporary", "from"}
    documented["stopped"] = set(re.findall(r"`(\w+)`", text.partition("`stopped` has")[2]))
    for event in EVERY_EVENT:
        for record in records_of(event):
            assert record.keys() - {"event"} <= documented[record["event"]]


# Outputs.


async def shown(output: Output, events: Sequence[Event]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.run, trio.Event())
        for event in events:
            output.observe(event)
            await trio.testing.wait_all_tasks_blocked()
        output.close()


async def lines_for(events: Sequence[Event], *, is_verbose: bool = False, every: str = "") -> list[str]:
    stream = io.StringIO()
    output = Lines(Statistics(), stream, is_verbose=is_verbose, every=every)
    await shown(output, events)
    return stream.getvalue().splitlines()


async def test_lines_tell_beginning_trouble_and_end() -> None:
    assert await lines_for(EVERY_EVENT) == [
        "mirroring /src to ftp://h/, 4 connections",
        "failed: x: Permission denied",
        "actorsync: too many",
        "2 removals withheld",
        "parked: x: 3 failures in a row, tried again in 1 min 00 s",
        "no longer parked: z",
        "connection 1: the server hung up; trying again in 0.5 s",
        "up to 8 connections: 421 too many; as many as the server lets in",
        FULL,
        "the target has room again: files are sent",
        "connection 1 gave up: the server hung up",
        "warning: passwords travel in clear",
        "failed: dir/a.txt: no room",
        "failed: 1 more file: not sent: the target is full (a: the disk is full)",
        "in sync: nothing to do (0 files) in 2.1 s",
    ]


async def test_verbose_lines_name_each_change() -> None:
    lines = await lines_for(
        [
            Done(Copy(FILE), FILE),
            Done(Copy(Entry("old", Kind.FILE), replaces=True), FILE),
            Done(Remove(FOLDER)),
            Done(Copy(EVIL), EVIL),
        ],
        is_verbose=True,
    )
    assert lines == ["+ dir/a.txt", "* old", "- dir/", "+ \\x1b[31mred\\xff\\x0a"]


async def test_nothing_from_outside_reaches_a_terminal_as_it_is() -> None:
    nasty = "\x1b]0;owned\x07\n\u202e\u2028\udcff"
    entry = Entry(nasty, Kind.FILE)
    events: list[Event] = [
        Scanned(nasty, 0, 0, 0, (Problem(nasty, nasty),)),
        RemovalsRefused(nasty, 1),
        Reconnecting(1, nasty, 1),
        Retired(1, nasty),
        Warned(nasty),
        Failed(Copy(entry), nasty),
        Done(Copy(entry), entry),
        Done(Remove(entry)),
        Stopped(Report(5, 0, 0, error=nasty)),
    ]
    lines = await lines_for(events, is_verbose=True)
    assert len(lines) == len(events)
    assert all(line.isprintable() for line in lines)
    quiet = io.StringIO()
    await shown(Output(Statistics(), None, quiet), events)
    assert len(quiet.getvalue().splitlines()) == 5
    assert all(line.isprintable() for line in quiet.getvalue().splitlines())


async def test_an_error_that_kept_everything_from_happening_is_all_there_is_to_say() -> None:
    assert await lines_for([Stopped(Report(6, 0, 0.1, error="no"))]) == ["actorsync: no"]
    assert await lines_for([Stopped(Report(5, 0, 0.1, copied=1, error="no"))]) == [
        "unreachable: 1 copied (0 B), 0 removed, 0 failed in 0.1 s",
        "actorsync: no",
    ]


async def test_the_same_loss_on_many_connections_is_told_once(autojump_clock: MockClock) -> None:
    stream = io.StringIO()
    output = Lines(Statistics(), stream)
    output.observe(Started("/s", "/t", 3))
    for connection in (1, 2, 3):
        output.observe(Reconnecting(connection, "the server hung up", 0.1 * connection))
    output.observe(Reconnecting(1, "another reason", 1.0))
    await trio.sleep(6)
    output.observe(Reconnecting(1, "the server hung up", 1.0))
    output.put(list(output._lines), None)
    assert [line[:30] for line in stream.getvalue().splitlines()[1:]] == [
        "connection 1: the server hung ",
        "connection 1: another reason; ",
        "connection 1: the server hung ",
    ]


async def test_a_loop_does_not_repeat_that_there_is_nothing_to_do() -> None:
    begin, idle = Started("/src", "/dst", 1), Stopped(Report(0, 0, 0.1, files_seen=3))
    failed, busy = Stopped(Report(1, 0, 0.1, failed=1)), Stopped(Report(0, 0, 0.1, copied=1))
    lines = await lines_for(
        [begin, idle, begin, idle, begin, failed, begin, idle, begin, idle, begin, busy], every="5s"
    )
    assert [line.partition(" ")[0] + line.partition(":")[2][:8] for line in lines] == [
        "mirroring",
        "in nothing",
        "not 0 copie",
        "in nothing",
        "in 1 copie",
    ]
    assert lines[0] == "mirroring /src to /dst every 5s, 1 connection"


WARNED: list[Event] = [
    Warned("in clear"),
    Warned("in clear"),
    Started("/s", "/t", 1),
    Warned("in clear"),
    Warned("old"),
]


LEFT_ALONE = Failed(Copy(FILE), "parked after 3 failures, tried again in 50.0 s: 553 never", Fault.PARKED)


async def test_a_loop_tells_of_what_is_parked_when_it_was_tried_and_then_says_nothing() -> None:
    begin, failed = Started("/src", "/dst", 1), Failed(Copy(FILE), "553 never")
    parked = Parked("dir/a.txt", FILE, 3, 0.0, 100.0, "553 never", 160.0)
    wait = RemovalsWithheld(1, "1 removal withheld")
    tried: list[Event] = [begin, failed, wait, parked, Stopped(Report(1, 0, 0.1, failed=1, left=1, withheld=1))]
    left_alone = Stopped(Report(1, 0, 0.1, failed=1, parked=1, left=1, withheld=1))
    waits: list[Event] = [begin, LEFT_ALONE, wait, left_alone]
    more: list[Event] = [
        begin,
        LEFT_ALONE,
        wait,
        Stopped(Report(1, 0, 0.1, copied=2, failed=1, parked=1, left=1, withheld=1)),
    ]
    over: list[Event] = [begin, Recovered("dir/a.txt", was_parked=True), Stopped(Report(0, 0, 0.1, copied=1))]
    lines = await lines_for([*tried, *waits, *waits, *waits, *tried, *waits, *more, *waits, *waits, *over])
    trouble = ["failed: dir/a.txt: 553 never"]
    told = ["parked: dir/a.txt: 3 failures in a row, tried again in 1 min 00 s"]
    rest = "1 removal withheld in 0.1 s"
    assert lines[1:] == [
        *trouble, "1 removal withheld", *told, f"not in sync: 0 copied (0 B), 0 removed, 1 failed, {rest}",
        f"not in sync: 0 copied (0 B), 0 removed, 1 failed (1 parked), {rest}",
        *trouble, *told, f"not in sync: 0 copied (0 B), 0 removed, 1 failed, {rest}",
        f"not in sync: 0 copied (0 B), 0 removed, 1 failed (1 parked), {rest}",
        f"not in sync: 2 copied (0 B), 0 removed, 1 failed (1 parked), {rest}",
        f"not in sync: 0 copied (0 B), 0 removed, 1 failed (1 parked), {rest}",
        "no longer parked: dir/a.txt", "in sync: 1 copied (0 B), 0 removed, 0 failed in 0.1 s",
    ]  # fmt: skip
    verbose = await lines_for([*waits, *waits], is_verbose=True)
    assert verbose.count("failed: dir/a.txt: parked after 3 failures, tried again in 50.0 s: 553 never") == 2
    assert verbose.count("1 removal withheld") == 2


async def test_of_many_paths_that_are_parked_ten_are_named() -> None:
    parked: list[Event] = [Parked(f"p{n}", None, 3, 0.0, 100.0, "no", 160.0) for n in range(13)]
    lines = await lines_for([Started("/s", "/t", 1), *parked, Stopped(Report(1, 0, 0.1, failed=13))])
    assert lines[10].startswith("parked: p9: 3 failures in a row")
    assert lines[11] == "3 more are parked, see actorsync status"
    assert len(lines) == 13


async def test_quiet_says_nothing_of_what_was_not_tried() -> None:
    errors = io.StringIO()
    await shown(Output(Statistics(), io.StringIO(), errors), [LEFT_ALONE, Failed(Copy(FILE), "no room")])
    assert errors.getvalue() == "actorsync: failed: dir/a.txt: no room\n"


def test_a_table_of_parked_paths_is_bounded() -> None:
    trouble = Parked("\x1b[31mred", None, 4, 0.0, 0.0, "no " * 400, 3600.0)
    lines = list(parked_table([attrs.evolve(trouble, path=f"{trouble.path}{n}") for n in range(23)]))
    assert lines[0] == "23 paths parked; a run that you start tries them at once:"
    assert lines[-1] == "... and 3 more"
    assert len(lines) == 23
    assert "\x1b" not in "".join(lines) and max(map(len, lines)) < 300
    assert list(parked_table([])) == []


@pytest.mark.parametrize("kind", [Lines, LiveView])
async def test_a_warning_is_told_once(kind: type[Lines]) -> None:
    stream = _Terminal()
    output = kind(Statistics(), stream)
    for event in WARNED:
        output.observe(event)
    output.put(list(output._lines), None)
    told = [line for line in stream.getvalue().splitlines() if line.startswith("warning")]
    assert told == ["warning: in clear", "warning: old"]


async def test_a_warning_of_a_plan_is_no_part_of_its_result() -> None:
    out, errors = io.StringIO(), io.StringIO()
    await shown(PlanLines(Statistics(), out, errors), WARNED)
    assert (out.getvalue(), errors.getvalue()) == ("", "actorsync: warning: in clear\nactorsync: warning: old\n")


async def test_a_warning_in_json_is_an_event_and_nothing_besides() -> None:
    out, errors = io.StringIO(), io.StringIO()
    await shown(JsonLines(Statistics(), out, errors), WARNED)
    records = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [one["text"] for one in records if one["event"] == "warned"] == ["in clear", "old"]
    assert errors.getvalue() == ""


async def test_quiet_tells_failures_only() -> None:
    out, errors = io.StringIO(), io.StringIO()
    await shown(Output(Statistics(), out, errors), EVERY_EVENT)
    assert out.getvalue() == ""
    assert errors.getvalue().splitlines() == [
        "actorsync: failed: x: Permission denied",
        "actorsync: too many",
        f"actorsync: {FULL}",
        "actorsync: connection 1 gave up: the server hung up",
        "actorsync: failed: dir/a.txt: no room",
        "actorsync: failed: 1 more file: not sent: the target is full (a: the disk is full)",
    ]


async def test_json_has_every_event_and_failures_are_told_besides() -> None:
    out, errors = io.StringIO(), io.StringIO()
    output = JsonLines(Statistics(), out, errors)
    output.stopping(30.0)
    await shown(output, EVERY_EVENT)
    records = [json.loads(line) for line in out.getvalue().splitlines()]
    assert records[0] | {"time": 0} == {"event": "draining", "time": 0, "seconds": 30.0}
    assert len(records) == 1 + len(EVERY_EVENT) + 1  # the problem of the scan is one of its own
    assert all(list(record)[:2] == ["event", "time"] for record in records)
    assert len(errors.getvalue().splitlines()) == 6
    assert [record for record in records if record["event"] in {"resized", "turned_away", "suspended", "resumed"}] == [
        {"event": "resized", "time": ANY, "connections": 8, "ceiling": 8, "reason": "421 too many", "before": 20},
        {"event": "turned_away", "time": ANY, "connection": 2, "reason": "the server hung up"},
        {"event": "suspended", "time": ANY, "cause": "down", "reason": "the server hung up", "delay": 0.5},
        {"event": "resumed", "time": ANY, "cause": "down"},
        {"event": "suspended", "time": ANY, "cause": "full", "reason": "a: the disk is full", "delay": 10.0},
        {"event": "resumed", "time": ANY, "cause": "full"},
    ]


def test_the_records_are_those_that_are_documented() -> None:
    text = (ROOT / "docs" / "cli.md").read_text().partition("## JSON")[2]
    rows = re.findall(r"^\| `([a-z_]+)` \|([^|]*)\|", text, re.MULTILINE)
    documented = {name: set(re.findall(r"`([a-z_]+)`", keys)) for name, keys in rows}
    for event in EVERY_EVENT:
        for record in records_of(event):
            if record["event"] != "stopped":  # told below the table
                extra = {"size", "temporary", "from"} if record["event"] == "done" else set()
                assert record.keys() - {"event"} - extra == documented[record["event"]] - extra, record


async def test_m031_a_thousand_files_that_are_not_sent_are_one_line() -> None:
    unsent = [Failed(Copy(Entry(f"{n}", Kind.FILE)), "not sent: full (a: why)", Fault.UNSENT) for n in range(1_000)]
    first: list[Event] = [Started("/s", "/t", 1), Failed(Copy(FILE), "why"), BreakerOpened("full", "a: why", 10.0)]
    story = [*first, *unsent, Stopped(Report(1, 0, 1.0, failed=1_001))]
    lines = await lines_for([*story, *story])
    assert lines[2:5] == [
        "no more files are sent: the target is full (a: why); another one is tried in 10.0 s, a smaller one before",
        "failed: 1000 more files: not sent: full (a: why)",
        "not in sync: 0 copied (0 B), 0 removed, 1001 failed in 1.0 s",
    ]
    assert len(lines) == 1 + 2 * 4, "and in the next pass they are counted anew"
    out, errors = io.StringIO(), io.StringIO()
    await shown(JsonLines(Statistics(), out, errors), story)
    assert sum(json.loads(line)["event"] == "failed" for line in out.getvalue().splitlines()) == 1_001
    assert len(errors.getvalue().splitlines()) == 3


async def test_sizes_of_the_pool_are_told_when_they_shrink() -> None:
    assert await lines_for(
        [
            Resized(6, None, "there is more to do", 4),
            Resized(5, None, "this machine can open no more: Too many open files", 6),
            Resized(3, 3, "421 no", 5),
        ]
    ) == [
        "up to 5 connections: this machine can open no more: Too many open files",
        "up to 3 connections: 421 no; as many as the server lets in",
    ]
    assert await lines_for([Started("/s", "/t", 16, automatic=True), LoginDeferred(2, "bye")]) == [
        "mirroring /s to /t, up to 16 connections",
        "connection 2: bye; logins go one at a time from now on",
    ]


async def test_a_plan_is_sorted_and_comes_at_the_end() -> None:
    out, errors = io.StringIO(), io.StringIO()
    changed = Done(Copy(Entry("z", Kind.FILE), replaces=True), FILE)
    moved = Done(Move(Entry("m", Kind.FILE), OLD), FILE)
    events: list[Event] = [changed, moved, Done(Remove(FILE)), Done(MakeDirectory(FOLDER))]
    await shown(PlanLines(Statistics(), out, errors), events)
    assert out.getvalue() == ""
    events.append(Stopped(Report(0, 0, 0, copied=1, moved=1, removed=1)))
    await shown(PlanLines(Statistics(), out, errors), events)
    assert out.getvalue() == (
        "+ dir/\n- dir/a.txt\n> dir/old.txt -> m\n* z\n1 file to copy (0 B), 1 to move, 1 to remove\n"
    )


async def test_progress_is_told_every_ten_seconds(autojump_clock: MockClock) -> None:
    stream = io.StringIO()
    statistics = Statistics(files_planned=10, bytes_planned=4096, is_total_known=True)
    output = Lines(statistics, stream)
    output.observe(Started("/s", "/t", 1))
    told = []
    for _ in range(30):
        await trio.sleep(1)
        statistics.bytes_done += 100
        output.tick()
        told.append(len(output._lines))
    assert told[8:11] == [1, 2, 2]
    assert told[-1] == 4
    assert output._lines[-1][1] == "0 of 10 files, 2.9 KiB of 4.0 KiB, 100 B/s, 11 s left"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2


async def test_nobody_is_polled_for_between_passes() -> None:
    ticks: list[float] = []

    class Counting(LiveView):
        def tick(self) -> object:
            ticks.append(time.monotonic())
            return super().tick()

    output = Counting(Statistics(), _Terminal())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.run, trio.Event())
        output.observe(Started("/s", "/t", 1))
        await trio.sleep(0.7)
        assert len(ticks) >= 3
        output.observe(Stopped(Report(0, 0, 0)))
        await trio.sleep(0.3)
        before = len(ticks)
        await trio.sleep(0.7)
        assert len(ticks) == before
        output.close()


async def test_the_live_view_shows_each_connection_and_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "30")
    monkeypatch.setenv("TERM", "xterm")
    terminal = _Terminal()
    upload = Upload("some/where/\x1b[31m/" + "x" * 90 + "/end.bin", "tmp", None, sent=512)  # type: ignore[arg-type]
    statistics = Statistics(
        connections=[
            ConnectionLevel(1, "connected", True, [LaneLevel("sending", upload, 1024)]),
            ConnectionLevel(2, "connected", True, [LaneLevel("making directories")]),
        ],
        files_planned=2,
        bytes_planned=2048,
        is_total_known=True,
        files_done=1,
        bytes_done=1024,
    )
    output = LiveView(statistics, terminal)
    output.observe(Started("/s", "/t", 2))
    output.put([], output.tick())
    drawn = terminal.getvalue()
    assert "/end.bin" in drawn
    assert "\x1b[31m/" not in drawn
    assert " 50%" in drawn
    assert "making directories" in drawn
    assert "1 of 2 files, 1.5 KiB of 2.0 KiB" in drawn
    output.observe(Failed(Copy(FILE), "no room"))
    output.observe(Stopped(Report(1, 0, 0.1, failed=1)))
    lines = list(output._lines)
    output.put(lines, output.tick())
    assert "\x1b[?25h" in terminal.getvalue()  # the cursor is back
    assert terminal.getvalue().endswith("not in sync: 0 copied (0 B), 0 removed, 1 failed in 0.1 s\n")


@pytest.mark.parametrize(("width", "height"), [(20, 5), (40, 3), (200, 60)])
async def test_the_live_view_fits_any_terminal(width: int, height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("LINES", str(height))
    monkeypatch.setenv("TERM", "xterm")
    terminal = _Terminal()
    statistics = Statistics(connections=[ConnectionLevel(n) for n in range(1, 65)], files_planned=1, bytes_planned=9)
    output = LiveView(statistics, terminal)
    output.observe(Started("/s", "/t", 64))
    output._lines.clear()
    output.put([], output.tick())
    assert 0 < terminal.getvalue().count("\n") <= height
    output.end()


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate(8)
    assert rate.value is None
    for second in range(20):
        rate.add(second, 100 * second if second < 10 else 1_000 + 500 * (second - 10))
    assert rate.value == pytest.approx(500, rel=0.1)
    rate.add(21, 0)  # a file is sent again
    assert rate.value is None


def test_progress_before_and_after_the_total_is_known() -> None:
    statistics = Statistics(files_planned=7, bytes_planned=2048, files_done=1)
    assert progress_text(statistics, 1024.0) == "1 of 7+ files, 0 B of 2.0 KiB+, 1.0 KiB/s"
    statistics.is_total_known = True
    assert progress_text(statistics, 1024.0) == "1 of 7 files, 0 B of 2.0 KiB, 1.0 KiB/s, 2 s left"
    assert progress_text(statistics, None) == "1 of 7 files, 0 B of 2.0 KiB"


# Who does not read.


class _Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("stream", [None, _Broken()])
async def test_m124_a_stream_that_is_gone_is_written_to_no_more(stream: TextIO | None) -> None:
    sink = Sink(stream)
    assert sink.write("text") == 4
    assert sink.is_gone
    await shown(JsonLines(Statistics(), stream, stream), EVERY_EVENT)
    await shown(Lines(Statistics(), stream, is_verbose=True), EVERY_EVENT)


async def test_after_a_cancel_nobody_is_waited_for_who_does_not_read() -> None:
    reader, writer = os.pipe()
    cancelling = trio.Event()
    stream = open(writer, "w")  # noqa: ASYNC230, SIM115 - closed by hand, when nobody reads any more
    output = Output(Statistics(), stream, None)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(output.run, cancelling)
            output.say("x" * 1_000_000)
            output.close()
            await trio.sleep(0.2)
            assert not output.is_abandoned
            cancelling.set()
        assert output.is_abandoned
        os.close(reader)
        while not output.out.is_gone:  # noqa: ASYNC110 - a thread is still in the write
            await trio.sleep(0.01)
    with contextlib.suppress(BrokenPipeError):
        stream.close()
