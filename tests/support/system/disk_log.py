"""A log of all changes to the names below a folder, from the kernel's inotify, so that no change is missed.

inotify reports each name that is made, written, renamed or removed, by any process. The log shows whether a file was
ever written under its final name, and how often a file was renamed to that name.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from tests.support.observer import is_temporary

__all__ = ["PURE_FTPD_RENAME", "DiskChanges", "DiskLog"]

_MODIFY, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
_OVERFLOW, _IS_DIRECTORY = 0x4000, 0x4000_0000
_MASK = _MODIFY | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
_HEAD = struct.Struct("iIII")

#: Prefix of the intermediate name that Pure-FTPd gives a file before it deletes it.
PURE_FTPD_RENAME = ".pureftpd-rename."

_libc = ctypes.CDLL(None, use_errno=True)


@attrs.define
class DiskChanges:
    """All changes below one folder. Paths are relative to it."""

    arrived: Counter[str] = attrs.Factory(Counter)
    """How often a file was renamed to this name."""
    written: set[str] = attrs.Factory(set)
    """Final names under which a file was created or written."""
    removed: Counter[str] = attrs.Factory(Counter)
    """How often a file or directory of this name was removed or renamed."""
    temporaries: set[str] = attrs.Factory(set)
    """Names of the temporary files that were there."""


@attrs.define(eq=False)
class DiskLog:
    """The changes to several watched folders; obtained from `watching`."""

    _descriptor: int
    _folders: dict[int, tuple[str, Path]] = attrs.Factory(dict)  # by watch: the watched folder, and the path
    _roots: dict[str, Path] = attrs.Factory(dict)
    _changes: dict[str, DiskChanges] = attrs.Factory(dict)

    @classmethod
    @asynccontextmanager
    async def watching(cls) -> AsyncIterator[DiskLog]:
        """Run the log during an ``async with`` block."""
        descriptor = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        try:
            async with trio.open_nursery() as nursery:
                log = cls(descriptor)
                nursery.start_soon(log._keep_up)
                yield log
                nursery.cancel_scope.cancel()
        finally:
            os.close(descriptor)

    def watch(self, folder: Path) -> None:
        """Begin to log the changes to an existing folder and everything below it."""
        self._roots[str(folder)] = folder
        self._changes[str(folder)] = DiskChanges()
        for path, _, _ in os.walk(folder):
            self._add(str(folder), Path(path))

    def changes(self, folder: Path) -> DiskChanges:
        """Return the changes to a watched folder so far."""
        self._read()
        return self._changes[str(folder)]

    def _add(self, root: str, folder: Path) -> None:
        watch = _checked(_libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _MASK))
        self._folders[watch] = (root, folder)

    async def _keep_up(self) -> None:
        while True:  # read at once: a new directory has to be watched before files are written in it
            await trio.lowlevel.wait_readable(self._descriptor)
            self._read()

    def _read(self) -> None:
        while True:
            try:
                events = os.read(self._descriptor, 1 << 16)
            except BlockingIOError:
                return
            while events:
                watch, mask, _, length = _HEAD.unpack_from(events)
                name = events[_HEAD.size : _HEAD.size + length].rstrip(b"\0")
                events = events[_HEAD.size + length :]
                assert not mask & _OVERFLOW, "the inotify queue overflowed"
                if name and mask & _MASK:
                    self._take(*self._folders[watch], os.fsdecode(name), mask)

    def _take(self, root: str, folder: Path, name: str, mask: int) -> None:
        changes = self._changes[root]
        path = os.path.relpath(folder / name, root)
        if is_temporary(name) or name.startswith(PURE_FTPD_RENAME):
            changes.temporaries.add(path)
        elif mask & (_DELETE | _MOVED_FROM):
            changes.removed[path] += 1
        elif mask & _IS_DIRECTORY:
            self._enter(changes, root, folder / name)
        elif mask & _MOVED_TO:
            changes.arrived[path] += 1
        else:
            changes.written.add(path)

    def _enter(self, changes: DiskChanges, root: str, folder: Path) -> None:
        """Watch a new directory, and log the entries that it has already as renamed to their names."""
        try:
            self._add(root, folder)
            names = os.listdir(folder)
        except FileNotFoundError:
            return
        for name in names:
            if (folder / name).is_dir():
                self._enter(changes, root, folder / name)
            elif not is_temporary(name):
                changes.arrived[os.path.relpath(folder / name, root)] += 1


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, errno.errorcode.get(number, "inotify"))
    return result
