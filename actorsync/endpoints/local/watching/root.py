"""The root of a watched tree: whether its path still leads to the same directory, and what is mounted in it.

A watch follows the inode. If the root is renamed, the watches stay with the old tree. A mount makes no event at all.
"""

from __future__ import annotations

import os
import re
import select
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self, TypeAlias

import attrs

__all__ = ["Identity", "Mounts", "identity_of", "leading_to"]

Identity: TypeAlias = tuple[str, int, int]
"""The path without links, the device and the inode of a directory."""

_MOUNTS: Final = Path("/proc/self/mountinfo")
_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")


def identity_of(path: Path) -> Identity | None:
    """Return the identity of the directory that a path leads to; None if there is none. Blocks."""
    try:
        real = os.path.realpath(path)
        status = os.stat(real)
    except OSError:
        return None
    return (real, status.st_dev, status.st_ino) if os.path.isdir(real) else None


def leading_to(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the directories above a path, with and without its links, each with the name in it that leads there."""
    for form in dict.fromkeys((os.path.abspath(path), os.path.realpath(path))):
        above, name = os.path.split(form)
        while name:
            yield above, name
            above, name = os.path.split(above)


@attrs.define(eq=False)
class Mounts:
    """The file systems that are mounted below a directory, as Linux tells. None elsewhere. Methods block."""

    root: str
    source: Path = _MOUNTS
    _fd: int = attrs.field(default=-1, init=False)
    _found: frozenset[bytes] = attrs.field(default=frozenset(), init=False)

    def __enter__(self) -> Self:
        try:
            self._fd = os.open(self.source, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return self
        self._found = self._read()
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def have_changed(self) -> bool:
        """Tell whether something was mounted or unmounted below the directory since the last call."""
        if self._fd < 0:
            return False
        poll = select.poll()
        poll.register(self._fd, select.POLLERR | select.POLLPRI)
        if not poll.poll(0):  # no mount has changed anywhere
            return False
        before, self._found = self._found, self._read()
        return before != self._found

    def _read(self) -> frozenset[bytes]:
        """Return the number, the device and the place of each mount below the directory."""
        os.lseek(self._fd, 0, os.SEEK_SET)
        pieces = []
        while piece := os.read(self._fd, 64 << 10):
            pieces.append(piece)
        below = os.fsencode(self.root.rstrip("/")) + b"/"
        return frozenset(
            b" ".join((fields[0], fields[2], fields[4]))
            for fields in (line.split(b" ") for line in b"".join(pieces).splitlines())
            if _plain(fields[4]).startswith(below)
        )


def _plain(path: bytes) -> bytes:
    """Return a path without the escapes of mountinfo, which writes a space as a backslash and 040."""
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), path)
