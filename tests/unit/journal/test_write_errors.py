"""A journal that cannot be written: a full disk, a read-only file, a lock held by another program."""

from __future__ import annotations

import os
import resource
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from actorsync.errors import FatalError
from actorsync.journal import file as journal_file
from actorsync.journal import journal_path, open_journal
from tests.unit.journal.rows import REPORT, adopted, children

if TYPE_CHECKING:
    pass


def test_m116_a_full_disk_loses_only_unacknowledged_facts(tmp_path: Path) -> None:
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
        assert list(children(journal, "")) == ["after", "before"]


def test_process_without_a_free_descriptor_is_told_so_and_not_to_change_modes(tmp_path: Path) -> None:
    with open_journal(tmp_path, "p"):
        pass
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = [open(os.devnull)]  # noqa: SIM115 - closed below
    said: set[str] = set()
    try:
        for more in range(1, 8):  # whichever of its files is the first that cannot be opened
            resource.setrlimit(resource.RLIMIT_NOFILE, (used[0].fileno() + more, limits[1]))
            with suppress(FatalError), open_journal(tmp_path, "p"):
                continue
            with pytest.raises(FatalError) as caught, open_journal(tmp_path, "p"):
                pass
            said.add(str(caught.value).partition(": ")[2])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        used[0].close()
    way_out = "allow more open files (ulimit -n, or LimitNOFILE= of a service), or mirror fewer at the same time"
    assert said == {f"Too many open files; {way_out}"}


def test_m116_a_write_error_is_fatal_and_keeps_committed_facts(tmp_path: Path) -> None:
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
        assert list(children(journal, "")) == ["after", "before"]


def test_m116_a_read_only_journal_is_fatal(tmp_path: Path) -> None:
    with open_journal(tmp_path, "p") as journal:
        journal._writer.execute("PRAGMA query_only = ON")
        for write in (
            lambda: journal.apply(adopted("x")),
            lambda: journal.begin_run(1),
            lambda: journal.end_run(1, REPORT),
        ):
            with pytest.raises(FatalError, match=r"p\.journal: attempt to write a readonly database"):
                write()


def test_m116_a_lock_of_another_program_is_fatal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_file, "BUSY_SECONDS", 0.05)
    with (
        open_journal(tmp_path, "p") as journal,
        closing(sqlite3.connect(journal_path(tmp_path, "p"), isolation_level=None)) as shell,
    ):
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(FatalError, match=r"p\.journal: database is locked"):
            journal.apply(adopted("x"))
        assert children(journal, "") == {}
        shell.execute("ROLLBACK")
        journal.apply(adopted("x"))
        assert list(children(journal, "")) == ["x"]


def test_m116_a_state_directory_that_cannot_be_made_is_fatal(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FatalError, match="Not a directory"), open_journal(tmp_path / "file" / "state", "p"):
        pass
    journal_path(tmp_path, "p").mkdir()
    with pytest.raises(FatalError, match="it is not a file; run once with --rebuild"), open_journal(tmp_path, "p"):
        pass
