"""A SOCKS5 proxy and an HTTP proxy with CONNECT, as clients use them to reach servers.

It listens on another address than the servers do, so a client that connects to the proxy's address where it should ask
for the server's is noticed.
"""

from __future__ import annotations

import base64
import ipaddress
import struct
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from typing import Final, Literal

import attrs
import trio

from actorsync.classes import define
from actorsync.testing.network.links import Link, listen
from actorsync.testing.network.threads import in_a_thread

__all__ = ["ForwardProxy", "forward_proxy", "open_forward_proxy"]

_HOST: Final = "127.0.0.2"
_CHUNK: Final = 65536
#: Seconds to wait for the greeting of a server.
_PATIENCE: Final = 0.2

#: Replies of SOCKS5 (RFC 1928 section 6) and the status of HTTP that mean the same.
_OK, _FORBIDDEN, _UNREACHABLE, _REFUSED = 0, 2, 4, 5
_STATUS: Final = {
    _OK: "200 Connection established",
    _FORBIDDEN: "403 Forbidden",
    _UNREACHABLE: "502 Bad Gateway",
    _REFUSED: "502 Bad Gateway",
}


@asynccontextmanager
async def open_forward_proxy(
    kind: Literal["socks5", "http"],
    *,
    login: tuple[str, str] | None = None,
    names: Mapping[str, str] | None = None,
    only_ports: Collection[int] | None = None,
    late: float = 0.0,
) -> AsyncIterator[ForwardProxy]:
    """Run a proxy on 127.0.0.2 during an ``async with`` block.

    With ``login``, a user name and a password, clients must log in. ``names`` are the host names that the proxy can
    look up, with their addresses. With ``only_ports``, it connects to no other port. What clients send to the first
    port that was asked for is ``late`` by that many seconds: data connections of FTP overtake the control connection.
    At the end of the block, every connection is closed.
    """
    listener = listen(_HOST, 0)
    port = listener.socket.getsockname()[1]
    proxy = ForwardProxy(kind, port, login, dict(names or {}), only_ports, late)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(proxy._serve, listener)
        try:
            yield proxy
        finally:
            nursery.cancel_scope.cancel()


def forward_proxy(
    kind: Literal["socks5", "http"],
    *,
    login: tuple[str, str] | None = None,
    names: Mapping[str, str] | None = None,
    only_ports: Collection[int] | None = None,
    late: float = 0.0,
) -> AbstractContextManager[ForwardProxy]:
    """Run `open_forward_proxy` in a thread, for tests without trio, blocking clients and subprocesses."""
    return in_a_thread(
        f"{kind}-proxy", lambda: open_forward_proxy(kind, login=login, names=names, only_ports=only_ports, late=late)
    )


class _NoClient(Exception):
    """The client broke the protocol, or failed to log in. It was told so where the protocol has words for it."""


