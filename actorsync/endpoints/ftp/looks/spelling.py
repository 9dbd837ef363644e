"""How an FTP server is asked for the spelling of names; see `actorsync.endpoints.shared.spellings`."""

from __future__ import annotations

from collections.abc import Collection

from actorsync.endpoints.ftp.looks.listing import Lister
from actorsync.endpoints.ftp.looks.presence import Presence
from actorsync.endpoints.ftp.wire.connection import FtpConnection
from actorsync.endpoints.shared.spellings import Spellings
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, name_of, parent_of
from actorsync.planning.name_folding import loosest_key
from actorsync.protocols.ftp import dialogues
from actorsync.protocols.ftp.listing import mlst_entry
from actorsync.protocols.ftp.replies import checked
from actorsync.protocols.ftp.wire import command_line

__all__ = ["FtpSpellings"]


class FtpSpellings(Spellings):
    """The spellings of names on an FTP server."""

    def __init__(self, connection: FtpConnection, lister: Lister, presence: Presence) -> None:
        super().__init__(connection.known.case_folding)
        self._connection = connection
        self._lister = lister
        self._presence = presence

    async def names(self, directory: str) -> Collection[str] | OperationRefused:
        """List a directory. A listing that is incomplete is a refusal: it may lack the spelling that matters."""
        parsed, problem = await self._lister.parse_directory(directory)
        if parsed is None or problem is not None:
            why = problem.reason if problem else ""
            return OperationRefused(f"its directory cannot be listed to compare the spelling of names: {why}")
        return {found.name for found in parsed.entries}

    async def learn(self, new: str) -> None:
        """Learn from a new file whether the server finds it by other spellings of its name, if SIZE did not show it."""
        for other in self._folding.to_ask(new):
            if not self.fault(other):
                self._folding.learn(new, other, is_found=await self.look(other) is not None)

    async def look(self, path: str) -> Entry | None:
        """Ask with MLST or CWD for a directory, with SIZE and MDTM for a file, or with MLST or RNFR without SIZE."""
        place, known = self._connection.at(path), self._connection.known
        if await self._connection.is_directory(place):
            return Entry(path, Kind.DIRECTORY)
        if known.has_size:
            (found,) = await self._connection.control.play(dialogues.facts([place]))
            if found is not None:
                known.commands.note("SIZE")
                return Entry(path, Kind.FILE, *found)
            if known.commands.works("SIZE"):
                return None
        return await self._look_without_size(path)

    async def _look_without_size(self, path: str) -> Entry | None:
        known = self._connection.known
        if known.has_mlsd:
            (reply,) = await self._connection.control.exchange([command_line("MLST", self._connection.at(path))])
            if (shown := mlst_entry(checked("MLST", reply))) is not None:
                return Entry(path, shown.kind, shown.size or 0, shown.mtime_ns)
            if reply.code == 550 and known.commands.works("MLST"):
                return None
        (is_there,) = await self._presence.are_there([path])
        if not is_there:
            return None
        parsed, _ = await self._lister.parse_directory(parent_of(path))
        names = {found.name: found for found in parsed.entries} if parsed else {}
        alike = [found for name, found in names.items() if loosest_key(name) == loosest_key(name_of(path))]
        listed = names.get(name_of(path)) or next(iter(alike), None)
        return Entry(path, Kind.FILE) if listed is None else Entry(path, listed.kind, listed.size or 0, listed.mtime_ns)

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
