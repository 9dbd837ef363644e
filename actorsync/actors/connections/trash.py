"""The trash of a run: its directory is made and tried once, and each old file gets a place in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import attrs
import trio

from actorsync.actors.connections.facts import FactChannel, make_durable, send_facts
from actorsync.classes import define
from actorsync.endpoints.contract import Relocation, Session, Upload, look
from actorsync.endpoints.own_content import OwnContent
from actorsync.errors import FatalError, OperationRefused
from actorsync.model.entry import Entry, Kind, ancestors
from actorsync.model.event import Intended, Swept, TrashOpened
from actorsync.model.operation import Done, MakeDirectory, Move, Outcome, Remove, SetMode, Side
from actorsync.model.trash import Trashed
from actorsync.planning.publishing.trash import Places, directories_of
from actorsync.planning.temporary_names import temporary_name

__all__ = ["Trash", "make_trash", "noted", "recall"]

_NAME: Final = "probe"
_WAY_OUT: Final = "nothing was changed; name another directory of the same disk in trash.path, or remove the key"


@define(eq=False)
class Trash:
    """Owns the directory of one run in the trash. Shared by all lanes and the releases of the planner.

    In a two-way run each side has one, and both take their places from the same ``places``.
    """

    opened: TrashOpened
    token: Callable[[], str]
    places: Places
    side: Side = Side.TARGET
    _going: dict[str, Trashed] = attrs.field(factory=dict, init=False)
    _lock: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _is_ready: bool = attrs.field(default=False, init=False)

    def place(self) -> str:
        """Return a place for an old file. The journal has to know it before it is used."""
        return self.places.next()

    def place_for(self, removal: Remove) -> Trashed:
        """Return the place for a file that is removed: the same in every attempt to remove it."""
        if removal.path not in self._going:
            self._going[removal.path] = Trashed(removal.path, "removed", self.place(), removal.target)
        return self._going[removal.path]

    def settle(self, path: str) -> None:
        """Forget the place for a removal that has an outcome."""
        self._going.pop(path, None)

    async def ready(self, target: Session, facts: FactChannel) -> None:
        """Make the directory of the run and try it, once, before the first change of the run.

        Raises `FatalError` if files cannot be moved there: the trash is on another disk, or the account may not write
        to it.
        """
        if not self._is_ready:
            async with self._lock:
                if not self._is_ready:
                    await make_durable(facts, self.opened)
                    await make_trash(target, self.opened.directory)
                    await self._try(target, facts)
                    self._is_ready = True

    async def _try(self, target: Session, facts: FactChannel) -> None:
        """Move a file of one byte into the trash, as old files are moved."""
        temporary, place = temporary_name(_NAME, self.token()), self.place()
        await make_durable(facts, Intended((temporary, place), side=self.side))
        staged, _ = await target.stage(Upload(_NAME, temporary, OwnContent(b"\n", 10**18)))
        if isinstance(staged, OperationRefused):
            raise FatalError(f"the trash cannot be tried: a file of one byte is refused: {staged}; {_WAY_OUT}")
        probe = Entry(temporary, Kind.FILE, staged.size, staged.mtime_ns)
        (moved,) = await target.move([Relocation(probe, place)])
        swept = await target.sweep([temporary, place])
        if True in swept:
            gone = [path for path, is_gone in zip((temporary, place), swept, strict=True) if is_gone is True]
            await send_facts(facts, Swept(tuple(gone), side=self.side))
        if isinstance(moved, OperationRefused):
            raise FatalError(f"the trash cannot be used: no file can be moved to {place!r}: {moved}; {_WAY_OUT}")


async def make_trash(target: Session, directory: str) -> None:
    """Make the directory of a run in the trash. Raises `FatalError` if that is refused."""
    paths = directories_of(directory)
    made = await target.make_directories(["", *paths])
    refused = [result for result in made if isinstance(result, OperationRefused)]
    if refused:
        raise FatalError(f"the trash cannot be used: {directory!r} cannot be made: {refused[0]}; {_WAY_OUT}")


def noted(outcome: Outcome) -> Outcome:
    """Return the outcome with the change that undoing it has to take back, where a trash is kept."""
    if not isinstance(outcome, Done) or outcome.trashed is not None:
        return outcome
    match outcome.operation:
        case MakeDirectory(source) if source.path:
            change = Trashed(source.path, "made", now=outcome.target)
        case Move(source, before):
            change = Trashed(source.path, "moved", before.path, before, outcome.target)
        case SetMode(source, before):
            change = Trashed(source.path, "mode", old=before, now=outcome.target)
        case Remove(target) if target.kind is not Kind.FILE:
            change = Trashed(target.path, "removed", old=target)
        case _:
            return outcome
    return attrs.evolve(outcome, trashed=change)


async def recall(target: Session, items: Sequence[Trashed]) -> list[Trashed | OperationRefused | None]:
    """Find out by looking what became of files that were about to be moved to the trash.

    A file whose name is free gets it back. Return what is in the trash of the others, with what has their name; None
    where no file is in the trash.
    """
    old_files = [it.old_file or Entry(it.path, Kind.FILE) for it in items]
    there = await look(target, old_files)
    found: list[Trashed | OperationRefused | None] = []
    for item, old in zip(items, there, strict=True):
        if not isinstance(old, Entry) or item.place is None:
            found.append(old if isinstance(old, OperationRefused) else None)
            continue
        (now,) = await look(target, [Entry(item.path, Kind.FILE)])
        if now is None:
            found.append(await _put_back(target, Relocation(old, item.path, is_back=True)))
        elif isinstance(now, OperationRefused):
            found.append(now)
        else:
            found.append(attrs.evolve(item, old=attrs.evolve(old, path=item.path), now=now))
    return found


async def _put_back(target: Session, item: Relocation) -> OperationRefused | None:
    """Move a file back to its name. Its directory may be gone as well."""
    (moved,) = await target.move([item])
    if isinstance(moved, OperationRefused):
        await target.make_directories(ancestors(item.path))
        (moved,) = await target.move([item])
    return moved if isinstance(moved, OperationRefused) else None
