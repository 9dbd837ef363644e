"""Which way a directory of this machine is watched, and what to do where that is not the best way."""

from __future__ import annotations

import errno
import os
from typing import Final, Literal, TypeAlias

import attrs

__all__ = ["Choice", "Way", "choose", "without_inotify"]

Way: TypeAlias = Literal["inotify", "watchfiles", "polling"]

#: File systems that other machines, or a program of this one, change without an event here, by their number
#: (statfs(2), and the kernel's linux/magic.h). FUSE may be a disk of this machine: its number does not tell. An overlay
#: is not among them: what is changed through it makes events.
_SILENT: Final = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFF534D42: "SMB",
    0xFE534D42: "SMB",
    0x01021997: "9p",
    0x65735546: "FUSE",
    0x5346414F: "AFS",
    0x73757245: "Coda",
    0x564C: "NCP",
    0x00C36400: "Ceph",
    0x0BD00BD0: "Lustre",
    0x47504653: "GPFS",
    0x19830326: "BeeGFS",
    0x786F4256: "a shared folder of VirtualBox",
    0xBACBACBC: "a shared folder of VMware",
    0x7C7C6673: "a shared folder of Parallels",
}


@attrs.frozen
class Choice:
    """A way of watching. ``why`` is the reason why it is not a better one, and what to do; ``""`` if it is the best."""

    way: Way
    why: str = ""


def choose(platform: str, filesystem: int, *, has_watchfiles: bool) -> Choice:
    """Return the way for a directory, by ``sys.platform`` and the number of its file system; 0 if that is unknown."""
    if (name := _SILENT.get(filesystem)) is not None:
        return Choice("polling", f"the source is on {name}, which does not report what other machines change")
    if platform == "linux":
        return Choice("inotify")
    if has_watchfiles:
        return Choice("watchfiles")
    return Choice("polling", 'the package watchfiles is not installed; install "actorsync[watch]"')


def without_inotify(error: OSError) -> Choice:
    """Return the way for a directory that inotify has refused to watch."""
    match error.errno:
        case errno.ENOSPC:
            why = "this user has no inotify watches left; raise fs.inotify.max_user_watches with sysctl"
        case errno.EMFILE:
            why = "this user has no inotify instances left; raise fs.inotify.max_user_instances with sysctl"
        case _:
            reason = os.strerror(error.errno) if error.errno else str(error)
            why = f"inotify cannot be used: {reason}"
    return Choice("polling", why)
