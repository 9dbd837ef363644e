"""Reading the files of a profile, and making error messages fit on one line."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["PLAN_BEGINNING", "one_line", "read_regular", "regular_status"]

#: How the file of a saved plan begins: not a profile, though it may be named in the place of one.
PLAN_BEGINNING: Final = b'{\n "actorsync-plan"'


def read_regular(path: Path, limit: int) -> tuple[bytes, os.stat_result]:
    """Return the content of a regular file of at most ``limit`` bytes, and its status at that time.

    Raises `OSError` for anything else. Never blocks, not even for a FIFO without a writer.
    """
    with _opened(path) as (descriptor, status):
        if status.st_size > limit:
            raise OSError(errno.EFBIG, f"Longer than {limit} bytes")
        return os.read(descriptor, limit), status


def regular_status(path: Path) -> os.stat_result:
    """Return the status of a readable regular file. Raises `OSError` for anything else."""
    with _opened(path) as (_, status):
        return status


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
    """Return ``text`` with line breaks and other unprintable characters escaped."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
