"""A directory on an FTP server: how a connection is made, and who is let in."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import attrs
import trio

from actorsync.endpoints.ftp.certificates import TlsPolicy, UntrustedServer, warn_of_clear_text
from actorsync.endpoints.ftp.control import Control, connected
from actorsync.endpoints.ftp.data import Patience
from actorsync.endpoints.ftp.session import FtpSession, Knowledge
from actorsync.endpoints.ftp.tls import Security
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
from actorsync.protocols.ftp import dialogues as ask
from actorsync.protocols.ftp.replies import accept_tls
from actorsync.protocols.ftp.wire import command_line

__all__ = ["FtpEndpoint"]


@attrs.define(eq=False)
class FtpEndpoint:
    """A directory on an FTP server. ``path`` is relative to where the login leads, or absolute.

    ``password`` is asked for once, at the first login. The first login happens alone: while it is not known to be
    accepted, no other connection tries, because servers lock accounts out. What ``connect_seconds`` and
    ``stall_seconds`` bound is told by `Patience`.

    With ``tls``, nothing but ``AUTH TLS`` is ever said in clear, and no file or listing travels in clear. A server
    that will not have that, or is not the one that it should be, is a `LoginRefused` before it hears a user's name.
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
    """Where the profile says all this, for errors."""
    knowledge: Knowledge = attrs.Factory(Knowledge)
    _gate: trio.Lock = attrs.Factory(trio.Lock)
    _is_welcome: bool = False
    _refusal: str | None = None
    _password: str | None = attrs.field(default=None, init=False, repr=False)
    _security: Security | None = attrs.field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._security = None if self.tls is None else Security(self.tls, self.host)

    @property
    def is_remote(self) -> bool:
        """Its sessions are connections."""
        return True

    @property
    def display(self) -> str:
        """Name the place, without the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme, usual = ("ftp", 21) if self.tls is None else ("ftps", 990) if self.tls.is_implicit else ("ftpes", 21)
        port = "" if self.port == usual else f":{self.port}"
        return display(f"{scheme}://{self.user}@{host}{port}/{self.path}")

    @property
    def lanes(self) -> int:
        """One: an FTP connection carries one transfer after the other."""
        return 1

    async def identify(self) -> Root:
        """Say that the root is a directory; a server cannot tell one file system from another."""
        async with self.open_session() as session:
            found = await session.list_directory("")
        if found.problem is not None:
            raise GuardRefused(f"{self.display} cannot be listed: {found.problem.reason}")
        return Root(Entry("", Kind.DIRECTORY))

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[FtpSession]:
        """Connect and log in."""
        async with connected(self.host, self.port, self._patience) as control:
            with _turned_away():
                session = await self._enter(control)
            try:
                yield session
                session.let_go()
                await control.hang_up(command_line("QUIT"))
            finally:
                session.let_go()

    async def _enter(self, control: Control) -> FtpSession:
        """Meet the server and log in: alone, until somebody was let in."""
        greeting = await self._meet(control)
        if not self._is_welcome:
            async with self._gate:
                if not self._is_welcome:  # while we waited
                    session = await self._log_in(control, greeting)
                    self._is_welcome = True
                    return session
        return await self._log_in(control, greeting)

    @property
    def _patience(self) -> Patience:
        return Patience(self.connect_seconds, self.stall_seconds)

    async def _meet(self, control: Control) -> str:
        """Come as far as the login: greeted, and under TLS where that is wanted. Gives the greeting."""
        try:
            return await _meet(control, self._security)
        except LoginRefused as refused:
            reason = str(refused)
            if isinstance(refused, UntrustedServer):
                reason += f"; set ca-file or certificate-sha256 in [{self.table}] if it is the right server"
                shown = refused.shown or await self._shown_certificate()
                reason += f" (the certificate has SHA-256 {shown})" if shown else ""
            raise LoginRefused(f"{self.display}: {reason}") from None

    async def _shown_certificate(self) -> str | None:
        """Give the SHA-256 of the certificate that the server shows to somebody who does not verify it."""
        assert self.tls is not None
        nobody = attrs.evolve(self.tls, certificate_sha256="")  # which no certificate has, so that nothing is said
        with contextlib.suppress(ConnectionLost):
            async with connected(self.host, self.port, self._patience) as control:
                try:
                    await _meet(control, Security(nobody, self.host))
                except UntrustedServer as refused:
                    return refused.shown
        return None

    async def _log_in(self, control: Control, greeting: str) -> FtpSession:
        if self._refusal is not None:
            raise LoginRefused(self._refusal)
        if self._password is None:
            self._password = self.password()
        try:
            await control.play(ask.login(self.user, self._password))
        except LoginRefused as refused:
            if self._is_welcome:
                # The same words were good before in this run: ProFTPD says 530 for "too many connections", too.
                raise LoginLapsed(str(refused)) from None
            self._refusal = f"{self.display}: {refused}"
            raise LoginRefused(self._refusal) from None
        known = self.knowledge
        known.features = await control.play(ask.introduce())
        known.greeting = greeting
        if known.has_mlsd is None:
            known.has_mlsd = known.features.has_mlst
        if known.setter is None:
            known.setter = known.features.time_setter
        session = FtpSession(control, known, absolute_root(known.features.working_directory, self.path))
        if self.tls is None:
            session.concerns = warn_of_clear_text(self.host, str(control.peer[0]), self.user)
        return session


@contextlib.contextmanager
def _turned_away() -> Iterator[None]:
    """Take a server that breaks off before anybody is logged in for one that has enough connections.

    It says so by 421 or 530, or it just hangs up; when it is gone instead, that shows by the others.
    """
    try:
        yield
    except (ProtocolError, TooManyConnections):
        raise
    except ConnectionLost as lost:
        raise TooManyConnections(str(lost)) from lost


async def _meet(control: Control, security: Security | None) -> str:
    """Play what comes before a login. Whoever gets a greeting back may log in."""
    if security is None:
        return (await control.greeting()).text
    if security.policy.is_implicit:
        await control.start_tls(security)
        greeting = await control.greeting()
    else:
        greeting = await control.greeting()
        await control.send([command_line("AUTH", "TLS")])
        accept_tls(await control.reply())
        await control.start_tls(security)
    await control.play(ask.protect_data())
    return greeting.text
