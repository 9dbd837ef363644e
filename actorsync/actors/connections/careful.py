"""Changes of a two-way run: nothing is replaced or removed unless what lies there is what was seen before.

Anybody may write on either side at any time. So a file that makes way is moved to a name aside, without replacing
anything, and looked at there: what was written in between is seen, and goes back to its name. Only then does the new
file get the name, again without replacing anything. What is aside is removed only by a call that has looked at it
there: after a lost connection it is looked at again, and what cannot be looked at stays.

On an FTP server "without replacing" means that the server was asked in the flight before: it has no rename that
refuses.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import attrs

from actorsync.actors.connections.digest import digest_in
from actorsync.actors.connections.facts import FactChannel, send_facts
from actorsync.classes import frozen
from actorsync.endpoints.contract import Relocation, Session, Staged, look
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.entry import Entry, Kind, join, name_of, parent_of
from actorsync.model.event import Swept, Warned
from actorsync.model.operation import Side
from actorsync.model.text import display
from actorsync.model.trash import Trashed
from actorsync.planning.pairs.copies import conflict_name
from actorsync.planning.pairs.states import is_same_time

__all__ = ["Careful", "Going", "Placement"]

_TOO_YOUNG: Final = (
    "it was changed so shortly before it was listed that a later change could not be seen; the next run looks again"
)
_UNSEEN: Final = "what has its name cannot be looked at once it is set aside; the next run tries again"
_CHANGED: Final = "it has changed there since it was listed; the next run looks again"


@frozen
class Placement:
    """A file that is whole under its temporary name. ``over`` is what has its final name, and goes to ``aside``.

    ``proof`` is as in `Copy`. ``trashed`` says where the old file is kept; None where it is removed.
    """

    staged: Staged
    over: Entry | None = None
    aside: str | None = None
    proof: bytes | None = None
    trashed: Trashed | None = None

    @property
    def temporary(self) -> Entry:
        """The file under its temporary name."""
        return Entry(self.staged.temporary, Kind.FILE, self.staged.size, self.staged.mtime_ns)

    @property
    def final(self) -> Entry:
        """The file under its final name."""
        return attrs.evolve(self.temporary, path=self.staged.path)

    @property
    def kept(self) -> Entry | None:
        """What makes way, under the name that it is to have aside."""
        return None if self.over is None or self.aside is None else attrs.evolve(self.over, path=self.aside)


@frozen
class Going:
    """A file that is to go, by way of its name aside. ``proof`` is as in `Copy`, ``trashed`` as in `Placement`."""

    entry: Entry
    aside: str
    proof: bytes | None = None
    trashed: Trashed | None = None

    @property
    def kept(self) -> Entry:
        """The file under the name that it is to have aside."""
        return attrs.evolve(self.entry, path=self.aside)


class Aside(enum.Enum):
    """What is under the name of a file aside, once that was looked at."""

    AS_SEEN = "the version that was seen under its name"
    GONE = "nothing: another program has removed it there"


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
        placed = await self._placed(items) if is_repeat else {}
        results: dict[int, Entry | OperationRefused] = {**placed}
        going = {
            index: Going(it.over, it.aside, it.proof, it.trashed)
            for index, it in enumerate(items)
            if it.over is not None and it.aside is not None
        }
        aside = await self._set_aside(going, moved=placed.keys())
        for index, state in aside.items():
            if isinstance(state, OperationRefused):
                results.setdefault(index, state)
        waiting = {i: it for i, it in enumerate(items) if i not in results}
        moves = [Relocation(it.temporary, it.staged.path) for it in waiting.values()]
        superseded: set[int] = set()
        for (index, item), result in zip(waiting.items(), await self.target.move(moves) if moves else (), strict=True):
            results[index] = result
            if isinstance(result, OperationRefused) and await self._is_superseded(item):
                superseded.add(index)
        over = [
            going[index]
            for index, state in aside.items()
            if state is Aside.AS_SEEN and (index in superseded or isinstance(results[index], Entry))
        ]
        lost = [it.staged.temporary for i, it in enumerate(items) if not isinstance(results[i], Entry)]
        await self._sweep([*(it.aside for it in over if it.trashed is None), *lost])
        await self._keep([it for it in over if it.trashed is not None])
        return [results[index] for index in range(len(items))]

    async def _is_superseded(self, item: Placement) -> bool:
        """Put a file that was set aside back, because the new one did not get its name.

        Return True if another program has written a file of that name meanwhile: the old one is as both sides had it,
        and may go.
        """
        if item.kept is None:
            return False
        (now,) = await look(self.target, [item.final])
        if now is None:
            await self._put_back(item.kept, item.staged.path)
        return isinstance(now, Entry)

    async def _placed(self, items: Sequence[Placement]) -> dict[int, Entry]:
        """Return what has the final name, for each file that an earlier call has renamed already."""
        found = await look(self.target, [entry for it in items for entry in (it.temporary, it.final)])
        return {
            index: final
            for index, (it, temporary, final) in enumerate(zip(items, found[::2], found[1::2], strict=True))
            if temporary is None and isinstance(final, Entry) and _is_like(final, it.temporary)
        }

    async def _set_aside(
        self, pairs: Mapping[int, Going], moved: Collection[int] = ()
    ) -> dict[int, Aside | OperationRefused]:
        """Move files aside, and look at each of them there. Return what is aside, or the refusal, by key of the file.

        What is not as expected gets its name back, and so does what cannot be looked at. A refused move may be that of
        an earlier call whose answer was lost, so every name aside is looked at. ``moved`` are not to be moved any more.
        """
        states: dict[int, Aside | OperationRefused] = {
            index: OperationRefused(f"on the {self.side.value} {_TOO_YOUNG}")
            for index, item in pairs.items()
            if item.proof == b""
        }
        moving = {index: item for index, item in pairs.items() if index not in states and index not in moved}
        moves = [Relocation(item.entry, item.aside) for item in moving.values()]
        results = dict(zip(moving, await self.target.move(moves) if moves else (), strict=True))
        looked_at = {index: item for index, item in pairs.items() if index not in states}
        found = await look(self.target, [item.kept for item in looked_at.values()]) if looked_at else []
        for (index, item), now in zip(looked_at.items(), found, strict=True):
            refused = results.get(index)
            if now is None and isinstance(refused, OperationRefused):
                states[index] = OperationRefused(f"on the {self.side.value} {_CHANGED} ({refused})")
            elif now is None:
                states[index] = Aside.GONE
            elif isinstance(now, OperationRefused):
                states[index] = OperationRefused(f"on the {self.side.value} {_UNSEEN} ({now})")
                await self._put_back(item.kept, item.entry.path)
            elif await self._is_expected(now, item.kept, item.proof):
                states[index] = Aside.AS_SEEN
            else:
                states[index] = OperationRefused(f"on the {self.side.value} {_CHANGED}")
                await self._put_back(now, item.entry.path)
        return states

    async def _is_expected(self, now: Entry, expected: Entry, proof: bytes | None) -> bool:
        """Return whether a file aside is the version that was seen. Where its times do not tell, it is read."""
        if not _is_like(now, expected):
            return False
        if proof is None:
            return True
        read = await digest_in(self.target, now.path)
        return read is not None and read[1] == proof

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
        """Remove files, each by way of its name aside. True if the file is gone, by this call or by another program.

        After a lost connection the same names are to be given again. A refusal leaves the file under its name, or under
        the name aside if it cannot be put back: it is never said to be gone while it is there.
        """
        states = await self._set_aside(pairs)
        results: dict[int, bool | OperationRefused] = {
            index: True if state is Aside.GONE else state
            for index, state in states.items()
            if state is not Aside.AS_SEEN
        }
        refused = {index: state for index, state in results.items() if isinstance(state, OperationRefused)}
        asked = [entry for index in refused for entry in (pairs[index].entry, pairs[index].kept)]
        found = await look(self.target, asked) if asked else []
        for index, name, aside in zip(refused, found[::2], found[1::2], strict=True):
            if name is None and aside is None:
                results[index] = True
        going = {index: pairs[index] for index, state in states.items() if state is Aside.AS_SEEN}
        gone = await self._take_away(list(going.values()))
        for (index, item), answer in zip(going.items(), gone, strict=True):
            results[index] = True
            if answer is not True:
                reason = answer if isinstance(answer, OperationRefused) else "it is not a file any more"
                results[index] = OperationRefused(f"the {self.side.value} does not remove it: {reason}")
                await self._put_back(item.kept, item.entry.path)
        swept = tuple(pairs[index].aside for index, result in results.items() if result is True)
        kept = tuple(
            item.trashed for index, item in going.items() if results[index] is True and item.trashed is not None
        )
        if swept:
            await send_facts(self.facts, Swept(swept, trashed=kept, side=self.side))
        return {index: results[index] for index in pairs}

    async def _take_away(self, going: Sequence[Going]) -> list[bool | OperationRefused]:
        """Remove files aside, or move them to their places in the trash. True if a file has gone from its name."""
        results: dict[str, bool | OperationRefused] = {}
        names = [it.aside for it in going if it.trashed is None]
        results |= zip(names, await self.target.sweep(names) if names else (), strict=True)
        moves = {it.aside: _to_trash(it) for it in going if it.trashed is not None}
        moved = await self.target.move([*moves.values()]) if moves else ()
        for name, result in zip(moves, moved, strict=True):
            results[name] = result if isinstance(result, OperationRefused) else True
        return [results[it.aside] for it in going]

    async def _keep(self, going: Sequence[Going]) -> None:
        """Move old files to the trash. What cannot be moved stays aside, and in the journal, for the next run.

        A connection that is lost here changes no outcome, as in `_sweep`.
        """
        if not going:
            return
        try:
            moved = await self.target.move([_to_trash(it) for it in going])
        except ConnectionLost:
            return
        for item, result in zip(going, moved, strict=True):
            if isinstance(result, OperationRefused):
                what = f"the old version of {display(item.entry.path)}"
                text = f"{what} cannot be moved to the trash of the {self.side.value}: {result}"
                text = f"{text}; it stays as {display(item.aside)}, and the next run tries again"
                await send_facts(self.facts, Warned(text))
            elif item.trashed is not None:
                await send_facts(self.facts, Swept((item.aside,), trashed=(item.trashed,), side=self.side))

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


def _to_trash(item: Going) -> Relocation:
    """Return the move of a file aside to its place in the trash."""
    place = None if item.trashed is None else item.trashed.place
    assert place is not None, f"no place in the trash: {item.entry.path}"
    return Relocation(item.kept, place)


def _is_like(now: Entry, expected: Entry) -> bool:
    """Return whether a file is the expected one: the same size, and the same time as precisely as both tell."""
    if (now.kind, now.size) != (expected.kind, expected.size):
        return False
    if None in {now.mtime_ns, expected.mtime_ns}:
        return True
    return is_same_time(now.mtime_ns, expected.mtime_ns)
