"""Which directories of the mirror a journal knows: a partial scan does not enter them unless it is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from actorsync.classes import frozen
from actorsync.journal.values.paths import split
from actorsync.model.row import decode, encode

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from contextlib import AbstractContextManager

__all__ = ["DirectoryMemory"]

#: Directories on both sides. One that was to go, or was missing from the source, may come back with other contents.
_IS_KNOWN: Final = """target_kind = 2 AND source_kind = 2 AND digest IS NULL
    AND (SELECT 1 FROM leaving WHERE path = CASE WHEN directory = x'' THEN name
        ELSE CAST(directory || '/' || name AS BLOB) END) IS NULL"""
_DIRECTORIES: Final = "SELECT name, source_inode FROM records INDEXED BY directories WHERE directory = ?"
_ONE: Final = "SELECT 1 FROM records WHERE directory = ? AND name = ?"
_KNOWN: Final = f"{_DIRECTORIES} AND name > x'' AND {_IS_KNOWN}"
_KNOWS: Final = f"{_ONE} AND {_IS_KNOWN}"


@frozen
class DirectoryMemory:
    """Which directories the mirror has that are neither gone nor to go. ``read`` gives the connection to read with."""

    _read: Callable[[], AbstractContextManager[sqlite3.Connection]]

    def knows(self, path: str) -> bool:
        """Return whether there is a directory of this path."""
        with self._read() as connection:
            return connection.execute(_KNOWS, split(path)).fetchone() is not None

    def inside(self, directory: str) -> dict[str, int | None]:
        """Return the directories in a directory by name, with the inodes that they had in the source."""
        with self._read() as connection:
            return {decode(name): inode for name, inode in connection.execute(_KNOWN, (encode(directory),))}
