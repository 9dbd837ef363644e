"""The table of what must happen to one path, and what is asked before the table is.

Numbers in names (``test_m056_...``) are rows of the fault matrix.
"""

from __future__ import annotations

import itertools
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsync.model.entry import Entry, Kind, Listing, Problem, Record
from actorsync.planning.reconcile import (
    CLOCK_GRANULARITY,
    CLOCK_SKEW,
    EXACT_TABLE,
    TABLE,
    Action,
    Decision,
    Source,
    Target,
    decide,
    is_racy,
    looks_equal,
    reconcile,
    removals_below,
)

SECOND = 10**9


def file(path: str = "x", size: int = 3, mtime_ns: int | None = 5 * SECOND, ctime_ns: int | None = None) -> Entry:
    return Entry(path, Kind.FILE, size, mtime_ns, ctime_ns)


def folder(path: str = "x") -> Entry:
    return Entry(path, Kind.DIRECTORY, 0, 1)


def nothing_is_hidden(path: str, is_directory: bool) -> bool:
    return False


OURS = Record(file(), file())
RACY = attrs.evolve(OURS, digest=b"digest")
MODED = Record(attrs.evolve(file(mtime_ns=5 * SECOND + 1), mode=0o644), file())
SUMMED = attrs.evolve(OURS, checksum=b"checksum")
OUR_FOLDER = Record(folder(), folder())
FOREIGN = Record(None, file(size=9))
FOREIGN_EQUAL = Record(None, file())
FOREIGN_FOLDER = Record(None, folder())

# What stands for each row and column: what the source has now and whether it is hidden; what the journal has.
SOURCES = {
    Source.GONE: (None, False),
    Source.HIDDEN: (None, True),
    Source.UNCHANGED: (file(), False),
    Source.RACY: (file(), False),
    Source.TOUCHED: (file(mtime_ns=6 * SECOND), False),
    Source.CHMODDED: (attrs.evolve(file(mtime_ns=5 * SECOND + 1, ctime_ns=7), mode=0o755), False),
    Source.CHANGED: (file(mtime_ns=6 * SECOND), False),
    Source.DIRECTORY: (folder(), False),
}
TARGETS = {
    Target.NOTHING: None,
    Target.FILE: OURS,
    Target.DIRECTORY: OUR_FOLDER,
    Target.FOREIGN_EQUAL: FOREIGN_EQUAL,
    Target.FOREIGN_ALIKE: FOREIGN_EQUAL,
    Target.FOREIGN_FILE: FOREIGN,
    Target.FOREIGN_DIRECTORY: FOREIGN_FOLDER,
}

FOREIGN_TARGETS = (Target.FOREIGN_EQUAL, Target.FOREIGN_ALIKE, Target.FOREIGN_FILE, Target.FOREIGN_DIRECTORY)

#: The pairs that are not in the table, each with the reason why nothing leads to it.
UNREACHABLE = {
    (Source.GONE, Target.NOTHING): "neither side has it: nobody asks, and `decide` does not look it up",
    (Source.HIDDEN, Target.NOTHING): "as above",
    (Source.GONE, Target.FOREIGN_EQUAL): "equal to what? there is no file to compare with",
    (Source.HIDDEN, Target.FOREIGN_EQUAL): "as above: what is hidden is not looked at",
    (Source.GONE, Target.FOREIGN_ALIKE): "as above",
    (Source.HIDDEN, Target.FOREIGN_ALIKE): "as above",
    (Source.UNCHANGED, Target.NOTHING): "unchanged since when? there is no record of it",
    (Source.RACY, Target.NOTHING): "as above",
    (Source.UNCHANGED, Target.DIRECTORY): "a file is compared with the source's own record, which was a directory",
    (Source.RACY, Target.DIRECTORY): "as above",
    (Source.TOUCHED, Target.NOTHING): "there is no record that could know its checksum",
    (Source.TOUCHED, Target.DIRECTORY): "a directory has no checksum",
    (Source.CHMODDED, Target.NOTHING): "there is no record of another mode",
    (Source.CHMODDED, Target.DIRECTORY): "a file is compared with the source's own record, which was a directory",
    (Source.DIRECTORY, Target.FOREIGN_EQUAL): "only files are equal",
    (Source.DIRECTORY, Target.FOREIGN_ALIKE): "as above",
    **{
        (source, target): "a foreign record has no source that a file could be unchanged from"
        for source in (Source.UNCHANGED, Source.RACY, Source.TOUCHED, Source.CHMODDED)
        for target in FOREIGN_TARGETS
    },
}


