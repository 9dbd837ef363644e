"""How many bytes the server has of a file, where SIZE does not tell: by MLST, or by the listing of the directory.

Not every server has SIZE, and an upload must be verified all the same. Where a listing shows neither the size nor the
file (some hide names that begin with a dot), a file counts as stored when the server says so, and a warning tells it.
"""

from __future__ import annotations

from actorsync.classes import frozen
from actorsync.endpoints.ftp.looks.listing import Lister
from actorsync.endpoints.ftp.wire.connection import UNKNOWN, FtpConnection
from actorsync.errors import ConnectionLost
from actorsync.model.entry import Kind, name_of, parent_of
from actorsync.protocols.ftp import dialogues
from actorsync.protocols.ftp.flights import OutOfStep
from actorsync.protocols.ftp.listing import mlst_entry, shows_name
from actorsync.protocols.ftp.replies import checked
from actorsync.protocols.ftp.wire import command_line

__all__ = ["Sizes"]

#: How often a directory is listed before it counts as one that cannot be listed. Some servers break a listing off when
#: another connection renames a file of the directory meanwhile.
_TRIES = 3


@frozen
class Sizes:
    """Reads back sizes on any server."""

    _connection: FtpConnection
    _lister: Lister

    async def confirm_missing(self, path: str) -> None:
        """Ask again, alone, after SIZE was refused as unknown. Afterwards ``has_size`` is False.

        Raises:
            ConnectionLost: SIZE worked before, so this reply has another cause.
            OutOfStep: Asked alone, the server has SIZE.
        """
        known = self._connection.known
        if not known.has_size:
            return
        if known.commands.works("SIZE"):
            raise ConnectionLost("the server calls SIZE unknown, and has answered it before")
        (again,) = await self._connection.control.exchange([command_line("SIZE", self._connection.at(path))])
        if checked("SIZE", again).code not in UNKNOWN:
            raise OutOfStep(f"the server called SIZE unknown among other commands, and alone it answers: {again}")
        known.has_size = False

    async def stored(self, path: str, size: int) -> int | None:
        """Return how many bytes the server has of a file that should have ``size`` bytes; None for no file.

        Where nothing can tell, ``size`` is returned, and `FtpConnection.known` has the fact for a warning.
        """
        connection = self._connection
        if connection.known.has_size:
            (found,) = await connection.control.play(dialogues.sizes([connection.at(path)]))
            return found
        return await self._look(path, size)

    async def stored_in_spite(self, path: str, size: int) -> int | None:
        """Return what `stored` does for an upload that the server accepted, and whose size it refuses to tell.

        An account may be denied SIZE altogether. This is so if the server shows the file in another way.
        """
        known = self._connection.known
        if not known.has_size or known.commands.works("SIZE"):
            return None
        found = await self._look(path, size)
        known.has_size = found is None
        return found

    async def _look(self, path: str, size: int) -> int | None:
        """Return what `stored` does without SIZE."""
        connection = self._connection
        if connection.known.has_mlsd:
            (reply,) = await connection.control.exchange([command_line("MLST", connection.at(path))])
            if (facts := mlst_entry(checked("MLST", reply))) is not None and facts.size is not None:
                return facts.size
        for _ in range(_TRIES):
            parsed, problem = await self._lister.parse_directory(parent_of(path))
            if parsed is not None and problem is None:
                break
        else:
            return None
        name = name_of(path)
        listed = next((entry for entry in parsed.entries if entry.name == name), None)
        if listed is not None and (listed.kind is not Kind.FILE or listed.size is not None):
            return listed.size
        shown = [entry.name for entry in parsed.entries]
        if listed is None and shows_name(name, shown, shows_dots=connection.known.shows_dots):
            return None
        connection.known.is_unverified = True
        return size
