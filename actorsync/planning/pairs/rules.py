"""What a profile says about two-way."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

__all__ = ["ConflictRule", "PairRule"]

#: What becomes of conflicts: see docs/two-way.md.
ConflictRule: TypeAlias = Literal["both", "keep", "source", "target", "newer"]


@attrs.frozen
class PairRule:
    """What becomes of conflicts, and how many copies of one file they may leave behind.

    ``no_links``: the user says that there are no symbolic links. Then removals are allowed although a link might look
    like a directory.
    """

    conflict: ConflictRule = "both"
    copies: int = 10
    no_links: bool = False
