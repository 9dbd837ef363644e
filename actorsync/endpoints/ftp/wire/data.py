"""The data connection of an FTP session, in clear: file contents and listings.

Every wait has a deadline that is measured from the last progress. Every error of the system or of trio leaves as
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
import sys
import termios
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TypeVar

import trio

from actorsync.classes import frozen
from actorsync.endpoints.contract import Upload
from actorsync.endpoints.shared.proxy import Proxy
from actorsync.endpoints.shared.resource_limits import unopened
from actorsync.errors import ConnectionLost
from actorsync.protocols.ftp.wire import Reply

__all__ = ["WRITE", "DataConnection", "Timeouts", "connect_data", "connection_errors", "in_send_buffer"]

T = TypeVar("T")

_READ = 64 * 1024
#: Bytes read and sent at a time, where the content passes through this process.
WRITE = 256 * 1024
#: Bytes in one ``sendfile`` call: enough to be cheap, few enough that a slow disk does not block other connections.
_SENDFILE = 1024 * 1024
#: From ``sys/socket.h`` of macOS; Python's `socket` does not have it.
_SO_NWRITE = 0x1024


@frozen
class Timeouts:
    """How long to wait for the server, in seconds.

    ``connect`` bounds the connect, and the wait for the whole greeting. A connection without a byte of progress for
    ``stall`` is lost.
    """

    connect: float = 30.0
    stall: float = 60.0

    @property
    def after_error(self) -> float:
        """How long to wait for the server's reply after a write error."""
        return min(10.0, self.stall)


