"""What a file is known by whose content is made of its source's on the way: compressed, minified, encrypted.

Its size and time say nothing of what the target has, and the same file sent through another transform is another
content. So its inode is *stamped*: replaced by a number that says which file it was, and by what it was transformed.
Like that it goes through the planner and into the journal, where it is compared as any other: another file, other
transforms, or none, and it has changed. No file system gives such a number, so that a stamped entry is known as one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from actorsync.model.entry import Entry

__all__ = ["is_stamped", "stamp"]

#: The upper half of a stamped inode. Real ones have 64 bits.
_MARK: Final = int.from_bytes(b"transfor")


def stamp(path: str, inode: int | None, transforms: Sequence[str]) -> int:
    """Give what stands for an inode, and for the names of the transforms, in their order.

    Where there is no inode it is the path: two files without one must not look like the same.
    """
    text = "\0".join([path if inode is None else str(inode), *transforms]).encode("utf-8", "surrogateescape")
    return _MARK << 64 | int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


def is_stamped(entry: Entry) -> bool:
    """Tell whether what is sent of a file is made of it on the way."""
    return entry.inode is not None and entry.inode >> 64 == _MARK
