"""An FTP session under the contract: each verb is delegated to the class that carries it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from actorsync.endpoints.content_hash import ContentHash
from actorsync.endpoints.contract import Content, Relocation, Staged, Upload, nothing_ahead
from actorsync.endpoints.ftp.directories import Directories
from actorsync.endpoints.ftp.looks.listing import Lister
from actorsync.endpoints.ftp.looks.places import Places
from actorsync.endpoints.ftp.looks.presence import Looker, Presence
from actorsync.endpoints.ftp.looks.probe import Prober
from actorsync.endpoints.ftp.looks.restart import PartReader, RestartProbe
from actorsync.endpoints.ftp.looks.sizes import Sizes
from actorsync.endpoints.ftp.looks.spelling import FtpSpellings
from actorsync.endpoints.ftp.looks.symlinks import SymlinkFinder
from actorsync.endpoints.ftp.modes import ModeSetter
from actorsync.endpoints.ftp.move import Mover
from actorsync.endpoints.ftp.publish import Publisher
from actorsync.endpoints.ftp.read import Hasher, Reader
from actorsync.endpoints.ftp.remove import Remover
from actorsync.endpoints.ftp.rename import Renamer
from actorsync.endpoints.ftp.resume import Resumer
from actorsync.endpoints.ftp.upload import Uploader
from actorsync.endpoints.ftp.wire.connection import FtpConnection
from actorsync.endpoints.releases import Publication, Published
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Listing
from actorsync.model.text import display
from actorsync.planning.name_folding import NewSpelling
from actorsync.protocols.ftp.dialogues import exchange, whereabouts
from actorsync.protocols.ftp.flights import Flight, Flights
from actorsync.protocols.ftp.replies import TimeSetter, available_of
from actorsync.protocols.ftp.wire import command_line

__all__ = ["FtpSession"]

_TIMES = {TimeSetter.MFMT: "set with MFMT", TimeSetter.MDTM: "set with MDTM, if allowed"}


def _in_words(flights: Flights) -> str:
    if flights.is_lock_step:
        return "one at a time: the server does not take them in a row"
    return "many at a time" if flights.allows(Flight.STORE) else "many at a time, except around transfers"


class FtpSession:
    """One logged-in connection, with every verb of the contract."""

    def __init__(self, connection: FtpConnection, warnings: Sequence[str] = ()) -> None:
        self.connection = connection
        self.keep_alive = connection.keep_alive
        self._warnings = warnings
        places = Places(connection)
        self._lister = Lister(connection, places)
        symlinks = SymlinkFinder(connection, self._lister, places)
        presence = Presence(connection, self._lister)
        sizes = Sizes(connection, self._lister)
        prober = Prober(connection, sizes)
        self._spellings = FtpSpellings(connection, self._lister, presence)
        self._renamer = Renamer(connection, self._spellings, prober, sizes)
        self._modes = ModeSetter(connection, symlinks)
        parts = PartReader(connection)
        self._resumer = Resumer(connection, parts, RestartProbe(connection, parts))
        self._uploader = Uploader(
            connection,
            self._lister,
            symlinks,
            prober,
            self._renamer,
            sizes,
            self._modes,
            self._spellings,
            self._resumer,
        )
        self._mover = Mover(connection, self._spellings, symlinks)
        self._reader = Reader(connection, presence)
        self._looker = Looker(connection, presence)
        self._publisher = Publisher(connection, self._looker, self._spellings, symlinks)
        self._hasher = Hasher(connection)
        self._directories = Directories(connection, self._lister, symlinks, presence, self._spellings)
        self._remover = Remover(connection, symlinks, self._directories, presence, self._spellings)

    async def list_directory(self, directory: str) -> Listing:
        """List a directory with MLSD, or with CWD and LIST where there is no MLSD."""
        return await self._lister.list_directory(directory, nothing_ahead)

    async def list_directory_ahead(self, directory: str, ahead: Callable[[], bool]) -> Listing:
        """List a directory. With MLSD, the port of the listing that follows is requested in the same flight."""
        return await self._lister.list_directory(directory, ahead)

    async def look(self, entries: Sequence[Entry]) -> list[Entry | OperationRefused | None]:
        """Look at entries by their names."""
        return await self._looker.look(entries)

    def open(self, path: str) -> AbstractAsyncContextManager[Content]:
        """Open a file for reading."""
        return self._reader.open(path)

    def open_at(self, path: str, start: int) -> AbstractAsyncContextManager[Content]:
        """Open a file for reading from byte ``start`` on, with REST."""
        return self._reader.open(path, start)

    async def hash_files(self, entries: Sequence[Entry]) -> list[ContentHash | None]:
        """Return the hashes of files that the server computes, with HASH."""
        return await self._hasher.hash_files(entries)

    async def stage(
        self, upload: Upload, *, commit: Sequence[Staged] = (), ahead: Callable[[], bool] = nothing_ahead
    ) -> tuple[Staged | OperationRefused, list[Entry | OperationRefused]]:
        """Upload to the temporary, with one earlier commit in the same flight."""
        return await self._uploader.stage(upload, commit=commit, ahead=ahead)

    async def commit(self, staged: Sequence[Staged]) -> list[Entry | OperationRefused]:
        """Rename temporaries to their final names."""
        return await self._renamer.commit(staged)

    async def publish(self, items: Sequence[Publication]) -> list[Published | OperationRefused]:
        """Publish staged files, up to 64 in a flight."""
        return await self._publisher.publish(items)

    async def free_space(self) -> int | None:
        """Ask with AVBL, where FEAT names it (draft-peterson-streamlined-ftp-command-extensions)."""
        if "AVBL" not in self.connection.known.features.names:
            return None
        await self.connection.resync()
        asked = command_line("AVBL", self.connection.at(""))
        (reply,) = await self.connection.control.play(exchange([(asked,)]))
        return available_of(reply)

    async def put_back(self, items: Sequence[Publication]) -> list[Entry | OperationRefused | None]:
        """Take publications back, up to 64 in a flight."""
        return await self._publisher.put_back(items)

    async def make_directories(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        """Make directories."""
        return await self._directories.make(paths)

    async def move(self, relocations: Sequence[Relocation]) -> list[Entry | OperationRefused]:
        """Rename files that are as recorded."""
        return await self._mover.move(relocations)

    async def set_modes(self, entries: Sequence[Entry]) -> list[Entry | OperationRefused]:
        """Set modes with SITE CHMOD."""
        return await self._modes.set_modes(entries)

    async def respell(self, items: Sequence[NewSpelling]) -> list[Entry | OperationRefused]:
        """Change the spelling of names, on a server that takes both spellings for one name."""
        await self.connection.resync()
        return await self._spellings.respell(items)

    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        """Remove files that are as recorded, and empty directories."""
        return await self._remover.remove(entries)

    async def sweep(
        self, temporaries: Sequence[str], finals: Mapping[str, str] | None = None
    ) -> list[bool | OperationRefused]:
        """Remove temporaries."""
        return await self._remover.sweep(temporaries, finals)

    async def abandon(self, temporary: str) -> bool:
        """Cut the transfer off, read the replies that are due, and remove the temporary."""
        return (await self.sweep([temporary]))[0] is True

    async def may_continue(self, temporary: str) -> int:
        """Return where content is to be opened, by the size of the temporary."""
        return await self._resumer.may_continue(temporary)

    async def continue_from(self, upload: Upload) -> int:
        """Return where an upload may go on, with REST and STOR."""
        return await self._resumer.continue_from(upload)

    async def leave(self, temporary: str) -> None:  # noqa: ARG002 - a session has one transfer at a time
        """Cut the transfer off, and read the replies that are due."""
        await self.connection.resync()

    async def resolve_root(self) -> str | None:
        """Return the absolute path of the root as the server names it after entering it; None where it does not say."""
        enter = command_line("CWD", self.connection.at(""))
        replies = await self.connection.control.play(exchange([(enter,), (command_line("PWD"),)]))
        (place,) = whereabouts(replies)
        return place

    def describe(self) -> Sequence[tuple[str, str]]:
        """Describe the server and its abilities."""
        known = self.connection.known
        return (
            ("server", display(known.greeting)),
            ("security", self.connection.control.security),
            ("root", display(self.connection.root or "/")),
            ("listing", "MLSD" if known.has_mlsd else "CWD, LIST and MDTM"),
            ("data", "PASV" if known.uses_pasv else "EPSV"),
            ("commands", _in_words(known.flights)),
            ("times", _TIMES.get(known.time_setter or TimeSetter.NONE, "cannot be set")),
            ("features", display(" ".join(sorted(known.features.names))) or "none told"),
        )

    def warnings(self) -> Sequence[str]:
        """Return what the user should know: a login in clear, times that have all moved, what the server lacks."""
        known, found = self.connection.known, [*self._warnings, *self.connection.known.unset_modes.warnings]
        found += [
            f"the old version is lost, and cannot be put back: the server refused to set it aside, and replaced it all "
            f"the same ({display(one)}); check the permissions there"
            for one in known.unkept
        ]
        if known.time_shift.warning:
            found.append(known.time_shift.warning)
        if known.flights.warning:
            found.append(known.flights.warning)
        if known.is_unverified:
            found.append(
                "the server shows no sizes, neither by SIZE nor in its listings: whether uploads are whole cannot be "
                "verified, only that the server says so"
            )
        return tuple(found)
