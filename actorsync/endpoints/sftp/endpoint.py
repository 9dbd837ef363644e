"""A directory on an SFTP server: how a connection is made, who is believed, and who is let in."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import trio

from actorsync.endpoints.sftp.connection import Memory
from actorsync.endpoints.sftp.requests import SftpWire
from actorsync.endpoints.sftp.session import Server, SftpSession
from actorsync.endpoints.shared.paths import absolute_root
from actorsync.endpoints.ssh.asyncio_thread import AsyncioLoop, AsyncioThread
from actorsync.endpoints.ssh.channel import SshChannel
from actorsync.endpoints.ssh.host_keys import HostKeys, load_client_keys, read_host_keys
from actorsync.endpoints.ssh.login import Credentials, Refusal, fetch_host_key, open_channel
from actorsync.endpoints.ssh.settings import HostTrust, ShownHostKey, SshLogin
from actorsync.errors import ConnectionLost, GuardRefused, LoginLapsed, LoginRefused
from actorsync.model.entry import Entry, Kind, Root
from actorsync.model.text import display
from actorsync.protocols.sftp import dialogues as ask

__all__ = ["LANES", "SftpEndpoint"]

#: Files in flight on one connection. Measured at a round trip of 50 ms; see docs/performance.md.
LANES = 64


@attrs.define(eq=False)
class SftpEndpoint:
    """A directory on an SFTP server. ``path`` is relative to where the login leads, or absolute.

    The first login happens alone: while it is not known to be accepted, no other connection tries, because servers
    lock accounts out; what was refused once is not tried again. ``connect_seconds`` bounds connecting and logging in;
    a server that says nothing for ``stall_seconds`` is gone. With ``fsync`` every file is on the server's disk before
    it gets its name, where the server can do that.
    """

    host: str
    login: SshLogin
    trust: HostTrust
    port: int = 22
    path: str = ""
    lanes: int = LANES
    fsync: bool = False
    connect_seconds: float = 30.0
    stall_seconds: float = 60.0
    _thread: AsyncioThread = attrs.field(factory=AsyncioThread, init=False, repr=False)
    _memory: Memory = attrs.field(factory=Memory, init=False, repr=False)
    _gate: trio.Lock = attrs.field(factory=trio.Lock, init=False, repr=False)
    _is_welcome: bool = attrs.field(default=False, init=False)
    _refusal: str | None = attrs.field(default=None, init=False)
    _credentials: Credentials | None = attrs.field(default=None, init=False, repr=False)
    _hosts: HostKeys | None = attrs.field(default=None, init=False, repr=False)

    @property
    def is_remote(self) -> bool:
        """Its sessions are connections."""
        return True

    @property
    def display(self) -> str:
        """Name the place, without secrets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == 22 else f":{self.port}"
        return display(f"sftp://{self.login.user}@{host}{port}/{self.path}")

    async def identify(self) -> Root:
        """Say that the root is a directory; a server cannot tell one file system from another."""
        async with self.open_session() as session:
            found = await session.list_directory("")
        if found.problem is not None:
            raise GuardRefused(f"{self.display} cannot be listed: {found.problem.reason}")
        return Root(Entry("", Kind.DIRECTORY))

    async def show_host_key(self) -> ShownHostKey:
        """Ask the server for its host key, without logging in, and say what the user's files say of it.

        Raises:
            ConnectionLost: there is no SSH server to be reached.
        """
        try:
            with trio.fail_after(self.connect_seconds):
                async with self._thread.held() as loop:
                    return await fetch_host_key(loop, (self.host, self.port), self._host_keys())
        except trio.TooSlowError:
            raise ConnectionLost("no answer in time") from None

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[SftpSession]:
        """Connect, check the host key, log in, and start SFTP."""
        async with self._thread.held() as loop, AsyncExitStack() as stack:
            wire = SftpWire(self.stall_seconds)
            async with self._turn():
                try:
                    with trio.fail_after(self.connect_seconds):
                        channel = await self._log_in(loop, stack, wire)
                        extensions = await wire.begin(channel)
                        home = "/" if self.path.startswith("/") else await wire.play(ask.home())
                except trio.TooSlowError:
                    raise ConnectionLost(f"{self.host}:{self.port}: no answer in time") from None
                self._is_welcome = True
            server = Server(channel.description, absolute_root(home, self.path), extensions)
            yield SftpSession(wire, server, fsync=self.fsync, memory=self._memory)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Log in alone until somebody was let in."""
        if not self._is_welcome:
            async with self._gate:
                if not self._is_welcome:
                    yield
                    return
        yield

    async def _log_in(self, loop: AsyncioLoop, stack: AsyncExitStack, wire: SftpWire) -> SshChannel:
        if self._refusal is not None:
            raise LoginRefused(self._refusal)
        try:
            if self._credentials is None:
                self._credentials = await trio.to_thread.run_sync(self._prepare, abandon_on_cancel=True)
            opening = open_channel(
                loop, (self.host, self.port), self._host_keys(), self._credentials, wire.feed, wire.lose
            )
            return await stack.enter_async_context(opening)
        except Refusal as refused:
            if self._is_welcome:  # the same words were good before in this run
                raise LoginLapsed(str(refused)) from None
            self._refusal = f"{self.display}: {refused}"
        except LoginRefused as refused:
            self._refusal = f"{self.display}: {refused}"
        raise LoginRefused(self._refusal) from None

    def _host_keys(self) -> HostKeys:
        if self._hosts is None:
            self._hosts = read_host_keys(self.host, self.port, self.trust)
        return self._hosts

    def _prepare(self) -> Credentials:
        """Gather what to log in with. May block: a secret may be asked for on a terminal."""
        login = self.login
        uses_agent = login.agent if login.agent is not None else login.key_file is None and login.password is None
        return Credentials(
            login.user,
            load_client_keys(login, lambda: _reveal(login.passphrase)),
            os.environ.get("SSH_AUTH_SOCK") or None if uses_agent else None,
            _reveal(login.password),
        )


def _reveal(secret: Callable[[], str] | None) -> str | None:
    return None if secret is None else secret()
