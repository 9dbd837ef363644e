"""Damaging a journal, for tests of how a run starts."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from actorsync.journal import schema as journal_schema

__all__ = ["directory", "everything", "garbage", "moved_aside", "newer", "sql"]


def sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database, whatever its name may say\n" * 100)


def newer(path: Path) -> None:
    sql(path, f"PRAGMA user_version = {journal_schema.SCHEMA_VERSION + 1}")


def directory(path: Path) -> None:
    path.unlink()
    (path / "with something in it").mkdir(parents=True)


def everything(path: Path) -> dict[str, bytes | None]:
    """What is at a journal's place, and its log: less what any reader leaves, which is the lock and an empty log."""
    return {
        str(file): file.read_bytes() if file.is_file() else None
        for file in [*path.parent.glob(f"{path.name}*"), *path.glob("*")]
        if not file.name.endswith((".lock", "-shm")) and (file.is_dir() or file.stat().st_size)
    }


def moved_aside(journal: Path) -> list[Path]:
    return [path for path in journal.parent.glob("*.unusable-*") if not path.name.endswith(("-wal", "-shm"))]
