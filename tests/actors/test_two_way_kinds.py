"""A file on one side and a directory on the other: one run ends the conflict, with all that is in the directory."""

from __future__ import annotations

from typing import Literal

import pytest
from trio.testing import MockClock

from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.model.operation import Side
from actorsync.model.pair import other
from tests.support.two_way import TwoTrees, tree_of

on_each_side = pytest.mark.parametrize("side", list(Side), ids=lambda it: f"directory-on-{it.value}")


def on(trees: TwoTrees, side: Side) -> MemoryEndpoint:
    return trees.source if side is Side.SOURCE else trees.target


async def with_directory(side: Side, was: Literal["a file", "a directory"]) -> TwoTrees:
    """Return trees in which ``side`` has a directory ``d``, and the other side a file; both have changed."""
    trees = TwoTrees()
    for root in (trees.source, trees.target):
        if was == "a file":
            root.write("d", b"as agreed", 1_000)
        else:
            root.mkdir("d")
            root.write("d/old", b"as agreed", 1_000)
            root.write("d/changed", b"as agreed", 1_000)
    await trees.run()
    trees.wait()
    here, there = on(trees, side), on(trees, other(side))
    if was == "a file":
        here.delete("d")
        here.mkdir("d")
    else:
        here.write("d/changed", b"changed here")
        for path in ("d/old", "d/changed", "d"):
            there.delete(path)
    here.mkdir("d/deep")
    here.write("d/deep/inside", b"inside")
    there.write("d", b"another file")
    trees.wait()
    return trees


@on_each_side
@pytest.mark.parametrize("was", ["a file", "a directory"])
async def test_after_one_run_both_sides_have_the_directory_and_a_copy_of_the_file(
    autojump_clock: MockClock, side: Side, was: Literal["a file", "a directory"]
) -> None:
    trees = await with_directory(side, was)
    done = await trees.run()
    assert done.report.exit_code == 0, done.report.failures
    found = tree_of(trees.source)
    assert found == tree_of(trees.target)
    assert found["d/deep/inside"] == b"inside"
    assert [it for path, it in found.items() if path.startswith("d.conflict-")] == [b"another file"]
    assert found.get("d/changed") == (None if was == "a file" else b"changed here")
    again = await trees.run()
    assert (again.report.exit_code, again.report.copied, again.report.removed) == (0, 0, 0)


@on_each_side
async def test_after_one_run_both_sides_have_the_directory_that_was_chosen_and_a_copy_of_the_file(
    autojump_clock: MockClock, side: Side
) -> None:
    trees = await with_directory(side, "a file")
    done = await trees.run(takes={"d": side.value})
    assert done.report.exit_code == 0, done.report.failures
    found = tree_of(trees.source)
    assert found == tree_of(trees.target)
    copies = [path for path in found if path.startswith(f"d.conflict-{other(side).value}-")]
    assert [found.pop(path) for path in copies] == [b"another file"]
    assert found == {"d": None, "d/deep": None, "d/deep/inside": b"inside"}


@on_each_side
@pytest.mark.parametrize("was", ["a file", "a directory"])
async def test_a_conflict_that_stays_leaves_all_that_is_in_the_directory(
    autojump_clock: MockClock, side: Side, was: Literal["a file", "a directory"]
) -> None:
    trees = await with_directory(side, was)
    before = tree_of(trees.source), tree_of(trees.target)
    done = await trees.run("keep")
    assert (done.report.exit_code, done.conflicts) == (1, ["d"])
    assert (done.report.failed, done.report.left) == (0, 0), done.report.failures
    assert (tree_of(trees.source), tree_of(trees.target)) == before


@on_each_side
async def test_a_file_that_was_moved_out_of_a_directory_in_conflict_is_left_in_it(
    autojump_clock: MockClock, side: Side
) -> None:
    """A rename would take it from the side that keeps the directory until somebody has chosen."""
    trees = await with_directory(side, "a directory")
    on(trees, other(side)).write("moved", b"as agreed", 1_000)
    done = await trees.run("keep")
    assert done.conflicts == ["d"]
    for root in (trees.source, trees.target):
        assert tree_of(root)["moved"] == b"as agreed"
    assert tree_of(on(trees, side))["d/old"] == b"as agreed"
