"""Which directories are reached through a symbolic link, so that nothing is changed through one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from actorsync.classes import frozen
from actorsync.endpoints.ftp.looks.listing import Lister
from actorsync.endpoints.ftp.looks.places import Places, is_same_place
from actorsync.endpoints.ftp.wire.connection import FtpConnection
from actorsync.endpoints.shared.paths import below
from actorsync.endpoints.shared.symlink_guard import above, link_refusal
from actorsync.errors import OperationRefused
from actorsync.model.entry import Kind, name_of, parent_of
from actorsync.model.text import display
from actorsync.protocols.ftp import dialogues
from actorsync.protocols.ftp.replies import checked
from actorsync.protocols.ftp.wire import Reply, command_line

__all__ = ["SymlinkFinder"]

#: The kinds of the entries in a directory by name, or why they are not known.
_Names: TypeAlias = Mapping[str, Kind] | str


@frozen
class SymlinkFinder:
    """Finds the directories that are reached through a symbolic link, so that nothing is changed through one."""

    _connection: FtpConnection
    _lister: Lister
    _places: Places

    def unknown(self, directories: Sequence[str]) -> list[str]:
        """Return the directories that were not checked before; none where the server has no CWD to check them with."""
        return self._connection.known.symlink_guard.unknown(directories) if self._connection.known.has_cwd else []

    def lines(self, directories: Sequence[str]) -> list[bytes]:
        """Return the commands that show where directories really are. Afterwards the session stands in the root."""
        at = self._connection.at
        lines = [line for path in directories for line in (command_line("CWD", at(path)), command_line("PWD"))]
        return [*lines, command_line("CWD", at("")), command_line("PWD")] if directories else []

    async def read(self, directories: Sequence[str], replies: Sequence[Reply]) -> dict[str, OperationRefused]:
        """Read the replies to `lines`. Returns a refusal for each directory that is reached through a link."""
        known = self._connection.known
        found: dict[str, OperationRefused] = {}
        shown: dict[str, _Names] = {}
        for entered in replies[::2]:
            known.has_cwd &= not known.commands.lacks("CWD", entered)
        *places, root = dialogues.whereabouts(replies) or [None]
        for path, place, entered in zip(directories, places, replies[::2], strict=False):
            if place is None or root is None:
                if not (known.tells_links and checked("CWD", entered).is_positive):
                    continue  # the directory does not exist, or the server does not report where it is
                refusal = await self._in_listings(path, shown)
            elif is_same_place(place, below(root.rstrip("/"), path)):
                is_proved = not known.finds_links and (not known.tells_links or await self._places.walks(path))
                refusal = None if is_proved else await self._in_listings(path, shown)
            else:
                refusal = await self._in_listings(path, shown) or await self._by_place(path)
            if refusal is None:
                known.symlink_guard.add(path)
            else:
                found[path] = refusal
        return found

    async def _by_place(self, directory: str) -> OperationRefused | None:
        """Return a refusal if the server shows by places alone that a path leads through a link.

        For a server that only reads the text of a path, they are no proof.
        """
        if not await self._places.walks(directory):
            return None
        links = await self._places.elsewhere(above(directory))
        return next((link_refusal(path) for path in above(directory) if path in links), None)

    async def _in_listings(self, directory: str, shown: dict[str, _Names]) -> OperationRefused | None:
        """Return a refusal if listings show that a path leads through a link. ``shown`` holds those that came before.

        If every link has to be found, a directory above that cannot be listed is a refusal as well.
        """
        self._connection.close_data()
        for path in self._connection.known.symlink_guard.unknown(above(directory)):
            parent = parent_of(path)
            if parent not in shown:
                shown[parent] = await self._names(parent)
            kinds = shown[parent]
            if isinstance(kinds, str):
                return OperationRefused(
                    f"it cannot be told whether a symbolic link is where its directory {display(path)!r} should be: "
                    f"{kinds}; nothing is changed there"
                )
            if kinds.get(name_of(path)) is Kind.LINK:
                return link_refusal(path)
        return None

    async def _names(self, directory: str) -> _Names:
        """Return the kinds of the entries in a directory, or why it must not be changed."""
        parsed, problem = await self._lister.told_directory(directory)
        if problem is not None and not problem.vanished and self._connection.known.tells_links:
            return problem.reason
        return {entry.name: entry.kind for entry in parsed.entries} if parsed else {}

    async def find(self, directories: Sequence[str]) -> dict[str, OperationRefused]:
        """Check the directories that were not checked before, in bursts. Returns what `read` does."""
        known = self._connection.known
        if known.tells_links and not known.has_cwd:
            return await self._find_in_listings(known.symlink_guard.unknown(directories))
        unknown = self.unknown(directories)
        usable = [path for path in unknown if not self._connection.fault(path)]
        units = [(line,) for line in self.lines(usable)]
        return await self.read(usable, await self._connection.control.play(dialogues.exchange(units)))

    async def _find_in_listings(self, directories: Sequence[str]) -> dict[str, OperationRefused]:
        shown: dict[str, _Names] = {}
        found: dict[str, OperationRefused] = {}
        for path in directories:
            if self._connection.fault(path):
                continue
            if (refusal := await self._in_listings(path, shown)) is None:
                self._connection.known.symlink_guard.add(path)
            else:
                found[path] = refusal
        return found
