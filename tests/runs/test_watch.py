"""The loop of passes over a watched source, in virtual time, with hints that the test gives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorsync.actors.control import Control
from actorsync.actors.shutdown import Shutdown
from actorsync.actors.watching.upcoming import Upcoming
from actorsync.actors.watching.watcher import Watcher
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.model.event import Event, Noticed, WatchLost, WatchStarted
from actorsync.model.report import Report
from actorsync.planning.selection import Selection
from actorsync.planning.watching.agenda import Agenda, Left, Turn
from actorsync.runs.repeating.watch import WatchLoop
from tests.support.fake_hints import FakeHints, HintedSource

HOUR = 3_600.0


@attrs.define(eq=False)
class Stage:
    """A loop over a source that is watched by fake hints. Passes take ``seconds`` and end as ``script`` says."""

    seconds: float = 0.1
    script: Iterator[tuple[int, Left]] = attrs.Factory(lambda: iter(()))
    shutdown: Shutdown = attrs.Factory(Shutdown)
    control: Control = attrs.Factory(Control)
    hints: FakeHints = attrs.Factory(FakeHints)
    agenda: Agenda = attrs.Factory(lambda: Agenda(0.2, 2.0, HOUR, lambda: 0.5))
    began: list[tuple[float, Turn]] = attrs.Factory(list)
    events: list[Event] = attrs.Factory(list)
    started_at: float = attrs.Factory(trio.current_time)
    code: int | None = -1
    ended_at: float = 0.0

    async def one_pass(self, turn: Turn) -> tuple[Report, Left]:
        self.began.append((trio.current_time() - self.started_at, turn))
        await trio.sleep(self.seconds)
        code, left = next(self.script, (0, Left()))
        return Report(code, 0.0, self.seconds), left

    async def run(self) -> None:
        source = HintedSource(MemoryEndpoint("source"), self.hints)
        loop = WatchLoop(self.agenda, self.shutdown, self.control)
        watcher = Watcher(partial(source.watch, Selection()), self.agenda, self.events.append, loop.wake)
        self.code = await loop.run(watcher.run, self.one_pass)
        self.ended_at = trio.current_time() - self.started_at
        assert not source.is_watched

    async def play(self, meanwhile: Callable[[], Awaitable[object]]) -> list[tuple[float, Turn]]:
        """Run the loop and ``meanwhile``, then drain. Return the passes, each with the time when it began."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.run)
            await wait_all_tasks_blocked()
            await meanwhile()
            self.shutdown.drain()
        return self.began


def turns(began: list[tuple[float, Turn]]) -> list[tuple[float, object]]:
    return [(round(at, 3), turn.reason if turn.within is None else set(turn.within)) for at, turn in began]


