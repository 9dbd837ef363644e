"""The connection: owns one session to each side, takes operations, and answers each with exactly one outcome."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import attrs
import trio

from actorsync.actors.channels import Fact, Registration, holding
from actorsync.actors.restart import Backoff, Lives, restarting
from actorsync.actors.shutdown import Shutdown
from actorsync.actors.statistics import ConnectionLevel, Statistics
from actorsync.endpoints.contract import Content, Endpoint, Session, Staged, Upload
from actorsync.errors import ConnectionLost, OperationRefused, TargetUnreachable, Vanished
from actorsync.model.entry import Entry, Listing, join, name_of, parent_of
from actorsync.model.event import Connected, Intended, Reconnecting, Retired, Swept
from actorsync.model.operation import (
    Batch,
    Copy,
    Done,
    Failed,
    MakeDirectory,
    Operation,
    Outcome,
    Remove,
    Returned,
    Skipped,
    Sweep,
)
from actorsync.planning.reconcile import is_racy
from actorsync.planning.temporary import temporary_name

__all__ = ["Connection"]

#: How often one file is tried before it counts as failed.
TRIES = 3


@attrs.frozen
class _Held:
    """A file that is whole on the target under its temporary name, and waits for its rename."""

    copy: Copy
    staged: Staged
    source: Entry
    digest: bytes | None


@attrs.define
class _Hashing:
    """Content of a file so young that its times prove nothing: its digest is taken as it passes."""

    content: Content
    _hash: hashlib.blake2b = attrs.Factory(lambda: hashlib.blake2b(digest_size=32))

    @property
    def entry(self) -> Entry:
        return self.content.entry

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
class Connection:
    """Connection number ``level.number`` of a run. Connects when there is something to do, and stays connected.

    What must survive a lost connection lives on this object: the batch in hand, what is staged but not renamed. What
    dies with it lives in locals. A temporary that a lost connection leaves behind stays in the journal as an intent,
    and is swept at the end of the run or by the next one; each new attempt uses a new name, because a server may go
    on writing to the old one after we are gone.
    """

    source: Endpoint
    target: Endpoint
    level: ConnectionLevel
    statistics: Statistics
    shutdown: Shutdown
    token: Callable[[], str]
    wall_clock_ns: Callable[[], int]
    backoff: Backoff = attrs.Factory(Backoff)
    retired: ConnectionLost | None = None
    _operations: trio.MemoryReceiveChannel[Batch] = attrs.field(init=False)
    _facts: trio.MemorySendChannel[Fact] = attrs.field(init=False)
    _batch: Batch = ()
    _next: Batch = ()
    _held: list[_Held] = attrs.Factory(list)
    _registered: tuple[Copy, Registration] | None = None
    _losses: int = 0

    async def run(self, operations: trio.MemoryReceiveChannel[Batch], facts: trio.MemorySendChannel[Fact]) -> None:
        """Work until ``operations`` ends, or until the other side stays away; then ``retired`` says why.

        Raises `TargetUnreachable` when no other connection is there to go on: what one could not reach in all its
        tries, the others need not try all over again, one after the other.
        """
        self._operations, self._facts = operations, facts
        with holding(operations, facts):
            try:
                await restarting(self._serve, self.backoff, self._pause)
                self._state("done")
            except ConnectionLost as error:
                self.retired = error
            if self.retired is not None:
                self._state("retired")
                await self._give_back(str(self.retired))
                await facts.send(Retired(self.level.number, str(self.retired)))
                if not (self.shutdown.draining.is_set() or any(it.is_connected for it in self.statistics.connections)):
                    raise TargetUnreachable(f"{self.target.display} stayed away: {self.retired}")

    async def _serve(self, lives: Lives) -> None:
        if not (self._batch or self._next or self._held or await self._receive()):
            return
        self._state("connecting")
        async with self.source.open_session() as source, self.target.open_session() as target:
            self.level.is_connected = True
            try:
                await self._facts.send(Connected(self.level.number, self.target.display))
                await self._commit(target)
                while self._batch or await self._take(target):
                    await self._work(source, target)
                    lives.succeeded()
                    self._losses = 0
            except ConnectionLost:
                self._losses += 1
                raise
            except trio.Cancelled:
                await self._tidy(target)
                raise
            finally:
                self.level.is_connected = False

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
            return await self._receive()
        except trio.EndOfChannel:
            await self._commit(target)
            return False
        return True

    async def _receive(self) -> bool:
        self._state("idle")
        try:
            self._batch = await self._operations.receive()
        except trio.EndOfChannel:
            return False
        return True

    def _look_ahead(self) -> bool:
        """Take the next batch while this upload's last bytes travel, and have its temporary written down meanwhile."""
        if self._next or self.shutdown.draining.is_set():
            return False
        try:
            self._next = self._operations.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return False
        first = self._next[0]
        if not isinstance(first, Copy):
            return False
        registration = self._registration(first)
        try:
            self._facts.send_nowait(registration)
        except trio.WouldBlock:
            pass  # the recorder is busy; it will be asked again when the file's turn comes
        else:
            self._registered = first, registration
        return True

    # Doing it.

    async def _work(self, source: Session, target: Session) -> None:
        batch, first = self._batch, self._batch[0]
        if self.shutdown.draining.is_set() and not isinstance(first, Sweep):
            await self._commit(target)
            await self._give_back("the run is being drained")
            return
        if isinstance(first, Copy):
            await self._copy(source, target, first)
        else:
            await self._commit(target)
            outcomes = await self._do(target, batch)
            self._batch = ()
            await self._tell(*outcomes)

    async def _do(self, target: Session, batch: Batch) -> list[Outcome]:
        match batch[0]:
            case MakeDirectory():
                self._state("making directories")
                made = await target.make_directories([operation.path for operation in batch])
                return [_made(operation, result) for operation, result in zip(batch, made, strict=True)]
            case Remove():
                self._state("removing")
                removed = await target.remove([o.target for o in batch if isinstance(o, Remove)])
                return [_removed(operation, result) for operation, result in zip(batch, removed, strict=True)]
            case Sweep():
                self._state("sweeping")
                finals = {o.path: o.source.path for o in batch if isinstance(o, Sweep) and o.source is not None}
                swept = await target.sweep([operation.path for operation in batch], finals)
                outcomes = [_removed(operation, result) for operation, result in zip(batch, swept, strict=True)]
                return [await self._recovered(target, outcome) for outcome in outcomes]
            case _:
                self._state("surveying")
                return [await self._survey(target, operation) for operation in batch]

    async def _recovered(self, target: Session, outcome: Outcome) -> Outcome:
        """Look whether the file that a swept temporary was for has arrived after all, in a run that then died.

        A commit of what is gone answers just that: whether the final name has this size and time.
        """
        sweep = outcome.operation
        if not isinstance(outcome, Done) or not isinstance(sweep, Sweep) or sweep.source is None:
            return outcome
        source = sweep.source
        (found,) = await target.commit([Staged(source.path, sweep.path, source.size, source.mtime_ns)])
        return Done(sweep, found, source) if isinstance(found, Entry) else outcome

    async def _survey(self, target: Session, survey: Operation) -> Outcome:
        try:
            listing = await target.list_directory(survey.path)
        except OperationRefused as refusal:
            return Skipped(survey, str(refusal))
        if listing.problem is not None and not listing.problem.vanished:
            return Skipped(survey, f"cannot be listed on the target: {listing.problem.reason}")
        return Done(survey, listing=Listing(survey.path, listing.entries))

    async def _copy(self, source: Session, target: Session, copy: Copy) -> None:
        """Bring one file to where only its rename is missing. Whatever happens, `_batch` is empty afterwards."""
        outcome: Outcome | None = None
        tries = 0
        while True:
            tries += 1
            try:
                held = await self._stage(source, target, copy)
                self._held.append(held)
            except Vanished as gone:
                outcome = Skipped(copy, str(gone))
            except OperationRefused as refusal:
                if tries < TRIES and (refusal.retry or (tries == 1 and await self._mend_parents(target, copy))):
                    continue
                outcome = Failed(copy, str(refusal))
            break
        self._batch = ()
        self.level.upload = None
        if self._registered is not None and self._registered[0] is copy:
            await self._unregister()
        if outcome is not None:
            await self._tell(outcome)

    async def _stage(self, source: Session, target: Session, copy: Copy) -> _Held:
        async with source.open(copy.path) as opened:
            entry = opened.entry
            hashing = _Hashing(opened) if is_racy(entry, self.wall_clock_ns()) else None
            upload = Upload(copy.path, await self._register(copy), hashing or opened)
            self._state("sending", upload, entry.size)
            staged, committed = await target.stage(
                upload, commit=[held.staged for held in self._held], ahead=self._look_ahead
            )
            await self._settle_held(committed)
            if isinstance(staged, OperationRefused):
                raise staged
            if not await opened.is_unchanged():
                await target.sweep([upload.temporary])
                raise OperationRefused("it was changed while it was read", retry=True)
        self.level.upload = None
        self.statistics.bytes_done += upload.sent
        return _Held(copy, staged, entry, hashing.digest() if hashing is not None else None)

    async def _mend_parents(self, target: Session, copy: Copy) -> bool:
        """Make the directories above a refused file again: somebody may have removed them from the target."""
        parts = parent_of(copy.path).split("/")
        parents = [""] + ["/".join(parts[: n + 1]) for n in range(len(parts)) if parts[0]]
        return all(isinstance(made, Entry) for made in await target.make_directories(parents))

    # Renames.

    async def _commit(self, target: Session) -> None:
        """Rename all that is staged. After a lost connection this asks what became of renames under way."""
        if self._held:
            await self._settle_held(await target.commit([held.staged for held in self._held]))

    async def _settle_held(self, results: Sequence[Entry | OperationRefused]) -> None:
        settled, self._held = self._held, []
        outcomes: list[Outcome] = []
        for held, result in zip(settled, results, strict=True):
            if isinstance(result, Entry):
                self.statistics.files_done += 1
                outcomes.append(Done(held.copy, result, held.source, held.digest, held.staged.temporary))
            elif result.retry:
                outcomes.append(Returned(held.copy, str(result), tried=True))
            else:
                outcomes.append(Failed(held.copy, str(result)))
        await self._tell(*outcomes)

    # Temporaries.

    def _registration(self, copy: Copy) -> Registration:
        name = temporary_name(name_of(copy.path), self.token())
        return Registration(Intended((join(parent_of(copy.path), name),), copy.source), trio.Event())

    async def _register(self, copy: Copy) -> str:
        """Give a temporary that a crash cannot forget."""
        if self._registered is not None and self._registered[0] is copy:
            registration = self._registered[1]
            self._registered = None
        else:
            registration = self._registration(copy)
            await self._facts.send(registration)
        await registration.durable.wait()
        return registration.intended.temporaries[0]

    async def _unregister(self) -> None:
        """Say that a temporary which was only announced will not be made."""
        if self._registered is not None:
            await self._facts.send(Swept(self._registered[1].intended.temporaries))
            self._registered = None

    # Leaving.

    async def _tell(self, *outcomes: Outcome) -> None:
        """Hand over outcomes, even while being cancelled: what was done is written down, or the next run misjudges it.

        This does not wait for long: the recorder takes facts until the last of us is gone.
        """
        with trio.CancelScope(shield=True):
            for outcome in outcomes:
                await self._facts.send(outcome)

    async def _pause(self, error: ConnectionLost, delay: float) -> bool:
        """Wait before connecting again; False when the run is being drained and there is no point in it."""
        self._state("reconnecting")
        if self._losses >= TRIES and (self._batch or self._held):
            # Again and again it was this that was in hand when the connection broke: leave it, go on without it.
            for operation in [*self._batch, *(held.copy for held in self._held)]:
                await self._facts.send(Failed(operation, f"the connection was lost {TRIES} times over it: {error}"))
            self._batch, self._held, self._losses = (), [], 0
        await self._facts.send(Reconnecting(self.level.number, str(error), delay))
        with trio.move_on_after(delay):
            await self.shutdown.draining.wait()
        return not self.shutdown.draining.is_set()

    async def _give_back(self, reason: str) -> None:
        """Give back everything in hand, undone."""
        operations = [*self._batch, *self._next, *(held.copy for held in self._held)]
        self._batch, self._next, self._held = (), (), []
        await self._unregister()
        for operation in operations:
            await self._facts.send(Returned(operation, reason))

    async def _tidy(self, target: Session) -> None:
        """Leave nothing under temporary names: the run is being cancelled.

        What is whole is renamed, not removed: the renames may have been under way already, and then the target has the
        new file, which the journal must know.
        """
        with trio.move_on_after(self.shutdown.cleanup_seconds, shield=True):
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


def _made(operation: Operation, result: Entry | OperationRefused) -> Outcome:
    return Done(operation, result) if isinstance(result, Entry) else Failed(operation, str(result))


def _removed(operation: Operation, result: bool | OperationRefused) -> Outcome:
    if isinstance(result, OperationRefused):
        return Failed(operation, str(result))
    return Done(operation) if result else Skipped(operation, "kept: it holds entries that are not ours")
