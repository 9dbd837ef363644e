"""A lane: one of the operations that a connection carries at once, from taking it to its one outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import attrs
import trio

from actorsync.actors.connections import outcomes
from actorsync.actors.connections.batch_verbs import BatchVerbs, make_parents
from actorsync.actors.connections.context import ConnectionContext
from actorsync.actors.connections.digest import HashingContent
from actorsync.actors.connections.intents import FactSender, Intents
from actorsync.actors.messages import Fact
from actorsync.actors.statistics import LaneLevel
from actorsync.endpoints.contract import Content, ReadSession, Session, Staged, Upload
from actorsync.errors import ConnectionLost, OperationRefused, SourceLost, TargetFull, TransformFailed, Vanished
from actorsync.model.entry import Entry
from actorsync.model.event import BreakerOpened, Event, Resumed, Swept
from actorsync.model.operation import Batch, Copy, Done, Failed, Fault, Operation, Returned, Skipped, Survey, Sweep
from actorsync.planning.reconcile import is_racy

__all__ = ["LOSSES", "Lane"]

#: How often one file is tried before it counts as failed.
TRIES: Final = 3
#: How many connections may be lost in a row over the work of one lane; from the second on it works alone.
LOSSES: Final = 5
#: Seconds without work after which a lost connection counts as an idle timeout of the server.
REST: Final = 1.0


@attrs.frozen
class _Uploaded:
    """A file that is whole on the target under its temporary name, and waits for its rename."""

    copy: Copy
    staged: Staged
    source: Entry
    digest: bytes | None
    checksum: bytes | None


@attrs.define(eq=False)
class Lane:
    """Takes operations, one batch after the other, and answers each with exactly one outcome.

    What survives a lost connection is a field of this object: the batches in hand, the files that are uploaded but not
    renamed, the registered temporaries. What dies with the connection is a local variable.
    """

    context: ConnectionContext
    level: LaneLevel
    losses: int = 0
    """Connections lost in a row while this lane had work in hand."""
    is_rested: bool = False
    """Whether the work in hand is the first after a rest: servers close connections that are idle for long."""
    _operations: trio.MemoryReceiveChannel[Batch] = attrs.field(init=False)
    _sender: FactSender = attrs.field(init=False)
    _intents: Intents = attrs.field(init=False)
    _verbs: BatchVerbs = attrs.field(init=False)
    _batch: Batch = ()
    _next: Batch = ()
    _uploaded: list[_Uploaded] = attrs.Factory(list)

    def hold(self, operations: trio.MemoryReceiveChannel[Batch], facts: trio.MemorySendChannel[Fact]) -> None:
        """Take the channel ends. The connection owns them, and closes them."""
        context = self.context
        self._operations, self._sender = operations, FactSender(facts)
        self._intents = Intents(self._sender, context.token)
        self._verbs = BatchVerbs(
            self._sender, context.gate, context.target.capabilities.keeps_times, self._look_ahead_to_survey
        )

    @property
    def has_something(self) -> bool:
        """Whether any operation in hand has no outcome yet."""
        return bool(self._batch or self._next or self._uploaded)

    @property
    def waiting(self) -> int:
        """The number of batches that no lane has taken yet."""
        return self._operations.statistics().current_buffer_used

    async def serve(
        self,
        target: Session,
        succeeded: Callable[[], None],
        is_lost: Callable[[], bool],
        *,
        takes_more: bool = True,
    ) -> None:
        """Work until no more operations come; without ``takes_more``, until nothing is in hand.

        Calls ``succeeded`` after each batch. When it is cancelled, it tidies up on the target, unless ``is_lost``
        returns that the connection is gone.
        """
        try:
            async with self.context.source.open_session() as source:
                await self._commit(target)
                while self._batch or self._next or takes_more:
                    if not (self._batch or await self._take(target)):
                        return
                    await self._work(source, target)
                    self.losses, self.is_rested = 0, False
                    succeeded()
                await self._commit(target)
        except trio.Cancelled:
            if not is_lost():
                await self._tidy(target)
            raise

    def note_loss(self) -> None:
        """Count a lost connection. After a rest it does not count: the file in hand only discovered it."""
        self.losses += self.has_something and not self.is_rested
        self.is_rested = False

    # Taking work.

    async def _take(self, target: Session) -> bool:
        """Take the next batch, and return False when there is none. If no upload follows at once, rename first."""
        if self._next:
            self._batch, self._next = self._next, ()
            return True
        try:
            self._batch = self._operations.receive_nowait()
        except trio.WouldBlock:
            await self._commit(target)
            began = trio.current_time()
            has_work = await self.receive()
            self.is_rested = trio.current_time() - began >= REST
            return has_work
        except trio.EndOfChannel:
            await self._commit(target)
            return False
        self.context.pool.want(self.waiting)
        return True

    async def receive(self) -> bool:
        """Wait for the next batch, and return False when no more will come."""
        self._show("idle")
        try:
            self._batch = await self._operations.receive()
        except trio.EndOfChannel:
            return False
        return True

    def _look_ahead(self) -> bool:
        """Take the next batch while the last bytes of this upload travel; True when it is another upload.

        The temporary of that upload is registered in the meantime.
        """
        first = self._take_next()
        if not isinstance(first, Copy):
            return False
        self._intents.register_ahead(first)
        return True

    def _look_ahead_to_survey(self) -> bool:
        """Take the next batch while a listing is on its way; True when it is another survey."""
        is_survey = isinstance(self._take_next(), Survey)
        self.context.pool.want(self.waiting)
        return is_survey

    def _take_next(self) -> Operation | None:
        """Take the next batch before its turn, if one waits and none was taken yet; return its first operation."""
        if self._next or self.context.shutdown.draining.is_set():
            return None
        try:
            self._next = self._operations.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return None
        return self._next[0]

    # Doing it.

    async def _work(self, source: ReadSession, target: Session) -> None:
        batch, first, full = self._batch, self._batch[0], self.context.pool.full
        if self.context.shutdown.draining.is_set() and not isinstance(first, Sweep):
            await self._commit(target)
            await self.give_back("the run is being drained")
        elif not isinstance(first, Copy):
            await self._commit(target)
            results = await self._verbs.do(target, batch, self._show)
            self._batch = ()
            await self._sender.tell(*results)
        elif full.admits(self, trio.current_time(), first.source.size):
            try:
                await self._copy(source, target, first)
            finally:
                full.withdrew(self)
        else:
            await self._commit(target)
            await self._end(first, Failed(first, f"not sent: the target is full ({full.reason})", Fault.UNSENT))

    async def _copy(self, source: ReadSession, target: Session, copy: Copy) -> None:
        """Bring one file to where only its rename is missing. Whatever happens, `_batch` is empty afterwards."""
        news: list[Event] = []
        tries = 0
        while True:
            tries += 1
            try:
                uploaded = await self._upload(source, target, copy)
                await self.context.gate.passed()
                self._uploaded.append(uploaded)
                news = [Resumed("full")] if self.context.pool.full.succeeded(self) else []
            except Vanished as gone:
                news = [Skipped(copy, str(gone))]
            except SourceLost as lost:
                if not self.context.shutdown.draining.is_set():
                    tries -= 1  # not a fault of the file; if it is, the source refuses the file itself
                    continue
                news = [Returned(copy, str(lost))]
            except TransformFailed as failure:
                news = [outcomes.failed(copy, failure)]
            except TargetFull as refusal:
                news = self._out_of_room(copy, refusal)
            except OperationRefused as refusal:
                if tries < TRIES and (refusal.retry or (tries == 1 and await make_parents(target, copy.path))):
                    continue
                news = [outcomes.failed(copy, refusal)]
            break
        self.level.upload = None
        await self._end(copy, *news)

    def _out_of_room(self, copy: Copy, refusal: TargetFull) -> list[Event]:
        """Fail a file that found no room; from now on, files that are not smaller fail unsent."""
        full, now = self.context.pool.full, trio.current_time()
        is_first = full.failed(self, f"{copy.path}: {refusal}", now, copy.source.size)
        opened = [BreakerOpened("full", full.reason, full.seconds_left(now))] if is_first else []
        return [outcomes.failed(copy, refusal), *opened]

    async def _end(self, copy: Copy, *news: Event) -> None:
        """Finish with a file that is no longer being uploaded."""
        self._batch = ()
        await self._sender.tell(*news)
        await self._intents.withdraw(copy)

    async def _upload(self, source: ReadSession, target: Session, copy: Copy) -> _Uploaded:
        """Upload a file under a temporary name, and rename the file before it in the same round trips."""
        context = self.context
        async with source.open(copy.path) as opened:
            entry = opened.entry
            proves_nothing = is_racy(entry, context.wall_clock_ns())
            hashing = HashingContent(opened) if proves_nothing or context.by_content else None
            upload = Upload(copy.path, await self._intents.register(copy), hashing or opened)
            context.pool.want(self.waiting)  # again: the operations that were given out with this file are there now
            self._show("sending", upload, entry.size)
            staged, committed = await target.stage(
                upload, commit=[uploaded.staged for uploaded in self._uploaded], ahead=self._look_ahead
            )
            await self._settle_uploaded(committed)
            if isinstance(staged, OperationRefused):
                raise staged
            await _reject_if_changed(opened, target, upload)
        if upload.size is None:
            await self._intents.register_size(staged, entry)
            context.statistics.bytes_planned += upload.sent - copy.source.size
        self.level.upload = None
        context.statistics.bytes_done += upload.sent
        digest = hashing.digest() if hashing is not None else None
        return _Uploaded(
            copy, staged, entry, digest if proves_nothing else None, digest if context.by_content else None
        )

    # Renames.

    async def _commit(self, target: Session) -> None:
        """Rename every uploaded file. After a lost connection this asks what became of renames under way."""
        if self._uploaded:
            await self._settle_uploaded(await target.commit([uploaded.staged for uploaded in self._uploaded]))

    async def _settle_uploaded(self, results: Sequence[Entry | OperationRefused]) -> None:
        settled, self._uploaded = self._uploaded, []
        news: list[Event] = []
        for uploaded, result in zip(settled, results, strict=True):
            copy = uploaded.copy
            if isinstance(result, Entry):
                self.context.statistics.files_done += 1
                temporary, checksum = uploaded.staged.temporary, uploaded.checksum
                news.append(Done(copy, result, uploaded.source, uploaded.digest, temporary, checksum=checksum))
            elif isinstance(result, TargetFull):
                news += self._out_of_room(copy, result)
            elif result.retry:
                news.append(Returned(copy, str(result), tried=True))
            else:
                news.append(outcomes.failed(copy, result))
        await self._sender.tell(*news)

    # Leaving.

    async def give_up(self, error: ConnectionLost) -> None:
        """Fail the work in hand, over which the connection was lost again and again."""
        operations = [*self._batch, *(uploaded.copy for uploaded in self._uploaded)]
        self._batch, self._uploaded, self.losses = (), [], 0
        self._show("idle")
        reason = f"the connection was lost {LOSSES} times over it: {error}"
        await self._sender.tell(*(outcomes.given_up(operation, reason) for operation in operations))

    async def give_back(self, reason: str) -> None:
        """Return all work in hand, undone."""
        operations = [*self._batch, *self._next, *(uploaded.copy for uploaded in self._uploaded)]
        self._batch, self._next, self._uploaded, self.losses = (), (), [], 0
        await self._sender.tell(*(Returned(operation, reason) for operation in operations))
        await self._intents.withdraw()

    async def _tidy(self, target: Session) -> None:
        """Leave nothing under temporary names: the run is being cancelled.

        A whole file is renamed, not removed: its rename may already be under way, and then the target has the new
        file, which the journal must know.
        """
        with self.context.shutdown.tidying():
            try:
                upload = self.level.upload
                if upload is not None and await target.abandon(upload.temporary):
                    await self._sender.facts.send(Swept((upload.temporary,)))
                await self._commit(target)
                await self._intents.withdraw()
            except ConnectionLost:
                pass  # the temporaries stay in the journal, and the next run sweeps them

    def _show(self, state: str, upload: Upload | None = None, size: int = 0) -> None:
        self.level.state, self.level.upload, self.level.size = state, upload, size


async def _reject_if_changed(opened: Content, target: Session, upload: Upload) -> None:
    """Reject the upload if the source changed while it was read, or if that cannot be known."""
    refusal = OperationRefused("it was changed while it was read", retry=True)
    try:
        if await opened.is_unchanged():
            return
    except OperationRefused as refused:
        refusal = refused
    await target.sweep([upload.temporary])
    raise refusal
