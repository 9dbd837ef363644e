"""Reading parts of a file back with REST and RETR, and the probe whether uploads can go on with REST and STOR.

A block in the middle of a file is read by closing the data connection early. vsftpd, ProFTPD and pyftpdlib answer that
with 426, and Pure-FTPd with a second 150. A server that does not answer costs a connection once: from then on, only
what is near the end of a file is read back, to the end.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from actorsync.classes import frozen
from actorsync.endpoints.contract import Upload
from actorsync.endpoints.ftp.wire.connection import FtpConnection
from actorsync.endpoints.own_content import OwnContent
from actorsync.endpoints.shared.paths import trial_beside
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.traits import Traits
from actorsync.protocols.ftp.replies import checked
from actorsync.protocols.ftp.restart import PROBE, SECOND, START, keeps_beginning, mark_of, recall, remember
from actorsync.protocols.ftp.wire import Reply, command_line

__all__ = ["PartReader", "RestartProbe"]

_TRAIT: Final = "restart"
#: What is read in vain up to the end of a file, where closing early is not possible.
_MAX_REST: Final = 4 * 1024 * 1024
#: How long another connection may keep a file locked, as vsftpd does until an upload has ended.
_LOCKED_SECONDS: Final = 30.0
#: How long a server may take to say that it has noticed an early end.
_NOTICE_SECONDS: Final = 5.0


@frozen
class PartReader:
    """Reads parts of files on the server."""

    _connection: FtpConnection

    @property
    def ends_early(self) -> bool:
        """Whether a download may be ended early. Under TLS, ProFTPD was seen to close the whole session then."""
        return self._connection.known.ends_early and not self._connection.control.is_encrypted

    async def read(self, path: str, offset: int, length: int, size: int) -> bytes:
        """Return a part of a file that has ``size`` bytes; fewer bytes where the server does not send it.

        Raises:
            ConnectionLost: another connection keeps the file locked, or the server did not answer to an early end.
        """
        connection = self._connection
        rest = size - offset - length
        if rest > _MAX_REST and not self.ends_early:
            return b""
        try:
            data, _ = await connection.open_data()
        except OperationRefused:
            return b""
        try:
            if not await self.restart(offset):
                return b""
            await connection.control.send([command_line("RETR", connection.at(path))])
            is_open, reply = await data.converse(_nothing, lambda: self._begin(path))
            connection.check_resumption(data, reply)
            if reply.is_refusal or not is_open:
                return b""
            found = b""
            while len(found) < length and (piece := await self._receive(length - len(found))):
                found += piece
            if reply.is_preliminary:
                await self._end(rest if len(found) == length else 0)
            return found
        finally:
            connection.close_data()

    async def restart(self, offset: int) -> bool:
        """Set the place at which the next transfer begins. Returns whether the server accepts it."""
        (reply,) = await self._connection.control.exchange([command_line("REST", str(offset))])
        return not checked("REST", reply).is_refusal

    async def _begin(self, path: str) -> Reply:
        control = self._connection.control
        limit = min(_LOCKED_SECONDS, control.timeouts.stall)
        if (reply := await control.reply_within(limit)) is None:
            self._connection.known.locked.add(path)
            control.mark_broken()
            raise ConnectionLost("the server does not open a file that another connection may still be writing to")
        return checked("RETR", reply)

    async def _receive(self, most: int) -> bytes:
        assert self._connection.data is not None
        try:
            return await self._connection.data.receive(most)
        except ConnectionLost:
            return b""

    async def _end(self, rest: int) -> None:
        """End a transfer of which ``rest`` bytes are not wanted, and read the server's last reply to it."""
        connection, control = self._connection, self._connection.control
        if not self.ends_early or rest == 0:
            while await self._receive(_MAX_REST):
                pass
        connection.close_data()
        if (await control.reply_within(min(_NOTICE_SECONDS, control.timeouts.stall), is_last=True)) is None:
            connection.known.ends_early = False
            control.mark_broken()
            raise ConnectionLost("the server does not answer after a download that was ended early")


async def _nothing() -> bool:
    """Stand in for the sending side of a transfer in which only the server sends."""
    return True


@frozen
class RestartProbe:
    """Finds out whether the server can go on with an upload: once for a host, and then once a week."""

    _connection: FtpConnection
    _parts: PartReader

    @property
    def _traits(self) -> Traits:
        return self._connection.known.flights.traits

    async def can_restart(self, temporary: str) -> bool:
        """Return whether uploads can be continued. The probe is a file of four bytes beside ``temporary``.

        Its name follows from that of the temporary, which the journal has: a sweep removes it as well.
        """
        known, today = self._connection.known, datetime.now(UTC).date()
        mark = mark_of(known.greeting)
        if (can := recall(self._traits.get(_TRAIT), mark, today)) is not None:
            return can
        path = trial_beside(temporary)
        if self._connection.fault(path) or not await self._store(path, PROBE):
            return False
        try:
            can = await self._store(path, SECOND, START)
            can = can and keeps_beginning(await self._parts.read(path, 0, len(PROBE) + 1, len(PROBE)))
        finally:
            await self._connection.remove_temporaries([path])
        self._traits.learn(_TRAIT, remember(mark, today, can=can))
        return can

    async def _store(self, path: str, content: bytes, start: int = 0) -> bool:
        """Upload a few bytes, from byte ``start`` of the file on. Returns whether the server says that it has them."""
        connection = self._connection
        try:
            data, _ = await connection.open_data()
        except OperationRefused:
            return False
        try:
            if start and not await self._parts.restart(start):
                return False
            await connection.control.send([command_line("STOR", connection.at(path))])

            async def hear() -> Reply:
                return checked("STOR", await connection.control.reply())

            _, reply = await data.converse(_nothing, hear)
            connection.check_resumption(data, reply)
            if reply.is_preliminary:
                is_sent = await data.send(Upload(path, path, OwnContent(content)), len(content))
                await data.finish()
                reply = checked("STOR", await connection.end_of_upload(data, is_sent=is_sent))
            return reply.is_positive
        finally:
            connection.close_data()

    def deny(self) -> None:
        """Remember that the server has refused to go on with an upload."""
        today = datetime.now(UTC).date()
        self._traits.learn(_TRAIT, remember(mark_of(self._connection.known.greeting), today, can=False))
