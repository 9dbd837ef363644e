"""asyncssh, imported without a compiler being run for it.

It looks for liboqs (more ways of exchanging keys) with `ctypes.util.find_library`, which asks ldconfig, gcc and ld in
turn when there is no such library: a tenth of a second of every start. Where no file is called so, nobody is asked.
"""

from __future__ import annotations

import ctypes.util
import os
from collections.abc import Iterator
from glob import glob

__all__ = ["asyncssh"]

_PLACES = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib/*-linux-*",
    "/usr/local/lib",
    "/usr/local/lib/*-linux-*",
)


def _places() -> Iterator[str]:
    yield from _PLACES
    yield from filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))


def _find_where_there_is_any(name: str) -> str | None:
    is_any = any(glob(f"{place}/*{name}*") for place in _places())
    return _find_library(name) if is_any or os.uname().sysname != "Linux" else None


_find_library = ctypes.util.find_library
ctypes.util.find_library = _find_where_there_is_any
try:
    import asyncssh
finally:
    ctypes.util.find_library = _find_library
