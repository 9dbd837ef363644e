"""The model of an SFTP server behind a `RequestPipeline`: replies as bytes, a channel on virtual time, an endpoint."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random

import attrs
import trio

from actorsync.endpoints.contract import Capabilities
from actorsync.endpoints.sftp.session import SftpSession
from actorsync.endpoints.sftp.wire.connection import Server, SftpConnection
from actorsync.endpoints.sftp.wire.host import Host
from actorsync.endpoints.sftp.wire.requests import RequestPipeline
from actorsync.model.entry import (
    Entry,
    Kind,
    Root,
)
from actorsync.protocols.sftp.replies import Attributes, Data, Extended, Handle, Names, Reply, Status
from actorsync.protocols.sftp.requests import Request
from tests.support.servers.sftp_tree import EXTENSIONS, ROOT, Call, SftpTree, any_order

__all__ = ["TreeChannel", "TreeEndpoint", "background", "encode", "session_with", "version"]


def _string(data: bytes | str) -> bytes:
    data = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    return struct.pack(">I", len(data)) + data


def _attributes(found: Attributes) -> bytes:
    flags = (found.size is not None) * 1 | (found.permissions is not None) * 4 | (found.mtime is not None) * 8
    data = struct.pack(">I", flags)
    data += b"" if found.size is None else struct.pack(">Q", found.size)
    data += b"" if found.permissions is None else struct.pack(">I", found.permissions)
    return data + (b"" if found.mtime is None else struct.pack(">II", 0, found.mtime))


def encode(identity: int, reply: Reply) -> bytes:
    """Encode a reply as a packet."""
    match reply:
        case Status(code, message):
            kind, body = 101, struct.pack(">I", code) + _string(message) + _string("")
        case Handle(handle):
            kind, body = 102, _string(handle)
        case Data(data):
            kind, body = 103, _string(data)
        case Names(names):
            rows = (_string(name) + _string("-rw-r--r--") + _attributes(found) for name, found in names)
            kind, body = 104, struct.pack(">I", len(names)) + b"".join(rows)
        case Attributes():
            kind, body = 105, _attributes(reply)
        case Extended(body):
            kind = 201
    return struct.pack(">IBI", len(body) + 5, kind, identity) + body


def version(extensions: Mapping[str, str] = EXTENSIONS, number: int = 3) -> bytes:
    """Encode the first packet of a server, VERSION."""
    body = struct.pack(">I", number) + b"".join(_string(name) + _string(of) for name, of in extensions.items())
    return struct.pack(">IB", len(body) + 1, 2) + body


@attrs.define(eq=False)
class TreeChannel:
    """A channel to a tree that answers each request after ``delay``. `serve` must run in another task.

    With ``order``, requests are executed in a random order. ``budget`` holds the number of requests that are executed
    before the connection is lost; several channels can share it. ``most`` is the largest number of writes of more than
    32 KiB that were unanswered at the same time.
    """

    tree: SftpTree
    requests: RequestPipeline
    delay: float = 0.05
    order: Random | None = None
    budget: list[int] = attrs.Factory(list)
    most: int = 0
    is_aborted: bool = False
    _writes: int = 0
    _buffer: bytes = b""
    _asked: list[tuple[float, int, Request]] = attrs.Factory(list)
    _called: trio.Event = attrs.Factory(trio.Event)

    def send(self, data: bytes) -> None:
        """Receive the bytes of requests."""
        self._buffer += data
        while len(self._buffer) >= 4 and len(self._buffer) >= 4 + (length := struct.unpack_from(">I", self._buffer)[0]):
            packet, self._buffer = self._buffer[4 : 4 + length], self._buffer[4 + length :]
            identity = struct.unpack_from(">I", packet, 1)[0]
            request = Request(packet[0], packet[5:])
            self._asked.append((trio.current_time() + self.delay, -1 if packet[0] == 1 else identity, request))
            self._writes += _is_big(request)
        self.most = max(self.most, self._writes)
        self._called.set()

    def abort(self) -> None:
        """Stop answering."""
        self.is_aborted = True

    async def serve(self) -> None:
        """Answer requests until cancelled."""
        while True:
            await self._called.wait()
            self._called = trio.Event()
            while self._asked:
                await trio.sleep_until(self._asked[0][0])
                due = [(identity, request) for at, identity, request in self._asked if at <= trio.current_time()]
                del self._asked[: len(due)]
                while due and not self.is_aborted:
                    ready = any_order([self._call(of) for _, of in due], self.order)[0] if self.order else 0
                    self._answer(*due.pop(ready))

    def _call(self, request: Request) -> Call:
        return self.tree.read(request) if request.kind != 1 else Call("INIT")

    def _answer(self, identity: int, request: Request) -> None:
        if identity == -1:
            self.requests.feed(version(self.tree.extensions))
            return
        if self.budget and self.budget[0] <= 0:
            self.budget.clear()
            self.requests.lose("cut")
            return
        if self.budget:
            self.budget[0] -= 1
        reply = self.tree.answer(request)
        self._writes -= _is_big(request)
        self.requests.feed(encode(identity, reply))


def _is_big(request: Request) -> bool:
    return request.kind == 6 and len(request.body) > 33 * 1024


@attrs.define(eq=False)
class TreeEndpoint:
    """An endpoint whose server is ``tree``. Every session has a channel of its own; ``channels`` lists all of them."""

    tree: SftpTree
    lanes: int = 4
    fsync: bool = False
    delay: float = 0.05
    order: Random | None = None
    budget: list[int] = attrs.Factory(list)
    host: Host = attrs.Factory(Host)
    takes_long_packets: bool = True
    channels: list[TreeChannel] = attrs.Factory(list)
    display: str = "tree"

    @property
    def capabilities(self) -> Capabilities:
        """As many lanes as the test asked for."""
        return Capabilities(lanes=self.lanes)

    async def identify(self) -> Root:
        """Report that the root is a directory."""
        await trio.lowlevel.checkpoint()
        return Root(Entry("", Kind.DIRECTORY))

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[SftpSession]:
        """Connect."""
        requests = RequestPipeline(60.0, self.host)
        channel = TreeChannel(self.tree, requests, self.delay, self.order, self.budget)
        self.channels.append(channel)
        async with background(channel.serve):
            extensions = await requests.start(channel)
            server = Server("a model", ROOT, extensions, takes_long_packets=self.takes_long_packets)
            yield SftpSession(SftpConnection(requests, server, self.fsync))


@asynccontextmanager
async def background(serve: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run ``serve`` during the block, in a system task, so that no nursery waits for it."""
    scope = trio.CancelScope()

    async def run() -> None:
        with scope:
            await serve()

    trio.lowlevel.spawn_system_task(run)
    try:
        yield
    finally:
        scope.cancel()


@asynccontextmanager
async def session_with(
    tree: SftpTree, *, fsync: bool = False, delay: float = 0.05, order: Random | None = None, host: Host | None = None
) -> AsyncIterator[tuple[SftpSession, TreeChannel]]:
    """Open a session with ``tree``; yield it with its channel."""
    endpoint = TreeEndpoint(tree, fsync=fsync, delay=delay, order=order, host=host or Host())
    async with endpoint.open_session() as session:
        yield session, endpoint.channels[0]
