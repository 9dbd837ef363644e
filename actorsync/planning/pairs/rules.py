"""What a profile says about two-way."""

from __future__ import annotations

from typing import Literal, TypeAlias

from actorsync.classes import frozen

__all__ = ["ConflictRule", "PairRule"]

#: What becomes of conflicts: see docs/two-way.md.
ConflictRule: TypeAlias = Literal["both", "keep", "source", "target", "newer"]


@frozen
class PairRule:
    """What becomes of conflicts, and how many copies of one file they may leave behind.

    ``has_trash``: where one side is preferred, the other version goes to the trash of its side, and leaves no copy.
    """

    conflict: ConflictRule = "both"
    copies: int = 10
    has_trash: bool = False
