"""Which way a directory of this machine is watched, and what to do where that is not the best way."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from actorsync.classes import frozen
from actorsync.model.filesystems import NETWORK
from actorsync.model.text import display

__all__ = ["Choice", "Way", "choose", "silent_type", "with_polled", "without_inotify"]

Way: TypeAlias = Literal["inotify", "watchfiles", "polling"]

#: File systems that other machines, or a program of this one, change without an event here. FUSE may be a disk of this
#: machine: its number does not tell. An overlay is not among them: what is changed through it makes events.
_SILENT: Final = {
    **NETWORK,
    0x01021997: "9p",
    0x65735546: "FUSE",
    0x786F4256: "a shared folder of VirtualBox",
    0xBACBACBC: "a shared folder of VMware",
    0x7C7C6673: "a shared folder of Parallels",
}

#: The same by the names that Linux has for the types of mounts. Those of FUSE begin with "fuse".
_SILENT_TYPES: Final = {
    "9p": "9p",
    "afs": "AFS",
    "beegfs": "BeeGFS",
    "ceph": "Ceph",
    "cifs": "SMB",
    "gpfs": "GPFS",
    "lustre": "Lustre",
    "nfs": "NFS",
    "nfs4": "NFS",
    "smb3": "SMB",
    "vboxsf": "a shared folder of VirtualBox",
    "virtiofs": "a shared folder of a virtual machine",
}
#: How many polled directories are named.
_NAMED: Final = 3


@frozen
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


def silent_type(name: str) -> str | None:
    """Return what a type of mount is called that others change without an event here; None for any other type."""
    return "FUSE" if name.startswith("fuse") else _SILENT_TYPES.get(name)


def with_polled(polled: Mapping[str, str]) -> Choice:
    """Return inotify as the way for a tree, with directories in it that are polled, and what each is on."""
    named = ", ".join(f"{display(path)} is on {polled[path]}" for path in sorted(polled)[:_NAMED])
    more = f" and {len(polled) - _NAMED} more" if len(polled) > _NAMED else ""
    return Choice("inotify", f"{named}{more}: polled, as changes by other machines are not reported" if polled else "")
