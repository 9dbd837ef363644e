"""Levels: the current state of a run. They change too often for events, so that a reader polls them."""

from __future__ import annotations

from collections import deque

import attrs

from actorsync.endpoints.contract import Upload
from actorsync.endpoints.wrappers.bandwidth import Bandwidth

__all__ = ["ConnectionLevel", "LaneLevel", "Rate", "Statistics"]


@attrs.define(eq=False)
class LaneLevel:
    """What one lane is doing: ``state`` in a word or two, and the upload in progress, of ``size`` bytes."""

    state: str = "idle"
    upload: Upload | None = None
    size: int = 0

    def show(self, state: str, upload: Upload | None = None, size: int = 0) -> None:
        """Set all three."""
        self.state, self.upload, self.size = state, upload, size


@attrs.define(eq=False)
class ConnectionLevel:
    """The state of one connection in a word or two. While it is connected, its lanes have the details."""

    number: int
    state: str = "connecting"
    is_connected: bool = False
    lanes: list[LaneLevel] = attrs.Factory(list)

    @property
    def busiest(self) -> LaneLevel | None:
        """The lane with the largest upload, or else one that is busy, or else any; None without a connection."""
        if not self.is_connected or not self.lanes:
            return None
        return max(self.lanes, key=lambda lane: (lane.upload is not None, lane.size, lane.state != "idle"))

    @property
    def uploads(self) -> int:
        """The number of files that are being sent."""
        return sum(lane.upload is not None for lane in self.lanes)


@attrs.define(eq=False)
class Statistics:
    """The levels of one run. Each actor writes its own; all may be read at any time.

    ``is_total_known`` turns true when the scan is complete; until then the planned figures grow.
    """

    connections: list[ConnectionLevel] = attrs.Factory(list)
    files_found: int = 0
    is_surveying: bool = False
    """Whether the files found wait for the first survey of the target."""
    operations_ready: int = 0
    """The number of operations that could begin now, and are still in the schedule."""
    files_planned: int = 0
    bytes_planned: int = 0
    directories_planned: int = 0
    is_total_known: bool = False
    files_done: int = 0
    bytes_done: int = 0
    bandwidth: Bandwidth | None = None
    """The bandwidth limit of the run, if there is one."""

    @property
    def bytes_sent(self) -> int:
        """The bytes sent of finished files and of files in progress, without those that only a buffer has."""
        uploads = (lane.upload for level in self.connections for lane in level.lanes)
        return self.bytes_done + sum(upload.delivered for upload in uploads if upload is not None)

    @property
    def bytes_expected(self) -> int:
        """The bytes planned, and the bytes by which files in progress exceed their plan.

        A transformed file is planned with the size of its source until it has been sent.
        """
        lanes = [lane for level in self.connections for lane in level.lanes]
        return self.bytes_planned + sum(max(0, it.upload.sent - it.size) for it in lanes if it.upload is not None)


class Rate:
    """Bytes a second over the last few seconds."""

    def __init__(self, seconds: float = 8.0) -> None:
        self._seconds = seconds
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, now: float, total: int) -> None:
        """Note that ``total`` bytes were sent by ``now``, in seconds. A lower total than before starts a new series."""
        if self._samples and total < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((now, total))
        while len(self._samples) > 2 and now - self._samples[1][0] >= self._seconds:
            self._samples.popleft()

    @property
    def value(self) -> float | None:
        """The rate; None if the samples cover less than half a second."""
        if len(self._samples) < 2 or (took := self._samples[-1][0] - self._samples[0][0]) < 0.5:
            return None
        return (self._samples[-1][1] - self._samples[0][1]) / took
