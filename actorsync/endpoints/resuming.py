"""What continuing a broken transfer asks of a session. Optional: without it, a file is sent from its beginning."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

from actorsync.endpoints.contract import Content, Upload

__all__ = ["OpensAt", "Resuming"]


@runtime_checkable
class Resuming(Protocol):
    """Optional for a session: continue the upload of a file whose connection was lost."""

    async def continue_from(self, upload: Upload) -> int:
        """Return the byte at which ``upload`` may go on in its temporary, which an earlier attempt has begun.

        0 if it has to begin anew, in another temporary: the server cannot continue an upload (it is tried once, with a
        probe of a few bytes), the temporary is gone, somebody may still be writing to it, or what it holds is not the
        beginning of the content. It is 1 to 2 MiB before the end of what the target has, and at the seam and at random
        places what is there was read back and compared, or the target has returned a hash of it. The caller has made
        sure that the source file is still exactly the one that the temporary was made from.

        `Session.stage` then writes from `Upload.start` on.
        """

    async def leave(self, temporary: str) -> None:
        """Stop an interrupted upload, like `Session.abandon`, and keep what the target has of it."""


@runtime_checkable
class OpensAt(Protocol):
    """Optional for a session that reads: open a file in the middle."""

    def open_at(self, path: str, start: int) -> AbstractAsyncContextManager[Content]:
        """Open one file for reading from byte ``start``, like `ReadSession.open`. `Content.start` says so."""
