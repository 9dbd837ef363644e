"""The SFTP endpoint: where a directory is, and how its server is reached."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from actorsync.classes import define
from actorsync.endpoints.contract import Capabilities
from actorsync.endpoints.shared.paths import sftp_url_path
from actorsync.endpoints.ssh.settings import HostTrust, JumpHost, ShownHostKey, SshLogin
from actorsync.errors import GuardRefused
from actorsync.model.entry import Entry, Kind, Root
from actorsync.model.text import display
from actorsync.model.traits import Traits

if TYPE_CHECKING:
    from actorsync.endpoints.sftp.logins import Logins
    from actorsync.endpoints.sftp.session import SftpSession
    from actorsync.endpoints.shared.proxy import Proxy

__all__ = ["LANES", "SftpEndpoint"]

#: Files in flight on one connection. Measured at a round trip of 50 ms; see docs/performance.md.
LANES = 64


@define(eq=False)
class SftpEndpoint:
    """A directory on an SFTP server. ``path`` is relative to the login directory, or absolute.

    ``below_login`` is what an absolute ``path`` may have been meant to be below the login directory, or empty. If that
    directory is there and ``path`` is not, the first login raises `ProfileError`, and nothing is made at the wrong
    place.

    The first login is made alone, and a refused login is not repeated, because servers lock accounts after failed
    logins. The connection goes through the hosts of ``jump``, in their order. ``connect_seconds`` bounds connecting and
    logging in together, at the server and at each jump host. A connection without a byte from the server for
    ``stall_seconds`` is lost. With ``fsync``, each file is flushed to the server's disk before it gets its final name,
    where the server supports that.
    """

    host: str
    login: SshLogin
    trust: HostTrust
    port: int = 22
    path: str = ""
    below_login: str = ""
    lanes: int = LANES
    fsync: bool = False
    connect_seconds: float = 30.0
    stall_seconds: float = 60.0
    jump: Sequence[JumpHost] = ()
    proxy: Proxy | None = None
    """The proxy that connections go through."""
    outside: str = ""
    """The directory beside the root that old files may go to, as a path that begins with ``../``."""
    traits: Traits = attrs.field(factory=Traits, init=False, repr=False)
    _logins: Logins | None = attrs.field(default=None, init=False, repr=False)

    @property
    def capabilities(self) -> Capabilities:
        """As many lanes as the profile says."""
        return Capabilities(lanes=self.lanes, is_remote=True, keeps_modes=True)

    @property
    def display(self) -> str:
        """Return the URL, without secrets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == 22 else f":{self.port}"
        return display(f"sftp://{self.login.user}@{host}{port}/{sftp_url_path(self.path)}")

    async def identify(self) -> Root:
        """Check that the root is a directory. SFTP does not identify file systems, so the result has no identity."""
        async with self.open_session() as session:
            found = await session.list_directory("")
        if found.problem is not None:
            raise GuardRefused(
                f"{self.display} cannot be listed: {found.problem.reason}; check the path and its permissions"
            )
        return Root(Entry("", Kind.DIRECTORY))

    def begin_pass(self) -> None:
        """Forget what was seen of the tree."""
        if self._logins is not None:
            self._logins.begin_pass()

    @property
    def servers(self) -> Sequence[str]:
        """The servers whose host keys are checked, in this order: the jump hosts, and the server itself."""
        return [*(jump.name for jump in self.jump), self.display]

    async def show_host_key(self, index: int = -1, wanted: Collection[str] = ()) -> ShownHostKey:
        """Ask one of `servers` for its host key, and compare it with the user's known_hosts files.

        Logs in at the jump hosts before it, and nowhere else. If the server has several keys, one with a
        fingerprint in ``wanted`` is preferred.

        Raises:
            ConnectionLost: no SSH server could be reached.
            LoginRefused: it is no SSH server; or a jump host before it is not trusted, or rejects the login.
        """
        logins = await self._ready()
        return await logins.show_host_key(index % len(self.servers), wanted)

    @asynccontextmanager
    async def logged_in(self) -> AsyncIterator[None]:
        """Keep one login for all sessions inside the block, if each login needs a code; else do nothing.

        Logs in at once, while the code is fresh. If that fails, the first session raises the error.
        """
        if self.login.codes is None:
            yield
            return
        logins = await self._ready()
        async with logins.kept():
            yield

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[SftpSession]:
        """Connect, check the host key, log in, and start SFTP.

        If the server accepts the login and provides no SFTP, and has provided none before, this is confirmed over a
        second connection, and then counts as a refused login.
        """
        logins = await self._ready()
        async with logins.opened() as session:
            yield session

    async def _ready(self) -> Logins:
        """Return what opens sessions. Its modules are imported in a thread: the scan goes on meanwhile."""
        if self._logins is None:
            made = await trio.to_thread.run_sync(self._make_logins)
            self._logins = self._logins or made  # all sessions share one
        return self._logins

    def _make_logins(self) -> Logins:
        from actorsync.endpoints.sftp.logins import Logins
        from actorsync.endpoints.ssh.access import SshAccess

        address = (self.host, self.port)
        access = SshAccess(self.display, address, self.login, self.trust, self.jump, self.connect_seconds, self.proxy)
        return Logins(access, self.traits, self.path, self.below_login, self.fsync, self.stall_seconds, self.outside)
