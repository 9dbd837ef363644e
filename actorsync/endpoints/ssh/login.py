"""How an SSH connection is made: who is believed, who logs in, and what ways of speaking are good enough."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from actorsync.endpoints.shared.resource_limits import is_own_limit, unopened
from actorsync.endpoints.ssh.asyncio_thread import AsyncioLoop
from actorsync.endpoints.ssh.batching_transport import ConnectedSocket
from actorsync.endpoints.ssh.channel import SshChannel, SshSession, reason_of
from actorsync.endpoints.ssh.host_keys import HostKeys
from actorsync.endpoints.ssh.import_asyncssh import asyncssh
from actorsync.endpoints.ssh.settings import ShownHostKey
from actorsync.errors import ConnectionLost, LoginRefused, TooManyConnections

__all__ = ["Credentials", "Refusal", "fetch_host_key", "open_channel"]

#: A peer that says nothing at all for so long, not even to "are you there?", is gone.
_KEEPALIVE_SECONDS, _KEEPALIVE_COUNT = 15, 3

#: The quick ones first (processors do them by themselves); the library offers no CBC. No SHA-1 anywhere. Against
#: Terrapin (CVE-2023-48795) there is strict key exchange, which every release of asyncssh that we accept does.
_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"
_MACS = "-*sha1*,umac-64*"
_KEX = "-*sha1*"
_SIGNATURES = "-ssh-rsa,ssh-dss"

logging.getLogger("asyncssh").addHandler(logging.NullHandler())  # else its warnings end up on standard error


class Refusal(Exception):
    """The server, or we, refuse the login: it will not be better the next time."""


@attrs.frozen
class Credentials:
    """What to log in with: keys in memory, the agent's socket, a password. None of it is ever shown."""

    user: str
    keys: list[asyncssh.SSHKeyPair] = attrs.field(repr=False)
    agent: str | None = None
    password: str | None = attrs.field(default=None, repr=False)


class _Client(asyncssh.SSHClient):
    """Who is asked while a connection is made: about the host key, and for the password, once."""

    def __init__(self, hosts: HostKeys | None, password: str | None) -> None:
        self._hosts = hosts
        self._password = password
        self.shown: asyncssh.SSHKey | None = None
        self.has_greeted = False

    def begin_auth(self, username: str) -> None:  # noqa: ARG002
        """Take note that the server is ready to hear who we are."""
        self.has_greeted = True

    def validate_host_public_key(
        self,
        host: str,  # noqa: ARG002
        addr: str,  # noqa: ARG002
        port: int,  # noqa: ARG002
        key: asyncssh.SSHKey,
    ) -> bool:
        """Judge a key that is not among those that the files trust."""
        self.shown = key
        return self._hosts is not None and self._hosts.standing(key) == "known"

    def password_auth_requested(self) -> str | None:
        password, self._password = self._password, None
        return password

    def kbdint_auth_requested(self) -> str | None:
        return None if self._password is None else ""

    def kbdint_challenge_received(
        self,
        name: str,  # noqa: ARG002
        instructions: str,  # noqa: ARG002
        lang: str,  # noqa: ARG002
        prompts: Sequence[tuple[str, bool]],
    ) -> list[str] | None:
        """Answer the one question that has a password as its answer."""
        if not prompts:
            return []
        if len(prompts) > 1 or prompts[0][1] or self._password is None:
            return None
        password, self._password = self._password, None
        return [password]


async def _tcp(host: str, port: int) -> ConnectedSocket:
    """Connect. On trio, whose lookup of names can be left behind when it hangs."""
    try:
        stream = await trio.open_tcp_stream(host, port)
    except OSError as error:
        cause = error.__cause__
        if isinstance(cause, BaseExceptionGroup):  # one for each address of the host
            cause = cause.exceptions[0]
        cause = cause if isinstance(cause, OSError) else error
        raise unopened(f"{host}:{port}: {reason_of(cause)}", cause) from error
    try:
        descriptor = os.dup(stream.socket.fileno())
    except OSError as error:
        raise unopened(f"{host}:{port}: {reason_of(error)}", error) from error
    finally:
        await trio.aclose_forcefully(stream)
    return ConnectedSocket(socket.socket(fileno=descriptor))