async def test_the_watch_begins_before_the_first_pass(autojump_clock: MockClock) -> None:
    stage = Stage()
    order: list[str] = []

    async def slow_watch(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await trio.sleep(3)
        order.append("watching")
        task_status.started()
        await trio.sleep_forever()

    async def one_pass(turn: Turn) -> tuple[Report, Left]:
        order.append(turn.reason)
        stage.shutdown.drain()
        return Report(0, 0.0, 0.0), Left()

    loop = WatchLoop(stage.agenda, stage.shutdown, stage.control)
    assert await loop.run(slow_watch, one_pass) == 0
    assert order == ["watching", "start"]


async def test_a_change_is_mirrored_after_a_rest(autojump_clock: MockClock) -> None:
    stage = Stage()

    async def edit() -> None:
        await trio.sleep(10)
        stage.hints.add("a")
        await trio.sleep(0.1)
        stage.hints.add("a/b")
        await trio.sleep(5)

    assert turns(await stage.play(edit)) == [(0.0, "start"), (10.3, {"a", "a/b"})]
    assert stage.code == 0
    assert stage.events == [WatchStarted("inotify", 1), Noticed()]


async def test_no_hint_begins_no_pass(autojump_clock: MockClock) -> None:
    stage = Stage()
    assert turns(await stage.play(partial(trio.sleep, HOUR / 2))) == [(0.0, "start")]


async def test_hints_during_a_pass_are_taken_by_the_next(autojump_clock: MockClock) -> None:
    stage = Stage(seconds=5)

    async def edit() -> None:
        await trio.sleep(1)
        stage.hints.add("a")
        await trio.sleep(20)

    assert turns(await stage.play(edit)) == [(0.0, "start"), (5.0, {"a"})]


async def test_lost_hints_are_reported_and_make_a_full_pass(autojump_clock: MockClock) -> None:
    stage = Stage()

    async def overflow() -> None:
        await trio.sleep(10)
        stage.hints.add("a")
        stage.hints.lose("the queue has overflowed")
        await trio.sleep(5)

    assert turns(await stage.play(overflow)) == [(0.0, "start"), (10.2, "the queue has overflowed")]
    assert stage.events == [WatchStarted("inotify", 1), WatchLost("the queue has overflowed"), Noticed()]


async def test_another_way_of_watching_is_reported(autojump_clock: MockClock) -> None:
    stage = Stage()

    async def run_out_of_watches() -> None:
        await trio.sleep(10)
        stage.hints.how, stage.hints.why = "polling", "no watches are left"
        stage.hints.lose("no watches are left")
        await trio.sleep(5)

    await stage.play(run_out_of_watches)
    assert stage.events[-1] == WatchStarted("polling", 1, "no watches are left")


@pytest.mark.parametrize("code", [6, 7, 130])
async def test_a_permanent_failure_ends_the_loop(code: int, autojump_clock: MockClock) -> None:
    stage = Stage(script=iter([(code, Left())]))
    await stage.run()
    assert stage.code == code


async def test_an_unreachable_target_is_tried_less_and_less_and_keeps_the_changes(autojump_clock: MockClock) -> None:
    down = Left(is_unreachable=True)
    stage = Stage(seconds=1, script=iter([(0, Left()), (5, down), (5, down), (5, down)]))

    async def edit() -> None:
        await trio.sleep(10)
        stage.hints.add("a")
        await trio.sleep(3)
        stage.hints.add("b")
        await trio.sleep(60)

    expected = [(0.0, "start"), (10.2, {"a"}), (12.2, {"a"}), (15.2, {"a", "b"}), (20.2, {"a", "b"})]
    assert turns(await stage.play(edit)) == expected
    assert stage.code == 0


async def test_a_drain_between_passes_ends_at_once_with_0(autojump_clock: MockClock) -> None:
    stage = Stage(script=iter([(1, Left({"a"}))]))
    await stage.play(partial(trio.sleep, 0.5))
    assert (stage.code, round(stage.ended_at, 3), len(stage.began)) == (0, 0.5, 1)


async def test_a_drain_during_the_rest_begins_no_pass(autojump_clock: MockClock) -> None:
    stage = Stage()

    async def edit() -> None:
        await trio.sleep(10)
        stage.hints.add("a")
        await trio.sleep(0.1)

    assert turns(await stage.play(edit)) == [(0.0, "start")]


@pytest.mark.parametrize("code", [0, 1, 3])
async def test_a_drain_during_a_pass_ends_with_its_exit_code(code: int, autojump_clock: MockClock) -> None:
    stage = Stage(seconds=5, script=iter([(code, Left())]))
    await stage.play(partial(trio.sleep, 1))
    assert (stage.code, round(stage.ended_at, 3)) == (code, 5.0)


async def test_a_drain_while_the_watch_begins_makes_no_pass(autojump_clock: MockClock) -> None:
    stage = Stage()

    async def endless(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await trio.sleep_forever()

    loop = WatchLoop(stage.agenda, stage.shutdown, stage.control)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 3)
        stage.shutdown.drain()
        assert await loop.run(endless, stage.one_pass) is None
    assert stage.began == []


async def test_no_pass_begins_while_the_run_is_paused(autojump_clock: MockClock) -> None:
    stage = Stage()

    async def pause() -> None:
        await trio.sleep(10)
        stage.control.pause()
        stage.hints.add("a")
        await trio.sleep(2 * HOUR)
        stage.control.resume()
        await trio.sleep(5)

    assert turns(await stage.play(pause)) == [(0.0, "start"), (10 + 2 * HOUR, "reconcile")]


async def test_a_drain_while_the_run_is_paused_ends_at_once(autojump_clock: MockClock) -> None:
    stage = Stage()

    async def pause() -> None:
        await trio.sleep(10)
        stage.control.pause()
        await trio.sleep(1)

    await stage.play(pause)
    assert (stage.code, round(stage.ended_at, 3)) == (0, 11.0)


async def test_a_rescan_makes_a_full_pass_at_once(autojump_clock: MockClock) -> None:
    stage = Stage()

    async def ask() -> None:
        await trio.sleep(10)
        stage.control.rescan()
        await trio.sleep(5)

    assert turns(await stage.play(ask)) == [(0.0, "start"), (10.0, "rescan")]
    assert not stage.control.is_rescan_due


async def test_directories_that_are_asked_for_are_listed_at_once(autojump_clock: MockClock) -> None:
    stage = Stage()

    async def ask() -> None:
        await trio.sleep(10)
        stage.control.look_at(["a", "b"])
        await trio.sleep(5)

    assert turns(await stage.play(ask)) == [(0.0, "start"), (10.0, {"a", "b"})]


async def test_a_retry_lists_the_directory_of_its_path_at_once(autojump_clock: MockClock) -> None:
    stage = Stage()

    async def ask() -> None:
        await trio.sleep(10)
        stage.control.retry("a/b.txt")
        await trio.sleep(0.05)
        stage.control.retries.clear()  # as the planner of the pass does
        await trio.sleep(5)

    assert turns(await stage.play(ask)) == [(0.0, "start"), (10.0, {"a"})]


async def test_a_full_pass_follows_after_the_interval(autojump_clock: MockClock) -> None:
    stage = Stage()
    assert turns(await stage.play(partial(trio.sleep, HOUR + 1))) == [(0.0, "start"), (HOUR, "reconcile")]


async def test_what_the_watch_raises_is_raised_alone(autojump_clock: MockClock) -> None:
    stage = Stage()

    async def broken(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep(3)
        raise ZeroDivisionError("a bug")

    loop = WatchLoop(stage.agenda, stage.shutdown, stage.control)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        await loop.run(broken, stage.one_pass)


async def test_displays_are_told_what_comes_next(mock_clock: MockClock) -> None:
    agenda = Agenda(0.2, 2.0, HOUR, lambda: 0.5)
    upcoming = Upcoming(wall_clock=lambda: 1_000_000.0)
    assert (upcoming.behind_since, upcoming.full_at) == (None, None)
    upcoming.agenda = agenda
    assert (upcoming.behind_since, upcoming.full_at) == (None, None)
    agenda.begin(trio.current_time())
    agenda.hint({"a"}, trio.current_time())
    mock_clock.jump(10)
    assert upcoming.behind_since == pytest.approx(1_000_000 - 10)
    assert upcoming.full_at == pytest.approx(1_000_000 + HOUR - 10)
