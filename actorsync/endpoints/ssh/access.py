"""How all sessions of an endpoint log in: the route, its credentials, and a login that several sessions share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio

from actorsync.classes import define
from actorsync.endpoints.shared.proxy import Proxy
from actorsync.endpoints.ssh.asyncio_thread import AsyncioLoop
from actorsync.endpoints.ssh.channel import SshChannel
from actorsync.endpoints.ssh.client_keys import load_certificates, load_client_keys
from actorsync.endpoints.ssh.host_keys import read_host_keys
from actorsync.endpoints.ssh.link import Link, open_link
from actorsync.endpoints.ssh.login import Credentials, CredentialsRejected, Stop, fetch_host_key
from actorsync.endpoints.ssh.settings import HostTrust, JumpHost, ShownHostKey, SshLogin
from actorsync.endpoints.ssh.subsystem import open_channel
from actorsync.errors import ConnectionLost, LoginLapsed, LoginRefused, TooManyConnections
from actorsync.protocols.greetings import OtherService

__all__ = ["SshAccess"]

_CHANNEL_SECONDS = 5.0


@define(eq=False)
class SshAccess:
    """Logs in to one server, through jump hosts. A refused login is not repeated, because servers lock accounts.

    ``name`` is how errors name the server. ``seconds`` bounds the login at each stop. ``proxy`` is
    on the way to the first stop. With codes of a second factor, a
    login is shared by all sessions that are open at the same time, and by those inside `kept`.
    """

    name: str
    address: tuple[str, int]
    login: SshLogin
    trust: HostTrust
    jump: Sequence[JumpHost] = ()
    seconds: float = 30.0
    proxy: Proxy | None = None
    is_accepted: bool = attrs.field(default=False, init=False)
    """Whether a session was opened before."""
    _refusal: str | None = attrs.field(default=None, init=False)
    _route: Sequence[Stop] | None = attrs.field(default=None, init=False, repr=False)
    _shared: Link | None = attrs.field(default=None, init=False, repr=False)
    _users: int = attrs.field(default=0, init=False)
    _turn: trio.Lock = attrs.field(factory=trio.Lock, init=False, repr=False)

    @property
    def is_shared(self) -> bool:
        """Whether sessions share a login."""
        return self.login.codes is not None

    @property
    def total_seconds(self) -> float:
        """The longest time that all logins of the route and the first channel may take together.

        It is longer than what a single stop has: that limit names the stop, or the proxy, that does not answer.
        """
        return self.seconds * (1 + len(self.jump)) + _CHANNEL_SECONDS

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Admit one login at a time until one was accepted, and then all at once; shared ones always one at a time."""
        if self.is_shared or not self.is_accepted:
            async with self._turn:
                if self.is_shared or not self.is_accepted:
                    yield
                    return
        yield

    async def prepare(self) -> str | None:
        """Load keys and secrets, which may take as long as the user needs to type; return the code for the next login.

        Raises:
            LoginRefused: a key or a secret cannot be used, or the login was refused before.
        """
        if self._refusal is not None:
            raise LoginRefused(self._refusal)
        with self._noting_refusal():
            await self._stops()
            if self.login.codes is None or self._has_open_link:
                return None
            return await trio.to_thread.run_sync(self.login.codes.next, abandon_on_cancel=True)

    @asynccontextmanager
    async def open_channel(
        self, loop: AsyncioLoop, code: str | None, on_data: Callable[[bytes], None], on_lost: Callable[[str], None]
    ) -> AsyncIterator[SshChannel]:
        """Log in with what `prepare` returned, or use the shared login, and open a channel for SFTP.

        Raises as `open_link` and `subsystem.open_channel` do, but `LoginRefused` or `LoginLapsed` for rejected
        credentials.
        """
        if not self.is_shared:
            link = await self._log_in(loop, code)
            async with open_channel(loop, link, on_data, on_lost) as channel:
                yield channel
            return
        is_open = False
        async with self._sharing(loop):
            if not self._has_open_link:
                self._shared = await self._log_in(loop, code)
            assert self._shared is not None
            try:
                async with open_channel(loop, self._shared, on_data, on_lost, is_shared=True) as channel:
                    is_open = True
                    yield channel
            except BaseException as error:
                if not is_open and not isinstance(error, TooManyConnections):  # the server does not answer any more
                    self._drop(loop)
                raise

    @asynccontextmanager
    async def kept(self, loop: AsyncioLoop) -> AsyncIterator[None]:
        """Log in at once, while a code is fresh, and keep that login for all sessions inside the block.

        A failure is not raised here: the first session meets it again, and reports it.
        """
        async with self._sharing(loop):
            with contextlib.suppress(ConnectionLost, LoginRefused):
                async with self.turn():
                    if not self._has_open_link:
                        self._shared = await self._log_in(loop, await self.prepare())
            yield

    async def show_host_key(self, loop: AsyncioLoop, index: int, wanted: Collection[str]) -> ShownHostKey:
        """Return the host key of a server of the route: a jump host, or after them the server itself.

        Logs in at the jump hosts before it, and not at the server. ``wanted`` are fingerprints; see `fetch_host_key`.
        """
        plan = partial(self._plan_route, logins=index)
        *way, stop = (await trio.to_thread.run_sync(plan, abandon_on_cancel=True))[: index + 1]
        if stop.hosts.trust.host_key is not None:
            wanted = {stop.hosts.trust.host_key}
        try:
            if not way:
                return await fetch_host_key(loop, stop, None, wanted)
            with self._noting_refusal():
                link = await open_link(loop, way)
            try:
                return await fetch_host_key(loop, stop, link.server, wanted)
            finally:
                loop.post(link.close)
        except OtherService as other:
            raise LoginRefused(f"{self.name}: {other}") from None

    async def _stops(self) -> Sequence[Stop]:
        if self._route is None:
            self._route = await trio.to_thread.run_sync(self._plan_route, abandon_on_cancel=True)
        return self._route

    def _plan_route(self, logins: int | None = None) -> Sequence[Stop]:
        """Load the host keys of all stops, and the keys and secrets of the first ``logins``; None for all of them.

        May block: a secret may be asked for on a terminal.
        """
        keys_only, trust = attrs.evolve(self.login, password=None, codes=None), attrs.evolve(self.trust, host_key=None)
        servers = [
            *(
                ((jump.host, jump.port), attrs.evolve(keys_only, user=jump.user, identity_files=jump.identity_files))
                for jump in self.jump
            ),
            (self.address, self.login),
        ]
        names = ["", *(jump.name for jump in self.jump), ""]
        stops = []
        for number, (address, login) in enumerate(servers):
            is_last = address is self.address
            hosts = read_host_keys(*address, self.trust if is_last else trust)
            needs_login = logins is None or number < logins
            credentials = _credentials(login) if needs_login else Credentials(login.user, [])
            proxy = self.proxy if number == 0 else None
            stops.append(Stop(*address, hosts, credentials, names[number + 1], names[number], self.seconds, proxy))
        return stops

    async def _log_in(self, loop: AsyncioLoop, code: str | None) -> Link:
        with self._noting_refusal():
            route = await self._stops()
            try:
                return await open_link(loop, route, code)
            except OtherService:
                if self.is_accepted:
                    raise
            # One look is not enough to end a run: look again, over another connection.
            return await open_link(loop, route, code)

    @contextlib.contextmanager
    def _noting_refusal(self) -> Iterator[None]:
        try:
            yield
        except CredentialsRejected as refused:
            if self.is_accepted:  # the same credentials were accepted before in this run
                raise LoginLapsed(str(refused)) from None
            self._refusal = f"{self.name}: {refused}"
        except OtherService as other:
            if self.is_accepted:
                raise
            self._refusal = f"{self.name}: {other}"
        except LoginRefused as refused:
            self._refusal = f"{self.name}: {refused}"
        else:
            return
        raise LoginRefused(self._refusal) from None

    @property
    def _has_open_link(self) -> bool:
        return self._shared is not None and self._shared.is_open

    @asynccontextmanager
    async def _sharing(self, loop: AsyncioLoop) -> AsyncIterator[None]:
        """Close the shared login when the last block is left."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._drop(loop)

    def _drop(self, loop: AsyncioLoop) -> None:
        link, self._shared = self._shared, None
        if link is not None:
            loop.post(link.close)


def _credentials(login: SshLogin) -> Credentials:
    uses_agent = login.agent if login.agent is not None else login.key_file is None and login.password is None
    return Credentials(
        login.user,
        load_client_keys(login, lambda: _reveal(login.passphrase)),
        os.environ.get("SSH_AUTH_SOCK") or None if uses_agent else None,
        _reveal(login.password),
        load_certificates(login) if uses_agent else (),
        login.codes,
    )


def _reveal(secret: Callable[[], str] | None) -> str | None:
    return None if secret is None else secret()
