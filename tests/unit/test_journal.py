"""The journal: what facts leave in it, and that it is private, durable, exclusive and never believed when damaged.

Numbers in names (``test_m108_...``) are rows of the fault matrix.
"""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actorsync.errors import FatalError, JournalLocked
from actorsync.journal import (
    Journal,
    Run,
    journal_path,
    open_journal,
    open_memory_journal,
    read_runs,
    state_directory,
)
from actorsync.journal import file as journal_file
from actorsync.journal import schema as journal_schema
from actorsync.model.entry import WHOLE_TREE, Entry, Kind, Listing, Problem, Record, Root, ScanComplete, join, parent_of
from actorsync.model.event import (
    Adopted,
    Confirmed,
    Event,
    Forgotten,
    Intended,
    MovesIntended,
    Parked,
    Recovered,
    RemovalIntended,
    Report,
    Scanned,
    Started,
    SurveyComplete,
    Swept,
)
from actorsync.model.operation import (
    Copy,
    Done,
    Failed,
    MakeDirectory,
    Move,
    Operation,
    Remove,
    Returned,
    Skipped,
    Survey,
    Sweep,
)
from actorsync.model.row import rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

REPORT = Report(
    exit_code=3,
    started_at=1.5,
    seconds=2.25,
    copied=4,
    copied_bytes=1 << 70,
    failures=(("caf\udce9/x", "550 no"), ("y", "553 never")),
    drained=True,
    error="it\nbroke",
)


def file(path: str, size: int = 1, mtime_ns: int | None = 7, inode: int | None = None) -> Entry:
    return Entry(path, Kind.FILE, size, mtime_ns, mtime_ns, inode)


def folder(path: str) -> Entry:
    return Entry(path, Kind.DIRECTORY, 0, 5)


def adopted(*paths: str) -> list[Event]:
    return [Adopted(file(path), file(path)) for path in paths]


def copied(path: str, size: int = 1, temporary: str | None = None, digest: bytes | None = None) -> Done:
    entry = file(path, size)
    return Done(Copy(entry), target=entry, source=entry, temporary=temporary, digest=digest)


def surveyed(directory: str, *entries: Entry, problem: Problem | None = None) -> Done:
    return Done(Survey(directory), listing=Listing(directory, entries, problem=problem))


@pytest.fixture
def journal() -> Iterator[Journal]:
    with closing(open_memory_journal()) as journal:
        yield journal


# What facts leave behind


def test_a_copy_is_recorded_and_its_intent_dropped(journal: Journal) -> None:
    journal.apply([Intended(("a/.t1", "a/.t2"))])
    journal.apply([copied("a/x", 9, ".t0", b"\0digest"), copied("a/y", temporary="a/.t1")])

    assert journal.record("a/x") == Record(file("a/x", 9), file("a/x", 9), b"\0digest")
    assert journal.intents() == ["a/.t2"]

    journal.apply([copied("a/x", 10)])

    assert journal.record("a/x") == Record(file("a/x", 10), file("a/x", 10))


def test_what_is_recorded_is_what_was_read_and_what_the_target_said(journal: Journal) -> None:
    read, said = file("x", 2, 200), file("x", 2, 100)
    journal.apply([Done(Copy(file("x", 1, 1)), target=said, source=read)])

    assert journal.record("x") == Record(read, said)


def test_m111_an_intent_knows_its_file_until_that_has_arrived(journal: Journal) -> None:
    source = Entry("a/f", Kind.FILE, 5, -3, ctime_ns=7, inode=9)
    bare = Entry("a/f", Kind.FILE, 5, -3)
    journal.apply([Intended(("a/.t1",), source), Intended(("a/.t2",))])
    assert journal.pending() == [("a/.t1", bare), ("a/.t2", None)]
    journal.apply([Adopted(Entry("a/f", Kind.FILE, 5, -4), Entry("a/f", Kind.FILE, 5))])
    assert journal.pending() == [("a/.t1", bare), ("a/.t2", None)], "another version is no proof"
    journal.apply([Adopted(source, Entry("a/f", Kind.FILE, 5))])
    assert journal.pending() == [("a/.t1", None), ("a/.t2", None)]


def test_m111_a_swept_temporary_may_tell_that_its_file_has_arrived(journal: Journal) -> None:
    source, target = Entry("f", Kind.FILE, 5, 3_000_000_001), Entry("f", Kind.FILE, 5, 3_000_000_000)
    journal.apply([Intended((".t",), source), Done(Sweep(".t", source), target, source)])
    assert journal.record("f") == Record(source, target)
    assert journal.pending() == [(".t", None)], "once more, at the end of the run that looked"
    journal.apply([Done(Sweep(".t", None, recovers=False))])
    assert journal.pending() == []


