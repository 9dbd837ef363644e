"""Continuing an upload over FTP: REST and STOR on a server that passed a probe, never APPE.

What the server has is read back in blocks before (`Resumer.continue_from`) and after (`Resumer.refusal`). Afterwards,
because the transfer of the connection that broke may still have ended meanwhile, and a server may cut a file off at the
place where its transfer ended. What was written behind that place then has a hole in front of it, and the right size.
"""

from __future__ import annotations

from typing import Final

import attrs
import trio

from actorsync.endpoints.contract import Upload
from actorsync.endpoints.ftp.looks.restart import PartReader, RestartProbe
from actorsync.endpoints.ftp.wire.connection import FtpConnection
from actorsync.endpoints.resuming import BLOCK, read_at, restart_at
from actorsync.endpoints.shared.seam import find_start, seam_of
from actorsync.errors import OperationRefused
from actorsync.protocols.ftp import dialogues

__all__ = ["Resumer"]

#: Random blocks that are read back, each over a data connection of its own.
_BLOCKS: Final = 4
#: A file whose size still changes has another writer. Seconds between two looks, and for all of them.
_PAUSE: Final = 0.5
_SETTLING: Final = 30.0


@attrs.define
class Resumer:
    """Finds out how much of a temporary can be kept, and checks the file that came of it."""

    _connection: FtpConnection
    _parts: PartReader
    _probe: RestartProbe
    #: How many bytes the server has of temporaries, where that did not change between two looks.
    _settled: dict[str, int] = attrs.Factory(dict)

    async def may_continue(self, temporary: str) -> int:
        """Return where content is to be opened. The contract is `Resuming.may_continue`."""
        await self._connection.resync()
        return max(0, restart_at(await self._settled_size(temporary)) - BLOCK)

    async def continue_from(self, upload: Upload) -> int:
        """Compare the temporary with the content. The contract is `Resuming.continue_from`."""
        await self._connection.resync()
        temporary, kept = upload.temporary, await self._settled_size(upload.temporary)
        if seam_of(upload.content, kept) < 0 or not await self._probe.can_restart(temporary):
            return 0

        async def read_back(offset: int, length: int) -> bytes:
            return await self._parts.read(temporary, offset, length, kept)

        blocks = _BLOCKS if self._connection.known.ends_early else 0
        return await find_start(upload, kept, read_back, blocks)

    async def _settled_size(self, temporary: str) -> int:
        """Return how many bytes the server has of a temporary, once that no longer changes.

        0 if it does not settle, or is too short to be continued.
        """
        connection = self._connection
        if connection.fault(temporary) or temporary in connection.known.locked or not connection.known.has_size:
            return 0
        ask, before = [connection.at(temporary)], self._settled.get(temporary)
        with trio.move_on_after(_SETTLING):
            while True:
                (size,) = await connection.control.play(dialogues.sizes(ask))
                if size is None or not restart_at(size):
                    return 0
                if size == before:
                    return size
                self._settled[temporary] = before = size
                await trio.sleep(_PAUSE)
        await connection.resync()
        return 0

    async def refusal(self, upload: Upload) -> OperationRefused | None:
        """Read back where a continued upload has begun and where the earlier one had ended. Returns what is wrong."""
        size, kept = upload.due, self._settled.pop(upload.temporary, upload.start)
        last = max(0, size - BLOCK)
        for offset in {upload.start - BLOCK, min(kept, last)}:
            expected = await read_at(upload.content, offset, BLOCK)
            if expected is None or not (found := await self._parts.read(upload.temporary, offset, BLOCK, size)):
                continue
            if found != expected:
                self._probe.deny()
                return OperationRefused(
                    "the server has other bytes of it than were sent, after the upload was continued; "
                    "it is sent from its beginning",
                    retry=True,
                )
        return None

    async def begin(self, upload: Upload) -> OperationRefused | None:
        """Set the place at which the STOR that follows begins. Returns a refusal if the server does not take it."""
        if await self._parts.restart(upload.start):
            return None
        self.deny()
        return OperationRefused("the server no longer continues uploads; it is sent from its beginning", retry=True)

    def deny(self) -> None:
        """Remember that the server does not continue uploads."""
        self._probe.deny()
