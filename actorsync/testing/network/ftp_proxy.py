"""A proxy between an FTP client and a real server that simulates network faults.

It listens on another loopback address, on the port of the server. For each 227 or 229 reply it also listens on the data
port in the reply. A client connects to that port at the address of its control connection, so its data passes through
the proxy without any change to the replies::

    client ── 127.0.0.77:2121 ── proxy ── 127.0.0.1:2121 ── server
           ── 127.0.0.77:30011 ─       ── 127.0.0.1:30011 ─

The server must listen on one address, not on all. The proxy needs Linux, where all of 127/8 is loopback.
`actorsync.testing.network.faults` describes the faults. Without faults, the proxy is a command log for any server.

The proxy cannot read the replies of a server with TLS, so pass it the data ports: see `open_fault_proxy`. Control
connections with TLS fail at a byte or a packet, as in `actorsync.testing.network.proxy`.
"""

from __future__ import annotations

import re
import socket
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager

import attrs
import trio

from actorsync.classes import define
from actorsync.testing.network.faults import (
    Cut,
    CutData,
    Duplicate,
    Fault,
    Hold,
    How,
    Late,
    Refuse,
    RefuseData,
    Slice,
    Swallow,
    Throttle,
    Truncate,
)
from actorsync.testing.network.links import Arming, Lines, Link, Pump, listen, listen_somewhere, reach, send_sliced
from actorsync.testing.network.proxy import WireFault, WireProxy
from actorsync.testing.network.threads import in_a_thread
from actorsync.testing.servers.command_log import Answer, Command, CommandLog

__all__ = ["FaultProxy", "fault_proxy", "open_fault_proxy"]

_HOSTS = [f"127.0.0.{number}" for number in range(100, 255)]
#: Seconds that data waits for the reply to its STOR, which may be refused.
_LATEST = 1.0
_CHUNK = 65536
_NARROW = 4096
_TRANSFERS = frozenset(["APPE", "LIST", "MLSD", "NLST", "RETR", "STOR", "STOU"])
_AtReply = Cut | Hold | Late | Swallow | Duplicate
_PASSIVE = re.compile(rb"229 .*\(\|\|\|(\d+)\|\)|227 .*?\d+,\d+,\d+,\d+,(\d+),(\d+)")


@asynccontextmanager
async def open_fault_proxy(
    upstream: tuple[str, int],
    *faults: Fault,
    host: str | None = None,
    data_ports: Sequence[int] = (),
    wire: Sequence[WireFault | None] = (),
) -> AsyncIterator[FaultProxy]:
    """Run a proxy in front of the server at ``upstream`` during an ``async with`` block.

    ``host`` is the loopback address to listen on; by default, a free one from 127.0.0.100 to 127.0.0.254. Lower
    addresses are for callers that pass ``host``. At the end of the block every connection is closed. An error from the
    block is raised as it is, not in an exception group.

    ``data_ports`` are the ports that a server with TLS may use. With them, the proxy passes control connections
    unchanged, logs nothing, and applies only `Refuse`, and `CutData` and `Truncate` without a verb. The n-th control
    connection gets the n-th of the faults in ``wire``.
    """
    listener, *data_listeners = listen_somewhere([upstream[1], *data_ports], [host] if host else _HOSTS)
    sealed = WireProxy(upstream, listener.socket.getsockname()[0], list(wire), 0, 0) if data_ports else None
    proxy = FaultProxy(upstream, listener.socket.getsockname()[0], sealed)
    for fault in faults:
        proxy.arm(fault)
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(proxy._serve, listener)
        for port, data_listener in zip(data_ports, data_listeners, strict=True):
            nursery.start_soon(proxy._serve_sealed, data_listener, port)
        try:
            yield proxy
        except BaseException as error:  # noqa: BLE001 - raised outside the nursery, which would wrap it in a group
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def fault_proxy(
    upstream: tuple[str, int], *faults: Fault, host: str | None = None
) -> AbstractContextManager[FaultProxy]:
    """Run `open_fault_proxy` in a thread, for tests without trio, blocking clients and subprocesses."""
    return in_a_thread("fault-proxy", lambda: open_fault_proxy(upstream, *faults, host=host))


