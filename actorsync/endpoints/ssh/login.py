"""Opening one SSH connection: the algorithms, the host key check and the login."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import socket
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio

from actorsync.classes import define, frozen
from actorsync.endpoints.shared.proxy import Proxy, connect
from actorsync.endpoints.shared.resource_limits import is_own_limit, unopened
from actorsync.endpoints.shared.tcp import words_of
from actorsync.endpoints.ssh.answers import Answers
from actorsync.endpoints.ssh.asyncio_thread import AsyncioLoop
from actorsync.endpoints.ssh.batching_transport import ConnectedSocket
from actorsync.endpoints.ssh.host_keys import HostKeys
from actorsync.endpoints.ssh.import_asyncssh import asyncssh
from actorsync.endpoints.ssh.settings import OneTimeCodes, ShownHostKey
from actorsync.errors import ActorsyncError, ConnectionLost, LoginRefused, TooManyConnections
from actorsync.model.text import display, shorten

__all__ = ["Credentials", "CredentialsRejected", "Stop", "fetch_host_key", "log_in", "reason_of"]

#: The connection is lost after so many keepalive requests without an answer.
_KEEPALIVE_SECONDS, _KEEPALIVE_COUNT = 15, 3

#: AES-GCM first, because processors accelerate it. asyncssh offers no CBC, and SHA-1 is excluded everywhere. Strict key
#: exchange protects against Terrapin (CVE-2023-48795); every accepted release of asyncssh supports it.
_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"
_MACS = "-*sha1*,umac-64*"
_KEX = "-*sha1*"
_SIGNATURES = "-ssh-rsa,ssh-dss"

#: The end of a connection on which too many keys were offered (MaxAuthTries of OpenSSH). The next would end so, too.
_TOO_MANY = re.compile("too many authentication failures", re.IGNORECASE)

logging.getLogger("asyncssh").addHandler(logging.NullHandler())  # otherwise its warnings go to standard error


def reason_of(error: BaseException) -> str:
    """Return the text of an error as one printable line."""
    if isinstance(error, OSError):
        return words_of(error)
    return shorten(display(str(error) or type(error).__name__), 300)


class CredentialsRejected(ActorsyncError):
    """The server rejected the credentials. Another attempt with the same credentials fails as well."""


class _HostKeyRefused(LoginRefused):
    """The server's host key is not trusted. ``key`` is None after a certificate that is not valid."""

    def __init__(self, reason: str, key: asyncssh.SSHKey | None = None) -> None:
        super().__init__(reason)
        self.key = key


@frozen
class Credentials:
    """The credentials of a login: keys in memory, the agent's socket, a password. ``repr`` shows no secret."""

    user: str
    keys: list[asyncssh.SSHKeyPair] = attrs.field(repr=False)
    agent: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    certificates: Sequence[asyncssh.SSHCertificate] = ()
    """Certificates for keys of the agent."""
    codes: OneTimeCodes | None = attrs.field(default=None, repr=False)


@define(eq=False)
class Stop:
    """A server to log in to: a jump host, or the server itself at the end of the way.

    ``hosts`` is replaced when the server turns out to have a trusted key of one kind beside others: the next connection
    prefers that kind at once. ``seconds`` bounds one login.
    """

    host: str
    port: int
    hosts: HostKeys
    credentials: Credentials
    name: str = ""
    """How errors name a jump host; empty for the server itself."""
    behind: str = ""
    """The jump host before it."""
    seconds: float = 30.0
    proxy: Proxy | None = None
    """The proxy on the way to the first stop."""

    def named(self, reason: str) -> str:
        """Return a reason that names the jump host that it is about."""
        return f"jump host {self.name}: {reason}" if self.name else reason


