"""A sample of the uploaded content, read back from a server that was not seen before.

The right size under the right name is no proof of the content: a server may mix up files that are open at the same
time. So the beginning of the first files is compared with what was sent. Of a server that is not known, no file that
was begun before the verdict is left out, and so no wrong file gets its final name. Afterwards it costs nothing: the
journal keeps the verdict.
"""

from __future__ import annotations

import attrs

from actorsync.classes import define
from actorsync.endpoints.contract import Upload
from actorsync.endpoints.sftp.wire.connection import SftpConnection
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.protocols.sftp import requests as sftp
from actorsync.protocols.sftp.replies import Data, Handle

__all__ = ["ReadBack", "Sample"]

#: Bytes of a file that are compared.
_LENGTH = 32 * 1024
#: Files that were open at the same time, from which on a right content says something about mixed up files.
_CROWD = 3


@define(eq=False)
class Sample:
    """The beginning of an upload. Nothing is kept unless ``is_wanted``."""

    is_wanted: bool
    crowd: int
    data: bytearray = attrs.Factory(bytearray)

    def add(self, piece: bytes) -> None:
        """Keep the next bytes of the content, as far as they are compared."""
        if self.is_wanted and len(self.data) < _LENGTH:
            self.data += piece[: _LENGTH - len(self.data)]


class ReadBack:
    """Takes samples of uploads, and compares them."""

    def __init__(self, connection: SftpConnection) -> None:
        self._connection = connection
        self._requests = connection.requests

    def begin(self) -> Sample:
        """Return the sample of an upload whose temporary is open."""
        return Sample(self._requests.host.take_sample(), self._requests.handles.opened)

    async def compare(self, upload: Upload, sample: Sample) -> OperationRefused | None:
        """Compare a closed temporary with its sample. Return a refusal if the server has other bytes.

        Raises:
            ConnectionLost: other files were open meanwhile, and may be mixed up as well. All are sent again, one at a
                time.
        """
        mode = upload.mode
        if not sample.data or (mode is not None and not mode & 0o400):
            return None
        host = self._requests.host
        crowd = max(sample.crowd, self._requests.handles.opened + 1)
        opened = await self._connection.open_file(sftp.open_existing(self._connection.absolute(upload.temporary)))
        if not isinstance(opened, Handle):
            host.note_unreadable()
            return None
        found = await self._read(opened.handle, len(sample.data))
        if found == sample.data:
            host.note_right(is_crowded=crowd >= _CROWD)
            return None
        if crowd > 1 and host.handles != 1:
            host.limit_handles(1)
            reason = "the server stored the bytes of another file; from now on it gets one file at a time"
            self._requests.lose(reason)
            raise ConnectionLost(reason)
        return OperationRefused(
            "the server returned other bytes than it was sent; check for filters or text conversion on the server"
        )

    async def _read(self, handle: bytes, length: int) -> bytes:
        """Read up to ``length`` bytes and close the handle; fewer bytes if the server sends no more."""
        data = b""
        while len(data) < length:
            (reply,) = await self._requests.exchange([sftp.read(handle, len(data), length - len(data))])
            if not isinstance(reply, Data) or not reply.data:
                break
            data += reply.data
        self._requests.close_unchecked(handle)
        return data
