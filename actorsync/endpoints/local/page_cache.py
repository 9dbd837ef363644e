"""Read small files from the page cache without a thread: for a small file, the thread switch costs most.

Linux reads only what its page cache has if asked with ``RWF_NOWAIT``, so the read never waits for a disk. Opening could
wait for the inode, but the scan has just read it. A file system without support (most network file systems) fails at
the first small file, and is read in threads from then on. A file system in memory never waits.
"""

from __future__ import annotations

import errno
import os
from typing import Final

__all__ = ["Readiness", "is_memory"]

_NOWAIT: Final = getattr(os, "RWF_NOWAIT", None)  # Linux only
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
_UNANSWERED: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


class Readiness:
    """Reads from one file system without waiting, as far as it supports that."""

    def __init__(self, root: str) -> None:
        self._is_memory = is_memory(root)
        self.is_told = self._is_memory or _NOWAIT is not None

    def read(self, fd: int, size: int) -> bytes | None:
        """Read to the end, or one byte past ``size``; None if the read would wait for a disk."""
        data = b""
        while len(data) <= size:
            piece = self._piece(fd, len(data), size + 1 - len(data))
            if piece is None:
                return None
            if not piece:
                break
            data += piece
        return data

    def _piece(self, fd: int, offset: int, length: int) -> bytes | None:
        if self._is_memory:
            return os.pread(fd, length, offset)
        assert _NOWAIT is not None
        buffer = bytearray(length)
        try:
            count = os.preadv(fd, [buffer], offset, _NOWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in _UNANSWERED:
                raise
            self.is_told = False
            return None
        return bytes(buffer[:count])


def is_memory(path: str) -> bool:
    """Return whether the file system at ``path`` is in memory only."""
    try:
        device = os.stat(path).st_dev
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            lines = [line.split() for line in mounts]
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    return any(words[2] == number and words[words.index("-") + 1] in _IN_MEMORY for words in lines)
