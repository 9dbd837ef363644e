"""Continuing an upload to a local directory: the temporary is read back by descriptor."""

from __future__ import annotations

import os
import stat
from typing import Final

from actorsync.endpoints.local.openat import Walk
from actorsync.errors import OperationRefused

__all__ = ["BLOCKS", "open_kept"]

#: Random blocks that are read back: 4 MiB. After a power failure, a file may have holes anywhere.
BLOCKS: Final = 64

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_kept(root: str, temporary: str) -> tuple[int, int] | None:
    """Open what there is of a temporary, and return the descriptor and the size; None if there is no such file."""
    try:
        with Walk(root) as walk:
            directory, name = walk.parent(temporary)
            fd = os.open(name, _READ, dir_fd=directory)
    except (OSError, OperationRefused):
        return None
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode):
        return fd, status.st_size
    os.close(fd)
    return None
