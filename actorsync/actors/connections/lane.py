"""A lane: one of the operations that a connection carries at once, from taking it to its one outcome."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import attrs
import trio

from actorsync.actors.connections.pool import Pool
from actorsync.actors.messages import Fact, Registration
from actorsync.actors.shutdown import Shutdown
from actorsync.actors.stages import Gate
from actorsync.actors.statistics import LaneLevel, Statistics
from actorsync.endpoints.contract import (
    Content,
    Endpoint,
    PrefetchingSession,
    Relocation,
    Session,
    Staged,
    Upload,
    size_of,
)
from actorsync.errors import ConnectionLost, OperationRefused, SourceLost, TargetFull, TransformFailed, Vanished
from actorsync.model.entry import Entry, Listing, ancestors, join, name_of, parent_of
from actorsync.model.event import BreakerOpened, Event, Intended, MovesIntended, RemovalIntended, Resumed, Swept
from actorsync.model.operation import (
    Batch,
    Copy,
    Done,
    Failed,
    Fault,
    MakeDirectory,
    Move,
    Operation,
    Outcome,
    Remove,
    Returned,
    Skipped,
    Survey,
    Sweep,
)
from actorsync.planning.fingerprint import is_fingerprinted
from actorsync.planning.reconcile import is_racy
from actorsync.planning.temporary_names import temporary_name

__all__ = ["LOSSES", "Lane"]

#: How often one file is tried before it counts as failed.
TRIES = 3
#: How many connections may be lost in a row over what one lane has in hand; from the second on it works alone.
LOSSES = 5
#: Seconds without anything to do that are a rest.
REST = 1.0


@attrs.frozen
class _Held:
    """A file that is whole on the target under its temporary name, and waits for its rename."""

    copy: Copy
    staged: Staged
    source: Entry
    digest: bytes | None
    checksum: bytes | None


@attrs.define
class _Hashing:
    """Content whose digest is taken as it passes: of a file so young that its times prove nothing, or of any."""

    content: Content
    _hash: hashlib.blake2b = attrs.Factory(lambda: hashlib.blake2b(digest_size=32))

    @property
    def entry(self) -> Entry:
        return self.content.entry

    @property
    def size(self) -> int | None:
        return size_of(self.content)

    def fileno(self) -> int | None:
        return None

    async def read(self, max_bytes: int) -> bytes:
        data = await self.content.read(max_bytes)
        self._hash.update(data)
        return data

    async def is_unchanged(self) -> bool:
        return await self.content.is_unchanged()

    def digest(self) -> bytes:
        return self._hash.digest()


@attrs.define(eq=False)
class Lane:
    """Takes operations, one batch after the other, and answers each with exactly one outcome.

    What must survive a lost connection lives on this object: the batch in hand, what is staged but not renamed. What
    dies with it lives in locals. A temporary that a lost connection leaves behind stays in the journal as an intent,
    and is swept at the end of the run or by the next one; each new attempt uses a new name, because a server may go
    on writing to the old one after we are gone.
    """

    source: Endpoint
    level: LaneLevel
    statistics: Statistics
    shutdown: Shutdown
    token: Callable[[], str]
    wall_clock_ns: Callable[[], int]
    pool: Pool
    """Is told how many operations wait, whenever one was taken; and is asked whether the target has room."""
    gate: Gate = attrs.Factory(Gate)
    """Is passed before anything can be seen on the target."""
    by_content: bool = False
    """Whether the checksum of each file is remembered."""
    keeps_times: bool = True
    """Whether the target's times are those of the source; what was found there is equal to nothing otherwise."""
    losses: int = 0
    """Connections lost in a row while there was something in hand here."""
    is_rested: bool = False
    """Whether what is in hand is the first after a rest: servers hang up on those who say nothing for long."""
    _operations: trio.MemoryReceiveChannel[Batch] = attrs.field(init=False)
    _facts: trio.MemorySendChannel[Fact] = attrs.field(init=False)
    _batch: Batch = ()
    _next: Batch = ()
    _held: list[_Held] = attrs.Factory(list)
    _registered: tuple[Copy, Intended, Registration] | None = None

    def hold(self, operations: trio.MemoryReceiveChannel[Batch], facts: trio.MemorySendChannel[Fact]) -> None:
        """Take the channel ends; the connection closes them."""
        self._operations, self._facts = operations, facts

    @property
    def has_something(self) -> bool:
        """Whether there is anything in hand that has no outcome yet."""
        return bool(self._batch or self._next or self._held)

    async def serve(
        self,
        target: Session,
        succeeded: Callable[[], None],
        is_lost: Callable[[], bool],
        *,
        takes_more: bool = True,
    ) -> None:
        """Work until there is no more to take, or nothing more in hand. ``succeeded`` is told of each piece done.

        Cancelled, it tidies up on the target, unless ``is_lost`` says that there is no way to it any more.
        """
        try:
            async with self.source.open_session() as source:
                await self._commit(target)
                while self._batch or self._next or takes_more:
                    if not (self._batch or await self._take(target)):
                        return
                    await self._work(source, target)
                    self._succeed(succeeded)
                await self._commit(target)
        except trio.Cancelled:
            if not is_lost():
                await self._tidy(target)
            raise

    def note_loss(self) -> None:
        """Take note that the connection was lost. It is no file's fault that it was the first to find that out."""
        self.losses += self.has_something and not self.is_rested
        self.is_rested = False

    def _succeed(self, succeeded: Callable[[], None]) -> None:
        self.losses, self.is_rested = 0, False
        succeeded()

    # Taking work.

    async def _take(self, target: Session) -> bool:
        """Take the next batch; False when there will be none. Renames wait no longer than the next upload does."""
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
        self.pool.want(self.waiting)
        return True

    async def receive(self) -> bool:
        """Wait for something to do; False when there will be nothing more."""
        self._state("idle")
        try:
            self._batch = await self._operations.receive()
        except trio.EndOfChannel:
            return False
        return True

    def _look_ahead(self) -> bool:
        """Take the next batch while this upload's last bytes travel, and have its temporary written down meanwhile."""
        first = self._take_next()
        if not isinstance(first, Copy):
            return False
        intended, registration = self._registration(first)
        try:
            self._facts.send_nowait(registration)
        except trio.WouldBlock:
            pass  # the recorder is busy; it will be asked again when the file's turn comes
        else:
            self._registered = first, intended, registration
        return True

    def _look_ahead_to_survey(self) -> bool:
        """Take the next batch while this listing is on its way; True when it is another one."""
        is_survey = isinstance(self._take_next(), Survey)
        self.pool.want(self.waiting)
        return is_survey

    def _take_next(self) -> Operation | None:
        """Take the next batch before its turn, if there is one and none is in hand; give its first operation."""
        if self._next or self.shutdown.draining.is_set():
            return None
        try:
            self._next = self._operations.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return None
        return self._next[0]

    # Doing it.

    async def _work(self, source: Session, target: Session) -> None:
        batch, first = self._batch, self._batch[0]
        if self.shutdown.draining.is_set() and not isinstance(first, Sweep):
            await self._commit(target)
            await self.give_back("the run is being drained")
            return
        if not isinstance(first, Copy):
            await self._commit(target)
            outcomes = await self._do(target, batch)
            self._batch = ()
            await self._tell(*outcomes)
        elif self.pool.full.admits(self, trio.current_time(), first.source.size):
            try:
                await self._copy(source, target, first)
            finally:
                self.pool.full.withdrew(self)
        else:
            await self._commit(target)
            await self._turn_down(first)

    async def _do(self, target: Session, batch: Batch) -> list[Outcome]:
        match batch[0]:
            case MakeDirectory():
                if any(
                    operation.path for operation in batch
                ):  # the root alone is made sure of in runs without a change
                    await self.gate.passed()
                self._state("making directories")
                made = await self._make(target, [operation.path for operation in batch])
                return _all_made(batch, made)
            case Move():
                await self.gate.passed()
                self._state("moving")
                moves = [operation for operation in batch if isinstance(operation, Move)]
                await self._announce(MovesIntended(tuple(moves)))
                moved = await target.move([Relocation(move.target, move.path) for move in moves])
                return [_moved(move, result) for move, result in zip(moves, moved, strict=True)]
            case Remove():
                await self.gate.passed()
                self._state("removing")
                await self._announce(RemovalIntended(tuple(operation.path for operation in batch)))
                removed = await target.remove([o.target for o in batch if isinstance(o, Remove)])
                return _all_removed(batch, removed)
            case Sweep():
                self._state("sweeping")
                finals = {o.path: o.source.path for o in batch if isinstance(o, Sweep) and o.source is not None}
                swept = await target.sweep([operation.path for operation in batch], finals)
                outcomes = [_removed(operation, result) for operation, result in zip(batch, swept, strict=True)]
                return [await self._recovered(target, outcome) for outcome in outcomes]
            case _:
                self._state("surveying")
                return [await self._survey(target, operation) for operation in batch]

    async def _announce(self, intended: RemovalIntended | MovesIntended) -> None:
        """Have written down what a crash may not forget."""
        registration = Registration(intended, trio.Event())
        await self._facts.send(registration)
        await registration.durable.wait()

    async def _recovered(self, target: Session, outcome: Outcome) -> Outcome:
        """Look whether the file that a swept temporary was for has arrived after all, in a run that then died.

        A commit of what is gone answers just that: whether the final name has this size and time.
        """
        sweep = outcome.operation
        if not isinstance(outcome, Done) or not isinstance(sweep, Sweep) or sweep.source is None or not sweep.recovers:
            return outcome
        source = sweep.source
        (found,) = await target.commit([Staged(source.path, sweep.path, source.size, source.mtime_ns)])
        return Done(sweep, found, source) if isinstance(found, Entry) else outcome

    async def _survey(self, target: Session, survey: Operation) -> Outcome:
        try:
            if isinstance(target, PrefetchingSession):
                listing = await target.list_directory_ahead(survey.path, self._look_ahead_to_survey)
            else:
                listing = await target.list_directory(survey.path)
        except OperationRefused as refusal:
            return Skipped(survey, str(refusal))
        if listing.problem is not None and not listing.problem.vanished:
            return Skipped(survey, f"cannot be listed on the target: {listing.problem.reason}")
        entries = listing.entries
        if not self.keeps_times:
            entries = tuple(attrs.evolve(entry, mtime_ns=None) for entry in entries)
        return Done(survey, listing=Listing(survey.path, entries))

    async def _copy(self, source: Session, target: Session, copy: Copy) -> None:
        """Bring one file to where only its rename is missing. Whatever happens, `_batch` is empty afterwards."""
        news: list[Event] = []
        tries = 0
        while True:
            tries += 1
            try:
                held = await self._stage(source, target, copy)
                await self.gate.passed()
                self._held.append(held)
                news = [Resumed("full")] if self.pool.full.succeeded(self) else []
            except Vanished as gone:
                news = [Skipped(copy, str(gone))]
            except SourceLost as lost:
                if not self.shutdown.draining.is_set():
                    tries -= 1  # no fault of the file; where it is, the source says so with another refusal
                    continue
                news = [Returned(copy, str(lost))]
            except TransformFailed as failure:
                news = [_failed(copy, failure)]
            except TargetFull as refusal:
                news = self._out_of_room(copy, refusal)
            except OperationRefused as refusal:
                if tries < TRIES and (refusal.retry or (tries == 1 and await self._mend_parents(target, copy))):
                    continue
                news = [_failed(copy, refusal)]
            break
        self.level.upload = None
        await self._end(copy, *news)

    async def _turn_down(self, copy: Copy) -> None:
        """Fail a file without sending it: there is no room for it, and the event that said so has named the first."""
        await self._end(copy, Failed(copy, f"not sent: the target is full ({self.pool.full.reason})", Fault.UNSENT))

    def _out_of_room(self, copy: Copy, refusal: TargetFull) -> list[Event]:
        """Fail a file that found no room, and with it, from now on, all that are not smaller."""
        full, now = self.pool.full, trio.current_time()
        is_news = full.failed(self, f"{copy.path}: {refusal}", now, copy.source.size)
        suspended = [BreakerOpened("full", full.reason, full.seconds_left(now))] if is_news else []
        return [_failed(copy, refusal), *suspended]

    async def _end(self, copy: Copy, *news: Event) -> None:
        """Be done with a file that is not on its way any more."""
        self._batch = ()
        await self._tell(*news)
        if self._registered is not None and self._registered[0] is copy:
            await self._unregister()

    async def _stage(self, source: Session, target: Session, copy: Copy) -> _Held:
        async with source.open(copy.path) as opened:
            entry = opened.entry
            proves_nothing = is_racy(entry, self.wall_clock_ns())
            hashing = _Hashing(opened) if proves_nothing or self.by_content else None
            upload = Upload(copy.path, await self._register(copy), hashing or opened)
            self.pool.want(self.waiting)  # again: what comes with this file has come by now
            self._state("sending", upload, entry.size)
            staged, committed = await target.stage(
                upload, commit=[held.staged for held in self._held], ahead=self._look_ahead
            )
            await self._settle_held(committed)
            if isinstance(staged, OperationRefused):
                raise staged
            await self._see_that_it_is_unchanged(opened, target, upload)
        if upload.size is None:
            await self._register_size(staged, entry)
            self.statistics.bytes_planned += upload.sent - copy.source.size
        self.level.upload = None
        self.statistics.bytes_done += upload.sent
        digest = hashing.digest() if hashing is not None else None
        return _Held(copy, staged, entry, digest if proves_nothing else None, digest if self.by_content else None)

    async def _see_that_it_is_unchanged(self, opened: Content, target: Session, upload: Upload) -> None:
        """Refuse what is no version of the file, and what cannot be known to be one."""
        refusal = OperationRefused("it was changed while it was read", retry=True)
        try:
            if await opened.is_unchanged():
                return
        except OperationRefused as refused:
            refusal = refused
        await target.sweep([upload.temporary])
        raise refusal

    async def _mend_parents(self, target: Session, copy: Copy) -> bool:
        """Make the directories above a refused file again: somebody may have removed them from the target."""
        return all(isinstance(made, Entry) for made in await target.make_directories(ancestors(copy.path)))

    async def _make(self, target: Session, paths: Sequence[str]) -> dict[str, Entry | OperationRefused]:
        """Make directories; one that is refused is tried again together with those above it, which may be gone, too."""
        made = dict(zip(paths, await target.make_directories(paths), strict=True))
        refused = [path for path, result in made.items() if isinstance(result, OperationRefused) and path]
        if refused:
            again = list(dict.fromkeys(it for path in refused for it in (*ancestors(path), path)))
            results = dict(zip(again, await target.make_directories(again), strict=True))
            made |= {path: results[path] for path in refused}
        return made

    # Renames.

    async def _commit(self, target: Session) -> None:
        """Rename all that is staged. After a lost connection this asks what became of renames under way."""
        if self._held:
            await self._settle_held(await target.commit([held.staged for held in self._held]))

    async def _settle_held(self, results: Sequence[Entry | OperationRefused]) -> None:
        settled, self._held = self._held, []
        news: list[Event] = []
        for held, result in zip(settled, results, strict=True):
            if isinstance(result, Entry):
                self.statistics.files_done += 1
                temporary = held.staged.temporary
                news.append(Done(held.copy, result, held.source, held.digest, temporary, checksum=held.checksum))
            elif isinstance(result, TargetFull):
                news += self._out_of_room(held.copy, result)
            elif result.retry:
                news.append(Returned(held.copy, str(result), tried=True))
            else:
                news.append(_failed(held.copy, result))
        await self._tell(*news)

    # Temporaries.

    def _registration(self, copy: Copy) -> tuple[Intended, Registration]:
        name = temporary_name(name_of(copy.path), self.token())
        # The size of what is made on the way is not known yet: see `_register_size`.
        intended = Intended((join(parent_of(copy.path), name),), None if is_fingerprinted(copy.source) else copy.source)
        return intended, Registration(intended, trio.Event())

    async def _register(self, copy: Copy) -> str:
        """Give a temporary that a crash cannot forget."""
        if self._registered is not None and self._registered[0] is copy:
            _, intended, registration = self._registered
            self._registered = None
        else:
            intended, registration = self._registration(copy)
            await self._facts.send(registration)
        await registration.durable.wait()
        return intended.temporaries[0]

    async def _register_size(self, staged: Staged, source: Entry) -> None:
        """Have it written down what size a file has come to, before it gets its name: a crash must not forget it."""
        registration = Registration(Intended((staged.temporary,), attrs.evolve(source, size=staged.size)), trio.Event())
        await self._facts.send(registration)
        await registration.durable.wait()

    async def _unregister(self) -> None:
        """Say that a temporary which was only announced will not be made."""
        if self._registered is not None:
            await self._facts.send(Swept(self._registered[1].temporaries))
            self._registered = None

    # Leaving.

    async def _tell(self, *news: Event) -> None:
        """Hand over news, even while being cancelled: what was done is written down, or the next run misjudges it.

        This does not wait for long: the recorder takes facts until the last of us is gone.
        """
        for event in news:
            try:
                self._facts.send_nowait(event)
            except trio.WouldBlock:
                with trio.CancelScope(shield=True):
                    await self._facts.send(event)

    @property
    def waiting(self) -> int:
        """How many operations wait for somebody to take them."""
        return self._operations.statistics().current_buffer_used

    async def give_up(self, error: ConnectionLost) -> None:
        """Leave what is in hand: again and again the connection was lost over it."""
        operations = [*self._batch, *(held.copy for held in self._held)]
        self._batch, self._held, self.losses = (), [], 0
        self._state("idle")
        reason = f"the connection was lost {LOSSES} times over it: {error}"
        await self._tell(*(_given_up(operation, reason) for operation in operations))

    async def give_back(self, reason: str) -> None:
        """Give back everything in hand, undone."""
        operations = [*self._batch, *self._next, *(held.copy for held in self._held)]
        self._batch, self._next, self._held, self.losses = (), (), [], 0
        await self._tell(*(Returned(operation, reason) for operation in operations))
        await self._unregister()

    async def _tidy(self, target: Session) -> None:
        """Leave nothing under temporary names: the run is being cancelled.

        What is whole is renamed, not removed: the renames may have been under way already, and then the target has the
        new file, which the journal must know.
        """
        with self.shutdown.tidying():
            try:
                upload = self.level.upload
                if upload is not None and await target.abandon(upload.temporary):
                    await self._facts.send(Swept((upload.temporary,)))
                await self._commit(target)
                await self._unregister()
            except ConnectionLost:
                pass  # they stay in the journal, and the next run sweeps them

    def _state(self, state: str, upload: Upload | None = None, size: int = 0) -> None:
        self.level.state, self.level.upload, self.level.size = state, upload, size


