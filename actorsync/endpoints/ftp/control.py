"""The control connection of an FTP session: flights of commands out, replies in.

Every wait here has a deadline that is measured from the last sign of progress, and every foreign error leaves as
`ConnectionLost`. What the bytes mean is `actorsync.protocols.ftp.wire`'s affair.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

import trio

from actorsync.endpoints.ftp import tls as ftp_tls
from actorsync.endpoints.ftp.data import Data, Patience, lost, reach
from actorsync.errors import ConnectionLost, LoginRefused
from actorsync.protocols.ftp.replies import greet
from actorsync.protocols.ftp.wire import Dialogue, Reply, ReplyParser

__all__ = ["Control", "connected"]

T = TypeVar("T")

_READ = 16 * 1024
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux only


class Control:
    """A control connection: flights out, replies in, and a count of the replies that are still due."""

    def __init__(self, stream: trio.SocketStream, patience: Patience) -> None:
        #: The address that every data connection goes to, whatever the server names (CVE-2020-8284).
        self.peer: tuple[object, ...] = stream.socket.getpeername()
        # The same socket twice: what can be done at once need not pass through trio, and most of it can.
        self._raw = socket.socket(fileno=stream.socket.detach())
        self._socket = trio.SocketStream(trio.socket.from_stdlib_socket(self._raw))
        self._stream: ftp_tls.SecureStream | None = None  # over it, once there is TLS
        self._poll = select.poll()
        self._poll.register(self._raw, select.POLLIN)
        self._security: ftp_tls.Security | None = None
        self._session: ssl.SSLSession | None = None
        self.patience = patience
        self._parser = ReplyParser()
        self._due = 0
        self._is_broken = False
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    async def start_tls(self, security: ftp_tls.Security) -> None:
        """Go on under TLS, from here on and on every data connection.

        Raises:
            LoginRefused: this is not the server that it should be, or somebody has put words into its mouth: what was
                said in clear must not count as said under TLS (CVE-2021-22947).
            ConnectionLost: the handshake was cut off, or takes too long.
        """
        if not self._parser.is_empty:
            raise LoginRefused("the server goes on in clear where TLS begins")
        self._parser = ReplyParser()
        self._is_broken = True
        with lost("TLS handshake", self.patience.connect):
            self._stream = await security.secure(self._socket, self.patience)
        self._security, self._is_broken = security, False

    @property
    def security(self) -> str:
        """Say what protects this connection."""
        if self._stream is not None:
            return ftp_tls.describe(self._stream)
        return "none: everything travels in clear"

    async def open_data(self, port: int) -> Data:
        """Connect a data connection to a port of the peer. Under TLS it takes the session of this connection.

        There is a session to take once a reply was read: under TLS 1.3 it comes behind the handshake.
        """
        sock = await reach(self.peer, port, self.patience)
        if self._security is None or self._stream is None:
            return Data(sock, self.patience)
        if self._session is None:  # asking for it copies it, certificates and all
            self._session = self._stream.session
        return ftp_tls.SecureData(sock, self.patience, self._security, self._session)

    async def send(self, flight: Sequence[bytes]) -> None:
        """Write a flight in one piece."""
        if not self._due:
            await self._hear_the_unasked()
        data = b"".join(flight)
        if self._stream is None:
            with lost("sending a command"):
                data = data[self._send_now(data) :]
        if data:
            self._is_broken = True  # until all of it is out: half a line cannot be taken back
            with lost("sending a command", self.patience.stall):
                await (self._stream or self._socket).send_all(data)
            self._is_broken = False
        self._due += len(flight)

    def _send_now(self, data: bytes) -> int:
        try:
            return self._raw.send(data)
        except BlockingIOError:
            return 0

    async def _hear_the_unasked(self) -> None:
        """See that the server has said nothing: a reply too many would be taken for the next command's."""
        if not self._parser.is_empty or await self._says_something():
            self._is_broken = True
            self._due += 1
            unasked = await self.reply()  # 421, more often than not, which raises
            raise ConnectionLost(f"the server speaks out of turn: {unasked}")

    async def _says_something(self) -> bool:
        """Whether there is anything to read, be it the end of the stream. Does not wait."""
        if self._stream is not None and self._stream.pending():
            return True
        if not self._poll.poll(0):
            return False
        if self._stream is not None:
            with lost("waiting for the server"):
                data = await ftp_tls.receive_what_is_there(self._stream)
            if data is None:
                return False
            self._parser.feed(data)
        return True

    async def reply(self, seconds: float | None = None) -> Reply:
        """Read the next reply; a preliminary one (1xx) leaves another due."""
        # Most replies have come together with the first of their flight, and need neither a wait nor a deadline.
        if (reply := self._parser.next_reply()) is None:
            with lost("waiting for the server", self.patience.stall if seconds is None else seconds):
                reply = await self._wait_for_reply()
        return self._took(reply)

    async def reply_within(self, seconds: float) -> Reply | None:
        """Read the next reply; None when it does not come in time, and then it is still due."""
        if (reply := self._parser.next_reply()) is None:
            with trio.move_on_after(seconds), lost("waiting for the server"):
                reply = await self._wait_for_reply()
        return None if reply is None else self._took(reply)

    def _took(self, reply: Reply) -> Reply:
        if not reply.is_preliminary:
            self._due -= 1
        if reply.code == 421:  # whatever the command was; behind it there is only the end of the stream
            raise ConnectionLost(f"the server closes the connection: {reply}")
        return reply

    async def _wait_for_reply(self) -> Reply:
        while (reply := self._parser.next_reply()) is None:
            # Answer at once: a server that holds its next reply back for our acknowledgement (vsftpd) would otherwise
            # wait for the delayed one, 40 ms on Linux.
            if _QUICKACK is not None:
                self._raw.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            if self._stream is not None:
                data: bytes | bytearray = await self._stream.receive_some(_READ)
            else:
                await trio.lowlevel.wait_readable(self._raw)
                data = self._raw.recv(_READ)
            if not data:
                raise ConnectionLost("the server hung up")
            self._parser.feed(data)
        return reply

    async def greeting(self) -> Reply:
        """Read the reply that nothing was sent for, and give it when it is a greeting."""
        with lost("waiting for the greeting", self.patience.connect):
            self._due += 1
            while not greet(reply := await self.reply(self.patience.connect)):
                pass
        return reply

    async def exchange(self, flight: Sequence[bytes]) -> list[Reply]:
        """Send a flight and read its replies: as many as there are lines, or they cannot be told apart."""
        await self.send(flight)
        replies = [await self.reply() for _ in flight]
        if not self._due and not self._parser.is_empty:
            raise ConnectionLost("the server sends more replies than it was asked for")
        return replies

    async def play(self, dialogue: Dialogue[T]) -> T:
        """Hold a whole conversation, and give what was learnt."""
        try:
            flight = next(dialogue)
            while True:
                flight = dialogue.send(await self.exchange(flight))
        except StopIteration as done:
            result: T = done.value
            return result

    async def catch_up(self) -> None:
        """Read the replies that an interrupted conversation left due, so that the next one is in step."""
        if self._is_broken:
            raise ConnectionLost("a command was cut off")
        while self._due:
            await self.reply()

    def give_up(self) -> None:
        """Ask nothing more of the server: where it stands is not known."""
        self._is_broken = True

    async def hang_up(self, farewell: bytes) -> None:
        """Say goodbye if that costs nothing, and close."""
        with trio.move_on_after(1), contextlib.suppress(ConnectionLost):
            if not self._due and not self._is_broken:
                await self.send([farewell])
        await self.close()

    async def close(self) -> None:
        """Close, and say nothing."""
        await trio.aclose_forcefully(self._socket)


@contextlib.asynccontextmanager
async def connected(host: str, port: int, patience: Patience) -> AsyncIterator[Control]:
    """Open a control connection; closed without ceremony unless `Control.hang_up` was called before."""
    with lost(f"{host}:{port}", patience.connect):
        stream = await trio.open_tcp_stream(host, port)
    try:
        with lost(f"{host}:{port}"):  # it may be gone again already, and then has no peer
            control = Control(stream, patience)
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    try:
        yield control
    finally:
        await control.close()