def test_intents_go_when_swept(journal: Journal) -> None:
    journal.apply([Intended((".1", ".2", ".3", ".3"))])
    journal.apply([Done(Sweep(".1", recovers=False)), Done(Sweep(".3")), Swept((".2", ".unknown"))])

    assert journal.intents() == [".3"]


def test_directories_the_root_among_them(journal: Journal) -> None:
    journal.apply([Done(MakeDirectory(folder(path)), target=folder(path)) for path in ("", "a", "a/b")])

    assert journal.record("") == Record(folder(""), folder(""))
    assert list(journal.children("")) == ["a"]
    assert [record.target.path for record in journal.subtree("")] == ["a", "a/b"]
    assert journal.owned_count() == 2


def test_removed_and_forgotten_records_are_gone(journal: Journal) -> None:
    journal.apply(adopted("1", "2", "3", "4", "5"))
    journal.apply(
        [
            Done(Remove(file("1"))),
            Skipped(Remove(file("2")), "not empty"),
            Forgotten("3"),
            Failed(Remove(file("4")), "550"),
            Returned(Remove(file("5")), "stopping"),
            Skipped(Copy(file("5")), "vanished"),
        ]
    )

    assert sorted(journal.children("")) == ["4", "5"]


def test_a_survey_adds_what_is_not_ours_and_drops_what_is_not_there(journal: Journal) -> None:
    journal.apply([*adopted("d/ours"), surveyed("d", file("d/gone"), file("d/ours", 99), folder("d/sub"))])
    link = Entry("d/link", Kind.LINK)
    journal.apply([surveyed("d", folder("d/sub"), file("d/new"), link)])

    assert journal.children("d") == {
        "ours": Record(file("d/ours"), file("d/ours")),
        "sub": Record(None, folder("d/sub")),
        "new": Record(None, file("d/new")),
    }
    assert journal.owned_count() == 1


def test_a_survey_refreshes_what_is_not_ours(journal: Journal) -> None:
    journal.apply([surveyed("", file("x", 1))])
    journal.apply([surveyed("", file("x", 2))])

    assert journal.record("x") == Record(None, file("x", 2))


def test_a_survey_that_failed_drops_nothing(journal: Journal) -> None:
    journal.apply([surveyed("", file("x"))])
    journal.apply([surveyed("", problem=Problem("", "450 busy"))])

    assert list(journal.children("")) == ["x"]


def test_nothing_foreign_outlives_the_directory_it_was_in(journal: Journal) -> None:
    journal.apply([surveyed("", folder("a"), folder("a-b"), folder("b")), surveyed("a-b", file("a-b/x"))])
    journal.apply([surveyed("a", folder("a/s")), surveyed("a/s", file("a/s/x")), surveyed("b", file("b/x"))])
    journal.apply([surveyed("", folder("a-b"), folder("b"))])

    assert [record.target.path for record in journal.subtree("")] == ["a-b", "b", "a-b/x", "b/x"]

    journal.apply([Done(Remove(folder("b")))])

    assert [record.target.path for record in journal.subtree("")] == ["a-b", "a-b/x"]


def test_a_survey_makes_a_journal_no_longer_fresh(journal: Journal) -> None:
    assert journal.is_fresh
    journal.apply([surveyed("", file("x"))])
    assert journal.is_fresh
    journal.apply([SurveyComplete()])
    assert not journal.is_fresh


def test_the_root_of_the_last_scan_is_remembered(tmp_path: Path) -> None:
    root = Root(Entry("", Kind.DIRECTORY, 0, 1, 2, (1 << 64) - 1), device=66306)
    first = ScanComplete(root, WHOLE_TREE)
    second = attrs.evolve(first, root=attrs.evolve(root, device=None))
    with open_journal(tmp_path, "p") as journal:
        assert journal.root() is None
        journal.apply([first, second])
        journal.apply([first, second, first])
    with open_journal(tmp_path, "p") as journal:
        assert journal.root() == root
        found = journal._writer.execute("SELECT CAST(value AS BLOB) FROM meta WHERE key = 'root'").fetchone()[0]
    numbers = f'"mtime_ns": 1, "ctime_ns": 2, "inode": {(1 << 64) - 1}, "mode": null'
    entry = f'{{"path": "", "kind": "directory", "size": 0, {numbers}}}'
    assert found.decode() == f'{{"root": {entry}, "device": 66306}}', "journals of earlier versions have this form"


@pytest.mark.parametrize("number", [0, -1, -(10**18), 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 253402300799 * 10**9])
def test_numbers_are_kept_exactly(journal: Journal, number: int) -> None:
    entry = Entry("x", Kind.FILE, abs(number), number, number, abs(number))
    journal.apply([Confirmed(entry, attrs.evolve(entry, mtime_ns=None, ctime_ns=None, inode=None))])
    record = journal.record("x")

    assert record is not None
    assert record.source == entry
    assert (record.target.mtime_ns, record.target.ctime_ns, record.target.inode) == (None, None, None)


