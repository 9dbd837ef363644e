"""Moves on this machine: a file gets another name, and an existing file is never replaced."""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable
from typing import Final

from actorsync.endpoints.contract import Relocation
from actorsync.endpoints.local.name_claims import Names
from actorsync.endpoints.local.openat import Walk, entry_of, shown
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry

__all__ = ["link", "look", "move"]

#: Errors of a file system that has no hard links.
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})

#: RENAME_NOREPLACE of renameat2(2), and its errors on a kernel or a file system that does not know it.
_NO_REPLACE: Final = 1
_NO_EXCLUSIVE_RENAME: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


def move(walk: Walk, other: Walk, names: Names, item: Relocation) -> Entry:
    """Rename an unchanged file. ``walk`` opens its new directory, ``other`` the old one."""
    directory, name = walk.parent(item.path)
    there = look(directory, name)
    try:
        old_directory, old_name = other.parent(item.entry.path)
        found = look(old_directory, old_name)
    except FileNotFoundError:
        found = None
    if found is None:
        if there is not None and _is_as(item.entry, entry_of(item.path, there)):
            return entry_of(item.path, there)  # by an earlier call
        raise OperationRefused(f"cannot move {shown(item.entry.path)}: it is gone")
    if not _is_as(item.entry, entry_of(item.path, found)):
        raise OperationRefused(f"{shown(item.entry.path)} was changed by another program: not moved")
    if there is not None:
        raise OperationRefused(f"cannot move to {shown(item.path)}: the name is taken")
    with names.claimed(directory, item.path):
        _rename(old_directory, old_name, directory, name)
    now = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if not os.path.samestat(found, now) or not _is_as(item.entry, entry_of(item.path, now)):
        raise OperationRefused(f"{shown(item.path)} was replaced by another program after the move")
    return entry_of(item.path, now)


def _rename(old_directory: int, old_name: str, directory: int, name: str) -> None:
    """Rename, so that the kernel replaces nothing: in one step on Linux, where the file system can do that.

    Otherwise by link and unlink: in between, the file has both names, and a program that replaces it under the old one
    just then loses what it wrote.
    """
    if _rename_at_once(old_directory, old_name, directory, name):
        return
    if link(old_directory, old_name, directory, name):
        os.unlink(old_name, dir_fd=old_directory)
    else:
        os.rename(old_name, name, src_dir_fd=old_directory, dst_dir_fd=directory)


def _rename_at_once(old_directory: int, old_name: str, directory: int, name: str) -> bool:
    """Rename without replacing anything, by renameat2(2); return False if the system or the file system cannot."""
    call = _exclusive_rename()
    if call is None:
        return False
    number = call(old_directory, os.fsencode(old_name), directory, os.fsencode(name))
    if number in _NO_EXCLUSIVE_RENAME:
        return False
    if number:
        raise OSError(number, os.strerror(number), old_name, None, name)
    return True


@functools.cache
def _exclusive_rename() -> Callable[[int, bytes, int, bytes], int] | None:
    """Return renameat2(2), which then returns its error number, or 0; None where there is no such call."""
    import ctypes  # only where a file is moved

    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # not Linux, or a C library older than glibc 2.28
        return None

    def rename(old_directory: int, old_name: bytes, directory: int, name: bytes) -> int:
        return 0 if call(old_directory, old_name, directory, name, _NO_REPLACE) == 0 else ctypes.get_errno()

    return rename


def link(old_directory: int, old_name: str, directory: int, name: str) -> bool:
    """Add a second name to a file, which must be free; return False if the file system has no hard links."""
    try:
        os.link(old_name, name, src_dir_fd=old_directory, dst_dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return False
    return True


def look(directory: int, name: str) -> os.stat_result | None:
    """Return the status of a name in an open directory, even if it is a link; None if there is none."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _is_as(entry: Entry, found: Entry) -> bool:
    """Return whether a file matches its entry, as far as the entry has facts."""
    return (found.kind, found.size) == (entry.kind, entry.size) and entry.mtime_ns in {None, found.mtime_ns}
