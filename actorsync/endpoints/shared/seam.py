"""Whether what a target has of a file is the beginning of that file: the comparison before an upload is continued."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from actorsync.endpoints.contract import Content, Upload
from actorsync.endpoints.resuming import BLOCK, read_at, restart_at

__all__ = ["ReadBack", "find_start", "random_blocks", "read_whole", "seam_of"]

ReadBack: TypeAlias = Callable[[int, int], Awaitable[bytes]]
"""Reads a part of a temporary back, given the offset and the length. Fewer bytes: the target does not have them."""


def seam_of(content: Content, kept: int) -> int:
    """Return the offset of the block right before the place at which an upload goes on; -1 if there is no such place.

    ``kept`` is how many bytes the target has. Content that was opened in the middle stands at this block.
    """
    seam = content.start or restart_at(kept) - BLOCK
    is_longer = content.size is None or content.size < kept  # no version of this content has so many bytes
    return -1 if is_longer or seam + BLOCK > kept else seam


def random_blocks(seam: int, count: int) -> list[int]:
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
    for offset in random_blocks(seam, blocks):
        expected = await read_at(content, offset, BLOCK)
        if expected is None:
            break
        if await read_back(offset, BLOCK) != expected:
            return 0
    return seam + BLOCK


async def read_whole(content: Content, length: int) -> bytes:
    """Read the next ``length`` bytes of content, fewer at its end."""
    data = b""
    while len(data) < length and (piece := await content.read(length - len(data))):
        data += piece
    return data
