"""Whether removing may begin, and what of it must wait.

Numbers in names (``test_m134_...``) are rows of the fault matrix.
"""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsync.model.entry import Entry, Kind, ScanComplete, join, parent_of
from actorsync.planning.guard import Removals, objection, withheld
from actorsync.profile.units import MaxDelete

ROOT = ScanComplete(Entry("", Kind.DIRECTORY), device=7)
USUAL = Removals(count=3, ours=100, seen=97, root_then=ROOT, root_now=ROOT)
HALF = MaxDelete.parse("50%")
ALL = MaxDelete.parse("100%")


def test_a_usual_run_may_remove() -> None:
    assert objection(USUAL, HALF) is None


def test_m059_an_emptied_source_removes_nothing() -> None:
    emptied = attrs.evolve(USUAL, count=100, seen=0)
    assert objection(emptied, MaxDelete.parse(500)) == (
        "the source is empty, and the target has 100 entries from it: nothing removed; "
        "if that is meant, run once with --set sync.max-delete=100%"
    )


@pytest.mark.parametrize(("ours", "refused"), [(0, False), (1, False), (2, True)])
def test_m059_a_source_that_had_next_to_nothing_may_be_emptied(ours: int, refused: bool) -> None:
    emptied = attrs.evolve(USUAL, count=1, ours=ours, seen=0)
    assert (objection(emptied, MaxDelete.parse(500)) is not None) is refused


def test_m059_another_device_is_not_the_source() -> None:
    moved = attrs.evolve(USUAL, root_now=attrs.evolve(ROOT, device=8))
    assert objection(moved, HALF) == (
        "the source is on another device than in the last run (is it mounted?): 3 removals withheld; "
        "if that is meant, run once with --set sync.max-delete=100%"
    )


@pytest.mark.parametrize("then", [None, attrs.evolve(ROOT, device=None)])
def test_a_device_that_is_not_known_proves_nothing(then: ScanComplete | None) -> None:
    assert objection(attrs.evolve(USUAL, root_then=then), HALF) is None
    assert objection(attrs.evolve(USUAL, root_now=attrs.evolve(ROOT, device=None)), HALF) is None


def test_m134_more_than_max_delete_allows() -> None:
    assert objection(attrs.evolve(USUAL, count=51), HALF) == (
        "51 of 100 entries would be removed, more than max-delete allows (50): nothing removed; "
        "if that is meant, run once with --set sync.max-delete=100%"
    )


@pytest.mark.parametrize(
    ("limit", "count", "allowed"),
    [("50%", 50, True), ("50%", 51, False), ("0%", 1, False), (0, 1, False), (3, 3, True), (3, 4, False)],
)
def test_m134_the_limit_itself_is_allowed(limit: str | int, count: int, allowed: bool) -> None:
    assert (objection(attrs.evolve(USUAL, count=count), MaxDelete.parse(limit)) is None) is allowed


@given(
    st.builds(
        Removals,
        st.integers(0, 9),
        st.integers(0, 9),
        st.integers(0, 9),
        st.sampled_from([None, ROOT]),
        st.sampled_from([ROOT, attrs.evolve(ROOT, device=8)]),
    )
)
def test_nothing_to_remove_and_everything_allowed_are_never_refused(removals: Removals) -> None:
    assert objection(removals, ALL) is None
    assert objection(attrs.evolve(removals, count=0), MaxDelete.parse(0)) is None


@pytest.mark.parametrize(
    ("removals", "failures", "chosen"),
    [
        (["a", "b/c"], [], []),
        (["a", "b/c"], ["x"], ["a", "b/c"]),  # in the root: near everything
        (["a", "b/c", "b/d/e"], ["b/x"], ["b/c", "b/d/e"]),
        (["a", "b/c"], ["b/d/x"], []),
        (["b-c/x", "bb"], ["b/x"], []),
        (["b", "b/c", "b/c/d", "b/e"], ["b/c/x"], ["b", "b/c", "b/c/d"]),  # and what holds it
        (["a/b/c", "a/b", "z"], ["a/b/x"], ["a/b/c", "a/b"]),
    ],
    ids=str,
)
def test_m135_a_failure_withholds_removals_near_it(removals: list[str], failures: list[str], chosen: list[str]) -> None:
    assert withheld(removals, failures) == frozenset(chosen)


names = st.sampled_from("ab")
paths = st.lists(names, min_size=1, max_size=4).map("/".join)


@given(st.sets(paths), st.sets(paths))
def test_m135_exactly_the_subtrees_of_failures_are_withheld_and_what_holds_them(
    removals: set[str], failures: set[str]
) -> None:
    near = {parent_of(failure) for failure in failures}
    below = {path for path in removals if any(path.startswith(join(n, "") if n else "") for n in near)}
    holding = {path for path in removals if any(other.startswith(path + "/") for other in below)}
    found = withheld(removals, failures)
    assert below <= found
    assert found <= below | holding
    for path in found:
        assert not parent_of(path) or parent_of(path) not in removals or parent_of(path) in found, (
            "a directory goes, and holds what stays"
        )
