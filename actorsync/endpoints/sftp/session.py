"""An SFTP session: the contract's verbs, each delegated to the part of the package that carries it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import trio

from actorsync.endpoints.contract import Content, Relocation, Staged, Upload, nothing_ahead
from actorsync.endpoints.releases import Publication, Published
from actorsync.endpoints.sftp.directories import Directories
from actorsync.endpoints.sftp.looks.probe import Prober
from actorsync.endpoints.sftp.modes import ModeSetter
from actorsync.endpoints.sftp.move import Mover
from actorsync.endpoints.sftp.publish import Publisher
from actorsync.endpoints.sftp.read import Reader
from actorsync.endpoints.sftp.remove import Remover
from actorsync.endpoints.sftp.rename import Renamer
from actorsync.endpoints.sftp.resume import Resumer
from actorsync.endpoints.sftp.spelling import SftpSpellings
from actorsync.endpoints.sftp.upload import Uploader
from actorsync.endpoints.sftp.wire.connection import SftpConnection
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Listing
from actorsync.model.text import display, shorten
from actorsync.planning.name_folding import NewSpelling
from actorsync.protocols.sftp import requests
from actorsync.protocols.sftp.replies import Names, room_of

__all__ = ["SftpSession"]

#: How long an aborted run waits for the removal of a temporary. A server that is silent for so long stays silent.
_ABANDON_SECONDS = 2.0


class SftpSession:
    """One connection, as the contract's `Session`. Several tasks may use it at once."""

    def __init__(self, connection: SftpConnection) -> None:
        self._connection = connection
        prober = Prober(connection)
        self._spellings = SftpSpellings(connection)
        self._directories = Directories(connection, prober, self._spellings)
        self._reader = Reader(connection)
        self._renamer = Renamer(connection, prober, self._spellings)
        self._publisher = Publisher(connection, self._spellings)
        self._resumer = Resumer(connection)
        self._uploader = Uploader(connection, prober, self._renamer, self._resumer)
        self._mover = Mover(connection, self._spellings)
        self._remover = Remover(connection, self._spellings)
        self._mode_setter = ModeSetter(connection)

    async def list_directory(self, directory: str) -> Listing:
        """See `Directories.list_directory`."""
        return await self._directories.list_directory(directory)

    async def look(self, entries: Sequence[Entry]) -> list[Entry | OperationRefused | None]:
        """See `Directories.look`."""
        return await self._directories.look(entries)

    def open(self, path: str) -> AbstractAsyncContextManager[Content]:
        """See `Reader.open`."""
        return self._reader.open(path)

    def open_at(self, path: str, start: int) -> AbstractAsyncContextManager[Content]:
        """Open a file for reading from byte ``start`` on."""
        return self._reader.open(path, start)

    async def stage(
        self, upload: Upload, *, commit: Sequence[Staged] = (), ahead: Callable[[], bool] = nothing_ahead
    ) -> tuple[Staged | OperationRefused, list[Entry | OperationRefused]]:
        """See `Uploader.stage`."""
        return await self._uploader.stage(upload, commit=commit, ahead=ahead)

    async def commit(self, staged: Sequence[Staged]) -> list[Entry | OperationRefused]:
        """See `Renamer.commit`."""
        return await self._renamer.commit(staged)

    async def publish(self, items: Sequence[Publication]) -> list[Published | OperationRefused]:
        """See `Publisher.publish`."""
        return await self._publisher.publish(items)

    async def put_back(self, items: Sequence[Publication]) -> list[Entry | OperationRefused | None]:
        """See `Publisher.put_back`."""
        return await self._publisher.put_back(items)

    async def free_space(self) -> int | None:
        """Ask about the file system of the root, where the server has ``statvfs@openssh.com``."""
        if not self._connection.server.reports_room:
            return None
        request = requests.file_system(self._connection.absolute(""))
        (reply,) = await self._connection.requests.exchange([request])
        return room_of(reply)

    async def make_directories(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        """See `Directories.make_directories`."""
        return await self._directories.make_directories(paths)

    async def move(self, relocations: Sequence[Relocation]) -> list[Entry | OperationRefused]:
        """See `Mover.move`."""
        return await self._mover.move(relocations)

    async def set_modes(self, entries: Sequence[Entry]) -> list[Entry | OperationRefused]:
        """See `ModeSetter.set_modes`."""
        return await self._mode_setter.set_modes(entries)

    async def respell(self, items: Sequence[NewSpelling]) -> list[Entry | OperationRefused]:
        """Change the spelling of names, on a server that takes both spellings for one name."""
        return await self._spellings.respell(items)

    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        """See `Remover.remove`."""
        return await self._remover.remove(entries)

    async def sweep(
        self, temporaries: Sequence[str], finals: Mapping[str, str] | None = None
    ) -> list[bool | OperationRefused]:
        """See `Remover.sweep`."""
        return await self._remover.sweep(temporaries, finals or {})

    async def abandon(self, temporary: str) -> bool:
        """Remove the temporary; writes to it that are in flight are carried out before that, or refused."""
        with trio.move_on_after(_ABANDON_SECONDS):
            return (await self.sweep([temporary]))[0] is True
        return False

    async def may_continue(self, temporary: str) -> int:
        """See `Resumer.may_continue`."""
        return await self._resumer.may_continue(temporary)

    async def continue_from(self, upload: Upload) -> int:
        """See `Resumer.continue_from`."""
        return await self._resumer.continue_from(upload)

    async def leave(self, temporary: str) -> None:  # noqa: ARG002 - writes have offsets, so there is nothing to end
        """Keep the temporary. Writes to it that are in flight are carried out, or not."""
        await trio.lowlevel.checkpoint()

    async def resolve_root(self) -> str | None:
        """Return the absolute path of the root as the server names it; None where it does not say."""
        path = self._connection.absolute("")
        (found,) = await self._connection.requests.exchange([requests.real_path(path)])
        return found.names[0][0] if isinstance(found, Names) and len(found.names) == 1 else None

    async def keep_alive(self) -> None:
        """Ask for the entry of the root."""
        await self._connection.requests.exchange([requests.lstat(self._connection.server.root or "/")])

    def describe(self) -> Sequence[tuple[str, str]]:
        """Describe the server and what it supports."""
        server, host = self._connection.server, self._connection.requests.host
        return (
            *(("jump host", display(jump)) for jump in server.jump_hosts),
            ("server", display(server.description)),
            ("root", display(server.root or "/")),
            ("replacing", "atomically" if server.replaces else "in two steps, with the old file set aside"),
            ("times", "cannot be set" if host.refuses_times else "set with each file, where the server allows it"),
            ("files at once", str(host.handles or "no limit known")),
            ("requests", "sent ahead" if host.keeps_order else "one at a time for each file"),
            ("extensions", shorten(display(" ".join(sorted(server.extensions))), 300) or "none"),
        )

    def warnings(self) -> Sequence[str]:
        """Warn of what the server does not do of what the profile asks for, and of faults that it has shown."""
        connection = self._connection
        host = connection.requests.host
        # A server that refuses every setting is warned of once, for times and permissions together.
        unset = () if host.refuses_times else connection.knowledge.unset_modes.warnings
        warnings = (*host.warnings, *unset)
        if connection.fsync and not connection.server.flushes:
            return (
                "target.fsync has no effect: the server has no fsync@openssh.com extension to flush files to disk",
                *warnings,
            )
        return warnings
