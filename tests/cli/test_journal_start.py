"""What ``actorsync run`` makes of each state that it may find its journal in: one line, an exit code, and nothing lost.

Numbers in names (``test_m113_...``) are rows of the fault matrix.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from actorsync.errors import FatalError
from actorsync.journal import file as journal_file
from actorsync.journal import network_filesystem as journal_place
from actorsync.journal import open_journal, read_troubles, state_directory
from actorsync.journal import schema as journal_schema
from actorsync.model.entry import Kind
from tests.support.site import Ran, Site, tree

WAY_OUT = "run once with --rebuild, which moves it aside, surveys the target and deletes nothing"


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    """A mirror that is in place; ``gone.txt`` is still on the target, and is ours."""
    site = Site(tmp_path, capsys)
    site.fill()
    return site


def sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database, whatever its name may say\n" * 100)


def flipped_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:8192] = random.Random("page").randbytes(4096)
    path.write_bytes(content)


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def a_few_bytes(path: Path) -> None:
    os.truncate(path, 50)


def impossible_value(path: Path) -> None:
    sql(path, "PRAGMA ignore_check_constraints = ON", "UPDATE records SET target_kind = 9")


def wrong_text(path: Path) -> None:
    sql(path, "UPDATE meta SET value = '{\"root' WHERE key = 'root'")


def of_another_program(path: Path) -> None:
    sql(path, "PRAGMA application_id = 1")


def of_another_profile(path: Path) -> None:
    sql(path, "UPDATE meta SET value = 'somebody' WHERE key = 'profile'")


def newer(path: Path) -> None:
    sql(path, f"PRAGMA user_version = {journal_schema.SCHEMA_VERSION + 1}")


def directory(path: Path) -> None:
    path.unlink()
    (path / "with something in it").mkdir(parents=True)


UNUSABLE: list[tuple[Callable[[Path], None], str]] = [
    (garbage, "file is not a database"),
    (flipped_page, "malformed"),
    (truncated, "malformed"),
    (a_few_bytes, "it was not written by actorsync"),
    (impossible_value, "damaged (CHECK"),
    (wrong_text, "damaged (no Root)"),
    (of_another_program, "it was not written by actorsync"),
    (of_another_profile, "it belongs to another profile ('somebody')"),
    (newer, "it has schema 4, and this actorsync knows 3; use the actorsync that wrote it, or"),
    (directory, "it is not a file"),
]


def everything(path: Path) -> dict[str, bytes | None]:
    """What is at a journal's place, and its log: less what any reader leaves, which is the lock and an empty log."""
    return {
        str(file): file.read_bytes() if file.is_file() else None
        for file in [*path.parent.glob(f"{path.name}*"), *path.glob("*")]
        if not file.name.endswith((".lock", "-shm")) and (file.is_dir() or file.stat().st_size)
    }


def moved_aside(journal: Path) -> list[Path]:
    return [path for path in journal.parent.glob("*.unusable-*") if not path.name.endswith(("-wal", "-shm"))]


@pytest.mark.parametrize(("spoil", "reason"), UNUSABLE, ids=[spoil.__name__ for spoil, _ in UNUSABLE])
def test_m113_m116_m118_a_journal_that_cannot_be_used_is_left_alone_until_rebuilt(
    site: Site, spoil: Callable[[Path], None], reason: str
) -> None:
    journal = site.journal
    spoil(journal)
    site.write("new.txt", "new")
    before, found = everything(journal), tree(site.target)
    for command in (["run"], ["run", "-q"], ["plan"]):
        ran = site.command(*command)
        (line,) = [line for line in ran.errors if not line.startswith("mirroring ")]
        assert (ran.code, ran.out) == (7, [])
        assert line.startswith(f"actorsync: journal {journal}: ")
        assert reason in line
        assert line.endswith(WAY_OUT)
    assert tree(site.target) == found
    assert everything(journal) == before

    rebuilt = site.command("run", "--rebuild")
    assert rebuilt.code == 0
    (warning,) = [line for line in rebuilt.errors if line.startswith("warning: ")]
    (aside,) = moved_aside(journal)
    assert warning.endswith(f"it was moved to {aside}, and a new one is begun")
    assert reason.partition(";")[0] in warning
    assert list(everything(aside).values()) == list(before.values())
    # As with a journal that is lost: what is equal is adopted, what is new is sent, what is gone stays.
    assert tree(site.target) == {**tree(site.source), "gone.txt": b"this is gone.txt"}
    assert any("1 copied" in line and "4 already there" in line and "0 removed" in line for line in rebuilt.errors)
    assert site.run("--rebuild") == Ran(0, [], [])
    assert moved_aside(journal) == [aside], "one that is good stays"