@define(eq=False)
class FaultProxy:
    """A running proxy; obtained from `open_fault_proxy` or `fault_proxy`. Any thread may read its logs."""

    upstream: tuple[str, int]
    host: str
    sealed: WireProxy | None = attrs.field(default=None, repr=False)
    """The proxy of control connections to a server with TLS; its ``fired`` lists the faults that happened there."""

    commands: CommandLog = attrs.field(factory=CommandLog, init=False, repr=False)
    """Every line that clients sent, also lines that did not reach the server, as ``(connection, verb, argument)``."""
    answers: list[Answer] = attrs.field(factory=list, init=False, repr=False)
    """The final reply to each line, as ``(command, code)``, also when it did not reach the client."""
    fired: list[Fault] = attrs.field(factory=list, init=False, repr=False)
    """The faults that happened, in order. A test that relies on a fault should check that it happened."""
    connections: int = attrs.field(default=0, init=False)
    """Number of control connections accepted so far."""
    uploaded: int = attrs.field(default=0, init=False)
    """Number of bytes that have passed towards the server on data connections."""

    _arms: list[Arming] = attrs.field(factory=list, init=False, repr=False)
    _links: set[Link] = attrs.field(factory=set, init=False, repr=False)
    _slice: int = attrs.field(default=0, init=False, repr=False)
    _rate: int = attrs.field(default=0, init=False, repr=False)

    @property
    def port(self) -> int:
        """The control port, which is also the server's."""
        return self.upstream[1]

    @property
    def lines(self) -> list[str]:
        """The commands as text, each with the number of its connection: ``["1 USER demo", "1 PASS ***"]``."""
        return [f"{command.session} {command}" for command in self.commands.copy()]

    @property
    def mutating(self) -> list[Command]:
        """The logged commands that can change the tree."""
        return self.commands.mutating

    def arm(self, fault: Fault) -> None:
        """Add a fault, from any thread. Its counting starts now."""
        match fault:
            case Slice(size):
                self._slice = size
            case Throttle(rate):
                self._rate = rate
            case _:
                self._arms.append(Arming(fault, self.fired))

    def cut(self, how: How) -> int:
        """Cut all open connections, control and data; return how many. Call it in the proxy's own thread."""
        links = self._links.copy()
        for link in links:
            link.cut(how)
        return len(links) + (self.sealed.cut(how) if self.sealed is not None else 0)

    async def _run(self, link: Link, up: Pump, down: Pump) -> None:
        self._links.add(link)
        try:
            await link.run(up, down)
        finally:
            self._links.discard(link)

    async def _serve(self, listener: trio.SocketListener) -> None:
        async with listener, trio.open_nursery() as nursery:
            while True:
                client = await listener.accept()
                self.connections += 1
                fault = self.sealed.next_fault() if self.sealed is not None else None
                nursery.start_soon(_Session(self, self.connections, nursery, fault).run, client)

    async def _serve_sealed(self, listener: trio.SocketListener, port: int) -> None:
        async with listener, trio.open_nursery() as nursery:
            unknown = _Session(self, 0, nursery)  # with TLS, the control connection of a data connection is unknown
            while True:
                nursery.start_soon(unknown.pass_data, await listener.accept(), port)


@define(eq=False)
class _Session:
    """One control connection, with its data connections."""

    proxy: FaultProxy
    number: int
    nursery: trio.Nursery  # the proxy's: a data connection may outlive its control connection
    fault: WireFault | None = None  # for a server with TLS
    verb: str = ""  # of the last transfer: other lines may be sent before its data connection is opened
    data_listener: trio.SocketListener | None = None
    # The lines without a final reply yet, each with the faults to apply to its reply.
    waiting: deque[tuple[Command, list[_AtReply]]] = attrs.field(factory=deque)
    preliminary: trio.Event = attrs.field(factory=trio.Event)
    """Set when the server has begun the transfer of the last data connection, or will not begin it any more."""

    async def run(self, client: trio.SocketStream) -> None:
        how: How | None = None
        for arm in self.proxy._arms:
            if isinstance(arm.fault, Refuse) and arm.counts(arm.fault.at_connection) and arm.fires():
                how = arm.fault.how
        if self.proxy.sealed is not None:
            await self.proxy.sealed.join(client, self.fault, how)
            return
        server = await reach(*self.proxy.upstream, client)
        if server is None:
            return
        try:
            await self.proxy._run(Link(client, server, how), self._lines_up, self._replies_down)
        finally:
            self._forget_listener()
            self.preliminary.set()

    async def _lines_up(self, link: Link) -> None:
        async for line in Lines(link.client):
            command = self.proxy.commands.record(self.number, line.rstrip(b"\r\n").decode(errors="surrogateescape"))
            if command.verb in _TRANSFERS:
                self.verb = command.verb
            faults = list(self._faults_at(command.verb))
            for fault in faults:
                if isinstance(fault, Cut) and fault.when == "before":
                    link.cut(fault.how)
                    return
                if isinstance(fault, Late):
                    await trio.sleep(fault.seconds)
            self.waiting.append((command, faults))
            await link.server.send_all(line)
        await link.server.send_eof()

    def _faults_at(self, verb: str) -> Iterator[_AtReply]:
        for arm in self.proxy._arms:
            fault = arm.fault
            if isinstance(fault, Cut | Hold | Late | Swallow | Duplicate) and fault.verb in ("", verb):
                key = self.number if fault.per_connection else 0
                if arm.counts(fault.at_line, key) and arm.fires():
                    yield fault

    async def _replies_down(self, link: Link) -> None:
        reply = b""
        async for line in Lines(link.server):
            # RFC 959, 4.2: a reply ends at the line with its code and a space. Inner lines can be anything else.
            reply += line
            if reply[3:4] != b"-" or line[:4] == reply[:3] + b" ":
                await self._pass_reply(link, reply)
                reply = b""
        await send_sliced(link.client, reply, self.proxy._slice)
        await link.client.send_eof()

    async def _pass_reply(self, link: Link, reply: bytes) -> None:
        faults = self._faults_of(reply)
        if passive := _PASSIVE.match(reply):
            extended, high, low = passive.groups()
            self._forget_listener()
            if not self._refuses_data("EPSV" if extended else "PASV"):
                self._expect_data(int(extended) if extended else int(high) * 256 + int(low))
        for fault in faults:
            match fault:
                case Cut(when="unheard" | "unanswered"):
                    link.cut(fault.how)
                    return
                case Hold():
                    await trio.sleep(fault.seconds)
                case Swallow():
                    reply = b""
                case Duplicate():
                    reply *= 2
        await send_sliced(link.client, reply, self.proxy._slice)
        for fault in faults:
            if isinstance(fault, Cut) and fault.when == "after":
                link.cut(fault.how)

    def _faults_of(self, reply: bytes) -> list[_AtReply]:
        """Record a reply and return the faults to apply to it."""
        if not self.waiting:
            return []
        if reply[:1] == b"1":  # preliminary: another reply follows
            self.preliminary.set()
            return [fault for fault in self.waiting[0][1] if isinstance(fault, Cut) and fault.when == "unheard"]
        command, faults = self.waiting.popleft()
        if reply[:3].isdigit():
            self.proxy.answers.append(Answer(command, int(reply[:3])))
        return faults

    def _refuses_data(self, verb: str) -> bool:
        return any(
            isinstance(arm.fault, RefuseData)
            and arm.fault.verb in ("", verb)
            and arm.counts(arm.fault.at_reply)
            and arm.fires()
            for arm in self.proxy._arms
        )

    def _expect_data(self, port: int) -> None:
        self.preliminary = trio.Event()
        self.data_listener = listen(self.proxy.host, port)
        if self.proxy._rate:  # a large receive buffer would take a small file at once
            self.data_listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _NARROW)
        self.nursery.start_soon(self._serve_data, self.data_listener, port)

    def _forget_listener(self) -> None:
        # Close it here, and not in its task: the server may use the same port again before that task runs.
        if self.data_listener is not None:
            self.data_listener.socket.close()
            self.data_listener = None

    async def _serve_data(self, listener: trio.SocketListener, port: int) -> None:
        try:
            client = await listener.accept()
        except trio.ClosedResourceError:
            return
        finally:
            listener.socket.close()
        await self.pass_data(client, port)

    async def pass_data(self, client: trio.SocketStream, port: int) -> None:
        server = await reach(self.proxy.upstream[0], port, client)
        if server is None:
            return
        transfer = _Transfer(self)
        await self.proxy._run(Link(client, server), transfer.up, transfer.down)


