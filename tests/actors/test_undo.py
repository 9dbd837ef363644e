"""Undo: the target is as before the run, byte for byte, and the next run leaves it so until the source changes."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import attrs
import pytest

from actorsync.actors.pipeline import Pipeline
from actorsync.errors import ConnectionLost, OperationRefused, PlanOutdated, ProfileError
from actorsync.model.event import Intended, Released, ReleaseEnded
from actorsync.model.kept import Kept
from actorsync.model.operation import Publish, Side
from actorsync.model.report import Report
from actorsync.planning.publishing.rules import TrashRule
from actorsync.planning.publishing.undo import Act
from actorsync.runs.past.trash import tend
from actorsync.runs.undo import perform, prepare_undo
from actorsync.testing.faulty_endpoint import Faulty, When
from tests.actors.test_trash import NEW, OLD, TRASH, Killed, change, faults, in_trash, site
from tests.support.world.burst import restart
from tests.support.world.memory_mirror import Mirror

CLOCK = itertools.count(1_800_000_000)


def folders_of(mirror: Mirror) -> set[str]:
    return {path for path in mirror.target.directories() if not path.startswith(".trash")}


async def run(mirror: Mirror, **more: Any) -> Report:
    mirror.journal.begin_run(float(next(CLOCK)))
    return await mirror.run(**{"policy": TRASH, **more})


async def undo(mirror: Mirror, target: Any = None, number: int | None = None, *paths: str) -> Report:
    target = target or mirror.target
    undoing = await prepare_undo(target, mirror.journal, number, paths)
    assert undoing.plan.refused == (), undoing.plan.refused
    began = float(next(CLOCK))
    return await perform(target, mirror.journal, undoing, mirror.journal.begin_run(began), began, "0")


async def published(**policy: Any) -> Mirror:
    """Return a mirror with an old version, and a new one over it that can be undone."""
    mirror = Mirror()
    for path, data in OLD.items():
        mirror.source.write(path, data)
    mirror.journal.begin_run(float(next(CLOCK)))
    assert (await mirror.run()).exit_code == 0
    change(mirror)
    assert (await run(mirror, policy=attrs.evolve(TRASH, **policy))).exit_code == 0
    assert site(mirror) == NEW
    return mirror


POLICIES = [{}, {"delete": "everything"}, {"by_content": True}, {"by_size_time": True}]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
async def test_undone_run_is_undone_exactly_and_stays_so(autojump_clock: Any, policy: dict[str, Any]) -> None:
    mirror = await published(**policy)
    report = await undo(mirror)
    assert report.exit_code == 0
    assert site(mirror) == OLD
    assert "d/more" not in mirror.target.directories()
    for _ in range(2):
        again = await run(mirror, policy=attrs.evolve(TRASH, **policy))
        assert (again.exit_code, again.copied, again.removed, again.directories_made) == (0, 0, 0, 0)
        assert site(mirror) == OLD
        assert again.held == 5


@pytest.mark.parametrize("policy", POLICIES, ids=str)
async def test_undone_paths_are_mirrored_again_when_their_source_changes(
    autojump_clock: Any, policy: dict[str, Any]
) -> None:
    mirror = await published(**policy)
    await undo(mirror)
    mirror.source.write("page", b"newer page")
    mirror.source.write("d/gone", b"back again")
    mirror.source.write("d/more/added", b"added anew")
    mirror.source.write("d/more/second", b"second")
    assert (await run(mirror, policy=attrs.evolve(TRASH, **policy))).exit_code == 0
    expected = OLD | {"page": b"newer page", "d/gone": b"back again", "d/more/added": b"added anew"}
    assert site(mirror) == expected | {"d/more/second": b"second"}
    mirror.source.delete("d/gone")
    mirror.source.delete("d/more/added")
    last = await run(mirror, policy=attrs.evolve(TRASH, **policy))
    assert last.exit_code == 0
    assert set(site(mirror)) == {"same", "page", "d/style", "d/more/second"}
    assert last.held == 1, "d/style alone"


@pytest.mark.parametrize("policy", [{"delete": True}, {"delete": True, "by_content": True}], ids=str)
async def test_undone_file_that_the_source_renames_is_sent_and_its_old_version_is_not_moved(
    autojump_clock: Any, policy: dict[str, Any]
) -> None:
    mirror = await published(**policy)
    await undo(mirror)
    mirror.source.rename("d", "renamed")
    mirror.source.rename("page", "renamed/page")
    report = await run(mirror, policy=attrs.evolve(TRASH, **policy))
    assert (report.exit_code, report.moved) == (0, 0)
    assert site(mirror) == {
        "same": b"same",
        "d/gone": b"gone",  # which the source did not have before
        "renamed/page": b"new page",
        "renamed/style": b"new style!",
        "renamed/more/added": b"added",
    }


async def test_release_that_is_not_finished_is_not_undone(autojump_clock: Any) -> None:
    mirror = await published()
    record = mirror.journal.record("page")
    assert record is not None
    assert record.source is not None
    kept = Kept(".t", record.source, 3, 1.0, is_complete=True, size=3)
    mirror.journal.apply([Intended((".t",), record.source), Released((Publish(kept),))])
    with pytest.raises(PlanOutdated, match="a release was broken off"):
        await undo(mirror)
    assert site(mirror) == NEW
    mirror.journal.apply([ReleaseEnded("taken back")])
    assert (await undo(mirror)).exit_code == 0


async def test_undone_file_that_the_source_has_lost_is_not_held_any_more(autojump_clock: Any) -> None:
    mirror = await published()
    await undo(mirror)
    mirror.source.delete("d/more/added")
    mirror.source.delete("d/more")
    report = await run(mirror)
    assert report.exit_code == 0
    assert (await run(mirror)).held == 3
    assert site(mirror) == OLD


@pytest.mark.parametrize("policy", POLICIES, ids=str)
async def test_an_undo_can_be_undone_and_that_as_well(autojump_clock: Any, policy: dict[str, Any]) -> None:
    mirror = await published(**policy)
    for expected, held in [(OLD, 5), (NEW, 0), (OLD, 5), (NEW, 0)]:
        assert (await undo(mirror)).exit_code == 0
        assert site(mirror) == expected
        report = await run(mirror, policy=attrs.evolve(TRASH, **policy))
        assert (report.exit_code, report.copied, report.removed, report.held) == (0, 0, 0, held)
        assert site(mirror) == expected


async def test_only_the_given_paths_are_undone(autojump_clock: Any) -> None:
    mirror = await published()
    assert (await undo(mirror, None, None, "d/style")).exit_code == 0
    assert site(mirror) == NEW | {"d/style": OLD["d/style"]}
    assert (await undo(mirror, None, mirror.journal.trash.runs()[-1].run, "d")).exit_code == 0
    assert site(mirror) == OLD | {"page": NEW["page"]}
    with pytest.raises(ProfileError, match="has changed nothing at 'nowhere'"):
        await undo(mirror, None, None, "nowhere")


async def test_removed_directories_and_moved_files_come_back(autojump_clock: Any) -> None:
    mirror = Mirror()
    for name in ("a/b/c/file", "a/b/other", "keep", "moved"):
        mirror.source.write(name, name.encode() * 3)
    await run(mirror)
    before, folders = site(mirror), folders_of(mirror)
    mirror.source.rename("moved", "elsewhere")
    for name in ("a/b/c/file", "a/b/c", "a/b/other", "a/b", "a"):
        mirror.source.delete(name)
    report = await run(mirror)
    assert (report.moved, report.removed) == (1, 5)
    assert (await undo(mirror)).exit_code == 0
    assert site(mirror) == before
    assert folders_of(mirror) == folders
    again = await run(mirror)
    assert (again.exit_code, again.copied, again.removed, again.moved) == (0, 0, 0, 0)
    assert site(mirror) == before


async def test_file_that_became_a_directory_is_undone_and_stays_so(autojump_clock: Any) -> None:
    mirror = Mirror()
    mirror.source.write("thing", b"a file")
    await run(mirror)
    mirror.source.delete("thing")
    mirror.source.write("thing/inside", b"a directory")
    await run(mirror)
    assert site(mirror) == {"thing/inside": b"a directory"}
    await undo(mirror)
    assert site(mirror) == {"thing": b"a file"}
    again = await run(mirror)
    assert (again.exit_code, again.copied) == (0, 0)
    assert site(mirror) == {"thing": b"a file"}


async def test_what_is_not_as_the_run_left_it_is_refused_before_any_change(autojump_clock: Any) -> None:
    mirror = await published()
    mirror.target.write("page", b"edited on the server")
    mirror.target.write("d/gone", b"another")
    undoing = await prepare_undo(mirror.target, mirror.journal, None, ())
    assert undoing.plan.refused == (
        ("d/gone", "another entry has its name now"),
        ("page", "it is not as the run left it"),
    )
    mirror.source.write("d/style", b"third style")
    await run(mirror)
    older = await prepare_undo(mirror.target, mirror.journal, undoing.run.run, ())
    assert ("d/style", "run 3 has changed it since: undo that run first") in older.plan.refused


@pytest.mark.parametrize("number", range(1, 36))
@pytest.mark.parametrize("raised", [ConnectionLost, Killed])
async def test_undo_that_breaks_off_is_finished_by_the_same_command(
    autojump_clock: Any, number: int, raised: type[Exception]
) -> None:
    mirror = await published()
    undone = mirror.journal.trash.runs()[0].run
    with contextlib.suppress(Killed):
        await undo(mirror, Faulty(mirror.target, faults(number, raised)))
    there = in_trash(mirror) | set(site(mirror).values())
    assert {*OLD.values(), *NEW.values()} <= there
    if any(it.run == undone and it.changes for it in mirror.journal.trash.runs()):
        assert (await undo(mirror, None, undone)).exit_code == 0
    assert site(mirror) == OLD
    again = await run(mirror)
    assert (again.exit_code, again.copied, again.removed) == (0, 0, 0)
    assert site(mirror) == OLD
    assert mirror.journal.trash.open() == []


async def test_plan_of_an_undo_has_a_step_for_each_change(autojump_clock: Any) -> None:
    mirror = await published()
    undoing = await prepare_undo(mirror.target, mirror.journal, None, ())
    assert {step.path: step.act for step in undoing.plan.steps} == {
        "page": Act.SWAP,
        "d/style": Act.SWAP,
        "d/gone": Act.RESTORE,
        "d/more": Act.DROP,
        "d/more/added": Act.TAKE,
    }


async def test_old_runs_leave_the_trash_and_nothing_else_does(autojump_clock: Any) -> None:
    mirror = await published()
    mirror.source.write("page", b"third page")
    assert (await run(mirror)).exit_code == 0
    mirror.target.write(".trash/mine", b"of somebody")
    first = mirror.journal.trash.runs()[-1]
    mirror.target.write(f"{first.directory}/other", b"put there by hand")
    rule = TrashRule(".trash", keep=1e9, max_size=len(b"new page"))
    emptied = await tend({Side.TARGET: mirror.target}, mirror.journal, rule, first.at)
    assert (emptied.runs, emptied.files, emptied.size) == (1, 3, 21)
    assert in_trash(mirror) == {b"new page"}
    assert mirror.target.files()[".trash/mine"] == b"of somebody"
    assert mirror.target.files()[f"{first.directory}/other"] == b"put there by hand"
    assert [it.run for it in mirror.journal.trash.runs()] == [3]
    emptied = await tend({Side.TARGET: mirror.target}, mirror.journal, attrs.evolve(rule, keep=-1.0), first.at + 3600)
    assert (emptied.runs, emptied.files) == (1, 1)
    assert mirror.journal.trash.runs() == []
    assert in_trash(mirror) == set()
    assert len([path for path in mirror.target.directories() if path.startswith(".trash/")]) == 1


async def test_trash_keeps_everything_while_a_release_is_not_ended(autojump_clock: Any) -> None:
    mirror = await published()
    mirror.source.write("page", b"third page")
    moments: list[Mirror] = []

    async def check() -> None:
        moments.append(restart(mirror))

    policy = attrs.evolve(TRASH, publish=attrs.evolve(TRASH.publish, is_burst=True))
    assert (await run(mirror, policy=policy, pipeline=Pipeline(check=check))).exit_code == 0
    (moment,) = moments
    rule = TrashRule(".trash", keep=-1.0)
    assert (await tend({Side.TARGET: moment.target}, moment.journal, rule, float(next(CLOCK)))).runs == 0
    with pytest.raises(PlanOutdated, match="a release was broken off"):
        await prepare_undo(moment.target, moment.journal, None, ())
    assert in_trash(moment) == in_trash(mirror)


async def test_file_that_cannot_be_deleted_keeps_its_run_in_the_trash(autojump_clock: Any) -> None:
    mirror = await published()

    def decide(verb: str, when: When) -> None:
        if verb == "sweep":
            raise OperationRefused("550 no")

    rule = TrashRule(".trash", keep=-1.0)
    target = Faulty(mirror.target, decide)
    emptied = await tend({Side.TARGET: target}, mirror.journal, rule, mirror.journal.trash.runs()[0].at + 60)
    assert emptied.runs == 0
    assert {reason for _, reason in emptied.failures} == {"550 no"}
    assert (await undo(mirror)).exit_code == 0
    assert site(mirror) == OLD
