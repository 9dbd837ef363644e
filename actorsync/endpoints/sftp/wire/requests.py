"""Flights of SFTP requests over a channel, from many tasks at once: a reply is matched to its request by the id."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Protocol, TypeVar

import attrs
import trio

from actorsync.classes import define
from actorsync.endpoints.sftp.wire.host import Host
from actorsync.endpoints.sftp.wire.silence import Silence
from actorsync.errors import ConnectionLost, ProtocolError
from actorsync.protocols.sftp import requests as sftp
from actorsync.protocols.sftp.handles import HANDLE_REQUESTS, DuplicateHandle, OpenHandles
from actorsync.protocols.sftp.packets import INIT, PacketParser, packet, text_in
from actorsync.protocols.sftp.replies import OK, Handle, Reply, Status, parse_reply, parse_version
from actorsync.protocols.sftp.requests import Dialogue, Request

__all__ = ["Channel", "Flight", "RequestPipeline"]

T = TypeVar("T")

#: Bytes of the first pieces of data that are kept, to be shown if they are text.
_FIRST = 200
_TEXT = (
    'the server sent the text "{}" where SFTP should begin; a forced command or a start-up file of the account prints '
    "it, such as .bashrc: let it print only in interactive shells"
)


class Channel(Protocol):
    """Carries the bytes of one connection."""

    def send(self, data: bytes) -> None:
        """Send, without waiting."""

    def abort(self) -> None:
        """Close the connection at once."""


@define(eq=False)
class Flight:
    """Requests that were sent, and the replies that have arrived so far; ``missing`` counts those to come.

    ``crowd`` is how many files were open when the server refused to open one more.
    """

    replies: list[Reply]
    missing: int
    crowd: int = 0
    arrived: trio.Event = attrs.Factory(trio.Event)


class RequestPipeline:
    """Sends requests and delivers the replies. `feed` and `lose` are called in the trio thread, and never raise.

    All methods that wait raise `ConnectionLost` when the connection breaks, when the server breaks the protocol, or
    when no byte arrives for ``stall_seconds``.

    ``host`` is what all connections to the server know of it, and ``handles`` what is open on this one.
    """

    def __init__(self, stall_seconds: float, host: Host | None = None) -> None:
        self.host = host or Host()
        self.handles = OpenHandles()
        self.handle_limit = 0
        """How many files the server says that a connection may have open; 0 if it does not say."""
        self.sent_text = False
        """Whether the server sent text where SFTP should begin."""
        self._silence = Silence(stall_seconds, lambda: self.lose("no answer in time"))
        self._newest = 0
        self._deadly: int | None = None
        self._room = trio.lowlevel.ParkingLot()
        self._alone = 0
        self._channel: Channel | None = None
        self._parser = PacketParser()
        self._waiting: dict[int, tuple[Flight, int, Request]] = {}
        self._identity = 0
        self._first = b""
        self._lost: str | None = None
        self._version: tuple[int, bytes] | None = None
        self._greeted = trio.Event()

    # Called by the channel.

    def feed(self, data: bytes) -> None:
        """Take received bytes."""
        self._silence.note_bytes()
        if self._lost is not None:
            return
        if self._version is None:
            self._first += data[:_FIRST]
        try:
            for kind, body in self._parser.feed(data):
                if self._version is None:
                    self._version = kind, bytes(body)
                    self._greeted.set()
                else:
                    self._receive(*parse_reply(kind, body))
        except ProtocolError as error:
            self.lose(str(error))

    def _receive(self, identity: int, reply: Reply) -> None:
        try:
            waiting = self._waiting.pop(identity)
        except KeyError:
            raise ProtocolError("the server replied to a request that was not sent") from None
        flight, index, request = waiting
        if identity == self._deadly:
            self._deadly = None
            self.host.survive_bytes()
        try:
            self._check(identity, request, reply)
        except ProtocolError:
            self._waiting[identity] = waiting  # so that `lose` wakes its task as well
            raise
        if request.is_unchecked:
            return
        if request.answer is Handle and isinstance(reply, Status):
            flight.crowd = self.handles.opened
        flight.replies[index] = reply
        flight.missing -= 1
        if not flight.missing:
            flight.arrived.set()

    def _check(self, identity: int, request: Request, reply: Reply) -> None:
        """Raise `ProtocolError` for a reply that does not fit its request, or that the server cannot have meant."""
        if not isinstance(reply, Status | request.answer):
            raise ProtocolError(f"the server replied to request {request.kind} with {type(reply).__name__.lower()}")
        if request.kind in HANDLE_REQUESTS:
            try:
                if self.handles.note_answered(identity, reply):
                    self._room.unpark_all()
            except DuplicateHandle:
                self.host.limit_handles(1)
                raise
        if self.host.watches_order:
            self._watch_order(identity)

    def _watch_order(self, identity: int) -> None:
        is_kept, self._newest = identity > self._newest, max(identity, self._newest)
        if (not is_kept or self._waiting) and not self.host.note_order(is_kept=is_kept):
            raise ProtocolError("the server answered requests in another order than before; now each step is awaited")

    def lose(self, reason: str) -> None:
        """Mark the connection as lost, and wake every task that waits for a reply. The first reason is kept."""
        if self._lost is None:
            text = text_in(self._first) if self._version is None else ""
            self.sent_text = bool(text)
            self._lost = _TEXT.format(text) if text else reason
            if self._deadly is not None:
                self.host.note_death()
            if self._channel is not None:
                self._channel.abort()
        self._silence.end()
        self._greeted.set()
        for flight, _, _ in self._waiting.values():
            flight.arrived.set()
        self._waiting.clear()
        self._room.unpark_all()

    # Called by the session.

    async def start(self, channel: Channel) -> dict[str, str]:
        """Negotiate the version, and return the server's extensions by name."""
        self._channel = channel
        channel.send(INIT)
        await self._silence.wait(self._greeted)
        if self._version is None:
            raise ConnectionLost(self._lost or "the server sent no SFTP version")
        return parse_version(self._version[0], memoryview(self._version[1]))

    def send(self, requests: Sequence[Request]) -> Flight:
        """Send a flight in one write, without waiting."""
        if self._lost is not None:
            raise ConnectionLost(self._lost)
        flight = Flight([OK] * len(requests), sum(not request.is_unchecked for request in requests))
        packets = []
        watches_bytes = self.host.watches_bytes
        for index, request in enumerate(requests):
            self._identity = (self._identity + 1) & 0xFFFFFFFF
            self._waiting[self._identity] = flight, index, request
            if request.kind in HANDLE_REQUESTS:
                self.handles.note_sent(self._identity, request)
            if watches_bytes and not sftp.is_utf8(request):
                self._deadly = self._identity
            packets.append(packet(self._identity, request))
        if not flight.missing:
            flight.arrived.set()
        assert self._channel is not None, "requests were sent before `start`"
        self._channel.send(b"".join(packets))
        return flight

    async def room(self, *, alone: bool = False) -> None:
        """Wait until one more file or directory may be opened. The caller sends the request without another wait.

        With ``alone``, wait until none is open. The caller must have none open itself.
        """
        self._alone += alone
        try:
            while self._lost is None and not self._has_room(alone=alone):
                await self._room.park()
        finally:
            self._alone -= alone
            if alone:
                self._room.unpark_all()  # they go on waiting, if the caller opens a file now
        if self._lost is not None:
            raise ConnectionLost(self._lost)

    def _has_room(self, *, alone: bool) -> bool:
        count = self.handles.count
        if alone or self._alone:
            return alone and not count
        return not (0 < self.host.handles <= count or 0 < self.handle_limit <= count)

    async def replies(self, flight: Flight) -> list[Reply]:
        """Wait for all replies to a flight, and return them in the order of its requests."""
        await self._silence.wait(flight.arrived)
        if flight.missing:
            raise ConnectionLost(self._lost or "no answer in time")
        return flight.replies

    async def exchange(self, requests: Sequence[Request]) -> list[Reply]:
        """Send a flight, and wait for its replies."""
        return await self.replies(self.send(requests))

    async def run(self, dialogue: Dialogue[T]) -> T:
        """Run a dialogue to its end, and return its result."""
        try:
            requests = next(dialogue)
            while True:
                requests = dialogue.send(await self.exchange(requests))
        except StopIteration as done:
            result: T = done.value
            return result

    def close_unchecked(self, handle: bytes) -> None:
        """Close a handle without waiting. Never raises, also when the connection is lost."""
        with contextlib.suppress(ConnectionLost):
            self.send([sftp.close_unchecked(handle)])
