"""The runs that a journal records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from actorsync.errors import FatalError
from actorsync.journal import journal_path, open_journal, read_runs
from actorsync.model.event import TrashOpened
from actorsync.model.report import Run
from tests.unit.journal.rows import REPORT

if TYPE_CHECKING:
    pass


def test_runs_are_kept_newest_first_and_a_hundred_of_them(tmp_path: Path) -> None:
    assert read_runs(tmp_path, "p", 3) == []
    with open_journal(tmp_path, "p") as journal:
        numbers = [journal.begin_run(float(number)) for number in range(105)]
        journal.end_run(numbers[-2], REPORT)
        expected = [Run(numbers[-1], 104.0, None), Run(numbers[-2], 103.0, REPORT), Run(numbers[-3], 102.0, None)]

        assert read_runs(tmp_path, "p", 3) == expected
        assert [run.id for run in read_runs(tmp_path, "p", 1000)] == numbers[:4:-1]
    assert read_runs(tmp_path, "p", 3) == expected
    with open_journal(tmp_path, "p") as journal:  # reading left nothing that is in the way
        assert read_runs(tmp_path, "p", 3) == expected


def test_a_report_without_a_newer_field_is_read(tmp_path: Path) -> None:
    with open_journal(tmp_path, "p") as journal:
        journal.end_run(journal.begin_run(1.0), REPORT)
        with journal._transaction() as connection:
            connection.execute("UPDATE runs SET report = json_remove(report, '$.moved')")
        assert read_runs(tmp_path, "p", 1)[0].report == attrs.evolve(REPORT, moved=0)


def test_runs_of_another_profile_are_refused(tmp_path: Path) -> None:
    with open_journal(tmp_path, "p"):
        pass
    journal_path(tmp_path, "p").rename(journal_path(tmp_path, "q"))
    with pytest.raises(FatalError, match="another profile"):
        read_runs(tmp_path, "q", 1)
    journal_path(tmp_path, "r").write_bytes(b"")
    assert read_runs(tmp_path, "r", 1) == []


def test_runs_over_a_part_of_the_source_do_not_push_out_the_others(tmp_path: Path) -> None:
    part = attrs.evolve(REPORT, is_partial=True, failures=(('"is_partial": true', "no"),))
    whole = attrs.evolve(REPORT, failures=(('"is_partial": true', "no"),))
    with open_journal(tmp_path, "p") as journal:
        journal.end_run(journal.begin_run(1.0), whole)
        for _ in range(105):
            journal.end_run(None, part)
        kept = read_runs(tmp_path, "p", 1000)
        assert [run.report for run in kept] == [part] * 100 + [whole]
        for number in range(105):
            journal.begin_run(float(number))
        assert [run.report for run in read_runs(tmp_path, "p", 1000)] == [None] * 100 + [part] * 100


def test_a_run_that_is_recorded_at_its_end_has_the_number_of_its_changes_in_the_trash(tmp_path: Path) -> None:
    part = attrs.evolve(REPORT, is_partial=True)
    with open_journal(tmp_path, "p") as journal:
        first = journal.begin_run(1.0)
        assert journal.trash.next_run() == first
        journal.end_run(first, REPORT)
        number = journal.trash.next_run()
        journal.apply([TrashOpened(number, ".trash/x", 2.0)])
        journal.end_run(None, part)
        assert [run.id for run in read_runs(tmp_path, "p", 10)] == [number, first]


def test_a_run_after_one_that_was_killed_before_it_was_recorded_has_another_number(tmp_path: Path) -> None:
    with open_journal(tmp_path, "p") as journal:
        journal.end_run(journal.begin_run(1.0), REPORT)
        number = journal.trash.next_run()
        journal.apply([TrashOpened(number, ".trash/x", 2.0)])
        following = journal.begin_run(3.0)
        assert (following, journal.trash.next_run()) == (number + 1, number + 1)
