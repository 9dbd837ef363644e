"""What a two-way run remembers from one run to the next, on trees in memory."""

from __future__ import annotations

import attrs
import pytest
from trio.testing import MockClock

from actorsync.actors.shutdown import Shutdown
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.entry import Entry, Kind
from actorsync.model.event import Agreed, Intended, MemoryVoided
from actorsync.model.operation import Failed, Side
from actorsync.model.pair import Agreement, Doubt
from actorsync.planning.selection import Selection
from actorsync.planning.temporary_names import is_aside
from actorsync.policy import Clock, Policy, RunOptions
from actorsync.supervisor import supervise
from actorsync.testing.faulty_endpoint import Faulty, When
from tests.support.hidden_links import HidingLinks
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


@pytest.mark.parametrize("side", list(Side), ids=lambda it: f"cut-off-on-{it.value}")
@pytest.mark.parametrize("is_remote", [False, True], ids=["local", "remote"])
async def test_a_run_that_is_cut_off_once_the_new_version_is_in_place_leaves_no_copy_of_the_old_one(
    autojump_clock: MockClock, side: Side, is_remote: bool
) -> None:
    """The old version is still aside, and nothing was recorded. The new one is known by what its temporary was for."""
    trees = TwoTrees(is_source_remote=is_remote, is_target_remote=is_remote)
    trees.source.write("x", b"old")
    for _ in range(2):  # the second one finds that the file is not recent any more
        await trees.run()
        trees.wait()
    changed, cut_off = (trees.target, trees.source) if side is Side.SOURCE else (trees.source, trees.target)
    changed.write("x", b"newer")
    trees.wait()
    is_lost = False

    def cut(verb: str, when: When) -> None:
        nonlocal is_lost
        is_lost = is_lost or ((verb, when) == ("move", "after") and cut_off.files().get("x") == b"newer")
        if is_lost:
            raise ConnectionLost("the cable is out")

    lost = Faulty(cut_off, cut)
    first = await trees.run(source=lost if side is Side.SOURCE else None, target=None if side is Side.SOURCE else lost)
    assert first.report.exit_code == 5
    assert any(is_aside(path) for path in cut_off.files())

    assert (await trees.run()).report.exit_code == 0

    assert tree_of(trees.source) == tree_of(trees.target) == {"x": b"newer"}
    assert not any(is_aside(path) for path in (*trees.source.files(), *trees.target.files()))


@pytest.mark.parametrize("doubt", [Doubt.NONE, Doubt.TARGET_TIME], ids=["another-size", "a-time-that-proves-nothing"])
async def test_what_is_aside_and_may_not_be_what_was_agreed_on_is_kept(autojump_clock: MockClock, doubt: Doubt) -> None:
    """A run was killed before it had looked at what it had set aside, and another program has written the name anew."""
    trees = TwoTrees()
    version = b"old" if doubt else b"written"
    trees.target.write(ASIDE, version)
    trees.source.write("x", b"old")
    trees.target.write("x", b"another")
    trees.wait()
    (aside,) = await listed(trees.target, ASIDE)
    agreed = attrs.evolve(aside, path="x", size=3)
    trees.journal.pairs.apply([Agreed(Agreement(agreed, agreed, None, doubt)), Intended((ASIDE,), agreed)])

    await trees.run("target")
    await trees.run("target")

    assert sorted(filter(None, tree_of(trees.target).values())) == sorted({b"another", b"old", version})
    assert tree_of(trees.source) == tree_of(trees.target)


async def listed(endpoint: MemoryEndpoint, path: str) -> list[Entry]:
    async with endpoint.open_session() as session:
        return [it for it in (await session.list_directory("")).entries if it.path == path]


