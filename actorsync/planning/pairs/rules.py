"""What a profile says about two-way."""

from __future__ import annotations

from typing import Literal, TypeAlias

from actorsync.classes import frozen

__all__ = ["ConflictRule", "PairRule"]

#: What becomes of conflicts: see docs/two-way.md.
ConflictRule: TypeAlias = Literal["both", "keep", "source", "target", "newer"]


@frozen
class PairRule:
    """What becomes of conflicts, and how many copies of one file they may leave behind."""

    conflict: ConflictRule = "both"
    copies: int = 10
