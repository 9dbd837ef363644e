"""The stamp in the root of the target: a run that dies at any moment around it does not make the journal worthless."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from actorsync.actors.pairs.planner import STAMP_TRAIT
from actorsync.model.event import Learned, MemoryVoided
from actorsync.model.operation import Side
from actorsync.planning.pairs.stamp import Stamp
from tests.support.two_way import TwoTrees, tree_of

FIRST = Stamp("0a0a0a0a").followed_by("1b1b1b1b")


async def in_step() -> TwoTrees:
    """Return trees that a first run has found equal: it left no stamp."""
    trees = TwoTrees()
    for root in (trees.source, trees.target):
        root.write("kept", b"kept", 1_000)
        root.write("gone", b"gone", 1_000)
    await trees.run()
    trees.wait()
    return trees


@pytest.mark.parametrize("is_there", [False, True], ids=["before", "after"])
async def test_a_run_that_was_killed_before_or_after_its_first_stamp_gives_nothing_back(
    autojump_clock: MockClock, is_there: bool
) -> None:
    trees = await in_step()
    trees.journal.pairs.apply([Learned(Side.TARGET, STAMP_TRAIT, FIRST.text)])
    if is_there:
        trees.target.write(FIRST.name("1b1b1b1b"), b"")
    trees.source.delete("gone")
    done = await trees.run()
    assert not [it for it in done.events if isinstance(it, MemoryVoided)]
    assert tree_of(trees.source) == tree_of(trees.target) == {"kept": b"kept"}


@pytest.mark.parametrize("stamp", [FIRST, FIRST.settled()], ids=["first", "later"])
async def test_a_target_with_the_stamp_of_a_later_run_voids_the_journal(
    autojump_clock: MockClock, stamp: Stamp
) -> None:
    trees = await in_step()
    trees.journal.pairs.apply([Learned(Side.TARGET, STAMP_TRAIT, stamp.text)])
    trees.target.write(stamp.name("2c2c2c2c"), b"")
    trees.source.delete("gone")
    done = await trees.run()
    assert [it for it in done.events if isinstance(it, MemoryVoided)]
    assert tree_of(trees.source) == tree_of(trees.target) == {"kept": b"kept", "gone": b"gone"}


async def test_a_target_without_the_stamp_of_a_run_that_ended_voids_the_journal(autojump_clock: MockClock) -> None:
    trees = await in_step()
    trees.journal.pairs.apply([Learned(Side.TARGET, STAMP_TRAIT, FIRST.settled().text)])
    trees.source.delete("gone")
    assert [it for it in (await trees.run()).events if isinstance(it, MemoryVoided)]


def test_the_text_of_a_stamp_is_read_as_it_was_written() -> None:
    for stamp in (Stamp("0a0a0a0a"), FIRST, FIRST.settled(), FIRST.settled().followed_by("2c2c2c2c")):
        assert Stamp.from_text(stamp.text) == stamp
    assert Stamp.from_text("0a0a0a0a 1b1b1b1b 2c2c2c2c") == FIRST.settled().followed_by("2c2c2c2c")
