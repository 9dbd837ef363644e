"""Continuing an upload over SFTP: writes have offsets, so what the server has of a temporary can be kept.

Late writes of the connection that broke do no harm: they are the same bytes at the same offsets.
"""

from __future__ import annotations

from typing import Final

import attrs

from actorsync.endpoints.contract import Upload
from actorsync.endpoints.resuming import BLOCK, restart_at
from actorsync.endpoints.sftp.wire.connection import SftpConnection
from actorsync.endpoints.shared.seam import find_start
from actorsync.model.entry import Kind
from actorsync.protocols.sftp import requests as sftp
from actorsync.protocols.sftp.replies import Attributes, Data, Handle

__all__ = ["Resumer"]

#: Random blocks that are read back. Each costs a round trip, and 64 KiB.
_BLOCKS: Final = 16


@attrs.frozen
class Resumer:
    """Finds out how much of a temporary can be kept."""

    _connection: SftpConnection

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
        opened = await connection.open_file(sftp.open_existing(place))
        if not isinstance(opened, Handle):
            return 0
        handle = opened.handle
        try:
            return await find_start(upload, kept, lambda offset, length: self._read(handle, offset, length), _BLOCKS)
        finally:
            connection.requests.close_unchecked(handle)

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
