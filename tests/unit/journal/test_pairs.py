"""What a journal remembers of a two-way mirror: the rows that facts leave, and what is read of them."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actorsync.journal import Journal, begin_mode, journal_path, open_journal, open_memory_journal, read_conflicts
from actorsync.model.entry import Entry, Kind, Root
from actorsync.model.event import (
    Agreed,
    Conflicted,
    ConflictEnded,
    Event,
    Forgotten,
    Intended,
    Learned,
    MemoryVoided,
    MovesIntended,
    PairScanned,
    PartSent,
    Released,
    RemovalIntended,
    Resized,
    SurveyComplete,
    Swept,
)
from actorsync.model.kept import Kept
from actorsync.model.operation import (
    Copy,
    Done,
    Failed,
    Maintain,
    MakeDirectory,
    Move,
    Prepare,
    Publish,
    Remove,
    Side,
    Skipped,
)
from actorsync.model.pair import Agreement, Conflict, Doubt, Pending, other
from tests.unit.journal.rows import adopted, file, folder
from tests.unit.journal.test_model import NUMBERS, PATHS, entries

BOTH_SIDES = pytest.mark.parametrize("side", list(Side), ids=lambda it: it.value)
ASIDE = "d/.actorsync+0123456789abcdef-x"
ROOTS = Root(folder(""), device=7), Root(Entry("", Kind.DIRECTORY, 0, 1, 2, (1 << 64) - 1), device=None)


def agreement(path: str, size: int = 1, inode: int | None = None, doubt: Doubt = Doubt.NONE) -> Agreement:
    return Agreement(file(path, size, 7, inode), file(path, size, 5), b"digest", doubt)


def agreed(*paths: str) -> list[Event]:
    return [Agreed(agreement(path)) for path in paths]


def conflict(path: str, reason: str = "both have changed it", since: float = 1.5) -> Conflict:
    return Conflict(path, file(path, 2), file(path, 3), reason, since)


def paths(journal: Journal) -> list[str]:
    return [it.path for it in journal.pairs.subtree("")]


def halves(other_entry: Entry, changed: Entry, side: Side) -> tuple[Entry, Entry]:
    """Return the source and the target, where ``changed`` is on ``side``."""
    return (other_entry, changed) if side is Side.TARGET else (changed, other_entry)


# What is read


def test_what_was_agreed_is_read_in_each_way(journal: Journal) -> None:
    there = [agreement("a/x", 3, 11), agreement("a/y", 1 << 70, 1 << 64), agreement("b"), agreement("a-b/x")]
    directory, root = Agreement(folder("a"), folder("a")), Agreement(folder(""), folder(""))
    journal.pairs.apply([Agreed(it) for it in (*there, directory, root)])

    assert journal.pairs.children("a") == {"x": there[0], "y": there[1]}
    assert journal.pairs.children("") == {"a": directory, "b": there[2]}
    assert journal.pairs.agreement("a/x") == there[0]
    assert journal.pairs.agreement("") == root
    assert journal.pairs.agreement("a/none") is None
    assert journal.pairs.subtree("a") == there[:2]
    assert journal.pairs.subtree("") == [directory, there[2], *there[:2], there[3]]
    assert journal.pairs.count() == 5


def test_rows_are_plain_values_in_order_of_their_names(journal: Journal) -> None:
    source = Entry("d/\udcff", Kind.FILE, 1 << 70, -5, 6, 1 << 64, mode=0o644)
    odd = Agreement(source, attrs.evolve(source, size=2, mtime_ns=None, ctime_ns=None, inode=None), None)
    journal.pairs.apply([Agreed(odd), *agreed("d/b"), Agreed(agreement("d/a", doubt=Doubt.TARGET_TIME))])
    journal.pairs.apply([Agreed(Agreement(folder("d"), folder("d")))])

    assert journal.pairs.rows("d") == [
        (b"a", 1, 1, 7, 7, None, 1, 1, 5, 5, None, 2),
        (b"b", 1, 1, 7, 7, None, 1, 1, 5, 5, None, 0),
        (b"\xff", 1, 1 << 70, -5, 6, 1 << 64, 1, 2, None, None, None, 0),
    ]
    assert journal.pairs.rows("") == [(b"d", 2, 0, 5, None, None, 2, 0, 5, None, None, 0)], "without the root"


@BOTH_SIDES
def test_a_file_with_another_name_is_found_by_its_inode_size_and_time(side: Side) -> None:
    def named(path: str, inode: int | None, size: int = 3, mtime_ns: int | None = 9) -> Entry:
        return Entry(path, Kind.FILE, size, mtime_ns, None, inode)

    with closing(open_memory_journal()) as journal:
        big = 1 << 64
        old = [Agreement(*halves(file(it, 3), named(it, big), side)) for it in ("old", "twin")]
        others = [
            Agreement(*halves(named("other side", big), file("other side", 3), side)),
            Agreement(*halves(file("size", 4), named("size", big, 4), side)),
            Agreement(*halves(folder("folder"), Entry("folder", Kind.DIRECTORY, 3, 9, None, big), side)),
        ]
        journal.pairs.apply([Agreed(it) for it in (*old, *others)])
        asked = [named("new", big), named("old", big), named("none", None), named("time", big, 3, None)]

        found = journal.pairs.elsewhere(side, asked)
        journal.pairs.apply([Forgotten("twin")])

        assert found == {"new": old, "old": old[1:]}
        assert journal.pairs.elsewhere(side, asked) == {"new": old[:1]}, "the index follows what changes"


# Facts


@BOTH_SIDES
def test_a_copy_is_recorded_with_what_was_read_on_the_one_side_and_written_on_the_other(
    journal: Journal, side: Side
) -> None:
    read, written = file("d/x", 4, 40), file("d/x", 4, 44)
    journal.pairs.apply([*agreed("d/x/below", "d/x0"), Intended(("d/.t", "d/.u"), read, side=side)])
    doubts = (side,)
    journal.pairs.apply([Done(Copy(read, side=side), written, read, b"d", "d/.t", checksum=b"c", doubts=doubts)])

    assert journal.pairs.children("d") == {
        "x": Agreement(*halves(read, written, side), b"d", Doubt.time(side)),
        "x0": agreement("d/x0"),
    }
    assert journal.pairs.children("d/x") == {}, "it may have replaced a directory"
    assert [it.path for it in journal.pairs.pending(side)] == ["d/.u"]


def test_a_checksum_is_the_digest_of_a_copy_whose_times_prove_its_content(journal: Journal) -> None:
    entry = file("x")
    journal.pairs.apply([Done(Copy(entry), entry, entry, checksum=b"c", doubts=tuple(Side))])
    assert journal.pairs.agreement("x") == Agreement(entry, entry, b"c", Doubt.SOURCE_TIME | Doubt.TARGET_TIME)


@BOTH_SIDES
def test_a_directory_is_recorded_as_each_side_has_it(journal: Journal, side: Side) -> None:
    there, made = folder("d"), Entry("d", Kind.DIRECTORY, 0, 99, inode=3)
    journal.pairs.apply([Done(MakeDirectory(there, side=side), made)])
    assert journal.pairs.agreement("d") == Agreement(*halves(there, made, side))


@BOTH_SIDES
def test_a_moved_file_is_agreed_on_under_its_new_name_alone(journal: Journal, side: Side) -> None:
    doubt = Doubt.time(side)
    journal.pairs.apply([Agreed(agreement("old", doubt=doubt))])
    move = Move(file("new"), file("old"), b"digest", side=side)
    journal.pairs.apply([MovesIntended((move,))])
    assert journal.pairs.agreement("old") == agreement("old", doubt=doubt | Doubt.missing(side))

    moved = file("new", inode=4)
    journal.pairs.apply([Done(move, moved, file("new"), b"digest")])

    assert journal.pairs.subtree("") == [Agreement(*halves(file("new"), moved, side), b"digest", doubt)]


@BOTH_SIDES
def test_that_a_file_is_missing_which_was_set_aside_is_never_taken_for_a_removal(journal: Journal, side: Side) -> None:
    """If the run dies now, the other side may get its old version back: the file is to be sent then, not removed."""
    journal.pairs.apply(agreed("x"))
    aside = Move(file("x.conflict", 2), file("x", 2), side=side, is_aside=True)
    journal.pairs.apply([MovesIntended((aside,)), Done(aside, file("x.conflict", 2), file("x.conflict", 2))])

    assert journal.pairs.subtree("") == [agreement("x", doubt=Doubt.missing(side))]


@BOTH_SIDES
def test_a_move_that_was_refused_takes_its_doubt_back(journal: Journal, side: Side) -> None:
    doubt = Doubt.time(side) | Doubt.missing(other(side))
    journal.pairs.apply([Agreed(agreement("old", doubt=doubt))])
    move = Move(file("new"), file("old"), side=side)
    journal.pairs.apply([MovesIntended((move,)), Skipped(move, "550")])
    assert journal.pairs.subtree("") == [agreement("old", doubt=doubt)]


@BOTH_SIDES
def test_a_removal_leaves_a_doubt_until_it_is_done(journal: Journal, side: Side) -> None:
    journal.pairs.apply(agreed("1", "2", "3", "3/below", "30"))
    journal.pairs.apply([RemovalIntended(("1", "2", "3", "unknown"), side=side)])
    doubtful = [agreement(path, doubt=Doubt.missing(side)) for path in ("1", "2", "3")]
    assert journal.pairs.subtree("") == [*doubtful, agreement("30"), agreement("3/below")]

    journal.pairs.apply([Done(Remove(file("1"), side=side)), Failed(Remove(file("2"), side=side), "550")])
    journal.pairs.apply([Done(Remove(folder("3"), side=side))])

    assert journal.pairs.subtree("") == [doubtful[1], agreement("30")]


def test_a_directory_that_holds_something_unknown_is_not_agreed_on_any_more(journal: Journal) -> None:
    journal.pairs.apply([Agreed(Agreement(folder("d"), folder("d"))), *agreed("d0")])
    journal.pairs.apply([Skipped(Remove(folder("d")), "not empty")])
    assert paths(journal) == ["d0"]


def test_a_directory_that_holds_what_could_not_be_removed_is_remembered_with_it(journal: Journal) -> None:
    """Otherwise the next run would take both for new, and give back what the user has removed."""
    journal.pairs.apply([Agreed(Agreement(folder("d"), folder("d"))), *agreed("d/sub/x")])
    journal.pairs.apply([Failed(Remove(file("d/sub/x")), "550 busy"), Skipped(Remove(folder("d")), "not empty")])
    assert paths(journal) == ["d", "d/sub/x"]


def test_what_is_forgotten_is_forgotten_with_all_below_it(journal: Journal) -> None:
    journal.pairs.apply(agreed("d", "d/x", "d/x/y", "d-", "d0", ""))
    journal.pairs.apply([Forgotten("d")])
    assert paths(journal) == ["d-", "d0"]
    journal.pairs.apply([Forgotten("")])
    assert (paths(journal), journal.pairs.agreement("")) == ([], None)


def test_the_last_agreement_about_a_path_counts_among_facts_of_other_kinds(journal: Journal) -> None:
    again = agreement("x", 9)
    journal.pairs.apply([*agreed("x", "y"), Agreed(again), Forgotten("y"), *agreed("z"), Forgotten("z"), *agreed("z")])
    assert journal.pairs.subtree("") == [again, agreement("z")]


def test_roots_are_those_of_the_last_whole_scan(journal: Journal) -> None:
    assert (journal.pairs.is_fresh, journal.pairs.roots()) == (True, None)
    journal.pairs.apply([PairScanned(*ROOTS)])
    assert (journal.pairs.is_fresh, journal.pairs.roots()) == (False, ROOTS)
    assert journal.is_fresh, "a mirror with the same name knows nothing"
    assert journal.root() is None


def test_a_void_memory_is_that_of_a_first_run(journal: Journal) -> None:
    temporary = Intended(("d/.t",), file("d/x"))
    journal.pairs.apply([*agreed("x", "d/x", ""), Conflicted(conflict("y")), PairScanned(*ROOTS), temporary])
    journal.pairs.apply([MemoryVoided("does not have the stamp of the last run")])

    assert (journal.pairs.is_fresh, journal.pairs.count(), journal.pairs.conflicts()) == (True, 0, [])
    assert journal.pairs.agreement("") is None
    assert [it.path for it in journal.pairs.pending(Side.TARGET)] == ["d/.t"], "it may be there all the same"


def test_what_a_mirror_remembers_is_apart(journal: Journal) -> None:
    journal.apply(adopted("x"))
    journal.pairs.apply(agreed("y"))
    journal.pairs.apply([MemoryVoided("does not have the stamp of the last run"), *agreed("z")])
    assert ([it.target.path for it in journal.subtree("")], paths(journal)) == (["x"], ["z"])
    journal.apply([MemoryVoided("is empty")])
    assert paths(journal) == ["z"]


@pytest.mark.parametrize(
    "fact", [*agreed("x"), Conflicted(conflict("x")), PairScanned(*ROOTS)], ids=lambda it: type(it).__name__
)
def test_a_run_of_a_mirror_ends_what_a_two_way_mirror_remembers(journal: Journal, fact: Event) -> None:
    aside = Intended((ASIDE,), file("d/x"))
    journal.pairs.apply([fact, aside])
    begin_mode(journal, is_two_way=True)
    assert (journal.pairs.roots() is not None, journal.pairs.count(), len(journal.pairs.conflicts())).count(0) == 2
    begin_mode(journal, is_two_way=False)
    assert (journal.pairs.roots(), journal.pairs.count(), journal.pairs.conflicts()) == (None, 0, [])
    assert [it.path for it in journal.pairs.pending(Side.TARGET)] == [ASIDE]


@pytest.mark.parametrize("fact", [*adopted("x"), SurveyComplete()], ids=lambda it: type(it).__name__)
def test_a_two_way_run_ends_what_a_mirror_remembers(journal: Journal, fact: Event) -> None:
    journal.apply([fact, Intended((".t",))])
    begin_mode(journal, is_two_way=False)
    assert journal.is_fresh == (journal.owned_count() == 1)
    begin_mode(journal, is_two_way=True)
    assert (journal.is_fresh, journal.owned_count(), journal.pending()) == (True, 0, [(".t", None)])


@pytest.mark.parametrize("is_two_way", [True, False])
def test_a_run_of_the_same_mode_as_before_writes_nothing_when_it_begins(journal: Journal, is_two_way: bool) -> None:
    if is_two_way:
        journal.pairs.apply([*agreed("x"), PairScanned(*ROOTS)])
    else:
        journal.apply([*adopted("x"), SurveyComplete()])
    before = journal._writer.total_changes
    begin_mode(journal, is_two_way=is_two_way)
    assert journal._writer.total_changes == before


def test_traits_and_the_limit_of_connections_are_remembered(journal: Journal) -> None:
    resized = Resized(2, 3, "421", 4)
    journal.pairs.apply([Learned(Side.SOURCE, "lanes", "1"), Learned(Side.TARGET, "pair.stamp", "s"), resized])
    assert (journal.pairs.traits(Side.SOURCE), journal.pairs.traits(Side.TARGET)) == (
        {"lanes": "1"},
        {"pair.stamp": "s"},
    )
    assert journal.pairs.ceiling() == 3


# Temporaries


def test_temporaries_are_remembered_by_their_side(journal: Journal) -> None:
    large = file("d/x", 1 << 70, -(1 << 65))
    journal.pairs.apply(
        [
            Intended(("d/.s1", "d/.s2"), large, side=Side.SOURCE),
            Intended(("d/.t1",), folder("d"), side=Side.TARGET),
            Intended((".t0",), side=Side.TARGET),
        ]
    )
    on_source = [Pending(path, "d/x", 1 << 70, -(1 << 65)) for path in ("d/.s1", "d/.s2")]
    assert journal.pairs.pending(Side.SOURCE) == on_source
    assert journal.pairs.pending(Side.TARGET) == [Pending(".t0", None), Pending("d/.t1", "d")]

    journal.pairs.apply([Intended(("d/.s1",), side=Side.TARGET)])
    journal.pairs.apply([Swept(("d/.s1", ".t0"), side=Side.SOURCE), Done(Maintain("d/.t1", begins=False))])

    assert journal.pairs.pending(Side.SOURCE) == on_source[1:]
    assert journal.pairs.pending(Side.TARGET) == [Pending(".t0", None), Pending("d/.s1", None)], "these are others"


@BOTH_SIDES
def test_what_was_set_aside_is_no_temporary_for_a_mirror_of_the_same_name(journal: Journal, side: Side) -> None:
    """A mirror removes its temporaries unseen. What was set aside may be the only version of a file."""
    over = attrs.evolve(file("d/x"), size=3, mtime_ns=9)
    journal.pairs.apply([Intended(("d/.actorsync-00.tmp", ASIDE), file("d/x"), over=over, side=side)])
    temporaries = ["d/.actorsync-00.tmp"] if side is Side.TARGET else []
    assert [path for path, _ in journal.pending()] == temporaries
    assert journal.pairs.pending(side) == [
        Pending(ASIDE, "d/x", 3, 9, is_aside=True),
        Pending("d/.actorsync-00.tmp", "d/x", 1, 7),
    ]

    journal.pairs.apply([Swept((ASIDE,), side=other(side))])
    assert ASIDE in [it.path for it in journal.pairs.pending(side)]
    journal.pairs.apply([Swept((ASIDE,), side=side)])
    assert [it.path for it in journal.pairs.pending(side)] == ["d/.actorsync-00.tmp"]


def test_temporaries_of_a_mirror_are_known_to_a_two_way_run_of_the_same_name(journal: Journal) -> None:
    part, whole = Kept(".t", file("x", 3, 9), 2, 1.0), Kept(".open", file("y"), 1, 1.0, is_complete=True, size=1)
    journal.apply([Intended((".t",), part.source), PartSent(part), Intended((".open",), whole.source)])
    journal.apply([Done(Prepare(whole.source), source=whole.source, kept=whole), Released((Publish(whole),))])
    set_aside = ".actorsync+0123456789abcdef.tmp"  # by a release that has ended: what has its name now is in its place
    journal.apply([Intended((set_aside,))])
    assert journal.pairs.pending(Side.TARGET) == [Pending(set_aside, None), Pending(".t", "x", 3, 9)]
    journal.pairs.apply([Swept((".t", set_aside))])
    assert (journal.pending(), journal.kept()) == ([], [])
    assert journal.release() == [(Publish(whole), None)]


# Conflicts


def test_conflicts_are_read_in_order_with_both_versions(journal: Journal) -> None:
    odd = Conflict("a\udcff\n", Entry("a\udcff\n", Kind.FILE, 1 << 70, -5, 6, 1 << 64, 0o600), None, "caf\udce9", 2.5)
    journal.pairs.apply([Conflicted(conflict("z", since=3.0)), Conflicted(odd)])

    found = journal.pairs.conflicts()

    assert found == [odd, conflict("z")]
    assert [it.since for it in found] == [2.5, 3.0]
    journal.pairs.apply([*agreed("z"), Done(Remove(file("z"))), ConflictEnded("unknown")])
    assert journal.pairs.conflicts() == found, "only its end ends a conflict"
    journal.pairs.apply([ConflictEnded("z")])
    assert journal.pairs.conflicts() == [odd]


def test_a_conflict_between_the_same_versions_keeps_its_time(journal: Journal) -> None:
    journal.pairs.apply([Conflicted(conflict("x"))])
    journal.pairs.apply([Conflicted(conflict("x", "10 copies are left already", 9.0))])
    (found,) = journal.pairs.conflicts()
    assert (found.reason, found.since) == ("10 copies are left already", 1.5)

    journal.pairs.apply([Conflicted(attrs.evolve(conflict("x", since=9.0), target=file("x", 4)))])
    (found,) = journal.pairs.conflicts()
    assert (found.target, found.since) == (file("x", 4), 9.0)


def test_conflicts_are_read_while_a_run_goes_on(tmp_path: Path) -> None:
    assert read_conflicts(tmp_path, "p") == []
    with open_journal(tmp_path, "p") as journal:
        journal.pairs.apply([Conflicted(conflict("x"))])
        (found,) = read_conflicts(tmp_path, "p")
    assert (found, found.since) == (conflict("x"), 1.5)


@pytest.mark.parametrize(
    "fact",
    [
        PairScanned(*ROOTS),
        Conflicted(conflict("x", since=9.0)),
        Learned(Side.SOURCE, "lanes", "1"),
        Resized(2, 3, "", 4),
    ],
    ids=lambda it: type(it).__name__,
)
def test_a_fact_that_is_known_already_begins_no_transaction(journal: Journal, fact: Event) -> None:
    journal.pairs.apply([fact])
    statements: list[str] = []
    journal._writer.set_trace_callback(statements.append)
    journal.pairs.apply([fact])
    assert [one for one in statements if not one.startswith("SELECT")] == []


def test_facts_that_cannot_be_written_together_are_not_written_at_all(tmp_path: Path) -> None:
    with open_journal(tmp_path, "p") as journal:
        journal.pairs.apply(agreed("x"))
        journal._writer.execute(
            "CREATE TEMP TRIGGER no BEFORE DELETE ON conflicts BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        journal.pairs.apply([Conflicted(conflict("c"))])
        with pytest.raises(Exception, match="no"):
            journal.pairs.apply([*agreed("y"), Forgotten("x"), ConflictEnded("c")])
        assert (paths(journal), journal.pairs.conflicts()) == (["x"], [conflict("c")])


# The file


def test_everything_is_there_when_the_journal_is_opened_again(tmp_path: Path) -> None:
    aside = Intended((ASIDE,), file("d/x"), over=file("d/x"))
    facts = [*agreed("x", "d/y"), Conflicted(conflict("z")), PairScanned(*ROOTS), aside]
    with open_journal(tmp_path, "p") as journal:
        journal.pairs.apply(facts)
        journal.pairs.elsewhere(Side.SOURCE, [file("new", inode=1)])
        with closing(journal.copy_to_memory()) as copy:
            copy.pairs.apply([Forgotten("x"), MemoryVoided("is another one")])
    with open_journal(tmp_path, "p") as journal:
        assert journal.pairs.subtree("") == [agreement("x"), agreement("d/y")]
        assert (journal.pairs.conflicts(), journal.pairs.roots()) == ([conflict("z")], ROOTS)
        assert journal.pairs.pending(Side.TARGET) == [Pending(ASIDE, "d/x", 1, 7, is_aside=True)]


def test_the_view_shows_what_is_agreed_on(tmp_path: Path) -> None:
    source, target = file("d/é", 3, 10**18), file("d/é", 3, 10**18 + 10**9)
    with open_journal(tmp_path, "p") as journal:
        journal.pairs.apply([Agreed(Agreement(source, target, doubt=Doubt.SOURCE_TIME)), *agreed("x")])
    with closing(sqlite3.connect(journal_path(tmp_path, "p"))) as shell:
        assert shell.execute("SELECT * FROM agreed").fetchall() == [
            ("x", "file", 1, "1970-01-01 00:00:00", "1970-01-01 00:00:00", ""),
            ("d/é", "file", 3, "2001-09-09 01:46:40", "2001-09-09 01:46:41", "looked at again"),
        ]


WRITER = """
import itertools, sys
from pathlib import Path
from actorsync.journal import open_journal
from actorsync.model.entry import Entry, Kind
from actorsync.model.event import Agreed, Intended
from actorsync.model.operation import Side
from actorsync.model.pair import Agreement
with open_journal(Path(sys.argv[1]), "p") as journal:
    for batch in itertools.count():
        entries = [Entry(f"{batch}/{number}", Kind.FILE, number) for number in range(20)]
        print("begin", batch, flush=True)
        intended = [Intended((f"{batch}/.t",), side=side) for side in (Side.SOURCE,)]
        journal.pairs.apply([*intended, *(Agreed(Agreement(entry, entry)) for entry in entries)])
        print("done", batch, flush=True)
