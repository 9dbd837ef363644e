"""The data connection of FTP by itself."""

from __future__ import annotations

import socket

import pytest
import trio

from actorsync.endpoints.ftp.wire.data import DataConnection, Timeouts


@pytest.mark.parametrize("reads", [True, False])
async def test_data_that_the_server_closes_on_unread_are_told_from_data_that_it_read(reads: bool) -> None:
    """pyftpdlib drops data that arrive before the STOR. On a full disk it reads them, and says nothing either."""
    with socket.create_server(("127.0.0.1", 0)) as listener, trio.fail_after(5):
        sender = socket.create_connection(listener.getsockname())
        data = DataConnection(sender, Timeouts())
        sender.sendall(b"content")
        await data.finish()
        accepted, _ = listener.accept()
        with trio.socket.from_stdlib_socket(accepted) as receiver:
            await receiver.recv(16, 0 if reads else socket.MSG_PEEK)
        await trio.lowlevel.wait_readable(sender)
        assert data.was_reset() is not reads
        assert not data.was_reset()
        data.close()
