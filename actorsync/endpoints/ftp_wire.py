"""The two sockets of an FTP session under trio: flights of commands on one, file contents on the other.

Every wait here has a deadline that is measured from the last sign of progress, and every foreign error leaves as
`ConnectionLost`. What the bytes mean is `actorsync.protocols.ftp`'s affair.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import termios
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TypeVar

import attrs
import trio

from actorsync.endpoints.contract import Upload
from actorsync.errors import ConnectionLost
from actorsync.protocols.ftp import Dialogue, Reply, ReplyParser
from actorsync.protocols.ftp_replies import greet

__all__ = ["Control", "Data", "Patience", "connected"]

T = TypeVar("T")

_READ = 64 * 1024

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux only
_WRITE = 256 * 1024
#: One ``sendfile`` call: large enough to be cheap, small enough that a cold disk does not hold up other connections.
_SENDFILE = 1024 * 1024


@attrs.frozen
class Patience:
    """How long to wait for the other side, in seconds.

    ``connect`` is for a connection to be made, and for the greeting to be whole, however it comes. Without a byte of
    progress for ``stall``, a connection is lost.
    """

    connect: float = 30.0
    stall: float = 60.0

    @property
    def last_words(self) -> float:
        """After a write error: how long the server has to say what was wrong."""
        return min(10.0, self.stall)


@contextlib.contextmanager
def _lost(what: str) -> Iterator[None]:
    """Turn whatever the system or trio says into `ConnectionLost`."""
    try:
        yield
    except trio.TooSlowError:
        raise ConnectionLost(f"{what}: no answer in time") from None
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
        cause = error.__cause__
        if isinstance(cause, BaseExceptionGroup):  # one for each address of a host
            cause = cause.exceptions[0]
        cause = cause if isinstance(cause, OSError) else error
        text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
        raise ConnectionLost(f"{what}: {text or type(error).__name__}") from error


class Control:
    """A control connection: flights out, replies in, and a count of the replies that are still due."""

    def __init__(self, stream: trio.SocketStream, patience: Patience) -> None:
        self._stream = stream
        self.patience = patience
        self._parser = ReplyParser()
        self._due = 0
        self._is_broken = False
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        #: The address that every data connection goes to, whatever the server names (CVE-2020-8284).
        self.peer: tuple[object, ...] = stream.socket.getpeername()

    async def send(self, flight: Sequence[bytes]) -> None:
        """Write a flight in one piece."""
        if not self._due:
            await self._hear_the_unasked()
        self._is_broken = True  # until all of it is out: half a line cannot be taken back
        with _lost("sending a command"), trio.fail_after(self.patience.stall):
            await self._stream.send_all(b"".join(flight))
        self._is_broken = False
        self._due += len(flight)

    async def _hear_the_unasked(self) -> None:
        """See that the server has said nothing: a reply too many would be taken for the next command's."""
        poll = select.poll()
        poll.register(self._stream.socket.fileno(), select.POLLIN)
        if not self._parser.is_empty or poll.poll(0):
            self._is_broken = True
            self._due += 1
            unasked = await self.reply()  # 421, more often than not, which raises
            raise ConnectionLost(f"the server speaks out of turn: {unasked}")

    async def reply(self, seconds: float | None = None) -> Reply:
        """Read the next reply; a preliminary one (1xx) leaves another due."""
        # Most replies have come together with the first of their flight, and need neither a wait nor a deadline.
        if (reply := self._parser.next_reply()) is None:
            with _lost("waiting for the server"), trio.fail_after(self.patience.stall if seconds is None else seconds):
                reply = await self._wait_for_reply()
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
                self._stream.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            data = await self._stream.receive_some(_READ)
            if not data:
                raise ConnectionLost("the server hung up")
            self._parser.feed(data)
        return reply

    async def greeting(self) -> Reply:
        """Read the reply that nothing was sent for, and give it when it is a greeting."""
        with _lost("waiting for the greeting"), trio.fail_after(self.patience.connect):
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

    async def hang_up(self, farewell: bytes) -> None:
        """Say goodbye if that costs nothing, and close."""
        with trio.move_on_after(1), contextlib.suppress(ConnectionLost):
            if not self._due and not self._is_broken:
                await self.send([farewell])
        await trio.aclose_forcefully(self._stream)


