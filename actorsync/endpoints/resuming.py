"""What continuing a broken transfer asks of a session. Optional: without it, a file is sent from its beginning."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol, runtime_checkable

from actorsync.endpoints.contract import Admit, Content, ReadSession, Session, Upload
from actorsync.model.entry import Entry

__all__ = ["OpensAt", "Resuming", "can_continue", "continue_from", "leave", "open_at"]

#: How many bytes are read at once on the way to where a file is to be opened.
_PIECE: Final = 1 << 20


@runtime_checkable
class Resuming(Protocol):
    """Optional for a session: continue the upload of a file whose connection was lost."""

    async def continue_from(self, upload: Upload) -> int:
        """Return the byte at which ``upload`` may go on in its temporary, which an earlier attempt has begun.

        0 if it has to begin anew, in another temporary: the server cannot continue an upload (it is tried once, with a
        probe of a few bytes), the temporary is gone, somebody may still be writing to it, or what it holds is not the
        beginning of the content. It is 1 to 2 MiB before the end of what the target has, and at the seam and at random
        places what is there was read back and compared with `Upload.read_at`, or the target has returned a hash of it.
        The caller has made sure that the source file is still exactly the one that the temporary was made from.

        ``upload.content`` is not open yet: only its ``entry`` and ``size`` tell. ``upload.read_at`` is given. What it
        raises is raised here.

        `Session.stage` then writes from `Upload.start` on.
        """

    async def leave(self, temporary: str) -> None:
        """Stop an interrupted upload, like `Session.abandon`, and keep what the target has of it."""


@runtime_checkable
class OpensAt(Protocol):
    """Optional for a session that reads: open a file in the middle."""

    def open_at(self, path: str, start: int) -> AbstractAsyncContextManager[Content]:
        """Open one file for reading from byte ``start``, like `ReadSession.open`. `Content.start` says so."""


def can_continue(session: Session) -> bool:
    """Return whether a session has the verbs to continue uploads. Its server may still be unable to."""
    return isinstance(session, Resuming)


async def continue_from(session: Session, upload: Upload) -> int:
    """Call `Resuming.continue_from`; return 0 where the session does not have it."""
    return await session.continue_from(upload) if isinstance(session, Resuming) else 0


async def leave(session: Session, temporary: str) -> None:
    """Call `Resuming.leave`; call `Session.abandon` where the session does not have it."""
    if isinstance(session, Resuming):
        await session.leave(temporary)
    else:
        await session.abandon(temporary)


def open_at(session: ReadSession, path: str, start: int) -> AbstractAsyncContextManager[Content]:
    """Call `OpensAt.open_at`; where the session does not have it, open the file and drop what is before ``start``."""
    return session.open_at(path, start) if isinstance(session, OpensAt) else _open_and_drop(session, path, start)


@asynccontextmanager
async def _open_and_drop(session: ReadSession, path: str, start: int) -> AsyncIterator[Content]:
    async with session.open(path) as content:
        left = start
        while left and (piece := await content.read(min(left, _PIECE))):
            left -= len(piece)
        yield _Rest(content, start - left)


class _Rest(Content):
    """What is left of content after its first ``start`` bytes were read."""

    def __init__(self, real: Content, start: int) -> None:
        self._real, self._start = real, start

    @property
    def entry(self) -> Entry:
        return self._real.entry

    @property
    def size(self) -> int | None:
        """The size of the whole content."""
        return self._real.size

    @property
    def start(self) -> int:
        """How many bytes were read before."""
        return self._start

    @property
    def admit(self) -> Admit | None:
        """The rate-limit hook of the content."""
        return self._real.admit

    def fileno(self) -> int | None:
        """Return the descriptor of the content, if there is one."""
        return self._real.fileno()

    async def read(self, max_bytes: int) -> bytes:
        """Read the next piece."""
        return await self._real.read(max_bytes)

    async def is_unchanged(self) -> bool:
        """Return whether the file is unchanged."""
        return await self._real.is_unchanged()
