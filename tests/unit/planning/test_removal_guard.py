"""Whether removing may begin, and what of it must wait.

Numbers in names (``test_m134_...``) are rows of the fault matrix.
"""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsync.model.entry import Entry, Kind, Record, Root, parent_of
from actorsync.planning.removal_guard import Gone, RemovalRequest, objection, to_postpone, why_postponed
from actorsync.profile.values.units import MaxDelete

ROOT = Root(Entry("", Kind.DIRECTORY), device=7)
USUAL = RemovalRequest(count=3, ours=100, seen=97, root_then=ROOT, root_now=ROOT)
MOVED = attrs.evolve(USUAL, root_now=attrs.evolve(ROOT, device=8))
HALF = MaxDelete.parse("50%")
ALL = MaxDelete.parse("100%")


def test_usual_run_may_remove() -> None:
    assert objection(USUAL, HALF) is None


def test_m059_an_emptied_source_removes_nothing() -> None:
    emptied = attrs.evolve(USUAL, count=100, seen=0)
    assert objection(emptied, MaxDelete.parse(500)) == (
        "the source is empty, and the target has 100 entries from it: nothing removed; "
        "if this is intended, run once with --set sync.max-delete=100%"
    )


@pytest.mark.parametrize(("ours", "refused"), [(0, False), (1, False), (2, True)])
def test_m059_source_of_fewer_than_two_entries_may_be_emptied(ours: int, refused: bool) -> None:
    emptied = attrs.evolve(USUAL, count=1, ours=ours, seen=0)
    assert (objection(emptied, MaxDelete.parse(500)) is not None) is refused


def test_m059_source_on_another_device_removes_nothing() -> None:
    assert objection(MOVED, HALF) == (
        "the source is on another device than in the last run (is it mounted?): nothing removed; "
        "if this is intended, run once with --set sync.any-device=true"
    )


def test_any_device_accepts_another_device_and_leaves_the_other_guards_on() -> None:
    assert objection(MOVED, HALF, any_device=True) is None
    too_many = objection(attrs.evolve(MOVED, count=51), HALF, any_device=True)
    assert too_many is not None
    assert too_many.startswith("51 of 100 entries would be removed, more than max-delete allows (50)")
    emptied = objection(attrs.evolve(MOVED, count=3, seen=0), HALF, any_device=True)
    assert emptied is not None
    assert emptied.startswith("the source is empty, and the target has 100 entries from it")


@pytest.mark.parametrize("then", [None, attrs.evolve(ROOT, device=None)])
def test_unknown_device_is_no_objection(then: Root | None) -> None:
    assert objection(attrs.evolve(USUAL, root_then=then), HALF) is None
    assert objection(attrs.evolve(USUAL, root_now=attrs.evolve(ROOT, device=None)), HALF) is None


def test_m134_more_than_max_delete_allows() -> None:
    assert objection(attrs.evolve(USUAL, count=51), HALF) == (
        "51 of 100 entries would be removed, more than max-delete allows (50): nothing removed; "
        "if this is intended, run once with --set sync.max-delete=100%"
    )


@pytest.mark.parametrize(
    ("limit", "count", "allowed"),
    [("50%", 50, True), ("50%", 51, False), ("0%", 1, False), (0, 1, False), (3, 3, True), (3, 4, False)],
)
def test_m134_the_limit_itself_is_allowed(limit: str | int, count: int, allowed: bool) -> None:
    assert (objection(attrs.evolve(USUAL, count=count), MaxDelete.parse(limit)) is None) is allowed


@given(
    st.builds(
        RemovalRequest,
        st.integers(0, 9),
        st.integers(0, 9),
        st.integers(0, 9),
        st.sampled_from([None, ROOT]),
        st.sampled_from([ROOT, attrs.evolve(ROOT, device=8)]),
    )
)
def test_nothing_to_remove_and_everything_allowed_are_never_refused(removals: RemovalRequest) -> None:
    assert objection(removals, ALL) is None
    assert objection(attrs.evolve(removals, count=0), MaxDelete.parse(0)) is None


