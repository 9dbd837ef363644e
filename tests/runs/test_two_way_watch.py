"""Two sides that are kept in step while both are watched: a local one by hints, a server by listing it again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorsync.actors.control import Control
from actorsync.actors.shutdown import Shutdown
from actorsync.endpoints.contract import Source
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.wrappers.warm import WarmEndpoint
from actorsync.model.event import Event, WatchStarted
from actorsync.model.operation import Side
from actorsync.model.pair import other
from actorsync.model.report import Report
from actorsync.planning.pairs.settling import Settling
from actorsync.planning.selection import Selection
from actorsync.planning.watching.agenda import Agenda, Left, Turn
from actorsync.runs.repeating.endings import Aftermath
from actorsync.runs.repeating.watch import WatchLoop
from actorsync.runs.repeating.watched import watch_sides
from tests.runs.profiles import make_profile, tree
from tests.runs.test_watched_profiles import watching
from tests.support.fake_hints import FakeHints, HintedSource
from tests.support.two_way import TwoTrees, tree_of

HOUR = 3_600.0
SETTLE = 5.0
#: A server is listed again after this many seconds, at most.
POLL = 31.0


@attrs.define(eq=False)
class TreesInTime(TwoTrees):
    """Two trees whose clock is that of the test."""

    def tick(self) -> int:
        return self.now_ns + int(trio.current_time() * 1e9)


@attrs.define(eq=False)
class Watched:
    """A local side with hints of the test and a server that is polled, and the loop that keeps them in step."""

    local: Side
    trees: TreesInTime
    hints: FakeHints = attrs.Factory(FakeHints)
    agenda: Agenda = attrs.Factory(lambda: Agenda(0.2, 2.0, HOUR, lambda: 0.5))
    settling: Settling = attrs.Factory(lambda: Settling(SETTLE))
    events: list[Event] = attrs.Factory(list)
    passes: list[tuple[Turn, Report]] = attrs.Factory(list)
    shutdown: Shutdown = attrs.Factory(Shutdown)

    async def one_pass(self, turn: Turn) -> tuple[Report, Left]:
        after = Aftermath(self.trees.tick)
        done = await self.trees.run(within=turn.within, settling=self.settling, observe=after.observe)
        self.passes.append((turn, done.report))
        return done.report, after.left(done.report)

    async def run(self) -> None:
        loop = WatchLoop(self.agenda, self.shutdown, Control())
        near = HintedSource(self.at(self.local), self.hints)
        far = WarmEndpoint(self.at(other(self.local)), 60.0)
        sides: list[Source] = [near, far] if self.local is Side.SOURCE else [far, near]
        watch = partial(watch_sides, sides, Selection(), self.agenda, self.events.append, loop.wake)
        assert await loop.run(watch, self.one_pass) == 0

    def at(self, side: Side) -> MemoryEndpoint:
        return self.trees.source if side is Side.SOURCE else self.trees.target

    def write(self, side: Side, path: str, content: bytes) -> None:
        self.at(side).write(path, content)
        self._hint(side)

    def delete(self, side: Side, path: str) -> None:
        self.at(side).delete(path)
        self._hint(side)

    def _hint(self, side: Side) -> None:
        if side is self.local:
            self.hints.add("d")

    async def until(self, condition: Callable[[], bool]) -> float:
        """Wait until a condition holds, for two minutes at most, and return the seconds that this took."""
        began = trio.current_time()
        while not condition():
            assert trio.current_time() < began + 120, (tree_of(self.trees.source), tree_of(self.trees.target))
            await trio.sleep(0.05)
        return trio.current_time() - began


@asynccontextmanager
async def watched(local: Side) -> AsyncIterator[Watched]:
    """Watch two equal trees during the block. The first passes are over."""
    is_source = local is Side.SOURCE
    trees = TreesInTime(is_source_remote=not is_source, is_target_remote=is_source)
    for number in range(3):
        trees.source.write(f"d/{number}", b"%d" % number)
    world = Watched(local, trees)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.run)
        await wait_all_tasks_blocked()
        await trio.sleep(2 * POLL)
        assert tree_of(trees.source) == tree_of(trees.target)
        world.passes.clear()
        yield world
        world.shutdown.drain()


@pytest.mark.parametrize("local", list(Side), ids=lambda it: f"local-{it.value}")
async def test_a_change_on_either_side_arrives_on_the_other_one(autojump_clock: MockClock, local: Side) -> None:
    async with watched(local) as world:
        server = other(local)
        world.write(local, "d/0", b"written here")
        here = await world.until(lambda: world.at(server).files()["d/0"] == b"written here")
        assert here < 1, "a hint is followed at once"
        world.write(server, "d/1", b"written there")
        there = await world.until(lambda: world.at(local).files()["d/1"] == b"written there")
        assert there < POLL + 1, "the next round of listings shows it"
        assert all(turn.within is not None for turn, _ in world.passes), "no pass over everything is needed"
        await trio.sleep(2 * POLL)
        assert [report.copied for _, report in world.passes if report.copied] == [1, 1], "no change comes back"
        assert all(report.exit_code == 0 for _, report in world.passes)


@pytest.mark.parametrize("local", list(Side), ids=lambda it: f"local-{it.value}")
@pytest.mark.parametrize("is_on_server", [False, True], ids=["gone-here", "gone-there"])
async def test_a_removal_on_either_side_waits_for_delete_settle(
    autojump_clock: MockClock, local: Side, is_on_server: bool
) -> None:
    async with watched(local) as world:
        where = other(local) if is_on_server else local
        elsewhere = other(where)
        world.delete(where, "d/2")
        seen = await world.until(lambda: bool(world.passes))
        assert seen < POLL + 1
        assert "d/2" in world.at(elsewhere).files(), "a pass has seen it gone, and removes nothing yet"
        waited = await world.until(lambda: "d/2" not in world.at(elsewhere).files())
        assert SETTLE - 0.2 <= waited <= SETTLE + 1
        assert tree_of(world.trees.source) == tree_of(world.trees.target)
        assert all(report.exit_code == 0 for _, report in world.passes)


@pytest.mark.parametrize("local", list(Side), ids=lambda it: f"local-{it.value}")
async def test_what_comes_back_before_delete_settle_is_removed_nowhere(autojump_clock: MockClock, local: Side) -> None:
    async with watched(local) as world:
        world.delete(local, "d/2")
        await trio.sleep(SETTLE - 1)
        assert world.passes
        world.write(local, "d/2", b"built anew")
        await world.until(lambda: world.at(other(local)).files().get("d/2") == b"built anew")
        await trio.sleep(2 * POLL)
        assert tree_of(world.trees.source) == tree_of(world.trees.target)
        assert sum(report.removed for _, report in world.passes) == 0


@pytest.mark.parametrize("local", list(Side), ids=lambda it: f"local-{it.value}")
async def test_the_watch_says_which_side_is_listed_again(autojump_clock: MockClock, local: Side) -> None:
    async with watched(local) as world:
        started = {it.how: it.why for it in world.events if isinstance(it, WatchStarted)}
        assert started == {"inotify": "", "polling": f"the {other(local).value} does not report changes"}


async def test_two_directories_of_this_machine_are_kept_in_step_in_both_directions(
    source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    settings = ("sync.watch=true", "sync.mode=two-way", "sync.max-delete=100%", "watch.delete-settle=1s")
    async with watching(make_profile(source, str(target), *settings)) as watch:
        assert tree(source) == {name: it for name, it in tree(target).items() if not name.startswith(".actorsync")}
        (source / "here.txt").write_text("here")
        await watch.until(lambda: (target / "here.txt").is_file())
        (target / "there.txt").write_text("there")
        await watch.until(lambda: (source / "there.txt").is_file())
        passes = len(watch.reports)
        (target / "here.txt").unlink()
        await watch.until(lambda: len(watch.reports) > passes)
        assert (source / "here.txt").is_file(), "a pass has seen it gone, and waits"
        await watch.until(lambda: not (source / "here.txt").exists())
        (source / "there.txt").unlink()
        await watch.until(lambda: not (target / "there.txt").exists())
        assert all(report.exit_code == 0 for report in watch.reports)
