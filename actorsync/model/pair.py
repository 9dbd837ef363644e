"""Two trees that are kept in step: what they agreed on, and where they do not.

Nouns only. ``actorsync.planning.pairs`` decides what follows from them.
"""

from __future__ import annotations

import enum
from typing import Literal, TypeAlias

import attrs

from actorsync.classes import frozen
from actorsync.model.entry import Entry
from actorsync.model.operation import Side

__all__ = ["Agreement", "Conflict", "Doubt", "Pending", "Take", "other"]

#: What becomes of one conflict: which side's version keeps the name, that both are kept, or nothing.
Take: TypeAlias = Literal["source", "target", "both", "keep"]


class Doubt(enum.IntFlag):
    """Why the recorded state of a side does not tell what happened there since."""

    NONE = 0
    SOURCE_TIME = 1  # the file could change again without a change of its size and times
    TARGET_TIME = 2
    SOURCE_MISSING = 4  # a run was about to remove or move it there: that it is missing is no wish of the user
    TARGET_MISSING = 8

    @classmethod
    def time(cls, side: Side) -> Doubt:
        """Return the doubt about the times on a side."""
        return cls.SOURCE_TIME if side is Side.SOURCE else cls.TARGET_TIME

    @classmethod
    def missing(cls, side: Side) -> Doubt:
        """Return the doubt about why an entry is missing on a side."""
        return cls.SOURCE_MISSING if side is Side.SOURCE else cls.TARGET_MISSING


@frozen
class Agreement:
    """Both sides of a path as they were when they last had the same content.

    Each side is compared with its own half only, so the clocks of the sides are never compared. ``digest`` is that of
    the content, where it is known.
    """

    source: Entry
    target: Entry
    digest: bytes | None = None
    doubt: Doubt = Doubt.NONE

    @property
    def path(self) -> str:
        return self.source.path

    def on(self, side: Side) -> Entry:
        """Return the half of a side."""
        return self.source if side is Side.SOURCE else self.target


@frozen
class Conflict:
    """A path whose two sides have both changed, and differ. None: the side has no such entry.

    ``reason`` is one line for the user. ``since`` is when it was first seen, in seconds since the epoch.
    """

    path: str
    source: Entry | None
    target: Entry | None
    reason: str
    since: float = attrs.field(default=0.0, eq=False)

    def on(self, side: Side) -> Entry | None:
        """Return the entry of a side."""
        return self.source if side is Side.SOURCE else self.target


@frozen
class Pending:
    """A name that a run has used on a side, and that may be there: a temporary, or what was set aside.

    ``final`` is the path that it is for, or had; None if that is not known. ``size`` and ``mtime_ns`` are those of the
    file that was to be there; None if they are not known, or do not tell. ``is_aside``: a two-way run has set it aside,
    so it may be the only version of a file.
    """

    path: str
    final: str | None
    size: int | None = None
    mtime_ns: int | None = None
    is_aside: bool = attrs.field(default=False, kw_only=True)


def other(side: Side) -> Side:
    """Return the other side."""
    return Side.TARGET if side is Side.SOURCE else Side.SOURCE