def file(path: str, size: int = 1, inode: int | None = None) -> Entry:
    return Entry(path, Kind.FILE, size, 1, 1, inode)


def folder(path: str) -> Entry:
    return Entry(path, Kind.DIRECTORY)


def gone(*paths: str) -> dict[str, Gone]:
    """Return what goes, files each with a size of its own, directories (with a ``/`` behind them) as a whole."""
    return removing(*(folder(p[:-1]) if p.endswith("/") else file(p, 100 + n) for n, p in enumerate(paths)))


def removing(*entries: Entry) -> dict[str, Gone]:
    folders = {entry.path for entry in entries if entry.kind is Kind.DIRECTORY}

    def top(path: str) -> str:
        return top(parent_of(path)) if parent_of(path) in folders else path

    return {entry.path: Gone(Record(entry, entry), top(entry.path)) for entry in entries}


@pytest.mark.parametrize(
    ("removals", "failed", "chosen"),
    [
        (["a", "b/c"], [], []),
        (["a", "b/c"], ["x"], ["a"]),  # beside it, and not all that is below the root
        (["b/c", "b/d/e", "x"], ["b/x"], ["b/c"]),
        (["b/c", "b/d/", "b/d/e", "x"], ["b/x"], ["b/c", "b/d", "b/d/e"]),  # a directory that goes as a whole
        (["a", "b/c"], ["b/d/x"], []),
        (["b-c/x", "bb"], ["b/x"], []),
        (["b/", "b/c/", "b/c/d", "b/e"], ["x"], ["b", "b/c", "b/c/d", "b/e"]),
        (["a/b/c", "a/b/", "z"], ["a/x"], ["a/b/c", "a/b"]),
        (["a/b/c", "a/b/", "a/b/d", "z"], ["y/x"], []),
    ],
    ids=str,
)
def test_m135_failure_postpones_removals_in_its_directory(
    removals: list[str], failed: list[str], chosen: list[str]
) -> None:
    assert to_postpone(gone(*removals), map(file, failed)) == frozenset(chosen)
    assert to_postpone(gone(*removals), map(folder, failed)) == frozenset(chosen)  # m061: also one nobody may read


@pytest.mark.parametrize(
    ("failed", "chosen"),
    [
        (file("new/x", 7), ["old/x"]),  # of the same size: it was moved, by whatever means
        (file("new/x", 8, inode=40), ["old/y"]),  # the same inode: it was moved, and then changed in place
        (file("new/x", 8, inode=41), []),
        (file("new/x", 8), []),
        (folder("new/x"), []),  # a directory has no size that would tell
        (file("new/x", 0), []),  # and a file that is empty is not like a directory
        (file("new/x", 3), ["old/z"]),  # with a new journal, the old name is a foreign one
    ],
)
def test_m135_failure_postpones_removals_of_files_like_it(failed: Entry, chosen: list[str]) -> None:
    removals = removing(file("old/x", 7, inode=39), file("old/y", 9, inode=40), folder("gone/d"))
    assert to_postpone(
        {**removals, "old/z": Gone(Record(None, file("old/z", 3, inode=41)), "old/z")}, [failed]
    ) == frozenset(chosen)


def test_m135_failure_in_a_renamed_directory_postpones_its_old_name() -> None:
    removals = removing(folder("v1"), file("v1/a", 5), folder("v1/d"), file("v1/d/b", 6))
    assert to_postpone(removals, [file("v2/d/b", 6)]) == {"v1", "v1/d", "v1/d/b"}
    assert why_postponed(3, {"v2/d/b"}) == "3 removals postponed: they may be half of a rename that failed ('v2/d/b')"
    assert (
        why_postponed(1, {"z", "v2/d/b"})
        == "1 removal postponed: it may be half of a rename that failed ('v2/d/b' and 1 more)"
    )


