"""Changes of a two-way run: nothing is replaced or removed unless what lies there is what was seen before.

Anybody may write on either side at any time. So a file that makes way is moved to a name aside, without replacing
anything, and looked at there: what was written in between is seen, and goes back to its name. Only then does the new
file get the name, again without replacing anything. On an FTP server "without replacing" means that the server was
asked in the flight before: it has no rename that refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs

from actorsync.actors.connections.digest import HashingContent
from actorsync.actors.connections.facts import FactChannel, send_facts
from actorsync.classes import frozen
from actorsync.endpoints.contract import Relocation, Session, Staged, look
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.entry import Entry, Kind, join, name_of, parent_of
from actorsync.model.event import Swept, Warned
from actorsync.model.operation import Side
from actorsync.model.text import display
from actorsync.planning.pairs.copies import conflict_name
from actorsync.planning.pairs.placing import Place, Seen, next_place
from actorsync.planning.pairs.states import is_same_time

__all__ = ["Careful", "Going", "Placement"]

_TOO_YOUNG: Final = (
    "it was changed so shortly before it was listed that a later change could not be seen; the next run looks again"
)
_PIECE: Final = 256 * 1024
_CHANGED: Final = "it has changed there since it was listed; the next run looks again"


@frozen
class Placement:
    """A file that is whole under its temporary name. ``over`` is what has its final name, and goes to ``aside``.

    ``proof`` is as in `Copy`.
    """

    staged: Staged
    over: Entry | None = None
    aside: str | None = None
    proof: bytes | None = None

    @property
    def temporary(self) -> Entry:
        """The file under its temporary name."""
        return Entry(self.staged.temporary, Kind.FILE, self.staged.size, self.staged.mtime_ns)

    @property
    def kept(self) -> Entry | None:
        """What makes way, under the name that it is to have aside."""
        return None if self.over is None or self.aside is None else attrs.evolve(self.over, path=self.aside)


@frozen
class Going:
    """A file that is to go, by way of its name aside. ``proof`` is as in `Copy`."""

    entry: Entry
    aside: str
    proof: bytes | None = None


@frozen(eq=False)
class Careful:
    """Careful changes over one session. Raises `ConnectionLost`; the caller then repeats the same items."""

    target: Session
    facts: FactChannel
    side: Side
    wall_clock_ns: Callable[[], int]

    async def place(self, items: Sequence[Placement], *, is_repeat: bool = False) -> list[Entry | OperationRefused]:
        """Rename files to their final names, and return the entries that the side then shows, in order.

        A refusal leaves the side as it was, except for what another program has done. ``is_repeat``: it may be done in
        part already, so the names are looked at first.
        """
        results: dict[int, Entry | OperationRefused] = {}
        stages = dict.fromkeys(range(len(items)), Place.BEGIN)
        if is_repeat:
            for index, (place, entry) in (await self._looked_at(items)).items():
                stages[index] = place
                if place is Place.DONE and entry is not None:
                    results[index] = entry
        going = {i: items[i] for i, place in stages.items() if place is Place.BEGIN and items[i].kept is not None}
        results |= await self._set_aside({i: it.over for i, it in going.items()}, going)
        waiting = {i: it for i, it in enumerate(items) if i not in results and stages[i] is not Place.DONE}
        moves = [Relocation(it.temporary, it.staged.path) for it in waiting.values()]
        superseded: list[str] = []
        for (index, item), result in zip(waiting.items(), await self.target.move(moves) if moves else (), strict=True):
            results[index] = result
            if isinstance(result, OperationRefused) and await self._is_superseded(item):
                superseded.append(item.aside or "")
        done = [it.aside for i, it in enumerate(items) if isinstance(results[i], Entry) and it.aside is not None]
        lost = [it.staged.temporary for i, it in enumerate(items) if not isinstance(results[i], Entry)]
        await self._sweep([*done, *superseded, *lost])
        return [results[index] for index in range(len(items))]

    async def _is_superseded(self, item: Placement) -> bool:
        """Put a file that was set aside back, because the new one did not get it.

        Return True if another program has written a file of that name meanwhile: the old one is as both sides had it,
        and may go.
        """
        if item.kept is None:
            return False
        (now,) = await look(self.target, [self._final(item)])
        if now is None:
            await self._put_back(item.kept, item.staged.path)
        return isinstance(now, Entry)

    async def _looked_at(self, items: Sequence[Placement]) -> dict[int, tuple[Place, Entry | None]]:
        """Return how far each file has come, with what is under its final name."""
        asked = [entry for it in items for entry in (it.temporary, self._final(it), it.kept or self._final(it))]
        found = await look(self.target, asked)
        places: dict[int, tuple[Place, Entry | None]] = {}
        for index, item in enumerate(items):
            temporary, final, aside = found[3 * index : 3 * index + 3]
            seen = Seen(
                has_temporary=isinstance(temporary, Entry),
                has_final=not isinstance(final, OperationRefused) and final is not None,
                is_placed=isinstance(final, Entry) and _is_like(final, item.temporary),
                has_aside=item.kept is not None and isinstance(aside, Entry),
            )
            places[index] = next_place(seen), final if isinstance(final, Entry) else None
        return places

    @staticmethod
    def _final(item: Placement) -> Entry:
        return attrs.evolve(item.temporary, path=item.staged.path)

    async def _set_aside(
        self, entries: Mapping[int, Entry | None], items: Mapping[int, Placement]
    ) -> dict[int, OperationRefused]:
        """Move what makes way to the names aside, and look at it there. Return what was not as expected."""
        pairs = {
            index: Going(entry, item.aside, item.proof)
            for (index, entry), item in zip(entries.items(), items.values(), strict=True)
            if entry is not None and item.aside is not None
        }
        return await self.set_aside(pairs)

    async def set_aside(self, pairs: Mapping[int, Going]) -> dict[int, OperationRefused]:
        """Move files aside, and look at each of them there. Return the refusals, by the key of the file.

        A file that is not as expected gets its name back.
        """
        if not pairs:
            return {}
        refusals = {
            index: OperationRefused(f"on the {self.side.value} {_TOO_YOUNG}")
            for index, item in pairs.items()
            if item.proof == b""
        }
        moving = {index: item for index, item in pairs.items() if index not in refusals}
        moves = [Relocation(item.entry, item.aside) for item in moving.values()]
        kept: dict[int, Entry] = {}
        for (index, item), result in zip(moving.items(), await self.target.move(moves) if moves else (), strict=True):
            if isinstance(result, OperationRefused):
                refusals[index] = OperationRefused(f"on the {self.side.value} {_CHANGED} ({result})")
            else:
                kept[index] = attrs.evolve(item.entry, path=item.aside)
        found = await look(self.target, list(kept.values())) if kept else []
        for (index, expected), now in zip(kept.items(), found, strict=True):
            if isinstance(now, Entry) and not await self._is_expected(now, expected, pairs[index].proof):
                await self._put_back(now, pairs[index].entry.path)
                refusals[index] = OperationRefused(f"on the {self.side.value} {_CHANGED}")
        return refusals

    async def _is_expected(self, now: Entry, expected: Entry, proof: bytes | None) -> bool:
        """Return whether a file aside is the version that was seen. Where its times do not tell, it is read."""
        if not _is_like(now, expected):
            return False
        if proof is None:
            return True
        try:
            async with self.target.open(now.path) as opened:
                content = HashingContent(opened)
                while await content.read(_PIECE):
                    pass
                return content.digest() == proof
        except OperationRefused:
            return False

    async def _put_back(self, kept: Entry, path: str) -> None:
        """Move a file back to its name; if that is taken, to a name of its own. It is never lost."""
        (found,) = await look(self.target, [kept])
        if not isinstance(found, Entry):
            return
        (moved,) = await self.target.move([Relocation(found, path, is_back=True)])
        if isinstance(moved, OperationRefused):
            name = conflict_name(name_of(path), self.side, self.wall_clock_ns(), ())
            copy = join(parent_of(path), name)
            (moved,) = await self.target.move([Relocation(found, copy, is_back=True)])
            if isinstance(moved, OperationRefused):
                return  # it stays where it is: the journal knows it, and the next run tries again
            text = f"{display(path)} was written twice at the same time; a version of it is kept as {display(copy)}"
            await send_facts(self.facts, Warned(text))
        await send_facts(self.facts, Swept((kept.path,), side=self.side))

    async def remove(self, pairs: Mapping[int, Going]) -> dict[int, bool | OperationRefused]:
        """Remove files, each by way of its name aside. True if the file is gone, whoever has removed it."""
        refusals = await self.set_aside(pairs)
        results: dict[int, bool | OperationRefused] = dict.fromkeys(pairs, True)
        asked = [pairs[index].entry for index in refusals]
        for (index, refused), now in zip(
            refusals.items(), await look(self.target, asked) if asked else (), strict=True
        ):
            results[index] = True if now is None else refused
        await self._sweep([item.aside for index, item in pairs.items() if index not in refusals])
        return results

    async def _sweep(self, names: Sequence[str]) -> None:
        """Remove names of our own. What cannot be removed stays in the journal, for the next run.

        The outcomes are certain by now, so a connection that is lost here changes none of them: repeated, the items
        would be found without their temporaries, as if they had their names.
        """
        if not names:
            return
        try:
            gone = await self.target.sweep(names)
        except ConnectionLost:
            return  # the next use of the session finds that out as well
        swept = tuple(name for name, is_gone in zip(names, gone, strict=True) if is_gone is True)
        if swept:
            await send_facts(self.facts, Swept(swept, side=self.side))


def _is_like(now: Entry, expected: Entry) -> bool:
    """Return whether a file is the expected one: the same size, and the same time as precisely as both tell."""
    if (now.kind, now.size) != (expected.kind, expected.size):
        return False
    if None in {now.mtime_ns, expected.mtime_ns}:
        return True
    return is_same_time(now.mtime_ns, expected.mtime_ns)
