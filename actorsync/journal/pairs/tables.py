"""The tables of a two-way mirror."""

from __future__ import annotations

from typing import Final

__all__ = ["STEP", "TABLES"]

TABLES: Final = """
-- both sides of a path as they were when they last agreed. doubt: see `Doubt` in model/pair.py
CREATE TABLE pairs (
    directory BLOB NOT NULL CHECK (directory >= x''),
    name BLOB NOT NULL CHECK (name >= x''),
    source_kind NOT NULL CHECK (source_kind BETWEEN 1 AND 4),
    source_size NOT NULL CHECK (source_size < x''), source_mtime, source_ctime, source_inode, source_mode,
    target_kind NOT NULL CHECK (target_kind BETWEEN 1 AND 4),
    target_size NOT NULL CHECK (target_size < x''), target_mtime, target_ctime, target_inode, target_mode,
    digest BLOB, doubt NOT NULL CHECK (doubt BETWEEN 0 AND 15),
    PRIMARY KEY (directory, name)
) WITHOUT ROWID;

-- paths that both sides have changed, and for which nothing was done. No kind: that side has nothing there
CREATE TABLE conflicts (
    path BLOB NOT NULL PRIMARY KEY CHECK (path >= x''), since REAL NOT NULL, reason BLOB NOT NULL CHECK (reason >= x''),
    source_kind CHECK (source_kind BETWEEN 1 AND 4), source_size, source_mtime, source_ctime, source_inode, source_mode,
    target_kind CHECK (target_kind BETWEEN 1 AND 4), target_size, target_mtime, target_ctime, target_inode, target_mode
) WITHOUT ROWID;
"""

#: What brings a journal of version 6 to version 7. An intent without a side is one of the target.
STEP: Final = (*TABLES.split(";")[:-1], "ALTER TABLE intents ADD COLUMN side TEXT")
