"""The data connection of an FTP session, in clear: file contents out, listings in.

Every wait here has a deadline that is measured from the last sign of progress, and every foreign error leaves as
`ConnectionLost`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import ssl
import struct
import termios
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import attrs
import trio

from actorsync.endpoints.contract import Upload
from actorsync.endpoints.own_limit import unopened
from actorsync.errors import ConnectionLost
from actorsync.protocols.ftp import Reply

__all__ = ["WRITE", "Data", "Patience", "lost", "reach"]

T = TypeVar("T")

_READ = 64 * 1024
#: How much of a file is read and sent at a time, where it passes through us.
WRITE = 256 * 1024
#: One ``sendfile`` call: large enough to be cheap, small enough that a cold disk does not hold up other connections.
_SENDFILE = 1024 * 1024


@attrs.frozen
class Patience:
    """How long to wait for the other side, in seconds.

    ``connect`` is for a connection to be made, and for the greeting to be whole, however it comes. Without a byte of
    progress for ``stall``, a connection is lost.
    """

    connect: float = 30.0
    stall: float = 60.0

    @property
    def last_words(self) -> float:
        """After a write error: how long the server has to say what was wrong."""
        return min(10.0, self.stall)


@contextlib.contextmanager
def lost(what: str) -> Iterator[None]:
    """Turn whatever the system or trio says into `ConnectionLost`."""
    try:
        yield
    except trio.TooSlowError:
        raise ConnectionLost(f"{what}: no answer in time") from None
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
        cause = error.__cause__
        if isinstance(cause, BaseExceptionGroup):  # one for each address of a host
            cause = cause.exceptions[0]
        cause = cause if isinstance(cause, OSError) else error
        raise unopened(f"{what}: {_words(cause)}", cause) from error


def _words(cause: BaseException) -> str:
    if isinstance(cause, ssl.SSLEOFError):  # the system's words for it name a file of Python's
        return "cut off"
    text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return text or type(cause).__name__


async def reach(peer: tuple[object, ...], port: int, patience: Patience) -> trio.socket.SocketType:
    """Connect to ``port`` at the control connection's peer, and nowhere else."""
    family = socket.AF_INET6 if len(peer) == 4 else socket.AF_INET
    with lost(f"data connection to port {port}"):
        sock = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        with lost(f"data connection to port {port}"), trio.fail_after(patience.connect):
            await sock.connect((peer[0], port, *peer[2:]))
    except BaseException:
        sock.close()
        raise
    return sock


class Data:
    """One data connection, in clear. Close it with `close`, which never waits."""

    def __init__(self, sock: trio.socket.SocketType, patience: Patience) -> None:
        self._socket = sock
        self._patience = patience

    @property
    def is_resumed(self) -> bool:
        """Whether it belongs to the control connection as far as the server can tell. In clear, it is all it can."""
        return True

    async def converse(
        self, speak: Callable[[], Awaitable[T]], hear: Callable[[], Awaitable[Reply]]
    ) -> tuple[T | None, Reply]:
        """Do what may be done before the server has answered (``speak``), and hear its answer.

        Gives what both gave; None for ``speak`` when the server wants nothing.
        """
        return await speak(), await hear()

    def close(self) -> None:
        """Close; what was not acknowledged may be lost."""
        self._socket.close()

    async def send(self, upload: Upload, limit: int) -> bool:
        """Send the next part of ``upload``, up to byte ``limit`` of the file; False when the server takes no more.

        A file that turns out shorter ends the sending early; ``upload.sent`` tells.
        """
        descriptor = upload.content.fileno()
        try:
            if descriptor is None:
                return await self._send_read(upload, limit)
            return await self._send_file(upload, limit, descriptor)
        except (BrokenPipeError, ConnectionResetError):
            return False  # the control connection knows why
        except OSError as error:
            raise ConnectionLost(f"sending data: {error.strerror}") from error

    async def _send_file(self, upload: Upload, limit: int, descriptor: int) -> bool:
        while upload.sent < limit:
            with lost("sending data"), trio.fail_after(self._patience.stall):
                await trio.lowlevel.wait_writable(self._socket)
            try:
                count = os.sendfile(self._socket.fileno(), descriptor, upload.sent, min(_SENDFILE, limit - upload.sent))
            except BlockingIOError:
                continue
            if not count:
                break
            upload.sent += count
        return True

    async def _send_read(self, upload: Upload, limit: int) -> bool:
        while upload.sent < limit:
            view = memoryview(await upload.content.read(min(WRITE, limit - upload.sent)))
            if not view:
                break
            while view:
                with trio.move_on_after(self._patience.stall) as waiting:
                    count = await self._socket.send(view)
                if waiting.cancelled_caught:
                    raise ConnectionLost("sending data: no progress")
                upload.sent += count
                view = view[count:]
        return True

    async def finish(self) -> None:
        """Say that there is no more to come. In clear, that never waits."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def unsent(self) -> int:
        """Give how many bytes the other side has not acknowledged yet: while it falls, there is progress."""
        with contextlib.suppress(OSError):
            answer = fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
            return int(struct.unpack("i", answer)[0])
        return 0

    async def receive_all(self, limit: int) -> bytes:
        """Read to the end of the stream; more than ``limit`` bytes is no listing that anybody meant."""
        received = bytearray()
        with lost("receiving a listing"):
            while True:
                with trio.fail_after(self._patience.stall):
                    data = await self._socket.recv(_READ)
                if not data:
                    return bytes(received)
                received += data
                if len(received) > limit:
                    raise ConnectionLost(f"a listing of more than {limit} bytes")

    async def receive(self, max_bytes: int) -> bytes:
        """Give some bytes of a file as they come; none at the end of the stream."""
        with lost("receiving a file"), trio.fail_after(self._patience.stall):
            return await self._socket.recv(max_bytes)
