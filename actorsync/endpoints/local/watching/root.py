"""The root of a watched tree: whether its path still leads to the same directory, and what is mounted in it.

A watch follows the inode. If the root is renamed, the watches stay with the old tree. A mount makes no event at all.
"""

from __future__ import annotations

import os
import re
import select
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self, TypeAlias

import attrs

from actorsync.classes import define
from actorsync.planning.watching.ways import silent_type

__all__ = ["MOUNT_TABLE", "Identity", "Mount", "Mounts", "identity_of", "leading_to"]

Identity: TypeAlias = tuple[str, int, int]
"""The path without links, the device and the inode of a directory."""

MOUNT_TABLE: Final = Path("/proc/self/mountinfo")
_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")


def identity_of(path: Path) -> Identity | None:
    """Return the identity of the directory that a path leads to; None if there is none that can be read. Blocks."""
    real = os.path.realpath(path)
    try:
        status = os.stat(real)
    except OSError:
        return None
    is_readable = stat.S_ISDIR(status.st_mode) and os.access(real, os.R_OK | os.X_OK, effective_ids=True)
    return (real, status.st_dev, status.st_ino) if is_readable else None


def leading_to(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the directories above a path, with and without its links, each with the name in it that leads there."""
    for form in dict.fromkeys((os.path.abspath(path), os.path.realpath(path))):
        above, name = os.path.split(form)
        while name:
            yield above, name
            above, name = os.path.split(above)


class Mount(NamedTuple):
    """A mounted file system."""

    number: bytes
    device: bytes
    path: bytes
    type: bytes


@define(eq=False)
class Mounts:
    """The file systems that are mounted below a directory, as Linux tells. None elsewhere."""

    root: str
    source: Path = MOUNT_TABLE
    _fd: int = attrs.field(default=-1, init=False)
    found: frozenset[Mount] = attrs.field(default=frozenset(), init=False)

    def __enter__(self) -> Self:
        try:
            self._fd = os.open(self.source, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return self
        self.found = self._read()
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def have_changed(self) -> bool:
        """Tell whether something was mounted or unmounted below the directory."""
        if self._fd < 0:
            return False
        poll = select.poll()
        poll.register(self._fd, select.POLLERR | select.POLLPRI)
        if not poll.poll(0):  # no mount has changed anywhere
            return False
        return self.found != self._read()

    def silent(self) -> Mapping[str, str]:
        """Return the mounted directories that others change without an event here, and what each is on."""
        found: dict[str, str] = {}
        for mount in self.found:
            if (name := silent_type(os.fsdecode(mount.type))) is not None:
                found[os.fsdecode(mount.path[len(self._prefix) :])] = name
        return found

    @property
    def _prefix(self) -> bytes:
        return os.fsencode(self.root.rstrip("/")) + b"/"

    def _read(self) -> frozenset[Mount]:
        os.lseek(self._fd, 0, os.SEEK_SET)
        pieces = []
        while piece := os.read(self._fd, 64 << 10):
            pieces.append(piece)
        mounts = (_mount_in(line.split(b" ")) for line in b"".join(pieces).splitlines())
        return frozenset(it for it in mounts if it.path.startswith(self._prefix))


def _mount_in(fields: Sequence[bytes]) -> Mount:
    """Return the mount that a line of mountinfo describes. A lone dash stands before the type."""
    return Mount(fields[0], fields[2], _plain(fields[4]), fields[fields.index(b"-", 6) + 1])


def _plain(path: bytes) -> bytes:
    """Return a path without the escapes of mountinfo, which writes a space as a backslash and 040."""
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), path)
