"""The trio end of an SSH channel that speaks SFTP: asyncssh on its own loop, bytes for trio.

asyncssh has the keys, the ciphers, and the SSH packets. What goes through the channel is `protocols.sftp`'s affair: the
SFTP client of asyncssh takes a coroutine for each request, six times the processor time of whole flights in one write.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable
from itertools import groupby

from actorsync.endpoints.ssh.asyncio_thread import AsyncioLoop, Doorbell
from actorsync.endpoints.ssh.import_asyncssh import asyncssh
from actorsync.model.text import display, shorten

__all__ = ["SshChannel", "SshSession", "reason_of"]

#: What is longer than a packet of SSH is written by itself.
_BIG = 32 * 1024

#: What has come in and nobody has read. More than this a server cannot be owed.
_MAX_UNREAD = 16 * 1024 * 1024


def reason_of(error: BaseException) -> str:
    """Give the words of an error, fit for a line."""
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
    return shorten(display(str(error) or type(error).__name__), 300)


class SshChannel:
    """The trio end of a channel. ``on_data`` and ``on_lost`` are called in the trio thread."""

    def __init__(self, loop: AsyncioLoop, on_data: Callable[[bytes], None], on_lost: Callable[[str], None]) -> None:
        self._loop, self._on_data, self._on_lost = loop, on_data, on_lost
        self._outbox: list[bytes] = []
        self._inbox: deque[bytes] = deque()
        self._unread = 0
        self._ending: str | None = None
        self._bell = Doorbell(self._empty)
        self._connection: asyncssh.SSHClientConnection | None = None
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self.description = ""

    # In the trio thread.

    def send(self, data: bytes) -> None:
        """Send bytes, after all that was sent before. Never waits: whoever sends much waits for the answers."""
        self._loop.post(self._write, data)

    def abort(self) -> None:
        """End the connection at once, whatever is in flight. Does not wait for the peer, which may be silent."""
        self._loop.post(self._abort)

    def close(self) -> None:
        """Say goodbye, and end the connection."""
        self._loop.post(self._close)

    def _empty(self) -> None:
        while self._inbox:
            data = self._inbox.popleft()
            self._unread -= len(data)
            self._on_data(data)
        if self._ending is not None and not self._inbox:
            ending, self._ending = self._ending, None
            self._on_lost(ending)

    # In the other thread.

    def attach(self, connection: asyncssh.SSHClientConnection, channel: asyncssh.SSHClientChannel[bytes]) -> None:
        """Take what was connected."""
        self._connection, self._channel = connection, channel
        cipher = connection.get_extra_info("send_cipher")
        version = connection.get_extra_info("server_version")
        self.description = f"{display(str(version))}, {cipher}"

    def received(self, data: bytes) -> None:
        """Take bytes that came."""
        self._inbox.append(data)
        self._unread += len(data)
        if self._unread > _MAX_UNREAD:
            self._abort()
        self._bell.ring()

    def ended(self, reason: str) -> None:
        """Take note that there will be no more."""
        if self._ending is None:
            self._ending = reason
            self._bell.ring()

    def _write(self, data: bytes) -> None:
        self._outbox.append(data)
        if len(self._outbox) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Write what has gathered: many small flights make one SSH packet, and one call of the system."""
        outbox, self._outbox = self._outbox, []
        if self._channel is not None:
            with contextlib.suppress(BrokenPipeError):  # it is closed, which `ended` tells
                for is_big, pieces in groupby(outbox, lambda data: len(data) > _BIG):
                    for data in pieces if is_big else (b"".join(pieces),):  # the big ones are not worth a copy
                        self._channel.write(data)

    def _abort(self) -> None:
        if self._connection is not None:
            self._connection.abort()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class SshSession(asyncssh.SSHClientSession[bytes]):
    """asyncssh's end of the channel."""

    def __init__(self, channel: SshChannel) -> None:
        self._channel = channel

    def data_received(self, data: bytes, datatype: object) -> None:
        if datatype is None:  # not what the server writes to its standard error
            self._channel.received(data)

    def eof_received(self) -> bool:
        self._channel.ended("the server ended the SFTP session")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel.ended(reason_of(exc) if exc is not None else "the server closed the connection")
