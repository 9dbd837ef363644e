"""Imports of a program that begins, without the garbage collector: they make many objects, and none of them garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["importing"]


@contextmanager
def importing(*, is_program: bool) -> Iterator[None]:
    """Collect no garbage in the block, and let later collections skip what it has made. Saves a tenth of a start.

    Without ``is_program`` nothing is changed: the process is not ours.
    """
    if not is_program:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
