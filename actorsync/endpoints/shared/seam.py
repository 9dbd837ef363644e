"""Whether what a target has of a file is the beginning of that file: the comparison before an upload is continued."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from actorsync.endpoints.contract import Content, Upload
from actorsync.endpoints.resuming import BLOCK, read_at, read_whole, restart_at
from actorsync.errors import OperationRefused

__all__ = [
    "DAMAGED",
    "ReadBack",
    "find_start",
    "is_damaged",
    "refused_to_continue",
    "seam_of",
]

#: Why a continued upload is refused.
DAMAGED = (
    "the target has other bytes than were sent, after the upload was continued where it had been broken off; "
    "it is sent from its beginning"
)

ReadBack: TypeAlias = Callable[[int, int], Awaitable[bytes]]
"""Reads a part of a temporary back, given the offset and the length. Fewer bytes: the target does not have them."""


def seam_of(content: Content, kept: int) -> int:
    """Return the offset of the block right before the place at which an upload goes on; -1 if there is no such place.

    ``kept`` is how many bytes the target has. Content that was opened in the middle stands at this block.
    """
    seam = content.start or restart_at(kept) - BLOCK
    is_longer = content.size is None or content.size < kept  # no version of this content has so many bytes
    return -1 if is_longer or seam + BLOCK > kept else seam


def _random_blocks(seam: int, count: int) -> list[int]:
    """Return the offsets of up to ``count`` different blocks before the seam, in order.

    Damage of a share *s* of the prefix, spread at random, stays unseen with a probability of (1 - s) ** count.
    """
    return sorted(index * BLOCK for index in random.sample(range(seam // BLOCK), min(count, seam // BLOCK)))


async def find_start(upload: Upload, kept: int, read_back: ReadBack, blocks: int) -> int:
    """Compare the seam, and ``blocks`` random blocks before it, with the content. Return where the upload goes on.

    0 if one of them differs. Content that can only be read in order is compared at the seam alone.
    """
    content, seam = upload.content, seam_of(upload.content, kept)
    if seam < 0:
        return 0
    expected = await (read_whole(content, BLOCK) if content.start else read_at(content, seam, BLOCK))
    if expected is None or len(expected) != BLOCK or await read_back(seam, BLOCK) != expected:
        return 0
    for offset in _random_blocks(seam, blocks):
        expected = await read_at(content, offset, BLOCK)
        if expected is None:
            break
        if await read_back(offset, BLOCK) != expected:
            return 0
    return seam + BLOCK


async def is_damaged(upload: Upload, kept: int, read_back: ReadBack) -> bool:
    """Compare a continued upload once it is whole: the seam, and the place at which ``kept`` bytes had ended.

    The transfer of the connection that broke may have ended meanwhile. A server may cut the file off where that one had
    ended: what was written behind this place then has a hole in front of it, and the size is right. Content that can
    only be read in order is not compared, and a part that cannot be read back is left out.
    """
    last = max(0, upload.due - BLOCK)
    for offset in sorted({upload.start - BLOCK, min(kept, last)}):
        expected = await read_at(upload.content, offset, BLOCK)
        if expected is not None and (found := await read_back(offset, BLOCK)) and found != expected:
            return True
    return False


def refused_to_continue(reply: str) -> OperationRefused:
    """Return the refusal of an upload that the server has begun and does not continue."""
    return OperationRefused(f"the server does not continue it ({reply}); it is sent from its beginning", retry=True)
