"""Content that is in no source: of the small files that actorsync itself puts on a target for a moment."""

from __future__ import annotations

import attrs
import trio

from actorsync.classes import define
from actorsync.endpoints.contract import Content
from actorsync.model.entry import Entry, Kind

__all__ = ["OwnContent"]


@define
class OwnContent(Content):
    """The content of a probe, or of a file that is there during a release. ``data`` is what is left to be read.

    ``mtime_ns`` is the time that the file gets; None to leave it to the target.
    """

    data: bytes
    mtime_ns: int | None = None
    _entry: Entry = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._entry = Entry("", Kind.FILE, len(self.data), self.mtime_ns)

    @property
    def entry(self) -> Entry:
        """An entry without a path."""
        return self._entry

    def fileno(self) -> None:
        """Return None: there is no descriptor."""

    async def read(self, max_bytes: int) -> bytes:
        """Return the next piece."""
        await trio.lowlevel.checkpoint()
        piece, self.data = self.data[:max_bytes], self.data[max_bytes:]
        return piece

    async def is_unchanged(self) -> bool:
        """Return True."""
        await trio.lowlevel.checkpoint()
        return True
