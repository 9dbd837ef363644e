"""What is still to be done to publish one file, or to take that back: decided by what a look at the target shows.

A release may be repeated after a lost connection, and after a crash. So no step is made because of what a reply said
before: three names are looked at, and each combination has one answer.
"""

from __future__ import annotations

import enum

from actorsync.classes import frozen
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind

__all__ = ["BackStep", "Seen", "Step", "is_alike", "step_back", "step_to_publish"]

#: The coarsest times that are compared, in nanoseconds: FAT keeps every other second.
_GRAIN_NS = 2 * 10**9


@frozen
class Seen:
    """What the target has under the three names of one publication; None for nothing.

    ``is_new``: the final name has the staged file. ``is_linked``: the final name and the aside are one file.
    """

    temporary: Entry | None
    final: Entry | None
    aside: Entry | None
    is_new: bool = False
    is_linked: bool = False


class Step(enum.Enum):
    """What publishes a file."""

    NONE = "none"
    """It is published."""
    RENAME = "rename"
    """The temporary gets the final name."""
    SET_ASIDE = "set aside"
    """The old file gets the name aside, and then the temporary the final name."""


class BackStep(enum.Enum):
    """What takes a publication back."""

    NONE = "none"
    """It is as it was."""
    TAKE_BACK = "take back"
    """The new file gets its temporary name, and then the old one, if there is one aside, its final name."""
    RESTORE = "restore"
    """The old file gets its final name, over what is there."""
    DROP = "drop"
    """The old file has its final name, and the name aside is removed."""


def is_alike(entry: Entry | None, size: int, mtime_ns: int | None) -> bool:
    """Return whether an entry is a file of this size and time, as coarse as file systems keep times."""
    if entry is None or (entry.kind, entry.size) != (Kind.FILE, size):
        return False
    return entry.mtime_ns is None or mtime_ns is None or abs(entry.mtime_ns - mtime_ns) < _GRAIN_NS


def step_to_publish(seen: Seen, size: int, *, sets_aside: bool) -> Step:
    """Return what is still to be done to publish a staged file of ``size`` bytes.

    Raises `OperationRefused` if it cannot be published: nothing was changed then.
    """
    if seen.temporary is None:
        if seen.is_new:
            return Step.NONE
        raise OperationRefused("its temporary is gone", retry=True)
    if (seen.temporary.kind, seen.temporary.size) != (Kind.FILE, size):
        raise OperationRefused("its temporary was changed", retry=True)
    if seen.final is None:
        return Step.RENAME
    if seen.final.kind is Kind.DIRECTORY:
        raise OperationRefused("a directory is in its place")
    if not sets_aside or seen.is_linked:
        return Step.RENAME
    if seen.aside is not None:
        raise OperationRefused("the old file cannot be set aside: the name for it is taken")
    return Step.SET_ASIDE


def step_back(seen: Seen, size: int) -> BackStep:
    """Return what is still to be done to take a publication back.

    Raises `OperationRefused` if another program has changed what was published: that is kept.
    """
    final, aside = seen.final, seen.aside
    if aside is not None and aside.kind is Kind.DIRECTORY:
        raise OperationRefused("a directory has the name of the old file that was set aside")
    if final is None:
        return BackStep.NONE if aside is None else BackStep.RESTORE
    if aside is not None and seen.is_linked:
        return BackStep.DROP
    if seen.temporary is None:
        if seen.is_new:
            return BackStep.TAKE_BACK
        if aside is None:
            return BackStep.NONE
        raise OperationRefused("not taken back: it was changed by another program")
    if aside is None:
        return BackStep.NONE
    if (seen.temporary.size, seen.is_new) == (size, True):
        return BackStep.RESTORE  # the new file has both of its names
    if is_alike(final, aside.size, aside.mtime_ns):
        return BackStep.DROP
    raise OperationRefused("not taken back: another file has its name")
