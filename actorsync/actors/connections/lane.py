"""A lane: one of the operations that a connection carries at once, from taking it to its one outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
import trio

from actorsync.actors.connections.batch_verbs import BatchVerbs
from actorsync.actors.connections.comparisons import Comparisons
from actorsync.actors.connections.context import ConnectionContext
from actorsync.actors.connections.facts import FactChannel, send_facts
from actorsync.actors.connections.inbox import Inbox
from actorsync.actors.connections.intents import Intents
from actorsync.actors.connections.outcomes import given_up
from actorsync.actors.connections.uploads import Uploads
from actorsync.actors.statistics import LaneLevel
from actorsync.classes import define
from actorsync.endpoints.contract import ReadSession, Session
from actorsync.errors import ConnectionLost
from actorsync.model.operation import Batch, Compare, Maintain, Publish, PutBack, Returned, Sending, Tidying

__all__ = ["LOSSES", "Lane"]

#: How many connections may be lost in a row over what one lane has in hand; from the second on it works alone.
LOSSES: Final = 5
#: Seconds without work after which a lane counts as idle.
IDLE: Final = 1.0


@define(eq=False)
class Lane:
    """Takes operations, one batch after the other, and reports exactly one outcome for each.

    What survives a lost connection has an owner that lives as long as the lane: the batches in the `Inbox`, the files
    that wait for their rename in `Uploads`, the registration made ahead in `Intents`. What is lost with the connection
    is in local variables only: the two sessions, and the call in flight.
    """

    context: ConnectionContext
    level: LaneLevel
    operations: trio.MemoryReceiveChannel[Batch]
    """The end that the connection holds and closes."""
    facts: FactChannel
    """The end that the connection holds and closes."""
    number: int = 0
    """The number of the connection."""
    has_left: bool = attrs.field(default=False, init=False)
    """Whether the lane has stopped because its connection is one too many."""
    losses: int = attrs.field(default=0, init=False)
    """Connections lost in a row while this lane had work in hand."""
    was_idle: bool = attrs.field(default=False, init=False)
    """Whether the work in hand is the first after an idle time. Many servers disconnect idle clients."""
    _inbox: Inbox = attrs.field(init=False)
    _intents: Intents = attrs.field(init=False)
    _uploads: Uploads = attrs.field(init=False)
    _verbs: BatchVerbs = attrs.field(init=False)
    _comparisons: Comparisons = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        context = self.context
        self._inbox = Inbox(self.operations, context.pool, context.shutdown.draining, self.number)
        self._intents = Intents(
            self.facts,
            context.token,
            None if context.trash is None else context.trash.place,
            context.side,
            is_careful=context.clocks is not None,
        )
        self._uploads = Uploads(context, self.level, self.facts, self._inbox, self._intents)
        self._verbs = BatchVerbs(context, self.level, self.facts, self._inbox)
        self._comparisons = Comparisons(context, self.level)

    @property
    def has_work(self) -> bool:
        """Whether anything in hand has no outcome yet."""
        return not (self._inbox.is_empty and self._uploads.is_empty)

    @property
    def waiting(self) -> int:
        """The number of batches that no lane has taken yet."""
        return self._inbox.waiting

    async def serve(
        self,
        target: Session,
        succeeded: Callable[[], None],
        is_lost: Callable[[], bool],
        *,
        takes_more: bool = True,
    ) -> None:
        """Work until the channel of operations ends. Without ``takes_more``, work until nothing is left in hand.

        ``succeeded`` is called after each batch. If the lane is cancelled, it cleans up on the target, unless
        ``is_lost`` returns True: then ``target`` cannot be used any more.

        Raises `ConnectionLost`; call again with the next session.
        """
        self.has_left = False
        try:
            async with self.context.source.open_session() as source:
                await self._uploads.commit(target)
                while takes_more or not self._inbox.is_empty:
                    if not (self._inbox.batch or await self._take(target)):
                        return
                    await self._work(source, target)
                    self._succeed(succeeded)
                await self._uploads.commit(target)
        except trio.Cancelled:
            if not is_lost():
                await self._clean_up(target)
            raise

    def note_loss(self) -> None:
        """Count a lost connection. The first loss after an idle time does not count: no operation caused it."""
        self.losses += self.has_work and not self.was_idle
        self.was_idle = False

    def _succeed(self, succeeded: Callable[[], None]) -> None:
        self.losses, self.was_idle = 0, False
        succeeded()

    # Taking work.

    async def _take(self, target: Session) -> bool:
        """Take the next batch; return False if there is none. If a wait is necessary, the renames are done first.

        A connection that is one too many takes none.
        """
        if self._inbox.is_to_leave:
            await self._uploads.commit(target)
            self.has_left = True
            return False
        try:
            self._inbox.take_nowait()
        except trio.WouldBlock:
            await self._uploads.commit(target)
            began = trio.current_time()
            self.level.show("idle")
            has_work = await self._inbox.take_or_leave()
            self.was_idle = trio.current_time() - began >= IDLE
            self.has_left = has_work is None
            return has_work is True
        except trio.EndOfChannel:
            await self._uploads.commit(target)
            return False
        return True

    async def take(self) -> bool:
        """Wait for the next batch. Return False if there are no more."""
        self.level.show("idle")
        return await self._inbox.take()

    # Working.

    async def _work(self, source: ReadSession, target: Session) -> None:
        """Carry out the batch in hand. Afterwards each operation has its outcome, or waits for its rename."""
        batch, first = self._inbox.batch, self._inbox.batch[0]
        is_begun_before = isinstance(first, Maintain | Publish | PutBack | Tidying)
        if self.context.control.is_paused and not is_begun_before:
            await self._uploads.commit(target)
            await self.context.control.until_resumed(unless=self.context.shutdown.draining)
            self.was_idle = True
        if self.context.shutdown.draining.is_set() and not is_begun_before:
            await self._uploads.commit(target)
            await self.give_back("the run is stopping")
        elif isinstance(first, Sending):
            await self._copy(source, target, first)
        else:
            await self._uploads.commit(target)
            work = self._comparisons if isinstance(first, Compare) else self._verbs
            outcomes = await work.carry_out(target, batch)
            self._inbox.clear_batch()
            await send_facts(self.facts, *outcomes)

    async def _copy(self, source: ReadSession, target: Session, copy: Sending) -> None:
        with self._uploads.admission(copy) as is_admitted:
            if is_admitted:
                events = await self._uploads.upload(source, target, copy)
            else:
                events = await self._uploads.reject(target, copy)
            self.level.upload = None
            self._inbox.clear_batch()
            await send_facts(self.facts, *events)
            await self._intents.unregister(copy)

    # Leaving.

    async def give_up(self, error: ConnectionLost) -> None:
        """Fail everything in hand, because connection after connection was lost over it.

        A batch taken ahead was not sent, and stays.
        """
        operations = [*self._inbox.clear_batch(), *self._uploads.clear()]
        self.losses = 0
        self.level.show("idle")
        reason = f"the connection was lost {LOSSES} times during this operation: {error}"
        await send_facts(self.facts, *(given_up(operation, reason) for operation in operations))

    async def give_back(self, reason: str) -> None:
        """Return everything in hand, and the batch taken ahead, to the planner."""
        operations = [*self._inbox.clear(), *self._uploads.clear()]
        self.losses = 0
        await send_facts(self.facts, *(Returned(operation, reason) for operation in operations))
        await self._intents.unregister()

    async def _clean_up(self, target: Session) -> None:
        """Leave no temporary on the target when the run is cancelled, as far as the time for it allows.

        Except for a part of a big file, which the next run continues.
        A whole file is renamed, not removed. Its rename may have been in flight: then the target has the new file, and
        the journal has to know.
        """
        with self.context.shutdown.cleanup():
            try:
                upload = self.level.upload
                if upload is not None:
                    await self._uploads.parts.clean_up(target, upload)
                await self._uploads.commit(target)
                await self._intents.unregister()
            except ConnectionLost:
                pass  # the temporaries stay in the journal, and the next run sweeps them
