"""The file of a journal: private, durable, and open in one process at a time."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from actorsync.errors import FatalError, JournalLocked
from actorsync.journal import journal_path, open_journal, read_runs, state_directory
from tests.unit.journal.rows import adopted, children, file, intents, surveyed

if TYPE_CHECKING:
    pass


def test_two_profiles_share_a_directory(tmp_path: Path) -> None:
    with open_journal(tmp_path, "a") as one, open_journal(tmp_path, "b") as two:
        one.apply(adopted("x"))
        assert children(two, "") == {}


@pytest.mark.parametrize("profile_id", ["site", "a/b", "..", "", "\0", "é" * 300, "caf\udce9", "x" * 150])
def test_any_profile_id_makes_a_file_name(tmp_path: Path, profile_id: str) -> None:
    path = journal_path(tmp_path, profile_id)
    with open_journal(tmp_path, profile_id):
        assert path.is_file()
    with open_journal(tmp_path, profile_id):
        pass

    assert path.parent == tmp_path


def test_journals_are_in_the_state_directory_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    assert state_directory() == tmp_path / "actorsync"


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
def test_m111_kill_9_loses_nothing_acknowledged(tmp_path: Path, lines: int) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    done = [int(line.split()[1]) for line in said if line.startswith("done") and line.endswith("\n")]

    assert read_runs(tmp_path, "p", 1) == []
    with open_journal(tmp_path, "p") as journal:
        batches = {int(path.partition("/")[0]) for path in intents(journal)}
        assert batches in ({*done}, {*done, len(done)})  # the one in flight is there whole, or not at all
        assert {batch: len(children(journal, str(batch))) for batch in batches} == dict.fromkeys(batches, 20)
        assert journal.owned_count() == 20 * len(batches)


def test_m111_kill_9_during_creation_leaves_no_half_journal(tmp_path: Path) -> None:
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


def test_a_closed_journal_raises_fatal_error(tmp_path: Path) -> None:
    with open_journal(tmp_path, "p") as journal:
        pass
    journal.close()
    with pytest.raises(FatalError, match="closed database"):
        children(journal, "")
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


def test_m119_one_process_holds_the_lock_until_it_dies(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        began = time.monotonic()
        with (
            pytest.raises(
                JournalLocked, match=rf"run of my site \(process {process.pid}\) holds .*p\.journal; wait until"
            ),
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


def test_the_file_names_its_profile_and_has_a_readable_view(tmp_path: Path) -> None:
    for name in ("old", "new", ""):
        with open_journal(tmp_path, "p", name=name) as journal:
            journal.apply([*adopted("d/é"), surveyed("", file("x", 3, 10**18))])
    with closing(sqlite3.connect(journal_path(tmp_path, "p"))) as shell:
        assert shell.execute("SELECT value FROM meta WHERE key = 'name'").fetchone() == ("new",)
        assert shell.execute("SELECT path, owner, kind, size, target_time FROM tree").fetchall() == [
            ("x", "foreign", "file", 3, "2001-09-09 01:46:40"),
            ("d/é", "ours", "file", 1, "1970-01-01 00:00:00"),
        ]