@define(eq=False)
class ForwardProxy:
    """A running proxy; obtained from `open_forward_proxy` or `forward_proxy`."""

    kind: Literal["socks5", "http"]
    port: int
    _login: tuple[str, str] | None = attrs.field(repr=False)
    _names: Mapping[str, str]
    _only_ports: Collection[int] | None
    _late: float
    asked: list[tuple[str, int]] = attrs.field(factory=list, init=False)
    """The host and the port of each request, as the client wrote them."""
    logins: int = attrs.field(default=0, init=False)
    """Number of accepted logins."""

    host: str = attrs.field(default=_HOST, init=False)

    @property
    def url(self) -> str:
        """The URL, with the user name and without the password."""
        user = f"{self._login[0]}@" if self._login else ""
        return f"{self.kind}://{user}{self.host}:{self.port}"

    async def _serve(self, listener: trio.SocketListener) -> None:
        async with listener, trio.open_nursery() as nursery:
            while True:
                nursery.start_soon(self._attend, await listener.accept())

    async def _attend(self, client: trio.SocketStream) -> None:
        try:
            with suppress(_NoClient, trio.BrokenResourceError):
                await (self._socks(client) if self.kind == "socks5" else self._http(client))
        finally:
            client.socket.close()

    # SOCKS5: RFC 1928 and RFC 1929.

    async def _socks(self, client: trio.SocketStream) -> None:
        version, count = await _exactly(client, 2)
        methods = await _exactly(client, count)
        wanted = 0 if self._login is None else 2
        if version != 5 or wanted not in methods:
            await client.send_all(b"\x05\xff")
            raise _NoClient
        await client.send_all(bytes([5, wanted]))
        if self._login is not None:
            _, length = await _exactly(client, 2)
            user = (await _exactly(client, length)).decode()
            (length,) = await _exactly(client, 1)
            password = (await _exactly(client, length)).decode()
            is_right = (user, password) == self._login
            await client.send_all(b"\x01" + bytes([0 if is_right else 1]))
            if not is_right:
                raise _NoClient
            self.logins += 1
        _, command, _, kind = await _exactly(client, 4)
        host = await _socks_host(client, kind)
        (port,) = struct.unpack("!H", await _exactly(client, 2))
        code, server = await self._reach(host, port) if command == 1 else (7, None)
        await client.send_all(bytes([5, code, 0, 1]) + ipaddress.ip_address(self.host).packed + b"\0\0")
        await self._join(client, server)

    # HTTP: RFC 9110 section 9.3.6.

    async def _http(self, client: trio.SocketStream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += await _exactly(client, 1)
        first, *fields = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        if self._login is not None:
            basic = base64.b64encode(":".join(self._login).encode()).decode()
            if f"Proxy-Authorization: Basic {basic}" not in fields:
                await client.send_all(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n"
                )
                raise _NoClient
            self.logins += 1
        if method != "CONNECT":
            await client.send_all(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
            raise _NoClient
        host, _, port = target.rpartition(":")
        code, server = await self._reach(host.strip("[]"), int(port))
        answer = f"HTTP/1.1 {_STATUS[code]}\r\n\r\n".encode()
        if server is not None and port == str(self.asked[0][1]):
            # A server that speaks first: its greeting arrives together with the proxy's answer, as it may on a network.
            with trio.move_on_after(_PATIENCE):
                answer += await server.receive_some(_CHUNK)
        await client.send_all(answer)
        await self._join(client, server)

    async def _reach(self, host: str, port: int) -> tuple[int, trio.SocketStream | None]:
        self.asked.append((host, port))
        if self._only_ports is not None and port not in self._only_ports:
            return _FORBIDDEN, None
        address = self._names.get(host, host)
        try:
            ipaddress.ip_address(address)
        except ValueError:  # never the machine's own lookup: a test knows the names
            return _UNREACHABLE, None
        try:
            return _OK, await trio.open_tcp_stream(address, port)
        except OSError:
            return _REFUSED, None

    async def _join(self, client: trio.SocketStream, server: trio.SocketStream | None) -> None:
        if server is None:
            raise _NoClient
        is_control = server.socket.getpeername()[1] == self.asked[0][1]
        late = self._late if is_control else 0.0

        async def up(link: Link) -> None:
            await _copy(link.client, link.server, late)

        async def down(link: Link) -> None:
            await _copy(link.server, link.client, 0.0)

        await Link(client, server).run(up, down)


async def _copy(source: trio.SocketStream, sink: trio.SocketStream, late: float) -> None:
    while chunk := await source.receive_some(_CHUNK):
        await trio.sleep(late)
        await sink.send_all(chunk)
    await sink.send_eof()


async def _socks_host(client: trio.SocketStream, kind: int) -> str:
    """Read the address of a request: IPv4 (1), a host name (3) or IPv6 (4)."""
    if kind == 3:
        (length,) = await _exactly(client, 1)
        return (await _exactly(client, length)).decode()
    return str(ipaddress.ip_address(await _exactly(client, 4 if kind == 1 else 16)))


async def _exactly(client: trio.SocketStream, count: int) -> bytes:
    received = b""
    while len(received) < count:
        piece = await client.receive_some(count - len(received))
        if not piece:
            raise _NoClient
        received += piece
    return received