def test_subtrees_go_by_component_and_parents_come_first(journal: Journal) -> None:
    journal.apply(
        adopted("a", "ab", "a-b", "a-b/x", "a/x", "a/b", "a/b/c", "a/b-c", "a/b/c/d", "a.b/x", "a0", "a0/x", "b")
    )

    assert [record.target.path for record in journal.subtree("a")] == ["a/b", "a/b-c", "a/x", "a/b/c", "a/b/c/d"]
    assert [record.target.path for record in journal.subtree("a/b")] == ["a/b/c", "a/b/c/d"]
    assert journal.subtree("a/b/c/d") == journal.subtree("nowhere") == []
    assert len(journal.subtree("")) == 13


def test_facts_without_effect_begin_no_transaction(journal: Journal) -> None:
    root = ScanComplete(Root(folder(""), device=1), WHOLE_TREE)
    journal.apply([SurveyComplete(), root])
    statements: list[str] = []
    journal._writer.set_trace_callback(statements.append)
    journal.apply([])
    journal.apply([Started("s", "t", 1), Scanned("", 1, 1, 0), SurveyComplete(), root])
    journal.apply([Failed(Copy(file("x")), "no"), Returned(Copy(file("x")), "later"), Skipped(Copy(file("x")), "gone")])

    assert not [statement for statement in statements if not statement.startswith("SELECT")]


def test_all_facts_or_none(journal: Journal) -> None:
    broken = Done(Copy(file("y")), target=None)
    with pytest.raises(AssertionError, match="what was read"):
        journal.apply([copied("x"), broken])

    assert journal.children("") == {}
    journal.apply([copied("x")])
    assert list(journal.children("")) == ["x"]


@pytest.mark.parametrize("query", [journal_schema._CHILDREN, journal_schema._PARENTS_IN_TREE])
def test_reads_are_indexed(query: str) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(journal_schema._SCHEMA)
        rows = connection.execute(f"EXPLAIN QUERY PLAN {query}", (b"a",) * query.count("?")).fetchall()

    assert [row[3].startswith("SEARCH records USING PRIMARY KEY (directory") for row in rows] == [True]


def test_m090_sql_from_names(journal: Journal) -> None:
    names = [
        "'); DROP TABLE records; --",
        '"',
        "%",
        "_",
        "*",
        "\n",
        "caf\udce9",
        "\udcff",
        "é",
        "\U0001f600",
        "\x01",
        "?",
    ]
    journal.apply(adopted(*names, *(join(name, "x") for name in names)))
    journal.apply([Intended(tuple(names))])
    for name in names:
        assert list(journal.children(name)) == ["x"]
        assert [record.target.path for record in journal.subtree(name)] == [f"{name}/x"]
    assert sorted(journal.children("")) == sorted(journal.intents()) == sorted(names)

    journal.apply([Forgotten("%"), Swept(("%",))])

    assert len(journal.children("")) == len(journal.intents()) == len(names) - 1


# Against a model

COMPONENTS = st.sampled_from([b"a", b"ab", b"a-b", b"a0", b"b", b"\xff", b"'"])
PATHS = st.lists(COMPONENTS, min_size=1, max_size=3).map(
    lambda parts: b"/".join(parts).decode("utf-8", "surrogateescape")
)
NUMBERS = st.integers(-(2**65), 2**65) | st.none()
TEMPORARIES = st.lists(PATHS, max_size=3).map(tuple)
DIGESTS = st.none() | st.binary(min_size=1, max_size=3)


def entries(
    paths: st.SearchStrategy[str], kinds: Sequence[Kind] = (Kind.FILE, Kind.DIRECTORY)
) -> st.SearchStrategy[Entry]:
    return st.builds(Entry, paths, st.sampled_from(kinds), st.integers(0, 2**64), NUMBERS, NUMBERS, NUMBERS)


@st.composite
def agreements(draw: st.DrawFn) -> Event:
    path = st.just(draw(PATHS))
    source, target, digest = draw(entries(path)), draw(entries(path)), draw(st.none() | st.binary(max_size=4))
    temporary, checksum = draw(st.none() | PATHS), draw(DIGESTS)
    facts: list[Event] = [
        Adopted(source, target, digest),
        Confirmed(source, target, digest, checksum),
        Done(Copy(source), target=target, source=source, digest=digest, temporary=temporary, checksum=checksum),
        Done(MakeDirectory(source), target=target),
    ]
    return draw(st.sampled_from(facts))


@st.composite
def surveys(draw: st.DrawFn) -> Event:
    directory = draw(PATHS | st.just(""))
    names = draw(st.lists(COMPONENTS, unique=True, max_size=4))
    found = [
        draw(entries(st.just(join(directory, name.decode("utf-8", "surrogateescape"))), list(Kind))) for name in names
    ]
    problem = draw(st.sampled_from([None, None, None, Problem(directory, "550")]))
    return surveyed(directory, *([] if problem else found), problem=problem)


