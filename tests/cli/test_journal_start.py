"""``actorsync run`` with an unusable, missing, old or interrupted journal."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from actorsync.errors import FatalError
from actorsync.journal import open_journal, read_troubles, state_directory
from actorsync.journal import schema as journal_schema
from actorsync.model.entry import Kind
from tests.support.journal_damage import directory, everything, garbage, moved_aside, newer, sql
from tests.support.site import Ran, Site, tree

WAY_OUT = "run once with --rebuild, which moves it aside, surveys the target and deletes nothing"


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


KNOWN = journal_schema.SCHEMA_VERSION

UNUSABLE: list[tuple[Callable[[Path], None], str]] = [
    (garbage, "file is not a database"),
    (flipped_page, "malformed"),
    (truncated, "malformed"),
    (a_few_bytes, "it was not written by actorsync"),
    (impossible_value, "damaged (CHECK"),
    (wrong_text, "damaged (not a Root)"),
    (of_another_program, "it was not written by actorsync"),
    (of_another_profile, "it belongs to another profile ('somebody')"),
    (newer, f"it has schema {KNOWN + 1}, and this actorsync knows {KNOWN}; use the actorsync that wrote it, or"),
    (directory, "it is not a file"),
]


@pytest.mark.parametrize(("spoil", "reason"), UNUSABLE, ids=[spoil.__name__ for spoil, _ in UNUSABLE])
def test_m113_m116_m118_unusable_journal_is_kept_until_rebuild(
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
    assert warning.endswith(f"moved to {aside}, and a new journal was started")
    assert reason.partition(";")[0] in warning
    assert list(everything(aside).values()) == list(before.values())
    # As with a missing journal: equal files are adopted, new files are sent, and nothing is removed.
    assert tree(site.target) == {**tree(site.source), "gone.txt": b"this is gone.txt"}
    assert any("1 copied" in line and "4 already there" in line and "0 removed" in line for line in rebuilt.errors)
    assert site.run("--rebuild") == Ran(0, [], [])
    assert moved_aside(journal) == [aside], "a usable journal is kept"


def test_m113_journal_set_aside_is_never_overwritten(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_m113_rebuild_with_dry_run_is_a_usage_error(site: Site) -> None:
    garbage(site.journal)
    ran = site.command("run", "--rebuild", "--dry-run")
    assert ran.code == 2
    assert "--dry-run and --rebuild cannot be combined" in ran.errors[-1]
    assert not list(site.journal.parent.glob("*.unusable-*"))


def test_m113_damaged_journal_works_or_is_one_error(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random bytes change: detectable damage is an error, other damage causes no wrong removal."""
    monkeypatch.setenv("ACTORSYNC_AUDIT_LISTINGS", "0")  # the target is built anew each time, which an audit reports
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
def test_m114_missing_journal_removes_nothing(site: Site, state: str) -> None:
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
    (site.source / "b.txt").unlink()  # adopted, so it is owned now
    assert site.run() == Ran(0, [], [])
    assert tree(site.target) == {**tree(site.source), "gone.txt": b"this is gone.txt"}


@pytest.mark.parametrize("log", ["none", "stale"])
def test_m115_old_journal_from_a_backup_removes_nothing(site: Site, log: str) -> None:
    """Outdated records remove nothing, and one run brings both sides in sync again."""
    journal = site.journal
    backup = journal.read_bytes()
    site.write("a.txt", "another a")
    site.write("late.txt", "it came late")
    (site.source / "b.txt").unlink()
    assert site.run().code == 0
    site.write("b.txt", "somebody else's", in_target=True)  # the old journal records an owned file here
    if log == "stale":
        kill_writer(journal)
        assert Path(f"{journal}-wal").stat().st_size > 0
    journal.write_bytes(backup)

    ran = site.run()
    if ran.code == 7:  # the mismatch of the file and a newer log was detected
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
    """Leave a journal with a write-ahead log, like a killed run."""
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


def test_m111_next_run_continues_a_killed_run(site: Site) -> None:
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
            for record in journal.subtree(""):  # the records match the files by size
                if record.target.kind is Kind.FILE:
                    assert (site.target / record.target.path).stat().st_size == record.target.size
    assert killed == 2
    assert site.run() == Ran(0, [], [])
    assert tree(site.target) == tree(site.source)
    assert [path.name for path in site.journal.parent.iterdir() if path.name.endswith(("-wal", "-shm"))] == []


#: The schema of version 1, verbatim.
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
    """Turn a journal into one as written by version 1 or 2."""
    old = journal.with_name("old")
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        connection.executescript(VERSION_1)
        if version == 2:
            connection.executescript(f"{journal_schema._STEPS[1][0]} PRAGMA user_version = 2")
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
def test_m118_older_journal_is_readable_and_migrated_by_a_run(site: Site, version: int) -> None:
    make_old(site.journal, version)
    before = site.journal.read_bytes()
    assert site.command("status").code == 0
    assert site.command("plan").out == ["- gone.txt", "1 to remove"]
    assert read_troubles(state_directory(), site.journal.name.removesuffix(".journal")) == []
    assert (site.journal.read_bytes(), version_of(site.journal)) == (before, version)
    ran = site.command("run")
    assert ran.errors[-1].startswith("in sync: 0 copied (0 B), 1 removed, 0 failed"), "everything is remembered"
    assert version_of(site.journal) == journal_schema.SCHEMA_VERSION
    with closing(sqlite3.connect(site.journal)) as connection:
        made = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'troubles'").fetchone()
        columns = connection.execute("PRAGMA table_info(records)").fetchall()
    fresh = site.journal.with_name("fresh")
    with open_journal(fresh, "p"), closing(sqlite3.connect(fresh / "p.journal")) as connection:
        assert connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'troubles'").fetchone() == made
        assert connection.execute("PRAGMA table_info(records)").fetchall() == columns


def test_m118_migration_is_atomic(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    make_old(site.journal)
    before = site.journal.read_bytes()
    monkeypatch.setattr(journal_schema, "_STEPS", {1: ("CREATE TABLE troubles (x); nonsense",)})
    with pytest.raises(FatalError), open_journal(site.journal.parent, site.journal.name.removesuffix(".journal")):
        pass
    monkeypatch.setattr(journal_schema, "SCHEMA_VERSION", 5)
    monkeypatch.setattr(
        journal_schema, "_STEPS", {1: ("CREATE TABLE troubles (x)",), 2: ("CREATE TABLE more (x)", "nonsense")}
    )
    with pytest.raises(FatalError), open_journal(site.journal.parent, site.journal.name.removesuffix(".journal")):
        pass
    assert (site.journal.read_bytes(), version_of(site.journal)) == (before, 1)
    monkeypatch.undo()
