"""Flights of SFTP requests over a channel, for as many tasks at once as like: every reply finds its own by its id."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Protocol, TypeVar

import attrs
import trio

from actorsync.errors import ConnectionLost, ProtocolError
from actorsync.protocols.sftp import packets as sftp
from actorsync.protocols.sftp.packets import Dialogue, PacketParser, Reply, Request, Status

__all__ = ["Channel", "Flight", "SftpWire"]

T = TypeVar("T")

#: A server that answers others and never this one does not keep the protocol; so many stalls are enough to know.
_STALLS = 10


class Channel(Protocol):
    """What carries the bytes."""

    def send(self, data: bytes) -> None:
        """Send, without waiting."""

    def abort(self) -> None:
        """End it at once."""


@attrs.define(eq=False)
class Flight:
    """Requests on their way, and the replies that have come so far."""

    replies: list[Reply]
    missing: int
    arrived: trio.Event = attrs.Factory(trio.Event)


class SftpWire:
    """Sends requests and hands out replies. `feed` and `lose` are called in the trio thread, and never raise."""

    def __init__(self, stall_seconds: float) -> None:
        self._stall = stall_seconds
        self._channel: Channel | None = None
        self._parser = PacketParser()
        self._waiting: dict[int, tuple[Flight, int, Request] | None] = {}
        self._identity = 0
        self._heard = 0
        self._lost: str | None = None
        self._version: tuple[int, bytes] | None = None
        self._greeted = trio.Event()

    # What the channel calls.

    def feed(self, data: bytes) -> None:
        """Take bytes of the server."""
        self._heard += 1
        if self._lost is not None:
            return
        try:
            for kind, body in self._parser.feed(data):
                if self._version is None:
                    self._version = kind, bytes(body)
                    self._greeted.set()
                else:
                    self._receive(*sftp.parse_reply(kind, body))
        except ProtocolError as error:
            self.lose(str(error))

    def _receive(self, identity: int, reply: Reply) -> None:
        try:
            waiting = self._waiting.pop(identity)
        except KeyError:
            raise ProtocolError("the server answers what it was not asked") from None
        if waiting is None:
            return
        flight, place, request = waiting
        if not isinstance(reply, Status | request.answer):
            self._waiting[identity] = waiting  # to be woken up with the others
            raise ProtocolError(f"the server answers request {request.kind} with {type(reply).__name__.lower()}")
        flight.replies[place] = reply
        flight.missing -= 1
        if not flight.missing:
            flight.arrived.set()

    def lose(self, reason: str) -> None:
        """Take note that the connection is gone, and wake up everybody who waits for it."""
        if self._lost is None:
            self._lost = reason
            if self._channel is not None:
                self._channel.abort()
        self._greeted.set()
        for waiting in self._waiting.values():
            if waiting is not None:
                waiting[0].arrived.set()
        self._waiting.clear()

    # What sessions call.

    async def begin(self, channel: Channel) -> dict[str, str]:
        """Agree on the version; give the server's extensions."""
        self._channel = channel
        channel.send(sftp.INIT)
        await self._wait(self._greeted)
        if self._version is None:
            raise ConnectionLost(self._lost or "the server says nothing")
        return sftp.parse_version(self._version[0], memoryview(self._version[1]))

    def launch(self, requests: Sequence[Request]) -> Flight:
        """Send a flight, without waiting."""
        if self._lost is not None:
            raise ConnectionLost(self._lost)
        flight = Flight([sftp.OK] * len(requests), sum(not request.is_parting for request in requests))
        packets = []
        for place, request in enumerate(requests):
            self._identity = (self._identity + 1) & 0xFFFFFFFF
            self._waiting[self._identity] = None if request.is_parting else (flight, place, request)
            packets.append(sftp.packet(self._identity, request))
        if not flight.missing:
            flight.arrived.set()
        assert self._channel is not None, "launched before it began"
        self._channel.send(b"".join(packets))
        return flight

    async def landed(self, flight: Flight) -> list[Reply]:
        """Wait for all the replies of a flight; give them in the order of its requests."""
        await self._wait(flight.arrived)
        if flight.missing:
            raise ConnectionLost(self._lost or "no answer in time")
        return flight.replies

    async def exchange(self, requests: Sequence[Request]) -> list[Reply]:
        """Send a flight, and wait for its replies."""
        return await self.landed(self.launch(requests))

    async def play(self, dialogue: Dialogue[T]) -> T:
        """Hold a whole conversation, and give what was learnt."""
        try:
            flight = next(dialogue)
            while True:
                flight = dialogue.send(await self.exchange(flight))
        except StopIteration as done:
            result: T = done.value
            return result

    async def _wait(self, event: trio.Event) -> None:
        """Wait for as long as the server says anything at all; without a word from it the connection is lost."""
        if event.is_set():
            return
        for _ in range(_STALLS):
            heard = self._heard
            with trio.move_on_after(self._stall):
                await event.wait()
                return
            if self._heard == heard:
                break
        self.lose("no answer in time")

    def part(self, handle: bytes) -> None:
        """Close a handle on the way out: whatever state the connection is in, this is no reason to fail."""
        with contextlib.suppress(ConnectionLost):
            self.launch([sftp.part(handle)])
