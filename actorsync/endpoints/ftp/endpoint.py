"""A directory on an FTP server: connect, verify, log in."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

from actorsync.classes import define
from actorsync.endpoints.contract import Capabilities
from actorsync.endpoints.ftp.wire.certificates import TlsPolicy, UntrustedServer, warn_of_clear_text
from actorsync.endpoints.ftp.wire.connection import FtpConnection, Knowledge
from actorsync.endpoints.ftp.wire.control import ControlConnection, open_control
from actorsync.endpoints.ftp.wire.data import Timeouts
from actorsync.endpoints.ftp.wire.tls import TlsClient
from actorsync.endpoints.shared.paths import absolute_root
from actorsync.endpoints.shared.proxy import Proxy
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
from actorsync.protocols.ftp.flights import Flights, OutOfStep
from actorsync.protocols.ftp.replies import accept_tls
from actorsync.protocols.ftp.wire import Reply, command_line
from actorsync.protocols.greetings import OtherService

if TYPE_CHECKING:
    from actorsync.endpoints.ftp.session import FtpSession
    from actorsync.endpoints.ftp.wrong_scheme import WrongScheme

__all__ = ["FtpEndpoint"]

#: What vsftpd says when one of its own processes fails; see `ends_session`.
_FAILED_INSIDE = "500 OOPS"
#: How many first logins may be rejected while another run is logged in as the same user. Servers lock accounts.
_LAPSES = 3


@define(eq=False)
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
    proxy: Proxy | None = None
    """The proxy that control and data connections go through."""
    knowledge: Knowledge = attrs.Factory(Knowledge)
    traits: Traits = attrs.Factory(Traits)
    _gate: trio.Lock = attrs.Factory(trio.Lock)
    _is_accepted: bool = False
    _refusal: str | None = None
    _others_are_in: Callable[[], bool] = bool
    _lapses: int = 0
    _last_words: str = ""
    _password: str | None = attrs.field(default=None, init=False, repr=False)
    _tls_client: TlsClient | None = attrs.field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._tls_client = None if self.tls is None else TlsClient(self.tls, self.host)
        self.knowledge.case_folding.traits = self.traits
        self.knowledge.flights.traits = self.traits

    @property
    def capabilities(self) -> Capabilities:
        """One lane: an FTP connection carries one transfer after the other."""
        return Capabilities(lanes=1, is_remote=True, sets_modes=True)

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

    def begin_pass(self) -> None:
        """Forget what was seen of the tree."""
        self.knowledge.begin_pass()

    def find_links(self) -> None:
        """Tell links from directories by all that the server shows, and change nothing through one."""
        self.knowledge.links.is_wanted = True

    @property
    def hides_links(self) -> bool:
        """Whether a link may still look like a directory."""
        return self.knowledge.tells_links and self.knowledge.links.hides(self.knowledge.greeting)

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[FtpSession]:
        """Connect and log in. The first connection to a server that is not known finds out which flights it takes."""
        session: FtpSession | None = None
        while session is None:
            async with self._open_control() as control:
                with _as_too_many_connections():
                    session = await self._enter(control)
                if session is not None:
                    async with self._noting_trouble(session):
                        yield session
                    await control.quit()

    def _open_control(self) -> AbstractAsyncContextManager[ControlConnection]:
        return open_control(self.host, self.port, self._timeouts, self.knowledge.flights, self.proxy)

    @asynccontextmanager
    async def _noting_trouble(self, session: FtpSession) -> AsyncIterator[None]:
        """Note replies that are out of step, and leave no data connection behind."""
        try:
            yield
        except OutOfStep as error:
            if session.connection.control.has_flown:
                self.knowledge.flights.note_out_of_step(str(error))
            raise
        finally:
            session.connection.close_data()

    async def _enter(self, control: ControlConnection) -> FtpSession | None:
        """Begin TLS and log in. Until one login was accepted, logins happen one at a time.

        Returns None when the connection was given up for the trial of a server that is not known.
        """
        greeting = await self._greet(control)
        flights = self.knowledge.flights
        if not (self._is_accepted and flights.is_settled):
            async with self._gate:
                if not (self._is_accepted and flights.is_settled):  # another connection may have done it meanwhile
                    session = await self._log_in(control, greeting)
                    self._is_accepted = True
                    is_usable = flights.is_settled or await _try_flights(control, flights, session.connection.root)
                    return session if is_usable else None
        return await self._log_in(control, greeting)

    async def _play_login(self, control: ControlConnection, password: str) -> None:
        try:
            await control.play(ask.login(self.user, password))
        except (ConnectionLost, LoginRefused) as error:
            if self._is_accepted:
                raise
            if self.tls is None and (refused := await self._scheme.explain(error)):
                raise refused from None
            # vsftpd ends the session like this for a wrong setting, such as a root that its user may write to.
            if _FAILED_INSIDE in (why := str(error)):
                if why == self._last_words:
                    raise LoginRefused(f"{why} (over two connections); see the settings of the server") from None
                self._last_words = why
            raise

    @property
    def _scheme(self) -> WrongScheme:
        from actorsync.endpoints.ftp.wrong_scheme import WrongScheme  # a run without a connection starts faster

        return WrongScheme(self.host, self.port, self.table, self.connect_seconds, self.proxy)

    @property
    def _timeouts(self) -> Timeouts:
        return Timeouts(self.connect_seconds, self.stall_seconds)

    async def _greet(self, control: ControlConnection) -> str:
        """Read the greeting, and begin TLS where it is configured. Returns the greeting."""
        is_implicit = self.tls is not None and self.tls.is_implicit
        try:
            greeting = partial(_greet, control, self._tls_client, self.knowledge.flights)
            return await self._scheme.watch(greeting, is_implicit=is_implicit)
        except OtherService as other:
            if not self._is_accepted and await self._is_other_service():
                raise LoginRefused(f"{self.display}: {other}") from None
            raise
        except LoginRefused as refused:
            reason = str(refused)
            if isinstance(refused, UntrustedServer):
                reason += f"; set ca-file or certificate-sha256 in [{self.table}] if it is the right server"
                shown = refused.shown or await self._shown_certificate()
                reason += f" (the certificate has SHA-256 {shown})" if shown else ""
            raise LoginRefused(f"{self.display}: {reason}") from None

    async def _is_other_service(self) -> bool:
        """Return whether the server is no FTP server over another connection, either. One look is not enough."""
        try:
            async with self._open_control() as control:
                await _greet(control, self._tls_client, self.knowledge.flights)
        except OtherService:
            return True
        except (ConnectionLost, LoginRefused):
            return False
        return False

    def note_others(self, are_logged_in: Callable[[], bool]) -> None:
        """Take note of what tells whether another run is logged in as the same user. See `ToldOfLogins`."""
        self._others_are_in = are_logged_in

    async def _shown_certificate(self) -> str | None:
        """Return the SHA-256 of the certificate that the server shows to a client that does not verify it."""
        assert self.tls is not None
        accepts_none = attrs.evolve(self.tls, certificate_sha256="")  # no certificate matches, so nothing is sent
        with contextlib.suppress(ConnectionLost):
            async with self._open_control() as control:
                try:
                    await _greet(control, TlsClient(accepts_none, self.host), self.knowledge.flights)
                except UntrustedServer as refused:
                    return refused.shown
        return None

    async def _log_in(self, control: ControlConnection, greeting: str) -> FtpSession:
        if self._refusal is not None:
            raise LoginRefused(self._refusal)
        if self._password is None:
            self._password = self.password()
        try:
            await self._play_login(control, self._password)
        except LoginRefused as refused:
            if self._is_accepted:
                # The server accepted this login before in this run. ProFTPD sends 530 also for "too many connections".
                raise LoginLapsed(str(refused)) from None
            if self._others_are_in() and self._lapses < _LAPSES:
                self._lapses += 1
                raise LoginLapsed(str(refused)) from None
            self._refusal = f"{self.display}: {refused}"
            raise LoginRefused(self._refusal) from None
        known = self.knowledge
        known.features = await control.play(ask.introduce(asks_perm=known.tells_links))
        known.greeting = greeting
        if known.has_mlsd is None:
            known.has_mlsd = known.features.has_mlst
        if known.time_setter is None:
            known.time_setter = known.features.time_setter
        from actorsync.endpoints.ftp.session import FtpSession  # for the same reason

        root = absolute_root(known.features.working_directory, self.path)
        warnings = () if self.tls is not None else warn_of_clear_text(self.host, control.way, self.user)
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


async def _try_flights(control: ControlConnection, flights: Flights, root: str) -> bool:
    from actorsync.endpoints.ftp.wire.trial import try_flights  # only for servers that are not known

    return await try_flights(control, flights, root)


async def _meet(control: ControlConnection, flights: Flights) -> Reply:
    greeting = await control.greeting()
    flights.greet(greeting)
    return greeting


async def _greet(control: ControlConnection, tls_client: TlsClient | None, flights: Flights) -> str:
    """Read the greeting, and begin TLS where ``tls_client`` is given. Returns the greeting."""
    if tls_client is None:
        return (await _meet(control, flights)).text
    if tls_client.policy.is_implicit:
        await control.start_tls(tls_client)
        greeting = await _meet(control, flights)
    else:
        greeting = await _meet(control, flights)
        await control.send([command_line("AUTH", "TLS")])
        accept_tls(await control.reply())
        await control.start_tls(tls_client)
    await control.play(ask.protect_data())
    return greeting.text