class Data:
    """One data connection, plain. Close it with `close`, which never waits."""

    def __init__(self, sock: trio.socket.SocketType, patience: Patience) -> None:
        self._socket = sock
        self._patience = patience

    @classmethod
    async def connect(cls, peer: tuple[object, ...], port: int, patience: Patience) -> Data:
        """Connect to ``port`` at the control connection's peer."""
        family = socket.AF_INET6 if len(peer) == 4 else socket.AF_INET
        sock = trio.socket.socket(family, socket.SOCK_STREAM)
        try:
            with _lost(f"data connection to port {port}"), trio.fail_after(patience.connect):
                await sock.connect((peer[0], port, *peer[2:]))
        except BaseException:
            sock.close()
            raise
        return cls(sock, patience)

    def close(self) -> None:
        """Close; what was not acknowledged may be lost."""
        self._socket.close()

    async def send(self, upload: Upload, limit: int) -> bool:
        """Send the next part of ``upload``, up to byte ``limit`` of the file; False when the server takes no more.

        A file that turns out shorter ends the sending early; ``upload.sent`` tells.
        """
        descriptor = upload.content.fileno()
        try:
            if descriptor is None:
                return await self._send_read(upload, limit)
            return await self._send_file(upload, limit, descriptor)
        except (BrokenPipeError, ConnectionResetError):
            return False  # the control connection knows why
        except OSError as error:
            raise ConnectionLost(f"sending data: {error.strerror}") from error

    async def _send_file(self, upload: Upload, limit: int, descriptor: int) -> bool:
        while upload.sent < limit:
            with _lost("sending data"), trio.fail_after(self._patience.stall):
                await trio.lowlevel.wait_writable(self._socket)
            try:
                count = os.sendfile(self._socket.fileno(), descriptor, upload.sent, min(_SENDFILE, limit - upload.sent))
            except BlockingIOError:
                continue
            if not count:
                break
            upload.sent += count
        return True

    async def _send_read(self, upload: Upload, limit: int) -> bool:
        while upload.sent < limit:
            view = memoryview(await upload.content.read(min(_WRITE, limit - upload.sent)))
            if not view:
                break
            while view:
                with trio.move_on_after(self._patience.stall) as waiting:
                    count = await self._socket.send(view)
                if waiting.cancelled_caught:
                    raise ConnectionLost("sending data: no progress")
                upload.sent += count
                view = view[count:]
        return True

    def finish(self) -> None:
        """Say that there is no more to come."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def unsent(self) -> int:
        """Give how many bytes the other side has not acknowledged yet: while it falls, there is progress."""
        with contextlib.suppress(OSError):
            answer = fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
            return int(struct.unpack("i", answer)[0])
        return 0

    async def receive_all(self, limit: int) -> bytes:
        """Read to the end of the stream; more than ``limit`` bytes is no listing that anybody meant."""
        received = bytearray()
        with _lost("receiving a listing"):
            while True:
                with trio.fail_after(self._patience.stall):
                    data = await self._socket.recv(_READ)
                if not data:
                    return bytes(received)
                received += data
                if len(received) > limit:
                    raise ConnectionLost(f"a listing of more than {limit} bytes")


@contextlib.asynccontextmanager
async def connected(host: str, port: int, patience: Patience) -> AsyncIterator[Control]:
    """Open a control connection; closed without ceremony unless `Control.hang_up` was called before."""
    with _lost(f"{host}:{port}"), trio.fail_after(patience.connect):
        stream = await trio.open_tcp_stream(host, port)
    try:
        with _lost(f"{host}:{port}"):  # it may be gone again already, and then has no peer
            control = Control(stream, patience)
        yield control
    finally:
        await trio.aclose_forcefully(stream)
