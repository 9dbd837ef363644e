"""Opening an SSH connection: the algorithms, the host key check and the login."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from actorsync.endpoints.shared.proxy import Proxy, connect
from actorsync.endpoints.shared.resource_limits import is_own_limit, unopened
from actorsync.endpoints.ssh.asyncio_thread import AsyncioLoop
from actorsync.endpoints.ssh.batching_transport import ConnectedSocket
from actorsync.endpoints.ssh.channel import SshChannel, SshSession, reason_of
from actorsync.endpoints.ssh.host_keys import HostKeys
from actorsync.endpoints.ssh.import_asyncssh import asyncssh
from actorsync.endpoints.ssh.settings import ShownHostKey
from actorsync.errors import ConnectionLost, LoginRefused, TooManyConnections

__all__ = ["Credentials", "CredentialsRejected", "fetch_host_key", "open_channel"]

#: The connection is lost after so many keepalive requests without an answer.
_KEEPALIVE_SECONDS, _KEEPALIVE_COUNT = 15, 3

#: AES-GCM first, because processors accelerate it. asyncssh offers no CBC, and SHA-1 is excluded everywhere. Strict key
#: exchange protects against Terrapin (CVE-2023-48795); every accepted release of asyncssh supports it.
_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"
_MACS = "-*sha1*,umac-64*"
_KEX = "-*sha1*"
_SIGNATURES = "-ssh-rsa,ssh-dss"

logging.getLogger("asyncssh").addHandler(logging.NullHandler())  # otherwise its warnings go to standard error


class CredentialsRejected(Exception):
    """The server rejected the credentials. Another attempt with the same credentials fails as well."""


@attrs.frozen
class Credentials:
    """The credentials of a login: keys in memory, the agent's socket, a password. ``repr`` shows no secret."""

    user: str
    keys: list[asyncssh.SSHKeyPair] = attrs.field(repr=False)
    agent: str | None = None
    password: str | None = attrs.field(default=None, repr=False)


class _Client(asyncssh.SSHClient):
    """The callbacks of asyncssh during the handshake: they check the host key, and give the password once."""

    def __init__(self, hosts: HostKeys | None, password: str | None) -> None:
        self._hosts = hosts
        self._password = password
        self.shown: asyncssh.SSHKey | None = None
        self.is_authenticating = False

    def begin_auth(self, username: str) -> None:  # noqa: ARG002
        """Record that the server accepts authentication requests."""
        self.is_authenticating = True

    def validate_host_public_key(
        self,
        host: str,  # noqa: ARG002
        addr: str,  # noqa: ARG002
        port: int,  # noqa: ARG002
        key: asyncssh.SSHKey,
    ) -> bool:
        """Decide on a host key that asyncssh did not find among the trusted keys."""
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
        """Answer with the password, if the server asks a single question whose answer is not echoed."""
        if not prompts:
            return []
        if len(prompts) > 1 or prompts[0][1] or self._password is None:
            return None
        password, self._password = self._password, None
        return [password]


async def _tcp(host: str, port: int, proxy: Proxy | None) -> ConnectedSocket:
    """Connect with trio, because its name lookup can be cancelled when it hangs. The caller has a deadline."""
    stream = await connect(host, port, math.inf, proxy)
    try:
        descriptor = os.dup(stream.socket.fileno())
    except OSError as error:
        raise unopened(f"{host}:{port}: {reason_of(error)}", error) from error
    finally:
        await trio.aclose_forcefully(stream)
    return ConnectedSocket(socket.socket(fileno=descriptor))