"""


def test_kill_9_of_a_two_way_run_loses_nothing_acknowledged(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(61)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    done = [int(line.split()[1]) for line in said if line.startswith("done") and line.endswith("\n")]

    with open_journal(tmp_path, "p") as journal:
        batches = {int(it.path.partition("/")[0]) for it in journal.pairs.pending(Side.SOURCE)}
        assert batches in ({*done}, {*done, len(done)})  # the one in flight is there whole, or not at all
        assert {batch: len(journal.pairs.children(str(batch))) for batch in batches} == dict.fromkeys(batches, 20)
        assert journal.pairs.count() == 20 * len(batches)


MODES = st.none() | st.integers(0, 0o7777)
DOUBTS = st.integers(0, 15).map(Doubt)


@st.composite
def agreements(draw: st.DrawFn) -> Agreement:
    path = st.just(draw(PATHS | st.just("")))
    source, target = (attrs.evolve(draw(entries(path, list(Kind))), mode=draw(MODES)) for _ in Side)
    return Agreement(source, target, draw(st.none() | st.binary(max_size=4)), draw(DOUBTS))


@settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(given_=st.lists(agreements(), max_size=12), device=NUMBERS)
def test_any_agreements_are_read_as_they_were_written(given_: list[Agreement], device: int | None) -> None:
    with closing(open_memory_journal()) as journal:
        roots = Root(folder(""), device=device), Root(folder(""))
        journal.pairs.apply([*map(Agreed, given_), PairScanned(*roots)])
        last = {it.path: it for it in given_}

        assert {path: journal.pairs.agreement(path) for path in last} == last
        assert {it.path: it for it in journal.pairs.subtree("")} == {path: it for path, it in last.items() if path}
        assert journal.pairs.count() == len(last) - ("" in last)
        assert journal.pairs.roots() == roots
