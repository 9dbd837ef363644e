"""Limits of this machine or process: descriptors, memory. Errors that show them, and room for many mirrors."""

from __future__ import annotations

import errno
import os
import sys
from typing import Final

from actorsync.errors import ConnectionLost, OwnLimit, ProfileError

__all__ = ["is_own_limit", "own_limit", "require_descriptors", "unopened"]

#: Descriptors that a mirror holds as long as it runs: the journal with its lock and log, the control socket, and one to
#: work with. And those of the process.
_OF_A_MIRROR, _OF_THE_PROCESS = 6, 24
#: Descriptors that leave room for connections, where the system allows as many.
_ENOUGH: Final = 65_536

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


def require_descriptors(mirrors: int) -> None:
    """Allow this process as many open files as so many mirrors at the same time need at the least.

    Raises `ProfileError` if the system does not.
    """
    if sys.platform == "win32":
        return
    import resource  # there is none on Windows

    needed = _OF_THE_PROCESS + _OF_A_MIRROR * mirrors
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ProfileError(
            f"{mirrors} mirrors at the same time need at least {needed} open files, and this process may have {hard}; "
            "allow more (ulimit -n, or LimitNOFILE= of a service), or mirror fewer at the same time"
        )
    wanted = max(needed, _ENOUGH)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
