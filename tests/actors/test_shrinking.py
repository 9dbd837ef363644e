"""A source that is emptied slowly: the guards count over the passes that follow one another."""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.model.event import RemovalsRefused
from actorsync.planning.watching.shrinking import SPAN, Shrinking
from actorsync.profile.values.units import MaxDelete
from tests.support.world.memory_mirror import ONE, Mirror

#: How many directories there are: with two files each, 30 entries.
COUNT = 10


@pytest.fixture
async def mirror(autojump_clock: MockClock) -> Mirror:
    it = Mirror(target=MemoryEndpoint("target", inodes=False))
    for number in range(COUNT):
        it.source.write(f"{number}/a", b"%d" % number)
        it.source.write(f"{number}/b", b"%d" % number * 2)
    assert (await it.run()).exit_code == 0
    return it


@pytest.mark.parametrize("is_partial", [True, False])
@pytest.mark.parametrize(("limit", "stay"), [("50%", 5), ("20%", 8), (14, 6), ("100%", 0)])
async def test_slow_removal_of_everything_stops_at_the_limit(
    limit: object, stay: int, is_partial: bool, mirror: Mirror, autojump_clock: MockClock
) -> None:
    policy, shrinking = attrs.evolve(ONE, max_delete=MaxDelete.parse(limit)), Shrinking()
    for number in range(COUNT):
        mirror.source.delete(str(number))
        within = {"", str(number)} if is_partial else None
        report = await mirror.run(policy=policy, within=within, shrinking=shrinking)
        await trio.sleep(60)
    assert report.exit_code == (4 if stay else 0)
    assert len(mirror.seen(RemovalsRefused)) == (1 if stay else 0)
    assert len(mirror.target.files()) == 2 * stay


async def test_what_was_refused_is_not_removed_when_the_time_is_over(mirror: Mirror, autojump_clock: MockClock) -> None:
    policy, shrinking = attrs.evolve(ONE, max_delete=MaxDelete.parse("50%")), Shrinking()
    for number in range(7):
        mirror.source.delete(str(number))
        await mirror.run(policy=policy, shrinking=shrinking)
    await trio.sleep(2 * SPAN)
    assert (await mirror.run(policy=policy, shrinking=shrinking)).exit_code == 4
    assert len(mirror.target.files()) == 2 * 5


async def test_what_comes_back_ends_the_refusal(mirror: Mirror, autojump_clock: MockClock) -> None:
    policy, shrinking = attrs.evolve(ONE, max_delete=MaxDelete.parse("50%")), Shrinking()
    for number in range(7):
        mirror.source.delete(str(number))
        await mirror.run(policy=policy, shrinking=shrinking)
    for number in range(7):
        mirror.source.write(f"{number}/a", b"back")
        mirror.source.write(f"{number}/b", b"back again")
    assert (await mirror.run(policy=policy, shrinking=shrinking)).exit_code == 0
    mirror.source.delete("3")
    assert (await mirror.run(policy=policy, shrinking=shrinking)).exit_code == 0
    assert mirror.target.files() == mirror.source.files()


async def test_files_that_come_and_go_are_no_shrinking(mirror: Mirror, autojump_clock: MockClock) -> None:
    policy, shrinking = attrs.evolve(ONE, max_delete=MaxDelete.parse("20%")), Shrinking()
    for number in range(40):
        mirror.source.write(f"0/{number}", b"new %d" % number)
        if number > 2:
            mirror.source.delete(f"0/{number - 3}")
        report = await mirror.run(policy=policy, within={"0"}, shrinking=shrinking)
        assert report.exit_code == 0
    assert mirror.target.files() == mirror.source.files()
