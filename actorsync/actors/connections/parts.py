"""Parts: what a lane leaves of big files on the target, and how it takes up what was left."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import attrs
import trio

from actorsync.actors.connections.context import ConnectionContext
from actorsync.actors.connections.digest import digest_of
from actorsync.actors.connections.facts import FactChannel, send_facts
from actorsync.actors.connections.outcomes import StagedCopy
from actorsync.classes import define
from actorsync.endpoints.contract import Admit, Content, Session, Staged, Upload, look
from actorsync.endpoints.resuming import Resuming, leave
from actorsync.endpoints.wrappers.base import ContentWrapper
from actorsync.model.entry import Entry, Kind
from actorsync.model.event import PartSent, Swept, Warned
from actorsync.model.kept import Kept
from actorsync.model.operation import Sending
from actorsync.model.text import display
from actorsync.planning.publishing.keeping import can_go_on
from actorsync.planning.reconcile import has_same_time, is_racy

__all__ = ["Parts"]

#: After so many bytes the journal gets to know how far an upload is. Only a hint: the target itself tells.
_STEP: Final = 16 << 20


@define(eq=False)
class Parts:
    """Owns what a lane knows of the upload in flight, if a later attempt may continue it.

    `Keeping` has what was left, for all lanes: any connection may take it up.
    """

    context: ConnectionContext
    facts: FactChannel
    _current: Kept | None = attrs.field(default=None, init=False)

    # Taking up what an earlier attempt has left.

    async def take_whole(self, target: Session, copy: Sending) -> StagedCopy | None:
        """Return a file that is whole under its temporary name already. None if it is to be sent.

        The target is asked whether it still has the recorded size and time. The source is read once more if the times
        of the file did not prove then that its content was what was sent.
        """
        kept = self.context.keeping.of(copy)
        if kept is None or not kept.is_complete:
            return None
        checksum, is_proven = kept.checksum, kept.digest is None
        if not is_proven or (self.context.by_content and checksum is None):
            read = await digest_of(self.context.compared, copy.path)
            known = kept.digest or checksum
            if read is None or read[0] != kept.source or (known is not None and read[1] != known):
                await self.give_up(target, kept, is_told=False)
                return None
            checksum = read[1] if self.context.by_content else None
            is_proven = not is_racy(kept.source, self.context.wall_clock_ns())
        if not await _is_there(target, kept):
            await self.give_up(target, kept)
            return None
        staged = Staged(copy.path, kept.temporary, kept.size, kept.mtime_ns, kept.mode)
        digest = None if is_proven else kept.digest
        return StagedCopy(copy, staged, kept.source, digest, checksum, resumed=kept.size)

    def to_continue(self, copy: Sending) -> Kept | None:
        """Return the part of a file that may be continued, if there is one.

        Its digest has to be made of all of its content, so the beginning is read once more: from this machine only.
        """
        kept = self.context.keeping.of(copy)
        if kept is None or kept.is_complete or is_racy(kept.source, self.context.wall_clock_ns()):
            return None
        return kept if self.context.is_source_near or not self.context.by_content else None

    async def give_up(self, target: Session, kept: Kept, *, is_told: bool = True) -> None:
        """Remove what cannot be taken up. ``is_told``: with one line for the user.

        The journal keeps its name until the end of the run: what was sent before may arrive only now.
        """
        self.context.keeping.drop(kept.temporary)
        await target.sweep([kept.temporary])
        if is_told:
            why = "what an earlier attempt has left of it on the target cannot be continued"
            await self.facts.send(Warned(f"{display(kept.path)}: {why}; it is sent from its beginning"))

    # Leaving a part.

    async def begin(self, target: Session, entry: Entry, upload: Upload) -> None:
        """Take note of an upload that begins, and record it if a later attempt may continue it."""
        self._current = None
        # Asked last, because it costs more than all the rest for a small file.
        is_kept = can_go_on(entry, self.context.keeping.rule) and isinstance(target, Resuming)
        if is_kept and upload.size is not None and not is_racy(entry, self.context.wall_clock_ns()):
            self._current = Kept(upload.temporary, entry, upload.start, self._now())
            upload.keeps_part = True
            upload.content = _NotingContent(upload.content, lambda: self._note_progress(upload))
            await self.facts.send(self._noted(upload))

    async def interrupted(self, upload: Upload) -> None:
        """Record how far an upload has come that is broken off, if it may be continued."""
        if self._current is not None:
            await send_facts(self.facts, self._noted(upload))

    def forget(self) -> None:
        """Take note that nothing is left of the upload in flight: it was refused."""
        if self._current is not None:
            self.context.keeping.drop(self._current.temporary)
            self._current = None

    async def clean_up(self, target: Session, upload: Upload) -> None:
        """Stop an upload, and remove its temporary unless it may be continued."""
        if self._current is not None and self._current.temporary == upload.temporary:
            await leave(target, upload.temporary)
        elif await target.abandon(upload.temporary):
            await self.facts.send(Swept((upload.temporary,), side=self.context.side))

    def _note_progress(self, upload: Upload) -> None:
        if self._current is not None and upload.delivered - self._current.sent >= _STEP:
            with suppress(trio.WouldBlock):
                self.facts.send_nowait(self._noted(upload))

    def _noted(self, upload: Upload) -> PartSent:
        assert self._current is not None
        self._current = attrs.evolve(self._current, sent=upload.delivered, at=self._now())
        self.context.keeping.note(self._current)
        return PartSent(self._current)

    def _now(self) -> float:
        return self.context.wall_clock_ns() / 1e9


async def _is_there(target: Session, kept: Kept) -> bool:
    """Return whether a whole temporary is on the target as it was recorded."""
    expected = Entry(kept.temporary, Kind.FILE, kept.size, kept.mtime_ns)
    (found,) = await look(target, [expected])
    if not isinstance(found, Entry):
        return False
    is_same_time = found.mtime_ns is None or kept.mtime_ns is None or has_same_time(expected, found)
    return (found.kind, found.size) == (Kind.FILE, kept.size) and is_same_time


class _NotingContent(ContentWrapper):
    """Content that tells before each piece that another one is read, by whichever way."""

    __slots__ = ("_tell",)

    def __init__(self, real: Content, tell: Callable[[], None]) -> None:
        super().__init__(real)
        self._tell = tell

    @property
    def admit(self) -> Admit:
        """The hook before each piece that is read through the descriptor."""
        return self._admit

    async def _admit(self, max_bytes: int) -> int:
        self._tell()
        inner = self._real.admit
        return max_bytes if inner is None else await inner(max_bytes)

    async def read(self, max_bytes: int) -> bytes:
        """Read the next piece."""
        self._tell()
        return await self._real.read(max_bytes)