REMOVES = st.builds(Remove, entries(PATHS))
MOVES = st.builds(Move, entries(PATHS), entries(PATHS), DIGESTS, DIGESTS)


def done_move(move: Move, digest: bytes | None, checksum: bytes | None) -> Done:
    return Done(move, attrs.evolve(move.target, path=move.path), move.source, digest, checksum=checksum)


FACTS = (
    agreements()
    | surveys()
    | st.builds(Done, REMOVES)
    | st.builds(Skipped, REMOVES | st.builds(Copy, entries(PATHS)), st.just("because"))
    | st.builds(Failed, REMOVES, st.just("because"))
    | st.builds(Forgotten, PATHS)
    | st.builds(Intended, TEMPORARIES)
    | st.builds(Swept, TEMPORARIES)
    | st.builds(RemovalIntended, st.lists(PATHS, max_size=3).map(tuple))
    | st.builds(MovesIntended, st.lists(MOVES, max_size=3).map(tuple))
    | st.builds(Skipped, MOVES, st.just("because"))
    | st.builds(done_move, MOVES, DIGESTS, DIGESTS)
    | st.builds(Done, st.builds(Sweep, PATHS, st.none(), st.booleans()))
    | st.just(SurveyComplete())
    | st.builds(ScanComplete, st.builds(Root, entries(st.just("")), NUMBERS), st.just(WHOLE_TREE))
)


@st.composite
def troubles(draw: st.DrawFn) -> Event:
    path = draw(PATHS)
    source = draw(st.none() | entries(st.just(path)))
    moments = st.floats(0, 2**33)
    reason = draw(st.sampled_from(["553 no", "caf\udce9", ""]))
    return Parked(
        path, source, draw(st.integers(1, 99)), draw(moments), draw(moments), reason, draw(st.none() | moments)
    )


FACTS = FACTS | troubles() | st.builds(Recovered, PATHS, st.booleans())


@attrs.define
class Model:
    """What a journal should hold, in the plainest way."""

    troubles: dict[str, Parked] = attrs.Factory(dict)
    records: dict[str, Record] = attrs.Factory(dict)
    intents: set[str] = attrs.Factory(set)
    fresh: bool = True
    root: Root | None = None

    def apply(self, fact: Event) -> None:
        match fact:
            case Adopted(source, target, digest):
                self.records[target.path] = Record(source, target, digest)
            case Confirmed(source, target, digest, checksum):
                self.records[target.path] = Record(source, target, digest, checksum)
            case Done(operation=operation):
                self.apply_done(operation, fact)
            case Skipped(operation=Remove(Entry(path))):
                self.records.pop(path, None)
            case Skipped(operation=Move(Entry(path))):
                if path in self.records and self.records[path].is_removal_intended:
                    del self.records[path]
            case MovesIntended(moves):
                self.doom([move.target.path for move in moves])
                for move in moves:
                    there = attrs.evolve(move.target, path=move.path)
                    self.records[move.path] = Record(move.source, there, b"", move.checksum)
            case Forgotten(path):
                self.records.pop(path, None)
                self.drop_foreign(path)
            case Intended(temporaries):
                self.intents.update(temporaries)
            case RemovalIntended(paths):
                self.doom(paths)
            case Swept(temporaries):
                self.intents.difference_update(temporaries)
            case SurveyComplete():
                self.fresh = False
            case ScanComplete():
                self.root = fact.root
            case Parked(path):
                self.troubles[path] = fact
            case Recovered(path):
                self.troubles.pop(path, None)

    def doom(self, paths: Sequence[str]) -> None:
        for path in paths:
            if (record := self.records.get(path)) is not None and record.source is not None:
                self.records[path] = attrs.evolve(record, digest=b"", checksum=record.content)

    def apply_done(self, operation: Operation, done: Done) -> None:
        match operation:
            case Copy() | MakeDirectory(source=_):
                assert done.target
                source = done.source if isinstance(operation, Copy) else operation.source
                checksum = done.checksum if isinstance(operation, Copy) else None
                self.records[done.target.path] = Record(source, done.target, done.digest, checksum)
                self.intents.discard(done.temporary or "-")
            case Move(source, before):
                assert done.target
                self.records[source.path] = Record(source, done.target, done.digest, done.checksum)
                self.records.pop(before.path, None)
            case Remove(target):
                self.records.pop(target.path, None)
                if target.kind is Kind.DIRECTORY:
                    self.drop_foreign(target.path)
            case Sweep(path, recovers=False):
                self.intents.discard(path)
            case Survey(directory):
                assert done.listing
                if done.listing.problem:
                    return
                found = {e.path: e for e in done.listing.entries if e.kind in (Kind.FILE, Kind.DIRECTORY)}
                for path, record in list(self.records.items()):
                    if parent_of(path) != directory:
                        continue
                    still = found[path].kind if path in found else None
                    if record.target.kind is Kind.DIRECTORY and still is not Kind.DIRECTORY:
                        self.drop_foreign(path)
                    if record.source is None:
                        del self.records[path]
                for path, entry in found.items():
                    self.records.setdefault(path, Record(None, entry))

    def drop_foreign(self, directory: str) -> None:
        for path, record in list(self.records.items()):
            if is_below(path, directory) and record.source is None:
                del self.records[path]

    def check(self, journal: Journal, directories: set[str]) -> None:
        assert (journal.is_fresh, journal.root()) == (self.fresh, self.root)
        assert sorted(journal.intents()) == sorted(self.intents)
        assert {it.path: it for it in journal.troubles()} == self.troubles
        assert journal.owned_count() == sum(record.source is not None for record in self.records.values())
        for directory in directories:
            assert journal.children(directory) == {
                path.rpartition("/")[2]: record for path, record in self.records.items() if parent_of(path) == directory
            }
            below = journal.subtree(directory)
            assert {record.target.path: record for record in below} == {
                path: record for path, record in self.records.items() if is_below(path, directory)
            }
            paths = [record.target.path for record in below]
            assert all(paths.index(path) > paths.index(parent_of(path)) for path in paths if parent_of(path) in paths)
            assert journal.record(directory) == self.records.get(directory)


