"""A TCP connection for asyncssh that sends many packets in one system call.

asyncssh writes each packet of 32 KiB separately. asyncio's own transport (before Python 3.12) makes one system call for
each write, and copies unsent bytes into a growing buffer. Both take a third of the time of a large upload. This
transport collects the packets of one iteration of the event loop, and sends them with one ``sendmsg``, without a copy.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from typing import Any

from actorsync.protocols.greetings import MOST_BYTES, OtherService, instead_of_ssh

__all__ = ["SILENT_SECONDS", "ConnectedSocket"]

#: Bytes in one ``recv``.
_READ = 256 * 1024
#: Seconds after the greeting of a server before it counts as all that the server says. An SSH server sends its version
#: at once.
SILENT_SECONDS = 5.0
#: Buffers in one ``sendmsg``. Linux accepts up to 1,024.
_MAX_BUFFERS = 512


class ConnectedSocket:
    """A socket that is connected already, to be passed to asyncssh as its ``tunnel``."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._is_used = False

    async def create_connection(self, protocol_factory: Any, host: str, port: int) -> tuple[Any, Any]:  # noqa: ARG002
        """Return a transport over the socket, and its protocol.

        Raises:
            OSError: the peer has closed the connection; the socket is closed then.
        """
        self._is_used = True
        protocol = protocol_factory()
        try:
            transport = _Transport(asyncio.get_running_loop(), self._sock, protocol)
        except OSError:  # the connection was reset: `getpeername` fails
            self._sock.close()
            raise
        protocol.connection_made(transport)
        return transport, protocol

    def discard(self) -> None:
        """Close the socket if no transport uses it."""
        if not self._is_used:
            self._sock.close()

    def close(self) -> None:
        """Do nothing: closing the transport closes the socket."""

    async def wait_closed(self) -> None:
        """Return at once."""


class _Transport(asyncio.Transport):
    """Never calls ``pause_writing``: the windows of SFTP uploads and reads bound the unsent bytes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, protocol: asyncio.Protocol) -> None:
        super().__init__({"socket": sock, "sockname": sock.getsockname(), "peername": sock.getpeername()})
        self._loop, self._sock, self._protocol = loop, sock, protocol
        self._greeting: bytes | None = b""  # what the server has sent so far; None once it is of no interest
        self._silence: asyncio.TimerHandle | None = None
        self._outbox: deque[memoryview] = deque()
        self._is_flushing = False
        self._is_closed = False
        sock.setblocking(False)
        loop.add_reader(sock, self._read)

    def write(self, data: Any) -> None:
        """Send ``data`` together with all other writes of this iteration of the event loop."""
        if self._is_closed:
            return
        self._outbox.append(memoryview(data))
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._is_closed:
            return
        try:
            while self._outbox:
                self._drop_sent(
                    self._sock.sendmsg([self._outbox[n] for n in range(min(len(self._outbox), _MAX_BUFFERS))])
                )
        except BlockingIOError:
            self._loop.add_writer(self._sock, self._flush)
            return
        except OSError as error:
            self._end(error)
            return
        self._loop.remove_writer(self._sock)
        self._is_flushing = False

    def _drop_sent(self, sent: int) -> None:
        while sent and sent >= len(self._outbox[0]):
            sent -= len(self._outbox.popleft())
        if sent:
            self._outbox[0] = self._outbox[0][sent:]

    def _read(self) -> None:
        try:
            data = self._sock.recv(_READ)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error)
            return
        if self._greeting is not None and self._is_other_service(data):
            return
        if data:
            self._protocol.data_received(data)
        else:
            self._end(None)

    def _is_other_service(self, data: bytes) -> bool:
        """End the connection if the server is no SSH server: asyncssh would wait for its version until the timeout.

        ``data`` is the next piece of its greeting; nothing if it closed the connection, or has been silent for long.
        """
        received = (self._greeting or b"") + data
        is_ssh = received.startswith(b"SSH-") or b"\nSSH-" in received
        self._greeting = None if is_ssh or len(received) > MOST_BYTES else received
        if self._silence is not None:
            self._silence.cancel()
        other = instead_of_ssh(received, is_all=not data)
        if other is not None:
            self._end(OtherService(other))
        elif data and self._greeting is not None:
            self._silence = self._loop.call_later(SILENT_SECONDS, self._is_other_service, b"")
        return other is not None

    def is_closing(self) -> bool:
        """Whether this side or the peer has closed the connection."""
        return self._is_closed

    def close(self) -> None:
        """Send as much as possible without waiting, such as a disconnect message, and close."""
        if not self._is_closed:
            with contextlib.suppress(OSError):
                if self._outbox:
                    self._sock.sendmsg([self._outbox[n] for n in range(min(len(self._outbox), _MAX_BUFFERS))])
            self._end(None)

    def abort(self) -> None:
        """Close, as `close` does: neither of the two waits."""
        self.close()

    def _end(self, error: Exception | None) -> None:
        if not self._is_closed:
            self._is_closed, self._greeting = True, None
            if self._silence is not None:
                self._silence.cancel()
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()
            self._outbox.clear()
            self._loop.call_soon(self._protocol.connection_lost, error)
