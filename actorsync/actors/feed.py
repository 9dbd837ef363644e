"""The feed: events on their way to one reader, in whose own time he takes them."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Final

import attrs
import trio

from actorsync.model.event import Event, Stopped

__all__ = ["Feed"]

#: Events that are kept for a reader; the run waits for one who is further behind.
CAPACITY: Final = 1_000


@attrs.define(eq=False)
class Feed:
    """An observer whose events are read as an async iterator; it ends behind `Stopped`.

    Nobody has to read it: before the first `read`, nothing waits, and events that are too many are dropped, the oldest
    first. From then on none is, and the recorder waits in `room` for a reader who is slow. When the run is being
    stopped it does not wait any more: then the feed grows by what is left.
    """

    is_read: bool = False
    _events: deque[Event] = attrs.Factory(deque)
    _is_over: bool = False
    _is_released: bool = False
    _changed: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)

    def observe(self, event: Event) -> None:
        """Take an event; never waits."""
        if not self.is_read and len(self._events) >= CAPACITY:
            self._events.popleft()
        self._events.append(event)
        self._is_over = self._is_over or isinstance(event, Stopped)
        self._changed.unpark_all()

    async def room(self) -> None:
        """Wait until the reader is not too far behind."""
        while self.is_read and not self._is_released and len(self._events) >= CAPACITY:
            await self._changed.park()

    def release(self) -> None:
        """Wait for the reader no more."""
        self._is_released = True
        self._changed.unpark_all()

    def close(self) -> None:
        """End the iterator when what is there was read: nothing more will come."""
        self._is_over = True
        self.release()

    def __aiter__(self) -> AsyncIterator[Event]:
        self.is_read = True
        return self

    async def __anext__(self) -> Event:
        await trio.lowlevel.checkpoint()
        self.is_read = True
        while not self._events:
            if self._is_over:
                raise StopAsyncIteration
            await self._changed.park()
        event = self._events.popleft()
        self._changed.unpark_all()
        return event