def is_below(path: str, directory: str) -> bool:
    return not directory or path.split("/")[: directory.count("/") + 1] == directory.split("/") != path.split("/")


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(batches=st.lists(st.lists(FACTS, max_size=12), max_size=3), asked=st.sets(PATHS, max_size=4))
def test_any_facts_leave_what_a_plain_dictionary_says(batches: list[list[Event]], asked: set[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        model = Model()
        for batch in batches:
            with open_journal(Path(directory), "p") as journal, closing(journal.copy_to_memory()) as copy:
                before = attrs.evolve(
                    model, records=dict(model.records), intents=set(model.intents), troubles=dict(model.troubles)
                )
                journal.apply(batch)
                for fact in batch:
                    model.apply(fact)
                known = {"", *asked, *model.records, *map(parent_of, model.records)}
                model.check(journal, known)
                before.check(copy, known)
                copy.apply(batch)
                model.check(copy, known)


# Runs


def test_runs_are_kept_newest_first_and_a_hundred_of_them(tmp_path: Path) -> None:
    assert read_runs(tmp_path, "p", 3) == []
    with open_journal(tmp_path, "p") as journal:
        numbers = [journal.begin_run(float(number)) for number in range(105)]
        journal.end_run(numbers[-2], REPORT)
        expected = [Run(numbers[-1], 104.0, None), Run(numbers[-2], 103.0, REPORT), Run(numbers[-3], 102.0, None)]

        assert journal.runs(3) == read_runs(tmp_path, "p", 3) == expected
        assert [run.id for run in journal.runs(1000)] == numbers[:4:-1]
        assert len(journal.runs()) == 10
    assert read_runs(tmp_path, "p", 3) == expected
    with open_journal(tmp_path, "p") as journal:  # reading left nothing that is in the way
        assert journal.runs(3) == expected


def test_a_report_of_an_older_actorsync_is_read(tmp_path: Path) -> None:
    with open_journal(tmp_path, "p") as journal:
        journal.end_run(journal.begin_run(1.0), REPORT)
        with journal._transaction() as connection:
            connection.execute("UPDATE runs SET report = json_remove(report, '$.moved')")
        assert journal.runs(1)[0].report == attrs.evolve(REPORT, moved=0)


def test_familiar_files_are_those_that_have_another_path_as_well(tmp_path: Path) -> None:
    source = Entry("d/old", Kind.FILE, 3, 5, 7, 2**64 - 1)
    foreign = Entry("theirs", Kind.FILE, 3, 5, 7, 11)
    with open_journal(tmp_path, "p") as journal:
        journal.apply([Adopted(source, source), surveyed("", foreign)])
        asked = [
            attrs.evolve(source, path="new"),
            source,
            *(attrs.evolve(source, path=f"not {n}", **change) for n, change in enumerate(DIFFERENT)),
            attrs.evolve(foreign, path="not theirs"),
        ]
        for _ in range(2):
            assert journal.familiar(asked) == {"new"}
        assert journal.copy_to_memory().familiar(asked) == {"new"}


DIFFERENT: list[dict[str, Any]] = [{"inode": 8}, {"size": 4}, {"mtime_ns": 6}, {"mtime_ns": None}]


def test_runs_are_read_only_by_their_profile(tmp_path: Path) -> None:
    with open_journal(tmp_path, "p"):
        pass
    journal_path(tmp_path, "p").rename(journal_path(tmp_path, "q"))
    with pytest.raises(FatalError, match="another profile"):
        read_runs(tmp_path, "q", 1)
    journal_path(tmp_path, "r").write_bytes(b"")
    assert read_runs(tmp_path, "r", 1) == []


# Two threads, two journals


def test_reads_see_what_was_committed_while_another_thread_writes(tmp_path: Path) -> None:
    with open_journal(tmp_path, "p") as journal:

        def write() -> None:
            for size in range(1, 101):
                journal.apply([copied(f"d/{name}", size) for name in "abc"])

        thread = threading.Thread(target=write)
        thread.start()
        last = 0
        while last < 100:
            sizes = {record.target.size for record in journal.children("d").values()}
            assert len(sizes) <= 1, "half a transaction"
            seen = max(sizes, default=0)
            assert seen >= last
            assert len({record.target.size for record in journal.subtree("")}) <= 1
            last = seen
        thread.join()


def test_a_copy_in_memory_is_independent(tmp_path: Path) -> None:
    with open_journal(tmp_path, "p") as journal:
        journal.apply(adopted("x"))
        with closing(journal.copy_to_memory()) as copy:
            copy.apply([Forgotten("x"), *adopted("y"), SurveyComplete()])
            journal.apply(adopted("z"))
            assert list(copy.children("")) == ["y"]
        assert list(journal.children("")) == ["x", "z"]
        assert journal.is_fresh


def test_two_profiles_share_a_directory(tmp_path: Path) -> None:
    with open_journal(tmp_path, "a") as one, open_journal(tmp_path, "b") as two:
        one.apply(adopted("x"))
        assert two.children("") == {}


@pytest.mark.parametrize("profile_id", ["site", "a/b", "..", "", "\0", "é" * 300, "caf\udce9", "x" * 150])
def test_any_profile_id_makes_a_file_name(tmp_path: Path, profile_id: str) -> None:
    path = journal_path(tmp_path, profile_id)
    with open_journal(tmp_path, profile_id):
        assert path.is_file()
    with open_journal(tmp_path, profile_id):
        pass

    assert path.parent == tmp_path


def test_journals_live_in_the_users_state_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    assert state_directory() == tmp_path / "actorsync"


# The file: private, durable, exclusive


def test_m108_state_files_are_private(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "state"
    before = os.umask(0)
    try:
        with open_journal(directory, "p") as journal:
            journal.apply(adopted("x"))
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    finally:
        os.umask(before)

    assert modes == dict.fromkeys(["p.journal", "p.journal-wal", "p.journal-shm", "p.journal.lock"], 0o600)
    assert stat.S_IMODE(directory.stat().st_mode) == stat.S_IMODE(directory.parent.stat().st_mode) == 0o700

    journal_path(directory, "p").chmod(0o644)
    with open_journal(directory, "p"):
        assert stat.S_IMODE(journal_path(directory, "p").stat().st_mode) == 0o600


WRITER = """
import sys
from pathlib import Path
from actorsync.journal import open_journal
from actorsync.model.entry import Entry, Kind
from actorsync.model.event import Adopted, Intended
with open_journal(Path(sys.argv[1]), "p") as journal:
    for batch in range(1_000_000):
        entries = [Entry(f"{batch}/{number}", Kind.FILE, number) for number in range(20)]
        print("begin", batch, flush=True)
        journal.apply([Intended((f"{batch}/.t",)), *(Adopted(entry, entry) for entry in entries)])
        print("done", batch, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 2, 61, 400])
def test_m111_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path, lines: int) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    done = [int(line.split()[1]) for line in said if line.startswith("done") and line.endswith("\n")]

    assert read_runs(tmp_path, "p", 1) == []
    with open_journal(tmp_path, "p") as journal:
        batches = {int(path.partition("/")[0]) for path in journal.intents()}
        assert batches in ({*done}, {*done, len(done)})  # the one in flight is there whole, or not at all
        assert {batch: len(journal.children(str(batch))) for batch in batches} == dict.fromkeys(batches, 20)
        assert journal.owned_count() == 20 * len(batches)


def test_m111_kill_9_while_it_was_made(tmp_path: Path) -> None:
    path = journal_path(tmp_path, "p")
    with open_journal(tmp_path, "p") as journal:
        journal.apply(adopted("old"))
        log = Path(f"{path}-wal").read_bytes()
    path.unlink()
    for leftover in (f"{path}.new", f"{path}.new-journal", f"{path}-shm"):
        Path(leftover).write_bytes(b"half of something")
    Path(f"{path}-wal").write_bytes(log)
    with open_journal(tmp_path, "p") as journal:
        assert journal.is_fresh
        assert journal.subtree("") == []

    assert {path.name for path in tmp_path.iterdir()} == {"p.journal", "p.journal.lock"}


def spoil_not_sqlite(path: Path) -> None:
    path.write_bytes(b"this is no database, whatever its name may say\n" * 100)


def spoil_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8192:12288] = os.urandom(4096)
    path.write_bytes(content)


def spoil_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def spoil_value(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("UPDATE records SET target_kind = 9")


def spoil_application(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 1")


def spoil_profile(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE meta SET value = 'somebody' WHERE key = 'profile'")


def spoil_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {journal_schema.SCHEMA_VERSION + 1}")


def refuse(tmp_path: Path, reason: str) -> None:
    """Check that the journal is refused in one line that helps, and is left as it is."""
    path = journal_path(tmp_path, "p")
    before = path.read_bytes(), path.stat().st_mtime_ns
    for _ in range(2):
        with pytest.raises(FatalError, match=reason) as caught, open_journal(tmp_path, "p"):
            pass
        message = str(caught.value)
        assert str(path) in message
        assert "run once with --rebuild, which moves it aside, surveys the target and deletes nothing" in message
        assert "\n" not in message
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before

    path.rename(tmp_path / "away")
    with open_journal(tmp_path, "p") as journal:
        assert journal.is_fresh


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A journal of 1000 records, closed."""
    with open_journal(tmp_path, "p") as journal:
        journal.apply([*adopted(*(f"d/{number:06d}" for number in range(1000))), SurveyComplete()])
    return journal_path(tmp_path, "p")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_not_sqlite, "not a database"),
        (spoil_page, "damaged|malformed"),
        (spoil_half, "damaged|malformed"),
        (spoil_value, "damaged .*CHECK"),
        (spoil_application, "not written by actorsync"),
        (spoil_profile, "another profile .'somebody'"),
    ],
)
def test_m113_a_damaged_journal_is_refused_and_left_alone(
    tmp_path: Path, used: Path, spoil: object, reason: str
) -> None:
    assert callable(spoil)
    spoil(used)
    refuse(tmp_path, reason)


