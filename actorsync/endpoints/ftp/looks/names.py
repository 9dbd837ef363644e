"""Whether an FTP server keeps an odd name: shown by a listing, or by asking for the name and for others like it.

Some listings show another character for what is not ASCII, or hide names that begin with a dot, though the server
stores the name itself. So the absence of a name in a listing is no proof.
"""

from __future__ import annotations

from collections.abc import Iterable

from actorsync.classes import frozen
from actorsync.endpoints.ftp.wire.connection import FtpConnection
from actorsync.model.entry import join, name_of, parent_of
from actorsync.planning.temporary_names import forms_of
from actorsync.protocols.ftp import dialogues

__all__ = ["NameCheck"]


@frozen
class NameCheck:
    """Asks for names."""

    _connection: FtpConnection

    async def keeps(self, path: str, shown: Iterable[str], *, is_directory: bool = False) -> bool:
        """Return whether the server keeps the name of ``path``, which it has just stored, apart from other names.

        It must have the path by its own name, and none of the names that it may have made of it: those that listings
        show instead (``shown``), and those of `forms_of`. Each of these would be another file.
        """
        connection, parent = self._connection, parent_of(path)
        others = dict.fromkeys([*shown, *forms_of(name_of(path))])
        paths = [path, *(other for name in others if not connection.fault(other := join(parent, name)))]
        if is_directory:
            own, *found = [await connection.is_directory(connection.at(one)) for one in paths]
        else:
            sizes = await connection.control.play(dialogues.sizes([connection.at(one) for one in paths]))
            own, *found = [size is not None for size in sizes]
        return own and not any(found)
