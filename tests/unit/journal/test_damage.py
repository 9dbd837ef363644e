"""A journal that is damaged, missing, newer or of another profile."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from actorsync.errors import FatalError
from actorsync.journal import journal_path, open_journal
from actorsync.journal import schema as journal_schema
from tests.unit.journal.rows import intents

if TYPE_CHECKING:
    pass


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


def spoil_agreement(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("INSERT INTO pairs VALUES (x'', x'', 2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, NULL, 16)")


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
    """Check that the journal is refused in one line that says what to do, and stays unchanged."""
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


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_not_sqlite, "not a database"),
        (spoil_page, "damaged|malformed"),
        (spoil_half, "damaged|malformed"),
        (spoil_value, "damaged .*CHECK"),
        (spoil_agreement, "damaged .*CHECK"),
        (spoil_application, "not written by actorsync"),
        (spoil_profile, "another profile .'somebody'"),
    ],
)
def test_m113_a_damaged_journal_is_refused_and_unchanged(
    tmp_path: Path, used: Path, spoil: object, reason: str
) -> None:
    assert callable(spoil)
    spoil(used)
    refuse(tmp_path, reason)


def test_m118_a_newer_schema_is_refused_and_unchanged(tmp_path: Path, used: Path) -> None:
    spoil_version(used)
    known = journal_schema.SCHEMA_VERSION
    refuse(tmp_path, f"it has schema {known + 1}, and this actorsync knows {known}")


@pytest.mark.parametrize(
    "statement", ["PRAGMA user_version = 99", "UPDATE records SET target_kind = 9", "UPDATE meta SET value = 'q'"]
)
def test_m113_a_refused_journal_keeps_its_write_ahead_log(tmp_path: Path, used: Path, statement: str) -> None:
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
    refuse(tmp_path, "schema 99|damaged|another profile")


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
        assert intents(journal) == []
    assert stat.S_IMODE(used.stat().st_mode) == 0o600
