"""Removals on this machine: only what is still as it was seen."""

from __future__ import annotations

import errno
import os
import stat

from actorsync.endpoints.local.openat import Walk, entry_of, shown
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, ancestors

__all__ = ["remove", "unlink"]


def remove(walk: Walk, entry: Entry) -> bool:
    """Remove an unchanged file or an empty directory; True if it is gone, False for a directory that is not empty."""
    try:
        directory, name = walk.parent(entry.path)
        found = entry_of(entry.path, os.stat(name, dir_fd=directory, follow_symlinks=False))
        if entry.kind is Kind.DIRECTORY:
            os.rmdir(name, dir_fd=directory)
            return True
        if (found.kind, found.size) != (entry.kind, entry.size) or entry.mtime_ns not in {None, found.mtime_ns}:
            raise OperationRefused(f"{shown(entry.path)} was changed by another program: not removed")
        os.unlink(name, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return True
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            return False
        raise
    return True


def unlink(walk: Walk, temporary: str) -> bool:
    """Remove a temporary in any state. Below a file there is nothing; a link to a directory is not followed."""
    try:
        directory, name = walk.parent(temporary)
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass
    except NotADirectoryError:
        if not any(_is_file(walk, path) for path in ancestors(temporary)):
            raise
    return True


def _is_file(walk: Walk, path: str) -> bool:
    try:
        return stat.S_ISREG(walk.status(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
