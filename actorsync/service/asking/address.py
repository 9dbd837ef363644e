"""Where the control socket of a mirror is: beside its journal, so that the lock of the journal decides who owns it."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from actorsync.journal import journal_path, state_directory
from actorsync.profile import Profile

if TYPE_CHECKING:
    import trio

__all__ = ["connectable", "is_trusted_peer", "peer_credentials", "socket_path"]

#: Bytes of an address that every system accepts. Linux has room for 108, macOS for 104, with a NUL.
_ROOM: Final = 100

#: ``struct ucred``: process, user, group.
_CREDENTIALS: Final = "3i"


def socket_path(profile: Profile) -> Path:
    """Return the path of the socket of a profile's run."""
    return journal_path(state_directory(), profile.identity).with_suffix(".sock")


@contextmanager
def connectable(path: Path) -> Iterator[str]:
    """Yield an address of the socket ``path`` to bind or to connect to. A path that is too long is shortened.

    Raises `OSError` if the directory is missing, or if the path is too long and the system has no ``/proc``.
    """
    if len(os.fsencode(path)) <= _ROOM:
        yield os.fspath(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        short = f"/proc/self/fd/{directory}"
        if not os.path.isdir(short):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        yield f"{short}/{path.name}"
    finally:
        os.close(directory)


def peer_credentials(connection: socket.socket | trio.socket.SocketType) -> bytes:
    """Return what the kernel knows of the process at the other end of a connection, as ``struct ucred``."""
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(_CREDENTIALS))


def is_trusted_peer(connection: socket.socket | trio.socket.SocketType) -> bool:
    """Return whether the other end of a connection is a process of the same user, or of root.

    Elsewhere than on Linux, the permissions of the socket and of its directory have to suffice.
    """
    if sys.platform != "linux":
        return True
    _, user, _ = struct.unpack(_CREDENTIALS, peer_credentials(connection))
    return user in {0, os.geteuid()}
