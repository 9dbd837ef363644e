"""The SFTP subsystem on a connection that is logged in, and servers that accept a login and provide no SFTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from actorsync.endpoints.ssh.import_asyncssh import asyncssh
from actorsync.errors import TooManyConnections

__all__ = ["CLOSED", "SftpNotStarted", "start_subsystem"]

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
    connection: asyncssh.SSHClientConnection, session: asyncssh.SSHClientSession[bytes], was_closed: Callable[[], bool]
) -> asyncssh.SSHClientChannel[bytes]:
    """Open a channel with the SFTP subsystem for ``session``. Called in the asyncio thread.

    ``was_closed`` returns whether the session has seen the server close the channel.

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