def test_m044_removals_below_an_unlisted_directory_are_postponed() -> None:
    removals = gone("a", "b/c", "b/d/e", "b-c")
    assert to_postpone(removals, [], unlisted={"b"}) == {"b/c", "b/d/e"}


def test_directory_that_holds_a_kept_entry_is_postponed() -> None:
    removals = gone("b/", "b/c/", "b/c/d", "b/e")
    assert to_postpone(removals, [], kept={"b/c/d"}) == {"b", "b/c"}


names = st.sampled_from("ab")
paths = st.lists(names, min_size=1, max_size=4).map("/".join)


@given(st.sets(paths), st.sets(paths))
def test_m135_exactly_the_removals_near_a_failure_are_postponed(removals: set[str], failures: set[str]) -> None:
    beside = {parent_of(failure) for failure in failures}
    above = {path: [path[:i] for i, c in enumerate(path) if c == "/"] for path in removals}
    tops = {path: next((p for p in above[path] if p in removals), path) for path in removals}
    chosen = {path for path in removals if parent_of(tops[path]) in beside}
    holding = {path for path in removals if any(other.startswith(path + "/") for other in chosen)}
    found = to_postpone(
        {path: Gone(Record(None, Entry(path, Kind.FILE)), tops[path]) for path in removals}, map(folder, failures)
    )
    assert found == chosen | holding
    for path in found:
        assert not parent_of(path) or parent_of(path) not in removals or parent_of(path) in found, (
            "a directory goes, and holds what stays"
        )


def request(count: int, ours: int, foreign: int, known: int, *, seen: int = 1) -> RemovalRequest:
    return RemovalRequest(count, ours, seen, None, ROOT, foreign, known)


@pytest.mark.parametrize(
    ("removals", "limit", "is_refused"),
    [
        (request(50, 0, 50, 100), "50%", False),
        (request(51, 0, 51, 100), "50%", True),
        (request(51, 900, 51, 100), "50%", True),  # what this run has sent makes the rest no smaller part
        (request(10, 10, 0, 1000), "50%", True),  # and what is foreign makes ours no smaller part
        (request(12, 10, 4, 1000), "50%", True),
        (request(9, 10, 4, 1000), "50%", False),
        (request(300, 0, 300, 300), 300, False),
        (request(301, 300, 1, 301), 300, True),
        (request(2, 0, 2, 100, seen=0), "50%", True),
        (request(100, 50, 50, 100, seen=0), "100%", False),
    ],
)
def test_foreign_removals_are_limited_alone_and_with_ours(
    removals: RemovalRequest, limit: str | int, is_refused: bool
) -> None:
    assert (objection(removals, MaxDelete.parse(limit)) is not None) is is_refused


@pytest.mark.parametrize(("limit", "count", "refused"), [("50%", 10, False), ("50%", 11, True), (50, 11, True)])
def test_removals_of_earlier_passes_count(limit: object, count: int, refused: bool) -> None:
    later = attrs.evolve(USUAL, count=count, ours=60, most=100)
    assert (objection(later, MaxDelete.parse(limit)) is not None) is refused


def test_refusal_tells_what_earlier_passes_have_removed() -> None:
    assert objection(attrs.evolve(USUAL, count=11, ours=60, most=100), HALF) == (
        "11 more of 100 entries would be removed, 40 were removed within the last hour, together more than max-delete "
        "allows (50): nothing removed; if this is intended, run once with --set sync.max-delete=100%"
    )


def test_unlimited_removals_do_not_count_earlier_ones() -> None:
    assert objection(attrs.evolve(USUAL, count=60, ours=60, most=100), ALL) is None


def test_the_last_entry_of_a_source_that_was_emptied_slowly_stays() -> None:
    emptied = attrs.evolve(USUAL, count=1, ours=1, seen=0, most=100)
    assert objection(emptied, MaxDelete.parse(500)) is not None
