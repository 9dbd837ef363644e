"""The feed: a buffer of events for one reader in another task."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Final

import attrs
import trio

from actorsync.classes import define
from actorsync.model.event import Event, Started, Stopped

__all__ = ["Feed"]

#: Events that are buffered. A reader that is further behind slows the run down.
CAPACITY: Final = 1_000


@define(eq=False)
class Feed:
    """An observer whose events are read as an async iterator. The iterator ends after `Stopped`.

    If nothing reads the events, the run is not slowed: until iteration begins, the oldest events are dropped when there
    are more than `CAPACITY`. From then on none is dropped, and the recorder waits in `room` for a slow reader. A run
    that is stopping no longer waits; the feed then grows by the events that are left.

    With ``is_endless`` the iterator goes on after `Stopped`, until `close`: for a run that is repeated.

    ``changed`` is where readers and the recorder wait. Feeds that one reader reads have it in common.
    """

    is_read: bool = False
    is_endless: bool = False
    _events: deque[Event] = attrs.Factory(deque)
    _is_over: bool = False
    _is_released: bool = False
    _changed: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)

    def observe(self, event: Event) -> None:
        """Add an event; never waits."""
        if not self.is_read and len(self._events) >= CAPACITY:
            self._events.popleft()
        self._events.append(event)
        if isinstance(event, Stopped):
            self._is_over = self._is_over or not self.is_endless
        elif self.is_endless and isinstance(event, Started):
            self._is_released = False  # the pass before has released it
        self._changed.unpark_all()

    async def room(self) -> None:
        """Wait while a reader is `CAPACITY` events behind."""
        while self.is_read and not self._is_released and len(self._events) >= CAPACITY:
            await self._changed.park()

    def release(self) -> None:
        """Stop waiting for the reader."""
        self._is_released = True
        self._changed.unpark_all()

    def abandon(self) -> None:
        """Drop all events, and those that come: nothing reads them any more."""
        self.is_read = False
        self._events.clear()
        self.release()

    def close(self) -> None:
        """End the iterator after the events that are buffered."""
        self._is_over = True
        self.release()

    def __aiter__(self) -> AsyncIterator[Event]:
        self.is_read = True
        return self

    async def __anext__(self) -> Event:
        await trio.lowlevel.checkpoint()
        self.is_read = True
        while (event := self.take()) is None:
            if self.is_at_end:
                raise StopAsyncIteration
            await self._changed.park()
        return event

    def take(self) -> Event | None:
        """Return the next event; None if there is none yet."""
        if not self._events:
            return None
        self._changed.unpark_all()
        return self._events.popleft()

    @property
    def is_at_end(self) -> bool:
        """Whether every event was read, and none comes."""
        return self._is_over and not self._events
