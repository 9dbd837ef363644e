"""The control connection of an FTP session: flights of commands out, replies in.

A caller sends a flight and reads one reply for each command. Whether the commands go in one write, or each after the
reply to the one before it, is decided by `actorsync.protocols.ftp.flights`. No caller has to know, unless it sends data
before the reply.

Every wait has a deadline that is measured from the last progress. Every error of the system or of trio leaves as
`ConnectionLost`. `actorsync.protocols.ftp.wire` parses the bytes.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import TypeVar

import trio

from actorsync.endpoints.ftp.wire import tls as ftp_tls
from actorsync.endpoints.ftp.wire.data import DataConnection, Timeouts, connect_data, connection_errors
from actorsync.endpoints.shared.proxy import Proxy, connect
from actorsync.errors import ConnectionLost, LoginRefused
from actorsync.protocols.ftp.flights import Flight, Flights, OutOfStep
from actorsync.protocols.ftp.replies import ends_session, greet
from actorsync.protocols.ftp.send_queue import SendQueue
from actorsync.protocols.ftp.wire import Dialogue, ProtocolError, Reply, ReplyParser, command_line

__all__ = ["ControlConnection", "open_control"]

T = TypeVar("T")

_READ = 16 * 1024
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux only


class ControlConnection:
    """A control connection: it sends flights, reads replies, and counts the replies that are still due."""

    def __init__(
        self,
        stream: trio.SocketStream,
        timeouts: Timeouts,
        flights: Flights,
        peer: tuple[object, ...] = (),
        proxy: Proxy | None = None,
    ) -> None:
        #: The addresses on the way to the server: those that see what is sent in clear.
        self.way: tuple[str, ...] = (str(stream.socket.getpeername()[0]), *(str(one) for one in peer[:1]))
        #: The address of every data connection, whatever address the server names (CVE-2020-8284). Through a proxy, it
        #: is the server's address or name as it was given to the proxy.
        self.peer: tuple[object, ...] = peer or stream.socket.getpeername()
        self._proxy = proxy
        # The same socket twice: most sends and receives succeed at once, and need not pass through trio.
        self._raw = socket.socket(fileno=stream.socket.detach())
        self._socket = trio.SocketStream(trio.socket.from_stdlib_socket(self._raw))
        self._stream: ftp_tls.SecureStream | None = None  # TLS over the socket, once it has begun
        #: Whether commands go under TLS.
        self.is_encrypted = False
        self._poll = select.poll()
        self._poll.register(self._raw, select.POLLIN)
        self._tls_client: ftp_tls.TlsClient | None = None
        self._session: ssl.SSLSession | None = None
        self.timeouts = timeouts
        self._parser = ReplyParser()
        self._queue = SendQueue(flights)
        self._is_broken = False
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    async def start_tls(self, tls_client: ftp_tls.TlsClient) -> None:
        """Start TLS on this connection, and use it on every data connection.

        Raises:
            LoginRefused: The server failed verification, or replies in clear were waiting: those may be injected, and
                must not count as sent under TLS (CVE-2021-22947).
            ConnectionLost: The handshake was cut off, or took too long.
        """
        if not self._parser.is_empty:
            raise LoginRefused("the server sent data in clear before the TLS handshake")
        self._parser = ReplyParser()
        self._is_broken = True
        with connection_errors("TLS handshake", self.timeouts.connect):
            self._stream = await tls_client.secure(self._socket, self.timeouts)
        self._tls_client, self._is_broken, self.is_encrypted = tls_client, False, True

    @property
    def is_proxied(self) -> bool:
        """Whether the connections go through a proxy."""
        return self._proxy is not None

    @property
    def security(self) -> str:
        """Describe the protection of this connection."""
        if self._stream is not None:
            return ftp_tls.describe(self._stream)
        return "none: everything is sent in clear"

    async def open_data(self, port: int, commands: Sequence[bytes] = ()) -> DataConnection:
        """Connect a data connection to a port of the peer. Under TLS it resumes the session of this connection.

        ``commands`` are sent while the connection is on its way. Their replies are due afterwards.

        Requires that a reply was read before: under TLS 1.3 the session arrives after the handshake.
        """
        meanwhile = partial(self.send, commands) if commands else None
        sock = await connect_data(self.peer, port, self.timeouts, self._proxy, meanwhile)
        if self._tls_client is None or self._stream is None:
            return DataConnection(sock, self.timeouts)
        if self._session is None:  # each read of the property copies the session and its certificates
            self._session = self._stream.session
        return ftp_tls.SecureDataConnection(sock, self.timeouts, self._tls_client, self._session)

    @property
    def has_flown(self) -> bool:
        """Whether commands were sent in a row on this connection, so that their replies can be out of step."""
        return self._queue.has_flown

    def goes_as_one(self, flight: Sequence[bytes], kind: Flight) -> bool:
        """Return whether `send` would send all of a flight at once."""
        return self._queue.goes_as_one(flight, kind)

    async def send(self, flight: Sequence[bytes], kind: Flight = Flight.BURST) -> None:
        """Send a flight: in one write, or as much of it as may go now. `reply` sends the rest."""
        self._queue.add(flight, kind)
        await self._send_due()

    async def send_in_pieces(self, pieces: Sequence[bytes], count: int, pause: float) -> None:
        """Send ``count`` command lines that are cut into pieces anywhere, to see whether the server minds."""
        self._queue.add_sent(count)
        for number, piece in enumerate(pieces):
            await trio.sleep(pause if number else 0)
            await self._write(piece)

    async def _send_due(self) -> None:
        is_quiet = not self._queue.due
        if lines := self._queue.next_write():
            if is_quiet:
                await self._reject_unsolicited()
            await self._write(b"".join(lines))

    async def _write(self, data: bytes) -> None:
        if self._stream is None:
            with connection_errors("sending a command"):
                data = data[self._send_now(data) :]
        if data:
            self._is_broken = True  # until all is sent: half a line cannot be taken back
            with connection_errors("sending a command", self.timeouts.stall):
                await (self._stream or self._socket).send_all(data)
            self._is_broken = False

    def _send_now(self, data: bytes) -> int:
        try:
            return self._raw.send(data)
        except BlockingIOError:
            return 0

    async def _reject_unsolicited(self) -> None:
        """Raise `ConnectionLost` when the server has sent something: it would be taken for the next command's reply."""
        if not self._parser.is_empty or await self._has_input():
            self._is_broken = True
            with connection_errors("waiting for the server", self.timeouts.stall):
                unasked = await self._wait_for_reply()
            _reject_goodbye(unasked)
            raise OutOfStep(f"the server sent a reply without a command: {unasked}")

    async def _has_input(self) -> bool:
        """Return whether there is anything to read, including the end of the stream. Does not wait."""
        if self._stream is not None and self._stream.pending():
            return True
        if not self._poll.poll(0):
            return False
        if self._stream is not None:
            with connection_errors("waiting for the server"):
                data = await ftp_tls.receive_available(self._stream)
            if data is None:
                return False
            self._parser.feed(data)
        return True

    async def reply(self, seconds: float | None = None) -> Reply:
        """Return the next reply. A preliminary reply (1xx) leaves another one due."""
        if not self._queue.due:
            if (skipped := self._queue.skip()) is not None:
                return skipped
            await self._send_due()
        # Most replies arrive together with the first of their flight, and need neither a wait nor a deadline.
        if (reply := self._parser.next_reply()) is None:
            limit = self._queue.patience(self.timeouts.stall) if seconds is None else seconds
            with trio.move_on_after(limit), connection_errors("waiting for the server"):
                reply = await self._wait_for_reply()
            if reply is None:
                self._queue.note_silence()
                raise ConnectionLost("waiting for the server: no answer in time")
        return self._took(reply)

    async def reply_within(self, seconds: float, *, is_last: bool = False) -> Reply | None:
        """Return the next reply, or None when it does not arrive in time. It is then still due.

        With ``is_last`` it is the last reply to its command, whatever its code: Pure-FTPd ends a download whose data
        connection the client has closed with a second 150.
        """
        if (reply := self._parser.next_reply()) is None:
            with trio.move_on_after(seconds), connection_errors("waiting for the server"):
                reply = await self._wait_for_reply()
        return None if reply is None else self._took(reply, is_last=is_last)

    def _took(self, reply: Reply, *, is_last: bool = False) -> Reply:
        _reject_goodbye(reply)
        if is_last or not reply.is_preliminary:
            self._queue.take(reply)
        return reply

    async def _wait_for_reply(self) -> Reply:
        while (reply := self._parser.next_reply()) is None:
            # Acknowledge at once: vsftpd waits for our acknowledgement before its next reply. Linux delays it by 40 ms.
            if _QUICKACK is not None:
                self._raw.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            if self._stream is not None:
                data: bytes | bytearray = await self._stream.receive_some(_READ)
            else:
                await trio.lowlevel.wait_readable(self._raw)
                data = self._raw.recv(_READ)
            if not data:
                raise ConnectionLost("the server closed the connection")
            self._parser.feed(data)
        return reply

    async def greeting(self) -> Reply:
        """Return the greeting, which the server sends unasked. See `greet` for the errors."""
        self._queue.expect_greeting()
        try:
            with trio.fail_after(self.timeouts.connect), connection_errors("waiting for the greeting"):
                while not greet(reply := await self.reply(math.inf)):
                    pass
        except trio.TooSlowError:
            raise ConnectionLost("the server sends no greeting; check host, port and scheme") from None
        return reply

    async def exchange(self, flight: Sequence[bytes], *, is_sent: bool = False) -> list[Reply]:
        """Send a flight, unless it ``is_sent``, and return its replies, one for each line."""
        if not is_sent:
            await self.send(flight)
        replies = [await self.reply() for _ in flight]
        if self._queue.is_idle and not self._parser.is_empty:
            raise OutOfStep("the server sent more replies than there were commands")
        return replies

    async def play(self, dialogue: Dialogue[T]) -> T:
        """Drive a dialogue to its end, and return its result."""
        try:
            flight = next(dialogue)
            while True:
                flight = dialogue.send(await self.exchange(flight))
        except StopIteration as done:
            result: T = done.value
            return result

    async def drain_replies(self) -> None:
        """Read the replies that an interrupted dialogue left due, so that the next dialogue gets its own.

        Commands that were not sent yet are dropped. No RNFR stays armed: the next rename would move its file.
        """
        if self._is_broken:
            raise ConnectionLost("a command was cut off halfway")
        self._queue.drop_waiting()
        while self._queue.due:
            await self.reply()
        if self._queue.is_rename_armed:
            (reply,) = await self.exchange([command_line("RNTO", "/")])
            if not reply.is_refusal:
                raise ProtocolError(f'the server renamed something onto its root directory: "{reply}"')

    def mark_broken(self) -> None:
        """Refuse all further use: the state of the server is not known."""
        self._is_broken = True

    async def quit(self) -> None:
        """Send QUIT if that costs nothing, and close."""
        with trio.move_on_after(1), contextlib.suppress(ConnectionLost):
            if self._queue.is_idle and not self._is_broken:
                await self.send([command_line("QUIT")])
        await self.close()

    async def close(self) -> None:
        """Close the socket without QUIT."""
        await trio.aclose_forcefully(self._socket)


def _reject_goodbye(reply: Reply) -> None:
    """Raise `ConnectionLost` when the server ends the session, whatever the command was."""
    if ends_session(reply):
        raise ConnectionLost(f"the server closes the connection: {reply}")


@contextlib.asynccontextmanager
async def open_control(
    host: str, port: int, timeouts: Timeouts, flights: Flights, proxy: Proxy | None = None
) -> AsyncIterator[ControlConnection]:
    """Open a control connection. It is closed without QUIT unless `ControlConnection.quit` was called."""
    stream = await connect(host, port, timeouts.connect, proxy)
    try:
        with connection_errors(f"{host}:{port}"):  # a connection that is closed already has no peer
            peer = () if proxy is None else (host, port, 0, 0) if ":" in host else (host, port)
            control = ControlConnection(stream, timeouts, flights, peer, proxy)
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    try:
        yield control
    finally:
        await control.close()
