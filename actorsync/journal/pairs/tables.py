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

-- names that may be there and that only a two-way run may look at: what it has set aside on either side, and its
-- temporaries on the source. Those on the target are in intents
CREATE TABLE pair_intents (
    path BLOB NOT NULL CHECK (path >= x''), side TEXT NOT NULL, final BLOB, size, mtime, PRIMARY KEY (path, side)
) WITHOUT ROWID;

-- for people
CREATE VIEW agreed AS SELECT
    CAST(CASE WHEN directory = x'' THEN name ELSE directory || '/' || name END AS TEXT) AS path,
    CASE source_kind WHEN 1 THEN 'file' WHEN 2 THEN 'directory' WHEN 3 THEN 'link' ELSE 'other' END AS kind,
    source_size AS size,
    datetime(source_mtime / 1000000000, 'unixepoch') AS source_time,
    datetime(target_mtime / 1000000000, 'unixepoch') AS target_time,
    CASE WHEN doubt = 0 THEN '' ELSE 'looked at again' END AS doubt
    FROM pairs;
"""

#: What brings a journal of version 6 to version 7.
STEP: Final = tuple(TABLES.split(";")[:-1])
