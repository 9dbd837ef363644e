"""The transport under asyncssh: when its socket is closed, and how writes are sent."""

from __future__ import annotations

import asyncio
import socket

import pytest

from actorsync.endpoints.ssh.batching_transport import ConnectedSocket


def test_m001_socket_is_closed_when_the_peer_is_gone() -> None:
    sock = socket.socket()  # like a socket after a reset, it has no peer

    async def connect() -> None:
        await ConnectedSocket(sock).create_connection(asyncio.Protocol, "host", 22)

    with pytest.raises(OSError, match="not connected"):
        asyncio.run(connect())
    assert sock.fileno() == -1


def test_discard_closes_an_unused_socket() -> None:
    sock = socket.socket()
    ConnectedSocket(sock).discard()
    assert sock.fileno() == -1


def test_writes_of_one_iteration_arrive_complete_and_in_order() -> None:
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
