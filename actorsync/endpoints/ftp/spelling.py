"""How an FTP server is asked for the spelling of names; see `actorsync.endpoints.shared.spellings`."""

from __future__ import annotations

from collections.abc import Collection

from actorsync.endpoints.ftp.listing import Lister
from actorsync.endpoints.ftp.wire.connection import FtpConnection
from actorsync.endpoints.shared.spellings import Spellings
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind
from actorsync.protocols.ftp import dialogues
from actorsync.protocols.ftp.wire import command_line

__all__ = ["FtpSpellings"]


class FtpSpellings(Spellings):
    """The spellings of names on an FTP server."""

    def __init__(self, connection: FtpConnection, lister: Lister) -> None:
        super().__init__(connection.known.case_folding)
        self._connection = connection
        self._lister = lister

    async def names(self, directory: str) -> Collection[str] | OperationRefused:
        """List a directory."""
        names, refusal = await self._lister.names(directory)
        return refusal or names

    async def look(self, path: str) -> Entry | None:
        """Ask with MLST or CWD for a directory, with SIZE and MDTM for a file."""
        place = self._connection.at(path)
        if await self._connection.is_directory(place):
            return Entry(path, Kind.DIRECTORY)
        (found,) = await self._connection.control.play(dialogues.facts([place]))
        return None if found is None else Entry(path, Kind.FILE, *found)

    async def rename(self, old: str, new: str) -> OperationRefused | None:
        """Rename with RNFR and RNTO, and leave no RNFR armed."""
        at, control = self._connection.at, self._connection.control
        lines = (command_line("RNFR", at(old)), command_line("RNTO", at(new)))
        rnfr, rnto = await control.play(dialogues.exchange([lines]))
        refusal = dialogues.rename_outcome(rnfr, rnto)
        if refusal is not None and not rnfr.is_refusal:
            await control.play(dialogues.disarm_rename())
        return None if refusal is None else OperationRefused(f"the server refused the rename: {refusal}")

    def fault(self, path: str) -> str | None:
        """Return why a path cannot be sent."""
        return self._connection.fault(path)