@pytest.mark.parametrize("is_remote", [False, True], ids=["local", "remote"])
async def test_the_first_run_of_all_makes_a_target_that_does_not_exist(
    autojump_clock: MockClock, is_remote: bool
) -> None:
    trees = TwoTrees()
    trees.target = MemoryEndpoint(now=trees.tick, exists=False, is_remote=is_remote)
    trees.source.write("x", b"x")

    assert (await trees.run()).report.exit_code == 0

    assert tree_of(trees.target) == {"x": b"x"}


@pytest.mark.parametrize("is_whole", [True, False], ids=["after-a-run", "after-a-run-that-was-cut-off"])
@pytest.mark.parametrize("side", list(Side), ids=lambda it: f"{it.value}-is-gone")
async def test_a_root_that_is_gone_after_something_was_agreed_on_stops_the_run(
    autojump_clock: MockClock, side: Side, is_whole: bool
) -> None:
    trees = TwoTrees()
    trees.source.write("x", b"x")
    await trees.run()
    if not is_whole:
        known = trees.journal.pairs.subtree("")
        trees.journal.pairs.apply([MemoryVoided("as if no run had come to its end"), *map(Agreed, known)])
    gone = MemoryEndpoint(now=trees.tick, exists=False)
    is_source = side is Side.SOURCE

    run = await trees.run(source=gone if is_source else None, target=None if is_source else gone)

    assert run.report.exit_code == 4
    assert tree_of(trees.source) == tree_of(trees.target) == {"x": b"x"}


@pytest.mark.parametrize("side", list(Side), ids=lambda it: f"hidden-on-{it.value}")
async def test_nothing_in_a_directory_is_removed_where_links_may_look_like_directories(
    autojump_clock: MockClock, side: Side
) -> None:
    """Everything else is done, and removed is what lies in the root. One line is reported for each tree."""
    trees = TwoTrees()
    hiding, shown = (trees.source, trees.target)[:: 1 if side is Side.SOURCE else -1]
    trees.source.mkdir("d")
    trees.source.mkdir("d/e")
    for path in ("d/one", "d/e/two", "top"):
        trees.source.write(path, b"x")
    await trees.run()
    trees.wait()
    for path in ("d/one", "d/e/two", "d/e", "d", "top"):
        shown.delete(path)
    shown.write("new", b"y")
    place = HidingLinks(hiding)
    source, target = (place, None) if side is Side.SOURCE else (None, place)

    for _ in range(2):
        done = await trees.run(source=source, target=target)
        assert done.report.exit_code == 1
        failures = [it for it in done.events if isinstance(it, Failed)]
        assert [(it.operation.path, it.operation.side) for it in failures] == [("d", side)]
        assert "set sync.no-links = true" in failures[0].reason
        assert tree_of(hiding) == {"d": None, "d/e": None, "d/one": b"x", "d/e/two": b"x", "new": b"y"}
        assert tree_of(shown) == {"new": b"y"}

    assert (await trees.run(no_links=True, source=source, target=target)).report.exit_code == 0
    assert tree_of(hiding) == tree_of(shown) == {"new": b"y"}


@pytest.mark.parametrize("side", list(Side), ids=lambda it: f"aside-on-{it.value}")
@pytest.mark.parametrize("is_remote", [False, True], ids=["local", "remote"])
async def test_a_file_that_is_aside_and_that_the_journal_does_not_know_is_not_taken_for_removed(
    autojump_clock: MockClock, side: Side, is_remote: bool
) -> None:
    """A run was killed after it had set the file aside, and one look did not show it to the next one."""
    trees = TwoTrees(is_source_remote=is_remote, is_target_remote=is_remote)
    for path in ("x", "y"):
        trees.source.write(path, path.encode())
    await trees.run()
    trees.wait()
    here, there = (trees.source, trees.target) if side is Side.SOURCE else (trees.target, trees.source)
    here.rename("x", ASIDE)

    first = await trees.run()
    assert first.report.removed == 0
    assert there.files()["x"] == b"x"
    await trees.run()

    assert tree_of(trees.source) == tree_of(trees.target) == {"x": b"x", "y": b"y"}