def test_m118_a_newer_schema_is_refused_and_left_alone(tmp_path: Path, used: Path) -> None:
    spoil_version(used)
    refuse(tmp_path, "it has schema 4, and this actorsync knows 3")


@pytest.mark.parametrize(
    "statement", ["PRAGMA user_version = 9", "UPDATE records SET target_kind = 9", "UPDATE meta SET value = 'q'"]
)
def test_m113_not_even_the_log_of_a_killed_run_is_touched(tmp_path: Path, used: Path, statement: str) -> None:
    program = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA ignore_check_constraints = ON")
connection.execute(sys.argv[2])
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", program, used, statement], check=True)
    log = Path(f"{used}-wal")
    before = log.read_bytes()
    assert before
    with pytest.raises(FatalError), open_journal(tmp_path, "p"):
        pass
    assert log.read_bytes() == before
    refuse(tmp_path, "schema 9|damaged|another profile")


@pytest.mark.parametrize("truncate", [True, False])
def test_m114_a_missing_or_empty_journal_is_fresh(tmp_path: Path, used: Path, truncate: bool) -> None:
    with open_journal(tmp_path, "p") as journal:
        assert not journal.is_fresh
    if truncate:
        os.truncate(used, 0)
        used.chmod(0o644)
    else:
        used.unlink()
    with open_journal(tmp_path, "p") as journal:
        assert journal.is_fresh
        assert journal.owned_count() == 0
        assert journal.intents() == []
    assert stat.S_IMODE(used.stat().st_mode) == 0o600


