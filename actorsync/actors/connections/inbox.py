"""The inbox of a lane: the batch in hand, and the batch taken ahead."""

from __future__ import annotations

import attrs
import trio

from actorsync.actors.connections.pool import Pool
from actorsync.classes import define
from actorsync.model.operation import Batch, Operation

__all__ = ["Inbox"]


@define(eq=False)
class Inbox:
    """Takes batches from the channel of operations, which all lanes of a run share.

    Both batches survive a lost connection: neither has an outcome yet. ``batch`` is empty when no batch is in hand.
    """

    _operations: trio.MemoryReceiveChannel[Batch]
    _pool: Pool
    _draining: trio.Event
    _number: int = 0
    """The number of the connection."""
    batch: Batch = attrs.field(default=(), init=False)
    _ahead: Batch = attrs.field(default=(), init=False)

    @property
    def is_empty(self) -> bool:
        """Whether no batch is in hand and none was taken ahead."""
        return not (self.batch or self._ahead)

    @property
    def waiting(self) -> int:
        """The number of batches in the channel, which no lane has taken yet."""
        return self._operations.statistics().current_buffer_used

    def take_nowait(self) -> None:
        """Take the batch that was taken ahead, or else the next one from the channel.

        Raises `trio.WouldBlock` or `trio.EndOfChannel`, as the channel does.
        """
        if self._ahead:
            self.batch, self._ahead = self._ahead, ()
            return
        self.batch = self._operations.receive_nowait()
        self.request_connections()

    async def take(self) -> bool:
        """Wait for the next batch. Return False when the channel has ended."""
        try:
            self.batch = await self._operations.receive()
        except trio.EndOfChannel:
            return False
        return True

    @property
    def is_to_leave(self) -> bool:
        """Whether nothing is in hand, and the connection is one too many."""
        return self.is_empty and self._pool.is_one_too_many(self._number)

    async def take_or_leave(self) -> bool | None:
        """Do as `take` does, and return None when the connection becomes one too many while it waits."""
        with self._pool.until_one_too_many(self._number):
            return await self.take()
        return None

    def take_ahead(self) -> Operation | None:
        """Take the next batch before its turn, and return its first operation.

        Return None if no batch is waiting, if one was taken ahead already, if the connection is to leave, or if the run
        is draining.
        """
        if self._ahead or self._draining.is_set() or self._pool.is_one_too_many(self._number):
            return None
        try:
            self._ahead = self._operations.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return None
        return self._ahead[0]

    def clear_batch(self) -> Batch:
        """Return the batch in hand, and keep it no longer."""
        batch, self.batch = self.batch, ()
        return batch

    def clear(self) -> Batch:
        """Return the batch in hand and the batch taken ahead, and keep neither."""
        batch, ahead, self._ahead = self.clear_batch(), self._ahead, ()
        return (*batch, *ahead)

    def request_connections(self) -> None:
        """Ask the pool for enough connections for the batches that are waiting."""
        self._pool.request(self.waiting)
