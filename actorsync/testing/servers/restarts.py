"""Faults of a server that goes on with an upload: what happens to the file on its disk."""

from __future__ import annotations

import os

from actorsync.testing.servers.faults import Name

__all__ = ["RestartedFile"]

#: How far an upload has gone on behind the old end, before the earlier one ends as well.
_BEHIND = 256 * 1024


class RestartedFile:
    """A file whose upload goes on at byte ``start``, and the fault that is due.

    * ``zero-fill``: what was there is lost, and the file system fills the gap.
    * ``truncate-late``: the earlier upload, of a connection that was lost, ends in the middle of the new one. The
      server cuts the file off where the earlier one had ended, and what follows leaves a hole.
    """

    def __init__(self, fault: Name | None, file: str, start: int) -> None:
        self._file, self._start = file, start
        self._end = os.path.getsize(file) if fault == "truncate-late" else None
        if fault == "zero-fill":
            os.truncate(file, 0)

    def note(self, received: int) -> None:
        """Note that so many bytes of the upload have been written."""
        if self._end is not None and self._start + received > self._end + _BEHIND:
            os.truncate(self._file, self._end)
            self._end = None
