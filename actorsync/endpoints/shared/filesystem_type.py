"""The type of a file system: a journal cannot be kept safely on a network, nor do changes there make events here."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

__all__ = ["network_name", "type_of"]

#: File systems that are on another machine, by their number (statfs(2), and the kernel's linux/magic.h). All FUSE file
#: systems share one number, so sshfs cannot be recognised.
_NETWORK: Final = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB2",
    0x5346414F: "AFS",
    0x73757245: "Coda",
    0x564C: "NCP",
    0x00C36400: "Ceph",
    0x0BD00BD0: "Lustre",
    0x47504653: "GPFS",
    0x19830326: "BeeGFS",
}


def network_name(path: Path) -> str | None:
    """Return the name of the network file system that ``path`` is on; None if it is on no known one."""
    return _NETWORK.get(type_of(path))


def type_of(path: Path) -> int:
    """Return the number of the file system that ``path`` is on; 0 if statfs(2) fails."""
    buffer = ctypes.create_string_buffer(512)  # struct statfs takes 120 bytes; its first field is the number, a long
    if ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(path), buffer) != 0:
        return 0
    return ctypes.c_ulong.from_buffer(buffer).value & 0xFFFFFFFF
