"""A journal that an older version wrote opens, is read in full, and goes on.

``version_3.sql`` and ``version_6.sql`` are dumps of files that these versions wrote. Schemas 1 and 2 are tested with
the commands, in ``tests/cli/test_journal_start.py``.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import attrs
import pytest

from actorsync.journal import journal_path, open_journal, read_conflicts, read_runs, read_trash, read_troubles
from actorsync.model.entry import (
    Entry,
    Kind,
    Listing,
    Record,
    Root,
)
from actorsync.model.event import Confirmed, Parked
from actorsync.model.operation import Side
from actorsync.model.pair import Pending
from actorsync.model.report import Report, Run
from actorsync.model.row import rows_of
from tests.unit.journal.rows import adopted, children, file, folder

RUNS = [
    Run(2, 4.5, None),
    Run(1, 1.5, Report(1, 1.5, 2.25, copied=2, failed=1, failures=(("d/bad", "553 no"),), parked=1)),
]
TROUBLES = [
    Parked("d/bad", file("d/bad", 8), 3, 10.0, 20.0, "553 no", 30.0),
    Parked("d/gone", None, 1, 11.0, 12.0, "550 busy"),
]


def written_before(directory: Path, version: int = 3) -> Path:
    """Make the file that an older version wrote, and return its path."""
    path = journal_path(directory, "p")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(Path(__file__).with_name(f"version_{version}.sql").read_text())
    return path


def dump_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_a_journal_of_the_version_before_is_read_in_full(tmp_path: Path) -> None:
    written_before(tmp_path)
    assert read_runs(tmp_path, "p", 9) == RUNS
    assert read_troubles(tmp_path, "p") == TROUBLES
    with open_journal(tmp_path, "p") as journal:
        assert not journal.is_fresh
        assert journal.root() == Root(Entry("", Kind.DIRECTORY, 0, 1, 2, (1 << 64) - 1), device=66306)
        assert (journal.ceiling(), journal.owned_count()) == (3, 4)
        assert journal.pending() == [("d/.t1", Entry("d/new", Kind.FILE, 6, 7)), ("d/.t2", None)]
        assert journal.record("d") == Record(folder("d"), folder("d"))
        assert children(journal, "d") == {
            "caf\udce9": Record(file("d/caf\udce9", 5, 2**63), file("d/caf\udce9", 5), b"", b"\2checksum"),
            "foreign": Record(None, file("d/foreign")),
            "racy": Record(file("d/racy", 4), file("d/racy", 4), b"", b"\1digest"),
            "same": Record(file("d/same", 3, 9, 11), file("d/same", 3, 0)),
        }
        assert journal.familiar([Entry("new", Kind.FILE, 3, 9, None, 11)]) == {"new"}
        assert journal.troubles() == TROUBLES


def test_a_journal_of_the_version_before_goes_on(tmp_path: Path) -> None:
    path = written_before(tmp_path)
    with open_journal(tmp_path, "p") as journal:
        pass
    before = dump_of(path)
    with open_journal(tmp_path, "p") as journal:
        pass
    assert dump_of(path) == before, "a journal that is only opened keeps its rows and its schema"
    with open_journal(tmp_path, "p") as journal:
        run = journal.begin_run(9.0)
        journal.apply(adopted("d/new"))
        journal.end_run(run, Report(0, 9.0, 1.0, adopted=1))
    with open_journal(tmp_path, "p") as journal:
        assert journal.record("d/new") == Record(file("d/new"), file("d/new"))
        assert read_runs(tmp_path, "p", 9) == [Run(3, 9.0, Report(0, 9.0, 1.0, adopted=1)), *RUNS]


@pytest.mark.parametrize("version", [3, 6])
def test_a_journal_of_the_version_before_gets_the_tables_of_a_new_one(tmp_path: Path, version: int) -> None:
    def columns(path: Path) -> dict[str, list[str]]:
        with closing(sqlite3.connect(path)) as connection:
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type <> 'index'")]
            return {name: [str(it) for it in connection.execute(f"PRAGMA table_info({name})")] for name in tables}

    old = written_before(tmp_path, version)
    with open_journal(tmp_path, "p"), open_journal(tmp_path, "q"):
        pass
    assert columns(old) == columns(journal_path(tmp_path, "q"))


def test_a_journal_of_the_version_before_takes_the_modes_that_are_seen(tmp_path: Path) -> None:
    """A row without a mode differs from every listing that has one: once, until the mode is recorded."""
    written_before(tmp_path)
    seen = attrs.evolve(file("d/same", 3, 9, 11), mode=0o640)
    with open_journal(tmp_path, "p") as journal:
        before = journal.record("d/same")
        assert before is not None
        assert (before.source and before.source.mode, before.target.mode) == (None, None)
        rest, _ = journal.differences(rows_of(Listing("d", (seen,))))
        assert rest.entries == (seen,)
        journal.apply([Confirmed(seen, before.target)])
        rest, records = journal.differences(rows_of(Listing("d", (seen,))))
        assert (rest.entries, "same" in records) == ((), False)
        found = journal.record("d/same")
        assert found is not None
        assert found.source is not None
        assert (found.source.mode, found.target.mode) == (0o640, None)


def test_a_journal_without_a_two_way_mirror_knows_of_none_and_keeps_its_rows(tmp_path: Path) -> None:
    path = written_before(tmp_path, 6)
    before = dump_of(path)
    assert read_conflicts(tmp_path, "p") == []
    assert dump_of(path) == before, "to read it does not upgrade it"
    records = {
        "caf\udce9": Record(file("d/caf\udce9", 5, 2**63), file("d/caf\udce9", 5), None, b"\2checksum"),
        "same": Record(file("d/same", 3, 9, 11), file("d/same", 3, 0)),
    }
    with open_journal(tmp_path, "p") as journal:
        assert (journal.pairs.is_fresh, journal.pairs.count(), journal.pairs.conflicts()) == (True, 0, [])
        assert journal.pairs.pending(Side.TARGET) == [Pending("d/.t1", "d/new", 6, 7), Pending("d/.t2", None)]
        assert journal.pairs.pending(Side.SOURCE) == []
        assert journal.pending() == [("d/.t1", Entry("d/new", Kind.FILE, 6, 7)), ("d/.t2", None)]
        assert children(journal, "d") == records
        assert [it.temporary for it in journal.kept()] == ["d/.t3"]
        copy = journal.copy_to_memory()
    with closing(copy):
        assert (children(copy, "d"), copy.pairs.count()) == (records, 0)


def test_trash_of_the_version_before_is_read_before_and_after_the_upgrade(tmp_path: Path) -> None:
    """There are no sides in it: a mirror has changed all of it, and can undo it."""
    path = written_before(tmp_path, 6)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO trash_runs VALUES (7, CAST('.trash/1' AS BLOB), 7.5, 0)")
        connection.execute(
            "INSERT INTO trash VALUES (NULL, 7, CAST('x' AS BLOB), 0, CAST('.trash/1/0' AS BLOB), "
            "1, 3, NULL, NULL, 1, 4, NULL, NULL, 0)"
        )
        connection.commit()
    before = read_trash(tmp_path, "p")
    ((run, (change,)),) = before
    assert (run.changes, run.files, run.size) == (1, 1, 3)
    assert (change.trashed.path, change.trashed.place, change.side) == ("x", ".trash/1/0", None)
    with open_journal(tmp_path, "p") as journal:
        assert journal.trash.changes(7) == [change]
    assert read_trash(tmp_path, "p") == before
