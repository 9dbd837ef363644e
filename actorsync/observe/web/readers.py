"""The readers of ``/events``: each has the newest status, and a short queue of records."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import attrs
import trio

from actorsync.classes import define
from actorsync.model.event import (
    BreakerOpened,
    Changed,
    Drifted,
    Event,
    MemoryVoided,
    NotPublished,
    Parked,
    ReleaseEnded,
    RemovalsRefused,
    Retired,
    Scanned,
    Stopped,
    Warned,
    WatchLost,
)
from actorsync.model.json_records import json_line, records_of
from actorsync.model.operation import Failed, Fault

__all__ = ["MOST_READERS", "EventReader", "EventReaders"]

#: Readers at a time.
MOST_READERS: Final = 16
#: Records that wait for one reader. When there are more, the oldest are dropped, and the reader gets their number.
_QUEUE: Final = 100

_TOLD: Final = (
    BreakerOpened
    | Changed
    | Drifted
    | MemoryVoided
    | NotPublished
    | Parked
    | ReleaseEnded
    | RemovalsRefused
    | Retired
    | Stopped
    | Warned
    | WatchLost
)


@define(eq=False)
class EventReader:
    """What one reader has still to get. ``status`` replaces the one before it, if that is not sent yet."""

    status: bytes | None = None
    is_last: bool = False
    """Whether nothing follows."""
    _records: deque[bytes] = attrs.Factory(deque)
    _lost: int = 0
    _woken: trio.Event = attrs.Factory(trio.Event)

    @property
    def waiting(self) -> int:
        """How many records wait to be sent."""
        return len(self._records)

    def put_status(self, status: bytes) -> None:
        """Set the status to be sent."""
        self.status = status
        self._woken.set()

    def put_record(self, record: bytes) -> None:
        """Add a record to be sent."""
        if len(self._records) >= _QUEUE:
            self._records.popleft()
            self._lost += 1
        self._records.append(record)
        self._woken.set()

    def close(self) -> None:
        """Let the reader end when it has got what waits for it."""
        self.is_last = True
        self._woken.set()

    async def wait(self) -> None:
        """Wait until there is something to be sent, or until nothing follows."""
        await self._woken.wait()

    def take(self) -> bytes:
        """Return what is to be sent as one text of ``text/event-stream``, and forget it."""
        parts = []
        if self._lost:
            parts.append(_event("lost", json_line({"records": self._lost}).encode()))
        parts += [_event("record", record) for record in self._records]
        if self.status is not None:
            parts.append(_event("status", self.status))
        self._records.clear()
        self.status, self._lost, self._woken = None, 0, trio.Event()
        return b"".join(parts)


@define(eq=False)
class EventReaders:
    """All readers of one server."""

    readers: set[EventReader] = attrs.Factory(set)
    is_closed: bool = False
    _left: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)

    def open(self, status: bytes) -> EventReader | None:
        """Return a new reader, to whom the status is sent at once; None if there are too many."""
        if len(self.readers) >= MOST_READERS or self.is_closed:
            return None
        reader = EventReader()
        reader.put_status(status)
        self.readers.add(reader)
        return reader

    def leave(self, reader: EventReader) -> None:
        """Remove a reader, whose client has gone."""
        self.readers.discard(reader)
        self._left.unpark_all()

    async def all_gone(self) -> None:
        """Wait until there is no reader."""
        while self.readers:
            await self._left.park()

    def put_status(self, status: bytes) -> None:
        """Set the status that each reader gets next."""
        for reader in self.readers:
            reader.put_status(status)

    def observe(self, mirror: str, event: Event) -> None:
        """Add the records of an event to the queue of each reader, if it tells of a failure, a warning or an end."""
        if self.readers:
            for record in _records(event):
                line = json_line(record | {"mirror": mirror}).encode()
                for reader in self.readers:
                    reader.put_record(line)

    def close(self) -> None:
        """Let every reader end when it has got what waits for it."""
        self.is_closed = True
        for reader in self.readers:
            reader.close()


def _records(event: Event) -> Iterator[dict[str, Any]]:
    if isinstance(event, _TOLD) or (isinstance(event, Failed) and event.fault not in {Fault.PARKED, Fault.UNSENT}):
        yield from records_of(event)
    elif isinstance(event, Scanned) and event.problems:
        yield from (record for record in records_of(event) if record["event"] == "problem")


def _event(name: str, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
