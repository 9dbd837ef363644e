"""A source on a server: shared connections, lost connections, no connection at all. Trees in memory, virtual time."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.reading.remote_source import LOSSES, RemoteSource
from actorsync.endpoints.contract import Capabilities, Content
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.errors import ConnectionLost, LoginRefused, SourceLost, TooManyConnections
from actorsync.model.entry import Entry, Listing, Problem, Root
from actorsync.model.event import Confirmed, Reconnecting, Warned
from actorsync.testing.faulty_endpoint import Faulty, RandomFaults, When
from tests.support.world.memory_mirror import ONE, Mirror

SECOND = 10**9
NOW = 1_700_000_000 * SECOND
DAY = 86_400 * SECOND


def a_source(**settings: Any) -> MemoryEndpoint:
    """Return a tree as a server lists it, with files that are days old."""
    settings = {"precision_ns": SECOND, "inodes": False, "lanes": 3, **settings}
    return MemoryEndpoint("source", is_remote=True, now=lambda: NOW - 3 * DAY, **settings)


def a_mirror(files: int = 30, **settings: Any) -> Mirror:
    mirror = Mirror(source=a_source(**settings), wall_ns=lambda: NOW)
    mirror.fill(files)
    return mirror


@attrs.define(eq=False)
class Server:
    """A source whose callbacks decide about each login, listing and read."""

    endpoint: MemoryEndpoint
    entering: Callable[[], None] = lambda: None
    reading: Callable[[str], None] = lambda path: None
    listed: Callable[[Listing], Listing] = lambda listing: listing
    using: Callable[[Any], None] = lambda session: None
    tells_times: bool = True
    logins: int = 0
    sessions: int = 0
    most: int = 0

    display = "the server"

    @property
    def capabilities(self) -> Capabilities:
        return self.endpoint.capabilities

    async def identify(self) -> Root:
        return await self.endpoint.identify()

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Any]:
        self.logins += 1
        self.entering()
        async with self.endpoint.open_session() as session:
            self.sessions += 1
            self.most = max(self.most, self.sessions)
            try:
                yield _Session(session, self)
            finally:
                self.sessions -= 1


class _Session:
    def __init__(self, session: Any, server: Server) -> None:
        self._session, self._server = session, server
        self.used = trio.current_time()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def list_directory(self, directory: str) -> Listing:
        self._server.using(self)
        self._server.reading(directory)
        return self._server.listed(await self._session.list_directory(directory))

    @asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[Content]:
        self._server.using(self)
        async with self._session.open(path) as content:
            yield _Content(content, self._server)


class _Content:
    def __init__(self, content: Any, server: Server) -> None:
        self._content, self._server = content, server

    @property
    def entry(self) -> Entry:
        entry: Entry = self._content.entry
        return entry if self._server.tells_times else attrs.evolve(entry, mtime_ns=None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def read(self, max_bytes: int) -> bytes:
        self._server.reading(self._content.entry.path)
        return await self._content.read(max_bytes)  # type: ignore[no-any-return]


async def test_lanes_share_a_limited_number_of_source_connections(autojump_clock: MockClock) -> None:
    """One per connection to the target and one for the scan, no matter how many lanes read."""
    for lanes in (1, 3, 20):
        mirror = a_mirror(100, lanes=lanes)
        server = Server(mirror.source)
        report = await mirror.run(source=server, policy=attrs.evolve(ONE, connections=2))
        assert (report.exit_code, report.copied) == (0, 100)
        assert server.most <= 3
        assert server.logins == server.most, "none was replaced"
        assert server.sessions == 0


@pytest.mark.parametrize("most", [1, 2])
async def test_source_with_connection_limit_is_read_over_fewer_connections(
    most: int, autojump_clock: MockClock
) -> None:
    mirror = a_mirror(40, lanes=1, max_sessions=most)
    report = await mirror.run(policy=attrs.evolve(ONE, connections=3))
    assert (report.exit_code, report.copied) == (0, 40)
    assert mirror.target.files() == mirror.source.files()


@pytest.mark.parametrize("seed", range(8))
async def test_lost_source_connections_fail_no_file(seed: int, autojump_clock: MockClock) -> None:
    """Each file arrives, the connections to the target stay, and no temporary is left."""
    mirror = a_mirror(60)
    rng = random.Random(seed)
    mirror.source.write("big", rng.randbytes(100_000))
    faults = RandomFaults(rng, 0.03, kinds=("lose", "wait"))
    report = await mirror.run(source=Faulty(mirror.source, faults), policy=attrs.evolve(ONE, connections=2))
    assert (report.exit_code, report.copied, report.failures) == (0, 61, ())
    assert not mirror.seen(Reconnecting)
    assert mirror.target.files() == mirror.source.files()
    mirror.check_one_outcome_each()
    mirror.check_nothing_left()
    assert (await mirror.run()).copied == 0


@pytest.mark.parametrize("seed", range(4))
async def test_lost_connections_on_both_sides_fail_no_file(seed: int, autojump_clock: MockClock) -> None:
    mirror = a_mirror(40)
    source = Faulty(mirror.source, RandomFaults(random.Random(seed), 0.02, kinds=("lose", "wait")))
    target = Faulty(mirror.target, RandomFaults(random.Random(-seed - 1), 0.02, kinds=("lose", "wait")))
    for _ in range(3):
        report = await mirror.run(target, source=source, policy=attrs.evolve(ONE, connections=2))
        if report.exit_code == 0:
            break
    assert report.exit_code == 0
    assert mirror.target.files() == mirror.source.files()
    mirror.check_nothing_left()


@pytest.mark.parametrize("lanes", [1, 8])
async def test_file_that_breaks_every_source_connection_fails_alone(lanes: int, autojump_clock: MockClock) -> None:
    mirror = a_mirror(30, lanes=lanes)
    tries = 0

    def reading(path: str) -> None:
        nonlocal tries
        if path == "d/7":
            tries += 1
            raise ConnectionLost("cut")

    report = await mirror.run(source=Server(mirror.source, reading=reading), policy=attrs.evolve(ONE, connections=2))
    assert (report.exit_code, report.copied) == (1, 29)
    assert dict(report.failures) == {
        "d/7": f"the connection to the source was lost {LOSSES} times during this read: cut"
    }
    assert LOSSES <= tries <= LOSSES + 2, (
        "a loss after an idle time does not count, and the file is tried again after its directory was made again"
    )
    mirror.check_nothing_left()


async def test_directory_that_breaks_every_source_connection_is_kept_on_the_target(autojump_clock: MockClock) -> None:
    mirror = a_mirror(5)
    mirror.source.write("e/f", b"f")
    assert (await mirror.run()).copied == 6
    mirror.source.write("e/g", b"g")
    mirror.source.delete("d/1")

    def reading(path: str) -> None:
        if path == "d":
            raise ConnectionLost("cut")

    report = await mirror.run(source=Server(mirror.source, reading=reading))
    assert (report.exit_code, report.copied, report.removed) == (1, 1, 0)
    assert "d/1" in mirror.target.files(), "no entry of it is known to be gone"


@pytest.mark.parametrize("after", [0, 1, 2, 5])
async def test_unreachable_source_ends_the_run_and_removes_nothing(after: int, autojump_clock: MockClock) -> None:
    mirror = a_mirror(30, lanes=1)
    assert (await mirror.run()).copied == 30
    for number in range(10):
        mirror.source.delete(f"d/{number}")
    mirror.source.write("e/new", b"new")
    calls = 0

    def away(path: str = "") -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            raise ConnectionLost("connection refused")

    report = await mirror.run(source=Server(mirror.source, entering=away, reading=away))
    assert (report.exit_code, report.removed) == (5, 0)
    assert report.error == "the source the server could not be reached: connection refused"
    assert len(mirror.target.files()) >= 30
    assert [warned.text for warned in mirror.seen(Warned)] in (
        [],
        ["no connection to the source: connection refused; trying again"],
    )
    assert (await mirror.run()).exit_code == 0
    assert mirror.target.files() == mirror.source.files()


async def test_rejected_login_is_reported_as_that_of_the_source(autojump_clock: MockClock) -> None:
    mirror = a_mirror(3)

    def entering() -> None:
        raise LoginRefused("ftp://u@h/: 530 wrong")

    server = Server(mirror.source, entering=entering)
    report = await mirror.run(source=server)
    assert (report.exit_code, report.error) == (6, "the source ftp://u@h/: 530 wrong")
    assert server.logins == 1


async def test_root_that_cannot_be_listed_is_refused_by_a_guard(autojump_clock: MockClock) -> None:
    mirror = a_mirror(3)
    assert (await mirror.run()).copied == 3

    def listed(listing: Listing) -> Listing:
        return Listing(listing.directory, problem=Problem(listing.directory, "550 closed"))

    report = await mirror.run(source=Server(mirror.source, listed=listed))
    assert (report.exit_code, report.removed) == (4, 0)
    assert report.error == "cannot use the source the server as a root: 550 closed"
    mirror.source.delete("d")
    report = await mirror.run()
    assert (report.exit_code, report.removed, len(mirror.target.files())) == (0, 4, 0), "max-delete is 100%"


async def test_entries_missing_from_a_truncated_listing_are_not_removed(autojump_clock: MockClock) -> None:
    mirror = a_mirror(10)
    mirror.source.write("e/f/g", b"g")
    mirror.source.write("really gone", b"x")
    mirror.source.write("h/really gone too", b"y")
    assert (await mirror.run()).copied == 13
    mirror.source.delete("really gone")
    mirror.source.delete("h")

    def listed(listing: Listing) -> Listing:
        return attrs.evolve(listing, entries=listing.entries[: 5 if listing.directory == "d" else 1])

    report = await mirror.run(source=Server(mirror.source, listed=listed))
    assert report.exit_code == 1
    reason = "not removed: the source has it, though a listing did not show it"
    assert set(dict(report.failures).values()) == {reason}
    assert mirror.target.files() == mirror.source.files(), "files that are really gone are removed"
    assert (await mirror.run()).exit_code == 0


async def test_directory_reported_missing_but_listed_by_its_parent_counts_as_unreadable(
    autojump_clock: MockClock,
) -> None:
    mirror = a_mirror(3)
    assert (await mirror.run()).copied == 3

    def listed(listing: Listing) -> Listing:
        if listing.directory != "d":
            return listing
        return Listing("d", problem=Problem("d", "550", vanished=True))

    report = await mirror.run(source=Server(mirror.source, listed=listed))
    assert (report.exit_code, report.removed) == (1, 0), "the directory is reported"


async def test_drain_while_the_source_is_down_ends_the_run_soon(autojump_clock: MockClock) -> None:
    mirror = a_mirror(30, lanes=1)
    reads = 0

    def reading(path: str) -> None:
        nonlocal reads
        reads += 1
        if reads == 12:
            away.set()
        if away.is_set():
            raise ConnectionLost("cut")

    def entering() -> None:
        if away.is_set():
            raise ConnectionLost("refused")

    away = trio.Event()

    async def drain() -> None:
        await away.wait()
        await trio.sleep(0.2)
        mirror.shutdown.drain()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain)
        report = await mirror.run(source=Server(mirror.source, reading=reading, entering=entering))
    assert (report.exit_code, report.drained) == (3, True)
    assert report.seconds < 5
    mirror.check_nothing_left()


async def test_idle_connections_closed_by_the_server_are_replaced(autojump_clock: MockClock) -> None:
    """That happens to all of them, many times, and counts as no failure."""
    endpoint = a_source(lanes=1)
    endpoint.write("a", b"a")
    losses = 0

    def idle(session: Any) -> None:
        nonlocal losses
        now = trio.current_time()
        if now - session.used > 5:
            losses += 1
            raise ConnectionLost("421 Timeout")
        session.used = now

    source = RemoteSource(Server(endpoint, using=idle), 4, ONE.backoff, trio.Event())
    facts, _unread = trio.open_memory_channel[Any](100)

    async def read(session: Any) -> None:
        tries = 0
        while True:
            tries += 1
            try:
                async with session.open("a") as content:
                    await trio.sleep(0.1)
                    assert await content.read(10) == b"a"
                    assert await content.is_unchanged()
                    return
            except SourceLost:
                assert tries <= 2

    async with source.kept(facts), source.open_session() as session:
        for _ in range(20):
            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(read, session)
                assert (await session.list_directory("")).problem is None
            await trio.sleep(100)
    assert losses >= 19


# Times.


@pytest.mark.parametrize("skew", [-20 * 3600, -5, 0, 5, 20 * 3600])
async def test_file_rewritten_within_the_same_second_is_sent_again(skew: int, autojump_clock: MockClock) -> None:
    """Whatever the clock of the server: a file with a recent time is read once more, and then trusted."""
    now = NOW
    source = MemoryEndpoint(
        "source", is_remote=True, now=lambda: now + skew * SECOND, precision_ns=SECOND, inodes=False
    )
    mirror = Mirror(source=source, wall_ns=lambda: now)
    source.write("a", b"one")
    source.write("b", b"two")
    assert (await mirror.run()).copied == 2
    source.write("a", b"ONE")
    now += 10 * SECOND
    began = trio.current_time()
    report = await mirror.run()
    assert (report.copied, mirror.target.files()) == (1, {"a": b"ONE", "b": b"two"})
    assert [event.source.path for event in mirror.seen(Confirmed)] == ["b"]
    assert trio.current_time() - began < 5
    now += 3_600 * SECOND
    await mirror.run()
    assert [event.source.path for event in mirror.seen(Confirmed)] == ["a"], "which was recent when it was sent again"
    reads: list[str] = []

    def decide(verb: str, when: When) -> None:
        if verb == "read":
            reads.append(verb)

    assert (await mirror.run(source=Faulty(source, decide))).copied == 0
    assert not reads


async def test_source_without_times_is_read_again_in_each_run(autojump_clock: MockClock) -> None:
    """An equal size alone proves nothing."""
    mirror = a_mirror(2)

    def listed(listing: Listing) -> Listing:
        return attrs.evolve(listing, entries=tuple(attrs.evolve(it, mtime_ns=None) for it in listing.entries))

    server = Server(mirror.source, listed=listed, tells_times=False)
    assert (await mirror.run(source=server)).copied == 2
    assert (await mirror.run(source=server)).copied == 0
    mirror.source.write("d/0", b"1" * 9)
    for copied in (1, 0, 0):
        assert (await mirror.run(source=server)).copied == copied
        assert len(mirror.seen(Confirmed)) == 2 - copied
    assert mirror.target.files() == mirror.source.files()


# Many listings at once, over connections that carry one thing at a time.


@attrs.define(eq=False)
class SlowServer:
    """A source whose logins and listings take a second each. It rejects a login beside more than ``crowd`` others."""

    endpoint: MemoryEndpoint
    crowd: int = 100
    logging_in: int = 0
    together: list[int] = attrs.Factory(list)
    """For each login how many others were in progress as it began."""
    sessions: int = 0
    rejected: int = 0
    ahead: list[bool] = attrs.Factory(list)
    """For each listing whether another one was to follow over the same connection."""

    display = "the server"

    @property
    def capabilities(self) -> Capabilities:
        return self.endpoint.capabilities

    async def identify(self) -> Root:
        return await self.endpoint.identify()

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Any]:
        self.together.append(self.logging_in)
        self.logging_in += 1
        try:
            await trio.sleep(1)
            if self.logging_in - 1 > self.crowd:
                self.rejected += 1
                raise TooManyConnections("too many logins")
        finally:
            self.logging_in -= 1
        async with self.endpoint.open_session() as session:
            self.sessions += 1
            yield _SlowSession(session, self)


@attrs.frozen
class _SlowSession:
    _session: Any
    _server: SlowServer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def list_directory(self, directory: str) -> Listing:
        return await self.list_directory_ahead(directory, bool)

    async def list_directory_ahead(self, directory: str, ahead: Callable[[], bool]) -> Listing:
        await trio.sleep(1)
        self._server.ahead.append(ahead())
        listing: Listing = await self._session.list_directory(directory)
        return listing


async def list_at_once(server: SlowServer, listings: int) -> float:
    """List the root so many times at once over at most 9 connections, and return the seconds that this takes."""
    source = RemoteSource(server, 8, ONE.backoff, trio.Event())
    facts, _unread = trio.open_memory_channel[Any](100)
    async with source.kept(facts), source.open_session() as session:
        assert (await session.list_directory("")).problem is None
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(listings):
                nursery.start_soon(session.list_directory, "")
        return trio.current_time() - began


async def test_first_login_is_made_alone_and_the_others_side_by_side(autojump_clock: MockClock) -> None:
    server = SlowServer(a_source(lanes=1))
    seconds = await list_at_once(server, 18)
    assert server.together == [0, 0, 1, 2, 3, 4, 5, 6, 7], "the first server that answers is asked for more"
    assert seconds == 3, "one listing while the others log in, then 9 at a time"


async def test_no_more_logins_are_made_than_listings_wait(autojump_clock: MockClock) -> None:
    server = SlowServer(a_source(lanes=1))
    await list_at_once(server, 3)
    assert server.sessions == 3


@pytest.mark.parametrize("crowd", [0, 1, 3])
async def test_login_rejected_beside_others_is_tried_again_alone(crowd: int, autojump_clock: MockClock) -> None:
    """Servers limit the logins in progress: one that was rejected there is not one connection too many."""
    server = SlowServer(a_source(lanes=1), crowd)
    await list_at_once(server, 300)
    assert server.rejected
    assert server.sessions == 9


async def test_listing_says_that_another_follows_as_long_as_one_waits(autojump_clock: MockClock) -> None:
    server = SlowServer(a_source(lanes=1))
    await list_at_once(server, 18)
    assert server.ahead[0] is False, "nothing waits beside the first one"
    assert server.ahead[1:10].count(True) >= 8
    assert server.ahead[-8:] == [False] * 8
