"""The data connection of an FTP session, in clear: file contents out, listings in.

Every wait here has a deadline that is measured from the last sign of progress, and every foreign error leaves as
`ConnectionLost`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import ssl
import struct
import termios
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TypeVar

import attrs
import trio

from actorsync.endpoints.contract import Upload
from actorsync.endpoints.shared.resource_limits import unopened
from actorsync.errors import ConnectionLost
from actorsync.protocols.ftp.wire import Reply

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


class lost:  # noqa: N801 - it is used as a statement
    """Turn whatever the system or trio says in the block into `ConnectionLost`; also when it takes over ``seconds``.

    A class, and not a generator: several of these are entered for each file.
    """

    __slots__ = ("_scope", "_what")

    def __init__(self, what: str, seconds: float | None = None) -> None:
        self._what = what
        self._scope = None if seconds is None else trio.CancelScope(deadline=trio.current_time() + seconds)

    def __enter__(self) -> None:
        if self._scope is not None:
            self._scope.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._scope is not None:
            self._scope.__exit__(kind, error, trace)
            if self._scope.cancelled_caught:
                raise ConnectionLost(f"{self._what}: no answer in time") from None
        if isinstance(error, trio.TooSlowError):
            raise ConnectionLost(f"{self._what}: no answer in time") from None
        if isinstance(error, OSError | trio.BrokenResourceError | trio.ClosedResourceError):
            cause = error.__cause__
            if isinstance(cause, BaseExceptionGroup):  # one for each address of a host
                cause = cause.exceptions[0]
            cause = cause if isinstance(cause, OSError) else error
            raise unopened(f"{self._what}: {_words(cause)}", cause) from error


def _words(cause: BaseException) -> str:
    if isinstance(cause, ssl.SSLEOFError):  # the system's words for it name a file of Python's
        return "cut off"
    text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return text or type(cause).__name__


async def reach(peer: tuple[object, ...], port: int, patience: Patience) -> socket.socket:
    """Connect to ``port`` at the control connection's peer, and nowhere else. The socket does not block."""
    family = socket.AF_INET6 if len(peer) == 4 else socket.AF_INET
    what = f"data connection to port {port}"
    with lost(what, patience.connect):
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            await _connect(sock, (peer[0], port, *peer[2:]))
        except BaseException:
            sock.close()
            raise
    return sock


async def _connect(sock: socket.socket, address: tuple[object, ...]) -> None:
    error = sock.connect_ex(address)
    if error == errno.EINPROGRESS:
        await trio.lowlevel.wait_writable(sock)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))


class Data:
    """One data connection, in clear. Close it with `close`, which never waits."""

    def __init__(self, sock: socket.socket, patience: Patience) -> None:
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
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    async def send(self, upload: Upload, limit: int) -> bool:
        """Send the next part of ``upload``, up to byte ``limit`` of it; False when the server takes no more.

        Content that ends before that ends the sending early; ``upload.sent`` tells.
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
        admit, admitted = upload.content.admit, 0
        while upload.sent < limit:
            most = min(_SENDFILE, limit - upload.sent)
            if admit is not None:
                most = admitted = admitted or await admit(most)
            await self._wait_writable()  # each time: between two pieces, others get their turn
            try:
                count = os.sendfile(self._socket.fileno(), descriptor, upload.sent, most)
            except BlockingIOError:
                continue
            if not count:
                break
            upload.sent += count
            admitted = max(0, admitted - count)
        return True

    async def _send_read(self, upload: Upload, limit: int) -> bool:
        while upload.sent < limit:
            view = memoryview(await upload.content.read(min(WRITE, limit - upload.sent)))
            if not view:
                break
            while view:
                try:
                    count = self._socket.send(view)
                except BlockingIOError:
                    await self._wait_writable()
                    continue
                upload.sent += count
                view = view[count:]
        return True

    async def _wait_writable(self) -> None:
        with lost("sending data", self._patience.stall):
            await trio.lowlevel.wait_writable(self._socket)

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
        while True:
            data = await self._receive("receiving a listing", _READ)
            if not data:
                return bytes(received)
            received += data
            if len(received) > limit:
                raise ConnectionLost(f"a listing of more than {limit} bytes")

    async def receive(self, max_bytes: int) -> bytes:
        """Give some bytes of a file as they come; none at the end of the stream."""
        return await self._receive("receiving a file", max_bytes)

    async def _receive(self, what: str, max_bytes: int) -> bytes:
        with lost(what, self._patience.stall):
            await trio.lowlevel.wait_readable(self._socket)
            return self._socket.recv(max_bytes)