def test_every_pair_is_decided_or_cannot_occur() -> None:
    assert set(itertools.product(Source, Target)) == TABLE.keys() | UNREACHABLE.keys()
    assert not TABLE.keys() & UNREACHABLE.keys()


@pytest.mark.parametrize(("source", "target"), TABLE, ids=lambda one: one.name)
def test_each_pair_is_found_in_the_table(source: Source, target: Target) -> None:
    now, hidden = SOURCES[source]
    records = {Source.RACY: RACY, Source.TOUCHED: SUMMED, Source.CHMODDED: MODED}
    record = records.get(source, TARGETS[target])
    if target in {Target.FOREIGN_EQUAL, Target.FOREIGN_ALIKE}:
        now = file()
    expected = Action.NOTE if source is Source.CHMODDED else TABLE[source, target]
    by_content = source is Source.TOUCHED or target is Target.FOREIGN_ALIKE
    assert decide(now, record, hidden=hidden, by_content=by_content) is expected


def test_exact_table_differs_only_in_what_is_foreign() -> None:
    differences = {pair: action for pair, action in EXACT_TABLE.items() if TABLE.get(pair) is not action}
    assert differences == {
        (Source.GONE, Target.FOREIGN_FILE): Action.REMOVE,
        (Source.GONE, Target.FOREIGN_DIRECTORY): Action.REMOVE,
        (Source.CHANGED, Target.FOREIGN_DIRECTORY): Action.REPLACE,
        (Source.DIRECTORY, Target.FOREIGN_FILE): Action.REPLACE,
    }
    assert EXACT_TABLE.keys() == TABLE.keys()


@pytest.mark.parametrize("kind", [Kind.LINK, Kind.OTHER, Kind.FILE])
def test_exact_mirror_removes_foreign_entries_unless_they_are_protected(kind: Kind) -> None:
    record = Record(None, attrs.evolve(file(), kind=kind))
    listing = Listing("")
    (decision,) = reconcile(listing, {"x": record}, nothing_is_hidden, protects=nothing_is_hidden)
    assert decision == Decision(Action.REMOVE, None, record)
    assert not list(reconcile(listing, {"x": record}, nothing_is_hidden, protects=lambda *_: True))
    assert not list(reconcile(listing, {"x": record}, nothing_is_hidden))
    assert not list(reconcile(attrs.evolve(listing, hidden=frozenset("x")), {"x": record}, nothing_is_hidden))


def test_foreign_entry_that_may_be_missing_is_not_equal() -> None:
    assert decide(file(), attrs.evolve(FOREIGN_EQUAL, digest=b"")) is Action.COPY
    assert decide(folder(), attrs.evolve(FOREIGN_FOLDER, digest=b"")) is Action.MAKE


@given(
    st.sampled_from([None, file(), file(size=9), folder()]),
    st.sampled_from([None, OURS, RACY, OUR_FOLDER, FOREIGN, FOREIGN_EQUAL, FOREIGN_FOLDER]),
    st.booleans(),
)
def test_decide_answers_for_any_entry_and_record(now: Entry | None, record: Record | None, hidden: bool) -> None:
    hidden = hidden and now is None  # what the listing shows is not hidden
    action = decide(now, record, hidden=hidden)
    if record is None or record.source is None:
        assert action not in {Action.REMOVE, Action.REPLACE}, "what is not ours is never removed"
    if hidden:
        assert action is Action.NOTHING
    if action in {Action.COPY, Action.MAKE, Action.ADOPT, Action.VERIFY, Action.BLOCKED, Action.REPLACE}:
        assert now is not None


