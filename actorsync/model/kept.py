"""What is kept on the target between attempts and runs: a file, or a part of one, under a temporary name."""

from __future__ import annotations

from actorsync.classes import frozen
from actorsync.model.entry import Entry

__all__ = ["Kept"]


@frozen
class Kept:
    """A temporary on the target, and the one version of a source file that it was made from.

    ``source`` is the file as it was read: only exactly this file may be continued, or be published from here.
    ``sent`` is how many bytes the target had when this was recorded: a hint, the target itself tells. When
    ``is_complete``, the temporary is whole and verified: it has ``size`` bytes, which is not the size of the source if
    the content was transformed, and the time ``mtime_ns``. ``mode`` is the mode that was set, where a look at the
    target would not show it. ``digest`` and ``checksum`` are those of the content, as in `Record`. ``at`` is when the
    last byte was sent, in seconds since the epoch.
    """

    temporary: str
    source: Entry
    sent: int
    at: float
    is_complete: bool = False
    size: int = 0
    mtime_ns: int | None = None
    mode: int | None = None
    digest: bytes | None = None
    checksum: bytes | None = None

    @property
    def path(self) -> str:
        """The final path of the file."""
        return self.source.path
