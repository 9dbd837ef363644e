"""Odd names on an SFTP server: a name that is stored in another form may take the place of another file."""

from __future__ import annotations

from actorsync.endpoints.sftp.wire.connection import SftpConnection
from actorsync.endpoints.shared.odd_names import siblings, stored_differently
from actorsync.errors import OperationRefused
from actorsync.model.entry import join, name_of, parent_of
from actorsync.planning.temporary_names import oddness
from actorsync.protocols.sftp import requests as sftp
from actorsync.protocols.sftp.replies import Attributes, Status

__all__ = ["Names"]


class Names:
    """Checks how the server stores odd names. Each kind of odd name is checked once a run."""

    def __init__(self, connection: SftpConnection) -> None:
        self._connection = connection

    def is_suspect(self, path: str) -> bool:
        """Return whether the server has not been seen yet to store such a name unchanged."""
        return not oddness(name_of(path)) <= self._connection.knowledge.kept_traits

    async def check(self, path: str, stored: str) -> OperationRefused | None:
        """Check a file or directory that was just made as ``stored``; its name is odd in the same ways as ``path``'s.

        A listing that shows the name is a proof. A listing that does not show it proves nothing: servers hide entries,
        and some show other characters than they store. Then the server is asked for the name, and for siblings that it
        would mistake for it.
        """
        if not self.is_suspect(path):
            return None
        traits = oddness(name_of(path))
        found = await self._connection.list_names(parent_of(stored))
        names = set() if isinstance(found, Status) else {name for name, _ in found}
        if name_of(stored) in names or await self._is_told_apart(stored):
            self._connection.knowledge.kept_traits.update(traits)
            return None
        return stored_differently(traits)

    async def _is_told_apart(self, stored: str) -> bool:
        others = [join(parent_of(stored), name) for name in siblings(name_of(stored))]
        own, *found = await self._connection.requests.exchange(
            [sftp.lstat(self._connection.absolute(place)) for place in (stored, *others)]
        )
        return bool(found) and isinstance(own, Attributes) and all(isinstance(reply, Status) for reply in found)
