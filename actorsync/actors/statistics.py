"""Levels: what is going on right now. Facts are announced as events; levels change too often, so they are asked for."""

from __future__ import annotations

from collections import deque

import attrs

from actorsync.endpoints.contract import Upload
from actorsync.endpoints.wrappers.bandwidth import Bandwidth

__all__ = ["ConnectionLevel", "LaneLevel", "Rate", "Statistics"]


@attrs.define(eq=False)
class LaneLevel:
    """What one lane of a connection does: ``state`` in a word or two, and the upload under way, of ``size`` bytes."""

    state: str = "idle"
    upload: Upload | None = None
    size: int = 0

    def show(self, state: str, upload: Upload | None = None, size: int = 0) -> None:
        """Set all three."""
        self.state, self.upload, self.size = state, upload, size


@attrs.define(eq=False)
class ConnectionLevel:
    """The state of one connection in a word or two; while it is connected, its lanes say what goes on."""

    number: int
    state: str = "connecting"
    is_connected: bool = False
    lanes: list[LaneLevel] = attrs.Factory(list)

    @property
    def busiest(self) -> LaneLevel | None:
        """The lane with the biggest upload, or any that does something, or any; None when it is not connected."""
        if not self.is_connected or not self.lanes:
            return None
        return max(self.lanes, key=lambda lane: (lane.upload is not None, lane.size, lane.state != "idle"))

    @property
    def uploads(self) -> int:
        """How many files are on their way."""
        return sum(lane.upload is not None for lane in self.lanes)


@attrs.define(eq=False)
class Statistics:
    """The levels of one run. Each actor writes its own; anyone may read at any time.

    ``is_total_known`` turns true when the scan is complete; until then the planned figures still grow.
    """

    connections: list[ConnectionLevel] = attrs.Factory(list)
    files_found: int = 0
    is_surveying: bool = False
    """Whether what was found waits for the target to be known."""
    operations_ready: int = 0
    """How many operations could be done now, and have not been given out."""
    files_planned: int = 0
    bytes_planned: int = 0
    directories_planned: int = 0
    is_total_known: bool = False
    files_done: int = 0
    bytes_done: int = 0
    bandwidth: Bandwidth | None = None
    """What limits the run's speed, if anything does."""

    @property
    def bytes_sent(self) -> int:
        """Bytes of finished files, and of those that are on their way."""
        uploads = (lane.upload for level in self.connections for lane in level.lanes)
        return self.bytes_done + sum(upload.sent for upload in uploads if upload is not None)

    @property
    def bytes_expected(self) -> int:
        """Bytes that are planned, and those by which files on their way have come to more than that already.

        What is planned of a file whose content is made on the way is its source's size, until it is whole.
        """
        lanes = [lane for level in self.connections for lane in level.lanes]
        return self.bytes_planned + sum(max(0, it.upload.sent - it.size) for it in lanes if it.upload is not None)


class Rate:
    """Bytes a second over the last few seconds."""

    def __init__(self, seconds: float = 8.0) -> None:
        self._seconds = seconds
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, now: float, total: int) -> None:
        """Note that ``total`` bytes were sent by ``now``. A total that falls (a file is sent again) starts anew."""
        if self._samples and total < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((now, total))
        while len(self._samples) > 2 and now - self._samples[1][0] >= self._seconds:
            self._samples.popleft()

    @property
    def value(self) -> float | None:
        """The rate; None when it is too early to tell."""
        if len(self._samples) < 2 or (took := self._samples[-1][0] - self._samples[0][0]) < 0.5:
            return None
        return (self._samples[-1][1] - self._samples[0][1]) / took
