"""What continuing a broken transfer asks of a session. Optional: without it, a file is sent from its beginning.

Two cases differ in how the source file can be read:

* Content that was opened from its beginning and has a descriptor. `continue_from` reads the source wherever it
  compares, and the caller writes the place that it returns into `Upload.start`.
* Content of a remote source. The caller asks `may_continue` for a place, opens the content there with `open_at`, and
  passes it to `continue_from`. Its first `BLOCK` bytes are read and compared. The place behind them is returned, the
  one at which the content stands now.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol, runtime_checkable

from actorsync.endpoints.contract import Content, ReadSession, Session, Upload
from actorsync.errors import OperationRefused

__all__ = [
    "BLOCK",
    "OpensAt",
    "ReadsAt",
    "Resuming",
    "continue_from",
    "leave",
    "may_continue",
    "open_at",
    "read_at",
    "read_whole",
    "restart_at",
]

#: Bytes of a block that is compared.
BLOCK: Final = 64 * 1024
_STEP: Final = 1024 * 1024


@runtime_checkable
class Resuming(Protocol):
    """Optional for a session: continue the upload of a file whose connection was lost."""

    async def may_continue(self, temporary: str) -> int:
        """Return the byte at which content that can only be read in order is to be opened; 0 to send all of it.

        The place follows from how much the target has of ``temporary``, see `restart_at`. Nothing is compared yet.
        """

    async def continue_from(self, upload: Upload) -> int:
        """Return the byte at which ``upload`` may go on in its temporary, which an earlier attempt has begun.

        0 if it has to begin anew, in another temporary: the server cannot continue an upload (it is tried once, with a
        probe of a few bytes), the temporary is gone, another connection may still be writing to it, or what it holds is
        not the beginning of the content. The place is 1 to 2 MiB before the end of what the target has. The block
        before it and blocks at random places were read back and compared, or the target has returned a hash of them.
        The caller has made sure that the source file is still exactly the one that the temporary was made from.

        `Session.stage` then writes from `Upload.start` on, on the same session.
        """

    async def leave(self, temporary: str) -> None:
        """Stop an interrupted upload, like `Session.abandon`, and keep what the target has of it."""


@runtime_checkable
class OpensAt(Protocol):
    """Optional for a session that reads: open a file in the middle."""

    def open_at(self, path: str, start: int) -> AbstractAsyncContextManager[Content]:
        """Open one file for reading from byte ``start``, like `ReadSession.open`.

        `Content.start` is 0 if the other side cannot do that: all of the file then arrives.
        """


@runtime_checkable
class ReadsAt(Protocol):
    """Optional for content: read any part of the file, whatever `Content.read` has returned so far."""

    async def read_at(self, offset: int, length: int) -> bytes | None:
        """Return ``length`` bytes from ``offset`` on, fewer at the end of the file; None if that is not possible."""


def restart_at(size: int) -> int:
    """Return where an upload goes on of which the target has ``size`` bytes: 1 to 2 MiB before their end, or 0.

    What was written last before a connection broke is the least certain. It is written once more.
    """
    return max(0, (size // _STEP - 1) * _STEP)


async def may_continue(session: Session, temporary: str) -> int:
    """Call `Resuming.may_continue`; return 0 where the session does not have it."""
    return await session.may_continue(temporary) if isinstance(session, Resuming) else 0


async def continue_from(session: Session, upload: Upload) -> int:
    """Call `Resuming.continue_from`; return 0 where the session does not have it."""
    return await session.continue_from(upload) if isinstance(session, Resuming) else 0


async def leave(session: Session, temporary: str) -> bool:
    """Call `Resuming.leave` and return True; return False where the session does not have it."""
    if not isinstance(session, Resuming):
        return False
    await session.leave(temporary)
    return True


@asynccontextmanager
async def open_at(session: ReadSession, path: str, start: int) -> AsyncIterator[Content]:
    """Call `OpensAt.open_at`; open the file from its beginning where the session does not have it."""
    opening = session.open_at(path, start) if start and isinstance(session, OpensAt) else session.open(path)
    async with opening as content:
        yield content


async def read_at(content: Content, offset: int, length: int) -> bytes | None:
    """Read a part of the file from its descriptor or by `ReadsAt.read_at`; None where neither is possible."""
    if (descriptor := content.fileno()) is None:
        return await content.read_at(offset, length) if isinstance(content, ReadsAt) else None
    try:
        return os.pread(descriptor, length, offset)
    except OSError as error:
        raise OperationRefused(f"it cannot be read: {error.strerror}") from error


async def read_whole(content: Content, length: int) -> bytes:
    """Read the next ``length`` bytes of content, fewer at its end."""
    data = b""
    while len(data) < length and (piece := await content.read(length - len(data))):
        data += piece
    return data
