"""When it is our own side that can open no more: descriptors, memory."""

from __future__ import annotations

import errno
from typing import Final

from actorsync.errors import ConnectionLost, OwnLimit

__all__ = ["is_own_limit", "unopened"]

_NO_MORE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


def is_own_limit(error: BaseException | None) -> bool:
    """Tell whether the system refused for want of descriptors or memory, which is nobody else's fault."""
    return isinstance(error, OSError) and error.errno in _NO_MORE


def unopened(reason: str, error: BaseException) -> ConnectionLost:
    """Give what to raise, with ``reason``, for an error of the system on a connection."""
    return OwnLimit(reason) if is_own_limit(error) else ConnectionLost(reason)
