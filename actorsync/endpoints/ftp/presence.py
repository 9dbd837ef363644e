"""What exists on an FTP server: found out by looking, never by one reply code.

Servers answer 450, 451, 500 or 550 to a command about something that does not exist, and 550 also to one that is not
allowed. So what a command does not show is looked for in the listing of its directory. A listing may hide names that
begin with a dot, or print another character for what is not ASCII. Then RNFR asks for the name itself.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import attrs

from actorsync.endpoints.ftp.listing import Lister
from actorsync.endpoints.ftp.wire.connection import FtpConnection
from actorsync.model.entry import name_of, parent_of
from actorsync.protocols.ftp import dialogues
from actorsync.protocols.ftp.listing import ListedEntry, shows_name
from actorsync.protocols.ftp.wire import command_line

__all__ = ["Presence"]


@attrs.frozen
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
            parsed, problem = await self._lister.parse_directory(parent)
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
