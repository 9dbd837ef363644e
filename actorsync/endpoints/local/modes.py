"""Permissions on this machine: set through a descriptor, and compared with what the file system then has.

Not every file system has permissions. FAT shows the same for all its files, and refuses or ignores a change.
"""

from __future__ import annotations

import os
import stat
from typing import Final

from actorsync.endpoints.local.openat import Walk, entry_of, shown
from actorsync.endpoints.shared.unset_modes import UnsetModes
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry

__all__ = ["set_mode", "set_mode_of_open"]

#: Opens an entry whatever its own mode is, only to hold it: not to read or write.
_HOLD: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def set_mode(walk: Walk, entry: Entry, unset: UnsetModes) -> Entry:
    """Set the mode of a file or directory, and return it as it then is. A link is refused and never followed."""
    directory, name = walk.parent(entry.path)
    fd = os.open(name, _HOLD, dir_fd=directory)
    try:
        if entry_of(entry.path, os.fstat(fd)).kind is not entry.kind or entry.mode is None:
            raise OperationRefused(f"{shown(entry.path)} was changed by another program: its mode is not set")
        # Such a descriptor takes no fchmod. Its name in /proc leads to what it holds, and nowhere else.
        _chmod(fd, f"/proc/self/fd/{fd}", entry.path, entry.mode, unset)
        return entry_of(entry.path, os.fstat(fd))
    finally:
        os.close(fd)


def set_mode_of_open(fd: int, path: str, mode: int, unset: UnsetModes) -> None:
    """Set the mode of a file that is open for writing."""
    _chmod(fd, fd, path, mode, unset)


def _chmod(fd: int, target: int | str, path: str, mode: int, unset: UnsetModes) -> None:
    """Set a mode, if it is another one. Setuid, setgid and sticky of a directory stay."""
    status = os.fstat(fd)
    if stat.S_ISDIR(status.st_mode):
        mode |= stat.S_IMODE(status.st_mode) & ~0o777
    if stat.S_IMODE(status.st_mode) == mode:
        return
    reason = "the file system ignores it"
    try:
        os.chmod(target, mode)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
    if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
        unset.note(path, reason)
