"""One SSH connection with one channel that speaks SFTP: asyncssh on its own loop, bytes for trio.

asyncssh has the keys, the ciphers, and the SSH packets. What goes through the channel is `protocols.sftp`'s affair: the
SFTP client of asyncssh takes a coroutine for each request, six times the processor time of whole flights in one write.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import groupby

import asyncssh
import attrs
import trio

from actorsync.endpoints.asyncio_thread import AsyncioLoop, Doorbell
from actorsync.endpoints.gathering_socket import ConnectedSocket
from actorsync.endpoints.ssh_keys import HostKeys
from actorsync.endpoints.ssh_policy import ShownHostKey
from actorsync.errors import ConnectionLost, LoginRefused, TooManyConnections
from actorsync.model.text import display, shorten

__all__ = ["Credentials", "Refusal", "SshChannel", "fetch_host_key", "open_channel"]

#: A peer that says nothing at all for so long, not even to "are you there?", is gone.
_KEEPALIVE_SECONDS, _KEEPALIVE_COUNT = 15, 3

#: The quick ones first (processors do them by themselves); the library offers no CBC. No SHA-1 anywhere. Against
#: Terrapin (CVE-2023-48795) there is strict key exchange, which every release of asyncssh that we accept does.
_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"
_MACS = "-*sha1*,umac-64*"
_KEX = "-*sha1*"
_SIGNATURES = "-ssh-rsa,ssh-dss"

#: What is longer than a packet of SSH is written by itself.
_BIG = 32 * 1024

#: What has come in and nobody has read. More than this a server cannot be owed.
_MAX_UNREAD = 16 * 1024 * 1024

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


class SshChannel:
    """The trio end of a channel. ``on_data`` and ``on_lost`` are called in the trio thread."""

    def __init__(self, loop: AsyncioLoop, on_data: Callable[[bytes], None], on_lost: Callable[[str], None]) -> None:
        self._loop, self._on_data, self._on_lost = loop, on_data, on_lost
        self._outbox: list[bytes] = []
        self._inbox: deque[bytes] = deque()
        self._unread = 0
        self._ending: str | None = None
        self._bell = Doorbell(self._empty)
        self._connection: asyncssh.SSHClientConnection | None = None
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self.description = ""

    # In the trio thread.

    def send(self, data: bytes) -> None:
        """Send bytes, after all that was sent before. Never waits: whoever sends much waits for the answers."""
        self._loop.post(self._write, data)

    def abort(self) -> None:
        """End the connection at once, whatever is in flight. Does not wait for the peer, which may be silent."""
        self._loop.post(self._abort)

    def close(self) -> None:
        """Say goodbye, and end the connection."""
        self._loop.post(self._close)

    def _empty(self) -> None:
        while self._inbox:
            data = self._inbox.popleft()
            self._unread -= len(data)
            self._on_data(data)
        if self._ending is not None and not self._inbox:
            ending, self._ending = self._ending, None
            self._on_lost(ending)

    # In the other thread.

    def attach(self, connection: asyncssh.SSHClientConnection, channel: asyncssh.SSHClientChannel[bytes]) -> None:
        """Take what was connected."""
        self._connection, self._channel = connection, channel
        cipher = connection.get_extra_info("send_cipher")
        version = connection.get_extra_info("server_version")
        self.description = f"{display(str(version))}, {cipher}"

    def received(self, data: bytes) -> None:
        """Take bytes that came."""
        self._inbox.append(data)
        self._unread += len(data)
        if self._unread > _MAX_UNREAD:
            self._abort()
        self._bell.ring()

    def ended(self, reason: str) -> None:
        """Take note that there will be no more."""
        if self._ending is None:
            self._ending = reason
            self._bell.ring()

    def _write(self, data: bytes) -> None:
        self._outbox.append(data)
        if len(self._outbox) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Write what has gathered: many small flights make one SSH packet, and one call of the system."""
        outbox, self._outbox = self._outbox, []
        if self._channel is not None:
            with contextlib.suppress(BrokenPipeError):  # it is closed, which `ended` tells
                for is_big, pieces in groupby(outbox, lambda data: len(data) > _BIG):
                    for data in pieces if is_big else (b"".join(pieces),):  # the big ones are not worth a copy
                        self._channel.write(data)

    def _abort(self) -> None:
        if self._connection is not None:
            self._connection.abort()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class _Session(asyncssh.SSHClientSession[bytes]):
    """asyncssh's end of the channel."""

    def __init__(self, channel: SshChannel) -> None:
        self._channel = channel

    def data_received(self, data: bytes, datatype: object) -> None:
        if datatype is None:  # not what the server writes to its standard error
            self._channel.received(data)

    def eof_received(self) -> bool:
        self._channel.ended("the server ended the SFTP session")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel.ended(_reason(exc) if exc is not None else "the server closed the connection")


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


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
    return shorten(display(str(error) or type(error).__name__), 300)


async def _tcp(host: str, port: int) -> socket.socket:
    """Connect, and give a plain socket. On trio, whose lookup of names can be left behind when it hangs."""
    try:
        stream = await trio.open_tcp_stream(host, port)
    except OSError as error:
        cause = error.__cause__
        if isinstance(cause, BaseExceptionGroup):  # one for each address of the host
            cause = cause.exceptions[0]
        raise ConnectionLost(f"{host}:{port}: {_reason(cause if isinstance(cause, OSError) else error)}") from error
    descriptor = os.dup(stream.socket.fileno())
    await trio.aclose_forcefully(stream)
    return socket.socket(fileno=descriptor)


async def _connect(
    sock: socket.socket, hosts: HostKeys, credentials: Credentials, clients: list[_Client], *, believes: bool = True
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
            tunnel=ConnectedSocket(sock),
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
    sock = await _tcp(*address)

    async def work() -> asyncssh.SSHClientConnection:
        connection = await _connect(sock, hosts, credentials, clients)
        try:
            opened, _ = await connection.create_session(lambda: _Session(channel), subsystem="sftp", encoding=None)
        except BaseException:
            connection.abort()
            raise
        channel.attach(connection, opened)
        return connection

    try:
        await loop.run(work, discard=lambda connection: connection.abort())
    except asyncssh.HostKeyNotVerifiable as error:
        shown = clients[-1].shown if clients else None
        raise LoginRefused(hosts.why_refused(shown) if shown is not None else _reason(error)) from None
    except asyncssh.PermissionDenied as error:
        raise Refusal(f"the server refuses the login of {credentials.user}: {_reason(error)}") from None
    except asyncssh.KeyExchangeFailed as error:
        raise LoginRefused(f"the server only speaks SSH in ways that are not safe any more: {_reason(error)}") from None
    except asyncssh.ChannelOpenError as error:
        raise TooManyConnections(f"the server starts no SFTP: {_reason(error)}") from error
    except (OSError, asyncssh.Error, ValueError) as error:
        if not clients or not clients[-1].has_greeted:  # so it is with MaxStartups, and with firewalls that count
            raise TooManyConnections(f"turned away before the login: {_reason(error)}") from error
        raise ConnectionLost(_reason(error)) from error
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
    sock = await _tcp(*address)
    nobody = Credentials("nobody", [])
    try:
        await loop.run(
            lambda: _connect(sock, hosts, nobody, clients, believes=False),
            discard=lambda connection: connection.abort(),
        )
    except (OSError, asyncssh.Error, ValueError) as error:
        if not clients or clients[-1].shown is None:
            raise ConnectionLost(_reason(error)) from error
    key = clients[-1].shown if clients else None
    if key is None:
        raise ConnectionLost("the server shows no host key")
    return hosts.shown(key)
