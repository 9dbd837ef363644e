"""``actorsync run`` with a journal that is locked, not writable, on a full disk or on a network file system."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from actorsync.endpoints.shared import filesystem_type as journal_place
from actorsync.journal import file as journal_file
from actorsync.journal import open_journal
from tests.support.journal_damage import everything, garbage, moved_aside
from tests.support.site import Ran, Site, tree

WRITABLE = "make it writable, or set XDG_STATE_HOME to another directory"


def test_m119_locked_journal_fails_at_once_and_is_not_rebuilt(site: Site) -> None:
    with open_journal(site.journal.parent, site.journal.name.removesuffix(".journal"), name="x"):
        before = everything(site.journal)
        garbage(site.journal)
        began = time.monotonic()
        for options in ([], ["--rebuild"]):
            ran = site.run(*options)
            assert (ran.code, ran.out) == (8, [])
            (line,) = ran.errors
            assert f"(process {os.getpid()}) holds {site.journal}" in line
        assert time.monotonic() - began < journal_file.BUSY_SECONDS
        assert moved_aside(site.journal) == []
        site.journal.write_bytes(before[str(site.journal)] or b"")


def test_m116_run_waits_a_limited_time_for_a_sqlite_shell(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_file, "BUSY_SECONDS", 0.2)
    site.write("new.txt", "new")
    with closing(sqlite3.connect(site.journal, isolation_level=None)) as shell:
        shell.execute("BEGIN")
        assert shell.execute("SELECT count(*) FROM records").fetchone() == (8,)
        assert site.run() == Ran(0, [], []), "a reader does not block the run"
        shell.execute("ROLLBACK")
        site.write("newer.txt", "new")
        shell.execute("BEGIN IMMEDIATE")
        for options in ([], ["--rebuild"]):
            ran = site.run(*options)
            assert (ran.code, ran.out) == (7, [])
            (line,) = ran.errors
            assert line.startswith(
                f"actorsync: journal {site.journal}: database is locked; another program is writing to it"
            )
        assert "newer.txt" not in tree(site.target)
        assert moved_aside(site.journal) == []
    assert site.run() == Ran(0, [], [])


def test_m116_read_only_journal_is_fatal(site: Site) -> None:
    assert site.as_user("-q") == Ran(0, [], [])
    before = everything(site.journal)
    for path in before:
        Path(path).chmod(0o400)
    site.write("new.txt", "new")
    for options in ([], ["--rebuild"]):  # a usable file is not set aside because of its mode
        ran = site.as_user("-q", *options)
        line = f"journal {site.journal}: no permission to write {site.journal}; {WRITABLE}"
        assert ran == Ran(7, [], [f"actorsync: {line}"])
    assert everything(site.journal) == before
    assert site.journal.stat().st_mode & 0o777 == 0o400
    assert "new.txt" not in tree(site.target)


@pytest.mark.parametrize("is_known", [True, False], ids=["with a journal", "without"])
def test_m116_read_only_journal_directory_is_fatal(site: Site, is_known: bool) -> None:
    journal = site.journal
    for path in journal.parent.iterdir():
        if not is_known or not path.name.endswith((".lock", ".journal")):
            path.unlink()
    journal.parent.chmod(0o500)
    site.write("new.txt", "new")
    try:
        for options in ([], ["--rebuild"]):
            ran = site.as_user("-q", *options)
            assert (ran.code, ran.out) == (7, [])
            (line,) = ran.errors
            assert line.startswith(f"actorsync: journal {journal}")
            reason = f"no permission to write {journal.parent}; {WRITABLE}" if is_known else "Permission denied"
            assert f": {reason}" in line
    finally:
        journal.parent.chmod(0o700)
    assert "new.txt" not in tree(site.target)
    assert moved_aside(journal) == []


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk of 200 KiB at the place of the journal."""
    folder = tmp_path / "small"
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k,mode=700", "tmpfs", folder], check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no small disk can be mounted here")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill_up(folder: Path, leave: int) -> Path:
    """Fill a disk until only ``leave`` bytes are free."""
    ballast = folder / "ballast"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_bsize
    ballast.write_bytes(bytes(max(0, free - leave)))
    return ballast


def test_m116_full_disk_at_the_start_is_fatal(
    small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site(tmp_path, capsys)
    site.write("a.txt", "a")
    ballast = fill_up(small_disk, 0)
    for _ in range(2):
        ran = site.run()
        assert (ran.code, ran.out) == (7, [])
        (line,) = ran.errors
        assert line.startswith(f"actorsync: journal {site.journal}")
        assert "disk is full" in line or "No space left on device" in line
        assert not site.target.exists()
    ballast.unlink()
    assert site.run() == Ran(0, [], [])


def test_m116_disk_that_fills_up_during_a_run_is_fatal(
    small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site(tmp_path, capsys)
    site.write("a.txt", "a")
    assert site.run() == Ran(0, [], [])
    ballast = fill_up(small_disk, 48 * 1024)
    for number in range(1_000):
        site.write(f"{'long ' * 40}/{'name ' * 40}{number}", str(number))
    ran = site.command("run", "--json")
    assert ran.code == 7
    (line,) = ran.errors
    assert line == f"actorsync: journal {site.journal}: database or disk is full; free some space there"
    done = {line.partition('"path":"')[2].partition('"')[0] for line in ran.out if '"operation":"copy"' in line}
    there = tree(site.target)
    assert done <= there.keys()
    assert len(there) < 1_000

    with closing(sqlite3.connect(site.journal)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        recorded = connection.execute("SELECT CAST(path AS BLOB) FROM tree WHERE kind = 'file'").fetchall()
    assert done <= {path.decode() for (path,) in recorded} | {"a.txt"}, "reported as done, and not written down"
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=40m", small_disk], check=True)
    assert site.run() == Ran(0, [], [])
    assert tree(site.target) == tree(site.source)


@pytest.mark.parametrize(("number", "name"), [(0x6969, "NFS"), (0xFF534D42, "SMB"), (0xFE534D42, "SMB")])
def test_m117_journal_on_a_network_filesystem_is_refused(
    site: Site, monkeypatch: pytest.MonkeyPatch, number: int, name: str
) -> None:
    before = everything(site.journal)
    site.write("new.txt", "new")
    monkeypatch.setattr(journal_place, "type_of", lambda path: number if path == site.journal.parent else 0)
    for options in ([], ["--rebuild"]):
        ran = site.run(*options)
        assert (ran.code, ran.out) == (7, [])
        (line,) = ran.errors
        assert line == (
            f"actorsync: journal {site.journal}: it would be on a network file system ({name}), where it cannot be "
            "kept safely; set XDG_STATE_HOME to a directory on a local disk"
        )
    assert everything(site.journal) == before
    assert "new.txt" not in tree(site.target)
    monkeypatch.setattr(journal_place, "type_of", lambda path: 0xEF53)
    assert site.run() == Ran(0, [], [])


def test_m117_filesystem_number_is_that_of_stat(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/proc"), Path("/dev/shm")):
        said = subprocess.run(["stat", "-f", "-c", "%t", path], capture_output=True, text=True, check=True).stdout
        assert journal_place.type_of(path) == int(said, 16)
    assert journal_place.type_of(tmp_path / "nothing") == 0
