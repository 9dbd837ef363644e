"""Parts of the proxies that do not depend on a protocol: joined connections, listeners and counters of faults."""

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

from actorsync.classes import define
from actorsync.testing.network.faults import Fault, How, Slice, Throttle


@define(eq=False)
class Arming:
    """One fault with its counters."""

    fault: Fault
    fired: list[Fault]  # the proxy's list, shared
    spent: int = 0
    seen: dict[int, int] = attrs.field(factory=dict)

    def counts(self, every: int, key: int = 0) -> bool:
        """Count one more for ``key``; return whether the count is a multiple of ``every``."""
        seen = self.seen.get(key, 0) + 1
        self.seen[key] = seen
        return seen % every == 0

    def fires(self) -> bool:
        """Record that the fault happens; return False when it has already happened ``times`` times."""
        assert not isinstance(self.fault, Slice | Throttle)
        if self.spent >= self.fault.times:
            return False
        self.spent += 1
        self.fired.append(self.fault)
        return True


Pump = Callable[["Link"], Awaitable[None]]


@define(eq=False)
class Link:
    """A client's connection and the one to the server, joined by two pumps until both end or `cut` is called."""

    client: trio.SocketStream
    server: trio.SocketStream
    how: How | None = None  # when set before `run`, no data passes at all
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    def cut(self, how: How) -> None:
        """Stop both pumps and end both connections in this way. A pump that calls it returns at once."""
        self.how = how
        self.scope.cancel()

    async def run(self, up: Pump, down: Pump) -> None:
        """Run the pumps, and close both connections on return. After ``silence``, wait until cancelled."""
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
            self.cut("rst")  # one side was reset, so reset the other


def reset(stream: trio.SocketStream) -> None:
    """Close with RST, which a linger time of zero causes."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


@define(eq=False)
class Lines:
    """The lines of a stream, each with its LF, and at the end the bytes after the last LF.

    This is a class because trio warns about async generators that are not exhausted.
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
    """Connect to a server for ``client``. On failure, reset the client and return None."""
    server = None
    try:
        with suppress(OSError):
            server = await trio.open_tcp_stream(host, port)
    finally:
        if server is None:
            reset(client)
    return server


async def send_sliced(stream: trio.SocketStream, data: bytes, size: int) -> None:
    """Send ``data`` in pieces of ``size`` bytes; for 0, in one piece."""
    for start in range(0, len(data), size or len(data) or 1):
        await stream.send_all(data[start : start + (size or len(data))])


def listen(host: str, port: int) -> trio.SocketListener:
    """Listen on one address."""
    listening = socket.create_server((host, port), backlog=128)
    listening.setblocking(False)
    return trio.SocketListener(trio.socket.from_stdlib_socket(listening))


def listen_somewhere(ports: Sequence[int], hosts: Sequence[str]) -> list[trio.SocketListener]:
    """Listen on all ``ports`` of one of the ``hosts``, chosen at random among those where all ports are free.

    Raises:
        OSError: no host has all ports free, with the kernel's reason for the last one; or a socket cannot be made.
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
