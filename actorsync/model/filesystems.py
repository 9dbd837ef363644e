"""The numbers of file systems that are on another machine (statfs(2), and the kernel's linux/magic.h)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["NETWORK"]

#: Their names. All FUSE file systems share one number, so sshfs is not among them.
NETWORK: Final[Mapping[int, str]] = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFF534D42: "SMB",
    0xFE534D42: "SMB",
    0x5346414F: "AFS",
    0x73757245: "Coda",
    0x564C: "NCP",
    0x00C36400: "Ceph",
    0x0BD00BD0: "Lustre",
    0x47504653: "GPFS",
    0x19830326: "BeeGFS",
}
