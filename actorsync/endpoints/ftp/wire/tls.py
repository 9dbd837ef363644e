"""FTP's control and data connections under TLS.

trio's `SSLStream` does the work. This module adds what FTP needs: deadlines by progress, a handshake that runs beside
the control connection's replies, and the control connection's session for every data connection. Servers require that
session as a proof that both connections are of the same client.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

import trio

from actorsync.classes import define
from actorsync.endpoints.contract import Upload
from actorsync.endpoints.ftp.wire.certificates import TlsPolicy, check_pin, fingerprint, handshake_error, make_context
from actorsync.endpoints.ftp.wire.data import WRITE, DataConnection, Timeouts, connection_errors
from actorsync.endpoints.resuming import read_at
from actorsync.errors import ActorsyncError, ConnectionLost, LoginRefused
from actorsync.model.text import display
from actorsync.protocols.ftp.wire import Reply

__all__ = ["SecureDataConnection", "SecureStream", "TlsClient", "describe", "receive_available"]

T = TypeVar("T")

_READ = 64 * 1024


class Transport(trio.abc.Stream):
    """The socket under TLS. Sending has a deadline that every byte of progress moves.

    `aclose` signals the end of the data and leaves the socket open. A real close would reset the connection where
    session tickets are still unread, and lose the end of the upload. The opener of the socket closes it.
    """

    def __init__(self, stream: trio.SocketStream, timeouts: Timeouts) -> None:
        self._stream = stream
        self._timeouts = timeouts
        self._ahead: bytes | None = None
        self.taken = 0
        """How many bytes the kernel has taken from this connection so far."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything. Raises `trio.TooSlowError` when the server accepts nothing for too long."""
        view = memoryview(data)
        while view:
            with trio.fail_after(self._timeouts.stall):
                count = await self._stream.socket.send(view)
            self.taken += count
            view = view[count:]

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until sending would not block."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Return the bytes that `read_available` has read, or wait for more."""
        if self._ahead is None:
            return await self._stream.receive_some(max_bytes)
        ahead, self._ahead = self._ahead, None  # and no checkpoint: see `receive_available`
        return ahead

    async def read_available(self) -> None:
        """Read what has arrived, for the next `receive_some`. On a socket that is not readable it waits."""
        self._ahead = await self._stream.receive_some(_READ)

    async def aclose(self) -> None:
        """Signal the end of the data."""
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._stream.send_eof()


SecureStream: TypeAlias = "trio.SSLStream[Transport]"


async def receive_available(stream: SecureStream) -> bytes | bytearray | None:
    """Return the data of a stream whose socket is readable, without waiting; None when there is none.

    Under TLS 1.3 session tickets make a socket readable, and they are no data.
    """
    await stream.transport_stream.read_available()
    # The deadline takes effect when the stream would wait, which is after it has used the bytes that were read.
    with trio.move_on_after(0):
        return await stream.receive_some(_READ)
    return None


@define(eq=False)
class TlsClient:
    """Starts TLS on all connections of an endpoint, with one context.

    Certificates are verified for ``host``, on data connections as well.
    """

    policy: TlsPolicy
    host: str
    _context: ssl.SSLContext | None = None

    async def secure(
        self, stream: trio.SocketStream, timeouts: Timeouts, session: ssl.SSLSession | None = None
    ) -> SecureStream:
        """Do the handshake and verify the server before a byte is sent. There is no deadline.

        Raises:
            LoginRefused: The certificate is not accepted, or there is no TLS version or cipher in common.
            ConnectionLost: The handshake was cut off.
        """
        if self._context is None:
            self._context = make_context(self.policy)
        secured = trio.SSLStream(Transport(stream, timeouts), self._context, server_hostname=self.host)
        if session is not None:
            secured.session = session
        with connection_errors("TLS handshake"):
            try:
                await secured.do_handshake()
            except trio.BrokenResourceError as error:
                raise handshake_error(error.__cause__) from error
        if self.policy.certificate_sha256 is not None:
            check_pin(self.policy, secured.getpeercert(binary_form=True))
        return secured


def describe(stream: SecureStream) -> str:
    """Describe the protection of a connection: ``TLSv1.3, TLS_AES_256_GCM_SHA384, certificate SHA-256 5f0c...``."""
    certificate = stream.getpeercert(binary_form=True) or b""
    return f"{stream.version()}, {stream.cipher()[0]}, certificate SHA-256 {fingerprint(certificate)}"


