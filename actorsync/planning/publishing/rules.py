"""The rules of a profile for publishing, for resuming and for the trash."""

from __future__ import annotations

from typing import Final

from actorsync.classes import frozen
from actorsync.planning.publishing.ranks import DEFAULT, Ranks

__all__ = ["FILE_BY_FILE", "PublishRule", "ResumeRule", "TrashRule"]


@frozen
class ResumeRule:
    """Which files are continued where they broke off: those of at least ``smallest`` bytes; none if that is None.

    What is on the target under a temporary name is kept for ``keep`` seconds.
    """

    smallest: int | None = 64 << 20
    keep: float = 3 * 86_400.0


@frozen
class TrashRule:
    """Where old versions go: ``path`` is relative to the target, and begins with ``../`` if it is not below it.

    They stay ``keep`` seconds, and together have at most ``max_size`` bytes. ``owner`` is in the names of directories
    there, so that profiles with one trash do not mix: letters and digits, up to sixteen.
    """

    path: str
    keep: float = 7 * 86_400.0
    max_size: int | None = None
    owner: str = "0"

    @property
    def is_inside(self) -> bool:
        """Whether the trash is below the target."""
        return not self.path.startswith("../")


@frozen
class PublishRule:
    """How files get their final names.

    File by file, in the order of their ``ranks``; with ``is_burst`` nothing is visible until everything is staged.
    What is to be removed stays ``remove_after`` seconds longer. With ``keeps_old`` a burst can be rolled back.
    ``maintenance`` is the path of an empty file that is there during a burst. ``resume`` says which files are continued
    where they broke off, ``trash`` where old versions go; None for nowhere.
    """

    ranks: Ranks = DEFAULT
    is_burst: bool = False
    remove_after: float = 0.0
    keeps_old: bool = True
    maintenance: str | None = None
    resume: ResumeRule = ResumeRule()
    trash: TrashRule | None = None

    @property
    def renames(self) -> bool:
        """Whether renamed files are renamed on the target.

        A burst does not do that: the old name would be gone before the commit point. And what stays for a while keeps
        its old name, too.
        """
        return not (self.is_burst or self.remove_after)


FILE_BY_FILE: Final = PublishRule()
