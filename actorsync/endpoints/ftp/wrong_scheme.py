"""A URL with the wrong scheme: ``ftp://`` where logins need TLS, ``ftps://`` at an explicit port, or the reverse.

Each leads to an error that does not name the cause, or to a wait for nothing. A second connection finds the cause: it
sends no name and no password. The advice is always a scheme with TLS.
"""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import trio

from actorsync.classes import frozen
from actorsync.endpoints.ftp.wire.certificates import NotTls
from actorsync.endpoints.ftp.wire.control import ControlConnection, open_control
from actorsync.endpoints.ftp.wire.data import Timeouts
from actorsync.endpoints.shared.proxy import Proxy, connect
from actorsync.errors import ActorsyncError, ConnectionLost, LoginRefused
from actorsync.protocols.ftp.dialogues import CHECK_LOGIN
from actorsync.protocols.ftp.flights import Flights
from actorsync.protocols.ftp.wire import command_line
from actorsync.protocols.greetings import OtherService

__all__ = ["SILENCE", "WrongScheme"]

#: Seconds of silence after which another connection finds out whether the server waits for a TLS handshake.
SILENCE: Final = 3.0
#: Seconds for such a connection.
_LONGEST: Final = 5.0
#: The bytes of a TLS record up to the type of its first message.
_HEAD: Final = 6
#: What servers say that accept logins under TLS only. It is confirmed before it is believed.
_WANTS_TLS = re.compile(r"\b(?:TLS|SSL|AUTH|cleartext|clear text|secure|encrypt\w*)\b", re.IGNORECASE)


@frozen
class WrongScheme:
    """Finds out whether the server at ``host`` and ``port`` expects another scheme. ``table`` is for the messages."""

    host: str
    port: int
    table: str
    connect_seconds: float
    proxy: Proxy | None = None

    @property
    def _silence(self) -> float:
        return min(SILENCE, self.connect_seconds / 2)

    async def watch(self, greet: Callable[[], Awaitable[str]], *, is_implicit: bool) -> str:
        """Return what ``greet`` returns: the greeting.

        Raises:
            LoginRefused: The server expects another scheme.
            ActorsyncError: What ``greet`` raises for any other reason.
        """
        if is_implicit:
            try:
                return await greet()
            except NotTls as error:
                if await self._greets_in_clear():
                    raise self._refusal("the server begins without TLS on this port", "ftpes://") from error
                raise
        result: str | ActorsyncError = ""
        waits_for_tls = False

        async def watch_silence() -> None:
            nonlocal waits_for_tls
            await trio.sleep(self._silence)
            if await self._waits_for_tls():
                waits_for_tls = True
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_silence)
            try:
                result = await greet()
            except ActorsyncError as error:  # as a value: raised here, it would arrive in an exception group
                result = error
            nursery.cancel_scope.cancel()
        if waits_for_tls:
            raise self._refusal("the server waits for TLS from the first byte on this port", "ftps://")
        if isinstance(result, ActorsyncError):
            raise result
        return result

    async def explain(self, error: ConnectionLost | LoginRefused) -> LoginRefused | None:
        """Return the refusal when a login in clear failed with ``error`` because the server wants TLS."""
        if not _WANTS_TLS.search(str(error)) or not await self._offers_tls():
            return None
        said = str(error).removesuffix(CHECK_LOGIN).rstrip(".")
        return self._refusal(f"{said}; the server accepts logins under TLS only", "ftpes://")

    def _refusal(self, why: str, scheme: str) -> LoginRefused:
        return LoginRefused(f"{why}: use {scheme} in the url of [{self.table}]")

    def _open(self, seconds: float) -> AbstractAsyncContextManager[ControlConnection]:
        return open_control(self.host, self.port, Timeouts(seconds, seconds), Flights(), self.proxy)

    async def _greets_in_clear(self) -> bool:
        """Return whether the server sends an FTP greeting to a client that says nothing.

        Raises `LoginRefused` if it greets as a server of another kind.
        """
        try:
            async with self._open(self._silence) as control:
                await control.greeting()
        except OtherService as other:
            raise LoginRefused(str(other)) from None
        except ActorsyncError:
            return False
        return True

    async def _offers_tls(self) -> bool:
        """Return whether the server accepts AUTH TLS."""
        with contextlib.suppress(ActorsyncError):
            async with self._open(_LONGEST) as control:
                await control.greeting()
                await control.send([command_line("AUTH", "TLS")])
                return (await control.reply()).code == 234
        return False

    async def _waits_for_tls(self) -> bool:
        """Return whether the server answers a TLS handshake that comes first. The handshake is not finished."""
        outgoing = ssl.MemoryBIO()
        hello = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=self.host)
        with contextlib.suppress(ssl.SSLWantReadError):
            hello.do_handshake()
        with contextlib.suppress(ActorsyncError, OSError, trio.BrokenResourceError), trio.move_on_after(_LONGEST):
            async with await connect(self.host, self.port, _LONGEST, self.proxy) as stream:
                await stream.send_all(outgoing.read())
                answer = b""
                while len(answer) < _HEAD and (piece := await stream.receive_some(_HEAD)):
                    answer += piece
                return answer[:1] == b"\x16" and answer[5:_HEAD] == b"\x02"  # a handshake record with a ServerHello
        return False
