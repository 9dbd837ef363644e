"""Reading a file over SFTP, some reads ahead of whoever wants the bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs

from actorsync.endpoints.contract import Content
from actorsync.endpoints.sftp_wire import Flight, SftpWire
from actorsync.errors import OperationRefused, ProtocolError, Vanished
from actorsync.model.entry import Entry, Kind
from actorsync.model.text import display
from actorsync.protocols import sftp
from actorsync.protocols.sftp import Attributes, Data, Handle, Reply, Status

__all__ = ["open_content"]

#: Bytes in one read, and reads in flight: 2 MiB on their way keep 40 MB/s coming over 50 ms.
_PIECE = 64 * 1024
_AHEAD = 32


@attrs.define(eq=False)
class _Content:
    """An open file on the server. Never gives a byte more than its size was when it was opened."""

    entry: Entry
    _wire: SftpWire
    _handle: bytes
    _path: str
    _opened: Attributes
    _asked: int = 0
    _reads: deque[tuple[int, int, Flight]] = attrs.Factory(deque)
    _rest: bytes = b""

    def fileno(self) -> None:
        """There is no descriptor."""

    async def read(self, max_bytes: int) -> bytes:
        """Give what comes next."""
        if not self._rest:
            self._rest = await self._next()
        piece, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
        return piece

    async def _next(self) -> bytes:
        while len(self._reads) < _AHEAD and self._asked < self.entry.size:
            self._ask(self._asked, min(_PIECE, self.entry.size - self._asked))
            self._asked += self._reads[-1][1]
        if not self._reads:
            return b""
        offset, length, flight = self._reads.popleft()
        (reply,) = await self._wire.landed(flight)
        if isinstance(reply, Data):
            if not 0 < len(reply.data) <= length:
                raise ProtocolError(f"the server gives {len(reply.data)} bytes where {length} were asked for")
            if len(reply.data) < length:  # a server may; the others of the flight are for what comes behind
                self._ask(offset + len(reply.data), length - len(reply.data), first=True)
            return reply.data
        assert isinstance(reply, Status)
        if reply.is_end:  # it has become shorter, which `is_unchanged` will say
            self._reads.clear()
            self._asked = self.entry.size
            return b""
        raise OperationRefused(f"cannot read {display(self.entry.path)!r}: {reply}")

    def _ask(self, offset: int, length: int, *, first: bool = False) -> None:
        read = offset, length, self._wire.launch([sftp.read(self._handle, offset, length)])
        self._reads.appendleft(read) if first else self._reads.append(read)

    async def is_unchanged(self) -> bool:
        """Compare size and time of the open file, and of what has its name, with what they were."""
        return await self._wire.exchange([sftp.fstat(self._handle), sftp.lstat(self._path)]) == [self._opened] * 2


@asynccontextmanager
async def open_content(wire: SftpWire, path: str, place: str) -> AsyncIterator[Content]:
    """Open the regular file at ``place``; ``path`` is what the tree calls it. A link is not followed.

    Raises:
        Vanished: it is not there.
        OperationRefused: it cannot be opened, or is no regular file.
    """
    looked, opened = await wire.exchange([sftp.lstat(place), sftp.open_existing(place)])
    shown = display(path)
    if not isinstance(opened, Handle):
        assert isinstance(opened, Status)
        kind = looked.kind if isinstance(looked, Attributes) else None
        if isinstance(looked, Status) and looked.is_missing:
            raise Vanished(f"cannot open {shown!r}: it is gone")
        raise OperationRefused(f"cannot open {shown!r}: {'it is a directory' if kind is Kind.DIRECTORY else opened}")
    try:
        (found,) = await wire.exchange([sftp.fstat(opened.handle)])
        entry = _entry(path, looked, found)
        yield _Content(entry, wire, opened.handle, place, found)  # type: ignore[arg-type]  # `_entry` has looked
    finally:
        wire.part(opened.handle)


def _entry(path: str, looked: Reply, found: Reply) -> Entry:
    """Describe an open file that is a regular one, under its own name."""
    entry = sftp.entry_of(path, found) if isinstance(found, Attributes) else None
    if entry is None or entry.kind is not Kind.FILE or looked != found:
        raise OperationRefused(f"cannot open {display(path)!r}: it is not a regular file")
    return entry
