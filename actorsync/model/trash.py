"""What a run has changed on the target, kept so that it can be undone."""

from __future__ import annotations

from typing import Literal, TypeAlias

from actorsync.classes import frozen
from actorsync.model.entry import Entry, Kind

__all__ = ["Because", "Trashed"]

#: What became of a path. A file that was ``removed`` or ``replaced`` is in the trash.
Because: TypeAlias = Literal["replaced", "removed", "made", "moved", "mode"]


@frozen
class Trashed:
    """One change of one path. ``old`` is what the target had before, ``now`` what it has since; None for nothing.

    ``place`` is where the old file is: a path in the trash; after a move, the path that the file had. None where no
    file was set aside: a directory that was removed, something new, another mode. An ``old`` that is not known is None
    as well; then the file at the place tells.
    """

    path: str
    because: Because
    place: str | None = None
    old: Entry | None = None
    now: Entry | None = None

    @property
    def is_in_trash(self) -> bool:
        """Whether a file in the trash belongs to this change."""
        return self.place is not None and self.because in {"replaced", "removed"}

    @property
    def old_file(self) -> Entry | None:
        """The old file as it is to be found at its place; None if there is none. An unknown size is 0."""
        if self.place is None:
            return None
        if self.old is None:
            return Entry(self.place, Kind.FILE)
        return Entry(self.place, self.old.kind, self.old.size, self.old.mtime_ns, mode=self.old.mode)
