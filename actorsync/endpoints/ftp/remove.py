"""Removals on an FTP server, in bursts: files that are as recorded, empty directories, and temporaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from actorsync.endpoints.ftp.directories import Directories
from actorsync.endpoints.ftp.listing import SymlinkFinder
from actorsync.endpoints.ftp.move import is_changed
from actorsync.endpoints.ftp.spelling import FtpSpellings
from actorsync.endpoints.ftp.wire.connection import FtpConnection
from actorsync.endpoints.shared.paths import aside_of, trial_beside
from actorsync.endpoints.shared.symlink_guard import link_refusal
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, parent_of
from actorsync.protocols.ftp import dialogues
from actorsync.protocols.ftp.wire import Reply

__all__ = ["Remover"]


@attrs.frozen
class Remover:
    """Removes files, directories and temporaries."""

    _connection: FtpConnection
    _symlinks: SymlinkFinder
    _directories: Directories
    _spellings: FtpSpellings

    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        """Remove files whose size and time are still as recorded, then directories, each kind in bursts."""
        connection = self._connection
        await connection.resync()
        results = await self._unusable(entries)
        results |= await self._spellings.elsewhere(entry for entry in dict.fromkeys(entries) if entry not in results)
        usable = [entry for entry in dict.fromkeys(entries) if entry not in results]
        files = [entry for entry in usable if entry.kind is not Kind.DIRECTORY]
        # Without MLST a path that is now a file would look like a directory that is gone, so directories are checked.
        results |= await self._compare(files if connection.known.has_mlsd else usable)
        files = [entry for entry in files if entry not in results]
        directories = [
            entry
            for entry in usable
            if entry.kind is Kind.DIRECTORY and not isinstance(results.get(entry), OperationRefused)
        ]
        removed = await connection.each([entry.path for entry in files], dialogues.remove_files)
        results |= dict(zip(files, removed, strict=True))
        for entry, result in results.items():
            if result is True:
                connection.known.case_folding.give_up(entry.path)
        removed = await self._directories.remove([entry.path for entry in directories])
        results |= dict(zip(directories, removed, strict=True))
        return [results[entry] for entry in entries]

    async def _unusable(self, entries: Sequence[Entry]) -> dict[Entry, bool | OperationRefused]:
        """Return a refusal for each entry that is reached through a link, or has a path that cannot be used."""
        links = await self._symlinks.find([parent_of(entry.path) for entry in entries])
        refusals: dict[Entry, bool | OperationRefused] = {}
        for entry in entries:
            why = self._connection.fault(entry.path) or (None if entry.path else "the root is never removed")
            if parent_of(entry.path) in links:
                refusals[entry] = link_refusal(links[parent_of(entry.path)])
            elif why:
                refusals[entry] = OperationRefused(why)
        return refusals

    async def _compare(self, entries: Sequence[Entry]) -> dict[Entry, bool | OperationRefused]:
        """Look at entries before they are removed: True for one that shows no size, a refusal for one that changed."""
        found = await self._connection.control.play(
            dialogues.facts([self._connection.at(entry.path) for entry in entries])
        )
        results: dict[Entry, bool | OperationRefused] = {}
        for entry, now in zip(entries, found, strict=True):
            if now is None:
                results[entry] = True
            elif entry.kind is Kind.DIRECTORY or is_changed(entry, *now):
                results[entry] = OperationRefused("not removed: it was changed on the server")
        return results

    async def sweep(
        self, temporaries: Sequence[str], finals: Mapping[str, str] | None = None
    ) -> list[bool | OperationRefused]:
        """Remove temporaries in bursts, with the probes beside them. A path that cannot be sent was never there.

        ``finals`` maps temporaries to final names. For those, an old file that a broken replacement has set aside gets
        its name back, or is removed where a new file has it.
        """
        connection = self._connection
        await connection.resync()
        possible = [temporary for temporary in temporaries if not connection.fault(temporary)]
        results: dict[str, bool | OperationRefused] = {}
        for temporary, refusal in (await self._put_back(possible, finals or {})).items():
            results[temporary] = OperationRefused(f"the old file was set aside and could not be put back: {refusal}")
        probes = [probe for temporary in possible if not connection.fault(probe := trial_beside(temporary))]
        gone = await connection.each([*possible, *probes], dialogues.remove_files)
        for temporary, result in zip(possible, gone, strict=False):
            results.setdefault(temporary, result)
        return [results.get(temporary, True) for temporary in temporaries]

    async def _put_back(self, temporaries: Sequence[str], finals: Mapping[str, str]) -> dict[str, Reply]:
        """Restore the names of files that were set aside. Returns the refusals, by temporary."""
        connection = self._connection
        items = [(t, aside_of(t), finals[t]) for t in temporaries if t in finals]
        usable = [item for item in items if not connection.fault(item[1]) and not connection.fault(item[2])]
        pairs = [(connection.at(aside), connection.at(final)) for _, aside, final in usable]
        refusals = await connection.control.play(dialogues.put_back(pairs))
        return {t: refusal for (t, _, _), refusal in zip(usable, refusals, strict=True) if refusal is not None}