class connection_errors:  # noqa: N801 - it is used as a statement
    """Turn errors of the system and of trio in the block into `ConnectionLost`; also when it takes over ``seconds``.

    A class, and not a generator, for speed: several of these are entered for each file.
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
        if error is None:
            return
        if isinstance(error, trio.TooSlowError):
            raise ConnectionLost(f"{self._what}: no answer in time") from None
        if isinstance(error, OSError | trio.BrokenResourceError | trio.ClosedResourceError):
            cause = error.__cause__
            if isinstance(cause, BaseExceptionGroup):  # one error for each address of a host
                cause = cause.exceptions[0]
            cause = cause if isinstance(cause, OSError) else error
            raise unopened(f"{self._what}: {_words(cause)}", cause) from error


def _words(cause: BaseException) -> str:
    if isinstance(cause, ssl.SSLEOFError):  # its own text names a source file of Python
        return "cut off"
    text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return text or type(cause).__name__


def in_send_buffer(sock: socket.socket, platform: str = sys.platform) -> int:
    """Return how many bytes the kernel has taken from this process that the peer has not acknowledged.

    Linux answers SIOCOUTQ (tcp(7)), and macOS the option SO_NWRITE. 0 where a system cannot tell, so that bytes count
    as sent there once the kernel has taken them.
    """
    with contextlib.suppress(OSError):
        if platform == "linux":
            return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0])
        if platform == "darwin":
            return sock.getsockopt(socket.SOL_SOCKET, _SO_NWRITE)
    return 0


async def connect_data(
    peer: tuple[object, ...],
    port: int,
    timeouts: Timeouts,
    proxy: Proxy | None = None,
    meanwhile: Callable[[], Awaitable[object]] | None = None,
) -> socket.socket:
    """Connect to ``port`` at the control connection's peer. Returns a non-blocking socket.

    With a ``proxy``, the peer is the server as the proxy was asked for it, and never the proxy itself. ``meanwhile`` is
    awaited once while the connection is on its way; with a proxy, before that.
    """
    if proxy is not None:
        if meanwhile is not None:
            await meanwhile()
        stream = await proxy.connect(str(peer[0]), port, timeouts.connect)
        return socket.socket(fileno=stream.socket.detach())
    family = socket.AF_INET6 if len(peer) == 4 else socket.AF_INET
    what = f"data connection to port {port}"
    with connection_errors(what, timeouts.connect):
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            await _connect(sock, (peer[0], port, *peer[2:]), meanwhile)
        except BaseException:
            sock.close()
            raise
    return sock


async def _connect(
    sock: socket.socket, address: tuple[object, ...], meanwhile: Callable[[], Awaitable[object]] | None
) -> None:
    error = sock.connect_ex(address)
    if meanwhile is not None:
        await meanwhile()
    if error == errno.EINPROGRESS:
        await trio.lowlevel.wait_writable(sock)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))


class DataConnection:
    """One data connection, in clear. Close it with `close`, which never waits."""

    def __init__(self, sock: socket.socket, timeouts: Timeouts) -> None:
        self._socket = sock
        self._timeouts = timeouts
        self._left = 0  # what was unsent when the connection was closed

    @property
    def is_resumed(self) -> bool:
        """Whether the TLS session of the control connection was resumed. True in clear, where there is none."""
        return True

    async def converse(
        self, speak: Callable[[], Awaitable[T]], hear: Callable[[], Awaitable[Reply]]
    ) -> tuple[T | None, Reply]:
        """Run ``speak``, which sends before the server has answered, and ``hear``, which reads the answer.

        Returns both results. The result of ``speak`` is None when the server refused the transfer.
        """
        return await speak(), await hear()

    def close(self) -> None:
        """Close. Bytes that were not acknowledged may be lost."""
        if self._socket.fileno() >= 0:
            self._left = self.unsent()
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    async def send(self, upload: Upload, limit: int) -> bool:
        """Send the next part of ``upload``, up to byte ``limit`` of it. False when the server accepts no more.

        Content that ends before ``limit`` ends the sending early. ``upload.sent`` counts the bytes that were sent.
        """
        descriptor = upload.content.fileno()
        try:
            if descriptor is None:
                return await self._send_read(upload, limit)
            return await self._send_file(upload, limit, descriptor)
        except (BrokenPipeError, ConnectionResetError):
            return False  # the reply on the control connection says why
        except OSError as error:
            raise ConnectionLost(f"sending data: {error.strerror}") from error

    async def _send_file(self, upload: Upload, limit: int, descriptor: int) -> bool:
        admit, admitted = upload.content.admit, 0
        while upload.sent < limit:
            most = min(_SENDFILE, limit - upload.sent)
            if admit is not None:
                most = admitted = admitted or await admit(most)
            await self._wait_writable()  # before each piece, so that other tasks run in between
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
        with connection_errors("sending data", self._timeouts.stall):
            await trio.lowlevel.wait_writable(self._socket)

    async def finish(self) -> None:
        """Signal the end of the data. In clear, this never waits."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def unsent(self) -> int:
        """Return how many bytes the server has not acknowledged yet. While the number falls, there is progress.

        On a closed connection, the number at the time of its end. Through a proxy, the proxy acknowledges.
        """
        return self._left if self._socket.fileno() < 0 else in_send_buffer(self._socket)

    def was_reset(self) -> bool:
        """Return whether the server closed the connection without reading all of the data. True once at most."""
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except ConnectionResetError:
            return True
        except OSError:
            return False
        return False

    async def receive_all(self, limit: int) -> bytes:
        """Read a listing to the end of the stream. Raises `ConnectionLost` after more than ``limit`` bytes."""
        received = bytearray()
        while True:
            data = await self._receive("receiving a listing", _READ)
            if not data:
                return bytes(received)
            received += data
            if len(received) > limit:
                raise ConnectionLost(f"the listing has more than {limit} bytes")

    async def receive(self, max_bytes: int) -> bytes:
        """Return some bytes of a file as they arrive; none at the end of the stream."""
        return await self._receive("receiving a file", max_bytes)

    async def _receive(self, what: str, max_bytes: int) -> bytes:
        with connection_errors(what, self._timeouts.stall):
            await trio.lowlevel.wait_readable(self._socket)
            return self._socket.recv(max_bytes)
