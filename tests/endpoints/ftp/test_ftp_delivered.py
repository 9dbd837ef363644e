"""What counts as sent over FTP: bytes that the other side has acknowledged, and none that wait in a buffer."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorsync.endpoints.contract import Staged, Upload
from actorsync.endpoints.ftp.wire.certificates import TlsPolicy
from actorsync.endpoints.ftp.wire.data import DataConnection, Timeouts, in_send_buffer
from actorsync.endpoints.ftp.wire.tls import SecureDataConnection, TlsClient
from actorsync.protocols.ftp.wire import Reply
from actorsync.testing import EmbeddedFtpServer, Throttle, open_fault_proxy
from actorsync.testing.conformance.contents import MemoryContent, content_with_descriptor
from tests.support.servers import certificates
from tests.support.servers.ftp import endpoint_for

#: More than all buffers of a loopback connection hold.
SIZE = 8 << 20
#: The receive buffer of the peer: what it acknowledges without reading.
NARROW = 32 << 10


@attrs.define(eq=False)
class Peer:
    """A data connection, and the server's end of it, which reads nothing until `read_all`."""

    data: DataConnection
    theirs: trio.SocketStream
    secured: trio.SSLStream[trio.SocketStream] | None = None

    @property
    def waiting(self) -> int:
        """How many bytes the server's kernel has acknowledged that nothing has read, as they were on the wire."""
        answer = fcntl.ioctl(self.theirs.socket.fileno(), termios.FIONREAD, b"\0\0\0\0")
        return int(struct.unpack("i", answer)[0])

    async def read_all(self) -> int:
        """Read to the end of the data, and return how many bytes of content came."""
        stream, count = self.secured or self.theirs, 0
        while piece := await stream.receive_some(65536):
            count += len(piece)
        return count


async def send_all(data: DataConnection, upload: Upload) -> None:
    assert await data.send(upload, SIZE)
    await data.finish()


async def _ready() -> Reply:
    return Reply(150, ("ready",))


async def _nothing() -> None:
    pass


@asynccontextmanager
async def connected(folder: Path, *, is_secure: bool) -> AsyncIterator[Peer]:
    """Yield a connected pair, under TLS after the handshake."""
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
        ours = socket.create_connection(listener.getsockname())
        ours.setblocking(False)
        theirs = trio.SocketStream(trio.socket.from_stdlib_socket(listener.accept()[0]))
        await stack.enter_async_context(theirs)
        if not is_secure:
            data = DataConnection(ours, Timeouts())
            stack.callback(data.close)
            yield Peer(data, theirs)
            return
        authority = folder / "ca.pem"
        authority.write_bytes(certificates.authority())
        client = TlsClient(TlsPolicy(ca_file=authority), "127.0.0.1")
        secure = SecureDataConnection(ours, Timeouts(), client, None)
        stack.callback(secure.close)
        secured = trio.SSLStream(theirs, certificates.identity().server_context(), server_side=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(secured.do_handshake)
            await secure.converse(_nothing, _ready)
        yield Peer(secure, theirs, secured)


@pytest.mark.parametrize(("is_secure", "by_descriptor"), [(False, True), (False, False), (True, False)])
async def test_bytes_that_the_server_has_not_acknowledged_do_not_count_as_sent(
    is_secure: bool, by_descriptor: bool, tmp_path: Path
) -> None:
    with content_with_descriptor(bytes(SIZE)) as on_disk, trio.fail_after(20):
        content = on_disk if by_descriptor else MemoryContent(bytes(SIZE))
        async with connected(tmp_path, is_secure=is_secure) as peer:
            data = peer.data
            upload = Upload("f", "t", content, unconfirmed=data.unsent)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send_all, data, upload)
                await wait_all_tasks_blocked(0.1)
                assert upload.sent > 4 * NARROW, "the kernel has taken more than the server"
                assert upload.delivered <= peer.waiting
                assert await peer.read_all() == SIZE
            while data.unsent():  # noqa: ASYNC110 - the kernel tells no event
                await trio.sleep(0.001)
            assert upload.delivered == SIZE


async def test_closed_connection_keeps_what_it_had_not_sent(tmp_path: Path) -> None:
    async with connected(tmp_path, is_secure=False) as peer:
        upload = Upload("f", "t", MemoryContent(bytes(SIZE)), unconfirmed=peer.data.unsent)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.data.send, upload, SIZE)
            await wait_all_tasks_blocked(0.1)
            nursery.cancel_scope.cancel()
        before = upload.delivered
        peer.data.close()
        assert before <= upload.delivered < upload.sent


async def test_slow_line_shows_what_the_server_has_received(server_folder: Path) -> None:
    size, most_ahead = 3 << 20, 512 << 10
    ahead: list[int] = []
    with EmbeddedFtpServer(server_folder) as server:
        async with open_fault_proxy((server.host, server.port), Throttle(12 << 20)) as proxy:
            endpoint = endpoint_for(server, host=proxy.host)
            upload = Upload("f", "t", MemoryContent(bytes(size)))

            async def watch() -> None:
                while True:
                    ahead.append(upload.delivered - server.bytes_received)
                    await trio.sleep(0.005)

            async with endpoint.open_session() as session, trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                staged, _ = await session.stage(upload)
                nursery.cancel_scope.cancel()
            assert isinstance(staged, Staged)
    assert max(ahead) < most_ahead, "what the buffers of the proxy hold"
    assert upload.delivered == size


@attrs.frozen
class Asked:
    """A socket on which macOS would have 4,711 bytes to send."""

    of: socket.socket

    def fileno(self) -> int:
        return self.of.fileno()

    def getsockopt(self, level: int, option: int) -> int:
        assert (level, option) == (socket.SOL_SOCKET, 0x1024)
        return 4_711


@pytest.mark.parametrize(
    ("platform", "expected"), [("linux", "ioctl"), ("darwin", "SO_NWRITE"), ("freebsd14", "cannot tell")]
)
def test_send_buffer_is_asked_as_each_system_answers(platform: str, expected: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"x")
        asked: Any = Asked(ours)
        found = in_send_buffer(asked, platform)
    match expected:
        case "ioctl":
            assert 0 < found < 4_711  # with what the kernel adds to a packet
        case "SO_NWRITE":
            assert found == 4_711
        case _:
            assert found == 0
