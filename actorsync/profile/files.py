"""Reading the files that a profile is made of, and making one line of what went wrong."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

__all__ = ["is_private", "one_line", "read_regular", "regular_status"]


def read_regular(path: Path, limit: int) -> tuple[bytes, os.stat_result]:
    """The content of a regular file of at most ``limit`` bytes, and its status at that time.

    Anything else is an ``OSError``: never a wait, as for the writer of a FIFO.
    """
    with _opened(path) as (descriptor, status):
        if status.st_size > limit:
            raise OSError(errno.EFBIG, f"Longer than {limit} bytes")
        return os.read(descriptor, limit), status


def regular_status(path: Path) -> os.stat_result:
    """The status of a regular file that can be read; ``OSError`` for anything else."""
    with _opened(path) as (_, status):
        return status


def is_private(status: os.stat_result) -> bool:
    """Whether nobody but the owner has any access."""
    return not status.st_mode & 0o077


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[int, os.stat_result]]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "Not a regular file")
        yield descriptor, status
    finally:
        os.close(descriptor)


def one_line(text: str) -> str:
    """``text`` with all that could break the line, or speak to a terminal, written as an escape."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
