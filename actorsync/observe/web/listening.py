"""The sockets that a server listens on: a port, or a Unix socket that only its owner can open."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from actorsync.errors import FatalError
from actorsync.model.text import display
from actorsync.profile.values.service_readers import Listen

__all__ = ["AddressInUse", "listening", "unix_listener"]

_BACKLOG = 64


class AddressInUse(FatalError):
    """Another program listens there already."""


@asynccontextmanager
async def listening(listen: Listen, where: str) -> AsyncIterator[trio.SocketListener]:
    """Listen during the block. ``where`` names the key of the profile, for messages.

    Raises:
        AddressInUse: another program listens there.
        FatalError: it is not possible for another reason.
    """
    if listen.path is not None:
        async with unix_listener(listen.path, where) as listener:
            yield listener
        return
    try:
        (listener,) = await trio.open_tcp_listeners(listen.port, host=listen.host, backlog=_BACKLOG)
    except OSError as error:
        raise _failed(error, str(listen), where) from None
    async with listener:
        yield listener


@asynccontextmanager
async def unix_listener(path: Path, where: str) -> AsyncIterator[trio.SocketListener]:
    """Listen on a Unix socket with mode 0600 during the block, and remove it afterwards.

    What a process that was killed has left at ``path`` is replaced. Anything that is not a socket stays. Raises as
    `listening` does.
    """
    shown = display(str(path))
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _require_free(path, where)
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        raw.bind(str(beside))
        beside.chmod(0o600)  # before the socket gets its name: nobody else can open it in between
        raw.listen(_BACKLOG)
        identity = os.stat(beside).st_ino
        beside.rename(path)
    except OSError as error:
        raw.close()
        with contextlib.suppress(OSError):
            beside.unlink()
        raise _failed(error, f"unix:{shown}", where) from None
    except FatalError:
        raw.close()
        raise
    try:
        async with trio.SocketListener(trio.socket.from_stdlib_socket(raw)) as listener:
            yield listener
    finally:
        _remove(path, identity)


def _remove(path: Path, identity: int) -> None:
    """Remove a socket, unless another process has put one there meanwhile."""
    with contextlib.suppress(OSError):
        if path.lstat().st_ino == identity:
            path.unlink()


def _require_free(path: Path, where: str) -> None:
    """Raise unless ``path`` is free, or is a socket on which nobody listens."""
    shown = display(str(path))
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise FatalError(f"{where}: {shown} is not a socket; remove it, or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return
        except BlockingIOError:
            pass
    raise _in_use(f"unix:{shown}", where)


def _in_use(shown: str, where: str) -> AddressInUse:
    return AddressInUse(f"{where}: another program listens on {shown}; stop it, or choose another address")


def _failed(error: OSError, shown: str, where: str) -> FatalError:
    if error.errno == errno.EADDRINUSE:
        return _in_use(shown, where)
    return FatalError(f"{where}: cannot listen on {shown}: {error.strerror or error}; choose another address")