def test_m113_what_was_moved_aside_is_never_overwritten(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.5)
    journal = site.journal
    for number in range(3):
        journal.write_bytes(b"%d" % number * 100)
        Path(f"{journal}-wal").write_bytes(b"log %d" % number)
        assert site.run("--rebuild").code == 0
    paths = [path for path in journal.parent.glob("*.unusable-*") if not path.name.endswith("-shm")]
    kept = {path.name.partition(".unusable-")[2]: path.read_bytes() for path in paths}
    stem = min(name for name in kept if not name.endswith("-wal"))
    expected: dict[str, bytes] = {}
    for number, suffix in enumerate(("", "-1", "-2")):
        expected |= {f"{stem}{suffix}": b"%d" % number * 100, f"{stem}{suffix}-wal": b"log %d" % number}
    assert kept == expected


def test_m113_rebuilding_is_no_dry_run(site: Site) -> None:
    garbage(site.journal)
    ran = site.command("run", "--rebuild", "--dry-run")
    assert ran.code == 2
    assert "--dry-run changes nothing, and --rebuild does." in ran.errors[-1]
    assert not list(site.journal.parent.glob("*.unusable-*"))


def test_m113_any_damage_ends_well_or_in_one_line(site: Site) -> None:
    """Bytes change on the disk: what can be seen is refused, what cannot does no harm that a comparison would not."""
    rng = random.Random("m113")
    site.write("gone.txt", "it is back")
    journal, found = site.journal, tree(site.target)
    whole = journal.read_bytes()
    codes = set()
    for _ in range(30):
        content = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 20))):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        for path in everything(journal):
            Path(path).unlink()
        journal.write_bytes(content)
        shutil.rmtree(site.target)
        for path, data in found.items():
            site.write(path, data.decode(), in_target=True)
        ran = site.run()
        codes.add(ran.code)
        assert (ran.code, len(ran.errors)) in {(0, 0), (7, 1)}, ran.errors
        assert tree(site.target).keys() == found.keys(), "nothing is gone from the source, and nothing from the target"
        if ran.code == 0:
            assert tree(site.target) == tree(site.source)
        else:
            assert ran.errors[0].startswith(f"actorsync: journal {journal}: ")
    assert codes == {0, 7}


@pytest.mark.parametrize("state", ["missing", "empty", "empty beside a log"])
def test_m114_without_a_journal_nothing_is_removed(site: Site, state: str) -> None:
    journal = site.journal
    if state == "missing":
        journal.unlink()
    else:
        os.truncate(journal, 0)
    if state == "empty beside a log":
        Path(f"{journal}-wal").write_bytes(os.urandom(5000))
    site.write("a.txt", "changed")
    assert site.command("run").errors[-1].startswith("in sync: 1 copied (7 B), 3 already there, 0 removed, 0 failed")
    assert tree(site.target) == {**tree(site.source), "gone.txt": b"this is gone.txt"}
    assert site.run() == Ran(0, [], [])
    (site.source / "b.txt").unlink()  # which was adopted, and is ours now
    assert site.run() == Ran(0, [], [])
    assert tree(site.target) == {**tree(site.source), "gone.txt": b"this is gone.txt"}


@pytest.mark.parametrize("log", ["none", "stale"])
def test_m115_an_old_journal_restored_from_a_backup(site: Site, log: str) -> None:
    """What it says are claims: of what is true no more, nothing is removed, and all is in sync again after one run."""
    journal = site.journal
    backup = journal.read_bytes()
    site.write("a.txt", "another a")
    site.write("late.txt", "it came late")
    (site.source / "b.txt").unlink()
    assert site.run().code == 0
    site.write("b.txt", "somebody else's", in_target=True)  # where the old journal knows one of ours
    if log == "stale":
        kill_writer(journal)
        assert Path(f"{journal}-wal").stat().st_size > 0
    journal.write_bytes(backup)

    ran = site.run()
    if ran.code == 7:  # a log of later times makes no sense of an earlier file, and that was seen
        assert log == "stale"
        assert ran.errors[0].endswith(WAY_OUT)
        ran = site.run("--rebuild")
        assert ran.code == 0
    elif log == "none":
        assert ran.code == 1
        assert [line for line in ran.errors if "b.txt" in line], "it is not as recorded, and so it is not removed"
    assert {**tree(site.target), "gone.txt": b""} == {
        **tree(site.source),
        "b.txt": b"somebody else's",
        "gone.txt": b"",
    }


def kill_writer(journal: Path) -> None:
    """Leave a journal with a log, as a run does that is killed."""
    program = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("INSERT OR REPLACE INTO meta VALUES ('ceiling', '7')")
connection.execute("DELETE FROM runs")
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", program, journal], check=True)