class SecureDataConnection(DataConnection):
    """One data connection under TLS, which resumes the control connection's session.

    Servers start the handshake after they have read the command that the connection is for. So the handshake is part
    of `converse`, which has to be called before anything is sent or received.
    """

    def __init__(
        self, sock: socket.socket, timeouts: Timeouts, tls_client: TlsClient, session: ssl.SSLSession | None
    ) -> None:
        super().__init__(sock, timeouts)
        self._tls_client = tls_client
        self._session = session
        self._stream: SecureStream | None = None
        self._handshake = trio.CancelScope()
        self._piece = 0  # the size of the piece that is being sent
        self._taken_before = 0  # how many bytes the kernel had taken before that piece

    @property
    def is_resumed(self) -> bool:
        """Whether the server resumed the TLS session of the control connection."""
        return self._stream is not None and bool(self._stream.session_reused)

    async def converse(
        self, speak: Callable[[], Awaitable[T]], hear: Callable[[], Awaitable[Reply]]
    ) -> tuple[T | None, Reply]:
        """Do the handshake, then ``speak``; beside that ``hear`` the answer, which may come before or after it.

        A refusal cancels the handshake, which the server would never answer. After a failed handshake, the answer that
        may explain it has some seconds to arrive.
        """
        said: T | ActorsyncError | None = None
        heard: Reply | ActorsyncError | None = None
        async with trio.open_nursery() as nursery:

            async def say() -> None:
                nonlocal said
                said = await _outcome(lambda: self._speak(speak))
                if isinstance(said, ConnectionLost):
                    nursery.cancel_scope.deadline = trio.current_time() + self._timeouts.after_error
                elif isinstance(said, ActorsyncError):
                    nursery.cancel_scope.cancel()

            nursery.start_soon(say)
            heard = await _outcome(hear)
            if not isinstance(heard, Reply) or heard.is_refusal:
                nursery.cancel_scope.cancel()
            else:
                nursery.cancel_scope.deadline = float("inf")
                self._handshake.deadline = trio.current_time() + self._timeouts.stall
        if isinstance(said, ActorsyncError) and (heard is None or not isinstance(said, ConnectionLost)):
            raise said
        if isinstance(heard, ActorsyncError):
            raise heard
        assert heard is not None
        return (None if isinstance(said, ActorsyncError) else said), heard

    async def _speak(self, speak: Callable[[], Awaitable[T]]) -> T:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(self._socket))
        with self._handshake:
            try:
                self._stream = await self._tls_client.secure(stream, self._timeouts, self._session)
            except LoginRefused as refused:
                raise LoginRefused(f"a data connection to {display(self._tls_client.host)}: {refused}") from None
        if self._stream is None:
            raise ConnectionLost("TLS handshake of a data connection: no answer in time")
        return await speak()

    async def send(self, upload: Upload, limit: int) -> bool:
        """Send the next part of ``upload``, as `DataConnection.send` does.

        A piece counts as sent from its beginning, and `unsent` subtracts what the kernel has not taken of it yet.
        """
        assert self._stream is not None
        while upload.sent < limit:
            piece = await _next_piece(upload, min(WRITE, limit - upload.sent))
            if not piece:
                break
            self._piece, self._taken_before = len(piece), self._stream.transport_stream.taken
            upload.sent += len(piece)
            try:
                await self._stream.send_all(piece)
            except trio.TooSlowError:
                raise ConnectionLost("sending data: no progress") from None
            except (OSError, trio.BrokenResourceError):
                return False  # the reply on the control connection says why
            self._piece = 0
        return True

    def unsent(self) -> int:
        """Return what `DataConnection.unsent` returns, and what waits above the socket to be encrypted or taken.

        The kernel's part is encrypted: about a tenth of a percent more than the content.
        """
        if self._stream is None or self._socket.fileno() < 0:
            return super().unsent()
        taken = self._stream.transport_stream.taken - self._taken_before
        return max(0, self._piece - taken) + super().unsent()

    async def finish(self) -> None:
        """Signal the end of the data, under TLS and then below it. The socket stays open."""
        assert self._stream is not None
        with contextlib.suppress(OSError, trio.TooSlowError):  # the reply says why
            await self._stream.aclose()

    async def receive_all(self, limit: int) -> bytes:
        """Read a listing to the end that the server declares under TLS. Any other end raises `ConnectionLost`."""
        assert self._stream is not None
        received = bytearray()
        with connection_errors("receiving a listing"):
            while True:
                with trio.fail_after(self._timeouts.stall):
                    data = await self._stream.receive_some(_READ)
                if not data:
                    break
                received += data
                if len(received) > limit:
                    raise ConnectionLost(f"the listing has more than {limit} bytes")
        await self.finish()
        return bytes(received)

    async def receive(self, max_bytes: int) -> bytes:
        """Return some bytes of a file as they arrive; none at the end that the server declares under TLS.

        Any other end raises `ConnectionLost`.
        """
        assert self._stream is not None
        with connection_errors("receiving a file"), trio.fail_after(self._timeouts.stall):
            piece = bytes(await self._stream.receive_some(max_bytes))
        if not piece:
            await self.finish()
        return piece


async def _outcome(work: Callable[[], Awaitable[T]]) -> T | ActorsyncError:
    """Return one of our errors as a value: raised in a nursery, it would arrive in an exception group."""
    try:
        return await work()
    except ActorsyncError as error:
        return error


async def _next_piece(upload: Upload, most: int) -> bytes:
    """Read the next bytes of the content. With a descriptor, `Content.read` begins at the beginning of the file."""
    content = upload.content
    if not upload.start or content.fileno() is None:
        return await content.read(most)
    if content.admit is not None:
        most = await content.admit(most)
    return await read_at(content, upload.sent, most) or b""
