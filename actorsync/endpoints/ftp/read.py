"""Reading a file over FTP: what it is, then its bytes, and whether that was all of it.

1. ``EPSV`` and ``MLST`` (or ``SIZE`` and ``MDTM``) in one write; the data connection;
2. ``RETR``, and the bytes;
3. when as many have come as the file had: the end of the data, the server's ``226``, and once more what the file is.

A data connection that ends is no proof: every server says ``226`` for what something on the way has cut short. So a
file is whole when it has the size that was told, before and after.

Whoever stops early has the rest received and thrown away, or, where that is long, loses the connection: a data
connection that is closed in the middle is answered by some servers; Pure-FTPd has no last word for it, and ProFTPD ends
the session under TLS 1.3.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from actorsync.endpoints.contract import Content
from actorsync.endpoints.ftp.connection import UNKNOWN, FtpLink
from actorsync.endpoints.ftp.data import Data
from actorsync.errors import ActorsyncError, ConnectionLost, OperationRefused, Vanished
from actorsync.model.entry import Entry, Kind
from actorsync.model.text import display
from actorsync.protocols.ftp import dialogues as ask
from actorsync.protocols.ftp.listing import mlst_entry
from actorsync.protocols.ftp.replies import checked
from actorsync.protocols.ftp.wire import Reply, command_line

__all__ = ["FtpReads"]

#: What is left of a file that nobody wants any more is received up to so many bytes, or the connection is given up.
_LITTLE = 1024 * 1024
_PIECE = 64 * 1024


class FtpReads(FtpLink):
    """Files opened and read over an `FtpLink`."""

    @asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[Content]:
        """Begin to receive a file. Nothing else may be asked of the session before this is left.

        What it is told to be is what a listing says: the same facts, to the second. A file whose time the server does
        not tell has none.
        """
        await self._get_in_step()
        if why := self._fault(path):
            raise OperationRefused(f"cannot open {display(path)!r}: {why}")
        self._is_sent = True
        data, replies = await self._open_data(self._ask_about(path))
        try:
            entry = await self._described(path, replies)
            if entry is None:
                raise await self._why_not(path, replies[0])
            await self._begin_reading(data, path)
            content = FtpContent(entry, self)
            try:
                yield content
                await content.stop()
            except ActorsyncError:
                with contextlib.suppress(ConnectionLost):
                    await content.stop()
                raise
        finally:
            if not self._is_sent:
                self._control.give_up()
            self.let_go()

    def _ask_about(self, path: str) -> list[bytes]:
        place = self._at(path)
        return [command_line("MLST", place)] if self._known.has_mlsd else _facts_lines(place)

    async def _described(self, path: str, replies: list[Reply]) -> Entry | None:
        """Read what the server has said of a file; None when it is none, or the server does not say."""
        if len(replies) == 1:
            looked = checked("MLST", replies[0])
            if looked.code not in UNKNOWN:
                found = mlst_entry(looked)
                if found is None or found.kind is not Kind.FILE or found.size is None:
                    return None
                return Entry(path, Kind.FILE, found.size, found.mtime_ns)
            self._known.has_mlsd = False  # it only said that it could
            replies = await self._control.exchange(_facts_lines(self._at(path)))
        size_reply, time_reply = replies
        facts = ask.read_facts(checked("SIZE", size_reply), checked("MDTM", time_reply))
        return None if facts is None else Entry(path, Kind.FILE, *facts)

    async def _why_not(self, path: str, told: Reply) -> OperationRefused:
        """Say why there is nothing to read: it is gone, or is no file."""
        self.let_go()
        shown = display(path)
        if told.is_positive or await self._is_directory(self._at(path)):
            return OperationRefused(f"cannot open {shown!r}: it is not a regular file")
        if told.code == 550:
            return Vanished(f"cannot open {shown!r}: it is gone")
        return OperationRefused(f"cannot open {shown!r}: {told}", retry=told.is_transient)

    async def _begin_reading(self, data: Data, path: str) -> None:
        """Have the server begin to send."""
        await self._control.send([command_line("RETR", self._at(path))])

        async def hear() -> Reply:
            return checked("RETR", await self._control.reply())

        is_open, reply = await data.converse(_nothing_to_say, hear)
        self._believe(data, reply)
        if reply.is_refusal:
            self.let_go()
            if reply.code == 550 and await self._look_at(path) is None:
                raise await self._why_not(path, reply)
            raise OperationRefused(f"cannot open {display(path)!r}: {reply}", retry=reply.is_transient)
        if not is_open:
            raise ConnectionLost("the data connection was lost before the file")
        self._is_sent = not reply.is_preliminary  # a small file may be over when we look

    async def _look_at(self, path: str) -> Entry | None:
        """Ask once more what a file is."""
        return await self._described(path, await self._control.exchange(self._ask_about(path)))

    async def _receive(self, max_bytes: int) -> bytes:
        """Give some of what comes; nothing at the end, and when the data connection breaks: the server knows why."""
        if self._data is None:
            return b""
        try:
            return await self._data.receive(max_bytes)
        except ConnectionLost:
            return b""

    async def _hear_the_end(self, *, is_whole: bool) -> Reply | None:
        """Hear how the server has ended the transfer; None when it had said so with its first word.

        One that was cut off is answered soon, or never.
        """
        self.let_go()
        if self._is_sent:
            return None
        reply = checked("RETR", await self._control.reply(None if is_whole else self._control.patience.last_words))
        self._is_sent = True
        return reply


@attrs.define(eq=False)
class FtpContent(Content):
    """A file on its way. Never gives a byte more than the file had when it was opened."""

    entry: Entry
    _session: FtpReads
    _received: int = 0
    _is_stopped: bool = False

    def fileno(self) -> None:
        """There is no descriptor."""

    async def read(self, max_bytes: int) -> bytes:
        """Give what comes next. An end that comes too early is refused, with ``retry``."""
        if self._is_stopped or self._received == self.entry.size:
            await trio.lowlevel.checkpoint()
            if self._received < self.entry.size:
                raise self._refusal("reading was ended")
            return b""
        piece = await self._session._receive(min(max_bytes, self.entry.size - self._received))
        if not piece:
            self._is_stopped = True
            reply = await self._session._hear_the_end(is_whole=False)
            told = "" if reply is None else f" ({reply})"
            raise self._refusal(f"it ended after {self._received} of {self.entry.size} bytes{told}")
        self._received += len(piece)
        return piece

    async def is_unchanged(self) -> bool:
        """Ask again for size and time, behind the end of the transfer; what was not read yet is lost.

        False also when the server has more than the file had, or does not say that it has sent all of it.
        Raises `ConnectionLost` when there is much that was not read.
        """
        if not self._is_stopped and not await self._end():
            if not self._session._is_sent:
                raise ConnectionLost("reading was stopped in the middle of a file")
            return False
        return await self._session._look_at(self.entry.path) == self.entry

    async def stop(self) -> None:
        """Leave the rest, if there is any, so that something else can be asked."""
        if not self._is_stopped:
            await self._end()

    async def _end(self) -> bool:
        """Come to the end of the transfer; False when it was not all of the file, and nothing else."""
        self._is_stopped = True
        rest = self.entry.size - self._received
        count = 0
        while rest <= _LITTLE and count <= _LITTLE:
            piece = await self._session._receive(_PIECE)
            count += len(piece)
            if not piece:
                reply = await self._session._hear_the_end(is_whole=count >= rest)
                return count == rest and (reply is None or reply.is_positive)
        return False

    def _refusal(self, reason: str) -> OperationRefused:
        return OperationRefused(f"cannot read {display(self.entry.path)!r}: {reason}", retry=True)


def _facts_lines(place: str) -> list[bytes]:
    return [command_line("SIZE", place), command_line("MDTM", place)]


async def _nothing_to_say() -> bool:
    """Stand in for what is said on a data connection, where only the server has something to say."""
    return True
