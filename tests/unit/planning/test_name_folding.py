"""Names that a target may take for one: the key, the pairs, the twins, and how a spelling is changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, Record, join, name_of, parent_of
from actorsync.planning.name_folding import (
    ListNames,
    Look,
    NewSpelling,
    Rename,
    Twins,
    change_spelling,
    is_short_name,
    loosest_key,
    other_case,
    parting,
    respelled,
    seen_folding,
)
from actorsync.planning.reconcile import Action, Decision

NAME = st.text("aAbBéÉe\u0301ßsS. \udcff", min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Img", "img"),
        ("\u00e9", "e\u0301"),
        ("\u00c9", "e\u0301"),
        ("a", "a."),
        ("a", "a ."),
        ("Straße", "STRASSE"),
        ("d./f", "D/f"),
        ("\udcff", "\udcff "),
    ],
)
def test_names_that_some_target_takes_for_one_have_one_key(one: str, other: str) -> None:
    assert loosest_key(one) == loosest_key(other)


@pytest.mark.parametrize(("one", "other"), [("a", "b"), (".", ".."), ("a/b", "ab"), (" a", "a"), (".a", "a")])
def test_other_names_have_other_keys(one: str, other: str) -> None:
    assert loosest_key(one) != loosest_key(other)


@given(NAME, NAME)
def test_key_of_a_path_consists_of_the_keys_of_its_names(directory: str, name: str) -> None:
    assert loosest_key(join(directory, name)) == join(loosest_key(directory), loosest_key(name))
    assert loosest_key(loosest_key(name)) == loosest_key(name)


def test_short_names_of_windows_are_known_by_their_form() -> None:
    assert [it for it in ("PROGRA~1", "d/LONGNA~12.HTM", "a~1.x") if is_short_name(it)] == [
        "PROGRA~1",
        "d/LONGNA~12.HTM",
        "a~1.x",
    ]
    assert not [it for it in ("backup~", "file.txt~1", "longname~1", "~1", "a.b~1") if is_short_name(it)]


def test_what_a_run_has_not_seen_of_the_folding_stays_as_an_earlier_run_has_seen_it() -> None:
    assert seen_folding("", case=None, form=None) == "exact"
    assert seen_folding("form", case=False, form=None) == "form"
    assert seen_folding("case,form", case=None, form=False) == "case"
    assert seen_folding("case,form", case=False, form=False) == "exact"
    assert seen_folding("exact", case=True, form=None) == "case"


def test_other_case_leaves_letters_that_a_target_may_not_fold() -> None:
    assert other_case("Ab-\u00e9\u00df.x") == "aB-\u00e9\u00df.X"


# Pairs.


def file(path: str, inode: int = 1) -> Entry:
    return Entry(path, Kind.FILE, 3, inode=inode)


def new(path: str, inode: int = 1) -> Decision:
    return Decision(Action.COPY, file(path, inode), None)


def gone(path: str, inode: int = 1) -> Decision:
    return Decision(Action.REMOVE, None, Record(file(path, inode), file(path)))


def pairs(*decisions: Decision, present: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    names = [*present, *(name_of(it.now.path) for it in decisions if it.now is not None)]
    return [(entry.path, record.target.path) for entry, record in respelled(decisions, lambda: names)]


def test_new_name_is_paired_with_a_missing_one_of_its_key() -> None:
    assert pairs(new("d/img"), gone("d/Img"), new("d/x"), gone("d/y")) == [("d/img", "d/Img")]


def test_two_new_names_have_one_pair_and_the_same_file_is_preferred() -> None:
    assert pairs(new("IMG", 7), new("img", 5), gone("Img", 5)) == [("img", "Img")]


def test_third_name_that_is_there_already_leaves_no_pair() -> None:
    assert pairs(new("IMG"), gone("Img"), present=("img",)) == []


def test_foreign_entries_are_never_paired() -> None:
    assert pairs(new("img"), Decision(Action.NOTHING, None, Record(None, file("Img")))) == []


# Twins.


def twins(*paths: str) -> Twins:
    return Twins(lambda directory: [name_of(path) for path in paths if parent_of(path) == directory])


def test_twin_is_found_at_any_level() -> None:
    recorded = twins("A", "a", "A/x", "a/x", "a/y", "b")
    assert recorded.of("A/x", {"A/x", "A"}) == "a/x"
    assert recorded.of("A", {"A/x", "A"}) == "a"
    assert recorded.of("A/x", {"A/x", "a/x"}) is None, "both are to be removed"
    assert recorded.of("b", {"b"}) is None
    assert recorded.of("A/z", {"A/z"}) is None, "nothing that stays has this key"


def test_paths_part_where_their_names_first_differ() -> None:
    assert parting("d/A/x", "d/a/X") == ("d", "A", "a")
    assert parting("A", "a") == ("", "A", "a")


# The change on the target.

ITEM = NewSpelling(Entry("d/Img", Kind.DIRECTORY), "d/img", "d/.actorsync-1.tmp")


def play(
    names: set[str], rename: Callable[[set[str], str, str], bool], *, folds: bool = True, dies_at: int = -1
) -> tuple[list[Entry | OperationRefused] | None, list[str]]:
    """Play the dialogue on a directory ``d`` with these names; return its results and the renames."""
    dialogue, renames = change_spelling([ITEM]), list[str]()
    answer: object = None

    def stored(name: str) -> str | None:
        return next((it for it in names if it == name or (folds and it.lower() == name.lower())), None)

    while True:
        try:
            step = dialogue.send(answer)
        except StopIteration as end:
            return end.value, renames
        answer = None
        if isinstance(step, ListNames):
            answer = set(names)
        elif isinstance(step, Look):
            answer = None if stored(name_of(step.path)) is None else Entry(step.path, Kind.DIRECTORY)
        elif isinstance(step, Rename):
            if len(renames) == dies_at:
                return None, renames
            renames.append(f"{name_of(step.old)} {name_of(step.new)}")
            if not rename(names, name_of(step.old), name_of(step.new)):
                answer = OperationRefused("no")


def direct(names: set[str], old: str, new: str) -> bool:
    names.remove(old)
    names.add(new)
    return True


def idle(names: set[str], old: str, new: str) -> bool:
    return True if old.lower() == new.lower() else direct(names, old, new)


def refusing(names: set[str], old: str, new: str) -> bool:
    return old.lower() != new.lower() and direct(names, old, new)


DONE = [Entry("d/img", Kind.DIRECTORY)]


def test_one_rename_is_enough_where_the_target_does_it() -> None:
    names = {"Img"}
    assert play(names, direct) == (DONE, ["Img img"])
    assert names == {"img"}


@pytest.mark.parametrize("rename", [idle, refusing])
def test_two_renames_where_one_does_nothing_or_is_refused(rename: Callable[[set[str], str, str], bool]) -> None:
    names = {"Img", "other"}
    assert play(names, rename) == (DONE, ["Img img", "Img .actorsync+1.tmp", ".actorsync+1.tmp img"])
    assert names == {"img", "other"}


@pytest.mark.parametrize("dies_at", [0, 1, 2, 3])
@pytest.mark.parametrize("rename", [direct, idle, refusing])
def test_dialogue_that_broke_off_can_be_repeated(rename: Callable[[set[str], str, str], bool], dies_at: int) -> None:
    names = {"Img"}
    play(names, rename, dies_at=dies_at)
    results, _ = play(names, rename)
    assert results == DONE
    assert names == {"img"}


def test_target_that_tells_both_names_apart_is_not_changed() -> None:
    for names in ({"Img"}, {"Img", "img"}):
        before = set(names)
        results, renames = play(names, direct, folds=False)
        assert (names, renames) == (before, [])
        assert results is not None
        assert "tells both spellings of its name apart" in str(results[0])


def test_spelling_that_cannot_be_changed_is_refused_and_the_name_stays() -> None:
    names = {"Img"}
    results, _ = play(names, lambda names, old, new: False)
    assert names == {"Img"}
    assert results is not None
    assert "did not change the spelling" in str(results[0])
