"""The trash of a two-way run: what a run replaces or removes on a side is kept there, on that side."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from trio.testing import MockClock

from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.event import Warned
from actorsync.model.operation import Side
from actorsync.model.pair import Take
from actorsync.planning.pairs.rules import ConflictRule
from actorsync.planning.publishing.rules import TrashRule
from actorsync.planning.publishing.trash import is_place
from actorsync.planning.temporary_names import is_aside
from actorsync.runs.past.trash import tend
from actorsync.testing.faulty_endpoint import Faulty, When
from tests.support.two_way import TwoTrees, tree_of

TRASH = TrashRule("../.trash")
INSIDE = TrashRule(".trash")


async def agreed(*, is_remote: bool = False) -> TwoTrees:
    """Return trees that have agreed, and whose files are not recent."""
    trees = TwoTrees(is_source_remote=is_remote, is_target_remote=is_remote)
    for path in ("x", "y", "d/z"):
        if path == "d/z":
            trees.source.mkdir("d")
        trees.source.write(path, f"old {path}".encode())
    for _ in range(2):
        await trees.run()
        trees.wait()
    return trees


def listed(trees: TwoTrees) -> dict[str, dict[str, bytes]]:
    """Return what the journal knows to be in the trash, by side and path: the contents that are really there."""
    found: dict[str, dict[str, bytes]] = {"source": {}, "target": {}}
    for run in trees.journal.trash.runs():
        for change in trees.journal.trash.changes(run.run):
            assert not change.is_open
            assert change.side is not None
            side = trees.source if change.side is Side.SOURCE else trees.target
            place = change.trashed.place
            assert place is not None
            found[change.side.value][change.trashed.path] = in_trash(trees)[side.display][place]
    return found


def in_trash(trees: TwoTrees) -> Mapping[str, Mapping[str, bytes]]:
    """Return all that is in the trash, by side and place."""
    return {
        side.display: {path: data for path, data in (side.files("../.trash") | side.files()).items() if is_place(path)}
        for side in (trees.source, trees.target)
    }


@pytest.mark.parametrize("trash", [TRASH, INSIDE], ids=["beside", "inside"])
@pytest.mark.parametrize("is_remote", [False, True], ids=["local", "remote"])
async def test_what_is_replaced_and_removed_is_in_the_trash_of_its_side(
    autojump_clock: MockClock, is_remote: bool, trash: TrashRule
) -> None:
    trees = await agreed(is_remote=is_remote)
    trees.source.write("x", b"new x")
    trees.target.write("y", b"new y")
    trees.target.delete("d/z")
    trees.target.delete("d")
    trees.wait()

    done = await trees.run(trash=trash)

    assert done.report.exit_code == 0
    assert trees.source.files().items() >= {"x": b"new x", "y": b"new y"}.items()
    assert listed(trees) == {"source": {"y": b"old y", "d/z": b"old d/z"}, "target": {"x": b"old x"}}
    assert not (await trees.run(trash=trash)).report.copied, "the trash itself is left out on both sides"


@pytest.mark.parametrize("rule", ["source", "target", "newer"])
@pytest.mark.parametrize("is_recent", [False, True], ids=["of-long-ago", "recent"])
async def test_loser_of_a_rule_goes_to_the_trash_and_leaves_no_copy(
    autojump_clock: MockClock, rule: ConflictRule, is_recent: bool
) -> None:
    trees = await agreed()
    trees.source.write("x", b"of the source")
    trees.target.write("x", b"of the target")
    if not is_recent:
        trees.wait()

    done = await trees.run(rule, trash=TRASH)

    loser = "target" if rule == "source" else "source"
    assert done.report.exit_code == 0
    assert tree_of(trees.source) == tree_of(trees.target)
    assert not any(".conflict-" in path for path in trees.source.files())
    assert listed(trees)[loser] == {"x": f"of the {loser}".encode()}


@pytest.mark.parametrize("take", ["source", "target"])
async def test_loser_of_a_choice_goes_to_the_trash_even_if_there_are_many_copies(
    autojump_clock: MockClock, take: Take
) -> None:
    trees = await agreed()
    trees.source.write("x.conflict-target-20261130-1412", b"an earlier one")
    trees.source.write("x", b"of the source")
    trees.target.write("x", b"of the target")
    trees.wait()

    await trees.run("keep", takes={"x": take}, trash=TRASH, copies=1)

    loser = "target" if take == "source" else "source"
    assert trees.source.files()["x"] == trees.target.files()["x"] == f"of the {take}".encode()
    assert listed(trees)[loser] == {"x": f"of the {loser}".encode()}


async def test_both_versions_are_kept_beside_each_other_with_a_trash_as_well(autojump_clock: MockClock) -> None:
    trees = await agreed()
    trees.source.write("x", b"of the source")
    trees.target.write("x", b"of the target")
    trees.wait()

    await trees.run("both", trash=TRASH)

    assert {b"of the source", b"of the target"} <= {*trees.source.files().values()} & {*trees.target.files().values()}
    assert listed(trees) == {"source": {}, "target": {}}


async def test_file_that_loses_against_a_directory_goes_to_the_trash(autojump_clock: MockClock) -> None:
    trees = await agreed()
    trees.source.mkdir("new")
    trees.source.write("new/inside", b"inside")
    trees.target.write("new", b"a file")
    trees.wait()

    for _ in range(2):
        done = await trees.run("source", trash=TRASH)

    assert done.report.exit_code == 0
    assert tree_of(trees.source) == tree_of(trees.target)
    assert listed(trees)["target"] == {"new": b"a file"}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("is_removal", [False, True], ids=["replaced", "removed"])
@pytest.mark.parametrize("kind", ["lost", "refused"])
async def test_old_version_that_does_not_reach_the_trash_at_once_is_there_after_the_next_run(
    autojump_clock: MockClock, is_removal: bool, when: When, kind: str
) -> None:
    """Nothing is swept for it: until then it is aside, or under its name."""
    trees = await agreed()
    if is_removal:
        trees.source.delete("x")
    else:
        trees.source.write("x", b"new x")
    trees.wait()
    is_tried = False
    count = 0

    def fail(verb: str, at: When) -> None:
        nonlocal is_tried, count
        if verb == "move":
            count += at == "before"
        # The first move tries the trash, the next ones set aside and give the name.
        if (verb, at) == ("move", when) and count == (3 if is_removal else 4) and not is_tried:
            is_tried = True
            raise ConnectionLost("the cable is out") if kind == "lost" else OperationRefused("550 no room")

    await trees.run(trash=TRASH, target=Faulty(trees.target, fail))
    assert is_tried
    for _ in range(2):
        await trees.run(trash=TRASH)

    assert listed(trees)["target"] == {"x": b"old x"}
    assert trees.target.files().get("x") == (None if is_removal else b"new x")
    assert not any(is_aside(path) for path in trees.target.files())


async def test_trash_that_cannot_be_used_ends_the_run_before_anything_is_replaced(autojump_clock: MockClock) -> None:
    trees = await agreed()
    trees.source.write("x", b"new x")
    trees.target.write("y", b"new y")
    trees.wait()
    elsewhere = TrashRule("../elsewhere")  # beside the root, and not what the endpoint may use

    done = await trees.run(trash=elsewhere)

    assert done.report.exit_code == 7
    assert (trees.source.files()["y"], trees.target.files()["x"]) == (b"old y", b"old x")


async def test_old_versions_leave_the_trash_of_both_sides_when_their_time_is_over(autojump_clock: MockClock) -> None:
    trees = await agreed()
    trees.source.write("x", b"new x")
    trees.target.write("y", b"new y")
    trees.wait()
    await trees.run(trash=TRASH)
    sides = {Side.SOURCE: trees.source, Side.TARGET: trees.target}
    (run,) = trees.journal.trash.runs()

    kept = await tend(sides, trees.journal, TRASH, run.at + 60)
    gone = await tend(sides, trees.journal, TRASH, run.at + TRASH.keep + 60)

    assert (kept.files, gone.files) == (0, 2)
    assert in_trash(trees) == {"source": {}, "target": {}}
    assert trees.journal.trash.runs() == []


async def test_mirror_leaves_what_is_in_the_trash_of_the_source(autojump_clock: MockClock) -> None:
    trees = await agreed()
    trees.target.write("y", b"new y")
    trees.wait()
    await trees.run(trash=TRASH)
    (run,) = trees.journal.trash.runs()
    assert (run.changes, run.files) == (0, 1), "what a two-way run has changed cannot be undone"

    emptied = await tend({Side.TARGET: trees.target}, trees.journal, TRASH, run.at + TRASH.keep + 60)

    assert emptied.files == 0
    assert [why for _, why in emptied.failures] == [
        "it is on the source, where a mirror removes nothing; use --set sync.mode=two-way"
    ]
    assert listed(trees)["source"] == {"y": b"old y"}


async def test_warning_says_where_an_old_version_stays(autojump_clock: MockClock) -> None:
    trees = await agreed()
    trees.source.write("x", b"new x")
    trees.wait()
    count = 0

    def refuse(verb: str, at: When) -> None:
        nonlocal count
        count += (verb, at) == ("move", "before")
        if (verb, at) == ("move", "before") and count == 4:
            raise OperationRefused("550 no room")

    done = await trees.run(trash=TRASH, target=Faulty(trees.target, refuse))

    (text,) = [event.text for event in done.events if isinstance(event, Warned)]
    assert text.startswith("the old version of x cannot be moved to the trash of the target: 550 no room; it stays as")
    assert done.report.exit_code == 0
