"""Moves of files on an FTP server: both names are checked in bursts, then the files are renamed in bursts.

FTP has no rename that refuses to replace a file. So both names are checked in the flight before the rename. A file that
appears under the new name in between is replaced: no server offers more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actorsync.classes import frozen
from actorsync.endpoints.contract import Relocation
from actorsync.endpoints.ftp.looks.presence import Facts, is_changed, note_times
from actorsync.endpoints.ftp.looks.spelling import FtpSpellings
from actorsync.endpoints.ftp.looks.symlinks import SymlinkFinder
from actorsync.endpoints.ftp.wire.connection import FtpConnection
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, name_of, parent_of
from actorsync.planning.temporary_names import oddness
from actorsync.protocols.ftp import dialogues
from actorsync.protocols.ftp.time_shift import TimeShift

__all__ = ["Mover"]


@frozen
class Mover:
    """Moves files that are already on the server."""

    _connection: FtpConnection
    _spellings: FtpSpellings
    _symlinks: SymlinkFinder

    async def move(self, relocations: Sequence[Relocation]) -> list[Entry | OperationRefused]:
        """Rename files that are as recorded, where nothing has the new name. Returns them as they are then."""
        await self._connection.resync()
        parents = dict.fromkeys(parent_of(path) for item in relocations for path in (item.entry.path, item.path))
        links = await self._symlinks.find(list(parents))
        results: dict[int, Entry | OperationRefused] = {}
        for index, item in enumerate(relocations):
            if (refusal := await self._why_not_moved(item, links)) is not None:
                results[index] = refusal
        results |= await self._compare({i: item for i, item in enumerate(relocations) if i not in results})
        results |= await self._rename({i: item for i, item in enumerate(relocations) if i not in results})
        for index, result in results.items():
            if isinstance(result, Entry):
                self._connection.known.case_folding.give_up(relocations[index].entry.path)
        return [results[index] for index in range(len(relocations))]

    async def _why_not_moved(self, item: Relocation, links: Mapping[str, OperationRefused]) -> OperationRefused | None:
        """Return why a file cannot be moved, as far as its names show."""
        for path in (item.entry.path, item.path):
            if parent_of(path) in links:
                return links[parent_of(path)]
            if why := self._connection.fault(path):
                return OperationRefused(why)
        kept = self._connection.known.kept_traits | oddness(name_of(item.entry.path))
        if not (item.is_back or oddness(name_of(item.path)) <= kept):
            return OperationRefused("not moved: it is not known yet whether the server stores its new name unchanged")
        return await self._spellings.claim(item.path)

    async def _compare(self, items: Mapping[int, Relocation]) -> dict[int, Entry | OperationRefused]:
        """Look at both names of each file. Returns the results of those that need no rename, or must not have one."""
        paths = [path for item in items.values() for path in self._paths(item)]
        found = await self._connection.control.play(dialogues.facts(paths))
        shift = self._connection.known.time_shift
        note_times(shift, zip((item.entry for item in items.values()), found[::2], strict=True))
        verdicts = {
            index: _verdict(items[index], old, new, shift)
            for index, old, new in zip(items, found[::2], found[1::2], strict=True)
        }
        return {index: verdict for index, verdict in verdicts.items() if verdict is not None}

    async def _rename(self, items: Mapping[int, Relocation]) -> dict[int, Entry | OperationRefused]:
        moved = await self._connection.control.play(dialogues.move_files([self._paths(i) for i in items.values()]))
        results: dict[int, Entry | OperationRefused] = {}
        for (index, item), (refusal, shown) in zip(items.items(), moved, strict=True):
            if refusal is None and shown is not None and shown[0] == item.entry.size:
                results[index] = _moved(item, shown[1])
            else:
                results[index] = OperationRefused(f"not moved: {refusal or 'the server then shows another size'}")
        return results

    def _paths(self, item: Relocation) -> tuple[str, str]:
        return self._connection.at(item.entry.path), self._connection.at(item.path)


def _moved(item: Relocation, mtime_ns: int | None) -> Entry:
    return Entry(item.path, Kind.FILE, item.entry.size, item.entry.mtime_ns if mtime_ns is None else mtime_ns)


def _verdict(item: Relocation, old: Facts, new: Facts, shift: TimeShift) -> Entry | OperationRefused | None:
    """Return the result of a move that needs no rename, or must not have one; None: the file is to be renamed."""
    if old is None:
        if new is None or is_changed(item.entry, *new, shift):
            return OperationRefused("not moved: it no longer exists on the server")
        return _moved(item, new[1])  # by an earlier call
    if is_changed(item.entry, *old, shift):
        return OperationRefused("not moved: it was changed on the server")
    return None if new is None else OperationRefused("not moved: its new name already exists on the server")
