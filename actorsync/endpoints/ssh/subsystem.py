"""The SFTP subsystem on a connection that is logged in, and servers that accept a login and provide no SFTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from actorsync.endpoints.ssh.asyncio_thread import AsyncioLoop
from actorsync.endpoints.ssh.channel import SshChannel, SshSession
from actorsync.endpoints.ssh.import_asyncssh import asyncssh
from actorsync.endpoints.ssh.link import Link
from actorsync.endpoints.ssh.login import reason_of
from actorsync.errors import ConnectionLost, TooManyConnections

__all__ = ["CLOSED", "SftpNotStarted", "open_channel"]

CLOSED: Final = (
    "the server accepted the login and closed the SFTP session at once; check on the server that this account may use "
    "SFTP (its shell, ForceCommand), and that the program of the SFTP subsystem exists"
)
_REFUSED: Final = (
    "the server accepted the login and has no SFTP for it; enable the SFTP subsystem on the server, or use another "
    "protocol"
)
#: asyncssh's code for a refused "subsystem" request. The server itself sends others, mostly for too many sessions.
_REQUEST_REFUSED: Final = 0xFFFFFFFF


class SftpNotStarted(TooManyConnections):
    """The server accepted the login, and then provided no SFTP. A second time in a row, it never will."""


async def start_subsystem(
    connection: asyncssh.SSHClientConnection,
    session: asyncssh.SSHClientSession[bytes],
    was_closed: Callable[[], bool],
) -> asyncssh.SSHClientChannel[bytes]:
    """Open a channel with the SFTP subsystem. Called in the asyncio thread.

    Raises:
        SftpNotStarted: the server refused the subsystem, or closed the channel at once.
        asyncssh.ChannelOpenError: the server opened no channel.
    """
    try:
        opened, _ = await connection.create_session(lambda: session, subsystem="sftp", encoding=None)
    except asyncssh.ChannelOpenError as error:
        if error.code == _REQUEST_REFUSED:
            raise SftpNotStarted(CLOSED if was_closed() else _REFUSED) from None
        raise
    except AttributeError:
        # asyncssh forgets its session when a channel is closed in the same piece of data in which it was opened.
        if not was_closed():
            raise
        raise SftpNotStarted(CLOSED) from None
    return opened


@asynccontextmanager
async def open_channel(
    loop: AsyncioLoop,
    link: Link,
    on_data: Callable[[bytes], None],
    on_lost: Callable[[str], None],
    *,
    is_shared: bool = False,
) -> AsyncIterator[SshChannel]:
    """Open a channel for SFTP. The link is closed after the block, and aborted by an exception; not if it is shared.

    Raises:
        SftpNotStarted: the server provides no SFTP.
        TooManyConnections: the server opened no channel, as some do at their limit of sessions.
        ConnectionLost: the link is lost.
    """
    channel = SshChannel(loop, on_data, on_lost)

    async def work() -> asyncssh.SSHClientChannel[bytes]:
        opened = await start_subsystem(link.server, SshSession(channel), lambda: channel.was_closed)
        channel.attach(link, opened, is_shared=is_shared)
        return opened

    try:
        await loop.run(work, discard=lambda opened: opened.abort())
    except BaseException as error:
        if not is_shared:
            loop.post(link.abort)
        if isinstance(error, asyncssh.ChannelOpenError):
            raise TooManyConnections(f"the server did not start SFTP: {reason_of(error)}") from error
        if isinstance(error, OSError | asyncssh.Error | ValueError):
            raise ConnectionLost(reason_of(error)) from error
        raise
    try:
        yield channel
        channel.close()
    except BaseException:
        channel.abort()
        raise