@pytest.mark.parametrize(
    "change",
    [
        {"size": 4},
        {"mtime_ns": 6 * SECOND},
        {"mtime_ns": 4 * SECOND},
        {"ctime_ns": 1},
        {"inode": 8},
        {"mtime_ns": None},
    ],
    ids=str,
)
def test_any_difference_from_what_was_sent_counts_as_changed(change: dict[str, Any]) -> None:
    assert decide(attrs.evolve(file(), **change), OURS) is Action.COPY
    assert decide(file(), OURS) is Action.NOTHING


@pytest.mark.parametrize("change", [{"mtime_ns": 6 * SECOND}, {"ctime_ns": 1}, {"inode": 8}], ids=str)
def test_touched_file_with_known_checksum_is_compared(change: dict[str, Any]) -> None:
    now = attrs.evolve(file(), **change)
    assert decide(now, SUMMED, by_content=True) is Action.VERIFY
    assert decide(now, RACY, by_content=True) is Action.VERIFY, "what was sent is known of it as well"
    assert decide(now, SUMMED) is Action.COPY
    assert decide(now, OURS, by_content=True) is Action.COPY
    assert decide(file(), SUMMED, by_content=True) is Action.NOTHING
    assert decide(attrs.evolve(now, size=4), SUMMED, by_content=True) is Action.COPY, "of another size, it is another"
    assert decide(now, attrs.evolve(SUMMED, digest=b""), by_content=True) is Action.COPY, "it may not be there"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"ctime_ns": 1}, Action.NOTHING),
        ({"inode": 8}, Action.NOTHING),
        ({"ctime_ns": 1, "inode": 8}, Action.NOTHING),
        ({"mtime_ns": 5 * SECOND + 7}, Action.NOTE),
        ({"mtime_ns": 6 * SECOND}, Action.COPY),
        ({"mtime_ns": None}, Action.COPY),
        ({"size": 4}, Action.COPY),
    ],
    ids=str,
)
def test_by_size_and_time_neither_inode_nor_its_time_counts(change: dict[str, Any], expected: Action) -> None:
    now = attrs.evolve(file(), **change)
    assert decide(now, OURS, by_size_time=True) is expected
    if expected is Action.NOTHING:
        assert decide(now, RACY, by_size_time=True) is Action.VERIFY


def test_by_size_and_time_two_fractions_of_one_second_are_two_times() -> None:
    one, other = file(mtime_ns=5 * SECOND + 1), file(mtime_ns=5 * SECOND + 2)
    assert decide(one, Record(other, other), by_size_time=True) is Action.COPY


def test_change_of_the_target_record_is_no_change_of_the_source() -> None:
    record = Record(file(), file(mtime_ns=1))
    assert decide(file(), record) is Action.NOTHING


# A directory at a time.


def test_a_directory_is_decided_entry_by_entry() -> None:
    listing = Listing("d", (file("d/new"), file("d/same"), folder("d/sub")), hidden=frozenset({"link"}))
    records = {
        "same": Record(file("d/same"), file("d/same")),
        "gone": Record(file("d/gone"), file("d/gone")),
        "link": Record(file("d/link"), file("d/link")),
        "out.tmp": Record(file("d/out.tmp"), file("d/out.tmp")),
        "theirs": Record(None, file("d/theirs")),
    }
    decisions = list(reconcile(listing, records, lambda path, is_directory: path.endswith(".tmp")))
    assert decisions == [
        Decision(Action.COPY, file("d/new"), None),
        Decision(Action.MAKE, folder("d/sub"), None),
        Decision(Action.REMOVE, None, records["gone"]),
    ]


def test_m070_newly_excluded_entry_is_kept() -> None:
    records = {"a": OUR_FOLDER}
    assert list(reconcile(Listing(""), records, lambda path, is_directory: is_directory)) == []
    assert [d.action for d in reconcile(Listing(""), records, nothing_is_hidden)] == [Action.REMOVE]


def test_reconcile_is_not_asked_about_unknown_directories() -> None:
    # The planner does not hand them over; if it did, everything in them would seem gone.
    listing = Listing("", problem=Problem("", "denied"))
    assert [d.action for d in reconcile(listing, {"x": OURS}, nothing_is_hidden)] == [Action.REMOVE]