async def _connect(
    way: ConnectedSocket, hosts: HostKeys, credentials: Credentials, clients: list[_Client], *, believes: bool = True
) -> asyncssh.SSHClientConnection:
    """Shake hands and log in, in the asyncio thread. Nothing of the user's ``~/.ssh/config`` takes part.

    One that does not ``believe`` refuses every host key, and has then been shown it.
    """

    def known(*_: object) -> tuple[Sequence[asyncssh.SSHKey], ...]:
        return (hosts.trusted, hosts.authorities, hosts.revoked) if believes else ((), (), ())

    def make_client() -> _Client:
        clients.append(_Client(hosts if believes else None, credentials.password))
        return clients[-1]

    async with _agent_keys(credentials.agent) as agent_keys:
        connection, _ = await asyncssh.create_connection(
            make_client,
            hosts.name,
            tunnel=way,
            config=None,
            known_hosts=known,
            username=credentials.user,
            client_keys=[*credentials.keys, *agent_keys] or None,
            agent_path=None,
            preferred_auth=("publickey", "password", "keyboard-interactive"),
            gss_host=None,
            x509_trusted_certs=None,
            server_host_key_algs=hosts.algorithms,
            encryption_algs=_CIPHERS,
            mac_algs=_MACS,
            kex_algs=_KEX,
            signature_algs=_SIGNATURES,
            compression_algs=None,
            keepalive_interval=_KEEPALIVE_SECONDS,
            keepalive_count_max=_KEEPALIVE_COUNT,
            connect_timeout=None,
            login_timeout=None,
        )
        return connection


@asynccontextmanager
async def _agent_keys(path: str | None) -> AsyncIterator[Sequence[asyncssh.SSHKeyPair]]:
    """Give what the agent holds, for as long as it has to sign for us. One that does not answer holds nothing."""
    agent: asyncssh.SSHAgentClient | None = None
    keys: Sequence[asyncssh.SSHKeyPair] = ()
    if path is not None:
        with contextlib.suppress(OSError, ValueError):
            agent = await asyncssh.connect_agent(path)
            keys = await agent.get_keys()
    try:
        yield keys
    finally:
        if agent is not None:
            agent.close()


@asynccontextmanager
async def open_channel(
    loop: AsyncioLoop,
    address: tuple[str, int],
    hosts: HostKeys,
    credentials: Credentials,
    on_data: Callable[[bytes], None],
    on_lost: Callable[[str], None],
) -> AsyncIterator[SshChannel]:
    """Connect, check the host key, log in, and open the channel. Left by an error, the connection is cut.

    Raises:
        LoginRefused: the server is not who it should be. Nothing was sent to it.
        Refusal: the server does not let us in.
        TooManyConnections: the server has enough of them, by the look of it.
        ConnectionLost: anything else that may be better the next time.
    """
    channel = SshChannel(loop, on_data, on_lost)
    clients: list[_Client] = []
    way = await _tcp(*address)

    async def work() -> asyncssh.SSHClientConnection:
        connection = await _connect(way, hosts, credentials, clients)
        try:
            opened, _ = await connection.create_session(lambda: SshSession(channel), subsystem="sftp", encoding=None)
        except BaseException:
            connection.abort()
            raise
        channel.attach(connection, opened)
        return connection

    try:
        await loop.run(work, discard=lambda connection: connection.abort())
    except trio.Cancelled:
        loop.post(way.discard)
        raise
    except asyncssh.HostKeyNotVerifiable as error:
        shown = clients[-1].shown if clients else None
        raise LoginRefused(hosts.why_refused(shown) if shown is not None else reason_of(error)) from None
    except asyncssh.PermissionDenied as error:
        raise Refusal(f"the server refuses the login of {credentials.user}: {reason_of(error)}") from None
    except asyncssh.KeyExchangeFailed as error:
        raise LoginRefused(
            f"the server only speaks SSH in ways that are not safe any more: {reason_of(error)}"
        ) from None
    except asyncssh.ChannelOpenError as error:
        raise TooManyConnections(f"the server starts no SFTP: {reason_of(error)}") from error
    except (OSError, asyncssh.Error, ValueError) as error:
        if is_own_limit(error):
            raise unopened(reason_of(error), error) from error
        if not clients or not clients[-1].has_greeted:  # so it is with MaxStartups, and with firewalls that count
            raise TooManyConnections(f"turned away before the login: {reason_of(error)}") from error
        raise ConnectionLost(reason_of(error)) from error
    try:
        yield channel
        channel.close()
    except BaseException:
        channel.abort()
        raise


async def fetch_host_key(loop: AsyncioLoop, address: tuple[str, int], hosts: HostKeys) -> ShownHostKey:
    """Ask a server for its host key. Nobody logs in: the connection ends as soon as the key was shown.

    Raises:
        ConnectionLost: there is no SSH server to be reached.
    """
    clients: list[_Client] = []
    way = await _tcp(*address)
    nobody = Credentials("nobody", [])
    try:
        await loop.run(
            lambda: _connect(way, hosts, nobody, clients, believes=False),
            discard=lambda connection: connection.abort(),
        )
    except trio.Cancelled:
        loop.post(way.discard)
        raise
    except (OSError, asyncssh.Error, ValueError) as error:
        if not clients or clients[-1].shown is None:
            raise ConnectionLost(reason_of(error)) from error
    key = clients[-1].shown if clients else None
    if key is None:
        raise ConnectionLost("the server shows no host key")
    return hosts.shown(key)
