"""What the server has under a name, where SIZE does not tell: by MLST, or by the listing of the directory.

Not every server has SIZE, and an upload must be verified all the same. A listing shows the size, mostly. Where it shows
neither the size nor the file (some hide names that begin with a dot), a file counts as stored when the server says so,
and the user is told once.
"""

from __future__ import annotations

import attrs

from actorsync.endpoints.ftp.listing import Lister
from actorsync.endpoints.ftp.wire.connection import UNKNOWN, FtpConnection
from actorsync.errors import ConnectionLost
from actorsync.model.entry import Entry, Kind, join, name_of, parent_of
from actorsync.protocols.ftp import dialogues
from actorsync.protocols.ftp.flights import OutOfStep
from actorsync.protocols.ftp.listing import mlst_entry
from actorsync.protocols.ftp.replies import checked
from actorsync.protocols.ftp.wire import command_line

__all__ = ["Looker", "Sight"]


@attrs.frozen
class Sight:
    """What a look has shown.

    ``entry`` is None if there is no such name. ``is_certain`` is False if the name may be hidden, or its size not
    shown: then ``entry`` says nothing.
    """

    entry: Entry | None
    is_certain: bool = True

    @property
    def size(self) -> int | None:
        """The size of the file; None if there is none."""
        return self.entry.size if self.entry is not None and self.entry.kind is Kind.FILE else None


@attrs.frozen
class Looker:
    """Looks up single names on a server without SIZE."""

    _connection: FtpConnection
    _lister: Lister

    async def confirm_no_size(self, path: str) -> None:
        """Ask again, alone, after SIZE was refused as unknown. Afterwards ``has_size`` is False.

        Raises:
            ConnectionLost: SIZE worked before, so this reply has another cause.
            OutOfStep: Asked alone, the server has SIZE.
        """
        known = self._connection.known
        if known.has_size is False:
            return
        if known.has_size:
            raise ConnectionLost("the server calls SIZE unknown, and has answered it before")
        (again,) = await self._connection.control.exchange([command_line("SIZE", self._connection.at(path))])
        if again.code not in UNKNOWN:
            raise OutOfStep(f"the server called SIZE unknown among other commands, and alone it answers: {again}")
        known.has_size = False

    async def look(self, path: str) -> Sight:
        """Look up one name. A name that begins with a dot may be hidden, so that its absence shows nothing."""
        connection = self._connection
        if connection.known.has_mlsd:
            (reply,) = await connection.control.exchange([command_line("MLST", connection.at(path))])
            looked = checked("MLST", reply)
            if looked.is_refusal and looked.code not in UNKNOWN:
                return Sight(None)
            if (found := mlst_entry(looked)) is not None:
                is_told = found.kind is not Kind.FILE or found.size is not None
                return Sight(Entry(path, found.kind, found.size or 0, found.mtime_ns), is_told)
        parsed, problem = await self._lister.parse_directory(parent_of(path))
        name = name_of(path)
        for entry in parsed.entries if parsed is not None else ():
            if entry.name == name:
                is_told = entry.kind is not Kind.FILE or entry.size is not None
                return Sight(Entry(join(parent_of(path), name), entry.kind, entry.size or 0), is_told)
        return Sight(None, is_certain=problem is None and not name.startswith("."))

    async def stored(self, path: str, size: int) -> int | None:
        """Return how many bytes of an upload of ``size`` bytes the server has; ``size`` if nothing can tell."""
        if self._connection.known.has_size is not False:
            (found,) = await self._connection.control.play(dialogues.sizes([self._connection.at(path)]))
            return found
        sight = await self.look(path)
        if sight.is_certain:
            return sight.size
        self._connection.known.is_unverified = True
        return size
