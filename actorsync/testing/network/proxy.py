"""A proxy for any TCP server, on which the network fails after a number of bytes or packets.

It does not look into the data, so it also works for encrypted protocols; `actorsync.testing.network.ftp_proxy` parses
FTP. Like that proxy, it listens on another loopback address, on the port of the server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Literal

import attrs
import trio

from actorsync.classes import define, frozen
from actorsync.testing.network.faults import How
from actorsync.testing.network.links import Link, listen_somewhere, reach, send_sliced
from actorsync.testing.network.threads import in_a_thread

__all__ = ["CutWire", "HoldWire", "WireFault", "WireProxy", "open_wire_proxy", "wire_proxy"]

_HOSTS = [f"127.0.0.{number}" for number in range(2, 255)]
_CHUNK = 65536

Direction = Literal["up", "down"]


@frozen(kw_only=True)
class CutWire:
    """Cut a connection after ``after`` bytes in one direction (up: towards the server).

    With ``packet``, cut it after that many pieces of data; the next piece is lost. A piece is what the sender wrote at
    once, as far as TCP keeps writes apart.
    """

    after: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    packet: int | None = None
    direction: Direction = "up"
    how: How = "rst"


@frozen(kw_only=True)
class HoldWire:
    """Delay the data in one direction by ``seconds``, once, after ``after`` bytes."""

    seconds: float
    after: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    direction: Direction = "up"


WireFault = CutWire | HoldWire


@asynccontextmanager
async def open_wire_proxy(
    upstream: tuple[str, int],
    faults: Sequence[WireFault | None] = (),
    *,
    slice_size: int = 0,
    rate: int = 0,
) -> AsyncIterator[WireProxy]:
    """Run a proxy in front of the server at ``upstream`` during an ``async with`` block.

    The n-th connection gets the n-th of the ``faults``, and later ones none. With ``slice_size``, data is sent in
    pieces of that many bytes. ``rate`` limits each direction of a connection, in bytes a second. At the end of the
    block every connection is closed. An error from the block is raised as it is, not in an exception group.
    """
    [listener] = listen_somewhere([upstream[1]], _HOSTS)
    proxy = WireProxy(upstream, listener.socket.getsockname()[0], list(faults), slice_size, rate)
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(proxy._serve, listener)
        try:
            yield proxy
        except BaseException as error:  # noqa: BLE001 - raised outside the nursery, which would wrap it in a group
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def wire_proxy(
    upstream: tuple[str, int],
    faults: Sequence[WireFault | None] = (),
    *,
    slice_size: int = 0,
    rate: int = 0,
) -> AbstractContextManager[WireProxy]:
    """Run `open_wire_proxy` in a thread, for tests without trio, blocking clients and subprocesses."""
    return in_a_thread("wire-proxy", lambda: open_wire_proxy(upstream, faults, slice_size=slice_size, rate=rate))


@define(eq=False)
class WireProxy:
    """A running proxy; obtained from `open_wire_proxy` or `wire_proxy`."""

    upstream: tuple[str, int]
    host: str
    _faults: list[WireFault | None] = attrs.field(repr=False)
    _slice: int
    _rate: int

    connections: int = attrs.field(default=0, init=False)
    """Number of connections accepted so far."""
    fired: list[WireFault] = attrs.field(factory=list, init=False)
    """The faults that happened, in order. A test that relies on a fault should check that it happened."""
    passed: dict[Direction, int] = attrs.field(factory=lambda: {"up": 0, "down": 0}, init=False)
    """Number of bytes that have passed in each direction, over all connections."""

    _links: set[Link] = attrs.field(factory=set, init=False, repr=False)
    _moved: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)

    @property
    def port(self) -> int:
        """The port, which is also the server's."""
        return self.upstream[1]

    async def wait_passed(self, direction: Direction, count: int) -> None:
        """Wait until ``count`` bytes have passed in this direction, over all connections."""
        while self.passed[direction] < count:
            if self._moved.is_set():
                self._moved = trio.Event()
            await self._moved.wait()

    def cut(self, how: How) -> int:
        """Cut all open connections; return how many."""
        links = self._links.copy()
        for link in links:
            link.cut(how)
        return len(links)

    async def _serve(self, listener: trio.SocketListener) -> None:
        async with listener, trio.open_nursery() as nursery:
            while True:
                client = await listener.accept()
                nursery.start_soon(self.join, client, self.next_fault())

    def next_fault(self) -> WireFault | None:
        """Count an accepted connection and return its fault."""
        self.connections += 1
        return self._faults.pop(0) if self._faults else None

    async def join(self, client: trio.SocketStream, fault: WireFault | None, how: How | None = None) -> None:
        """Serve an accepted connection, also one of another proxy. With ``how``, end it before any data passes."""
        server = await reach(*self.upstream, client)
        if server is None:
            return
        link = Link(client, server, how)
        self._links.add(link)
        try:
            await link.run(_Pump(self, "up", fault).run, _Pump(self, "down", fault).run)
        finally:
            self._links.discard(link)


@define(eq=False)
class _Pump:
    """One direction of one connection."""

    proxy: WireProxy
    direction: Direction
    fault: WireFault | None
    passed: int = 0
    pieces: int = 0

    def __attrs_post_init__(self) -> None:
        if self.fault is not None and self.fault.direction != self.direction:
            self.fault = None

    async def run(self, link: Link) -> None:
        source, sink = (link.client, link.server) if self.direction == "up" else (link.server, link.client)
        while chunk := await source.receive_some(self._most):
            keep = self._before_the_fault(len(chunk))
            if keep is not None:
                assert self.fault is not None
                fault, self.fault = self.fault, None
                await self._pass(sink, chunk[:keep])
                self.proxy.fired.append(fault)
                if isinstance(fault, CutWire):
                    link.cut(fault.how)
                    return
                await trio.sleep(fault.seconds)
                chunk = chunk[keep:]
            await self._pass(sink, chunk)
            if rate := self.proxy._rate:
                await trio.sleep(len(chunk) / rate)
        await sink.send_eof()

    @property
    def _most(self) -> int:
        rate = self.proxy._rate
        return min(_CHUNK, max(1, rate // 20)) if rate else _CHUNK

    def _before_the_fault(self, size: int) -> int | None:
        """Return how many bytes of the next piece pass before the fault, or None when it is not due yet."""
        self.pieces += 1
        if self.fault is None:
            return None
        if isinstance(self.fault, CutWire) and self.fault.packet is not None:
            return 0 if self.pieces > self.fault.packet else None
        return self.fault.after - self.passed if self.passed + size >= self.fault.after else None

    async def _pass(self, sink: trio.SocketStream, chunk: bytes | bytearray) -> None:
        await send_sliced(sink, bytes(chunk), self.proxy._slice)
        self.passed += len(chunk)
        self.proxy.passed[self.direction] += len(chunk)
        self.proxy._moved.set()
