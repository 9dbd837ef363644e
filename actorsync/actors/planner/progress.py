"""Waiting for the schedule to change, and working on several items at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import TypeVar

import attrs
import trio

from actorsync.classes import define
from actorsync.model.operation import Operation
from actorsync.planning.schedule import Schedule

__all__ = ["Progress", "for_each"]

#: How many items `for_each` works on at once, at most.
_AT_ONCE = 8

T = TypeVar("T")


@define(eq=False)
class Progress:
    """A signal that the schedule, or another state of the planner, has changed.

    ``is_settling`` is true while the consequences of an outcome are being announced: they may add operations.
    """

    schedule: Schedule
    is_settling: bool = False
    _changed: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)
    _until_idle: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)

    def notify(self) -> None:
        """Wake every task that waits for a change, and those that wait for the end if it has come."""
        self._changed.unpark_all()
        if self._is_idle:
            self._until_idle.unpark_all()

    async def wait(self) -> None:
        """Return after the next `notify`."""
        await self._changed.park()

    async def do(self, operations: Iterable[Operation]) -> None:
        """Have operations carried out before anything else, and return when nothing is left to do."""
        for operation in operations:
            self.schedule.add(operation)
        self.notify()
        await self.until_idle()

    async def until_idle(self) -> None:
        """Return when nothing is given out, nothing could be, and every consequence is announced."""
        while not self._is_idle:
            await self._until_idle.park()

    @property
    def _is_idle(self) -> bool:
        return not self.is_settling and self.schedule.is_idle


async def for_each(items: Collection[T], do: Callable[[T], Awaitable[None]]) -> None:
    """Await ``do`` for each item, several at once."""
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            await do(item)

    async with trio.open_nursery() as nursery:
        for _ in range(min(len(items), _AT_ONCE)):
            nursery.start_soon(work)