@pytest.mark.parametrize("log", ["hot", "missing", "torn"])
def test_m111_the_log_of_a_killed_run(site: Site, log: str) -> None:
    kill_writer(site.journal)
    wal = Path(f"{site.journal}-wal")
    assert wal.stat().st_size > 0
    if log == "missing":
        wal.unlink()
    elif log == "torn":
        os.truncate(wal, wal.stat().st_size - 1000)
    site.write("new.txt", "new")
    assert site.run() == Ran(0, [], [])
    assert tree(site.target) == tree(site.source)
    assert not wal.exists(), "the last one to leave folds it into the file"
    with open_journal(site.journal.parent, site.journal.name.removesuffix(".journal")) as journal:
        assert journal.ceiling() == (None if log == "missing" else 7)


def test_m111_a_run_that_is_killed_is_gone_on_with(site: Site) -> None:
    killed = 0
    for count in (1, 30):
        for number in range(60):
            site.write(f"many/{number}", f"{count:02} {number} " * 2_000)
        with subprocess.Popen(site.program("--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            for line in process.stdout:
                count -= b'"operation":"copy"' in line
                if count == 0:
                    process.kill()
                    killed += 1
                    break
        with open_journal(site.journal.parent, site.journal.name.removesuffix(".journal")) as journal:
            for record in journal.subtree(""):  # what it says is so, as far as sizes can tell
                if record.target.kind is Kind.FILE:
                    assert (site.target / record.target.path).stat().st_size == record.target.size
    assert killed == 2
    assert site.run() == Ran(0, [], [])
    assert tree(site.target) == tree(site.source)
    assert [path.name for path in site.journal.parent.iterdir() if path.name.endswith(("-wal", "-shm"))] == []


# Locks, disks and places.


def test_m119_a_locked_journal_is_neither_waited_for_nor_rebuilt(site: Site) -> None:
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


def test_m116_a_sqlite_shell_is_waited_for_but_not_for_ever(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_file, "BUSY_SECONDS", 0.2)
    site.write("new.txt", "new")
    with closing(sqlite3.connect(site.journal, isolation_level=None)) as shell:
        shell.execute("BEGIN")
        assert shell.execute("SELECT count(*) FROM records").fetchone() == (8,)
        assert site.run() == Ran(0, [], []), "one that only reads holds nobody up"
        shell.execute("ROLLBACK")
        site.write("newer.txt", "new")
        shell.execute("BEGIN IMMEDIATE")
        for options in ([], ["--rebuild"]):
            ran = site.run(*options)
            assert (ran.code, ran.out) == (7, [])
            (line,) = ran.errors
            assert line.startswith(f"actorsync: journal {site.journal}: database is locked; somebody else writes to it")
        assert "newer.txt" not in tree(site.target)
        assert moved_aside(site.journal) == []
    assert site.run() == Ran(0, [], [])


def test_m116_a_journal_that_may_not_be_written(site: Site) -> None:
    assert site.as_user("-q") == Ran(0, [], [])
    before = everything(site.journal)
    for path in before:
        Path(path).chmod(0o400)
    site.write("new.txt", "new")
    for options in ([], ["--rebuild"]):  # a file that is whole is not moved away because of its mode
        ran = site.as_user("-q", *options)
        assert ran == Ran(7, [], [f"actorsync: journal {site.journal}: it may not be written"])
    assert everything(site.journal) == before
    assert site.journal.stat().st_mode & 0o777 == 0o400
    assert "new.txt" not in tree(site.target)


@pytest.mark.parametrize("is_known", [True, False], ids=["with a journal", "without"])
def test_m116_a_directory_that_may_not_be_written(site: Site, is_known: bool) -> None:
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
            assert line.endswith("its directory may not be written" if is_known else "Permission denied")
    finally:
        journal.parent.chmod(0o700)
    assert "new.txt" not in tree(site.target)
    assert moved_aside(journal) == []


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk of 200 KiB, where the journal is to be."""
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
    """Have so many bytes left on a disk."""
    ballast = folder / "ballast"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_bsize
    ballast.write_bytes(bytes(max(0, free - leave)))
    return ballast


def test_m116_a_disk_that_is_full_at_the_start(
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


def test_m116_a_disk_that_fills_up_in_the_middle_of_a_run(
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
    assert line == f"actorsync: journal {site.journal}: database or disk is full"
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


@pytest.mark.parametrize(("number", "name"), [(0x6969, "NFS"), (0xFF534D42, "CIFS"), (0xFE534D42, "SMB2")])
def test_m117_a_journal_on_a_network_file_system_is_refused(
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


def test_m117_the_number_of_a_file_system_is_that_of_stat(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/proc"), Path("/dev/shm")):
        said = subprocess.run(["stat", "-f", "-c", "%t", path], capture_output=True, text=True, check=True).stdout
        assert journal_place.type_of(path) == int(said, 16)
    assert journal_place.type_of(tmp_path / "nothing") == 0


# Versions.

#: What version 1 was made with, to the letter.
VERSION_1 = """
PRAGMA application_id = 1633907577;
PRAGMA user_version = 1;
CREATE TABLE meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE records (
    directory BLOB NOT NULL CHECK (directory >= x''),
    name BLOB NOT NULL CHECK (name >= x''),
    source_kind CHECK (source_kind BETWEEN 1 AND 4),
    source_size CHECK (source_size < x''), source_mtime, source_ctime, source_inode,
    target_kind NOT NULL CHECK (target_kind BETWEEN 1 AND 4),
    target_size NOT NULL CHECK (target_size < x''), target_mtime, target_ctime, target_inode,
    digest BLOB,
    PRIMARY KEY (directory, name)
) WITHOUT ROWID;
CREATE TABLE intents (
    path BLOB NOT NULL PRIMARY KEY CHECK (path >= x''),
    final BLOB, size, mtime
) WITHOUT ROWID;
CREATE TABLE runs (id INTEGER PRIMARY KEY, started_at REAL NOT NULL, report TEXT);
CREATE VIEW tree AS SELECT
    CAST(CASE WHEN directory = x'' THEN name ELSE directory || '/' || name END AS TEXT) AS path,
    CASE WHEN source_kind IS NULL THEN 'foreign' ELSE 'ours' END AS owner,
    CASE target_kind WHEN 1 THEN 'file' WHEN 2 THEN 'directory' WHEN 3 THEN 'link' ELSE 'other' END AS kind,
    target_size AS size,
    datetime(source_mtime / 1000000000, 'unixepoch') AS source_time,
    datetime(target_mtime / 1000000000, 'unixepoch') AS target_time
    FROM records;
"""


def make_old(journal: Path, version: int = 1) -> None:
    """Make a journal what it would be if version 1 or 2 had written it."""
    old = journal.with_name("old")
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        connection.executescript(VERSION_1)
        if version == 2:
            connection.executescript(f"{journal_schema._STEPS[1]} PRAGMA user_version = 2")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("ATTACH ? AS now", (str(journal),))
        for table in ("meta", "records", "intents", "runs"):
            columns = ", ".join(name for _, name, *_ in connection.execute(f"PRAGMA main.table_info({table})"))
            connection.execute(f"INSERT INTO main.{table} SELECT {columns} FROM now.{table}")
    old.replace(journal)


def version_of(journal: Path) -> int:
    with closing(sqlite3.connect(journal)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


@pytest.mark.parametrize("version", [1, 2])
def test_m118_an_older_journal_is_read_as_it_is_and_brought_forward_by_a_run(site: Site, version: int) -> None:
    make_old(site.journal, version)
    before = site.journal.read_bytes()
    assert site.command("status").code == 0
    assert site.command("plan").out == ["- gone.txt", "1 to remove"]
    assert read_troubles(state_directory(), site.journal.name.removesuffix(".journal")) == []
    assert (site.journal.read_bytes(), version_of(site.journal)) == (before, version)
    ran = site.command("run")
    assert ran.errors[-1].startswith("in sync: 0 copied (0 B), 1 removed, 0 failed"), "everything is remembered"
    assert version_of(site.journal) == 3
    with closing(sqlite3.connect(site.journal)) as connection:
        made = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'troubles'").fetchone()
        columns = connection.execute("PRAGMA table_info(records)").fetchall()
    fresh = site.journal.with_name("fresh")
    with open_journal(fresh, "p"), closing(sqlite3.connect(fresh / "p.journal")) as connection:
        assert connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'troubles'").fetchone() == made
        assert connection.execute("PRAGMA table_info(records)").fetchall() == columns


def test_m118_a_migration_is_done_whole_or_not_at_all(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    make_old(site.journal)
    before = site.journal.read_bytes()
    monkeypatch.setattr(journal_schema, "_STEPS", {1: "CREATE TABLE troubles (x); nonsense"})
    with pytest.raises(FatalError), open_journal(site.journal.parent, site.journal.name.removesuffix(".journal")):
        pass
    monkeypatch.setattr(journal_schema, "SCHEMA_VERSION", 4)
    monkeypatch.setattr(
        journal_schema, "_STEPS", {1: "CREATE TABLE troubles (x)", 2: "CREATE TABLE more (x)", 3: "nonsense"}
    )
    with pytest.raises(FatalError), open_journal(site.journal.parent, site.journal.name.removesuffix(".journal")):
        pass
    assert (site.journal.read_bytes(), version_of(site.journal)) == (before, 1)
    monkeypatch.undo()
