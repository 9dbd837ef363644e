"""The SFTP endpoint: how a session is opened, with the first login before all others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import trio

from actorsync.classes import define
from actorsync.endpoints.contract import Capabilities
from actorsync.endpoints.sftp.session import SftpSession
from actorsync.endpoints.sftp.wire.connection import Knowledge, Server, SftpConnection
from actorsync.endpoints.sftp.wire.host import Host
from actorsync.endpoints.sftp.wire.requests import RequestPipeline
from actorsync.endpoints.shared.paths import absolute_root, sftp_url_path
from actorsync.endpoints.shared.proxy import Proxy
from actorsync.endpoints.ssh.access import SshAccess
from actorsync.endpoints.ssh.asyncio_thread import AsyncioThread
from actorsync.endpoints.ssh.channel import SshChannel
from actorsync.endpoints.ssh.settings import HostTrust, JumpHost, ShownHostKey, SshLogin
from actorsync.endpoints.ssh.subsystem import CLOSED, SftpNotStarted
from actorsync.errors import ConnectionLost, GuardRefused, LoginRefused, ProfileError
from actorsync.model.entry import Entry, Kind, Root
from actorsync.model.text import display
from actorsync.model.traits import Traits
from actorsync.protocols.sftp import dialogues as ask
from actorsync.protocols.sftp.replies import Attributes, Reply

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
    _thread: AsyncioThread = attrs.field(factory=AsyncioThread, init=False, repr=False)
    _knowledge: Knowledge = attrs.field(init=False, repr=False)
    _access: SshAccess = attrs.field(init=False, repr=False)
    _host: Host = attrs.field(init=False, repr=False)
    _has_started: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._knowledge = Knowledge(outside=self.outside)
        self._knowledge.folding.traits = self.traits
        self._host = Host(self.traits)
        address = (self.host, self.port)
        self._access = SshAccess(
            self.display, address, self.login, self.trust, self.jump, self.connect_seconds, self.proxy
        )

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
        self._knowledge.symlink_guard.forget()

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
        index %= len(self.servers)
        try:
            with trio.fail_after(self._access.total_seconds):
                async with self._thread.running() as loop:
                    return await self._access.show_host_key(loop, index, wanted)
        except trio.TooSlowError:
            raise ConnectionLost("no answer in time") from None

    @asynccontextmanager
    async def logged_in(self) -> AsyncIterator[None]:
        """Keep one login for all sessions inside the block, if each login needs a code; else do nothing.

        Logs in at once, while the code is fresh. If that fails, the first session raises the error.
        """
        if not self._access.is_shared:
            yield
            return
        async with self._thread.running() as loop, self._access.kept(loop):
            yield

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[SftpSession]:
        """Connect, check the host key, log in, and start SFTP.

        If the server accepts the login and provides no SFTP, and has provided none before, this is confirmed over a
        second connection, and then counts as a refused login.
        """
        async with AsyncExitStack() as stack:
            try:
                session = await stack.enter_async_context(self._open_session())
            except SftpNotStarted:
                if self._has_started:
                    raise
                try:
                    session = await stack.enter_async_context(self._open_session())
                except SftpNotStarted as confirmed:
                    raise LoginRefused(f"{self.display}: {confirmed}") from None
            self._has_started = True
            yield session

    async def _start(self, requests: RequestPipeline, channel: SshChannel) -> dict[str, str]:
        """Negotiate the version over an open channel, and return the extensions."""
        try:
            return await requests.start(channel)
        except ConnectionLost as lost:
            if requests.sent_text:
                raise SftpNotStarted(str(lost)) from None
            if channel.was_closed:
                raise SftpNotStarted(CLOSED) from None
            raise

    async def _is_below_login(self, requests: RequestPipeline, start: str, found: Sequence[Reply]) -> bool:
        """Return whether the root is missing, and is a directory below the login directory instead.

        ``found`` are the replies to the first look at both. That nothing is at the root is confirmed by a second look.
        """
        at_root, below = found
        if not isinstance(below, Attributes) or below.kind is not Kind.DIRECTORY or isinstance(at_root, Attributes):
            return False
        if absolute_root(start, self.below_login) == self.path:
            return False  # the login directory is the server's own root
        (is_gone,) = await requests.run(ask.are_gone([self.path]))
        return is_gone

    def _wrong_root(self, start: str) -> ProfileError:
        host = self.display.removesuffix(display(self.path[1:]))
        return ProfileError(
            f"{self.trust.table}.url: {display(self.path)} does not exist on the server, but "
            f"{display(self.below_login)} does in the login directory {display(start)}; write "
            f"{host}{display(sftp_url_path(self.below_login))} for that, or {host}{display(self.path)} to make "
            f"{display(self.path)}"
        )

    @asynccontextmanager
    async def _open_session(self) -> AsyncIterator[SftpSession]:
        async with self._thread.running() as loop, AsyncExitStack() as stack:
            requests = RequestPipeline(self.stall_seconds, self._host)
            async with self._access.turn():
                code = await self._access.prepare()
                try:
                    with trio.fail_after(self._access.total_seconds):
                        opening = self._access.open_channel(loop, code, requests.feed, requests.lose)
                        channel = await stack.enter_async_context(opening)
                        self._host.greet(channel.description.rpartition(", ")[0])  # without the cipher
                        extensions = await self._start(requests, channel)
                        is_first = self.below_login and not self._has_started
                        looks = [self.path, self.below_login] if is_first else []
                        start, limits, found = await requests.run(ask.login_facts(extensions, looks))
                        if found and await self._is_below_login(requests, start, found):
                            raise self._wrong_root(start)
                except trio.TooSlowError:
                    raise ConnectionLost(f"{self.host}:{self.port}: no answer in time") from None
                self._access.is_accepted = True
            requests.handle_limit = limits.handles
            server = Server(
                channel.description,
                absolute_root(start, self.path),
                extensions,
                limits,
                takes_long_packets=self._host.is_known,
                jump_hosts=[f"{it.name}, {said}" for it, said in zip(self.jump, channel.jump_versions, strict=True)],
            )
            yield SftpSession(SftpConnection(requests, server, self.fsync, self._knowledge))
