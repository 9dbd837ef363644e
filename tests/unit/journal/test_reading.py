"""What is read from a journal: subtrees, differences, renamed files, and reads beside writes."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from actorsync.journal import Journal, open_journal
from actorsync.journal import schema as journal_schema
from actorsync.model.entry import Entry, Kind, Listing
from actorsync.model.event import Adopted, Forgotten, SurveyComplete
from actorsync.model.row import rows_of
from actorsync.planning.fingerprint import fingerprint
from tests.unit.journal.rows import adopted, children, copied, surveyed

if TYPE_CHECKING:
    pass


def test_a_subtree_goes_by_component_with_parents_first(journal: Journal) -> None:
    journal.apply(
        adopted("a", "ab", "a-b", "a-b/x", "a/x", "a/b", "a/b/c", "a/b-c", "a/b/c/d", "a.b/x", "a0", "a0/x", "b")
    )

    assert [record.target.path for record in journal.subtree("a")] == ["a/b", "a/b-c", "a/x", "a/b/c", "a/b/c/d"]
    assert [record.target.path for record in journal.subtree("a/b")] == ["a/b/c", "a/b/c/d"]
    assert journal.subtree("a/b/c/d") == journal.subtree("nowhere") == []
    assert len(journal.subtree("")) == 13


@pytest.mark.parametrize("query", [journal_schema._CHILDREN, journal_schema._PARENTS_IN_TREE])
def test_reads_are_indexed(query: str) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(journal_schema._SCHEMA)
        rows = connection.execute(f"EXPLAIN QUERY PLAN {query}", (b"a",) * query.count("?")).fetchall()

    assert [row[3].startswith("SEARCH records USING PRIMARY KEY (directory") for row in rows] == [True]


def test_differences_leave_out_unchanged_entries(journal: Journal) -> None:
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
    everything = children(journal, "d")
    assert records == {name: record for name, record in everything.items() if name != "same"}
    assert {"gone", "theirs", "racy"} <= records.keys()


def test_a_file_recorded_under_another_path_is_familiar(tmp_path: Path) -> None:
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


def test_reads_beside_a_writer_see_whole_transactions(tmp_path: Path) -> None:
    with open_journal(tmp_path, "p") as journal:

        def write() -> None:
            for size in range(1, 101):
                journal.apply([copied(f"d/{name}", size) for name in "abc"])

        thread = threading.Thread(target=write)
        thread.start()
        last = 0
        while last < 100:
            sizes = {record.target.size for record in children(journal, "d").values()}
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
            assert list(children(copy, "")) == ["y"]
        assert list(children(journal, "")) == ["x", "z"]
        assert journal.is_fresh


@pytest.mark.parametrize("inode", [7, 2**63 + 1, 2**64 - 1])
def test_differences_by_size_and_time_ignore_inodes_of_any_size(journal: Journal, inode: int) -> None:
    same = Entry("d/same", Kind.FILE, 3, 1_000, ctime_ns=2_000, inode=inode)
    sized, timed = (attrs.evolve(same, path=path) for path in ("d/sized", "d/timed"))
    journal.apply([Adopted(it, it) for it in (same, sized, timed)])
    now = [
        attrs.evolve(same, ctime_ns=2_001, inode=inode - 1),
        attrs.evolve(sized, size=4),
        attrs.evolve(timed, mtime_ns=1_001),
    ]
    rest, records = journal.differences(rows_of(Listing("d", tuple(now))), by_size_time=True)
    assert rest.entries == tuple(now[1:]), "as they were listed"
    assert list(records) == ["sized", "timed"]
    rest, records = journal.differences(rows_of(Listing("d", (now[0], sized, timed))), by_size_time=True)
    assert (rest.entries, records) == ((), {})


def test_differences_by_size_and_time_tell_fingerprints_apart(journal: Journal) -> None:
    made = Entry("d/made", Kind.FILE, 3, 1_000, ctime_ns=2_000, inode=fingerprint("d/made", None, ["gzip"]))
    journal.apply([Adopted(made, made)])
    for inode, count in ((made.inode, 0), (fingerprint("d/made", None, ["zip"]), 1), (7, 1)):
        now = attrs.evolve(made, inode=inode)
        assert len(journal.differences(rows_of(Listing("d", (now,))), by_size_time=True)[0].entries) == count
