"""One connection of the server: requests one after the other, with a limit on everything.

RFC 9112 by h11: a request that is malformed, too long or ambiguous ends the connection after a 4xx answer. Requests
that a client sends without waiting for the answers stay unread until their turn.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

import attrs
import h11
import trio

from actorsync.classes import define
from actorsync.observe.web.messages import HEADERS, Answer, Request, text
from actorsync.observe.web.readers import EventReader, EventReaders
from actorsync.observe.web.routes import Site

__all__ = ["PATIENCE", "Conversation"]

#: Bytes of the longest request line and headers together.
_LONGEST_HEAD: Final = 16 * 1024
_CHUNK: Final = 4_096
#: Seconds in which a request must arrive as a whole, also the next one on a connection that stays open.
_READING: Final = 15.0
#: Seconds in which a client must take an answer.
PATIENCE: Final = 20.0
#: Seconds after which a stream of events without an event gets a comment, so that nothing on the way closes it.
_HEARTBEAT: Final = 15.0

#: The client has left, or does not take its answer, or sends its request too slowly.
_LEFT: Final = (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)

_VERSIONS: Final = (b"1.0", b"1.1")
_MALFORMED: Final = "this is not a valid request of HTTP/1.1"


@define(eq=False)
class Conversation:
    """A connection with one client. `run` returns when it has ended, whatever the client does."""

    stream: trio.abc.Stream
    site: Site
    readers: EventReaders
    patience: float = PATIENCE
    """Seconds in which a client must take an answer, or a part of the events."""
    _http: h11.Connection = attrs.field(
        init=False, factory=lambda: h11.Connection(h11.SERVER, max_incomplete_event_size=_LONGEST_HEAD)
    )

    async def run(self) -> None:
        """Answer requests until the client leaves, is too slow, or makes a mistake."""
        try:
            while await self._is_served():
                self._http.start_next_cycle()
        except h11.RemoteProtocolError as error:
            await self._refuse(error.error_status_hint)
        except (*_LEFT, h11.LocalProtocolError):
            pass
        finally:
            await trio.aclose_forcefully(self.stream)

    async def _is_served(self) -> bool:
        """Answer one request; return whether another one may follow. Raises `TooSlowError` for a client that waits."""
        with trio.fail_after(_READING):
            event = await self._next()
            if not isinstance(event, h11.Request):
                return False
            if event.http_version not in _VERSIONS:
                await self._refuse(505)
                return False
            request = _request(event)
            has_body = not isinstance(await self._next(), h11.EndOfMessage)
        answer = text(413, "a request has no body here") if has_body else self.site.answer(request)
        if answer is None:
            await self._stream_events(request)
            return False
        await self._send(answer, is_head=request.method == "HEAD", is_last=has_body)
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _next(self) -> object:
        """Return the next event of the client, as h11 reads it."""
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._http.receive_data(bytes(await self.stream.receive_some(_CHUNK)))

    async def _send(self, answer: Answer, *, is_head: bool, is_last: bool) -> None:
        headers = [
            ("Content-Type", answer.kind),
            ("Content-Length", str(len(answer.body))),
            *answer.headers,
            *([("Connection", "close")] if is_last else []),
        ]
        parts: list[h11.Event] = [_head(answer.status, headers)]
        if not is_head:
            parts.append(h11.Data(answer.body))
        await self._write([*parts, h11.EndOfMessage()])

    async def _refuse(self, status: int) -> None:
        """Answer a malformed request, if its answer has not begun."""
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            with contextlib.suppress(*_LEFT):
                await self._send(text(status, _MALFORMED), is_head=False, is_last=True)

    async def _write(self, events: Sequence[h11.Event]) -> None:
        data = b"".join(self._http.send(event) or b"" for event in events)
        with trio.fail_after(self.patience):
            await self.stream.send_all(data)

    async def _stream_events(self, request: Request) -> None:
        if request.method == "HEAD":
            await self._write([_head(200, [("Content-Type", "text/event-stream")]), h11.EndOfMessage()])
            return
        reader = self.readers.open(self.site.status())
        if reader is None:
            again = text(503, "too many readers of events; close one", ("Retry-After", "30"))
            await self._send(again, is_head=False, is_last=True)
            return
        try:
            await self._write([_head(200, [("Content-Type", "text/event-stream"), ("Connection", "close")])])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._until_it_leaves, nursery.cancel_scope)
                await self._send_events(reader)
                nursery.cancel_scope.cancel()
        except* _LEFT:
            pass
        finally:
            self.readers.leave(reader)

    async def _send_events(self, reader: EventReader) -> None:
        is_last = False
        while not is_last:
            with trio.move_on_after(_HEARTBEAT):
                await reader.wait()
            is_last = reader.is_last
            await self._write([h11.Data(reader.take() or b": still here\n\n")])
        await self._write([h11.EndOfMessage()])

    async def _until_it_leaves(self, scope: trio.CancelScope) -> None:
        """Cancel ``scope`` when the client closes the connection, or sends anything more."""
        try:
            await self.stream.receive_some(1)
        finally:
            scope.cancel()


def _head(status: int, headers: Sequence[tuple[str, str]]) -> h11.Response:
    return h11.Response(status_code=status, headers=[*headers, *HEADERS], reason=HTTPStatus(status).phrase.encode())


def _request(event: h11.Request) -> Request:
    target = event.target.decode("ascii", "backslashreplace")
    path, _, query = target.partition("?")
    headers: dict[str, str] = {}
    for name, value in event.headers:
        headers.setdefault(name.decode("ascii"), value.decode("utf-8", "surrogateescape"))
    values: dict[str, str] = {}
    for key, given in parse_qsl(query, errors="surrogateescape"):
        values.setdefault(key, given)
    return Request(event.method.decode("ascii"), path, values, headers)
