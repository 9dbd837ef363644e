"""A directory on an FTP server: how a connection is made, and who is let in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from actorsync.endpoints.ftp_session import FtpSession, Knowledge
from actorsync.endpoints.ftp_wire import Control, Patience, connected
from actorsync.errors import ConnectionLost, FatalError, LoginRefused
from actorsync.model.entry import Entry, Kind, ScanComplete
from actorsync.model.text import display
from actorsync.protocols import ftp_dialogues as ask
from actorsync.protocols.ftp import command_line

__all__ = ["FtpEndpoint"]


@attrs.define(eq=False)
class FtpEndpoint:
    """A directory on an FTP server. ``path`` is relative to where the login leads, or absolute.

    ``password`` is asked for once, at the first login. The first login happens alone: while it is not known to be
    accepted, no other connection tries, because servers lock accounts out. What ``connect_seconds`` and
    ``stall_seconds`` bound is told by `Patience`.
    """

    host: str
    port: int = 21
    user: str = "anonymous"
    password: Callable[[], str] = attrs.field(default=lambda: "anonymous@", repr=False)
    path: str = ""
    connect_seconds: float = 30.0
    stall_seconds: float = 60.0
    knowledge: Knowledge = attrs.Factory(Knowledge)
    _gate: trio.Lock = attrs.Factory(trio.Lock)
    _is_welcome: bool = False
    _refusal: str | None = None
    _password: str | None = attrs.field(default=None, init=False, repr=False)

    @property
    def display(self) -> str:
        """Name the place, without the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == 21 else f":{self.port}"
        return display(f"ftp://{self.user}@{host}{port}/{self.path}")

    @property
    def lanes(self) -> int:
        """One: an FTP connection carries one transfer after the other."""
        return 1

    async def identify(self) -> ScanComplete:
        """Say that the root is a directory; a server cannot tell one file system from another."""
        async with self.open_session() as session:
            found = await session.list_directory("")
        if found.problem is not None:
            raise FatalError(f"{self.display} cannot be listed: {found.problem.reason}")
        return ScanComplete(Entry("", Kind.DIRECTORY))

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[FtpSession]:
        """Connect and log in."""
        async with connected(self.host, self.port, Patience(self.connect_seconds, self.stall_seconds)) as control:
            greeting = (await control.greeting()).text
            session: FtpSession | None = None
            if not self._is_welcome:
                async with self._gate:
                    if not self._is_welcome:  # while we waited
                        session = await self._log_in(control, greeting)
                        self._is_welcome = True
            session = session or await self._log_in(control, greeting)
            try:
                yield session
                session.let_go()
                await control.hang_up(command_line("QUIT"))
            finally:
                session.let_go()

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
                raise ConnectionLost(str(refused)) from None
            self._refusal = f"{self.display}: {refused}"
            raise LoginRefused(self._refusal) from None
        known = self.knowledge
        known.features = await control.play(ask.introduce())
        known.greeting = greeting
        if known.has_mlsd is None:
            known.has_mlsd = known.features.has_mlst
        if known.setter is None:
            known.setter = known.features.time_setter
        return FtpSession(control, known, _absolute(known.features.working_directory, self.path))


def _absolute(start: str | None, path: str) -> str:
    """Give the root as an absolute path without a slash at its end; ``""`` is the server's own root."""
    full = path if path.startswith("/") else f"{start or '/'}/{path}"
    return "".join(f"/{part}" for part in full.split("/") if part)
