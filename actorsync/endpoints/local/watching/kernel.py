"""inotify(7) by its system calls: no thread, no wait, errors with their number.

The library inotify-simple offers the same three calls. It starts a program to find the C library each time a process
uses it first, which takes longer than all the rest here.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from struct import Struct
from typing import Final, NamedTuple

__all__ = [
    "ATTRIB",
    "CLOSE_WRITE",
    "CREATE",
    "DELETE",
    "DONT_FOLLOW",
    "EXCL_UNLINK",
    "IGNORED",
    "ISDIR",
    "MASK_ADD",
    "MODIFY",
    "MOVED_FROM",
    "MOVED_TO",
    "ONLYDIR",
    "OVERFLOW",
    "UNMOUNT",
    "Happening",
    "Inotify",
]

# From the kernel's linux/inotify.h.
MODIFY: Final = 0x2
ATTRIB: Final = 0x4
CLOSE_WRITE: Final = 0x8
MOVED_FROM: Final = 0x40
MOVED_TO: Final = 0x80
CREATE: Final = 0x100
DELETE: Final = 0x200
UNMOUNT: Final = 0x2000
OVERFLOW: Final = 0x4000
IGNORED: Final = 0x8000
ONLYDIR: Final = 0x01000000
DONT_FOLLOW: Final = 0x02000000
EXCL_UNLINK: Final = 0x04000000
MASK_ADD: Final = 0x20000000
ISDIR: Final = 0x40000000

#: struct inotify_event: the watch, the mask, the cookie and the length of the name that follows.
_HEAD: Final = Struct("iIII")
#: A read returns whole events, so it must have room for one with the longest name.
_PIECE: Final = 64 << 10


class Happening(NamedTuple):
    """One event of the kernel. ``name`` is ``""`` if it is about the watched directory itself."""

    watch: int
    mask: int
    name: str


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    """Return what a system call returned. Raises ``OSError`` with the number of its error."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


class Inotify:
    """One instance of inotify. `add` and `remove` may be called in another thread than `read`.

    Raises ``OSError``: EMFILE if the user has no instance left, ENOSYS if the kernel has no inotify.
    """

    def __init__(self) -> None:
        self._fd = _checked(_libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def fileno(self) -> int:
        """Return the descriptor. It is readable when there are events."""
        return self._fd

    def close(self) -> None:
        """Close the descriptor, and with it all watches."""
        os.close(self._fd)

    def add(self, path: str, mask: int) -> int:
        """Watch a directory, and return the number of the watch: the same for the same inode.

        Raises ``OSError``: ENOSPC if the user has no watch left.
        """
        return _checked(_libc().inotify_add_watch(self._fd, os.fsencode(path), ctypes.c_uint32(mask)))

    def remove(self, watch: int) -> None:
        """Remove a watch. One that the kernel has removed is no error."""
        _libc().inotify_rm_watch(self._fd, watch)

    def read(self) -> list[Happening]:
        """Return some of the events that wait, in their order; none if there are none."""
        try:
            data = os.read(self._fd, _PIECE)
        except BlockingIOError:
            return []
        found: list[Happening] = []
        offset = 0
        while offset < len(data):
            watch, mask, _, length = _HEAD.unpack_from(data, offset)
            offset += _HEAD.size
            name = data[offset : offset + length].rstrip(b"\0")
            found.append(Happening(watch, mask, os.fsdecode(name)))
            offset += length
        return found
