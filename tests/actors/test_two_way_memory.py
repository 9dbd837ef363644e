"""What a two-way run remembers from one run to the next, on trees in memory."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from actorsync.actors.shutdown import Shutdown
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind
from actorsync.model.event import Intended
from actorsync.model.operation import Side
from actorsync.planning.selection import Selection
from actorsync.policy import Clock, Policy, RunOptions
from actorsync.supervisor import supervise
from actorsync.testing.faulty_endpoint import Faulty, When
from tests.support.mirror import QUICK
from tests.support.two_way import ALL, TwoTrees, tree_of
from tests.support.virtual_time import inline

ASIDE = ".actorsync+0123456789abcdef-x"


async def mirrored(trees: TwoTrees) -> None:
    """Mirror the source to the target once, as a profile does that is no longer two-way."""
    policy = Policy(Selection(), ALL, connections=2, backoff=QUICK)
    options = RunOptions(policy, Shutdown(), clock=Clock(trees.tick, trees._token, inline))
    report = await supervise(trees.source, trees.target, trees.journal, options)
    assert report.exit_code == 0


@pytest.mark.parametrize("side", list(Side), ids=lambda it: f"removed-on-{it.value}")
async def test_a_removal_that_was_refused_is_tried_again_and_gives_nothing_back(
    autojump_clock: MockClock, side: Side
) -> None:
    """The directory cannot go either, because the file is still in it. Both are remembered as agreed on."""
    trees = TwoTrees()
    trees.source.mkdir("d")
    trees.source.write("d/x", b"x")
    trees.source.write("y", b"y")
    await trees.run()
    trees.wait()
    removed = trees.source if side is Side.SOURCE else trees.target
    removed.delete("d/x")
    removed.delete("d")

    def refuse(verb: str, when: When) -> None:
        if (verb, when) == ("move", "before"):
            raise OperationRefused("550 busy")

    source, target = Faulty(trees.source, refuse), Faulty(trees.target, refuse)
    is_from_source = side is Side.SOURCE
    first = await trees.run(source=None if is_from_source else source, target=target if is_from_source else None)
    assert first.report.exit_code == 1
    second = await trees.run()

    assert second.report.exit_code == 0
    assert tree_of(trees.source) == tree_of(trees.target) == {"y": b"y"}


async def test_a_mirror_keeps_what_a_two_way_run_has_set_aside_until_the_next_two_way_run(
    autojump_clock: MockClock,
) -> None:
    """A run was killed after it had set a file aside, and the profile is a mirror for a while."""
    trees = TwoTrees()
    trees.source.write("y", b"y")
    await trees.run()
    trees.wait()
    written = Entry("x", Kind.FILE, 7)
    trees.journal.pairs.apply([Intended((ASIDE,), written)])
    trees.target.write(ASIDE, b"written")

    await mirrored(trees)
    assert trees.target.files()[ASIDE] == b"written"
    await trees.run()
    await trees.run()

    assert tree_of(trees.source) == tree_of(trees.target) == {"x": b"written", "y": b"y"}


async def test_a_conflict_that_stays_is_written_once(autojump_clock: MockClock) -> None:
    trees = TwoTrees()
    trees.source.write("x", b"source")
    trees.target.write("x", b"target")
    trees.wait()
    assert (await trees.run("keep")).conflicts == ["x"]
    await trees.run("keep")
    statements: list[str] = []
    trees.journal._writer.set_trace_callback(statements.append)

    assert (await trees.run("keep")).conflicts == ["x"]

    assert [it for it in statements if it.startswith("BEGIN IMMEDIATE")] == []
