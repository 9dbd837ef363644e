"""FTP's two connections under TLS: handshakes, and a data connection that nobody can read or cut short unseen.

trio's `SSLStream` does the work. What is here is what FTP needs of it: deadlines by progress, a handshake beside the
control connection's replies, and the control connection's session for every data connection (servers want it, as a
proof that both are the same client).
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

import attrs
import trio

from actorsync.endpoints.contract import Upload
from actorsync.endpoints.ftp.certificates import TlsPolicy, check_pin, fingerprint, handshake_error, make_context
from actorsync.endpoints.ftp.data import WRITE, Data, Patience, lost
from actorsync.errors import ActorsyncError, ConnectionLost, LoginRefused
from actorsync.model.text import display
from actorsync.protocols.ftp.wire import Reply

__all__ = ["SecureData", "SecureStream", "Security", "describe", "receive_what_is_there"]

T = TypeVar("T")

_READ = 64 * 1024


class Transport(trio.abc.Stream):
    """What lies under TLS: a socket whose sending has a deadline that every byte of progress moves.

    Closing it says that there is no more to come and leaves it open: what the server has sent and nobody read (session
    tickets) would make a real close a reset, and cost the end of the upload. Who opened the socket closes it.
    """

    def __init__(self, stream: trio.SocketStream, patience: Patience) -> None:
        self._stream = stream
        self._patience = patience
        self._ahead: bytes | None = None

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything; `trio.TooSlowError` when the other side takes nothing for too long."""
        view = memoryview(data)
        while view:
            with trio.fail_after(self._patience.stall):
                count = await self._stream.socket.send(view)
            view = view[count:]

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Give what was read ahead, or wait for more."""
        if self._ahead is None:
            return await self._stream.receive_some(max_bytes)
        ahead, self._ahead = self._ahead, None  # and no checkpoint: see `receive_what_is_there`
        return ahead

    async def read_ahead(self) -> None:
        """Take what has arrived. Only for a socket that is readable: on any other it waits."""
        self._ahead = await self._stream.receive_some(_READ)

    async def aclose(self) -> None:
        """Say that there is no more to come."""
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._stream.send_eof()


SecureStream: TypeAlias = "trio.SSLStream[Transport]"


async def receive_what_is_there(stream: SecureStream) -> bytes | bytearray | None:
    """Give what a stream holds whose socket is readable, without waiting; None when that is no data.

    Under TLS 1.3 a socket becomes readable by session tickets, which say nothing.
    """
    await stream.transport_stream.read_ahead()
    # The deadline is noticed when the stream comes to wait, and not before it has looked at what was read ahead.
    with trio.move_on_after(0):
        return await stream.receive_some(_READ)
    return None


@attrs.define(eq=False)
class Security:
    """What all connections of an endpoint have in common under TLS.

    The host's name is what certificates are verified for, on data connections as well.
    """

    policy: TlsPolicy
    host: str
    _context: ssl.SSLContext | None = None

    async def secure(
        self, stream: trio.SocketStream, patience: Patience, session: ssl.SSLSession | None = None
    ) -> SecureStream:
        """Shake hands, and see that it is the right server before a byte is sent. Waits for as long as it takes.

        Raises:
            LoginRefused: the server is not who it should be, or TLS as it wants it is not good enough.
            ConnectionLost: the handshake was cut off.
        """
        if self._context is None:
            self._context = make_context(self.policy)
        secured = trio.SSLStream(Transport(stream, patience), self._context, server_hostname=self.host)
        if session is not None:
            secured.session = session
        with lost("TLS handshake"):
            try:
                await secured.do_handshake()
            except trio.BrokenResourceError as error:
                raise handshake_error(error.__cause__) from error
        if self.policy.certificate_sha256 is not None:
            check_pin(self.policy, secured.getpeercert(binary_form=True))
        return secured


def describe(stream: SecureStream) -> str:
    """Say what protects a connection: ``TLSv1.3, TLS_AES_256_GCM_SHA384, certificate SHA-256 5f0c...``."""
    certificate = stream.getpeercert(binary_form=True) or b""
    return f"{stream.version()}, {stream.cipher()[0]}, certificate SHA-256 {fingerprint(certificate)}"


class SecureData(Data):
    """One data connection under TLS, which resumes the control connection's session.

    Servers shake hands when they have read the command that the connection is for. So the handshake is part of
    `converse`, which has to come first.
    """

    def __init__(
        self, sock: socket.socket, patience: Patience, security: Security, session: ssl.SSLSession | None
    ) -> None:
        super().__init__(sock, patience)
        self._security = security
        self._session = session
        self._stream: SecureStream | None = None
        self._handshake = trio.CancelScope()

    @property
    def is_resumed(self) -> bool:
        """Whether the server knows by the session that this is the client of the control connection."""
        return self._stream is not None and bool(self._stream.session_reused)

    async def converse(
        self, speak: Callable[[], Awaitable[T]], hear: Callable[[], Awaitable[Reply]]
    ) -> tuple[T | None, Reply]:
        """Shake hands, then ``speak``, while we ``hear`` the answer: it may come before or after the handshake.

        A refusal ends the handshake, which the server would never answer. A handshake that fails ends the waiting for
        an answer after a while: the server may have a word to say about it.
        """
        said: T | ActorsyncError | None = None
        heard: Reply | ActorsyncError | None = None
        async with trio.open_nursery() as nursery:

            async def say() -> None:
                nonlocal said
                said = await _outcome(lambda: self._speak(speak))
                if isinstance(said, ConnectionLost):
                    nursery.cancel_scope.deadline = trio.current_time() + self._patience.last_words
                elif isinstance(said, ActorsyncError):
                    nursery.cancel_scope.cancel()

            nursery.start_soon(say)
            heard = await _outcome(hear)
            if not isinstance(heard, Reply) or heard.is_refusal:
                nursery.cancel_scope.cancel()
            else:
                nursery.cancel_scope.deadline = float("inf")
                self._handshake.deadline = trio.current_time() + self._patience.stall
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
                self._stream = await self._security.secure(stream, self._patience, self._session)
            except LoginRefused as refused:
                raise LoginRefused(f"a data connection to {display(self._security.host)}: {refused}") from None
        if self._stream is None:
            raise ConnectionLost("TLS handshake of a data connection: no answer in time")
        return await speak()

    async def send(self, upload: Upload, limit: int) -> bool:
        """Send the next part of ``upload``, as `Data.send` does; what is counted is what was encrypted."""
        assert self._stream is not None
        while upload.sent < limit:
            piece = await upload.content.read(min(WRITE, limit - upload.sent))
            if not piece:
                break
            try:
                await self._stream.send_all(piece)
            except trio.TooSlowError:
                raise ConnectionLost("sending data: no progress") from None
            except (OSError, trio.BrokenResourceError):
                return False  # the control connection knows why
            upload.sent += len(piece)
        return True

    async def finish(self) -> None:
        """Say under TLS, and then below it, that there is no more to come. The socket stays open."""
        assert self._stream is not None
        with contextlib.suppress(OSError, trio.TooSlowError):  # the control connection knows why
            await self._stream.aclose()

    async def receive_all(self, limit: int) -> bytes:
        """Read to the end as the server declares it under TLS. An end of the stream without that is none."""
        assert self._stream is not None
        received = bytearray()
        with lost("receiving a listing"):
            while True:
                with trio.fail_after(self._patience.stall):
                    data = await self._stream.receive_some(_READ)
                if not data:
                    break
                received += data
                if len(received) > limit:
                    raise ConnectionLost(f"a listing of more than {limit} bytes")
        await self.finish()
        return bytes(received)

    async def receive(self, max_bytes: int) -> bytes:
        """Give some bytes of a file as they come; none at the end that the server declares under TLS.

        Any other end is a `ConnectionLost`.
        """
        assert self._stream is not None
        with lost("receiving a file"), trio.fail_after(self._patience.stall):
            piece = bytes(await self._stream.receive_some(max_bytes))
        if not piece:
            await self.finish()
        return piece


async def _outcome(work: Callable[[], Awaitable[T]]) -> T | ActorsyncError:
    """Give an error of ours as a value: out of a nursery it would come in a group."""
    try:
        return await work()
    except ActorsyncError as error:
        return error