@define(eq=False)
class _Transfer:
    """One data connection."""

    session: _Session
    passed: int = 0
    armed: list[Arming] | None = None  # None until the first byte, because the command is known only then

    async def up(self, link: Link) -> None:
        if self.session.number and not any(isinstance(arm.fault, Late) for arm in self.session.proxy._arms):
            # On a real link data cannot overtake its STOR, which pyftpdlib does not expect.
            with trio.move_on_after(_LATEST):
                await self.session.preliminary.wait()
        await self._copy(link, link.client, link.server, 0)

    async def down(self, link: Link) -> None:
        await self._copy(link, link.server, link.client, self.session.proxy._slice)

    async def _copy(self, link: Link, source: trio.SocketStream, sink: trio.SocketStream, slice_size: int) -> None:
        rate = self.session.proxy._rate
        size = min(_CHUNK, max(1, rate // 20)) if rate else _CHUNK
        while chunk := await source.receive_some(size):
            fault = self._due_fault(len(chunk))
            if fault is not None:
                chunk = chunk[: fault.after - self.passed]
            await send_sliced(sink, chunk, slice_size)
            self.passed += len(chunk)
            if sink is link.server:
                self.session.proxy.uploaded += len(chunk)
            match fault:
                case CutData(how=how):
                    link.cut(how)
                    return
                case Truncate():
                    await sink.send_eof()
                    while await source.receive_some(_CHUNK):
                        pass
                    return
            if rate:
                await trio.sleep(len(chunk) / rate)
        fault = self._due_fault(0)
        if isinstance(fault, CutData):
            link.cut(fault.how)
            return
        await sink.send_eof()

    def _due_fault(self, size: int) -> CutData | Truncate | None:
        """Return the fault that is due within the next ``size`` bytes, or, for 0, at the end of the data."""
        if self.armed is None:
            self.armed = [arm for arm in self.session.proxy._arms if self._applies(arm)]
        for arm in self.armed:
            fault = arm.fault
            assert isinstance(fault, CutData | Truncate)
            due = self.passed + size > fault.after if size else self.passed == fault.after
            if due and (size or isinstance(fault, CutData)) and arm.fires():
                return fault
        return None

    def _applies(self, arm: Arming) -> bool:
        fault = arm.fault
        return (
            isinstance(fault, CutData | Truncate)
            and fault.verb in ("", self.session.verb)
            and arm.counts(fault.at_transfer)
        )
