"""Downloads over FTP: what the file is, then its bytes, and whether those were all of them.

1. ``EPSV`` and ``MLST`` (or ``SIZE`` and ``MDTM``) in one write; the data connection;
2. ``RETR``, and the bytes;
3. when as many have come as the file had: the end of the data, the server's ``226``, and once more what the file is;
   that is asked before the ``226``, where the server takes commands in a row: ProFTPD sends it only after our close.

The end of a data connection is no proof: every server answers ``226`` also for a transfer that was cut short on the
way. So a file is whole when it has the size that the server reported, before and after.

When reading stops early, the rest is received and discarded or, where it is long, the connection is given up. Closing
the data connection in the middle is no way out: Pure-FTPd then sends no final reply, and ProFTPD ends the session under
TLS 1.3.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from actorsync.classes import define, frozen
from actorsync.endpoints.content_hash import Algorithm, ContentHash
from actorsync.endpoints.contract import Content
from actorsync.endpoints.ftp.looks.presence import Presence
from actorsync.endpoints.ftp.wire.connection import FtpConnection
from actorsync.endpoints.ftp.wire.data import DataConnection
from actorsync.errors import ActorsyncError, ConnectionLost, OperationRefused, Vanished
from actorsync.model.entry import Entry, Kind
from actorsync.model.text import display
from actorsync.protocols.ftp import dialogues
from actorsync.protocols.ftp.hashes import STRONG, hashes
from actorsync.protocols.ftp.listing import mlst_entry
from actorsync.protocols.ftp.replies import checked
from actorsync.protocols.ftp.wire import Reply, command_line

__all__ = ["Download", "Hasher", "Reader"]

#: The rest of a file that is no longer wanted is received up to so many bytes. Beyond, the connection is given up.
_MAX_DISCARDED = 1024 * 1024
_PIECE = 64 * 1024

_ALGORITHMS: Final[Mapping[str, Algorithm]] = {"SHA-256": "sha256", "SHA-512": "sha512"}


@frozen
class Reader:
    """Opens files for reading."""

    _connection: FtpConnection
    _presence: Presence

    @asynccontextmanager
    async def open(self, path: str, start: int = 0) -> AsyncIterator[Content]:
        """Begin to receive a file, from byte ``start`` on where the server can do that.

        The session must not be used for anything else before this context is left.

        The entry of the content has the facts that a listing shows, with times to the second. It has no time where the
        server does not report it.
        """
        connection = self._connection
        await connection.resync()
        if why := connection.fault(path):
            raise OperationRefused(f"cannot open {display(path)!r}: {why}")
        download: Download | None = None
        data, replies = await connection.open_data(self._questions(path))
        try:
            entry = await self._described(path, replies)
            if entry is None:
                raise await self._why_not(path, replies[0])
            download = await self._begin(data, entry, start)
            try:
                yield download
                await download.stop()
            except ActorsyncError:
                with contextlib.suppress(ConnectionLost):
                    await download.stop()
                raise
        finally:
            if download is not None and not download.is_answered:
                connection.control.mark_broken()
            connection.close_data()

    def _questions(self, path: str) -> list[bytes]:
        """Return the commands that ask what a file is."""
        place = self._connection.at(path)
        return [command_line("MLST", place)] if self._connection.known.has_mlsd else _size_and_time(place)

    async def _described(self, path: str, replies: list[Reply]) -> Entry | None:
        """Read the replies to `_questions`. Returns None when there is no file, or the server does not say."""
        if len(replies) == 1:
            looked = checked("MLST", replies[0])
            found = mlst_entry(looked)
            if self._connection.known.commands.lacks("MLST", looked):
                self._connection.known.has_mlsd = False  # FEAT promised MLST, and the server does not have it
            elif found is not None and found.kind is Kind.FILE and found.size is not None:
                return Entry(path, Kind.FILE, found.size, found.mtime_ns)
            elif found is not None and found.kind is not Kind.FILE:
                return None
            # A refusal, and a description that is not understood or has no size, say nothing certain: ask otherwise.
            replies = await self._connection.control.exchange(_size_and_time(self._connection.at(path)))
        size_reply, time_reply = replies
        facts = dialogues.read_facts(checked("SIZE", size_reply), checked("MDTM", time_reply))
        return None if facts is None else Entry(path, Kind.FILE, *facts)

    async def _why_not(self, path: str, reply: Reply) -> OperationRefused:
        """Return why there is nothing to read: the file does not exist, is no file, or may not be read.

        Only a listing shows that it does not exist. A run skips such a file, and still ends with "in sync".
        """
        self._connection.close_data()
        shown = display(path)
        found = await self._presence.look([path])
        listed = found.get(path)
        if listed is None and path in found:
            return Vanished(f"cannot open {shown!r}: it no longer exists")
        is_directory = listed is None and await self._connection.is_directory(self._connection.at(path))
        if is_directory or (listed is not None and listed.kind is not Kind.FILE):
            return OperationRefused(f"cannot open {shown!r}: it is not a regular file")
        return OperationRefused(f"cannot open {shown!r}: {reply}", retry=reply.is_transient)

    async def _begin(self, data: DataConnection, entry: Entry, start: int) -> Download:
        """Have the server begin to send."""
        connection, path = self._connection, entry.path
        if start >= entry.size or connection.known.ignores_restart:
            start = 0
        if start:
            (reply,) = await connection.control.exchange([command_line("REST", str(start))])
            start = 0 if checked("REST", reply).is_refusal else start
        is_open, reply = await connection.begin_download(data, command_line("RETR", connection.at(path)))
        connection.check_resumption(data, reply)
        if reply.is_refusal:
            connection.close_data()
            if reply.code == 550 and await self.look_at(path) is None:
                raise await self._why_not(path, reply)
            connection.known.ignores_restart |= start > 0  # it may be about the place: the next try has none
            raise OperationRefused(f"cannot open {display(path)!r}: {reply}", retry=reply.is_transient or start > 0)
        if not is_open:
            raise ConnectionLost("the data connection was lost before the file")
        # The transfer of a small file may be over already.
        return Download(entry, self, connection, is_answered=not reply.is_preliminary, start=start)

    async def look_at(self, path: str) -> Entry | None:
        """Ask once more what a file is. Returns None when there is no file, or the server does not say."""
        return await self._described(path, await self._connection.control.exchange(self._questions(path)))

    async def begin_look(self, path: str) -> Sequence[bytes]:
        """Ask what a file is while the end of its transfer is still to be told, and for the port of a next transfer.

        Returns what was asked. That is nothing where the server may mind: then `look_at` asks afterwards.
        """
        if not self._connection.asks_port_ahead:
            return ()
        commands = [*self._questions(path), command_line("EPSV")]
        await self._connection.control.send(commands)
        return commands

    async def end_look(self, path: str, asked: Sequence[bytes]) -> Entry | None:
        """Read the replies to `begin_look`, and return as `look_at` does."""
        *replies, port = await self._connection.control.exchange(asked, is_sent=True)
        self._connection.keep_port(port)
        return await self._described(path, replies)


@frozen
class Hasher:
    """Asks the server for hashes of files, where it has HASH with an algorithm that is good enough."""

    _connection: FtpConnection

    async def hash_files(self, entries: Sequence[Entry]) -> list[ContentHash | None]:
        """Return the hash of each file, in one flight; None where the server returns none that can be trusted."""
        connection = self._connection
        algorithm = next((name for name in STRONG if name in connection.known.features.hashes), None)
        if algorithm is None:
            return [None] * len(entries)
        await connection.resync()
        usable = {index: entry for index, entry in enumerate(entries) if not connection.fault(entry.path)}
        files = [(connection.at(entry.path), entry.size) for entry in usable.values()]
        digests = dict(zip(usable, await connection.control.play(hashes(algorithm, files)), strict=True))
        return [
            None if (digest := digests.get(index)) is None else ContentHash(_ALGORITHMS[algorithm], digest)
            for index in range(len(entries))
        ]


@define(eq=False)
class Download(Content):
    """A file that is being received. Never returns a byte more than the file had when it was opened."""

    entry: Entry
    _reader: Reader
    _connection: FtpConnection
    is_answered: bool
    """Whether the server has sent its final reply to RETR."""
    start: int = 0
    _received: int = attrs.field(init=False)
    """How far the file was received, from its beginning."""
    _is_stopped: bool = False
    _asked: Sequence[bytes] = attrs.field(default=(), init=False)
    """The commands of `Reader.begin_look` that have no replies yet."""

    def __attrs_post_init__(self) -> None:
        self._received = self.start

    def fileno(self) -> None:
        """Return None: there is no descriptor."""

    async def read(self, max_bytes: int) -> bytes:
        """Return the next bytes. An early end raises `OperationRefused` with ``retry``."""
        if self._is_stopped or self._received == self.entry.size:
            await trio.lowlevel.checkpoint()
            if self._received < self.entry.size:
                raise self._refusal("reading was stopped before its end")
            return b""
        piece = await self._receive(min(max_bytes, self.entry.size - self._received))
        if not piece:
            self._is_stopped = True
            reply = await self._final_reply(is_whole=False)
            told = "" if reply is None else f" ({reply})"
            raise self._refusal(f"the data ended after {self._received} of {self.entry.size} bytes{told}")
        self._received += len(piece)
        return piece

    async def is_unchanged(self) -> bool:
        """Ask again for size and time after the end of the transfer. Bytes not read yet are lost.

        Returns False also when the server has more than the file had, or does not confirm that it has sent all of it.
        Raises `ConnectionLost` when many bytes were not read.
        """
        if not self._is_stopped and not await self._end(looks=True):
            if not self.is_answered:
                raise ConnectionLost("reading was stopped in the middle of a file")
            return False
        path, asked = self.entry.path, self._asked
        self._asked = ()
        now = await (self._reader.end_look(path, asked) if asked else self._reader.look_at(path))
        return now == self.entry

    async def stop(self) -> None:
        """Discard the rest, if there is any, so that the session can be used again."""
        if not self._is_stopped:
            await self._end()

    async def _end(self, *, looks: bool = False) -> bool:
        """Receive up to the end of the transfer. Returns whether the server has sent exactly the whole file.

        With ``looks``, it is asked at once what the file is now.
        """
        self._is_stopped = True
        rest = self.entry.size - self._received
        count = 0
        while rest <= _MAX_DISCARDED and count <= _MAX_DISCARDED:
            piece = await self._receive(_PIECE)
            count += len(piece)
            # More than the rest may be all of the file: REST was ignored in silence.
            self._connection.known.ignores_restart |= self.start > 0 and count > rest
            if not piece:
                reply = await self._final_reply(is_whole=count >= rest, looks=looks and count == rest)
                return count == rest and (reply is None or reply.is_positive)
        return False

    async def _receive(self, max_bytes: int) -> bytes:
        """Return some bytes; none at the end, and when the data connection breaks: the final reply says why."""
        if self._connection.data is None:
            return b""
        try:
            return await self._connection.data.receive(max_bytes)
        except ConnectionLost:
            return b""

    async def _final_reply(self, *, is_whole: bool, looks: bool = False) -> Reply | None:
        """Read how the server has ended the transfer; None when its first reply said so.

        After a transfer that was cut off, the reply comes soon or never.
        """
        self._connection.close_data()
        if self.is_answered:
            return None
        if looks:
            self._asked = await self._reader.begin_look(self.entry.path)
        control = self._connection.control
        reply = checked("RETR", await control.reply(None if is_whole else control.timeouts.after_error))
        self.is_answered = True
        return reply

    def _refusal(self, reason: str) -> OperationRefused:
        return OperationRefused(f"cannot read {display(self.entry.path)!r}: {reason}", retry=True)


def _size_and_time(place: str) -> list[bytes]:
    return [command_line("SIZE", place), command_line("MDTM", place)]
