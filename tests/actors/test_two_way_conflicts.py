"""What becomes of conflicts, on trees in memory: a rule decides which version keeps the name, and none is lost."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from actorsync.model.event import Warned
from actorsync.model.pair import Take
from actorsync.planning.pairs.rules import ConflictRule
from tests.support.two_way import Pass, TwoTrees, flat, tree_of

#: Which side's version keeps the name; with ``newer``, the target's time is the later one.
WINNERS = [("both", "source"), ("source", "source"), ("target", "target"), ("newer", "target")]


def copies(trees: TwoTrees) -> dict[str, list[bytes | None]]:
    """Return the contents of conflict copies that both sides have, by the side in their names."""
    found = tree_of(trees.source)
    assert tree_of(trees.target) == found
    return {
        side: [content for path, content in found.items() if f".conflict-{side}-" in path]
        for side in ("source", "target")
    }


async def in_conflict() -> TwoTrees:
    """Return trees that have agreed, and then were changed at the same path."""
    trees = TwoTrees()
    trees.source.write("x.txt", b"agreed")
    await trees.run()
    await trees.run()  # learns what the clocks of both sides are
    trees.wait()
    trees.source.write("x.txt", b"of the source")
    trees.wait()
    trees.target.write("x.txt", b"of the target")
    trees.wait()
    return trees


@pytest.mark.parametrize(("rule", "winner"), WINNERS, ids=[rule for rule, _ in WINNERS])
async def test_loser_of_a_rule_gets_a_name_of_its_own_on_both_sides(
    autojump_clock: MockClock, rule: ConflictRule, winner: str
) -> None:
    trees = await in_conflict()

    done = await trees.run(rule)

    loser = "target" if winner == "source" else "source"
    assert done.report.exit_code == 0
    assert tree_of(trees.source)["x.txt"] == f"of the {winner}".encode()
    assert copies(trees) == {loser: [f"of the {loser}".encode()], winner: []}
    assert not (await trees.run(rule)).report.copied


@pytest.mark.parametrize("take", ["source", "target"])
async def test_loser_of_a_choice_gets_a_name_of_its_own_on_both_sides(autojump_clock: MockClock, take: Take) -> None:
    trees = await in_conflict()

    done = await trees.run("keep", takes={"x.txt": take})

    loser = "target" if take == "source" else "source"
    assert tree_of(trees.source)["x.txt"] == f"of the {take}".encode()
    assert copies(trees)[loser] == [f"of the {loser}".encode()]
    (said,) = warnings(done)
    assert said.startswith(f"'x.txt' is in conflict: both versions are kept, that of the {loser} as 'x.conflict-")


def warnings(done: Pass) -> list[str]:
    return [event.text for event in done.events if isinstance(event, Warned)]


@pytest.mark.parametrize("rule", ["both", "source", "target", "newer"])
async def test_conflict_beyond_the_number_of_copies_stays_and_nothing_is_overwritten(
    autojump_clock: MockClock, rule: ConflictRule
) -> None:
    trees = await in_conflict()
    await trees.run(rule, copies=1)
    trees.wait()
    trees.source.write("x.txt", b"source again")
    trees.wait()
    trees.target.write("x.txt", b"target again!")
    trees.wait()

    done = await trees.run(rule, copies=1)

    assert done.conflicts == ["x.txt"]
    assert trees.source.files()["x.txt"] == b"source again"
    assert trees.target.files()["x.txt"] == b"target again!"


@pytest.mark.parametrize("rule", ["source", "target"])
async def test_loser_that_is_kept_already_is_not_copied_again(autojump_clock: MockClock, rule: ConflictRule) -> None:
    trees = await in_conflict()
    await trees.run(rule)
    trees.wait()
    winner, loser = (trees.source, "target") if rule == "source" else (trees.target, "source")
    other = trees.target if rule == "source" else trees.source
    winner.write("x.txt", b"another")
    other.write("x.txt", f"of the {loser}".encode())
    trees.wait()

    done = await trees.run(rule)

    assert done.report.exit_code == 0
    assert tree_of(trees.source)["x.txt"] == b"another"
    assert copies(trees)[loser] == [f"of the {loser}".encode()]
    assert warnings(done) == [f"'x.txt' is in conflict: the version of the {loser} is kept already, in a copy"]


@pytest.mark.parametrize("rule", ["both", "source", "target"])
async def test_copy_that_one_side_has_removed_does_not_keep_a_version(
    autojump_clock: MockClock, rule: ConflictRule
) -> None:
    """The run itself removes that copy, so it would be the end of the version that is in it."""
    trees = await in_conflict()
    await trees.run(rule)
    trees.wait()
    winner, losing = (trees.target, trees.source) if rule == "target" else (trees.source, trees.target)
    (copy,) = [path for path in winner.files() if ".conflict-" in path]
    lost = winner.files()[copy]
    winner.delete(copy)
    winner.write("x.txt", b"another")
    losing.write("x.txt", lost)
    trees.wait()

    done = await trees.run(rule)

    assert done.report.exit_code == 0
    assert tree_of(trees.source) == tree_of(trees.target)
    assert sorted(filter(None, tree_of(trees.source).values())) == [b"another", lost]


@pytest.mark.parametrize(
    ("rule", "has_directory"),
    [("source", "source"), ("target", "target"), ("both", "source"), ("both", "target")],
)
async def test_file_that_loses_against_a_directory_gets_a_name_of_its_own(
    autojump_clock: MockClock, rule: ConflictRule, has_directory: str
) -> None:
    trees = TwoTrees()
    with_directory, with_file = (trees.source, trees.target)
    if has_directory == "target":
        with_directory, with_file = with_file, with_directory
    with_directory.mkdir("x")
    with_directory.write("x/inside", b"inside")
    with_file.write("x", b"file")
    trees.wait()

    await trees.run(rule)
    done = await trees.run(rule)

    loser = "target" if has_directory == "source" else "source"
    assert done.report.exit_code == 0
    assert copies(trees)[loser] == [b"file"]
    assert tree_of(trees.source).items() >= flat({"x": {"inside": "inside"}}).items()


@pytest.mark.parametrize("rule", ["source", "target"])
async def test_directory_that_loses_against_a_file_stays_in_conflict(
    autojump_clock: MockClock, rule: ConflictRule
) -> None:
    trees = TwoTrees()
    with_file, with_directory = (trees.source, trees.target) if rule == "source" else (trees.target, trees.source)
    with_directory.mkdir("x")
    with_file.write("x", b"file")
    trees.wait()

    done = await trees.run(rule)

    assert done.conflicts == ["x"]
    assert tree_of(with_file) == {"x": b"file"}
    assert tree_of(with_directory) == {"x": None}
