"""Permissions on this machine: set through a descriptor, and compared with what the file system then has.

Not every file system has permissions. FAT shows the same for all its files, and refuses or ignores a change.
"""

from __future__ import annotations

import os
import stat
from typing import Final

import attrs

from actorsync.endpoints.local.openat import Walk, entry_of, shown
from actorsync.endpoints.shared.unset_modes import warning_about
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry

__all__ = ["UnsetModes"]

#: Opens an entry whatever its own mode is, only to hold it: not to read or write.
_HOLD: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@attrs.define(eq=False)
class UnsetModes:
    """Sets modes, and remembers the first one that the file system has not set."""

    first: str | None = None

    def set_mode(self, walk: Walk, entry: Entry) -> Entry:
        """Set the mode of a file or directory, and return it as it then is. A link is refused and never followed."""
        directory, name = walk.parent(entry.path)
        fd = os.open(name, _HOLD, dir_fd=directory)
        try:
            if entry_of(entry.path, os.fstat(fd)).kind is not entry.kind or entry.mode is None:
                raise OperationRefused(f"{shown(entry.path)} was changed by another program: its mode is not set")
            # Such a descriptor takes no fchmod. Its name in /proc leads to what it holds, and nowhere else.
            self._chmod(fd, f"/proc/self/fd/{fd}", entry.path, entry.mode)
            return entry_of(entry.path, os.fstat(fd))
        finally:
            os.close(fd)

    def set_mode_of_open(self, fd: int, path: str, mode: int) -> None:
        """Set the mode of a file that is open for writing."""
        self._chmod(fd, fd, path, mode)

    def _chmod(self, fd: int, target: int | str, path: str, mode: int) -> None:
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
        if stat.S_IMODE(os.fstat(fd).st_mode) != mode and self.first is None:
            self.first = f"{path}: {reason}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the sentence for the user, if there is one."""
        return () if self.first is None else (warning_about(self.first),)
