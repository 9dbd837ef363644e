"""The SFTP endpoint: how a session is opened, with the first login before all others."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import trio

from actorsync.endpoints.contract import Capabilities
from actorsync.endpoints.sftp.connection import Knowledge, Server, SftpConnection
from actorsync.endpoints.sftp.requests import RequestPipeline
from actorsync.endpoints.sftp.session import SftpSession
from actorsync.endpoints.shared.paths import absolute_root
from actorsync.endpoints.shared.proxy import Proxy
from actorsync.endpoints.ssh.asyncio_thread import AsyncioLoop, AsyncioThread
from actorsync.endpoints.ssh.channel import SshChannel
from actorsync.endpoints.ssh.host_keys import HostKeys, load_client_keys, read_host_keys
from actorsync.endpoints.ssh.login import Credentials, CredentialsRejected, fetch_host_key, open_channel
from actorsync.endpoints.ssh.settings import HostTrust, ShownHostKey, SshLogin
from actorsync.errors import ConnectionLost, GuardRefused, LoginLapsed, LoginRefused
from actorsync.model.entry import Entry, Kind, Root
from actorsync.model.text import display
from actorsync.model.traits import Traits
from actorsync.protocols.greetings import OtherService
from actorsync.protocols.sftp import dialogues as ask

__all__ = ["LANES", "SftpEndpoint"]

#: Files in flight on one connection. Measured at a round trip of 50 ms; see docs/performance.md.
LANES = 64


@attrs.define(eq=False)
class SftpEndpoint:
    """A directory on an SFTP server. ``path`` is relative to the login directory, or absolute.

    The first login is made alone, and a refused login is not repeated, because servers lock accounts after failed
    logins. ``connect_seconds`` bounds connecting and logging in together. A connection without a byte from the server
    for ``stall_seconds`` is lost. With ``fsync``, each file is flushed to the server's disk before it gets its final
    name, where the server supports that.
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
    proxy: Proxy | None = None
    """The proxy that connections go through."""
    traits: Traits = attrs.field(factory=Traits, init=False, repr=False)
    _thread: AsyncioThread = attrs.field(factory=AsyncioThread, init=False, repr=False)
    _knowledge: Knowledge = attrs.field(factory=Knowledge, init=False, repr=False)
    _first_login: trio.Lock = attrs.field(factory=trio.Lock, init=False, repr=False)
    _is_accepted: bool = attrs.field(default=False, init=False)
    _refusal: str | None = attrs.field(default=None, init=False)
    _credentials: Credentials | None = attrs.field(default=None, init=False, repr=False)
    _host_keys: HostKeys | None = attrs.field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._knowledge.folding.traits = self.traits

    @property
    def capabilities(self) -> Capabilities:
        """As many lanes as the profile says."""
        return Capabilities(lanes=self.lanes, is_remote=True)

    @property
    def display(self) -> str:
        """Return the URL, without secrets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == 22 else f":{self.port}"
        return display(f"sftp://{self.login.user}@{host}{port}/{self.path}")

    async def identify(self) -> Root:
        """Check that the root is a directory. SFTP does not identify file systems, so the result has no identity."""
        async with self.open_session() as session:
            found = await session.list_directory("")
        if found.problem is not None:
            raise GuardRefused(
                f"{self.display} cannot be listed: {found.problem.reason}; check the path and its permissions"
            )
        return Root(Entry("", Kind.DIRECTORY))

    async def show_host_key(self) -> ShownHostKey:
        """Ask the server for its host key, without logging in, and compare it with the user's known_hosts files.

        Raises:
            LoginRefused: the server is no SSH server.
            ConnectionLost: no SSH server could be reached.
        """
        try:
            with trio.fail_after(self.connect_seconds):
                async with self._thread.running() as loop:
                    return await fetch_host_key(loop, (self.host, self.port), self._read_host_keys(), self.proxy)
        except OtherService as other:
            raise LoginRefused(f"{self.display}: {other}") from None
        except trio.TooSlowError:
            raise ConnectionLost("no answer in time") from None

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[SftpSession]:
        """Connect, check the host key, log in, and start SFTP."""
        async with self._thread.running() as loop, AsyncExitStack() as stack:
            requests = RequestPipeline(self.stall_seconds)
            async with self._login_turn():
                try:
                    with trio.fail_after(self.connect_seconds):
                        channel = await self._log_in(loop, stack, requests)
                        extensions = await requests.start(channel)
                        start = "/" if self.path.startswith("/") else await requests.run(ask.login_directory())
                except trio.TooSlowError:
                    raise ConnectionLost(f"{self.host}:{self.port}: no answer in time") from None
                self._is_accepted = True
            server = Server(channel.description, absolute_root(start, self.path), extensions)
            yield SftpSession(SftpConnection(requests, server, self.fsync, self._knowledge))

    @asynccontextmanager
    async def _login_turn(self) -> AsyncIterator[None]:
        """Admit one login at a time until one was accepted, and then all at once."""
        if not self._is_accepted:
            async with self._first_login:
                if not self._is_accepted:
                    yield
                    return
        yield

    async def _log_in(self, loop: AsyncioLoop, stack: AsyncExitStack, requests: RequestPipeline) -> SshChannel:
        if self._refusal is not None:
            raise LoginRefused(self._refusal)
        try:
            if self._credentials is None:
                self._credentials = await trio.to_thread.run_sync(self._prepare, abandon_on_cancel=True)
            try:
                return await self._open_channel(loop, stack, requests, self._credentials)
            except OtherService:
                if self._is_accepted:
                    raise
            # One look is not enough to end a run: look again, over another connection.
            return await self._open_channel(loop, stack, requests, self._credentials)
        except OtherService as other:
            if self._is_accepted:
                raise
            self._refusal = f"{self.display}: {other}"
        except CredentialsRejected as refused:
            if self._is_accepted:  # the same credentials were accepted before in this run
                raise LoginLapsed(str(refused)) from None
            self._refusal = f"{self.display}: {refused}"
        except LoginRefused as refused:
            self._refusal = f"{self.display}: {refused}"
        raise LoginRefused(self._refusal) from None

    async def _open_channel(
        self, loop: AsyncioLoop, stack: AsyncExitStack, requests: RequestPipeline, credentials: Credentials
    ) -> SshChannel:
        address, hosts = (self.host, self.port), self._read_host_keys()
        opening = open_channel(loop, address, hosts, credentials, requests.feed, requests.lose, self.proxy)
        return await stack.enter_async_context(opening)

    def _read_host_keys(self) -> HostKeys:
        if self._host_keys is None:
            self._host_keys = read_host_keys(self.host, self.port, self.trust)
        return self._host_keys

    def _prepare(self) -> Credentials:
        """Load the keys and secrets to log in with. May block: a secret may be asked for on a terminal."""
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
