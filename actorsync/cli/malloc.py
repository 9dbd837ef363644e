"""One heap for all threads of the process, where the C library would give each its own.

Files are read in worker threads, and freed in others. glibc lets each thread allocate from a heap of its own, which
then holds what is free in it: a process that mirrors for ever grew that way, slowly, and with one heap it does not.
Threads gain nothing from heaps of their own here, because Python lets one of them allocate at a time.
"""

from __future__ import annotations

import contextlib
import ctypes
from typing import Final

__all__ = ["share_one_heap"]

_M_ARENA_MAX: Final = -8  # of malloc.h


def share_one_heap() -> None:
    """Have threads that are started from now on allocate where the others do; does nothing without glibc."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
