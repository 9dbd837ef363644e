"""The caller's stages and hooks: what they can do, what ends the run, and that no entry is lost. Virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio
from trio.abc import ReceiveChannel, SendChannel
from trio.testing import MockClock

from actorsync.actors.feed import CAPACITY, Feed
from actorsync.actors.pipeline import (
    Change,
    ListingStage,
    OperationStage,
    Pipeline,
    Stage,
    listing_stage,
    operation_stage,
)
from actorsync.errors import GuardRefused, OperationRefused, StageFailed
from actorsync.model.entry import Entry, Kind, Listing, join, name_of
from actorsync.model.event import Adopted, Event, Scanned, Stopped, Warned
from actorsync.model.operation import Copy, Done, Failed, MakeDirectory, Move, Remove, Returned
from actorsync.model.report import Report
from actorsync.testing.faulty_endpoint import Faulty
from tests.actors.test_supervisor import at
from tests.support.world.memory_mirror import Mirror

Verdicts = SendChannel[Change | Failed]
SITE = {"a": b"1", "b.log": b"22", "d/c": b"333", "d/e.log": b"4444", "logs/f": b"5"}


def site() -> Mirror:
    mirror = Mirror()
    for path, data in SITE.items():
        mirror.source.write(path, data)
    return mirror


def changing(change: Callable[[Listing], Listing | None]) -> ListingStage:
    @listing_stage
    async def stage(receive: ReceiveChannel[Listing], send: SendChannel[Listing]) -> None:
        async for listing in receive:
            changed = change(listing)
            if changed is not None:
                await send.send(changed)

    return stage


def without(unwanted: Callable[[Entry], bool]) -> ListingStage:
    def change(listing: Listing) -> Listing:
        return attrs.evolve(listing, entries=tuple(entry for entry in listing.entries if not unwanted(entry)))

    return changing(change)


def judging(judge: Callable[[Change], Change | Failed | None]) -> OperationStage:
    @operation_stage
    async def stage(receive: ReceiveChannel[Change], send: Verdicts) -> None:
        async for operation in receive:
            verdict = judge(operation)
            if verdict is not None:
                await send.send(verdict)

    return stage


def through(*stages: Stage) -> Pipeline:
    return Pipeline(stages)


# ---- listings


async def test_stage_that_passes_everything_on_changes_nothing(autojump_clock: MockClock) -> None:
    mirror = site()
    report = await mirror.run(pipeline=through(changing(lambda listing: listing), judging(lambda operation: operation)))
    assert (report.exit_code, report.copied, report.left) == (0, 5, 0)
    assert mirror.target.files() == SITE
    mirror.check_nothing_left()
    report = await mirror.run(pipeline=through(changing(lambda listing: listing), judging(lambda operation: operation)))
    assert (report.copied, report.removed) == (0, 0)


async def test_entry_taken_out_by_a_stage_is_not_sent_and_stays_on_the_target(autojump_clock: MockClock) -> None:
    mirror = site()
    mirror.source.write("b.log", b"old")
    await mirror.run()
    mirror.source.write("b.log", b"newer")
    mirror.source.write("g.log", b"new")
    report = await mirror.run(pipeline=through(without(lambda entry: entry.path.endswith(".log"))))
    assert (report.exit_code, report.copied, report.removed) == (0, 0, 0)
    assert mirror.target.files() == {**SITE, "b.log": b"old"}


async def test_directory_taken_out_by_a_stage_is_neither_sent_nor_removed(
    autojump_clock: MockClock,
) -> None:
    mirror = site()
    await mirror.run()
    mirror.source.delete("logs/f")
    mirror.source.write("logs/deep/h", b"new")
    report = await mirror.run(pipeline=through(without(lambda entry: entry.path == "logs")))
    assert (report.exit_code, report.copied, report.removed) == (0, 0, 0)
    assert mirror.target.files() == SITE


@pytest.mark.parametrize(("directory", "gone"), [("", "d/c"), ("d", "a")])
async def test_listing_not_sent_on_removes_nothing(directory: str, gone: str, autojump_clock: MockClock) -> None:
    mirror = site()
    await mirror.run()
    mirror.source.delete("d/c")
    mirror.source.delete("a")
    report = await mirror.run(
        pipeline=through(changing(lambda listing: None if listing.directory == directory else listing))
    )
    assert report.exit_code == 0
    assert mirror.target.files() == {path: SITE[path] for path in SITE if path != gone}, (
        "the other listings were sent on"
    )


async def test_stage_that_returns_early_leaves_out_the_rest(autojump_clock: MockClock) -> None:
    @listing_stage
    async def only_the_first(receive: ReceiveChannel[Listing], send: SendChannel[Listing]) -> None:
        await send.send(await receive.receive())

    mirror = site()
    report = await mirror.run(pipeline=through(only_the_first))
    assert report.exit_code == 0
    assert mirror.target.files() == {"a": b"1", "b.log": b"22"}
    mirror.source.delete("a")
    await mirror.run()
    assert mirror.target.files() == mirror.source.files()


def renamed(listing: Listing, name: str) -> Listing:
    entries = tuple(attrs.evolve(entry, path=join(listing.directory, name)) for entry in listing.entries)
    return attrs.evolve(listing, entries=entries)


BAD_LISTINGS: dict[str, tuple[Callable[[Listing], Any], str]] = {
    "another directory": (lambda listing: Listing("elsewhere"), "that it has not received, or has sent before"),
    "no listing": (lambda listing: listing.entries, "sent a tuple; a listing stage sends Listings"),
    "a name that no file has": (lambda listing: renamed(listing, ".."), "a name that no file has"),
    "child of another directory": (lambda listing: renamed(listing, "x/y"), "a name that no file has"),
    "the same name twice": (lambda listing: renamed(listing, "same"), "two entries of the name 'same' in the root"),
}


@pytest.mark.parametrize("mistake", BAD_LISTINGS)
async def test_stage_that_sends_an_invalid_listing_ends_the_run(mistake: str, autojump_clock: MockClock) -> None:
    change, text = BAD_LISTINGS[mistake]
    mirror = site()
    with pytest.raises(StageFailed, match=text):
        await mirror.run(pipeline=through(changing(change)))
    assert mirror.target.files() == {}
    assert isinstance(mirror.events[-1], Stopped)
    assert mirror.events[-1].report.exit_code == 7
    assert (await mirror.run()).exit_code == 0


async def test_listing_sent_twice_ends_the_run(autojump_clock: MockClock) -> None:
    @listing_stage
    async def twice(receive: ReceiveChannel[Listing], send: SendChannel[Listing]) -> None:
        async for listing in receive:
            await send.send(listing)
            await send.send(listing)

    with pytest.raises(StageFailed, match="twice sent a listing of the root that it has not received, or has sent"):
        await site().run(pipeline=through(twice))


# ---- operations


async def test_operation_not_sent_on_is_left_for_the_next_run(autojump_clock: MockClock) -> None:
    mirror = site()
    report = await mirror.run(
        pipeline=through(judging(lambda operation: None if operation.path.endswith(".log") else operation))
    )
    assert (report.exit_code, report.copied, report.left) == (0, 3, 2)
    assert sorted(event.operation.path for event in mirror.seen(Returned)) == ["b.log", "d/e.log"]
    report = await mirror.run()
    assert (report.exit_code, report.copied, report.left) == (0, 2, 0)
    assert mirror.target.files() == SITE


async def test_removal_left_out_keeps_its_directory(autojump_clock: MockClock) -> None:
    mirror = site()
    await mirror.run()
    mirror.source.delete("d")
    mirror.source.delete("logs")

    def spare(operation: Change) -> Change | None:
        return None if isinstance(operation, Remove) and operation.path.endswith(".log") else operation

    report = await mirror.run(pipeline=through(judging(spare)))
    assert (report.exit_code, report.failed) == (0, 0)
    assert mirror.target.files() == {"a": b"1", "b.log": b"22", "d/e.log": b"4444"}
    report = await mirror.run()
    assert (report.exit_code, report.removed) == (0, 2)
    assert mirror.target.files() == {"a": b"1", "b.log": b"22"}


@pytest.mark.parametrize("path", ["a", "d", "d/c"])
async def test_stage_can_fail_an_operation(path: str, autojump_clock: MockClock) -> None:
    mirror = site()
    report = await mirror.run(
        pipeline=through(
            judging(lambda operation: Failed(operation, "too big") if operation.path == path else operation),
            judging(lambda operation: operation),
        )
    )
    assert report.exit_code == 1
    assert (path, "too big") in report.failures
    missing = {p for p in SITE if p == path or p.startswith(path + "/")}
    assert mirror.target.files().keys() == SITE.keys() - missing
    assert (await mirror.run()).exit_code == 0
    assert mirror.target.files() == SITE


async def test_stage_can_fail_a_removal_and_the_entry_stays(autojump_clock: MockClock) -> None:
    mirror = site()
    await mirror.run()
    mirror.source.delete("d")

    def no_removal(operation: Change) -> Change | Failed:
        return Failed(operation, "ask first") if isinstance(operation, Remove) else operation

    report = await mirror.run(pipeline=through(judging(no_removal)))
    assert report.exit_code == 1
    assert mirror.target.files() == SITE
    assert (await mirror.run()).removed == 3


@pytest.mark.parametrize("behind", [0, 1])
async def test_operation_sent_after_the_end_of_input_is_done_last(behind: int, autojump_clock: MockClock) -> None:
    @operation_stage
    async def manifest_last(receive: ReceiveChannel[Change], send: Verdicts) -> None:
        held = []
        async for operation in receive:
            if operation.path in {"manifest", "index"}:
                held.append(operation)
            else:
                await send.send(operation)
        for operation in held:
            await send.send(operation)

    mirror = Mirror()
    mirror.source.write("manifest", b"x" * 1_000)  # the biggest, which would otherwise be the first
    mirror.source.write("index", b"y" * 999)
    mirror.fill(40)
    more = [judging(lambda operation: operation)] * behind
    report = await mirror.run(pipeline=through(manifest_last, *more))
    assert (report.exit_code, report.copied) == (0, 42)
    commits = [path for verb, path in mirror.target.log if verb == "commit"]
    stages = [path for verb, path in mirror.target.log if verb == "stage"]
    assert set(commits[-2:]) == {"manifest", "index"}
    last_of_the_others = max(
        index for index, (verb, path) in enumerate(mirror.target.log) if verb == "commit" and path.startswith("d/")
    )
    assert all(
        index > last_of_the_others
        for index, (verb, path) in enumerate(mirror.target.log)
        if verb == "stage" and ("manifest" in path or "index" in path)
    )
    assert len(stages) == 42


async def test_operation_of_the_stage_s_own_ends_the_run(autojump_clock: MockClock) -> None:
    mirror = site()
    own = Copy(Entry("own", Kind.FILE, 3))
    with pytest.raises(StageFailed, match="sent an operation on 'own' that it has not received"):
        await mirror.run(pipeline=through(judging(lambda operation: own)))
    with pytest.raises(StageFailed, match="sent an operation on 'a' that it has not received"):
        await mirror.run(pipeline=through(judging(lambda operation: attrs.evolve(operation))))
    with pytest.raises(StageFailed, match="sent a str; an operation stage sends operations, or Failed"):
        await mirror.run(pipeline=through(judging(lambda operation: "x")))  # type: ignore[arg-type,return-value]
    assert (await mirror.run()).exit_code == 0


async def test_operation_sent_twice_ends_the_run(autojump_clock: MockClock) -> None:
    @operation_stage
    async def twice(receive: ReceiveChannel[Change], send: Verdicts) -> None:
        async for operation in receive:
            await send.send(operation)
            await send.send(operation)

    with pytest.raises(StageFailed, match="or has sent before"):
        await site().run(pipeline=through(twice))


# ---- a stage that raises, hangs, or is slow


def raising(kind: str, error: Exception) -> Stage:
    async def stage(receive: ReceiveChannel[Any], send: SendChannel[Any]) -> None:
        await send.send(await receive.receive())
        raise error

    return listing_stage(stage) if kind == "listings" else operation_stage(stage)


@pytest.mark.parametrize("kind", ["listings", "operations"])
async def test_exception_in_a_stage_ends_the_run(kind: str, autojump_clock: MockClock) -> None:
    mirror = site()
    error = ValueError("too\nbad")
    with pytest.raises(StageFailed, match=r"raising.<locals>.stage raised ValueError: too.*bad") as raised:
        await mirror.run(pipeline=through(raising(kind, error)))
    assert raised.value.__cause__ is error
    assert "\n" not in str(raised.value)
    last = mirror.events[-1]
    assert isinstance(last, Stopped)
    assert (last.report.exit_code, last.report.error) == (7, str(raised.value))
    assert (await mirror.run()).exit_code == 0
    assert mirror.target.files() == SITE
    mirror.check_nothing_left()


@pytest.mark.parametrize("kind", ["listings", "operations"])
async def test_guard_refused_raised_by_a_stage_ends_the_run_with_exit_code_4(
    kind: str, autojump_clock: MockClock
) -> None:
    report = await site().run(pipeline=through(raising(kind, GuardRefused("not on a friday"))))
    assert (report.exit_code, report.error) == (4, "not on a friday")


def hanging(kind: str) -> Stage:
    async def stage(receive: ReceiveChannel[Any], send: SendChannel[Any]) -> None:
        await send.send(await receive.receive())
        await receive.receive()
        await trio.sleep_forever()

    return listing_stage(stage) if kind == "listings" else operation_stage(stage)


@pytest.mark.parametrize("verb", ["drain", "cancel", "now"])
@pytest.mark.parametrize("kind", ["listings", "operations"])
async def test_hanging_stage_is_stopped_with_the_run(kind: str, verb: str, autojump_clock: MockClock) -> None:
    mirror = site()
    reports: list[Report] = []

    async def run() -> None:
        reports.append(await mirror.run(pipeline=through(hanging(kind))))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.sleep(100)
        assert not reports
        began = trio.current_time()
        getattr(mirror.shutdown, verb)()
    assert trio.current_time() - began < 1, "it does not delay even a drain"
    assert reports[0].exit_code == (3 if verb == "drain" else 130)
    assert kind == "listings" or verb != "drain" or reports[0].left >= 1
    mirror.shutdown = type(mirror.shutdown)()
    assert (await mirror.run()).exit_code == 0
    assert mirror.target.files() == SITE


@pytest.mark.parametrize("kind", ["listings", "operations"])
async def test_slow_stage_slows_the_run_and_nothing_accumulates(kind: str, autojump_clock: MockClock) -> None:
    mirror = Mirror()
    for number in range(600):
        mirror.source.write(f"d{number}/f", b"1")
    taken = furthest = 0

    async def slow(receive: ReceiveChannel[Any], send: SendChannel[Any]) -> None:
        nonlocal taken
        async for item in receive:
            taken += 1
            await trio.sleep(1)
            await send.send(item)

    def look(event: Event) -> None:
        nonlocal furthest
        if isinstance(event, Scanned) and event.directory:
            furthest = max(furthest, mirror.statistics.files_found - taken)

    stage = listing_stage(slow) if kind == "listings" else operation_stage(slow)
    report = await mirror.run(pipeline=through(stage), observe=look)
    assert (report.exit_code, report.copied) == (0, 600)
    assert furthest < 300, "the scanner waits for the stage"


# ---- hooks


def hooks(mirror: Mirror) -> tuple[list[str], Pipeline]:
    told: list[str] = []

    async def before() -> None:
        told.append(f"before, with {len([p for p in mirror.target.files() if '.tmp' not in p])} files")
        await trio.sleep(5)

    async def after(report: Report) -> None:
        told.append(f"after {report.copied} copied, {report.removed} removed")

    return told, Pipeline(before_commit=before, after_run=after)


async def test_hooks_are_awaited_around_changes_only(autojump_clock: MockClock) -> None:
    mirror = site()
    told, pipeline = hooks(mirror)
    assert (await mirror.run(pipeline=pipeline)).exit_code == 0
    assert told == ["before, with 0 files", "after 5 copied, 0 removed"]
    told.clear()
    assert (await mirror.run(pipeline=pipeline)).exit_code == 0
    assert told == [], "nothing has changed"
    mirror.source.delete("a")
    assert (await mirror.run(pipeline=pipeline)).exit_code == 0
    assert told == ["before, with 5 files", "after 0 copied, 1 removed"]


async def test_run_that_adopts_everything_awaits_no_hook(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    for tree in (mirror.source, mirror.target):
        tree.write("a", b"1", 1_000_000_000)
    told, pipeline = hooks(mirror)
    mirror.wall_ns = lambda: 1_700_000_000 * 10**9 + 10**15
    await mirror.run(pipeline=pipeline)
    assert mirror.seen(Adopted)
    assert told == []


async def test_exception_in_before_commit_leaves_the_target_unchanged(autojump_clock: MockClock) -> None:
    mirror = site()

    async def refuse() -> None:
        raise OSError("the site cannot be put aside")

    ended: list[Report] = []

    async def after(report: Report) -> None:
        ended.append(report)

    with pytest.raises(StageFailed, match="the hook before_commit raised OSError: the site cannot be put aside"):
        await mirror.run(pipeline=Pipeline(before_commit=refuse, after_run=after))
    assert [verb for verb, _ in mirror.target.log if verb in {"commit", "remove"}] == []
    assert [path for verb, path in mirror.target.log if verb == "make" and path] == []
    assert ended == []
    assert (await mirror.run()).exit_code == 0
    mirror.check_nothing_left()


async def test_exception_in_after_run_is_raised_and_the_changes_stay(autojump_clock: MockClock) -> None:
    mirror = site()

    async def after(report: Report) -> None:
        raise ValueError

    with pytest.raises(StageFailed, match="the hook after_run raised ValueError"):
        await mirror.run(pipeline=Pipeline(after_run=after))
    assert mirror.target.files() == SITE
    assert isinstance(mirror.events[-1], Stopped)
    assert mirror.events[-1].report.exit_code == 7


@pytest.mark.parametrize("verb", ["drain", "cancel"])
async def test_hanging_after_run_is_cut_short_by_a_stop(verb: str, autojump_clock: MockClock) -> None:
    mirror = site()
    hangs = trio.Event()

    async def after(report: Report) -> None:
        hangs.set()
        await trio.sleep_forever()

    async def run() -> None:
        await mirror.run(pipeline=Pipeline(after_run=after))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await hangs.wait()
        began = trio.current_time()
        getattr(mirror.shutdown, verb)()
    assert trio.current_time() - began <= mirror.shutdown.longest
    assert [event.text for event in mirror.seen(Warned)] == [
        "the hook after_run was cancelled: it did not return in the time that a stop allows"
    ]
    assert isinstance(mirror.events[-1], Stopped)


async def test_after_run_is_awaited_after_a_cancelled_run(autojump_clock: MockClock) -> None:
    mirror = site()
    told, pipeline = hooks(mirror)

    def stop(event: Event) -> None:
        if isinstance(event, Done) and isinstance(event.operation, MakeDirectory) and event.operation.path:
            mirror.shutdown.cancel()

    report = await mirror.run(pipeline=pipeline, observe=stop)
    assert report.exit_code == 130
    assert len(told) == 2


# ---- the feed


async def test_slow_reader_slows_the_run_and_misses_no_event(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(3 * CAPACITY)
    feed = Feed()
    read: list[Event] = []
    furthest = 0

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: mirror.run(feed=feed))
        async for event in feed:
            read.append(event)
            furthest = max(furthest, len(feed._events))
            await trio.sleep(0.1)
    assert read == mirror.events
    assert isinstance(read[-1], Stopped)
    assert furthest <= CAPACITY + 501, "the recorder publishes one group at once"


async def test_unread_feed_does_not_slow_the_run_and_keeps_the_last_events(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(3 * CAPACITY)
    feed = Feed()
    assert (await mirror.run(feed=feed)).exit_code == 0
    assert len(feed._events) == CAPACITY
    assert [event async for event in feed] == mirror.events[-CAPACITY:]


@pytest.mark.parametrize("stop", ["drain", "cancel"])
async def test_reader_that_stops_reading_does_not_delay_a_stop(stop: str, autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(3 * CAPACITY)
    feed = Feed()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: mirror.run(feed=feed))
        await anext(aiter(feed))
        await trio.sleep(100)
        assert not isinstance(mirror.events[-1], Stopped), "it waits for the reader"
        began = trio.current_time()
        getattr(mirror.shutdown, stop)()
    assert trio.current_time() - began <= mirror.shutdown.longest
    assert isinstance(mirror.events[-1], Stopped)


def test_stage_has_the_name_of_its_function() -> None:
    async def own(receive: ReceiveChannel[Any], send: SendChannel[Any]) -> None: ...

    make: Callable[[Callable[[Any, Any], Awaitable[None]]], Stage]
    for make in (listing_stage, operation_stage):
        assert name_of(make(own).name.replace(".", "/")) == "own"


# ---- moves


def renamed_folder() -> Mirror:
    mirror = Mirror()
    for number in range(6):
        mirror.source.write(f"old/{number}", b"%d" % number * 99, 1_600_000_000_123_456_789)
    return mirror


async def test_rename_passes_through_the_stages_as_a_move(autojump_clock: MockClock) -> None:
    mirror = renamed_folder()
    await mirror.run()
    mirror.source.rename("old", "new")
    asked: list[Change] = []

    def note(operation: Change) -> Change:
        asked.append(operation)
        return operation

    report = await mirror.run(pipeline=through(judging(note), judging(lambda operation: operation)))
    assert (report.exit_code, report.moved, report.copied) == (0, 6, 0)
    assert sum(isinstance(operation, Move) for operation in asked) == 6
    assert mirror.target.files() == mirror.source.files()
    mirror.check_nothing_left()


@pytest.mark.parametrize("fails", [False, True])
async def test_move_not_sent_on_leaves_the_file_under_its_old_name(fails: bool, autojump_clock: MockClock) -> None:
    mirror = renamed_folder()
    await mirror.run()
    mirror.source.rename("old", "new")

    def judge(operation: Change) -> Change | Failed | None:
        if isinstance(operation, Move) and operation.path == "new/3":
            return Failed(operation, "not this one") if fails else None
        return operation

    report = await mirror.run(pipeline=through(judging(judge)))
    assert (report.exit_code, report.moved, report.removed) == (int(fails), 5, 0)
    assert mirror.target.files() == {
        ("old/3" if path == "new/3" else path): data for path, data in mirror.source.files().items()
    }
    assert (await mirror.run()).exit_code == 0
    assert mirror.target.files() == mirror.source.files()


async def test_file_whose_removal_is_left_out_is_not_moved_either(autojump_clock: MockClock) -> None:
    mirror = renamed_folder()
    await mirror.run()
    mirror.source.rename("old", "new")
    report = await mirror.run(
        pipeline=through(judging(lambda operation: None if isinstance(operation, Remove) else operation))
    )
    assert (report.exit_code, report.moved, report.removed, report.copied) == (0, 0, 0, 6)
    files = mirror.source.files()
    assert mirror.target.files() == {**files, **{path.replace("new", "old"): data for path, data in files.items()}}


async def test_refused_move_becomes_a_copy_that_bypasses_the_stages(autojump_clock: MockClock) -> None:
    mirror = renamed_folder()
    await mirror.run()
    mirror.source.rename("old", "new")
    target = Faulty(mirror.target, at("move", OperationRefused("no")))
    report = await mirror.run(target, pipeline=through(judging(lambda operation: operation)))
    assert (report.exit_code, report.moved, report.copied) == (0, 0, 6)
    assert mirror.target.files() == mirror.source.files()


def test_function_that_is_not_decorated_is_no_stage() -> None:
    async def forgotten(receive: object, send: object) -> None:
        raise AssertionError

    stages: Any = (forgotten,)
    with pytest.raises(TypeError, match=r"stages: .*forgotten is not a stage; put @actorsync.listing_stage or"):
        Pipeline(stages)
