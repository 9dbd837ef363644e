"""Parts of the fault proxy that know no FTP: two joined connections, and the counting of faults."""

from __future__ import annotations

import errno
import random
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Self

import attrs
import trio

from actorsync.testing.network.faults import Fault, How, Slice, Throttle


@attrs.define(eq=False)
class Arming:
    """One fault with what it has counted so far."""

    fault: Fault
    fired: list[Fault]  # of the proxy, shared
    spent: int = 0
    seen: dict[int, int] = attrs.field(factory=dict)

    def counts(self, every: int, key: int = 0) -> bool:
        """Count one more for ``key``; return whether it is one at which the fault happens, if it still can."""
        seen = self.seen.get(key, 0) + 1
        self.seen[key] = seen
        return seen % every == 0

    def fires(self) -> bool:
        """Take one of the times that are left; return False when there was none."""
        assert not isinstance(self.fault, Slice | Throttle)
        if self.spent >= self.fault.times:
            return False
        self.spent += 1
        self.fired.append(self.fault)
        return True


Pump = Callable[["Link"], Awaitable[None]]


@attrs.define(eq=False)
class Link:
    """A client's connection and the one to the server, joined by two pumps until both end or somebody cuts."""

    client: trio.SocketStream
    server: trio.SocketStream
    how: How | None = None  # set before `run`: nothing passes at all
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    def cut(self, how: How) -> None:
        """Stop both pumps and end both connections this way. The caller should return."""
        self.how = how
        self.scope.cancel()

    async def run(self, up: Pump, down: Pump) -> None:
        """Run the pumps. Both connections are closed on return; a silent one waits to be cancelled."""
        try:
            if self.how is None:
                with self.scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._pump, up)
                        nursery.start_soon(self._pump, down)
            if self.how == "silence":
                await trio.sleep_forever()
        finally:
            for stream in (self.client, self.server):
                if self.how == "rst":
                    reset(stream)
                else:
                    stream.socket.close()

    async def _pump(self, pump: Pump) -> None:
        try:
            await pump(self)
        except trio.BrokenResourceError:
            self.cut("rst")  # one side is gone; let the other see the same


def reset(stream: trio.SocketStream) -> None:
    """Close with RST: closing with a linger time of zero does that."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


@attrs.define(eq=False)
class Lines:
    """The lines of a stream, each with its LF, and at the end what came after the last one.

    A class, since trio warns of async generators that are left half-way.
    """

    stream: trio.SocketStream
    complete: deque[bytes] = attrs.field(factory=deque, init=False)
    rest: bytes = attrs.field(default=b"", init=False)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self.complete:
            chunk = await self.stream.receive_some()
            if not chunk:
                if not self.rest:
                    raise StopAsyncIteration
                line, self.rest = self.rest, b""
                return line
            *lines, self.rest = (self.rest + chunk).split(b"\n")
            self.complete.extend(line + b"\n" for line in lines)
        return self.complete.popleft()


async def reach(host: str, port: int, client: trio.SocketStream) -> trio.SocketStream | None:
    """Connect on behalf of ``client``; when that cannot be, reset the client and return None."""
    server = None
    try:
        with suppress(OSError):
            server = await trio.open_tcp_stream(host, port)
    finally:
        if server is None:
            reset(client)
    return server


async def send_sliced(stream: trio.SocketStream, data: bytes, size: int) -> None:
    """Send ``data`` in pieces of ``size`` bytes, or in one when 0."""
    for start in range(0, len(data), size or len(data) or 1):
        await stream.send_all(data[start : start + (size or len(data))])


def listen(host: str, port: int) -> trio.SocketListener:
    """Listen on one address."""
    listening = socket.create_server((host, port), backlog=128)
    listening.setblocking(False)
    return trio.SocketListener(trio.socket.from_stdlib_socket(listening))


def listen_somewhere(ports: Sequence[int], hosts: Sequence[str]) -> list[trio.SocketListener]:
    """Listen on all of the ``ports`` of one of the ``hosts``, any one where all of them are free.

    Raises:
        OSError: there is none, with the kernel's own reason for the last one; or there can be no more sockets.
    """
    refusal = OSError(errno.EADDRNOTAVAIL, "no address to listen on")
    for host in random.sample(hosts, len(hosts)):
        listeners: list[trio.SocketListener] = []
        try:
            listeners.extend(listen(host, port) for port in ports)
        except OSError as error:
            for listener in listeners:
                listener.socket.close()
            if error.errno != errno.EADDRINUSE:
                raise
            refusal = error
        else:
            return listeners
    message = f"{refusal.strerror} (of {len(hosts)} addresses; does the server listen on all of them?)"
    raise OSError(refusal.errno, message) from refusal
