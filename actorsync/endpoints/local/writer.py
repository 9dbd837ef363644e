"""Write a temporary: create it, fill it, set its time, sync and verify it through one descriptor."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Final

from actorsync.endpoints.contract import Staged, Upload
from actorsync.endpoints.local.modes import set_mode_of_open
from actorsync.endpoints.local.name_claims import Names
from actorsync.endpoints.local.openat import Walk, refusal, shown, temporary_beside
from actorsync.endpoints.shared.unset_modes import UnsetModes
from actorsync.errors import OperationRefused
from actorsync.model.entry import name_of

__all__ = ["Writer"]

_CONTINUE: Final = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_NOT_IN_KERNEL: Final = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})


class Writer:
    """One temporary, open from its creation to its last byte. Call `close` in any case."""

    def __init__(self, root: str, names: Names, unset: UnsetModes, upload: Upload) -> None:
        self._names, self._root, self._unset = names, root, unset
        self._mode, self._keeps_mode = upload.mode, upload.keeps_mode
        self._path, self._temporary, self._source = upload.path, upload.temporary, upload.content.entry
        self._size = upload.size
        self._fd = -1
        self._made = False
        self._start = upload.start
        self.sent = upload.start

    def put(self, piece: bytes, is_last: bool) -> Staged | None:
        """Write the next piece; after the last one, verify the temporary and return it."""
        try:
            self._make()
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
            self.sent += len(piece)
            return self._finish() if is_last or self._is_too_long() else None
        except OSError as error:
            raise refusal("write", self._path, error) from error

    def pull(self, source: int, count: int) -> Staged | None:
        """Copy up to ``count`` bytes from a descriptor inside the kernel; at its end, verify as `put` does."""
        try:
            self._make()
            moved = _move(source, self._fd, self.sent, count)
            self.sent += moved
            return self._finish() if not moved or self._is_too_long() else None
        except OSError as error:
            raise refusal("write", self._path, error) from error

    def close(self) -> None:
        """Close the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """Close, and remove the temporary if it was made here. If that fails, a later sweep removes it."""
        self.close()
        if self._made:
            with contextlib.suppress(OSError, OperationRefused), Walk(self._root) as walk:
                directory, name = walk.parent(self._temporary)
                os.unlink(name, dir_fd=directory)

    def _make(self) -> None:
        if self._fd < 0:
            temporary_beside(self._path, self._temporary)
            with Walk(self._root) as walk:
                directory, name = walk.parent(self._temporary)
                if self._keeps_mode:
                    self._take_over_mode(directory)
                if self._start:
                    self._continue(directory, name)
                    return
                # Never wider than the file is to be: what is readable for a moment can be opened in that moment.
                self._fd = os.open(name, _CREATE, 0o666 if self._mode is None else self._mode, dir_fd=directory)
                self._made = True
                self._names.learn(directory, name)

    def _continue(self, directory: int, name: str) -> None:
        """Open the temporary of an earlier attempt, and go on at ``start``. What is there is kept."""
        self._fd = os.open(name, _CONTINUE, dir_fd=directory)
        self._made = True
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            raise OperationRefused(f"{shown(self._temporary)} is not a regular file")
        os.lseek(self._fd, self._start, os.SEEK_SET)

    def _take_over_mode(self, directory: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            old = os.stat(name_of(self._path), dir_fd=directory, follow_symlinks=False)
            if stat.S_ISREG(old.st_mode):
                self._mode = old.st_mode & 0o777

    def _is_too_long(self) -> bool:  # or a file that grows as fast as it is copied would never end
        return self._size is not None and self.sent > self._size

    def _finish(self) -> Staged:
        if self._size is not None and self.sent != self._size:
            raise OperationRefused(f"{shown(self._source.path)} changed while it was read", retry=True)
        if (mtime_ns := self._source.mtime_ns) is not None:
            _set_time(self._fd, mtime_ns)
        if self._mode is not None:
            set_mode_of_open(self._fd, self._path, self._mode, self._unset)
        os.fsync(self._fd)
        status = os.fstat(self._fd)
        self.close()
        if status.st_size != self.sent:
            raise OperationRefused(
                f"cannot write {shown(self._path)}: {status.st_size} of {self.sent} bytes arrived", retry=True
            )
        return Staged(self._path, self._temporary, self.sent, status.st_mtime_ns)


def _move(source: int, target: int, offset: int, count: int) -> int:
    """Copy by reference if the file system can, else inside the kernel."""
    try:
        if moved := os.copy_file_range(source, target, count, offset):
            return moved
    except OSError as error:
        if error.errno not in _NOT_IN_KERNEL:
            raise
    return os.sendfile(target, source, offset, count)


def _set_time(fd: int, mtime_ns: int) -> None:
    """Set the time, if the file system can hold it. The caller reads the time back."""
    with contextlib.suppress(OSError, OverflowError):
        os.utime(fd, ns=(mtime_ns, mtime_ns))
