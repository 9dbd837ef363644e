"""Permissions on an FTP server: set with SITE CHMOD, where the profile asks for it, and read from MLST.

FTP has no command that makes a file with a mode. A temporary has the server's default until its upload has ended.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from actorsync.classes import frozen
from actorsync.endpoints.contract import Upload
from actorsync.endpoints.ftp.looks.symlinks import SymlinkFinder
from actorsync.endpoints.ftp.wire.connection import UNKNOWN, FtpConnection
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, parent_of
from actorsync.protocols.ftp import dialogues
from actorsync.protocols.ftp.listing import mlst_entry
from actorsync.protocols.ftp.replies import can_set_mode, set_mode_line
from actorsync.protocols.ftp.wire import Reply

__all__ = ["ModeSetter"]


@frozen
class ModeSetter:
    """Sets the modes of uploads and of entries."""

    _connection: FtpConnection
    _symlinks: SymlinkFinder

    # Of an upload.

    async def take_over(self, upload: Upload) -> None:
        """Let an upload have the mode of the file that it replaces, if MLST shows one."""
        if self._connection.known.has_mlsd:
            (looked,) = await self._connection.control.play(dialogues.looks([self._connection.at(upload.path)]))
            old = mlst_entry(looked)
            if old is not None and old.kind is Kind.FILE and old.mode is not None:
                upload.mode = old.mode
                return
            if looked.is_permanent:
                return  # there is none any more
        upload.mode = None
        self._connection.known.unset_modes.note(upload.path, "the server does not show the mode of the file before it")

    def line(self, upload: Upload) -> bytes | None:
        """Return the command that sets the mode of a temporary; None where there is nothing to set."""
        if upload.mode is None or not self._can_name(upload.temporary):
            return None
        return set_mode_line(self._connection.at(upload.temporary), upload.mode)

    def read(self, path: str, mode: int, reply: Reply) -> int | None:
        """Return the mode that a path has after SITE CHMOD; None if that is not known."""
        unset = self._connection.known.unset_modes
        lacks = self._connection.known.commands.lacks("SITE", reply)
        if reply.is_positive and reply.code != 202:  # 202: not carried out, because it means nothing here
            return mode
        unset.is_impossible = unset.is_impossible or lacks
        unset.note(path, f"the server refuses it: {reply}")
        return None

    def _can_name(self, path: str) -> bool:
        """Return whether SITE CHMOD can be sent for a path. The user is told where it cannot."""
        unset = self._connection.known.unset_modes
        if not can_set_mode(self._connection.at(path)):
            unset.note(path, "SITE CHMOD cannot name a path with several spaces in a row, or one at its end")
            return False
        return not unset.is_impossible

    # Of an entry.

    async def set_modes(self, entries: Sequence[Entry]) -> list[Entry | OperationRefused]:
        """Set modes in bursts. With MLST, an entry of another kind than expected is refused before."""
        connection = self._connection
        await connection.resync()
        results: dict[int, Entry | OperationRefused] = {}
        links = await self._symlinks.find(sorted({parent_of(entry.path) for entry in entries}))
        for index, entry in enumerate(entries):
            if why := connection.fault(entry.path):
                results[index] = OperationRefused(why)
            elif link := links.get(parent_of(entry.path)):
                results[index] = link
            elif entry.mode is None or not self._can_name(entry.path):
                results[index] = attrs.evolve(entry, mode=None)
        if connection.known.has_mlsd:
            results |= await self._other_kinds({i: entry for i, entry in enumerate(entries) if i not in results})
        changes = {i: it.mode for i, it in enumerate(entries) if i not in results and it.mode is not None}
        lines = [(connection.at(entries[index].path), mode) for index, mode in changes.items()]
        replies = await connection.control.play(dialogues.set_modes(lines))
        for (index, mode), reply in zip(changes.items(), replies, strict=True):
            entry = entries[index]
            results[index] = attrs.evolve(entry, mode=self.read(entry.path, mode, reply))
        return [results[index] for index in range(len(entries))]

    async def _other_kinds(self, entries: dict[int, Entry]) -> dict[int, OperationRefused]:
        """Return a refusal for each entry that MLST shows as gone, or as another kind: a link, above all."""
        paths = [self._connection.at(entry.path) for entry in entries.values()]
        looks = await self._connection.control.play(dialogues.looks(paths))
        refusals: dict[int, OperationRefused] = {}
        for (index, entry), looked in zip(entries.items(), looks, strict=True):
            found = mlst_entry(looked)
            if looked.is_permanent and looked.code not in UNKNOWN:
                refusals[index] = OperationRefused(f"its mode is not set: the server does not show it: {looked}")
            elif found is not None and found.kind is not entry.kind:
                refusals[index] = OperationRefused(f"its mode is not set: it is no {entry.kind.value} any more")
        return refusals
