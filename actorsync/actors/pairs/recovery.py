"""What a run that died has left in the middle on a side is found out by looking, and put right before the next scan.

A temporary goes. A file that was set aside goes only if another has its name now, and it is the version that both
sides had; otherwise its name is restored, or it gets one of its own if that is taken. It is never lost.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Sequence

import attrs
import trio

from actorsync.actors.backoff import Backoff
from actorsync.actors.connections.digest import digest_in
from actorsync.actors.connections.facts import make_durable
from actorsync.actors.connections.trash import Trash
from actorsync.actors.messages import Fact
from actorsync.classes import frozen
from actorsync.endpoints.contract import Endpoint, Relocation, Session, look
from actorsync.errors import ConnectionLost, OperationRefused, TargetUnreachable
from actorsync.model.entry import Entry, Kind, join, name_of, parent_of
from actorsync.model.event import Intended, Swept, Warned
from actorsync.model.operation import Side
from actorsync.model.pair import Agreement, Doubt, Pending
from actorsync.model.text import display
from actorsync.model.trash import Trashed
from actorsync.planning.pairs.copies import conflict_name
from actorsync.planning.pairs.states import is_same_time
from actorsync.planning.temporary_names import final_of

__all__ = ["Recovery"]


class _State(enum.Enum):
    """What became of a file that was set aside."""

    SETTLED = "nothing is under its name aside any more"
    STAYS = "it is still there, and what has its name is known"
    UNKNOWN = "what has its name, or should have it, is not known"


@frozen(eq=False)
class Recovery:
    """Puts one side right. ``agreed`` returns what the journal has of a path."""

    side: Side
    place: Endpoint
    agreed: Callable[[str], Agreement | None]
    backoff: Backoff
    draining: trio.Event
    wall_clock_ns: Callable[[], int]
    trash: Trash | None = None
    """Where old versions go; None where they are removed."""

    async def kept(self, items: Sequence[Trashed]) -> list[tuple[Trashed, Trashed | None]]:
        """Return, of files that may have reached the trash, what is there; None where nothing is.

        What cannot be looked at is left out, and all of it if the side cannot be reached.
        """
        try:
            async with self.place.open_session() as session:
                found = await look(session, [Entry(it.place or "", Kind.FILE) for it in items])
        except ConnectionLost:
            return []
        return [
            (item, None if now is None else item)
            for item, now in zip(items, found, strict=True)
            if not isinstance(now, OperationRefused)
        ]

    async def run(self, pending: Sequence[Pending], facts: trio.MemorySendChannel[Fact]) -> set[str]:
        """Look at all names that may be there. Return the paths of which that could not be found out.

        Raises `TargetUnreachable` if the side cannot be reached in as many attempts as the back-off allows.
        """
        if not pending:
            return set()
        tries = 0
        while not self.draining.is_set():
            try:
                async with self.place.open_session() as session:
                    return await self._put_right(session, pending, facts)
            except ConnectionLost as lost:
                tries += 1
                if tries >= self.backoff.tries:
                    raise TargetUnreachable(f"{self.place.display} could not be reached: {lost}") from None
                with trio.move_on_after(self.backoff.delay(tries)):
                    await self.draining.wait()
        return {it.final for it in pending if it.final is not None}

    async def _put_right(
        self, session: Session, pending: Sequence[Pending], facts: trio.MemorySendChannel[Fact]
    ) -> set[str]:
        unsettled: set[str] = set()
        # First: a temporary may be all that there is of a file whose old version is aside, but its source has it.
        for item in (it for it in pending if it.is_aside):
            match await self._settle(session, item, facts):
                case _State.SETTLED:
                    await facts.send(Swept((item.path,), side=self.side))
                case _State.UNKNOWN if item.final is not None:
                    unsettled.add(item.final)
        temporaries = [it.path for it in pending if not it.is_aside]
        results = await session.sweep(temporaries) if temporaries else []
        swept = tuple(path for path, gone in zip(temporaries, results, strict=True) if gone is True)
        if swept:
            await facts.send(Swept(swept, side=self.side))
        return unsettled

    async def _settle(self, session: Session, item: Pending, facts: trio.MemorySendChannel[Fact]) -> _State:
        """Put one file right that was set aside."""
        final = item.final or self._final_of(item.path)
        (kept,) = await look(session, [Entry(item.path, Kind.FILE)])
        if isinstance(kept, OperationRefused):
            return _State.UNKNOWN
        if kept is None:
            return _State.SETTLED
        if final is None:
            return await self._to_copy(session, kept, join(parent_of(item.path), "recovered"), facts)
        (now,) = await look(session, [Entry(final, Kind.FILE)])
        if isinstance(now, OperationRefused):
            return _State.UNKNOWN
        if now is None:
            (moved,) = await session.move([Relocation(kept, final, is_back=True)])
            return _State.SETTLED if isinstance(moved, Entry) else _State.UNKNOWN
        if not (_is_as_recorded(kept, item) or await self._is_old(session, kept, final)):
            return await self._to_copy(session, kept, final, facts)
        if self.trash is not None:
            return await self._to_trash(self.trash, session, kept, final, facts)
        (gone,) = await session.sweep([item.path])
        if gone is True:
            return _State.SETTLED
        reason = gone if isinstance(gone, OperationRefused) else "it is not a file any more"
        text = f"the {self.side.value} does not remove {display(item.path)}, an old version of {display(final)}"
        await facts.send(Warned(f"{text}: {reason}; the next run tries again"))
        return _State.STAYS

    async def _is_old(self, session: Session, kept: Entry, final: str) -> bool:
        """Return whether what is aside is what both sides had: what has its name now has replaced it, and it may go.

        So it is if a run was cut off after it had put the new version in its place, and before that was recorded. The
        file is read if its time does not tell.
        """
        agreement = self.agreed(final)
        then = None if agreement is None else agreement.on(self.side)
        if agreement is None or then is None or then.size != kept.size:
            return False
        if not agreement.doubt & Doubt.time(self.side):
            return is_same_time(kept.mtime_ns, then.mtime_ns)
        if agreement.digest is None:
            return False
        read = await digest_in(session, kept.path)
        return read is not None and read[1] == agreement.digest

    @staticmethod
    def _final_of(path: str) -> str | None:
        name = final_of(name_of(path))
        return None if name is None else join(parent_of(path), name)

    async def _to_trash(
        self, trash: Trash, session: Session, kept: Entry, final: str, facts: trio.MemorySendChannel[Fact]
    ) -> _State:
        """Move an old version to the trash."""
        await trash.ready(session, facts)
        item = Trashed(final, "replaced", trash.place(), attrs.evolve(kept, path=final))
        await make_durable(facts, Intended((), trashed=item, side=self.side))
        (moved,) = await session.move([Relocation(kept, item.place or "")])
        if isinstance(moved, OperationRefused):
            text = f"the old version of {display(final)} cannot be moved to the trash of the {self.side.value}: {moved}"
            await facts.send(Warned(f"{text}; it stays as {display(kept.path)}, and the next run tries again"))
            return _State.STAYS
        await facts.send(Swept((kept.path,), trashed=(item,), side=self.side))
        return _State.SETTLED

    async def _to_copy(self, session: Session, kept: Entry, final: str, facts: trio.MemorySendChannel[Fact]) -> _State:
        """Move a file to a name of its own."""
        taken: Collection[str] = ()
        listing = await session.list_directory(parent_of(final))
        if listing.problem is None:
            taken = {name_of(entry.path) for entry in listing.entries} | listing.hidden
        name = conflict_name(name_of(final), self.side, self.wall_clock_ns(), taken)
        copy = join(parent_of(final), name)
        (moved,) = await session.move([Relocation(kept, copy, is_back=True)])
        if isinstance(moved, OperationRefused):
            return _State.UNKNOWN
        text = f"a run was broken off while {display(final)} was replaced; the version before is kept as"
        await facts.send(Warned(f"{text} {display(copy)}"))
        return _State.SETTLED


def _is_as_recorded(kept: Entry, item: Pending) -> bool:
    """Return whether what is aside is what was to be set aside: the version that both sides had then."""
    return item.mtime_ns is not None and item.size == kept.size and is_same_time(kept.mtime_ns, item.mtime_ns)
