"""Imports asyncssh without running a compiler.

asyncssh searches for liboqs (further key exchange methods) with `ctypes.util.find_library`. When the library is not
installed, that function runs ldconfig, gcc and ld one after the other, which takes 0.1 s of every start. This module
skips the search when no file has such a name.

asyncssh also needs a home directory and the name of the user on this machine, although actorsync lets it read nothing
there. In a container, both may be missing. Then this module sets ``HOME`` and ``LOGNAME`` for the process: the values
are only there to be found.
"""

from __future__ import annotations

import ctypes.util
import getpass
import os
from collections.abc import Iterator
from glob import glob

from actorsync.endpoints.shared.home import NO_HOME, home_directory

__all__ = ["asyncssh"]

_FOLDERS = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib/*-linux-*",
    "/usr/local/lib",
    "/usr/local/lib/*-linux-*",
)


def _folders() -> Iterator[str]:
    yield from _FOLDERS
    yield from filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))


def _find_existing_library(name: str) -> str | None:
    exists = any(glob(f"{folder}/*{name}*") for folder in _folders())
    return _find_library(name) if exists or os.uname().sysname != "Linux" else None


def _provide_user() -> None:
    """Set ``HOME`` and ``LOGNAME`` where they cannot be determined: asyncssh raises without them."""
    if home_directory() is None:
        os.environ["HOME"] = NO_HOME
    try:
        getpass.getuser()
    except (KeyError, OSError):  # Python 3.13 raises OSError
        os.environ["LOGNAME"] = str(os.getuid())


_provide_user()
_find_library = ctypes.util.find_library
ctypes.util.find_library = _find_existing_library
try:
    import asyncssh
finally:
    ctypes.util.find_library = _find_library
