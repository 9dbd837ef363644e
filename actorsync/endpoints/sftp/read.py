"""Reading a file over SFTP, with several reads in flight before their bytes are needed."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import attrs

from actorsync.classes import define
from actorsync.endpoints.contract import Content
from actorsync.endpoints.sftp.wire.connection import SftpConnection
from actorsync.endpoints.sftp.wire.requests import Flight, RequestPipeline
from actorsync.errors import OperationRefused, ProtocolError, Vanished
from actorsync.model.entry import Entry, Kind
from actorsync.model.text import display
from actorsync.protocols.sftp import requests as sftp
from actorsync.protocols.sftp.replies import Attributes, Data, Handle, Status, entry_of

__all__ = ["Reader"]

#: Bytes in one read, and reads of one file in flight: 2 MiB in flight keep 40 MB/s at a round trip of 50 ms.
_PIECE = 64 * 1024
_MAX_READS = 32
#: Reads in flight over all files of a connection, to bound the memory. Each file may have two all the same.
_MAX_ALL_READS = 64


@define(eq=False)
class _ReadWindow:
    """The reads that each file may have in flight, given how many ``files`` are open on the connection."""

    files: int = 0

    @property
    def size(self) -> int:
        return max(2, min(_MAX_READS, _MAX_ALL_READS // max(1, self.files)))


@define(eq=False)
class _Content(Content):
    """An open file on the server. Returns at most as many bytes as the file had when it was opened."""

    entry: Entry
    _requests: RequestPipeline
    _handle: bytes
    _place: str
    _attributes: Attributes
    _window: _ReadWindow
    start: int = 0
    _requested: int = attrs.field(init=False)
    _reads: deque[tuple[int, int, Flight]] = attrs.Factory(deque)
    _rest: bytes = b""

    def __attrs_post_init__(self) -> None:
        self._requested = self.start

    def fileno(self) -> None:
        """Return None: the file has no local descriptor."""

    async def read(self, max_bytes: int) -> bytes:
        """Return the next bytes; empty at the end."""
        if not self._rest:
            self._rest = await self._next()
        piece, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
        return piece

    async def read_at(self, offset: int, length: int) -> bytes | None:
        """Return a part of the file: SFTP reads at offsets."""
        data = b""
        while len(data) < length:
            (reply,) = await self._requests.replies(self._send(offset + len(data), length - len(data))[2])
            if not isinstance(reply, Data) or not 0 < len(reply.data) <= length - len(data):
                break
            data += reply.data
        return data

    def read_ahead(self) -> None:
        """Send reads until the window is full."""
        while len(self._reads) < self._window.size and self._requested < self.entry.size:
            length = min(_PIECE, self.entry.size - self._requested)
            self._reads.append(self._send(self._requested, length))
            self._requested += length

    async def _next(self) -> bytes:
        self.read_ahead()
        if not self._reads:
            return b""
        offset, length, flight = self._reads.popleft()
        (reply,) = await self._requests.replies(flight)
        if isinstance(reply, Data):
            received = len(reply.data)
            if not 0 < received <= length:
                raise ProtocolError(f"the server sent {received} bytes in reply to a read of {length}")
            if received < length:  # a server may do that; the other reads in flight are for the bytes after these
                self._reads.appendleft(self._send(offset + received, length - received))
            return reply.data
        assert isinstance(reply, Status)
        if reply.is_end:  # the file has shrunk, which `is_unchanged` reports
            self._reads.clear()
            self._requested = self.entry.size
            return b""
        raise OperationRefused(f"cannot read {display(self.entry.path)!r}: {reply}")

    def _send(self, offset: int, length: int) -> tuple[int, int, Flight]:
        return offset, length, self._requests.send([sftp.read(self._handle, offset, length)])

    async def is_unchanged(self) -> bool:
        """Compare the size and time of the open file, and of the file under its name, with those at opening."""
        looked = await self._requests.exchange([sftp.fstat(self._handle), sftp.lstat(self._place)])
        return looked == [self._attributes] * 2


class Reader:
    """Opens the files of a connection for reading."""

    def __init__(self, connection: SftpConnection) -> None:
        self._connection = connection
        self._window = _ReadWindow()

    def open(self, path: str, start: int = 0) -> AbstractAsyncContextManager[Content]:
        """Open a regular file, to read it from byte ``start`` on. A symbolic link is not followed.

        Raises:
            Vanished: the file is gone.
            OperationRefused: the file cannot be opened, or is not a regular file.
        """
        if why := self._connection.why_unusable(path):
            raise OperationRefused(f"cannot open {display(path)!r}: {why}")
        return self._open(path, start)

    @asynccontextmanager
    async def _open(self, path: str, start: int) -> AsyncIterator[Content]:
        requests, place, shown = self._connection.requests, self._connection.absolute(path), display(path)
        await requests.room()
        opening = sftp.open_existing(place)
        flight = requests.send([sftp.lstat(place), opening])
        opened = await self._connection.opened(opening, flight)
        looked = flight.replies[0]
        if not isinstance(opened, Handle):
            assert isinstance(opened, Status)
            raise _not_opened(shown, looked, opened)
        self._window.files += 1
        try:
            second_look = requests.send([sftp.fstat(opened.handle)])
            entry = entry_of(path, looked) if isinstance(looked, Attributes) else None
            if entry is None or entry.kind is not Kind.FILE:
                raise OperationRefused(f"cannot open {shown!r}: it is not a regular file")
            assert isinstance(looked, Attributes)
            content = _Content(entry, requests, opened.handle, place, looked, self._window, start)
            content.read_ahead()  # in flight together with the second look
            if await requests.replies(second_look) != [looked]:
                raise OperationRefused(
                    f"cannot open {shown!r}: it was replaced at that moment, or is not a regular file"
                )
            yield content
        finally:
            self._window.files -= 1
            requests.close_unchecked(opened.handle)


def _not_opened(shown: str, looked: object, opened: Status) -> OperationRefused:
    if isinstance(looked, Status) and looked.is_missing:
        return Vanished(f"cannot open {shown!r}: it is gone")
    is_directory = isinstance(looked, Attributes) and looked.kind is Kind.DIRECTORY
    return OperationRefused(f"cannot open {shown!r}: {'it is a directory' if is_directory else opened}")
