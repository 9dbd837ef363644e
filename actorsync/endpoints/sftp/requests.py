"""Flights of SFTP requests over a channel, from many tasks at once: a reply is matched to its request by the id."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Protocol, TypeVar

import attrs
import trio

from actorsync.errors import ConnectionLost, ProtocolError
from actorsync.protocols.sftp import requests as sftp
from actorsync.protocols.sftp.packets import INIT, PacketParser, packet
from actorsync.protocols.sftp.replies import OK, Reply, Status, parse_reply, parse_version
from actorsync.protocols.sftp.requests import Dialogue, Request

__all__ = ["Channel", "Flight", "RequestPipeline"]

T = TypeVar("T")

#: How many timeouts a single flight may take while the server answers others. More than that breaks the protocol.
_MAX_STALLS = 10


class Channel(Protocol):
    """Carries the bytes of one connection."""

    def send(self, data: bytes) -> None:
        """Send, without waiting."""

    def abort(self) -> None:
        """Close the connection at once."""


@attrs.define(eq=False)
class Flight:
    """Requests that were sent, and the replies that have arrived so far; ``missing`` counts those to come."""

    replies: list[Reply]
    missing: int
    arrived: trio.Event = attrs.Factory(trio.Event)


class RequestPipeline:
    """Sends requests and delivers the replies. `feed` and `lose` are called in the trio thread, and never raise.

    All methods that wait raise `ConnectionLost` when the connection breaks, when the server breaks the protocol, or
    when no byte arrives for ``stall_seconds``.
    """

    def __init__(self, stall_seconds: float) -> None:
        self._stall_seconds = stall_seconds
        self._channel: Channel | None = None
        self._parser = PacketParser()
        self._waiting: dict[int, tuple[Flight, int, Request] | None] = {}
        self._identity = 0
        self._feeds = 0
        self._lost: str | None = None
        self._version: tuple[int, bytes] | None = None
        self._greeted = trio.Event()

    # Called by the channel.

    def feed(self, data: bytes) -> None:
        """Take received bytes."""
        self._feeds += 1
        if self._lost is not None:
            return
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
        if waiting is None:
            return
        flight, index, request = waiting
        if not isinstance(reply, Status | request.answer):
            self._waiting[identity] = waiting  # so that `lose` wakes its task as well
            raise ProtocolError(f"the server replied to request {request.kind} with {type(reply).__name__.lower()}")
        flight.replies[index] = reply
        flight.missing -= 1
        if not flight.missing:
            flight.arrived.set()

    def lose(self, reason: str) -> None:
        """Mark the connection as lost, and wake every task that waits for a reply. The first reason is kept."""
        if self._lost is None:
            self._lost = reason
            if self._channel is not None:
                self._channel.abort()
        self._greeted.set()
        for waiting in self._waiting.values():
            if waiting is not None:
                waiting[0].arrived.set()
        self._waiting.clear()

    # Called by the session.

    async def start(self, channel: Channel) -> dict[str, str]:
        """Negotiate the version, and return the server's extensions by name."""
        self._channel = channel
        channel.send(INIT)
        await self._wait(self._greeted)
        if self._version is None:
            raise ConnectionLost(self._lost or "the server sent no SFTP version")
        return parse_version(self._version[0], memoryview(self._version[1]))

    def send(self, requests: Sequence[Request]) -> Flight:
        """Send a flight in one write, without waiting."""
        if self._lost is not None:
            raise ConnectionLost(self._lost)
        flight = Flight([OK] * len(requests), sum(not request.is_unchecked for request in requests))
        packets = []
        for index, request in enumerate(requests):
            self._identity = (self._identity + 1) & 0xFFFFFFFF
            self._waiting[self._identity] = None if request.is_unchecked else (flight, index, request)
            packets.append(packet(self._identity, request))
        if not flight.missing:
            flight.arrived.set()
        assert self._channel is not None, "requests were sent before `start`"
        self._channel.send(b"".join(packets))
        return flight

    async def replies(self, flight: Flight) -> list[Reply]:
        """Wait for all replies to a flight, and return them in the order of its requests."""
        await self._wait(flight.arrived)
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

    async def _wait(self, event: trio.Event) -> None:
        """Wait as long as bytes arrive; without any in ``stall_seconds`` the connection is lost."""
        if event.is_set():
            return
        for _ in range(_MAX_STALLS):
            feeds = self._feeds
            with trio.move_on_after(self._stall_seconds):
                await event.wait()
                return
            if self._feeds == feeds:
                break
        self.lose("no answer in time")

    def close_unchecked(self, handle: bytes) -> None:
        """Close a handle without waiting. Never raises, also when the connection is lost."""
        with contextlib.suppress(ConnectionLost):
            self.send([sftp.close_unchecked(handle)])
