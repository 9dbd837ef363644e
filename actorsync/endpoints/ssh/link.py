"""The way to a server: a login at each jump host, and at the server through the last of them."""

from __future__ import annotations

from collections.abc import Sequence

from actorsync.classes import frozen
from actorsync.endpoints.ssh.asyncio_thread import AsyncioLoop
from actorsync.endpoints.ssh.import_asyncssh import asyncssh
from actorsync.endpoints.ssh.login import Stop, log_in
from actorsync.model.text import display

__all__ = ["Link", "open_link"]


@frozen(eq=False)
class Link:
    """Connections that are logged in, each through the one before: those to the jump hosts, then that to the server.

    `close` and `abort` are called in the asyncio thread.
    """

    connections: Sequence[asyncssh.SSHClientConnection]

    @property
    def server(self) -> asyncssh.SSHClientConnection:
        """The connection to the server itself."""
        return self.connections[-1]

    @property
    def versions(self) -> list[str]:
        """What the software of each server calls itself, in the order of the connections."""
        return [display(str(one.get_extra_info("server_version"))) for one in self.connections]

    @property
    def is_open(self) -> bool:
        """Whether the server can still be reached over it, as far as is known. May be called in any thread."""
        return not self.server.is_closed()

    def close(self) -> None:
        """Send a disconnect message on each connection, the last one first, and close it."""
        for connection in reversed(self.connections):
            connection.close()

    def abort(self) -> None:
        """Close all connections at once. Does not wait for the peers."""
        for connection in reversed(self.connections):
            connection.abort()


async def open_link(loop: AsyncioLoop, route: Sequence[Stop], code: str | None = None) -> Link:
    """Log in at each stop of the route, the server last. ``code`` is for the server, if it asks for one.

    The host key of a stop is checked before anything secret is sent to it, and before the next stop is tried. Raises as
    `log_in` does.
    """
    link = Link([])
    try:
        for stop in route:
            is_last = stop is route[-1]
            via = link.server if link.connections else None
            connection = await log_in(loop, stop, via, code if is_last else None)
            link = Link([*link.connections, connection])
    except BaseException:
        loop.post(link.abort)
        raise
    return link