class _Client(asyncssh.SSHClient):
    """The callbacks of asyncssh during the handshake: they check the host key, and give each secret once."""

    def __init__(self, hosts: HostKeys | None, answers: Answers) -> None:
        self._hosts = hosts
        self.answers = answers
        self.shown: asyncssh.SSHKey | None = None
        self.methods: list[str] = []
        self.is_authenticating = False
        self._left_before: int | None = None

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

    def public_key_auth_requested(self) -> None:
        """Record that the server asked for another key than those that were offered."""
        self._note_method("publickey")

    def password_auth_requested(self) -> str | None:
        self._note_method("password")
        return self.answers.take_password()

    def kbdint_auth_requested(self) -> str | None:
        """Begin a round of questions, unless the last one used up no secret: it would end in the same way.

        The first round begins even without a secret, to learn what the server asks for.
        """
        self._note_method("keyboard-interactive")
        left = self.answers.left
        if left == self._left_before:
            return None
        self._left_before = left
        return ""

    def kbdint_challenge_received(
        self,
        name: str,  # noqa: ARG002
        instructions: str,  # noqa: ARG002
        lang: str,  # noqa: ARG002
        prompts: Sequence[tuple[str, bool]],
    ) -> list[str] | None:
        return self.answers.answer(prompts)

    def _note_method(self, method: str) -> None:
        if method not in self.methods:
            self.methods.append(method)


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
    tunnel: ConnectedSocket | asyncssh.SSHClientConnection,
    stop: Stop,
    hosts: HostKeys,
    client: _Client,
    *,
    trusts: bool,
) -> asyncssh.SSHClientConnection:
    """Do the handshake and log in, in the asyncio thread, without the user's ``~/.ssh/config``.

    Without ``trusts``, every host key is refused, and the client holds the refused key.
    """

    def known_hosts(*_: object) -> tuple[Sequence[asyncssh.SSHKey], ...]:
        return (hosts.trusted, hosts.authorities, hosts.revoked) if trusts else ((), (), ())

    credentials = stop.credentials
    interactive = ("password", "keyboard-interactive")
    if client.answers.code is not None:  # only keyboard-interactive asks for a code
        interactive = ("keyboard-interactive", "password")
    async with _agent_keys(credentials) as agent_keys:
        connection, _ = await asyncssh.create_connection(
            lambda: client,
            stop.host,  # the name that a certificate must have
            stop.port,
            tunnel=tunnel,
            config=None,
            known_hosts=known_hosts,
            username=credentials.user,
            client_keys=[*credentials.keys, *agent_keys] or None,
            agent_path=None,
            preferred_auth=("publickey", *interactive),
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
async def _agent_keys(credentials: Credentials) -> AsyncIterator[Sequence[asyncssh.SSHKeyPair]]:
    """Keep the agent open for signatures, and yield its keys; no keys if the agent does not answer.

    A key with a certificate is offered with it first, and then alone.
    """
    agent: asyncssh.SSHAgentClient | None = None
    keys: list[asyncssh.SSHKeyPair] = []
    if credentials.agent is not None:
        with contextlib.suppress(OSError, ValueError):
            agent = await asyncssh.connect_agent(credentials.agent)
            for certificate in credentials.certificates:
                for key in await agent.get_keys():
                    with contextlib.suppress(ValueError):  # the certificate is for another key
                        key.set_certificate(certificate)
                        keys.append(key)
            keys += await agent.get_keys()
    try:
        yield keys
    finally:
        if agent is not None:
            agent.close()


async def log_in(
    loop: AsyncioLoop, stop: Stop, via: asyncssh.SSHClientConnection | None = None, code: str | None = None
) -> asyncssh.SSHClientConnection:
    """Connect, check the host key, and log in. ``via`` is the connection to the jump host before, if there is one.

    Raises:
        OtherService: the server is no SSH server.
        LoginRefused: the host key is not trusted, or the server has no secure algorithms. Nothing was sent to it.
        CredentialsRejected: the server rejected the credentials.
        TooManyConnections: the server closed the connection early, which servers do at their connection limit.
        ConnectionLost: any other failure that may not occur again.
    """
    first: LoginRefused | None = None
    hosts = stop.hosts
    while True:
        client = _Client(hosts, Answers(stop.credentials.password, code))
        try:
            connection = await _attempt(loop, stop, via, hosts, client)
        except _HostKeyRefused as refused:
            first = first or refused
            others = hosts.after_refusal(refused.key)
            if others is None:
                raise first from None
            hosts = others
        else:
            stop.hosts = hosts
            return connection


async def _attempt(
    loop: AsyncioLoop,
    stop: Stop,
    via: asyncssh.SSHClientConnection | None,
    hosts: HostKeys,
    client: _Client,
    *,
    trusts: bool = True,
) -> asyncssh.SSHClientConnection:
    tunnel: ConnectedSocket | asyncssh.SSHClientConnection | None = via
    try:
        with trio.fail_after(stop.seconds):
            tunnel = tunnel or await _tcp(stop.host, stop.port, stop.proxy)
            work = partial(_connect, tunnel, stop, hosts, client, trusts=trusts)
            try:
                return await loop.run(work, discard=lambda connection: connection.abort())
            except trio.Cancelled:
                if isinstance(tunnel, ConnectedSocket):
                    loop.post(tunnel.discard)
                raise
            finally:
                if client.answers.sent_code is not None and stop.credentials.codes is not None:
                    stop.credentials.codes.note_sent(client.answers.sent_code)
    except trio.TooSlowError:
        if tunnel is None and stop.proxy is not None:
            raise ConnectionLost(stop.named(str(stop.proxy.unanswered()))) from None
        raise ConnectionLost(
            stop.named(f"{stop.host}:{stop.port}: no answer in time; check host, port and scheme")
        ) from None
    except ConnectionLost as lost:  # of `_tcp`
        raise type(lost)(stop.named(str(lost))) from lost
    except (asyncssh.HostKeyNotVerifiable, asyncssh.PermissionDenied, asyncssh.KeyExchangeFailed) as error:
        raise _refused(error, stop, hosts, client) from None
    except (OSError, asyncssh.Error, ValueError) as error:
        if client.is_authenticating and _TOO_MANY.search(reason_of(error)):
            raise CredentialsRejected(stop.named(_why_rejected(stop, client, is_cut=True))) from None
        raise _failed(error, stop, client, is_tunnelled=via is not None) from error


def _refused(error: asyncssh.Error, stop: Stop, hosts: HostKeys, client: _Client) -> LoginRefused | CredentialsRejected:
    """Return what to raise for an error that would occur again at the next login."""
    reason = reason_of(error)
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        if client.shown is not None:
            return _HostKeyRefused(stop.named(hosts.why_refused(client.shown)), client.shown)
        return _HostKeyRefused(stop.named(hosts.why_invalid(reason)))
    if isinstance(error, asyncssh.PermissionDenied):
        return CredentialsRejected(stop.named(_why_rejected(stop, client)))
    return LoginRefused(
        stop.named(f"the server supports no secure SSH algorithms: {reason}; upgrade the server's SSH software")
    )


def _why_rejected(stop: Stop, client: _Client, *, is_cut: bool = False) -> str:
    """Return what the server asked for, and what to do."""
    said, table = f"the server rejected the login of {display(stop.credentials.user)}", stop.hosts.trust.table
    if is_cut:
        limit = "it closed the connection after several rejected keys"
        return f"{said}: {limit}; name the right one in {table}.key-file, and set {table}.agent = false"
    offers = f"it accepts {' or '.join(client.methods)}" if client.methods else "it accepts no way that is known here"
    if stop.name:
        return f"{said}: {offers}; a jump host gets keys only, so check the user, {table}.key-file and the SSH agent"
    match client.answers.lacks:
        case "otp", question:
            return f'{said}: it asks "{question}"; if that is a second factor, set {table}.otp'
        case "password", question:
            return f'{said}: it asks "{question}"; set {table}.password'
    return f"{said}: {offers}; check user, key and password"


def _failed(
    error: OSError | asyncssh.Error | ValueError, stop: Stop, client: _Client, *, is_tunnelled: bool
) -> ConnectionLost:
    """Return what to raise for an error that may not occur again."""
    reason = reason_of(error)
    if isinstance(error, asyncssh.ChannelOpenError) and is_tunnelled:
        return ConnectionLost(
            f"jump host {stop.behind} does not connect to {stop.host}:{stop.port}: {reason}; check the address, and "
            "whether the jump host allows forwarding"
        )
    if is_own_limit(error):
        return unopened(stop.named(reason), error)
    if not client.is_authenticating:  # as OpenSSH does at MaxStartups, and firewalls at their limit
        return TooManyConnections(stop.named(f"the server closed the connection before the login: {reason}"))
    return ConnectionLost(stop.named(reason))


async def fetch_host_key(
    loop: AsyncioLoop, stop: Stop, via: asyncssh.SSHClientConnection | None = None, wanted: Collection[str] = ()
) -> ShownHostKey:
    """Return a server's host key, without a login: the connection ends as soon as the server has sent the key.

    If the server has keys of several kinds, one with a fingerprint in ``wanted`` is preferred.

    Raises:
        ConnectionLost: no SSH server could be reached.
    """
    first: ShownHostKey | None = None
    hosts: HostKeys | None = attrs.evolve(stop.hosts, authorities=())  # the key itself, not a certificate for it
    while hosts is not None:
        key: asyncssh.SSHKey | None = None
        try:
            connection = await _attempt(loop, stop, via, hosts, _Client(None, Answers(None)), trusts=False)
            loop.post(connection.abort)
        except _HostKeyRefused as refused:
            key = refused.key
        except LoginRefused as refused:
            raise ConnectionLost(str(refused)) from refused
        if key is None:
            raise ConnectionLost(stop.named("the server sent no host key"))
        shown = stop.hosts.shown(key)
        if not wanted or shown.fingerprint in wanted:
            return shown
        first = first or shown
        hosts = hosts.preferring_others(key)
    assert first is not None
    return first
