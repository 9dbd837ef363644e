"""A TCP connection for asyncssh whose packets leave together.

asyncssh writes each packet of 32 KiB by itself. asyncio's own transport (before Python 3.12) makes each a call of the
system, and copies into one growing buffer what the system does not take: a third of the time of a big upload. Here
the packets of one turn of the loop are gathered, and go out in one call, from where they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from typing import Any

__all__ = ["ConnectedSocket"]

_READ = 256 * 1024
#: Linux takes up to 1,024 pieces in one call.
_PIECES = 512


class ConnectedSocket:
    """A socket that is connected already, in the shape in which asyncssh takes a way to a server (``tunnel``)."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._is_taken = False

    async def create_connection(self, protocol_factory: Any, host: str, port: int) -> tuple[Any, Any]:  # noqa: ARG002
        """Give a transport over the socket, and the protocol that uses it; `OSError` when the peer is gone already."""
        self._is_taken = True
        protocol = protocol_factory()
        try:
            transport = _Transport(asyncio.get_running_loop(), self._sock, protocol)
        except OSError:  # it was reset since: it has no peer that could be named
            self._sock.close()
            raise
        protocol.connection_made(transport)
        return transport, protocol

    def discard(self) -> None:
        """Close the socket if nobody ever used it."""
        if not self._is_taken:
            self._sock.close()

    def close(self) -> None:
        """There is nothing to close but the transport."""

    async def wait_closed(self) -> None:
        """There is nothing to wait for."""


class _Transport(asyncio.Transport):
    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, protocol: asyncio.Protocol) -> None:
        super().__init__({"socket": sock, "sockname": sock.getsockname(), "peername": sock.getpeername()})
        self._loop, self._sock, self._protocol = loop, sock, protocol
        self._outbox: deque[memoryview] = deque()
        self._is_flushing = False
        self._is_closed = False
        sock.setblocking(False)
        loop.add_reader(sock, self._read)

    def write(self, data: Any) -> None:
        """Send, with all that comes in this turn of the loop."""
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
                self._drop(self._sock.sendmsg([self._outbox[n] for n in range(min(len(self._outbox), _PIECES))]))
        except BlockingIOError:
            self._loop.add_writer(self._sock, self._flush)
            return
        except OSError as error:
            self._end(error)
            return
        self._loop.remove_writer(self._sock)
        self._is_flushing = False

    def _drop(self, sent: int) -> None:
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
        if data:
            self._protocol.data_received(data)
        else:
            self._end(None)

    def is_closing(self) -> bool:
        """Whether it is closed, or was by the other side."""
        return self._is_closed

    def close(self) -> None:
        """Send what can be sent at once, such as a goodbye, and close."""
        if not self._is_closed:
            with contextlib.suppress(OSError):
                if self._outbox:
                    self._sock.sendmsg([self._outbox[n] for n in range(min(len(self._outbox), _PIECES))])
            self._end(None)

    def abort(self) -> None:
        """Close; nothing here ever waits."""
        self.close()

    def _end(self, error: OSError | None) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()
            self._outbox.clear()
            self._loop.call_soon(self._protocol.connection_lost, error)
