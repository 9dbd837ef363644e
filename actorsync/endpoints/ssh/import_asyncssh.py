"""Imports asyncssh without running a compiler.

asyncssh searches for liboqs (further key exchange methods) with `ctypes.util.find_library`. When the library is not
installed, that function runs ldconfig, gcc and ld one after the other, which takes 0.1 s of every start. This module
skips the search when no file has such a name.
"""

from __future__ import annotations

import ctypes.util
import os
from collections.abc import Iterator
from glob import glob

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


_find_library = ctypes.util.find_library
ctypes.util.find_library = _find_existing_library
try:
    import asyncssh
finally:
    ctypes.util.find_library = _find_library