# Removing a tree.


def ours(path: str, kind: Kind = Kind.FILE) -> Record:
    return Record(Entry(path, kind), Entry(path, kind))


def foreign(path: str, kind: Kind = Kind.FILE) -> Record:
    return Record(None, Entry(path, kind))


D = Kind.DIRECTORY


@pytest.mark.parametrize(
    ("below", "removed"),
    [
        ([], ["d"]),
        ([ours("d/a"), ours("d/b")], ["d/b", "d/a", "d"]),
        ([ours("d/e", D), ours("d/e/f")], ["d/e/f", "d/e", "d"]),
        ([foreign("d/a"), ours("d/b")], ["d/b"]),
        ([ours("d/e", D), ours("d/k", D), foreign("d/e/f"), ours("d/k/g")], ["d/k/g", "d/k"]),
        ([foreign("d/e", D), ours("d/e/f")], ["d/e/f"]),
        ([ours("d/x.tmp"), ours("d/y")], ["d/y"]),
        ([ours("d/e", D), ours("d/e/x.tmp"), ours("d/e/y")], ["d/e/y"]),
    ],
    ids=str,
)
def test_removals_below_keep_foreign_and_hidden_entries_and_their_directories(
    below: list[Record], removed: list[str]
) -> None:
    found = removals_below(ours("d", D), below, lambda path, is_directory: path.endswith(".tmp"))
    assert [entry.path for entry in found] == removed


def test_removals_below_of_a_name_that_begins_like_another() -> None:
    below = [ours("d/a", D), ours("d/a-b", D), foreign("d/a-b/c"), ours("d/a/c")]
    assert [entry.path for entry in removals_below(ours("d", D), below, nothing_is_hidden)] == ["d/a/c", "d/a"]


# Comparing.


@pytest.mark.parametrize(
    ("source_ns", "target_ns", "equal"),
    [
        (5 * SECOND, 5 * SECOND, True),
        (5 * SECOND + 999_999_999, 5 * SECOND, True),
        (6 * SECOND, 5 * SECOND, False),
        (4 * SECOND + 999_999_999, 5 * SECOND, False),
        (5 * SECOND + 7, 5 * SECOND + 7, True),
        (5 * SECOND, 5 * SECOND + 7, False),
        (-1, -SECOND, True),
        (0, 0, True),
        (None, 5 * SECOND, False),
        (5 * SECOND, None, False),
        (None, None, False),
    ],
)
def test_looks_equal_compares_size_and_time(source_ns: int | None, target_ns: int | None, equal: bool) -> None:
    assert looks_equal(file(mtime_ns=source_ns), file(mtime_ns=target_ns)) is equal
    assert not looks_equal(file(mtime_ns=source_ns, size=4), file(mtime_ns=target_ns))


@pytest.mark.parametrize(
    ("mtime_ns", "ctime_ns", "racy"),
    [
        (100 * SECOND, None, True),
        (100 * SECOND - CLOCK_SKEW, None, True),  # by the clock of a server
        (100 * SECOND - CLOCK_SKEW - 1, None, False),
        (101 * SECOND, None, True),  # from the future
        (1, 98 * SECOND, True),
        (1, 98 * SECOND - 1, False),
        (1, 100 * SECOND, True),  # set back by somebody; nobody can set back the inode's own time
        (100 * SECOND, 1, False),
        (None, None, True),
    ],
)
def test_m056_file_changed_within_clock_granularity_is_racy(
    mtime_ns: int | None, ctime_ns: int | None, racy: bool
) -> None:
    assert is_racy(file(mtime_ns=mtime_ns, ctime_ns=ctime_ns), 100 * SECOND) is racy


@given(st.integers(0, 10**12), st.integers(0, 3 * CLOCK_GRANULARITY), st.sampled_from([1, SECOND, 2 * SECOND]))
def test_m056_change_of_a_file_that_is_not_racy_shows_in_its_times(changed: int, later: int, tick: int) -> None:
    read = changed + later
    if not is_racy(file(ctime_ns=changed - changed % tick), read):
        again = read + 1
        assert again - again % tick != changed - changed % tick
