"""When it is our own side that can open no more: descriptors, memory."""

from __future__ import annotations

import errno
import os
from typing import Final

from actorsync.errors import ConnectionLost, OwnLimit

__all__ = ["is_own_limit", "own_limit", "unopened"]

_NO_MORE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


def is_own_limit(error: BaseException | None) -> bool:
    """Tell whether the system refused for want of descriptors or memory, which is nobody else's fault."""
    return isinstance(error, OSError) and error.errno in _NO_MORE


def unopened(reason: str, error: BaseException) -> ConnectionLost:
    """Give what to raise, with ``reason``, for an error of the system on a connection."""
    return own_limit(error) if is_own_limit(error) else ConnectionLost(reason)


def own_limit(error: BaseException) -> OwnLimit:
    """Give what to raise for one that is our own. What it was that could not be opened makes no difference."""
    code = error.errno if isinstance(error, OSError) else None
    return OwnLimit(f"this machine can open no more: {os.strerror(code or errno.EMFILE)}")
