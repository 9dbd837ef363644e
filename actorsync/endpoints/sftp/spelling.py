"""How an SFTP server is asked for the spelling of names; see `actorsync.endpoints.shared.spellings`."""

from __future__ import annotations

from collections.abc import Collection

from actorsync.endpoints.sftp.wire.connection import SftpConnection
from actorsync.endpoints.shared.spellings import Spellings
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry
from actorsync.protocols.sftp import dialogues as ask
from actorsync.protocols.sftp import requests as sftp
from actorsync.protocols.sftp.replies import OK, Attributes, Status, entry_of

__all__ = ["SftpSpellings"]


class SftpSpellings(Spellings):
    """The spellings of names on an SFTP server."""

    def __init__(self, connection: SftpConnection) -> None:
        super().__init__(connection.knowledge.folding)
        self._connection = connection

    async def names(self, directory: str) -> Collection[str] | OperationRefused:
        """List a directory."""
        found = await self._connection.list_names(directory)
        if isinstance(found, Status):
            return OperationRefused(f"its directory cannot be listed to compare the spelling of names: {found}")
        return [name for name, _ in found]

    async def look(self, path: str) -> Entry | None:
        """Ask with LSTAT."""
        (found,) = await self._connection.requests.run(ask.lstat_all([self._connection.absolute(path)]))
        return entry_of(path, found) if isinstance(found, Attributes) else None

    async def rename(self, old: str, new: str) -> OperationRefused | None:
        """Rename with ``posix-rename`` where there is one: SFTP's own rename is refused if the new name exists."""
        rename = sftp.rename_over if self._connection.server.replaces else sftp.rename
        absolute = self._connection.absolute
        (reply,) = await self._connection.requests.exchange([rename(absolute(old), absolute(new))])
        return None if reply == OK else OperationRefused(f"the server refused the rename: {reply}")

    def fault(self, path: str) -> str | None:
        """Return why a path cannot be sent."""
        return self._connection.why_unusable(path)