def test_m116_a_full_disk_loses_only_what_was_not_acknowledged(tmp_path: Path) -> None:
    with open_journal(tmp_path, "p") as journal:
        journal.apply(adopted("before"))
        (pages,) = journal._writer.execute("PRAGMA page_count").fetchone()
        journal._writer.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(FatalError, match=r"p\.journal: database or disk is full") as caught:
            journal.apply(adopted(*(f"d/{number}" for number in range(1000))))
        assert isinstance(caught.value.__cause__, sqlite3.Error)
        assert [record.target.path for record in journal.subtree("")] == ["before"]
        journal.apply(adopted("after"))
    with open_journal(tmp_path, "p") as journal:
        assert list(journal.children("")) == ["after", "before"]


def test_m116_a_disk_that_refuses_to_be_written(tmp_path: Path) -> None:
    with open_journal(tmp_path, "p") as journal:
        journal.apply(adopted("before"))
        size = Path(f"{journal_path(tmp_path, 'p')}-wal").stat().st_size
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, limits[1]))  # Python ignores SIGXFSZ: EFBIG
        try:
            with pytest.raises(FatalError, match=r"p\.journal: disk I/O error"):
                journal.apply(adopted(*(f"d/{number}" for number in range(1000))))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert [record.target.path for record in journal.subtree("")] == ["before"]
        journal.apply(adopted("after"))
    with open_journal(tmp_path, "p") as journal:
        assert list(journal.children("")) == ["after", "before"]


