"""Continuing an upload over FTP: REST and STOR on a server that passed a probe, never APPE.

What the server has is read back in blocks before (`Resumer.continue_from`) and after (`Resumer.refusal`); see
`actorsync.endpoints.shared.seam`.
"""

from __future__ import annotations

from typing import Final

import attrs
import trio

from actorsync.classes import define
from actorsync.endpoints.contract import Upload
from actorsync.endpoints.ftp.looks.restart import PartReader, RestartProbe
from actorsync.endpoints.ftp.wire.connection import FtpConnection
from actorsync.endpoints.resuming import BLOCK, restart_at
from actorsync.endpoints.shared.seam import DAMAGED, find_start, is_damaged, refused_to_continue, seam_of
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.protocols.ftp import dialogues
from actorsync.protocols.upload_diagnosis import Attempt

__all__ = ["Resumer"]

#: Random blocks that are read back, each over a data connection of its own.
_BLOCKS: Final = 4
#: A file whose size still changes has another writer. Seconds between two looks, and for all of them.
_PAUSE: Final = 0.5
_SETTLING: Final = 30.0


@define
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

        blocks = _BLOCKS if self._parts.ends_early else 0
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

        async def read_back(offset: int, length: int) -> bytes:
            return await self._parts.read(upload.temporary, offset, length, upload.due)

        if not await is_damaged(upload, self._settled.pop(upload.temporary, upload.start), read_back):
            return None
        self._probe.deny()
        return OperationRefused(DAMAGED, retry=True)

    async def begin(self, upload: Upload) -> OperationRefused | None:
        """Set the place at which the STOR that follows begins. Returns a refusal if the server does not take it."""
        if await self._parts.restart(upload.start):
            return None
        self.deny()
        return refused_to_continue("REST was refused")

    async def keep_part(self, upload: Upload, attempt: Attempt) -> None:
        """Raise `ConnectionLost` if the network has cut a transfer short and what arrived of it can be continued.

        A full disk or a limit of the server stops a file at the same byte twice. The second time, it is a refusal.
        """
        connection = self._connection
        (stored,) = await connection.control.play(dialogues.sizes([connection.at(upload.temporary)]))
        is_part = restart_at(stored or 0) > 0 and attempt.hint != "no room"
        if is_part and not connection.known.probes.stops_again(upload.path, stored):
            raise ConnectionLost(f"the transfer was cut short after {stored} of {attempt.size} bytes: {attempt.said}")

    def deny(self) -> None:
        """Remember that the server does not continue uploads."""
        self._probe.deny()
