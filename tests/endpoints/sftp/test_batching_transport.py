"""The socket under asyncssh: who closes it, whatever becomes of the connection."""

from __future__ import annotations

import asyncio
import socket

import pytest

from actorsync.endpoints.ssh.batching_transport import ConnectedSocket


def test_m001_a_peer_that_is_gone_already_leaves_no_socket_behind() -> None:
    sock = socket.socket()  # as good as one whose peer has reset it: it has no peer

    async def connect() -> None:
        await ConnectedSocket(sock).create_connection(asyncio.Protocol, "host", 22)

    with pytest.raises(OSError, match="not connected"):
        asyncio.run(connect())
    assert sock.fileno() == -1


def test_one_that_was_never_used_is_closed() -> None:
    sock = socket.socket()
    ConnectedSocket(sock).discard()
    assert sock.fileno() == -1


def test_what_is_written_in_one_turn_arrives_whole_and_in_order() -> None:
    ours, theirs = socket.socketpair()
    pieces = [bytes([number % 251]) * (number * 37 % 40_000) for number in range(200)]

    async def talk() -> bytes:
        transport, _ = await ConnectedSocket(ours).create_connection(asyncio.Protocol, "host", 22)
        for piece in pieces:
            transport.write(piece)
        reader, writer = await asyncio.open_connection(sock=theirs)
        received = await reader.readexactly(sum(map(len, pieces)))
        transport.close()
        assert await reader.read() == b""
        writer.close()
        return received

    assert asyncio.run(talk()) == b"".join(pieces)
    assert ours.fileno() == -1
