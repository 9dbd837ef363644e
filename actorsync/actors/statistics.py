"""Levels: the current state of a run. They change too often for events, so that a reader polls them."""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs
import trio

from actorsync.classes import define
from actorsync.endpoints.contract import Upload
from actorsync.endpoints.wrappers.bandwidth import Bandwidth
from actorsync.model.operation import Done, Failed, Outcome, Prepare, Sending, Skipped

__all__ = ["FILE_WEIGHT", "ConnectionLevel", "LaneLevel", "Rate", "Statistics"]

#: Bytes that a file counts for besides its content: about as many as could be sent during its round trips.
FILE_WEIGHT: Final = 64 * 1024


@define(eq=False)
class LaneLevel:
    """What one lane is doing: ``state`` in a word or two, and the upload in progress, of ``size`` bytes."""

    state: str = "idle"
    upload: Upload | None = None
    size: int = 0

    def show(self, state: str, upload: Upload | None = None, size: int = 0) -> None:
        """Set all three."""
        self.state, self.upload, self.size = state, upload, size


@define(eq=False)
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


@define(eq=False)
class Room:
    """How many bytes the target has room for, as it told the first connection; None if it does not tell."""

    free: int | None = None
    is_told: trio.Event = attrs.Factory(trio.Event)

    def tell(self, free: int | None) -> None:
        """Set what the target has told."""
        self.free = free
        self.is_told.set()


@define(eq=False)
class Statistics:
    """The levels of one run. Each actor writes its own; all may be read at any time.

    ``is_total_known`` turns true when the scan is complete; until then the planned figures grow.
    """

    connections: list[ConnectionLevel] = attrs.Factory(list)
    files_found: int = 0
    is_surveying: bool = False
    """Whether the files found wait for the first survey of the target."""
    operations_ready: int = 0
    """The number of operations in the schedule that could begin now, or that wait only for files of a lower rank."""
    files_planned: int = 0
    bytes_planned: int = 0
    directories_planned: int = 0
    is_total_known: bool = False
    files_done: int = 0
    comparisons_planned: int = 0
    comparisons_done: int = 0
    """Files of the target whose content was compared with the source, equal or not."""
    bytes_done: int = 0
    bytes_resumed: int = 0
    """Bytes among those done that an earlier attempt had sent."""
    files_given_up: int = 0
    bytes_given_up: int = 0
    """The planned files that have failed, or that were skipped because they are gone; and their bytes."""
    room: Room = attrs.Factory(Room)
    """The room on the target. It is only asked for in a run that publishes in a burst."""
    bandwidth: Bandwidth | None = None
    """The bandwidth limit of the run, if there is one."""

    def note_sent(self, copy: Sending, size: int, resumed: int = 0) -> None:
        """Count the bytes of a file that is whole on the target. Its plan becomes ``size``, the bytes it has.

        ``resumed`` of them were there before.
        """
        self.bytes_planned += size - copy.source.size
        self.bytes_done += size
        self.bytes_resumed += resumed

    def note_undone(self, copy: Sending, size: int, resumed: int = 0) -> None:
        """Take back `note_sent`, because the file does not get its name: it is sent again, or has failed."""
        self.bytes_planned -= size - copy.source.size
        self.bytes_done -= size
        self.bytes_resumed -= resumed

    def note_outcome(self, outcome: Outcome) -> None:
        """Count a planned file that will not be sent, or that is staged: its name is a matter of a moment."""
        if isinstance(outcome, Done):
            self.files_done += isinstance(outcome.operation, Prepare)
        elif isinstance(outcome, Failed | Skipped) and isinstance(outcome.operation, Sending):
            self.files_given_up += 1
            self.bytes_given_up += outcome.operation.source.size

    @property
    def bytes_left(self) -> int:
        """The bytes that are still to be sent, without those of files that were given up."""
        return max(0, self.bytes_expected - self.bytes_given_up - self.bytes_sent)

    @property
    def share(self) -> float:
        """How much of the planned work with files is done, from 0 to 1. Empty files and comparisons are work too."""
        done = self.bytes_sent + FILE_WEIGHT * (self.files_done + self.comparisons_done)
        files_left = max(0, self.files_planned - self.files_given_up - self.files_done)
        files_left += max(0, self.comparisons_planned - self.comparisons_done)
        whole = done + self.bytes_left + FILE_WEIGHT * files_left
        return done / whole if whole else 1.0

    @property
    def bytes_sent(self) -> int:
        """The bytes sent of finished files and of files in progress, without those that only a buffer has."""
        uploads = (lane.upload for level in self.connections for lane in level.lanes)
        return self.bytes_done + sum(upload.delivered for upload in uploads if upload is not None)

    @property
    def bytes_moved(self) -> int:
        """The bytes that this run has sent itself, for a rate: `bytes_sent` without what was there before."""
        uploads = (lane.upload for level in self.connections for lane in level.lanes)
        return self.bytes_sent - self.bytes_resumed - sum(upload.start for upload in uploads if upload is not None)

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
        """Note that ``total`` bytes were sent by ``now``, in seconds.

        The total falls when an upload fails: the bytes sent until then remain in the rate, and none are taken from it.
        """
        if self._samples and (excess := self._samples[-1][1] - total) > 0:
            self._samples = deque((then, before - excess) for then, before in self._samples)
        self._samples.append((now, total))
        while len(self._samples) > 2 and now - self._samples[1][0] >= self._seconds:
            self._samples.popleft()

    @property
    def value(self) -> float | None:
        """The rate; None if the samples cover less than half a second."""
        if len(self._samples) < 2 or (took := self._samples[-1][0] - self._samples[0][0]) < 0.5:
            return None
        return (self._samples[-1][1] - self._samples[0][1]) / took
