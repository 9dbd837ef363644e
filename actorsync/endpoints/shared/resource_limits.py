"""Errors that show a limit of this machine or process: descriptors, memory."""

from __future__ import annotations

import errno
import os
from typing import Final

from actorsync.errors import ConnectionLost, OwnLimit

__all__ = ["is_own_limit", "own_limit", "unopened"]

_NO_MORE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


def is_own_limit(error: BaseException | None) -> bool:
    """Return whether the system reports that descriptors or memory ran out on this machine."""
    return isinstance(error, OSError) and error.errno in _NO_MORE


def unopened(reason: str, error: BaseException) -> ConnectionLost:
    """Return the error for a failed connection: `OwnLimit` for a limit of this machine, else with ``reason``."""
    return own_limit(error) if is_own_limit(error) else ConnectionLost(reason)


def own_limit(error: BaseException) -> OwnLimit:
    """Return the error for a limit of this machine."""
    code = error.errno if isinstance(error, OSError) else None
    return OwnLimit(f"this machine can open no more: {os.strerror(code or errno.EMFILE)}")
