"""A directory on an FTP server: connect, verify, log in."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import attrs
import trio

from actorsync.endpoints.contract import Capabilities
from actorsync.endpoints.ftp.session import FtpSession
from actorsync.endpoints.ftp.wire.certificates import TlsPolicy, UntrustedServer, warn_of_clear_text
from actorsync.endpoints.ftp.wire.connection import FtpConnection, Knowledge
from actorsync.endpoints.ftp.wire.control import ControlConnection, open_control
from actorsync.endpoints.ftp.wire.data import Timeouts
from actorsync.endpoints.ftp.wire.tls import TlsClient
from actorsync.endpoints.shared.paths import absolute_root
from actorsync.errors import (
    ConnectionLost,
    GuardRefused,
    LoginLapsed,
    LoginRefused,
    ProtocolError,
    TooManyConnections,
)
from actorsync.model.entry import Entry, Kind, Root
from actorsync.model.text import display
from actorsync.model.traits import Traits
from actorsync.protocols.ftp import dialogues as ask
from actorsync.protocols.ftp.replies import accept_tls
from actorsync.protocols.ftp.wire import command_line

__all__ = ["FtpEndpoint"]


@attrs.define(eq=False)
class FtpEndpoint:
    """A directory on an FTP server. ``path`` is relative to the login directory, or absolute.

    ``password`` is called once, at the first login. No other connection logs in until the server has accepted the
    first login, because servers lock accounts after failed ones. See `Timeouts` for ``connect_seconds`` and
    ``stall_seconds``.

    With ``tls``, only ``AUTH TLS`` is sent in clear, and files and listings never are. A server without TLS, or with a
    certificate that is not accepted, raises `LoginRefused` before the user's name is sent.
    """

    host: str
    port: int = 21
    user: str = "anonymous"
    password: Callable[[], str] = attrs.field(default=lambda: "anonymous@", repr=False)
    path: str = ""
    connect_seconds: float = 30.0
    stall_seconds: float = 60.0
    tls: TlsPolicy | None = None
    table: str = "target"
    """The table of the profile that describes this endpoint, for messages."""
    knowledge: Knowledge = attrs.Factory(Knowledge)
    traits: Traits = attrs.Factory(Traits)
    _gate: trio.Lock = attrs.Factory(trio.Lock)
    _is_accepted: bool = False
    _refusal: str | None = None
    _password: str | None = attrs.field(default=None, init=False, repr=False)
    _tls_client: TlsClient | None = attrs.field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._tls_client = None if self.tls is None else TlsClient(self.tls, self.host)
        self.knowledge.case_folding.traits = self.traits

    @property
    def capabilities(self) -> Capabilities:
        """One lane: an FTP connection carries one transfer after the other."""
        return Capabilities(lanes=1, is_remote=True)

    @property
    def display(self) -> str:
        """Return the URL, without the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme, usual = ("ftp", 21) if self.tls is None else ("ftps", 990) if self.tls.is_implicit else ("ftpes", 21)
        port = "" if self.port == usual else f":{self.port}"
        return display(f"{scheme}://{self.user}@{host}{port}/{self.path}")

    async def identify(self) -> Root:
        """Return the root as a directory. FTP does not show which file system it is on.

        Raises:
            GuardRefused: The root cannot be listed.
        """
        async with self.open_session() as session:
            found = await session.list_directory("")
        if found.problem is not None:
            raise GuardRefused(f"{self.display} cannot be listed: {found.problem.reason}")
        return Root(Entry("", Kind.DIRECTORY))

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[FtpSession]:
        """Connect and log in."""
        async with open_control(self.host, self.port, self._timeouts) as control:
            with _as_too_many_connections():
                session = await self._enter(control)
            try:
                yield session
                session.connection.close_data()
                await control.quit()
            finally:
                session.connection.close_data()

    async def _enter(self, control: ControlConnection) -> FtpSession:
        """Begin TLS and log in. Until one login was accepted, logins happen one at a time."""
        greeting = await self._greet(control)
        if not self._is_accepted:
            async with self._gate:
                if not self._is_accepted:  # no longer so: another connection was accepted during the wait
                    session = await self._log_in(control, greeting)
                    self._is_accepted = True
                    return session
        return await self._log_in(control, greeting)

    @property
    def _timeouts(self) -> Timeouts:
        return Timeouts(self.connect_seconds, self.stall_seconds)

    async def _greet(self, control: ControlConnection) -> str:
        """Read the greeting, and begin TLS where it is configured. Returns the greeting."""
        try:
            return await _greet(control, self._tls_client)
        except LoginRefused as refused:
            reason = str(refused)
            if isinstance(refused, UntrustedServer):
                reason += f"; set ca-file or certificate-sha256 in [{self.table}] if it is the right server"
                shown = refused.shown or await self._shown_certificate()
                reason += f" (the certificate has SHA-256 {shown})" if shown else ""
            raise LoginRefused(f"{self.display}: {reason}") from None

    async def _shown_certificate(self) -> str | None:
        """Return the SHA-256 of the certificate that the server shows to a client that does not verify it."""
        assert self.tls is not None
        accepts_none = attrs.evolve(self.tls, certificate_sha256="")  # no certificate matches, so nothing is sent
        with contextlib.suppress(ConnectionLost):
            async with open_control(self.host, self.port, self._timeouts) as control:
                try:
                    await _greet(control, TlsClient(accepts_none, self.host))
                except UntrustedServer as refused:
                    return refused.shown
        return None

    async def _log_in(self, control: ControlConnection, greeting: str) -> FtpSession:
        if self._refusal is not None:
            raise LoginRefused(self._refusal)
        if self._password is None:
            self._password = self.password()
        try:
            await control.play(ask.login(self.user, self._password))
        except LoginRefused as refused:
            if self._is_accepted:
                # The server accepted this login before in this run. ProFTPD sends 530 also for "too many connections".
                raise LoginLapsed(str(refused)) from None
            self._refusal = f"{self.display}: {refused}"
            raise LoginRefused(self._refusal) from None
        known = self.knowledge
        known.features = await control.play(ask.introduce())
        known.greeting = greeting
        if known.has_mlsd is None:
            known.has_mlsd = known.features.has_mlst
        if known.time_setter is None:
            known.time_setter = known.features.time_setter
        root = absolute_root(known.features.working_directory, self.path)
        warnings = () if self.tls is not None else warn_of_clear_text(self.host, str(control.peer[0]), self.user)
        return FtpSession(FtpConnection(control, known, root), warnings)


@contextlib.contextmanager
def _as_too_many_connections() -> Iterator[None]:
    """Turn `ConnectionLost` before the login into `TooManyConnections`.

    A server with too many connections sends 421 or 530, or just closes the connection. When the server is down
    instead, the other connections are lost as well.
    """
    try:
        yield
    except (ProtocolError, TooManyConnections):
        raise
    except ConnectionLost as lost:
        raise TooManyConnections(str(lost)) from lost


async def _greet(control: ControlConnection, tls_client: TlsClient | None) -> str:
    """Read the greeting, and begin TLS where ``tls_client`` is given. Returns the greeting."""
    if tls_client is None:
        return (await control.greeting()).text
    if tls_client.policy.is_implicit:
        await control.start_tls(tls_client)
        greeting = await control.greeting()
    else:
        greeting = await control.greeting()
        await control.send([command_line("AUTH", "TLS")])
        accept_tls(await control.reply())
        await control.start_tls(tls_client)
    await control.play(ask.protect_data())
    return greeting.text
