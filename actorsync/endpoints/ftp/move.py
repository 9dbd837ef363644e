"""Moving files on an FTP server: looked at in bursts, then renamed in bursts.

FTP has no rename that refuses to replace a file. So both names are looked at in the flight before, and what appears
under the new one in between is replaced: no server offers more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actorsync.endpoints.contract import Relocation
from actorsync.endpoints.ftp.rename import FtpRenames
from actorsync.endpoints.shared.symlink_guard import astray
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, name_of, parent_of
from actorsync.planning.temporary_names import oddness
from actorsync.protocols.ftp import dialogues as ask

__all__ = ["FtpMoves", "is_changed"]

_Facts = tuple[int, int | None] | None


class FtpMoves(FtpRenames):
    """Moving over an `FtpLink`."""

    async def move(self, relocations: Sequence[Relocation]) -> list[Entry | OperationRefused]:
        """Rename files that are as recorded, where nothing has the new name; read back what is there then."""
        await self._get_in_step()
        parents = dict.fromkeys(parent_of(path) for item in relocations for path in (item.entry.path, item.path))
        links = await self._through_links(list(parents))
        results: dict[int, Entry | OperationRefused] = {}
        pairs: dict[int, tuple[str, str]] = {}
        for place, item in enumerate(relocations):
            if (refusal := await self._why_not_moved(item, links)) is not None:
                results[place] = refusal
            else:
                pairs[place] = self._at(item.entry.path), self._at(item.path)
        found = await self._control.play(ask.facts([path for pair in pairs.values() for path in pair]))
        for place, old, new in zip([*pairs], found[::2], found[1::2], strict=True):
            verdict = _verdict(relocations[place], old, new)
            if verdict is not None:
                results[place] = verdict
                del pairs[place]
        moved = await self._control.play(ask.move_files(list(pairs.values())))
        for place, (said, shown) in zip(pairs, moved, strict=True):
            item = relocations[place]
            if said is None and shown is not None and shown[0] == item.entry.size:
                results[place] = _entry(item, shown[1])
            else:
                results[place] = OperationRefused(f"the server does not move it: {said or 'it shows another size'}")
        for place, result in results.items():
            if isinstance(result, Entry):
                self._known.folding.give_up(relocations[place].entry.path)
        return [results[place] for place in range(len(relocations))]

    async def _why_not_moved(self, item: Relocation, links: Mapping[str, str]) -> OperationRefused | None:
        """Say why a file cannot be moved, as far as its names tell."""
        for path in (item.entry.path, item.path):
            if parent_of(path) in links:
                return astray(links[parent_of(path)])
            if why := self._fault(path):
                return OperationRefused(why)
        if not oddness(name_of(item.path)) <= self._known.stores | oddness(name_of(item.entry.path)):
            return OperationRefused("whether the server keeps its new name is not known yet")
        return await self._claim(item.path)


def is_changed(entry: Entry, size: int, mtime_ns: int | None) -> bool:
    """Whether a file is not what it was, for all that the server tells of it."""
    return size != entry.size or (None not in {mtime_ns, entry.mtime_ns} and mtime_ns != entry.mtime_ns)


def _entry(item: Relocation, mtime_ns: int | None) -> Entry:
    return Entry(item.path, Kind.FILE, item.entry.size, item.entry.mtime_ns if mtime_ns is None else mtime_ns)


def _verdict(item: Relocation, old: _Facts, new: _Facts) -> Entry | OperationRefused | None:
    """Say what becomes of a file without moving it, or None: it is to be moved."""
    if old is None:
        if new is None or is_changed(item.entry, *new):
            return OperationRefused("not moved: it is gone from the server")
        return _entry(item, new[1])  # by an earlier call
    if is_changed(item.entry, *old):
        return OperationRefused("not moved: it was changed on the server")
    return None if new is None else OperationRefused("not moved: something is in its place")
