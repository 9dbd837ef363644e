"""The rows that facts leave in a journal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from actorsync.journal import Journal, open_journal, open_memory_journal
from actorsync.model.entry import (
    WHOLE_TREE,
    Entry,
    Kind,
    Problem,
    Record,
    Root,
    ScanComplete,
    join,
)
from actorsync.model.event import Adopted, Confirmed, Forgotten, Intended, Scanned, Started, SurveyComplete, Swept
from actorsync.model.operation import Copy, Done, Failed, MakeDirectory, Remove, Respell, Returned, Skipped, Sweep
from tests.unit.journal.rows import adopted, children, copied, file, folder, intents, surveyed

if TYPE_CHECKING:
    pass


def test_a_copy_is_recorded_and_drops_its_intent(journal: Journal) -> None:
    journal.apply([Intended(("a/.t1", "a/.t2"))])
    journal.apply([copied("a/x", 9, ".t0", b"\0digest"), copied("a/y", temporary="a/.t1")])

    assert journal.record("a/x") == Record(file("a/x", 9), file("a/x", 9), b"\0digest")
    assert intents(journal) == ["a/.t2"]

    journal.apply([copied("a/x", 10)])

    assert journal.record("a/x") == Record(file("a/x", 10), file("a/x", 10))


def test_a_record_holds_what_was_read_and_what_the_target_listed(journal: Journal) -> None:
    read, said = file("x", 2, 200), file("x", 2, 100)
    journal.apply([Done(Copy(file("x", 1, 1)), target=said, source=read)])

    assert journal.record("x") == Record(read, said)


def test_m111_an_intent_names_its_file_until_the_file_has_arrived(journal: Journal) -> None:
    source = Entry("a/f", Kind.FILE, 5, -3, ctime_ns=7, inode=9)
    bare = Entry("a/f", Kind.FILE, 5, -3)
    journal.apply([Intended(("a/.t1",), source), Intended(("a/.t2",))])
    assert journal.pending() == [("a/.t1", bare), ("a/.t2", None)]
    journal.apply([Adopted(Entry("a/f", Kind.FILE, 5, -4), Entry("a/f", Kind.FILE, 5))])
    assert journal.pending() == [("a/.t1", bare), ("a/.t2", None)], "another version is no proof"
    journal.apply([Adopted(source, Entry("a/f", Kind.FILE, 5))])
    assert journal.pending() == [("a/.t1", None), ("a/.t2", None)]


def test_m111_a_sweep_records_a_file_that_has_arrived(journal: Journal) -> None:
    source, target = Entry("f", Kind.FILE, 5, 3_000_000_001), Entry("f", Kind.FILE, 5, 3_000_000_000)
    journal.apply([Intended((".t",), source), Done(Sweep(".t", source), target, source)])
    assert journal.record("f") == Record(source, target)
    assert journal.pending() == [(".t", None)], "once more, at the end of the run that looked"
    journal.apply([Done(Sweep(".t", None, recovers=False))])
    assert journal.pending() == []


def test_swept_intents_are_dropped(journal: Journal) -> None:
    journal.apply([Intended((".1", ".2", ".3", ".3"))])
    journal.apply([Done(Sweep(".1", recovers=False)), Done(Sweep(".3")), Swept((".2", ".unknown"))])

    assert intents(journal) == [".3"]


def test_directories_are_recorded_and_the_root_too(journal: Journal) -> None:
    journal.apply([Done(MakeDirectory(folder(path)), target=folder(path)) for path in ("", "a", "a/b")])

    assert journal.record("") == Record(folder(""), folder(""))
    assert list(children(journal, "")) == ["a"]
    assert [record.target.path for record in journal.subtree("")] == ["a", "a/b"]
    assert journal.owned_count() == 2


def test_removed_and_forgotten_records_are_deleted(journal: Journal) -> None:
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

    assert sorted(children(journal, "")) == ["4", "5"]


def test_a_survey_adds_foreign_entries_and_drops_missing_ones(journal: Journal) -> None:
    journal.apply([*adopted("d/ours"), surveyed("d", file("d/gone"), file("d/ours", 99), folder("d/sub"))])
    link = Entry("d/link", Kind.LINK)  # only the survey of an exact mirror shows one
    journal.apply([surveyed("d", folder("d/sub"), file("d/new"), link)])

    assert children(journal, "d") == {
        "ours": Record(file("d/ours"), file("d/ours")),
        "sub": Record(None, folder("d/sub")),
        "new": Record(None, file("d/new")),
        "link": Record(None, link),
    }
    assert journal.owned_count() == 1


def test_a_survey_updates_foreign_entries(journal: Journal) -> None:
    journal.apply([surveyed("", file("x", 1))])
    journal.apply([surveyed("", file("x", 2))])

    assert journal.record("x") == Record(None, file("x", 2))


def test_a_failed_survey_drops_nothing(journal: Journal) -> None:
    journal.apply([surveyed("", file("x"))])
    journal.apply([surveyed("", problem=Problem("", "450 busy"))])

    assert list(children(journal, "")) == ["x"]


def test_foreign_records_are_deleted_with_their_directory(journal: Journal) -> None:
    journal.apply([surveyed("", folder("a"), folder("a-b"), folder("b")), surveyed("a-b", file("a-b/x"))])
    journal.apply([surveyed("a", folder("a/s")), surveyed("a/s", file("a/s/x")), surveyed("b", file("b/x"))])
    journal.apply([surveyed("", folder("a-b"), folder("b"))])

    assert [record.target.path for record in journal.subtree("")] == ["a-b", "b", "a-b/x", "b/x"]

    journal.apply([Done(Remove(folder("b")))])

    assert [record.target.path for record in journal.subtree("")] == ["a-b", "a-b/x"]


def test_a_complete_survey_ends_freshness(journal: Journal) -> None:
    assert journal.is_fresh
    journal.apply([surveyed("", file("x"))])
    assert journal.is_fresh
    journal.apply([SurveyComplete()])
    assert not journal.is_fresh


def test_the_root_of_the_last_scan_is_kept(tmp_path: Path) -> None:
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


def test_facts_without_effect_begin_no_transaction(journal: Journal) -> None:
    root = ScanComplete(Root(folder(""), device=1), WHOLE_TREE)
    journal.apply([SurveyComplete(), root])
    statements: list[str] = []
    journal._writer.set_trace_callback(statements.append)
    journal.apply([])
    journal.apply([Started("s", "t", 1), Scanned("", 1, 1, 0), SurveyComplete(), root])
    journal.apply([Failed(Copy(file("x")), "no"), Returned(Copy(file("x")), "later"), Skipped(Copy(file("x")), "gone")])

    assert not [statement for statement in statements if not statement.startswith("SELECT")]


def test_a_failing_fact_undoes_the_whole_batch(journal: Journal) -> None:
    broken = Done(Copy(file("y")), target=None)
    with pytest.raises(AssertionError, match="a copy without its source"):
        journal.apply([copied("x"), broken])

    assert children(journal, "") == {}
    journal.apply([copied("x")])
    assert list(children(journal, "")) == ["x"]


def test_m090_names_are_never_part_of_a_statement(journal: Journal) -> None:
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
        assert list(children(journal, name)) == ["x"]
        assert [record.target.path for record in journal.subtree(name)] == [f"{name}/x"]
    assert sorted(children(journal, "")) == sorted(intents(journal)) == sorted(names)

    journal.apply([Forgotten("%"), Swept(("%",))])

    assert len(children(journal, "")) == len(intents(journal)) == len(names) - 1


def test_new_spelling_of_a_directory_takes_its_records_along() -> None:
    journal = open_memory_journal()
    paths = ("Img/1", "Img/deep/\udcff", "Img0/x", "Img-a/x", "img2/x")
    folders = ("Img", "Img/deep", "Img0", "Img-a", "img2")
    journal.apply([Done(MakeDirectory(folder(it)), target=folder(it)) for it in folders])
    journal.apply([copied(it) for it in paths])
    journal.apply([Intended(("t",), Entry("img", Kind.OTHER))])
    assert journal.pending() == [("t", Entry("img", Kind.OTHER))]
    operation = Respell(folder("img"), folder("Img"), "t")
    journal.apply([Done(operation, folder("img"), folder("img"), temporary="t")])
    there = {record.target.path for record in journal.subtree("")}
    assert there == {"img", "img/1", "img/deep", "img/deep/\udcff", *folders[2:], *paths[2:]}
    assert all(record.source is not None and record.source.path in there for record in journal.subtree(""))
    assert journal.pending() == []
    assert sorted(journal.kept_names("img")) == ["1", "deep"]
