"""What a profile says about two-way."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

__all__ = ["ConflictRule", "PairRule"]

#: What becomes of conflicts: see docs/two-way.md.
ConflictRule: TypeAlias = Literal["both", "keep", "source", "target", "newer"]


@attrs.frozen
class PairRule:
    """What becomes of conflicts, and how many copies of one file they may leave behind."""

    conflict: ConflictRule = "both"
    copies: int = 10
