"""Removals on an FTP server, in bursts: files that are as recorded, empty directories, and temporaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from actorsync.classes import frozen
from actorsync.endpoints.ftp.directories import Directories
from actorsync.endpoints.ftp.looks.presence import Presence, is_changed, note_times
from actorsync.endpoints.ftp.looks.spelling import FtpSpellings
from actorsync.endpoints.ftp.looks.symlinks import SymlinkFinder
from actorsync.endpoints.ftp.wire.connection import FtpConnection
from actorsync.endpoints.shared.paths import aside_of, is_above, trial_beside
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, parent_of
from actorsync.protocols.ftp import dialogues
from actorsync.protocols.ftp.wire import Reply, command_line

__all__ = ["Remover"]

_OTHERS: Final = (Kind.LINK, Kind.OTHER)


@frozen
class Remover:
    """Removes files, directories and temporaries."""

    _connection: FtpConnection
    _symlinks: SymlinkFinder
    _directories: Directories
    _presence: Presence
    _spellings: FtpSpellings

    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        """Remove files whose size and time are still as recorded, then directories, each kind in bursts.

        A link or a special file is removed if a listing still shows that kind: commands follow a link.
        """
        connection = self._connection
        await connection.resync()
        results = await self._unusable(entries)
        results |= await self._spellings.elsewhere(entry for entry in dict.fromkeys(entries) if entry not in results)
        usable = [entry for entry in dict.fromkeys(entries) if entry not in results]
        results |= await self._remove_others([entry for entry in usable if entry.kind in _OTHERS])
        files = [entry for entry in usable if entry.kind is Kind.FILE]
        # Without MLST a path that is now a file would look like a directory that is gone, so directories are checked.
        results |= await self._compare(
            files if connection.known.has_mlsd else [entry for entry in usable if entry.kind not in _OTHERS]
        )
        files = [entry for entry in files if entry not in results]
        directories = [
            entry
            for entry in usable
            if entry.kind is Kind.DIRECTORY and not isinstance(results.get(entry), OperationRefused)
        ]
        removed = await self._delete([entry.path for entry in files])
        results |= dict(zip(files, removed, strict=True))
        for entry, result in results.items():
            if result is True:
                connection.known.case_folding.give_up(entry.path)
        removed = await self._directories.remove([entry.path for entry in directories])
        results |= dict(zip(directories, removed, strict=True))
        return [results[entry] for entry in entries]

    async def _remove_others(self, entries: Sequence[Entry]) -> dict[Entry, bool | OperationRefused]:
        """Remove links and special files. Listings alone show what they are, and whether they are gone."""
        found = await self._presence.look([entry.path for entry in entries])
        results: dict[Entry, bool | OperationRefused] = {}
        for entry in entries:
            if entry.path not in found:
                results[entry] = OperationRefused("not removed: the server does not show whether it exists")
            elif (listed := found[entry.path]) is None:
                results[entry] = True
            elif listed.kind is not entry.kind:
                results[entry] = _changed()
        rest = [entry for entry in entries if entry not in results]
        removed = await self._delete([entry.path for entry in rest], trusts_looks=False)
        return results | dict(zip(rest, removed, strict=True))

    async def _unusable(self, entries: Sequence[Entry]) -> dict[Entry, bool | OperationRefused]:
        """Return a refusal for each entry that is reached through a link, or has a path that cannot be used."""
        links = await self._symlinks.find([parent_of(entry.path) for entry in entries])
        refusals: dict[Entry, bool | OperationRefused] = {}
        for entry in entries:
            why = self._connection.fault(entry.path) or ("the root is never removed" if is_above(entry.path) else None)
            if parent_of(entry.path) in links:
                refusals[entry] = links[parent_of(entry.path)]
            elif why:
                refusals[entry] = OperationRefused(why)
        return refusals

    async def _compare(self, entries: Sequence[Entry]) -> dict[Entry, bool | OperationRefused]:
        """Look at entries before they are removed: True for a file that is gone, a refusal for one that changed."""
        connection, commands = self._connection, self._connection.known.commands
        units = [
            (command_line("SIZE", connection.at(entry.path)), command_line("MDTM", connection.at(entry.path)))
            for entry in entries
        ]
        replies = await connection.control.play(dialogues.exchange(units))
        results: dict[Entry, bool | OperationRefused] = {}
        unclear: list[Entry] = []
        shown = [dialogues.read_facts(size, time) for size, time in zip(replies[::2], replies[1::2], strict=True)]
        note_times(connection.known.time_shift, zip(entries, shown, strict=True))
        for entry, size, now in zip(entries, replies[::2], shown, strict=True):
            commands.lacks("SIZE", size)
            if entry.kind is Kind.DIRECTORY:
                # Some servers show a size for a directory.
                if now is not None and not await connection.is_directory(connection.at(entry.path)):
                    results[entry] = _changed()
            elif now is not None:
                if is_changed(entry, *now, connection.known.time_shift):
                    results[entry] = _changed()
            elif size.code == 550 and commands.works("SIZE"):
                results[entry] = True
            else:
                unclear.append(entry)
        return results | await self._look_for(unclear)

    async def _look_for(self, files: Sequence[Entry]) -> dict[Entry, bool | OperationRefused]:
        """Look for files whose size was refused in the listings of their directories. Returns what `_compare` does."""
        found = await self._presence.look([entry.path for entry in files])
        shift = self._connection.known.time_shift
        seen = [(entry, listed) for entry in files if (listed := found.get(entry.path)) is not None]
        note_times(shift, [(entry, (listed.size or 0, listed.mtime_ns)) for entry, listed in seen])
        results: dict[Entry, bool | OperationRefused] = {}
        for entry in files:
            if entry.path not in found:
                why = "not removed: the server shows neither the size of the file nor whether it exists"
                results[entry] = OperationRefused(why)
            elif (listed := found[entry.path]) is None:
                results[entry] = True
            elif listed.kind is not Kind.FILE or is_changed(entry, listed.size or 0, listed.mtime_ns, shift):
                results[entry] = _changed()
        return results

    async def _delete(
        self, paths: Sequence[str], *, are_ours: bool = False, trusts_looks: bool = True
    ) -> list[bool | OperationRefused]:
        """Remove files in bursts. One that is refused and does not exist counts as removed.

        ``are_ours`` says that they are temporaries; see `Presence.look`. Without ``trusts_looks`` only a listing proves
        that one does not exist.
        """
        connection = self._connection
        trusts_looks = trusts_looks and connection.known.commands.works("SIZE")
        removed = await connection.each(paths, partial(dialogues.remove_files, trusts_looks=trusts_looks))
        refused = [path for path, result in zip(paths, removed, strict=True) if isinstance(result, OperationRefused)]
        found = await self._presence.look([path for path in refused if not connection.fault(path)], are_ours=are_ours)
        gone = {path for path, listed in found.items() if listed is None}
        return [True if path in gone else result for path, result in zip(paths, removed, strict=True)]

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
        gone = await self._delete([*possible, *probes], are_ours=True)
        for temporary, result in zip(possible, gone, strict=False):
            results.setdefault(temporary, result)
        return [results.get(temporary, True) for temporary in temporaries]

    async def _put_back(self, temporaries: Sequence[str], finals: Mapping[str, str]) -> dict[str, str]:
        """Restore the names of files that were set aside, or remove them where a new file has the name.

        Returns the refusals, by temporary. A new file is never replaced: a listing must show that its name is free.
        """
        connection, commands = self._connection, self._connection.known.commands
        items = {t: (aside_of(t), finals[t]) for t in temporaries if t in finals}
        usable = {t: pair for t, pair in items.items() if not any(map(connection.fault, pair))}
        paths = [path for pair in usable.values() for path in pair]
        sizes = await connection.control.play(dialogues.sizes([connection.at(path) for path in paths]))
        shown = {path for path, size in zip(paths, sizes, strict=True) if size is not None}
        if shown:
            commands.note("SIZE")
        looks_at_all = not commands.works("SIZE")  # then it shows nothing of what exists
        unclear = [
            path
            for aside, final in usable.values()
            for path in ((aside, final) if looks_at_all else (final,) if aside in shown else ())
            if path not in shown
        ]
        found = await self._presence.look(unclear)
        shown |= {path for path, listed in found.items() if listed is not None}
        refusals: dict[str, str] = {}
        for temporary, (aside, final) in usable.items():
            if aside not in shown:
                if final not in shown:
                    place = connection.at(aside), connection.at(final)
                    await connection.control.play(dialogues.put_directory_back(*place))
                continue
            refusal: Reply | str | None = "the server does not show whether its name is free"
            if final in shown:
                (refusal,) = await connection.control.play(dialogues.remove_files([connection.at(aside)]))
            elif final in found:
                refusal = await connection.control.play(dialogues.put_back(connection.at(aside), connection.at(final)))
            if refusal is not None:
                refusals[temporary] = str(refusal)
        return refusals


def _changed() -> OperationRefused:
    return OperationRefused("not removed: it was changed on the server")
