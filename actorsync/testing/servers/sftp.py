"""An SFTP server inside this process: asyncssh in a thread, with a command log, optional limits and faults.

asyncssh needs an asyncio event loop, so the server runs in a thread of its own. asyncssh is imported when a server is
made.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

import attrs
import trio

from actorsync.classes import define
from actorsync.testing.servers.command_log import Command
from actorsync.testing.servers.profiles import profile_text, write_private
from actorsync.testing.servers.sftp_settings import SftpLog, SftpSettings
from actorsync.testing.servers.sftp_thread import ServerThread

if TYPE_CHECKING:
    import asyncssh

__all__ = ["EmbeddedSftpServer", "SftpLog", "embedded_sftp_server"]


@define(eq=False)
class EmbeddedSftpServer(SftpSettings):
    """A server for ``root``, running from `start` to `stop`; use it with ``with``. Clients see ``root`` as "/".

    `start` binds the port, by default a free one, and `restart` keeps it. The logs continue over a restart. The other
    attributes are settings: the server reads those of the login in `start`, and the others at each use.

    * ``password``: None accepts keys only. ``authorized_keys``: public keys in OpenSSH's format, one a line.
    * ``host_key``: a private key in OpenSSH's format. By default each process makes one Ed25519 key for all servers.
    * ``without``: extensions that the server does not announce and rejects, such as ``{"posix-rename@openssh.com"}``.
    * ``max_connections``: the server drops further connections before they can log in.
    * ``version``: what the server greets with, after ``SSH-2.0-``.
    * ``order``: which requests are carried out in the order in which they arrive: all of them (``"kept"``), those about
      the same file (``"by file"``), or none (``"none"``).
    * ``max_handles``: the files and directories that one connection may have open at once.
    * ``mixes_up_handles``: two open files may get the same handle, as Erlang's ssh does.
    * ``instead``: called with each request before it is carried out. Returned bytes are sent as the reply, and nothing
      is carried out; for None the server works as usual. After ``sftp_packets.LastWords`` the channel is closed.
    * ``distort``: called with each request that was carried out and with the packet of its reply. The returned bytes
      are sent in place of that packet.
    * ``faults``: what goes wrong, such as ``["cut@store:3"]``; see `actorsync.testing.servers.faults`.

    The server's thread calls ``instead`` and ``distort``. With trio, use ``async with``: it starts and stops the server
    in a worker thread.
    """

    _running: ServerThread | None = attrs.field(default=None, init=False, repr=False)

    @property
    def url(self) -> str:
        """The URL of the root, with the user name and without the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"sftp://{quote(self.user, safe='')}@{host}:{self.port}/"

    @property
    def mutating(self) -> list[Command]:
        """The logged commands that can change the tree."""
        return self.commands.mutating

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the host key, as ``ssh-keygen -l`` shows it: ``SHA256:...``."""
        return _private_key(self.host_key).get_fingerprint()

    @property
    def known_hosts_line(self) -> str:
        """The line for a known_hosts file. Before `start` a port chosen as 0 is not known yet."""
        public = _private_key(self.host_key).export_public_key().decode().strip()
        host = self.host if self.port == 22 else f"[{self.host}]:{self.port}"
        return f"{host} {public}\n"

    def profile(self, source: Path, folder: str = "", more: str = "") -> str:
        """Return a profile that mirrors ``source`` to ``folder`` on this server. ``more`` is TOML, such as ``[sync]``.

        The profile contains the password, so only its owner may be able to read its file: see `write_profile`. For a
        server without a password, add ``key-file``.
        """
        login = {"host-key": self.fingerprint}
        if self.password is not None:
            login["password"] = self.password
        return profile_text(source, self.url + quote(folder), login, more)

    def write_profile(self, path: Path, source: Path, folder: str = "", more: str = "") -> Path:
        """Write the profile to a file that only its owner can read, and return the path."""
        return write_private(path, self.profile(source, folder, more))

    def start(self) -> None:
        """Start to serve; return when clients can connect. Raises ``OSError`` when the port cannot be bound."""
        if self._running is not None:
            raise RuntimeError("the embedded SFTP server is already running; call stop() first")
        self._running = ServerThread.started(self)

    def stop(self) -> None:
        """Cut every connection, close the port and wait for the thread to end. Does nothing when stopped."""
        running, self._running = self._running, None
        if running is not None:
            running.stop()

    def restart(self) -> None:
        """Cut every connection and serve again on the same port."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await trio.to_thread.run_sync(self.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True):  # stopping is quick, whatever clients do
            await trio.to_thread.run_sync(self.stop)


embedded_sftp_server = EmbeddedSftpServer
"""``with embedded_sftp_server(root, **settings) as server:`` serves ``root`` for the length of the block."""


def _private_key(exported: bytes) -> asyncssh.SSHKey:
    import asyncssh

    return asyncssh.import_private_key(exported)