def test_m116_a_journal_that_became_read_only(tmp_path: Path) -> None:
    with open_journal(tmp_path, "p") as journal:
        journal._writer.execute("PRAGMA query_only = ON")
        for write in (
            lambda: journal.apply(adopted("x")),
            lambda: journal.begin_run(1),
            lambda: journal.end_run(1, REPORT),
        ):
            with pytest.raises(FatalError, match=r"p\.journal: attempt to write a readonly database"):
                write()


def test_m116_somebody_else_writes_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_file, "BUSY_SECONDS", 0.05)
    with (
        open_journal(tmp_path, "p") as journal,
        closing(sqlite3.connect(journal_path(tmp_path, "p"), isolation_level=None)) as shell,
    ):
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(FatalError, match=r"p\.journal: database is locked"):
            journal.apply(adopted("x"))
        assert journal.children("") == {}
        shell.execute("ROLLBACK")
        journal.apply(adopted("x"))
        assert list(journal.children("")) == ["x"]


def test_m116_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FatalError, match="Not a directory"), open_journal(tmp_path / "file" / "state", "p"):
        pass
    journal_path(tmp_path, "p").mkdir()
    with pytest.raises(FatalError, match="it is not a file; run once with --rebuild"), open_journal(tmp_path, "p"):
        pass


def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    with open_journal(tmp_path, "p") as journal:
        pass
    journal.close()
    with pytest.raises(FatalError, match="closed database"):
        journal.children("")
    with pytest.raises(FatalError, match="closed database"):
        journal.apply(adopted("x"))


HOLDER = """
import sys, time
from pathlib import Path
from actorsync.journal import open_journal
with open_journal(Path(sys.argv[1]), "p"):
    print("open", flush=True)
    time.sleep(60)
"""


def test_m119_only_one_at_a_time_and_the_lock_dies_with_its_holder(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        began = time.monotonic()
        with (
            pytest.raises(JournalLocked, match=rf"run of my site \(process {process.pid}\) holds .*p\.journal$"),
            open_journal(tmp_path, "p", name="my site"),
        ):
            pass
        assert time.monotonic() - began < 1
        assert read_runs(tmp_path, "p", 1) == []
        process.kill()
    with (
        open_journal(tmp_path, "p"),
        pytest.raises(JournalLocked, match=f"process {os.getpid()}"),
        open_journal(tmp_path, "p"),
    ):
        pass
    with open_journal(tmp_path, "p"):
        pass


def test_the_users_name_for_a_profile_and_the_view_for_people(tmp_path: Path) -> None:
    for name in ("old", "new", ""):
        with open_journal(tmp_path, "p", name=name) as journal:
            journal.apply([*adopted("d/é"), surveyed("", file("x", 3, 10**18))])
    with closing(sqlite3.connect(journal_path(tmp_path, "p"))) as shell:
        assert shell.execute("SELECT value FROM meta WHERE key = 'name'").fetchone() == ("new",)
        assert shell.execute("SELECT path, owner, kind, size, target_time FROM tree").fetchall() == [
            ("x", "foreign", "file", 3, "2001-09-09 01:46:40"),
            ("d/é", "ours", "file", 1, "1970-01-01 00:00:00"),
        ]


def test_differences_leave_out_what_is_as_it_was(journal: Journal) -> None:
    def entry(name: str, **changes: Any) -> Entry:
        return attrs.evolve(Entry(f"d/{name}", Kind.FILE, 3, 1_000, ctime_ns=2_000, inode=7), **changes)

    same, size, mtime, ctime, inode, racy, kind, gone = (
        entry(name) for name in ["same", "size", "mtime", "ctime", "inode", "racy", "kind", "gone"]
    )
    journal.apply([Adopted(it, it) for it in (same, size, mtime, ctime, inode, kind, gone)])
    journal.apply([Adopted(racy, racy, b"digest"), surveyed("d", entry("foreign"), entry("theirs"))])
    now = [
        same,
        entry("size", size=4),
        entry("mtime", mtime_ns=1_001),
        entry("ctime", ctime_ns=2_001),
        entry("inode", inode=8),
        racy,
        entry("kind", kind=Kind.DIRECTORY),
        entry("foreign"),
        entry("new"),
    ]
    listing = Listing("d", tuple(now), frozenset({"hidden"}))
    rest, records = journal.differences(rows_of(listing))
    assert rest == attrs.evolve(listing, entries=tuple(sorted(now[1:], key=lambda entry: entry.path)))
    everything = journal.children("d")
    assert records == {name: record for name, record in everything.items() if name != "same"}
    assert {"gone", "theirs", "racy"} <= records.keys()