async def _connect(
    tunnel: ConnectedSocket, hosts: HostKeys, credentials: Credentials, clients: list[_Client], *, trusts: bool = True
) -> asyncssh.SSHClientConnection:
    """Do the handshake and log in, in the asyncio thread, without the user's ``~/.ssh/config``.

    The client of the connection is appended to ``clients``. Without ``trusts``, every host key is refused, and the
    client holds the refused key.
    """

    def known_hosts(*_: object) -> tuple[Sequence[asyncssh.SSHKey], ...]:
        return (hosts.trusted, hosts.authorities, hosts.revoked) if trusts else ((), (), ())

    def make_client() -> _Client:
        clients.append(_Client(hosts if trusts else None, credentials.password))
        return clients[-1]

    async with _agent_keys(credentials.agent) as agent_keys:
        connection, _ = await asyncssh.create_connection(
            make_client,
            hosts.name,
            tunnel=tunnel,
            config=None,
            known_hosts=known_hosts,
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
    """Keep the agent open for signatures, and yield its keys; no keys if the agent does not answer."""
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
    proxy: Proxy | None = None,
) -> AsyncIterator[SshChannel]:
    """Connect, check the host key, log in, and open the channel. An exception in the block aborts the connection.

    Raises:
        OtherService: the server is no SSH server.
        LoginRefused: the host key is not trusted, or the server has no secure algorithms. Nothing was sent to it.
        CredentialsRejected: the server rejected the credentials.
        TooManyConnections: the server closed the connection early, which servers do at their connection limit.
        ConnectionLost: any other failure that may not occur again.
    """
    channel = SshChannel(loop, on_data, on_lost)
    clients: list[_Client] = []
    tunnel = await _tcp(*address, proxy)

    async def work() -> asyncssh.SSHClientConnection:
        connection = await _connect(tunnel, hosts, credentials, clients)
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
        loop.post(tunnel.discard)
        raise
    except (asyncssh.HostKeyNotVerifiable, asyncssh.PermissionDenied, asyncssh.KeyExchangeFailed) as error:
        raise _refused(error, hosts, credentials, clients) from None
    except (OSError, asyncssh.Error, ValueError) as error:
        raise _failed(error, clients) from error
    try:
        yield channel
        channel.close()
    except BaseException:
        channel.abort()
        raise


def _refused(
    error: asyncssh.Error, hosts: HostKeys, credentials: Credentials, clients: Sequence[_Client]
) -> LoginRefused | CredentialsRejected:
    """Return what to raise for an error that would occur again at the next login."""
    reason = reason_of(error)
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        key = clients[-1].shown if clients else None
        return LoginRefused(reason if key is None else hosts.why_refused(key))
    if isinstance(error, asyncssh.PermissionDenied):
        return CredentialsRejected(
            f"the server rejected the login of {credentials.user}: {reason}; check user, key and password"
        )
    return LoginRefused(f"the server supports no secure SSH algorithms: {reason}; upgrade the server's SSH software")


def _failed(error: OSError | asyncssh.Error | ValueError, clients: Sequence[_Client]) -> ConnectionLost:
    """Return what to raise for an error that may not occur again."""
    reason = reason_of(error)
    if isinstance(error, asyncssh.ChannelOpenError):
        return TooManyConnections(f"the server did not start SFTP: {reason}")
    if is_own_limit(error):
        return unopened(reason, error)
    if not clients or not clients[-1].is_authenticating:  # as OpenSSH does at MaxStartups, and firewalls at their limit
        return TooManyConnections(f"the server closed the connection before the login: {reason}")
    return ConnectionLost(reason)


async def fetch_host_key(
    loop: AsyncioLoop, address: tuple[str, int], hosts: HostKeys, proxy: Proxy | None = None
) -> ShownHostKey:
    """Return a server's host key, without a login: the connection ends as soon as the server has sent the key.

    Raises:
        ConnectionLost: no SSH server could be reached.
    """
    clients: list[_Client] = []
    tunnel = await _tcp(*address, proxy)
    nobody = Credentials("nobody", [])  # never sent
    try:
        await loop.run(
            lambda: _connect(tunnel, hosts, nobody, clients, trusts=False),
            discard=lambda connection: connection.abort(),
        )
    except trio.Cancelled:
        loop.post(tunnel.discard)
        raise
    except (OSError, asyncssh.Error, ValueError) as error:
        if not clients or clients[-1].shown is None:
            raise ConnectionLost(reason_of(error)) from error
    key = clients[-1].shown if clients else None
    if key is None:
        raise ConnectionLost("the server sent no host key")
    return hosts.shown(key)
