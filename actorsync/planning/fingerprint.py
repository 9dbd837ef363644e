"""Fingerprints of files whose content a transform makes: compressed, minified, encrypted.

The size and time of such a file say nothing about what the target holds, and another transform makes another content of
the same file. So its inode is replaced by a *fingerprint*: a number made of the inode and the names of the transforms.
The planner and the journal compare this number as they compare an inode: another file, other transforms, or no
transform at all, and the file counts as changed. No file system has an inode of this size, so a fingerprint can be told
from an inode.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from actorsync.model.entry import Entry

__all__ = ["fingerprint", "is_fingerprinted"]

#: The upper half of a fingerprint. Inodes have 64 bits.
_MARK: Final = int.from_bytes(b"transfor")


def fingerprint(path: str, inode: int | None, transforms: Sequence[str]) -> int:
    """Return the number that stands for an inode and the names of the transforms, in their order.

    Without an inode the path is used: two files without one must not get the same number.
    """
    text = "\0".join([path if inode is None else str(inode), *transforms]).encode("utf-8", "surrogateescape")
    return _MARK << 64 | int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


def is_fingerprinted(entry: Entry) -> bool:
    """Tell whether a transform makes what is sent for a file."""
    return entry.inode is not None and entry.inode >> 64 == _MARK