def _failed(operation: Operation, refusal: OperationRefused) -> Failed:
    return Failed(operation, str(refusal), Fault.TARGET if isinstance(refusal, TargetFull) else Fault.PATH)


def _given_up(operation: Operation, reason: str) -> Outcome:
    return Skipped(operation, reason) if isinstance(operation, Move) else Failed(operation, reason)


def _moved(move: Move, result: Entry | OperationRefused) -> Outcome:
    if isinstance(result, OperationRefused):
        return Skipped(move, str(result))
    return Done(move, result, move.source, move.digest, checksum=move.checksum)


def _all_made(batch: Batch, made: Mapping[str, Entry | OperationRefused]) -> list[Outcome]:
    """Say what became of directories. One in a directory that is not ours is not ours: nobody would look there."""
    outcomes: list[Outcome] = []
    refused: set[str] = set()
    for operation in batch:
        result = made[operation.path]
        if isinstance(result, OperationRefused):
            outcomes.append(_failed(operation, result))
        elif parent_of(operation.path) in refused:
            outcomes.append(Failed(operation, "its directory was refused", Fault.OTHER))
        else:
            outcomes.append(Done(operation, result))
            continue
        refused.add(operation.path)
    return outcomes


def _all_removed(batch: Batch, results: Sequence[bool | OperationRefused]) -> list[Outcome]:
    """Say what became of removals, leaves first. A directory that holds one which failed has failed: it is ours."""
    outcomes: list[Outcome] = []
    failed: dict[str, str] = {}
    for operation, result in zip(batch, results, strict=True):
        outcome = _removed(operation, result)
        if isinstance(outcome, Skipped) and operation.path in failed:
            outcome = Failed(operation, f"it still holds {failed[operation.path]!r}", Fault.OTHER)
        if isinstance(outcome, Failed):
            failed[parent_of(operation.path)] = operation.path
        outcomes.append(outcome)
    return outcomes


def _removed(operation: Operation, result: bool | OperationRefused) -> Outcome:
    if isinstance(result, OperationRefused):
        return _failed(operation, result)
    return Done(operation) if result else Skipped(operation, "kept: it holds entries that are not ours")
