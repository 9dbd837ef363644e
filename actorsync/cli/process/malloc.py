"""One malloc arena for all threads of the process, instead of glibc's one per thread.

Buffers are allocated in one worker thread and freed in another. With an arena per thread, free memory stays in the
arena that it came from, so a process that mirrors repeatedly grows slowly. With one arena it does not grow. Arenas per
thread would not be faster here, because the GIL lets one thread allocate at a time.
"""

from __future__ import annotations

import contextlib
import ctypes
from typing import Final

__all__ = ["share_one_heap"]

_M_ARENA_MAX: Final = -8  # of malloc.h


def share_one_heap() -> None:
    """Make threads started from now on use the arena of the others. No effect without glibc."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
