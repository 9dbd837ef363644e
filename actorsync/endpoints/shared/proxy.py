"""Connections through a SOCKS5 proxy, or through an HTTP proxy with CONNECT.

The proxy gets the name of the server, not an address: it looks the name up, which this machine often cannot.

SOCKS5 is done by python-socks. Its HTTP client is not used: it reads beyond the proxy's answer, and would lose the
greeting of a server that speaks first, as FTP and SSH servers do.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import Literal

import attrs
import trio

from actorsync.classes import define
from actorsync.endpoints.shared import tcp
from actorsync.endpoints.shared.resource_limits import unopened
from actorsync.errors import ConnectionLost, LoginRefused, ProtocolError
from actorsync.model.text import display, shorten
from actorsync.protocols.http_connect import MAX_HEAD, connect_request, end_of_head, parse_head

__all__ = ["Proxy", "connect"]

_UNAUTHORIZED = 407
#: What python-socks says after a rejected login; it has no codes for it.
_REJECTIONS = frozenset(
    {"No acceptable authentication methods were offered", "Username and password authentication failure"}
)
#: What python-socks says after an answer that is not one of SOCKS5.
_NO_SOCKS = re.compile("Unexpected SOCKS version|Malformed")
_SHOWN = 120


async def connect(host: str, port: int, seconds: float, proxy: Proxy | None) -> trio.SocketStream:
    """Connect to a server, through a proxy if there is one. Raises as `Proxy.connect` and `tcp.connect` do."""
    return await (tcp.connect(host, port, seconds) if proxy is None else proxy.connect(host, port, seconds))


@define(eq=False)
class Proxy:
    """A proxy and the login there. ``password`` is called once, and only if there is a ``user``; it may block."""

    scheme: Literal["socks5", "http"]
    host: str
    port: int
    user: str = ""
    password: Callable[[], str] | None = attrs.field(default=None, repr=False)
    table: str = "target"
    """The profile's table with these settings, for error messages."""
    _password: str | None = attrs.field(default=None, init=False, repr=False)
    _is_accepted: bool = attrs.field(default=False, init=False)

    @property
    def display(self) -> str:
        """Return the URL, without the password."""
        user = f"{self.user}@" if self.user else ""
        return display(f"{self.scheme}://{user}{tcp.address_text(self.host, self.port)}")

    async def connect(self, host: str, port: int, seconds: float) -> trio.SocketStream:
        """Connect to a server. ``host`` is a name that the proxy looks up, or an address.

        Raises:
            LoginRefused: the proxy rejects the login.
            ConnectionLost: the proxy cannot be reached, or it cannot or will not connect to the server.
            OwnLimit: this machine can open no other connection.
        """
        if self.user and self._password is None and self.password is not None:
            self._password = self.password()
        way = self._through_socks if self.scheme == "socks5" else self._through_http
        try:
            with trio.fail_after(seconds):
                stream = await way(host, port)
        except trio.TooSlowError:
            raise self.unanswered() from None
        self._is_accepted = True
        return stream

    async def _through_socks(self, host: str, port: int) -> trio.SocketStream:
        from python_socks import ProxyConnectionError, ProxyError, ProxyType
        from python_socks.async_.trio import Proxy as SocksProxy

        client = SocksProxy(
            ProxyType.SOCKS5, self.host, self.port, self.user or None, self._password if self.user else None, rdns=True
        )
        try:
            return trio.SocketStream(await client.connect(host, port, timeout=float("inf")))
        except ProxyConnectionError as error:
            raise self._unreachable(error) from error
        except ProxyError as error:
            reason = _one_line(str(error))
            if reason in _REJECTIONS:
                raise self._rejected(reason) from None
            if _NO_SOCKS.match(reason):
                raise self._failed("it does not speak SOCKS5") from None
            raise self._refused(host, port, reason) from None
        except OSError as error:  # the proxy closed the connection
            raise self._failed(tcp.words_of(error)) from error
        except ValueError:  # the name of the host cannot be encoded; the text of the error may quote the password
            raise self._failed(f"the host name {display(host)} cannot be sent to it; check its spelling") from None

    async def _through_http(self, host: str, port: int) -> trio.SocketStream:
        try:
            stream = await trio.open_tcp_stream(self.host, self.port)
        except OSError as error:
            raise self._unreachable(error) from error
        try:
            await self._ask_to_connect(stream, host, port)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream

    async def _ask_to_connect(self, stream: trio.SocketStream, host: str, port: int) -> None:
        request = connect_request(tcp.address_text(host, port), self.user, self._password if self.user else None)
        try:
            await stream.send_all(request)
            answer = parse_head(await _read_head(stream))
        except ProtocolError as error:
            raise self._failed(str(error)) from None
        except (OSError, trio.BrokenResourceError) as error:
            raise self._failed("it closed the connection") from error
        if answer.status == _UNAUTHORIZED:
            raise self._rejected(answer.reason)
        if answer.status // 100 != 2:
            raise self._refused(host, port, answer.reason)

    # Errors. Each names the proxy: the user has to know which of the two servers does not answer.

    def unanswered(self) -> ConnectionLost:
        """Return what to raise when the time for `connect` is over."""
        return self._failed("no answer in time")

    def _unreachable(self, error: OSError) -> ConnectionLost:
        cause = error.__cause__
        if isinstance(cause, BaseExceptionGroup):  # one error for each address of the proxy
            cause = cause.exceptions[0]
        cause = cause if isinstance(cause, OSError) else error
        way_out = f"check {self.table}.proxy, and that the proxy is running"
        return unopened(f"proxy {self.display}: {tcp.words_of(cause)}; {way_out}", cause)

    def _failed(self, reason: str) -> ConnectionLost:
        return ConnectionLost(f"proxy {self.display}: {reason}; check {self.table}.proxy")

    def _refused(self, host: str, port: int, reason: str) -> ConnectionLost:
        where = display(tcp.address_text(host, port))
        return ConnectionLost(
            f"proxy {self.display} did not connect to {where}: {reason}; check host and port, and whether the proxy "
            "allows them"
        )

    def _rejected(self, reason: str) -> ConnectionLost | LoginRefused:
        text = f"proxy {self.display} rejected the login: {reason}"
        if self._is_accepted:  # it accepted the same login before in this run
            return ConnectionLost(text)
        way_out = "check the user in" if self.user else "add a user to"
        return LoginRefused(f"{text}; {way_out} {self.table}.proxy, and {self.table}.proxy-password")


async def _read_head(stream: trio.SocketStream) -> bytes:
    """Return the proxy's answer to CONNECT, and leave what follows it in the socket: it comes from the server.

    Raises:
        ProtocolError: the connection ended first, or the answer is too long.
    """
    head = b""
    while len(head) < MAX_HEAD:
        waiting = await stream.socket.recv(MAX_HEAD, socket.MSG_PEEK)
        if not waiting:
            raise ProtocolError("it closed the connection")
        end = end_of_head(head + waiting)
        head += await stream.socket.recv(len(waiting) if end is None else end - len(head))
        if end is not None:
            return head
    raise ProtocolError(f"its answer has more than {MAX_HEAD} bytes")


def _one_line(text: str) -> str:
    return shorten(display(text), _SHOWN)
