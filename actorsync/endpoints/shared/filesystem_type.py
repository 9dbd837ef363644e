"""The type of a file system: a journal cannot be kept safely on a network, nor do changes there make events here."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from actorsync.model.filesystems import NETWORK

__all__ = ["network_name", "type_of"]


def network_name(path: Path) -> str | None:
    """Return the name of the network file system that ``path`` is on; None if it is on no known one."""
    return NETWORK.get(type_of(path))


def type_of(path: Path) -> int:
    """Return the number of the file system that ``path`` is on; 0 if statfs(2) fails."""
    buffer = ctypes.create_string_buffer(512)  # struct statfs takes 120 bytes; its first field is the number, a long
    if ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(path), buffer) != 0:
        return 0
    return ctypes.c_ulong.from_buffer(buffer).value & 0xFFFFFFFF
