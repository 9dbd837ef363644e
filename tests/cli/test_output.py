"""The outputs of a run: plain lines, quiet, JSON and plans, and readers that do not read."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Sequence
from typing import TextIO
from unittest.mock import ANY

import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.statistics import Statistics
from actorsync.cli.output.json_lines import JsonLines
from actorsync.cli.output.lines import Lines, Output
from actorsync.cli.output.live_view import LiveView
from actorsync.cli.output.plan_lines import PlanLines
from actorsync.cli.output.streams import Sink
from actorsync.model.entry import Entry, Kind, Problem
from actorsync.model.event import (
    BreakerOpened,
    Event,
    LoginDeferred,
    Parked,
    PassBegan,
    Reconnecting,
    Recovered,
    RemovalsRefused,
    RemovalsWithheld,
    Resized,
    Retired,
    Scanned,
    Started,
    Stopped,
    Warned,
    WatchLost,
    WatchStarted,
)
from actorsync.model.operation import (
    Copy,
    Done,
    Failed,
    Fault,
    MakeDirectory,
    Move,
    Remove,
    Side,
)
from actorsync.model.report import Report
from tests.support.every_event import EVERY_EVENT, EVIL, FILE, FOLDER, OLD
from tests.support.fake_terminal import FakeTerminal

FULL = "uploads paused: the target is full (a: the disk is full); retrying in 10.0 s, smaller files sooner"


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


async def test_lines_show_start_problems_and_summary() -> None:
    assert await lines_for(EVERY_EVENT) == [
        "watching 12 directories (inotify)",
        "changes may have been missed (the queue of changes has overflowed): comparing everything",
        "paused",
        "mirroring /src to ftp://h/, 4 connections",
        "failed: x: Permission denied",
        "the root of the target is empty: listing the whole target, nothing is taken for granted",
        "changed on the target: dir/a.txt is missing",
        "changed on the target: dir/a.txt is missing; it is restored",
        "conflict: dir/a.txt: both sides have changed it",
        "rolled back: the check failed; everything that was published is as it was before",
        "nothing was published: 1 path could not be sent",
        "actorsync: too many",
        "2 removals postponed",
        "parked: x: failed 3 times in a row; retrying in 1 min 00 s",
        "no longer parked: z",
        "connection 1: the server hung up; reconnecting in 0.5 s",
        "reduced to 8 connections (the server's limit): 421 too many",
        FULL,
        "uploads resumed: the target has space again",
        "connection 1 failed for good: the server hung up",
        "warning: passwords travel in clear",
        "failed: dir/a.txt: 550 no",
        "failed: dir/a.txt: no room",
        "failed: dir/a.txt: busy",
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


async def test_control_characters_are_escaped_in_every_line() -> None:
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


async def test_run_that_only_failed_prints_only_the_error() -> None:
    assert await lines_for([Stopped(Report(6, 0, 0.1, error="no"))]) == ["actorsync: no"]
    assert await lines_for([Stopped(Report(5, 0, 0.1, copied=1, error="no"))]) == [
        "unreachable: 1 copied (0 B), 0 removed, 0 failed in 0.1 s",
        "actorsync: no",
    ]


async def test_same_loss_on_many_connections_is_reported_once(autojump_clock: MockClock) -> None:
    stream = io.StringIO()
    output = Lines(Statistics(), stream)
    output.observe(Started("/s", "/t", 3))
    for connection in (1, 2, 3):
        output.observe(Reconnecting(connection, "the server hung up", 0.1 * connection))
    output.observe(Reconnecting(1, "another reason", 1.0))
    await trio.sleep(6)
    output.observe(Reconnecting(1, "the server hung up", 1.0))
    output.put(list(output.queue.lines), None)
    assert [line[:30] for line in stream.getvalue().splitlines()[1:]] == [
        "connection 1: the server hung ",
        "connection 1: another reason; ",
        "connection 1: the server hung ",
    ]


async def test_repeated_pass_without_changes_prints_nothing() -> None:
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


async def test_repeated_pass_reports_parked_path_only_when_tried() -> None:
    begin, failed = Started("/src", "/dst", 1), Failed(Copy(FILE), "553 never")
    parked = Parked("dir/a.txt", FILE, 3, 0.0, 100.0, "553 never", 160.0)
    wait = RemovalsWithheld(1, "1 removal postponed")
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
    lines = await lines_for([*tried, *waits, *waits, *waits, *tried, *waits, *more, *waits, *waits, *over], every="1m")
    trouble = ["failed: dir/a.txt: 553 never"]
    parked_line = ["parked: dir/a.txt: failed 3 times in a row; retrying in 1 min 00 s"]
    rest = "1 removal postponed in 0.1 s"
    assert lines[1:] == [
        *trouble, "1 removal postponed", *parked_line, f"not in sync: 0 copied (0 B), 0 removed, 1 failed, {rest}",
        f"not in sync: 0 copied (0 B), 0 removed, 1 failed (1 parked), {rest}",
        *trouble, *parked_line, f"not in sync: 0 copied (0 B), 0 removed, 1 failed, {rest}",
        f"not in sync: 0 copied (0 B), 0 removed, 1 failed (1 parked), {rest}",
        f"not in sync: 2 copied (0 B), 0 removed, 1 failed (1 parked), {rest}",
        f"not in sync: 0 copied (0 B), 0 removed, 1 failed (1 parked), {rest}",
        "no longer parked: dir/a.txt", "in sync: 1 copied (0 B), 0 removed, 0 failed in 0.1 s",
    ]  # fmt: skip
    verbose = await lines_for([*waits, *waits], is_verbose=True)
    assert verbose.count("failed: dir/a.txt: parked after 3 failures, tried again in 50.0 s: 553 never") == 2
    assert verbose.count("1 removal postponed") == 2


async def test_many_parked_paths_are_named_up_to_ten() -> None:
    parked: list[Event] = [Parked(f"p{n}", None, 3, 0.0, 100.0, "no", 160.0) for n in range(13)]
    lines = await lines_for([Started("/s", "/t", 1), *parked, Stopped(Report(1, 0, 0.1, failed=13))])
    assert lines[10].startswith("parked: p9: failed 3 times in a row")
    assert lines[11] == "3 more paths parked; run actorsync status to see them"
    assert len(lines) == 13


async def test_quiet_does_not_report_parked_paths() -> None:
    errors = io.StringIO()
    await shown(Output(Statistics(), io.StringIO(), errors), [LEFT_ALONE, Failed(Copy(FILE), "no room")])
    assert errors.getvalue() == "actorsync: failed: dir/a.txt: no room\n"


@pytest.mark.parametrize("kind", [Lines, LiveView])
async def test_repeated_warning_is_shown_once(kind: type[Lines]) -> None:
    stream = FakeTerminal()
    output = kind(Statistics(), stream)
    for event in WARNED:
        output.observe(event)
    output.put(list(output.queue.lines), None)
    warnings = [line for line in stream.getvalue().splitlines() if line.startswith("warning")]
    assert warnings == ["warning: in clear", "warning: old"]


async def test_warning_of_a_plan_goes_to_standard_error() -> None:
    out, errors = io.StringIO(), io.StringIO()
    await shown(PlanLines(Statistics(), out, errors), WARNED)
    assert (out.getvalue(), errors.getvalue()) == ("", "actorsync: warning: in clear\nactorsync: warning: old\n")


async def test_warning_in_json_is_only_an_event() -> None:
    out, errors = io.StringIO(), io.StringIO()
    await shown(JsonLines(Statistics(), out, errors), WARNED)
    records = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [one["text"] for one in records if one["event"] == "warned"] == ["in clear", "old"]
    assert errors.getvalue() == ""


async def test_quiet_shows_only_failures() -> None:
    out, errors = io.StringIO(), io.StringIO()
    await shown(Output(Statistics(), out, errors), EVERY_EVENT)
    assert out.getvalue() == ""
    assert errors.getvalue().splitlines() == [
        "actorsync: failed: x: Permission denied",
        "actorsync: changed on the target: dir/a.txt is missing",
        "actorsync: conflict: dir/a.txt: both sides have changed it",
        "actorsync: rolled back: the check failed; everything that was published is as it was before",
        "actorsync: nothing was published: 1 path could not be sent",
        "actorsync: too many",
        f"actorsync: {FULL}",
        "actorsync: connection 1 failed for good: the server hung up",
        "actorsync: failed: dir/a.txt: 550 no",
        "actorsync: failed: dir/a.txt: no room",
        "actorsync: failed: dir/a.txt: busy",
        "actorsync: failed: 1 more file: not sent: the target is full (a: the disk is full)",
    ]


async def test_json_has_every_event_and_failures_on_standard_error() -> None:
    out, errors = io.StringIO(), io.StringIO()
    output = JsonLines(Statistics(), out, errors)
    output.stopping(30.0)
    await shown(output, EVERY_EVENT)
    records = [json.loads(line) for line in out.getvalue().splitlines()]
    assert records[0] | {"time": 0} == {"event": "draining", "time": 0, "seconds": 30.0}
    assert len(records) == 1 + len(EVERY_EVENT) + 1  # the problem of the scan has a record of its own
    assert all(list(record)[:2] == ["event", "time"] for record in records)
    assert len(errors.getvalue().splitlines()) == 12
    assert [record for record in records if record["event"] in {"resized", "turned_away", "suspended", "resumed"}] == [
        {"event": "resized", "time": ANY, "connections": 8, "ceiling": 8, "reason": "421 too many", "before": 20},
        {"event": "turned_away", "time": ANY, "connection": 2, "reason": "the server hung up"},
        {"event": "suspended", "time": ANY, "cause": "down", "reason": "the server hung up", "delay": 0.5},
        {"event": "resumed", "time": ANY, "cause": "down"},
        {"event": "suspended", "time": ANY, "cause": "full", "reason": "a: the disk is full", "delay": 10.0},
        {"event": "resumed", "time": ANY, "cause": "full"},
    ]


async def test_m031_thousand_unsent_files_are_one_line() -> None:
    unsent = [Failed(Copy(Entry(f"{n}", Kind.FILE)), "not sent: full (a: why)", Fault.UNSENT) for n in range(1_000)]
    first: list[Event] = [Started("/s", "/t", 1), Failed(Copy(FILE), "why"), BreakerOpened("full", "a: why", 10.0)]
    story = [*first, *unsent, Stopped(Report(1, 0, 1.0, failed=1_001))]
    lines = await lines_for([*story, *story])
    assert lines[2:5] == [
        "uploads paused: the target is full (a: why); retrying in 10.0 s, smaller files sooner",
        "failed: 1000 more files: not sent: full (a: why)",
        "not in sync: 0 copied (0 B), 0 removed, 1001 failed in 1.0 s",
    ]
    assert len(lines) == 1 + 2 * 4, "and in the next pass they are counted anew"
    out, errors = io.StringIO(), io.StringIO()
    await shown(JsonLines(Statistics(), out, errors), story)
    assert sum(json.loads(line)["event"] == "failed" for line in out.getvalue().splitlines()) == 1_001
    assert len(errors.getvalue().splitlines()) == 3


async def test_smaller_pool_is_reported() -> None:
    assert await lines_for(
        [
            Resized(6, None, "there is more to do", 4),
            Resized(5, None, "this machine can open no more: Too many open files", 6),
            Resized(3, 3, "421 no", 5),
        ]
    ) == [
        "reduced to 5 connections: this machine can open no more: Too many open files",
        "reduced to 3 connections (the server's limit): 421 no",
    ]
    assert await lines_for([Started("/s", "/t", 16, automatic=True), LoginDeferred(2, "bye")]) == [
        "mirroring /s to /t, up to 16 connections",
        "connection 2: bye; logging in one connection at a time from now on",
    ]


async def test_plan_is_sorted_and_printed_at_the_end() -> None:
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


async def test_plan_and_verbose_lines_of_two_way_show_the_side() -> None:
    out, lines = io.StringIO(), io.StringIO()
    events: list[Event] = [
        Started("/s", "/t", 1, is_two_way=True),
        Done(Copy(Entry("z", Kind.FILE), replaces=True, side=Side.SOURCE), FILE),
        Done(Remove(FILE)),
        Stopped(Report(0, 0, 0, copied=1, to_source=1, removed=1)),
    ]
    await shown(PlanLines(Statistics(), out, io.StringIO()), events)
    assert out.getvalue() == "-> - dir/a.txt\n<- * z\n1 file to copy (0 B, 1 of them to the source), 1 to remove\n"
    await shown(Lines(Statistics(), lines, is_verbose=True), events)
    assert lines.getvalue().splitlines()[1:3] == ["<- * z", "-> - dir/a.txt"]


async def test_progress_is_shown_every_ten_seconds(autojump_clock: MockClock) -> None:
    stream = io.StringIO()
    statistics = Statistics(files_planned=10, bytes_planned=4096, is_total_known=True)
    output = Lines(statistics, stream)
    output.observe(Started("/s", "/t", 1))
    counts = []
    for _ in range(30):
        await trio.sleep(1)
        statistics.bytes_done += 100
        output.tick()
        counts.append(len(output.queue.lines))
    assert counts[8:11] == [1, 2, 2]
    assert counts[-1] == 4
    assert output.queue.lines[-1][1] == "0 of 10 files, 2.9 KiB of 4.0 KiB, 100 B/s, 11 s left"


class _Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("stream", [None, _Broken()])
async def test_m124_failed_stream_is_not_written_again(stream: TextIO | None) -> None:
    sink = Sink(stream)
    assert sink.write("text") == 4
    assert sink.is_gone
    await shown(JsonLines(Statistics(), stream, stream), EVERY_EVENT)
    await shown(Lines(Statistics(), stream, is_verbose=True), EVERY_EVENT)


async def test_cancel_drops_output_that_is_not_read() -> None:
    reader, writer = os.pipe()
    cancelling = trio.Event()
    stream = open(writer, "w")  # noqa: ASYNC230, SIM115 - closed explicitly at the end
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


# Passes over a part of a watched source.


def a_pass(report: Report, *events: Event) -> list[Event]:
    return [PassBegan("changes", ("d",)), Started("/src", "ftp://h/", 4), *events, Stopped(report)]


FIRST: list[Event] = [
    WatchStarted("inotify", 12),
    PassBegan("start"),
    Started("/src", "ftp://h/", 4),
    Stopped(Report(0, 0.0, 2.0)),
]
SHOWN = [
    "watching 12 directories (inotify)",
    "mirroring /src to ftp://h/, 4 connections",
    "in sync: nothing to do (0 files) in 2.0 s",
]


async def test_a_pass_that_found_no_change_shows_no_line() -> None:
    nothing = Report(0, 0.0, 0.1, is_partial=True)
    assert await lines_for([*FIRST, *a_pass(nothing), *a_pass(nothing)]) == SHOWN


async def test_a_pass_over_a_part_shows_one_short_line() -> None:
    report = Report(0, 0.0, 0.4, copied=3, copied_bytes=1234, removed=1, is_partial=True)
    assert (await lines_for([*FIRST, *a_pass(report)]))[3:] == ["3 copied (1.2 KiB), 1 removed in 0.4 s"]


async def test_an_outage_is_shown_once_while_the_source_is_watched() -> None:
    lost = Reconnecting(1, "connection refused", 0.5)
    down = Report(5, 0.0, 0.4, error="h could not be reached", left=1, is_partial=True)
    good = Report(0, 0.0, 0.4, copied=1, copied_bytes=5, is_partial=True)
    again = a_pass(down, lost, Retired(1, "connection refused"))
    shown = await lines_for([*FIRST, *again, *again, *again, *a_pass(good)])
    assert [line for line in shown if "refused" in line] == [
        "connection 1: connection refused; reconnecting in 0.5 s",
        "connection 1 failed for good: connection refused",
    ]
    assert [line for line in shown if "could not be reached" in line] == ["actorsync: h could not be reached"]
    assert shown[-1] == "1 copied (5 B) in 0.4 s"


async def test_a_refusal_is_shown_once_and_with_each_pass_over_everything() -> None:
    def refused(count: int, *, is_partial: bool) -> list[Event]:
        reason = f"{count} of 9 entries would be removed"
        report = Report(4, 0.0, 0.4, refused=reason, skipped=count, left=count, is_partial=is_partial)
        began = a_pass(report, RemovalsRefused(reason, count))
        return began if is_partial else [PassBegan("reconcile"), *began[1:]]

    copied = a_pass(Report(0, 0.0, 0.4, copied=1, copied_bytes=5, is_partial=True))
    removed = a_pass(Report(0, 0.0, 0.4, removed=1, is_partial=True))
    partial = [*refused(5, is_partial=True), *copied, *refused(6, is_partial=True), *refused(7, is_partial=True)]
    shown = await lines_for([*FIRST, *partial, *refused(8, is_partial=False), *removed, *refused(9, is_partial=True)])
    lines = [line for line in shown if "would be" in line]
    assert lines == [f"actorsync: {count} of 9 entries would be removed" for count in (5, 8, 9)]
    assert len([line for line in shown if " skipped" in line]) == len(lines)


async def test_lost_hints_and_poor_ways_of_watching_are_shown_with_their_reason() -> None:
    events: list[Event] = [WatchStarted("polling", 0, "/mnt is an NFS drive"), WatchLost("the machine was asleep")]
    assert await lines_for(events) == [
        "watching the source (polling: /mnt is an NFS drive)",
        "changes may have been missed (the machine was asleep): comparing everything",
    ]
