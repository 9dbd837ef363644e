"""Continuing an upload over SFTP: writes have offsets, so what the server has of a temporary can be kept.

Late writes of the connection that broke do no harm: they are the same bytes at the same offsets.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs

from actorsync.classes import frozen
from actorsync.endpoints.contract import Upload
from actorsync.endpoints.resuming import BLOCK, restart_at
from actorsync.endpoints.sftp.wire.connection import SftpConnection
from actorsync.endpoints.shared.seam import DAMAGED, ReadBack, find_start, is_damaged
from actorsync.errors import OperationRefused
from actorsync.model.entry import Kind
from actorsync.protocols.sftp import requests as sftp
from actorsync.protocols.sftp.replies import Attributes, Data, Handle

__all__ = ["Resumer"]

#: Random blocks that are read back. Each costs a round trip, and 64 KiB.
_BLOCKS: Final = 16


@frozen
class Resumer:
    """Finds out how much of a temporary can be kept, and checks the file that came of it."""

    _connection: SftpConnection
    #: How many bytes the server had of each temporary that is continued.
    _kept: dict[str, int] = attrs.Factory(dict)

    async def may_continue(self, temporary: str) -> int:
        """Return where content is to be opened. The contract is `Resuming.may_continue`."""
        return max(0, restart_at(await self._size(temporary)) - BLOCK)

    async def continue_from(self, upload: Upload) -> int:
        """Compare the temporary with the content. The contract is `Resuming.continue_from`.

        The temporary is opened for writing before anything is compared: a server that cannot open a file without
        emptying it shows that here.
        """
        connection = self._connection
        place = connection.absolute(upload.temporary)
        if not (kept := await self._size(upload.temporary)):
            return 0
        opened = await connection.open_file(sftp.open_to_continue(place))
        if not isinstance(opened, Handle):
            return 0
        (looked,) = await connection.requests.exchange([sftp.fstat(opened.handle)])
        await connection.requests.exchange([sftp.close(opened.handle)])
        if not isinstance(looked, Attributes) or looked.size != kept:
            return 0
        async with self._opened(upload.temporary) as read_back:
            if start := await find_start(upload, kept, read_back, _BLOCKS):
                self._kept[upload.temporary] = kept
            return start

    async def refusal(self, upload: Upload) -> OperationRefused | None:
        """Read back where a continued upload has begun and where the earlier one had ended. Returns what is wrong."""
        kept = self._kept.pop(upload.temporary, upload.start)
        async with self._opened(upload.temporary) as read_back:
            is_wrong = await is_damaged(upload, kept, read_back)
        return OperationRefused(DAMAGED, retry=True) if is_wrong else None

    @asynccontextmanager
    async def _opened(self, temporary: str) -> AsyncIterator[ReadBack]:
        """Open a temporary for reading. Nothing can be read back where the server does not open it."""
        opened = await self._connection.open_file(sftp.open_existing(self._connection.absolute(temporary)))

        async def read_back(offset: int, length: int) -> bytes:
            return await self._read(opened.handle, offset, length) if isinstance(opened, Handle) else b""

        try:
            yield read_back
        finally:
            if isinstance(opened, Handle):
                self._connection.requests.close_unchecked(opened.handle)

    async def _size(self, temporary: str) -> int:
        """Return how many bytes the server has of a temporary; 0 if there is no such file."""
        connection = self._connection
        if connection.why_unusable(temporary):
            return 0
        (looked,) = await connection.requests.exchange([sftp.lstat(connection.absolute(temporary))])
        return looked.size or 0 if isinstance(looked, Attributes) and looked.kind is Kind.FILE else 0

    async def _read(self, handle: bytes, offset: int, length: int) -> bytes:
        """Read a block; fewer bytes if the server sends no more."""
        data = b""
        while len(data) < length:
            request = sftp.read(handle, offset + len(data), length - len(data))
            (reply,) = await self._connection.requests.exchange([request])
            if not isinstance(reply, Data) or not reply.data:
                break
            data += reply.data
        return data
