"""The plan of an undo, as a table; and which runs leave the trash."""

from __future__ import annotations

import attrs
import pytest

from actorsync.model.entry import Entry, Kind
from actorsync.model.trash import Trashed
from actorsync.planning.publishing.trash import Places, TrashRun, directories_of, expired, is_place, run_directory
from actorsync.planning.publishing.undo import Act, chosen, undo_plan

PLACE = "../.trash/20261130T160317Z-12-ab/0"
OLD = Entry("f", Kind.FILE, 3, 1_000_000_000)
NEW = Entry("f", Kind.FILE, 4, 2_000_000_000)
FOLDER = Entry("f", Kind.DIRECTORY)
ASIDE = attrs.evolve(OLD, path=PLACE)

REPLACED = Trashed("f", "replaced", PLACE, OLD, NEW)
REMOVED = Trashed("f", "removed", PLACE, OLD)
MADE = Trashed("f", "made", now=NEW)
MOVED = Trashed("f", "moved", "was", attrs.evolve(OLD, path="was"), OLD)
NO_FOLDER = Trashed("f", "removed", old=FOLDER)
NEW_FOLDER = Trashed("f", "made", now=FOLDER)
MODE = Trashed("f", "mode", old=attrs.evolve(OLD, mode=0o644), now=attrs.evolve(OLD, mode=0o600))
LINK = Trashed("f", "removed", old=Entry("f", Kind.LINK))

ROWS: list[tuple[Trashed, dict[str, Entry | None], Act | str]] = [
    (REPLACED, {"f": NEW, PLACE: ASIDE}, Act.SWAP),
    (REPLACED, {"f": OLD, PLACE: None}, Act.NOTHING),
    (REPLACED, {"f": NEW, PLACE: None}, "its old version is not there any more"),
    (REPLACED, {"f": None, PLACE: ASIDE}, "it is gone"),
    (REPLACED, {"f": FOLDER, PLACE: ASIDE}, "it is not as the run left it"),
    (REPLACED, {"f": attrs.evolve(NEW, size=5), PLACE: ASIDE}, "it is not as the run left it"),
    (REPLACED, {"f": attrs.evolve(NEW, mtime_ns=3_000_000_000), PLACE: ASIDE}, "it is not as the run left it"),
    (REPLACED, {"f": attrs.evolve(NEW, mtime_ns=None), PLACE: ASIDE}, Act.SWAP),
    (REMOVED, {"f": None, PLACE: ASIDE}, Act.RESTORE),
    (REMOVED, {"f": NEW, PLACE: ASIDE}, "another entry has its name now"),
    (REMOVED, {"f": OLD, PLACE: None}, Act.NOTHING),
    (REMOVED, {"f": None, PLACE: None}, "its old version is not there any more"),
    (MADE, {"f": NEW}, Act.TAKE),
    (MADE, {"f": None}, Act.NOTHING),
    (MADE, {"f": OLD}, "it is not as the run left it"),
    (MADE, {"f": FOLDER}, "it is not as the run left it"),
    (MOVED, {"f": OLD, "was": None}, Act.RENAME),
    (MOVED, {"f": None, "was": OLD}, Act.NOTHING),
    (MOVED, {"f": OLD, "was": NEW}, "another entry has its old name now"),
    (MOVED, {"f": None, "was": None}, "it is gone"),
    (NO_FOLDER, {"f": None}, Act.MAKE),
    (NO_FOLDER, {"f": FOLDER}, Act.NOTHING),
    (NO_FOLDER, {"f": NEW}, "it is not as the run left it"),
    (NEW_FOLDER, {"f": FOLDER}, Act.DROP),
    (NEW_FOLDER, {"f": None}, Act.NOTHING),
    (NEW_FOLDER, {"f": NEW}, "it is not as the run left it"),
    (MODE, {"f": OLD}, Act.SET_MODE),
    (MODE, {"f": NEW}, "it is not as the run left it"),
    (LINK, {"f": None}, "it was a link, or a special file, and was removed for good"),
]


@pytest.mark.parametrize(("change", "there", "expected"), ROWS)
def test_change_is_taken_back_only_if_the_target_is_as_the_run_left_it(
    change: Trashed, there: dict[str, Entry | None], expected: Act | str
) -> None:
    plan = undo_plan([(1, change)], there)
    if isinstance(expected, Act):
        assert [step.act for step in plan.steps] == [expected]
        assert plan.refused == ()
    else:
        assert plan.steps == ()
        assert plan.refused == (("f", expected),)


def test_each_step_is_decided_from_what_is_there_after_the_steps_before_it() -> None:
    inside = Trashed("f/x", "made", now=Entry("f/x", Kind.FILE, 1))
    changes = [(3, inside), (2, NEW_FOLDER), (1, REMOVED)]
    there = {"f/x": Entry("f/x", Kind.FILE, 1), "f": FOLDER, PLACE: ASIDE}
    plan = undo_plan(changes, there)
    assert [step.act for step in plan.steps] == [Act.TAKE, Act.DROP, Act.RESTORE]


def test_path_that_a_later_run_has_changed_names_that_run() -> None:
    plan = undo_plan([(1, REPLACED)], {"f": OLD, PLACE: ASIDE}, {"f": 14})
    assert plan.refused == (("f", "run 14 has changed it since: undo that run first"),)


def test_chosen_paths_bring_their_removed_directories_with_them() -> None:
    below = Trashed("f/d/x", "removed", PLACE, attrs.evolve(OLD, path="f/d/x"))
    folder = Trashed("f/d", "removed", old=Entry("f/d", Kind.DIRECTORY))
    other = Trashed("g", "removed", f"{PLACE}1", attrs.evolve(OLD, path="g"))
    changes = [(1, below), (2, other), (3, folder), (4, NO_FOLDER)]
    assert chosen(changes, ["f/d/x"]) == [(4, NO_FOLDER), (3, folder), (1, below)]
    assert chosen(changes, []) == changes[::-1]
    assert chosen([(1, MOVED)], ["was"]) == [(1, MOVED)]
    assert chosen(changes, ["f/dx"]) == []


def test_runs_leave_the_trash_by_age_and_then_by_size_oldest_first() -> None:
    runs = [TrashRun(number, f"t/{number}", float(number), 1, 1, 10) for number in (3, 1, 4, 2)]
    assert [run.run for run in expired(runs, 10.0, 7.5, None)] == [1, 2]
    assert [run.run for run in expired(runs, 10.0, 100.0, 25)] == [1, 2]
    assert [run.run for run in expired(runs, 10.0, 100.0, 0)] == [1, 2, 3, 4]
    assert expired(runs, 10.0, 100.0, 40) == []
    assert expired([attrs.evolve(runs[0], has_open=True)], 10.0, 1.0, 0) == []


def test_place_is_a_number_in_the_directory_of_its_run_and_its_owner() -> None:
    directory = run_directory("../.trash", 1_796_054_597 * 10**9, 12, "c5b600f3")
    assert directory == "../.trash/20261130T160317Z-12-c5b600f3"
    places = Places(directory)
    assert [places.next(), places.next()] == [f"{directory}/0", f"{directory}/1"]
    assert is_place(f"{directory}/17")
    for other in ("page.php", f"{directory}/page", "d/17", ".actorsync-0123456789abcdef.tmp", directory):
        assert not is_place(other)
    assert directories_of(directory) == ["../.trash", directory]
    assert directories_of("../../a/b") == ["../../a", "../../a/b"]
    assert directories_of("kept/old") == ["kept", "kept/old"]
