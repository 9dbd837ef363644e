"""What exists on an FTP server: found out by looking, never by one reply code.

Servers answer 450, 451, 500 or 550 to a command about something that does not exist, and 550 also to one that is not
allowed. So what a command does not show is looked for in the listing of its directory. A listing may hide names that
begin with a dot, or print another character for what is not ASCII. Then RNFR asks for the name itself.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Sequence
from typing import TypeAlias

from actorsync.classes import frozen
from actorsync.endpoints.ftp.looks.listing import Lister
from actorsync.endpoints.ftp.wire.connection import FtpConnection
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, name_of, parent_of
from actorsync.protocols.ftp import dialogues
from actorsync.protocols.ftp.listing import ListedEntry, shows_name
from actorsync.protocols.ftp.time_shift import TimeShift
from actorsync.protocols.ftp.wire import command_line

__all__ = ["Facts", "Looker", "Presence", "is_changed", "note_times"]

#: Size and time of a file, in nanoseconds; None for what is no file.
Facts: TypeAlias = tuple[int, int | None] | None


def note_times(shift: TimeShift, seen: Iterable[tuple[Entry, Facts]]) -> None:
    """Note the times of files, each with what the server shows of it, before any of them is judged."""
    for entry, facts in seen:
        if entry.kind is Kind.FILE and facts is not None and facts[0] == entry.size:
            shift.note(entry.mtime_ns, facts[1])


def is_changed(entry: Entry, size: int, mtime_ns: int | None, shift: TimeShift) -> bool:
    """Return whether size or time of a file differ from ``entry``, as far as the server reports them.

    A time that has moved together with all others is no change.
    """
    if None in {mtime_ns, entry.mtime_ns} or size != entry.size:
        return size != entry.size
    return entry.mtime_ns not in {mtime_ns, shift.corrected(mtime_ns)}


@frozen
class Presence:
    """Looks for paths in the listings of their directories."""

    _connection: FtpConnection
    _lister: Lister

    async def look(self, paths: Sequence[str], *, are_ours: bool = False) -> dict[str, ListedEntry | None]:
        """Look for paths whose own commands were refused. Returns an entry for what exists, None for what is gone.

        A path is left out when it is not certain. ``are_ours`` says that they are temporaries: one that no listing
        shows, and that RNFR does not find, counts as gone. Of other files only a listing proves that they are gone.
        """
        found: dict[str, ListedEntry | None] = {}
        by_parent: dict[str, list[str]] = {}
        for path in paths:
            by_parent.setdefault(parent_of(path), []).append(path)
        for parent, group in by_parent.items():
            parsed, problem = await self._lister.told_directory(parent)
            if problem is not None and problem.vanished:
                found |= dict.fromkeys(group)
            entries = {} if parsed is None else {entry.name: entry for entry in parsed.entries}
            for path in group:
                name = name_of(path)
                if name in entries:
                    found[path] = entries[name]
                elif parsed is not None and problem is None and self._would_show(name, entries.keys()):
                    found[path] = None
        if are_ours:
            hidden = [path for path in paths if path not in found]
            there = await self.are_there(hidden)
            found |= {path: None for path, is_there in zip(hidden, there, strict=True) if not is_there}
        return found

    def _would_show(self, name: str, names: Collection[str]) -> bool:
        """Return whether a listing with these names would also show ``name``."""
        return shows_name(name, names, shows_dots=self._connection.known.shows_dots)

    async def are_there(self, paths: Sequence[str]) -> list[bool]:
        """Ask with RNFR, which every server that can rename has, whether paths exist. Nothing is renamed."""
        control, results = self._connection.control, []
        for path in paths:
            (rnfr,) = await control.play(dialogues.exchange([(command_line("RNFR", self._connection.at(path)),)]))
            if not rnfr.is_refusal:
                await control.play(dialogues.disarm_rename())
            results.append(not rnfr.is_refusal)
        return results


@frozen
class Looker:
    """Looks at known entries by their names: with SIZE and MDTM, and in a listing for what these do not show."""

    _connection: FtpConnection
    _presence: Presence

    async def look(self, entries: Sequence[Entry]) -> list[Entry | OperationRefused | None]:
        """Return what the server has under the paths of entries, as `Looking.look` says."""
        connection = self._connection
        await connection.resync()
        faults = {entry.path: connection.fault(entry.path) for entry in entries}
        results: dict[str, Entry | OperationRefused | None] = {
            path: OperationRefused(fault) for path, fault in faults.items() if fault
        }
        usable = [entry for entry in entries if entry.path not in results]
        results |= await self._files([entry for entry in usable if entry.kind is not Kind.DIRECTORY])
        for entry in usable:
            if entry.kind is Kind.DIRECTORY and await connection.is_directory(connection.at(entry.path)):
                results[entry.path] = entry
        results |= await self._by_listing([entry for entry in usable if entry.path not in results])
        return [results[entry.path] for entry in entries]

    async def _files(self, files: Sequence[Entry]) -> dict[str, Entry | OperationRefused | None]:
        """Return the files of which the server shows the size."""
        connection, shift = self._connection, self._connection.known.time_shift
        units = [
            (command_line("SIZE", connection.at(entry.path)), command_line("MDTM", connection.at(entry.path)))
            for entry in files
        ]
        replies = await connection.control.play(dialogues.exchange(units))
        if any(reply.is_positive for reply in replies[::2]):
            connection.known.commands.note("SIZE")
        shown = [dialogues.read_facts(size, time) for size, time in zip(replies[::2], replies[1::2], strict=True)]
        note_times(shift, zip(files, shown, strict=True))
        results: dict[str, Entry | OperationRefused | None] = {}
        for entry, facts in zip(files, shown, strict=True):
            if facts is None:
                continue
            if not is_changed(entry, *facts, shift):
                results[entry.path] = entry
            elif not await connection.is_directory(connection.at(entry.path)):  # some show a size for a directory
                results[entry.path] = Entry(entry.path, Kind.FILE, *facts)
        return results

    async def _gone(self, entries: Sequence[Entry]) -> list[str]:
        """Return the paths of entries that are gone, of those that no listing, SIZE or CWD shows.

        A listing may hide a name that begins with a dot, and some servers list an empty directory as a forbidden one.
        So RNFR has to refuse the name as well. Some servers accept RNFR for every name. There it proves nothing, and
        the refusal of a SIZE that the server is known to have, or of CWD, has to do.
        """
        if not entries:
            return []
        there = await self._presence.are_there([entry.path for entry in entries])
        gone = [entry.path for entry, is_there in zip(entries, there, strict=True) if not is_there]
        if any(there):
            (accepts_all,) = await self._presence.are_there([f"{entries[0].path}.{secrets.token_hex(8)}"])
            known = self._connection.known
            has_size = known.commands.works("SIZE") or "SIZE" in known.features.names
            if accepts_all:
                gone = [entry.path for entry in entries if entry.kind is Kind.DIRECTORY or has_size]
        return gone

    async def _by_listing(self, entries: Sequence[Entry]) -> dict[str, Entry | OperationRefused | None]:
        """Return what the listings of the directories show."""
        shift = self._connection.known.time_shift
        found = await self._presence.look([entry.path for entry in entries])
        found |= dict.fromkeys(await self._gone([entry for entry in entries if entry.path not in found]))
        results: dict[str, Entry | OperationRefused | None] = {}
        for entry in entries:
            if entry.path not in found:
                results[entry.path] = OperationRefused("the server does not show whether it exists")
            elif (listed := found[entry.path]) is None:
                results[entry.path] = None
            elif listed.kind is not entry.kind:
                results[entry.path] = Entry(entry.path, listed.kind, listed.size or 0, listed.mtime_ns)
            else:
                size = entry.size if listed.size is None else listed.size
                is_same = entry.kind is Kind.DIRECTORY or not is_changed(entry, size, listed.mtime_ns, shift)
                results[entry.path] = entry if is_same else Entry(entry.path, listed.kind, size, listed.mtime_ns)
        return results
