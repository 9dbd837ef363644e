"""The trio side of an SSH channel for SFTP: asyncssh runs on its own loop, and trio gets the bytes.

asyncssh handles the keys, the ciphers and the SSH packets. The SFTP packets in the channel come from `protocols.sftp`.
asyncssh's own SFTP client creates a coroutine for each request, and takes six times the processor time of flights that
are sent in one write.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from itertools import groupby

from actorsync.endpoints.ssh.asyncio_thread import AsyncioLoop, Notifier
from actorsync.endpoints.ssh.import_asyncssh import asyncssh
from actorsync.endpoints.ssh.link import Link
from actorsync.endpoints.ssh.login import reason_of

__all__ = ["SshChannel", "SshSession"]

#: Longer pieces than an SSH packet are written alone, which saves a copy.
_BIG = 32 * 1024

#: Received bytes that wait for trio. A server that sends more has not been asked for them.
_MAX_UNREAD = 16 * 1024 * 1024


class SshChannel:
    """The trio side of a channel. ``on_data`` and ``on_lost`` are called in the trio thread."""

    def __init__(self, loop: AsyncioLoop, on_data: Callable[[bytes], None], on_lost: Callable[[str], None]) -> None:
        self._loop, self._on_data, self._on_lost = loop, on_data, on_lost
        self._outbox: list[bytes] = []
        self._inbox: deque[bytes] = deque()
        self._unread = 0
        self._ending: str | None = None
        self._notifier = Notifier(self._deliver)
        self._link: Link | None = None
        self._is_shared = False
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self.description = ""
        self.jump_versions: list[str] = []
        self.was_closed = False
        """Whether the server closed the channel, while the connection was good."""

    # Called in the trio thread.

    def send(self, data: bytes) -> None:
        """Send bytes, in the order of the calls. Never waits: the caller bounds how much is unanswered."""
        self._loop.post(self._write, data)

    def abort(self) -> None:
        """Close the link at once, with everything that is in flight; a shared link stays open. Does not wait."""
        self._loop.post(self._abort)

    def close(self) -> None:
        """Send a disconnect message, and close the link; a shared link stays open."""
        self._loop.post(self._close)

    def _deliver(self) -> None:
        while self._inbox:
            data = self._inbox.popleft()
            self._unread -= len(data)
            self._on_data(data)
        if self._ending is not None and not self._inbox:
            ending, self._ending = self._ending, None
            self._on_lost(ending)

    # Called in the asyncio thread.

    def attach(self, link: Link, channel: asyncssh.SSHClientChannel[bytes], *, is_shared: bool) -> None:
        """Take over an open channel and, unless other channels share it, its link."""
        self._link, self._channel, self._is_shared = link, channel, is_shared
        *self.jump_versions, version = link.versions
        self.description = f"{version}, {link.server.get_extra_info('send_cipher')}"

    def received(self, data: bytes) -> None:
        """Take received bytes."""
        self._inbox.append(data)
        self._unread += len(data)
        if self._unread > _MAX_UNREAD:
            self._abort()
        self._notifier.notify()

    def ended(self, reason: str) -> None:
        """Mark the channel as ended. The first reason is kept."""
        if self._ending is None:
            self._ending = reason
            self._notifier.notify()

    def _write(self, data: bytes) -> None:
        self._outbox.append(data)
        if len(self._outbox) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Write all collected pieces: many small flights become one SSH packet, and one system call."""
        outbox, self._outbox = self._outbox, []
        if self._channel is not None:
            with contextlib.suppress(BrokenPipeError):  # the channel is closed, which `ended` reports
                for is_big, pieces in groupby(outbox, lambda data: len(data) > _BIG):
                    for data in pieces if is_big else (b"".join(pieces),):  # no copy of big pieces
                        self._channel.write(data)

    def _abort(self) -> None:
        if self._is_shared and self._channel is not None:
            self._channel.abort()
        elif self._link is not None:
            self._link.abort()

    def _close(self) -> None:
        if self._is_shared and self._channel is not None:
            self._channel.close()
        elif self._link is not None:
            self._link.close()


class SshSession(asyncssh.SSHClientSession[bytes]):
    """The asyncssh side of the channel."""

    def __init__(self, channel: SshChannel) -> None:
        self._channel = channel

    def data_received(self, data: bytes, datatype: object) -> None:
        if datatype is None:  # otherwise it is the standard error of the server's process
            self._channel.received(data)

    def eof_received(self) -> bool:
        self._channel.was_closed = True
        self._channel.ended("the server ended the SFTP session")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel.was_closed |= exc is None
        self._channel.ended(reason_of(exc) if exc is not None else "the server closed the connection")
