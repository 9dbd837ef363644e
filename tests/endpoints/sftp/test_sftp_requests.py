"""The request pipeline: replies reach their flights, and a lost connection fails all waiting tasks at once."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from random import Random

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from actorsync.endpoints.sftp.wire.requests import Flight, RequestPipeline
from actorsync.errors import ConnectionLost, OperationRefused, ProtocolError
from actorsync.protocols.sftp import requests as sftp
from actorsync.protocols.sftp.packets import INIT
from actorsync.protocols.sftp.replies import OK, Attributes, Data, Extended, Handle, Names, Reply, Status
from actorsync.protocols.sftp.requests import Dialogue, Request
from tests.support.servers.sftp_tree_wire import encode, version

STALL = 10.0


@attrs.define(eq=False)
class Line:
    """A channel that records what is sent; the test answers by hand."""

    sent: list[bytes] = attrs.Factory(list)
    aborted: int = 0

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def abort(self) -> None:
        self.aborted += 1

    def identities(self) -> list[int]:
        """Return the ids of all requests so far."""
        found, data = [], b"".join(self.sent[1:])
        while data:
            length, _, identity = struct.unpack_from(">IBI", data)
            found.append(identity)
            data = data[4 + length :]
        return found


async def begun() -> tuple[RequestPipeline, Line]:
    """Return a pipeline with a negotiated version, and its channel."""
    wire, line = RequestPipeline(STALL), Line()
    wire.feed(version({"a@b": "1"}))
    assert await wire.start(line) == {"a@b": "1"}
    assert line.sent == [INIT]
    return wire, line


def look(count: int) -> list[Request]:
    return [sftp.lstat(f"/{number}") for number in range(count)]


def attributes(number: int) -> Attributes:
    return Attributes(number, 0o100644, number)


async def fails(wire: RequestPipeline, flight: Flight, failed: list[str]) -> None:
    with pytest.raises(ConnectionLost) as caught:
        await wire.replies(flight)
    failed.append(str(caught.value))


# --- Replies


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 99), st.lists(st.integers(0, 400)))
@settings(max_examples=40, deadline=None)
def test_replies_in_any_order_and_pieces_reach_their_flights(sizes: list[int], seed: int, cuts: list[int]) -> None:
    async def main() -> None:
        wire, line = await begun()
        flights = [wire.send(look(size)) for size in sizes]
        identities = line.identities()
        answers = [encode(identity, attributes(number)) for number, identity in enumerate(identities)]
        Random(seed).shuffle(answers)
        data = b"".join(answers)
        edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        for start, end in itertools.pairwise(edges):
            wire.feed(data[start:end])
        first = 0
        for flight, size in zip(flights, sizes, strict=True):
            assert await wire.replies(flight) == [attributes(number) for number in range(first, first + size)]
            first += size

    trio.run(main)


async def test_tasks_wait_only_for_their_own_replies(autojump_clock: MockClock) -> None:
    wire, _ = await begun()
    landed: list[str] = []

    async def exchange(name: str, count: int) -> None:
        await wire.exchange(look(count))
        landed.append(name)

    async with trio.open_nursery() as nursery:
        for name, count in (("one", 2), ("two", 1)):
            nursery.start_soon(exchange, name, count)
            await wait_all_tasks_blocked()
        for identity, expected in ((3, ["two"]), (2, ["two"]), (1, ["two", "one"])):
            wire.feed(encode(identity, attributes(0)))
            await wait_all_tasks_blocked()
            assert landed == expected


async def test_status_is_a_valid_reply_to_any_request(autojump_clock: MockClock) -> None:
    wire, _ = await begun()
    requests = [sftp.lstat("/a"), sftp.open_new("/a"), sftp.read(b"h", 0, 1), sftp.real_path("."), sftp.file_system("")]
    flight = wire.send(requests)
    for identity in range(1, 6):
        wire.feed(encode(identity, Status(identity + 1)))
    assert await wire.replies(flight) == [Status(code) for code in range(2, 7)]


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (sftp.lstat("/a"), Handle(b"h")),
        (sftp.open_new("/a"), Attributes()),
        (sftp.remove("/a"), Attributes()),
        (sftp.close(b"h"), Data(b"")),
        (sftp.read(b"h", 0, 1), Names(())),
        (sftp.real_path("."), Data(b"")),
        (sftp.read_directory(b"h"), Extended(b"")),
        (sftp.file_system("/"), Attributes()),
        (sftp.rename_over("/a", "/b"), Extended(b"")),
    ],
)
async def test_m020_reply_of_the_wrong_type_loses_the_connection_for_all_tasks(
    request_: Request, reply: Reply, autojump_clock: MockClock
) -> None:
    wire, line = await begun()
    failed: list[str] = []
    async with trio.open_nursery() as nursery:
        for requests in ([request_], look(3)):
            nursery.start_soon(fails, wire, wire.send(requests), failed)
        await wait_all_tasks_blocked()
        wire.feed(encode(1, reply))
    kind = type(reply).__name__.lower()
    assert failed == [f"the server replied to request {request_.kind} with {kind}"] * 2
    assert line.aborted == 1
    assert trio.current_time() < STALL, "the tasks were woken before the timeout"


@pytest.mark.parametrize(
    "identities",
    [[9], [0], [2**32 - 1], [1, 1]],
    ids=["never asked", "zero", "the last", "twice"],
)
async def test_m020_reply_to_an_unsent_request_loses_the_connection_for_all_tasks(
    identities: Sequence[int], autojump_clock: MockClock
) -> None:
    wire, line = await begun()
    failed: list[str] = []
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(fails, wire, wire.send(look(2)), failed)
        await wait_all_tasks_blocked()
        wire.feed(b"".join(encode(identity, attributes(1)) for identity in identities))
    assert failed == ["the server replied to a request that was not sent"] * 3
    assert line.aborted == 1
    assert trio.current_time() < STALL
    with pytest.raises(ConnectionLost, match="a request that was not sent"):
        wire.send(look(1))


@pytest.mark.parametrize("data", [b"\0\0\0\0", b"SSH-2.0-x\r\n", encode(1, attributes(1))[:4] + b"\x07\0\0\0\1"])
async def test_m091_bytes_that_are_not_sftp_lose_the_connection(data: bytes, autojump_clock: MockClock) -> None:
    wire, line = await begun()
    failed: list[str] = []
    flight = wire.send(look(1))
    wire.feed(data.ljust(40, b"\0"))
    await fails(wire, flight, failed)
    assert line.aborted == 1
    wire.feed(encode(1, attributes(1)))  # bytes after the loss are ignored
    await fails(wire, flight, failed)
    assert failed[0] == failed[1]


@given(st.lists(st.binary(max_size=40), max_size=5))
@settings(max_examples=60, deadline=None)
def test_m091_feed_never_raises(pieces: list[bytes]) -> None:
    async def main() -> None:
        wire, _ = await begun()
        wire.send(look(3))
        for piece in pieces:
            wire.feed(piece)
        wire.lose("gone")

    trio.run(main)


# --- Losing the connection


async def test_lost_connection_wakes_all_tasks_at_once(autojump_clock: MockClock) -> None:
    wire, line = await begun()
    failed: list[str] = []
    async with trio.open_nursery() as nursery:
        for count in (1, 2, 128):
            nursery.start_soon(fails, wire, wire.send(look(count)), failed)
        await wait_all_tasks_blocked()
        wire.lose("reset by peer")
        wire.lose("and something else")
    assert failed == ["reset by peer"] * 3, "the first reason counts"
    assert (line.aborted, trio.current_time()) == (1, 0)


async def test_nothing_is_sent_after_the_connection_is_lost(autojump_clock: MockClock) -> None:
    wire, line = await begun()
    wire.lose("gone")
    for requests in (look(1), [sftp.close_unchecked(b"h")]):
        with pytest.raises(ConnectionLost, match="gone"):
            wire.send(requests)
    wire.close_unchecked(b"h")
    assert line.sent == [INIT]


async def test_complete_flight_keeps_its_replies_after_the_connection_is_lost(autojump_clock: MockClock) -> None:
    wire, _ = await begun()
    whole, half = wire.send(look(2)), wire.send(look(2))
    for identity in (3, 2, 1):
        wire.feed(encode(identity, attributes(identity)))
    wire.lose("gone")
    assert await wire.replies(whole) == [attributes(1), attributes(2)]
    with pytest.raises(ConnectionLost, match="gone"):
        await wire.replies(half)


async def test_cancelled_task_does_not_disturb_the_others(autojump_clock: MockClock) -> None:
    wire, line = await begun()
    with trio.move_on_after(1) as scope:
        await wire.exchange(look(2))
    assert scope.cancelled_caught
    flight = wire.send(look(1))
    for identity in (1, 2, 3):  # replies to cancelled requests are accepted
        wire.feed(encode(identity, attributes(identity)))
    assert await wire.replies(flight) == [attributes(3)]
    assert line.aborted == 0


# --- Silence


async def test_m011_m017_silent_server_loses_the_connection(autojump_clock: MockClock) -> None:
    wire, line = await begun()
    failed: list[str] = []
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(fails, wire, wire.send(look(1)), failed)
    assert failed == ["no answer in time"] * 2
    assert trio.current_time() == pytest.approx(STALL)
    assert line.aborted == 1


async def test_m017_slow_bytes_keep_the_connection(autojump_clock: MockClock) -> None:
    """One reply arrives byte by byte over seventy seconds, with pauses below the limit."""
    wire, line = await begun()
    answer = encode(1, Status(4, "slow"))
    assert len(answer) == 25

    async def trickle() -> None:
        for place in range(len(answer)):
            await trio.sleep(0.28 * STALL)
            wire.feed(answer[place : place + 1])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trickle)
        assert await wire.exchange(look(1)) == [Status(4, "slow")]
    assert trio.current_time() == pytest.approx(25 * 0.28 * STALL)
    assert line.aborted == 0


async def test_m017_connection_is_lost_when_one_request_is_never_answered(autojump_clock: MockClock) -> None:
    wire, line = await begun()
    failed: list[str] = []

    async def others() -> None:
        while True:
            flight = wire.send(look(1))
            await trio.sleep(STALL / 2)
            wire.feed(encode(line.identities()[-1], attributes(1)))
            await wire.replies(flight)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fails, wire, wire.send(look(1)), failed)
        with pytest.raises(ConnectionLost):
            await others()
    assert failed == ["no answer in time"]
    assert STALL < trio.current_time() <= 11 * STALL


async def test_m017_idle_connection_may_be_silent(autojump_clock: MockClock) -> None:
    wire, line = await begun()
    await trio.sleep(100 * STALL)
    flight = wire.send(look(1))
    wire.feed(encode(1, attributes(1)))
    assert await wire.replies(flight) == [attributes(1)]
    assert line.aborted == 0


# --- Unchecked requests


async def test_replies_to_unchecked_requests_are_not_waited_for(autojump_clock: MockClock) -> None:
    wire, line = await begun()
    assert await wire.exchange([sftp.close_unchecked(b"h")]) == [OK]
    flight = wire.send([sftp.lstat("/a"), sftp.close_unchecked(b"h"), sftp.lstat("/b")])
    wire.close_unchecked(b"h")
    assert line.identities() == [1, 2, 3, 4, 5]
    for identity in (4, 2):
        wire.feed(encode(identity, attributes(identity)))
    assert await wire.replies(flight) == [attributes(2), OK, attributes(4)]
    for identity, reply in ((3, OK), (1, Status(4)), (5, Status(9, "?"))):
        wire.feed(encode(identity, reply))
    assert line.aborted == 0
    wire.feed(encode(5, OK))
    assert line.aborted == 1, "a second reply to the same request is an error"


async def test_limit_of_a_wait_counts_from_its_own_beginning(autojump_clock: MockClock) -> None:
    """One task watches all waits of a connection. It ends with the last of them, and begins again."""
    wire, line = await begun()
    failed: list[str] = []
    flight = wire.send(look(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.replies, flight)
        await trio.sleep(STALL / 2)
        wire.feed(encode(1, attributes(1)))
    for _ in range(2):  # over the end of the first limit, while nothing waits
        await trio.sleep(STALL)
        flight = wire.send(look(1))
        wire.feed(encode(line.identities()[-1], attributes(1)))
        await wire.replies(flight)
    began = trio.current_time()
    await fails(wire, wire.send(look(1)), failed)
    assert failed == ["no answer in time"]
    assert trio.current_time() - began == pytest.approx(STALL)


# --- Start


async def test_m022_other_version_raises(autojump_clock: MockClock) -> None:
    wire = RequestPipeline(STALL)
    wire.feed(version({}, 6))
    with pytest.raises(ProtocolError, match="version 6"):
        await wire.start(Line())


async def test_m011_server_without_a_version_times_out(autojump_clock: MockClock) -> None:
    wire, line = RequestPipeline(STALL), Line()
    with pytest.raises(ConnectionLost, match="no answer in time"):
        await wire.start(line)
    assert trio.current_time() == pytest.approx(STALL)
    assert line.aborted == 1


async def test_start_raises_on_a_lost_connection(autojump_clock: MockClock) -> None:
    wire = RequestPipeline(STALL)
    wire.lose("gone")
    with pytest.raises(ConnectionLost, match="gone"):
        await wire.start(Line())
    assert trio.current_time() == 0


async def test_m020_reply_before_any_request_loses_the_connection(autojump_clock: MockClock) -> None:
    wire, line = RequestPipeline(STALL), Line()
    wire.feed(version({}) + encode(1, OK))
    assert await wire.start(line) == {}
    with pytest.raises(ConnectionLost, match="a request that was not sent"):
        wire.send(look(1))


# --- Dialogues


async def test_run_returns_the_result_of_a_dialogue(autojump_clock: MockClock) -> None:
    wire, _ = await begun()

    def dialogue() -> Dialogue[list[Reply]]:
        first = yield look(1)
        second = yield look(2)
        return first + second

    async def serve() -> None:
        for identity in (1, 3, 2):
            await wait_all_tasks_blocked()
            wire.feed(encode(identity, attributes(identity)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        assert await wire.run(dialogue()) == [attributes(1), attributes(2), attributes(3)]


async def test_dialogue_with_an_unsendable_path_sends_nothing(autojump_clock: MockClock) -> None:
    wire, line = await begun()

    def dialogue() -> Dialogue[None]:
        yield [sftp.lstat("/a\0")]

    with pytest.raises(OperationRefused):
        await wire.run(dialogue())
    assert line.sent == [INIT]
