"""Uploads: sending the files of a lane under temporary names, and renaming them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import attrs
import trio

from actorsync.actors.connections import outcomes
from actorsync.actors.connections.context import ConnectionContext
from actorsync.actors.connections.digest import HashingContent, hash_of_beginning
from actorsync.actors.connections.facts import FactChannel, send_facts
from actorsync.actors.connections.inbox import Inbox
from actorsync.actors.connections.intents import Intents
from actorsync.actors.connections.outcomes import StagedCopy
from actorsync.actors.connections.parts import Parts
from actorsync.actors.statistics import LaneLevel
from actorsync.classes import define
from actorsync.endpoints.contract import Content, ReadSession, Session, Staged, Upload
from actorsync.endpoints.releases import Publication, Published, publish
from actorsync.endpoints.resuming import continue_from, may_continue, open_at
from actorsync.errors import OperationRefused, SourceLost, TargetFull, TransformFailed, Vanished
from actorsync.model.entry import Entry, ancestors
from actorsync.model.event import BreakerOpened, Event, Resumed
from actorsync.model.kept import Kept
from actorsync.model.operation import Copy, Prepare, Returned, Sending, Side, Skipped
from actorsync.planning.reconcile import is_racy

__all__ = ["Uploads"]

#: How many times one file is tried before it counts as failed.
TRIES: Final = 3
#: With a trash: how many files, or bytes, wait for one flight of renames.
FLIGHT: Final = 8
FLIGHT_BYTES: Final = 8 << 20


@define(eq=False)
class Uploads:
    """Carries out the copies of one lane, in two steps: the upload under a temporary name, then the rename.

    The renames of earlier files travel with the next upload where the wire allows it.

    Survives a lost connection: the files that are whole under their temporary names. `commit` over the next session
    also finds out what became of renames that were in flight.
    Lost with the connection: the upload in flight. Its temporary stays registered, see `Intents`; the lane still has
    the copy, and starts it again, from where it broke off if the file is big (`Parts`) and else from the beginning.
    """

    context: ConnectionContext
    level: LaneLevel
    facts: FactChannel
    inbox: Inbox
    intents: Intents
    parts: Parts = attrs.field(init=False)
    _staged: list[StagedCopy] = attrs.field(factory=list, init=False)
    _is_repeat: bool = attrs.field(default=False, init=False)
    """Whether the renames of a two-way run were begun before, over a connection that was lost."""

    def __attrs_post_init__(self) -> None:
        self.parts = Parts(self.context, self.facts)

    @property
    def is_empty(self) -> bool:
        """Whether no file waits for its rename."""
        return not self._staged

    def clear(self) -> list[Sending]:
        """Return the copies that wait for their renames, and keep them no longer."""
        staged, self._staged = self._staged, []
        for upload in staged:
            self.context.statistics.note_undone(upload.copy, upload.staged.size, upload.resumed)
        return [upload.copy for upload in staged]

    # Room on the target.

    @contextmanager
    def admission(self, copy: Sending) -> Iterator[bool]:
        """Yield whether ``copy`` may be sent inside the block: False while the target has no room for it.

        After the target was full, one file at a time is admitted as a probe, until an upload succeeds.
        """
        full = self.context.pool.full
        try:
            yield full.admits(self, trio.current_time(), copy.source.size)
        finally:
            full.withdrew(self)

    async def reject(self, target: Session, copy: Sending) -> list[Event]:
        """Return the failure of a copy that `admission` did not let through. Waiting renames are done first."""
        await self.commit(target)
        return [outcomes.not_sent(copy, self.context.pool.full.reason)]

    def _no_room(self, copy: Sending, refusal: TargetFull) -> list[Event]:
        """Return the failure of a file that did not fit. From now on, no file of its size or larger is admitted."""
        full, now = self.context.pool.full, trio.current_time()
        is_news = full.failed(self, f"{copy.path}: {refusal}", now, copy.source.size)
        opened = [BreakerOpened("full", full.reason, full.seconds_left(now))] if is_news else []
        return [outcomes.failed(copy, refusal), *opened]

    # Uploading.

    async def upload(self, source: ReadSession, target: Session, copy: Sending) -> list[Event]:
        """Upload one file under a temporary name, and keep it for its rename. Return the events that follow from it.

        A copy that is kept has no outcome yet; for any other, the outcome is among the events.

        Raises:
            ConnectionLost: the connection to the target is gone; start again over the next one.
            StageFailed: the hook ``before_commit`` has failed.
        """
        tries = 0
        while True:
            tries += 1
            try:
                if self.context.trash is not None:
                    await self.context.trash.ready(target, self.facts)
                upload = await self._upload(source, target, copy)
                if not isinstance(copy, Prepare):
                    await self.context.gate.passed()
            except SourceLost as lost:
                if self.context.shutdown.draining.is_set():
                    return [Returned(copy, str(lost))]
                tries -= 1  # not the fault of the file; if it is, the source refuses it otherwise in the end
            except Vanished as missed:
                if await self.context.second_look.has_vanished(copy.path):
                    return [Skipped(copy, str(missed))]
                if self.context.shutdown.draining.is_set():
                    return [Returned(copy, str(missed))]
                if tries >= TRIES:
                    return [outcomes.failed(copy, _listed_but_missing(missed))]
            except OperationRefused as refusal:
                if not await self._may_retry(target, copy, refusal, tries):
                    return self._refused(copy, refusal)
            else:
                resumed: list[Event] = [Resumed("full")] if self.context.pool.full.succeeded(self) else []
                if isinstance(copy, Prepare):
                    return [outcomes.staged(upload, self.context.wall_clock_ns() / 1e9), *resumed]
                self._staged.append(upload)
                return resumed

    async def _may_retry(self, target: Session, copy: Sending, refusal: OperationRefused, tries: int) -> bool:
        if isinstance(refusal, TransformFailed | TargetFull) or tries >= TRIES:
            return False
        return refusal.retry or (tries == 1 and await _restore_parents(target, copy))

    def _refused(self, copy: Sending, refusal: OperationRefused) -> list[Event]:
        match refusal:
            case TargetFull():
                return self._no_room(copy, refusal)
            case _:
                return [outcomes.failed(copy, refusal)]

    async def _upload(self, source: ReadSession, target: Session, copy: Sending) -> StagedCopy:
        """Upload the file, and return it once it is known to be one version of the source file, whole."""
        if (whole := await self.parts.take_whole(target, copy)) is not None:
            await self.intents.register_again(copy, whole.staged.temporary, whole.source)
            whole = attrs.evolve(whole, trashed=self.intents.trashed)
            self.context.statistics.note_sent(copy, whole.staged.size, whole.resumed)
            return whole
        kept = self.parts.to_continue(copy)
        if kept is not None and (continued := await self._continue(source, target, copy, kept)) is not None:
            return continued
        async with source.open(copy.path) as opened:
            entry = opened.entry
            # Times this recent do not show a later change; the digest does.
            is_recent = is_racy(entry, self.context.wall_clock_ns())
            is_hashed = is_recent or self.context.by_content or self.context.clocks is not None
            hashing = HashingContent(opened) if is_hashed else None
            upload = self._to_upload(copy, await self.intents.register(copy), hashing or opened)
            return await self._fill(target, copy, opened, upload, hashing)

    async def _continue(self, source: ReadSession, target: Session, copy: Sending, kept: Kept) -> StagedCopy | None:
        """Continue an upload of an earlier attempt; None if it has to begin anew."""
        place = await may_continue(target, kept.temporary)
        if not place:
            await self.parts.give_up(target, kept)
            return None
        hashes = self.context.by_content
        beginning = await hash_of_beginning(self.context.compared, kept.source, place) if hashes else None
        is_same = not hashes or beginning is not None
        async with open_at(source, copy.path, place) as opened:
            is_same = is_same and opened.entry == kept.source
            if is_same and opened.start == place:
                hashing = None if beginning is None else HashingContent(opened, beginning)
                upload = self._to_upload(copy, kept.temporary, hashing or opened)
                upload.start = upload.sent = await continue_from(target, upload)
                if upload.start:
                    await self.intents.register_again(copy, kept.temporary, kept.source)
                    return await self._fill(target, copy, opened, upload, hashing)
        await self.parts.give_up(target, kept, is_told=is_same)
        return None

    def _to_upload(self, copy: Sending, temporary: str, content: Content) -> Upload:
        entry, modes = content.entry, self.context.modes
        if entry.mode is None:  # the source has shown it in its listing only
            entry = attrs.evolve(entry, mode=copy.source.mode)
        keeps_mode = modes.rule == "keep" and copy.replaces
        return Upload(copy.path, temporary, content, mode=modes.for_upload(entry), keeps_mode=keeps_mode)

    async def _fill(
        self, target: Session, copy: Sending, opened: Content, upload: Upload, hashing: HashingContent | None
    ) -> StagedCopy:
        """Send what the temporary of ``upload`` does not have, and see that the source file was one version."""
        entry = opened.entry
        if entry.mode is None:
            entry = attrs.evolve(entry, mode=copy.source.mode)
        is_recent = is_racy(entry, self.context.wall_clock_ns())
        await self.parts.begin(target, entry, upload)
        try:
            staged = await self._send(target, upload, entry.size)
            await _check_unchanged(opened, target, upload)
        except OperationRefused as refused:
            self.parts.forget()
            if upload.start and type(refused) is OperationRefused:  # all of it may succeed
                raise OperationRefused(str(refused), retry=True) from refused
            raise
        except BaseException:
            await self.parts.interrupted(upload)
            raise
        if upload.size is None:
            await self.intents.register_size(staged, entry)
        self.level.upload = None
        self.context.statistics.note_sent(copy, staged.size, upload.start)
        digest = None if hashing is None else hashing.digest()
        return StagedCopy(
            copy,
            staged,
            entry,
            digest if is_recent else None,
            digest if self.context.by_content or self.context.clocks is not None else None,
            self.intents.trashed,
            upload.start,
            self.intents.aside,
        )

    async def _send(self, target: Session, upload: Upload, size: int) -> Staged:
        """Send one file, and the renames that wait. Raises the `OperationRefused` of the upload."""
        self.inbox.request_connections()  # more batches may have arrived since this one was taken
        is_apart = self.context.trash is not None or self.context.clocks is not None
        if is_apart and self._is_due:
            await self.commit(target)
        self.level.show("sending", upload, size)
        riding = [] if is_apart else [earlier.staged for earlier in self._staged]
        staged, results = await target.stage(upload, commit=riding, ahead=self._take_copy_ahead)
        if riding:
            await self._settle(results)
        if isinstance(staged, OperationRefused):
            raise staged
        return staged

    def _take_copy_ahead(self) -> bool:
        """Take the next batch while the last bytes of an upload are in transit. Return True if it is a copy.

        The temporary of that copy is registered meanwhile.
        """
        operation = self.inbox.take_ahead()
        if not isinstance(operation, Sending):
            return False
        self.intents.register_ahead(operation)
        return True

    # Renaming.

    async def commit(self, target: Session) -> None:
        """Rename every file that waits for it. After a lost connection, find out what became of the renames."""
        if self._staged:
            self.level.show("renaming")
            await self._settle(await self._rename(target))

    @property
    def _is_due(self) -> bool:
        """Whether the files that wait are to be renamed. Old files are set aside in flights, not with each upload."""
        size = sum(upload.staged.size for upload in self._staged)
        return len(self._staged) >= FLIGHT or size >= FLIGHT_BYTES

    async def _rename(self, target: Session) -> list[Entry | OperationRefused]:
        """Rename the files that wait for it. With a trash, what has their names goes there first."""
        if self.context.clocks is not None:
            return await self._place(target)
        if self.context.trash is None:
            return await target.commit([upload.staged for upload in self._staged])
        items = [Publication(it.staged, None if it.trashed is None else it.trashed.place) for it in self._staged]
        results = await publish(target, items)
        self._staged = [_as_published(it, result) for it, result in zip(self._staged, results, strict=True)]
        return [result.entry if isinstance(result, Published) else result for result in results]

    async def _place(self, target: Session) -> list[Entry | OperationRefused]:
        """Rename the files that wait, where what has them is what was seen before."""
        from actorsync.actors.connections.careful import Careful, Placement  # for two-way runs alone

        items = [
            Placement(it.staged, it.copy.over, it.aside, it.copy.proof, it.trashed)
            for it in self._staged
            if isinstance(it.copy, Copy)
        ]
        careful = Careful(target, self.facts, self.context.side, self.context.wall_clock_ns)
        is_repeat, self._is_repeat = self._is_repeat, True  # until it returns: a lost connection leaves it half done
        results = await careful.place(items, is_repeat=is_repeat)
        self._is_repeat = False
        self._staged = [attrs.evolve(it, trashed=None) for it in self._staged]  # that is told with the names aside
        return results

    def _doubts(self, read: Entry, written: Entry) -> tuple[Side, ...]:
        """Return the sides of a two-way run on which the times of a file do not show a later change."""
        clocks, side = self.context.clocks, self.context.side
        if clocks is None:
            return ()
        source, target = (read, written) if side is Side.TARGET else (written, read)
        now = self.context.wall_clock_ns()
        return tuple(
            it for it, entry in ((Side.SOURCE, source), (Side.TARGET, target)) if clocks.doubts(it, entry, now)
        )

    async def _settle(self, results: Sequence[Entry | OperationRefused]) -> None:
        """Report the outcomes of renames."""
        renamed, self._staged = self._staged, []
        events: list[Event] = []
        for upload, result in zip(renamed, results, strict=True):
            if isinstance(result, Entry):
                self.context.statistics.files_done += 1
            else:
                self.context.statistics.note_undone(upload.copy, upload.staged.size, upload.resumed)
            if isinstance(result, TargetFull):
                events += self._no_room(upload.copy, result)
                continue
            events.append(outcomes.committed(upload, result, self._doubts))
        await send_facts(self.facts, *events)


def _as_published(upload: StagedCopy, result: Published | OperationRefused) -> StagedCopy:
    """Return a file with what the trash has of it: an old version, nothing (it is new), or nothing that is known."""
    if upload.trashed is None or (isinstance(result, Published) and result.has_old):
        return upload
    if isinstance(result, Published) and result.lost_old:
        return attrs.evolve(upload, trashed=None)
    return attrs.evolve(upload, trashed=attrs.evolve(upload.trashed, because="made"))


def _listed_but_missing(missed: Vanished) -> OperationRefused:
    """Return the failure of a file that the source lists, and cannot find by the name in its listing."""
    why = "the source still lists it; it may have another name, or no read permission"
    return OperationRefused(f"{missed}, but {why}: rename it there, or exclude it")


async def _restore_parents(target: Session, copy: Sending) -> bool:
    """Make the directories above a refused file again. Return True if all of them are there.

    Somebody else may have removed them from the target.
    """
    return all(isinstance(made, Entry) for made in await target.make_directories(ancestors(copy.path)))


async def _check_unchanged(opened: Content, target: Session, upload: Upload) -> None:
    """Reject an upload if the source file changed while it was read, or if that cannot be known.

    The temporary is removed, and `OperationRefused` is raised.
    """
    refusal = OperationRefused("it changed while it was read", retry=True)
    try:
        if await opened.is_unchanged():
            return
    except OperationRefused as refused:
        refusal = refused
    await target.sweep([upload.temporary])
    raise refusal
