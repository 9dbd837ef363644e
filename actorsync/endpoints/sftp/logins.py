"""How the sessions of an SFTP endpoint are opened: the first login before all others, and the root that it finds.

Apart from the endpoint, because asyncssh is slow to import, and a run with nothing to do may need no connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import trio

from actorsync.classes import define
from actorsync.endpoints.sftp.session import SftpSession
from actorsync.endpoints.sftp.wire.connection import Knowledge, Server, SftpConnection
from actorsync.endpoints.sftp.wire.host import Host
from actorsync.endpoints.sftp.wire.requests import RequestPipeline
from actorsync.endpoints.shared.paths import absolute_root, sftp_url_path
from actorsync.endpoints.ssh.access import SshAccess
from actorsync.endpoints.ssh.asyncio_thread import AsyncioThread
from actorsync.endpoints.ssh.channel import SshChannel
from actorsync.endpoints.ssh.settings import ShownHostKey
from actorsync.endpoints.ssh.subsystem import CLOSED, SftpNotStarted
from actorsync.errors import ConnectionLost, LoginRefused, ProfileError
from actorsync.model.entry import Kind
from actorsync.model.text import display
from actorsync.model.traits import Traits
from actorsync.protocols.sftp import dialogues as ask
from actorsync.protocols.sftp.replies import Attributes, Reply

__all__ = ["Logins"]


@define(eq=False)
class Logins:
    """Opens the sessions of one endpoint, and remembers what they find out about the server.

    See `SftpEndpoint` for ``path``, ``below_login``, ``fsync``, ``stall_seconds`` and ``outside``.
    """

    access: SshAccess
    traits: Traits
    path: str
    below_login: str
    fsync: bool
    stall_seconds: float
    outside: str
    _thread: AsyncioThread = attrs.field(factory=AsyncioThread, init=False, repr=False)
    _knowledge: Knowledge = attrs.field(init=False, repr=False)
    _host: Host = attrs.field(init=False, repr=False)
    _has_started: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._knowledge = Knowledge(outside=self.outside)
        self._knowledge.folding.traits = self.traits
        self._host = Host(self.traits)

    def begin_pass(self) -> None:
        """Forget what was seen of the tree."""
        self._knowledge.symlink_guard.forget()

    async def show_host_key(self, index: int, wanted: Collection[str]) -> ShownHostKey:
        """Ask a server for its host key. See `SftpEndpoint.show_host_key`."""
        try:
            with trio.fail_after(self.access.total_seconds):
                async with self._thread.running() as loop:
                    return await self.access.show_host_key(loop, index, wanted)
        except trio.TooSlowError:
            raise ConnectionLost("no answer in time") from None

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Keep one login for all sessions inside the block. If it fails, the first session raises the error."""
        async with self._thread.running() as loop, self.access.kept(loop):
            yield

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[SftpSession]:
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
                    raise LoginRefused(f"{self.access.name}: {confirmed}") from None
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
        host = self.access.name.removesuffix(display(self.path[1:]))
        return ProfileError(
            f"{self.access.trust.table}.url: {display(self.path)} does not exist on the server, but "
            f"{display(self.below_login)} does in the login directory {display(start)}; write "
            f"{host}{display(sftp_url_path(self.below_login))} for that, or {host}{display(self.path)} to make "
            f"{display(self.path)}"
        )

    @asynccontextmanager
    async def _open_session(self) -> AsyncIterator[SftpSession]:
        async with self._thread.running() as loop, AsyncExitStack() as stack:
            requests = RequestPipeline(self.stall_seconds, self._host)
            async with self.access.turn():
                code = await self.access.prepare()
                try:
                    with trio.fail_after(self.access.total_seconds):
                        opening = self.access.open_channel(loop, code, requests.feed, requests.lose)
                        channel = await stack.enter_async_context(opening)
                        self._host.greet(channel.description.rpartition(", ")[0])  # without the cipher
                        extensions = await self._start(requests, channel)
                        is_first = self.below_login and not self._has_started
                        looks = [self.path, self.below_login] if is_first else []
                        start, limits, found = await requests.run(ask.login_facts(extensions, looks))
                        if found and await self._is_below_login(requests, start, found):
                            raise self._wrong_root(start)
                except trio.TooSlowError:
                    host, port = self.access.address
                    raise ConnectionLost(f"{host}:{port}: no answer in time") from None
                self.access.is_accepted = True
            requests.handle_limit = limits.handles
            server = Server(
                channel.description,
                absolute_root(start, self.path),
                extensions,
                limits,
                takes_long_packets=self._host.is_known,
                jump_hosts=[
                    f"{it.name}, {said}" for it, said in zip(self.access.jump, channel.jump_versions, strict=True)
                ],
            )
            yield SftpSession(SftpConnection(requests, server, self.fsync, self._knowledge))
