"""What a journal knows of its target beside the records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorsync.classes import frozen
from actorsync.journal import audits, leaving, schema

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from actorsync.model.entry import Root
    from actorsync.planning.drift import Drift, Round

__all__ = ["AuditMemory"]


@frozen
class AuditMemory:
    """What a journal knows of its target beside the records. ``read`` gives the connection to read with."""

    _read: Callable[[], AbstractContextManager[sqlite3.Connection]]

    def target_root(self) -> Root | None:
        """Return the root of the target as it was last seen; None if it was not, or did not tell who it is."""
        with self._read() as connection:
            return schema.read_root(connection, "target")

    def seen(self) -> float | None:
        """Return when the target was last looked at, in seconds since the epoch; None if it never was."""
        with self._read() as connection:
            return audits.read_seen(connection)

    def round(self) -> Round | None:
        """Return how far the audits of the target have come; None before the first one."""
        with self._read() as connection:
            return audits.read_round(connection)

    def directories_after(self, directory: str, limit: int) -> list[str]:
        """Return the directories of the mirror that follow ``directory`` in the order of audits, without the root."""
        with self._read() as connection:
            return audits.read_directories(connection, directory, limit)

    def directory_count(self) -> int:
        """Return how many directories the mirror has, without the root."""
        with self._read() as connection:
            return audits.count_directories(connection)

    def drifts(self) -> list[Drift]:
        """Return what has drifted on the target and was not mended, in order."""
        with self._read() as connection:
            return audits.read_drifts(connection)

    def leaving(self) -> dict[str, float]:
        """Return since when entries are gone from the source that stay on the target for a while, by path."""
        with self._read() as connection:
            return leaving.read(connection)
