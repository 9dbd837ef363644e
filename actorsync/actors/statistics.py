"""Levels: what is going on right now. Facts are announced as events; levels change too often, so they are asked for."""

from __future__ import annotations

import attrs

from actorsync.endpoints.contract import Upload

__all__ = ["ConnectionLevel", "Statistics"]


@attrs.define(eq=False)
class ConnectionLevel:
    """What one connection is doing: ``state`` in a word or two, and the upload under way with its size in bytes."""

    number: int
    state: str = "connecting"
    upload: Upload | None = None
    size: int = 0
    is_connected: bool = False


@attrs.define(eq=False)
class Statistics:
    """The levels of one run. Each actor writes its own; anyone may read at any time.

    ``is_total_known`` turns true when the scan is complete; until then the planned figures still grow.
    """

    connections: list[ConnectionLevel] = attrs.Factory(list)
    files_planned: int = 0
    bytes_planned: int = 0
    directories_planned: int = 0
    is_total_known: bool = False
    files_done: int = 0
    bytes_done: int = 0

    @property
    def bytes_sent(self) -> int:
        """Bytes of finished files, and of those that are on their way."""
        return self.bytes_done + sum(level.upload.sent for level in self.connections if level.upload is not None)
