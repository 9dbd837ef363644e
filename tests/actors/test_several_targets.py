"""Several targets at the same time: one scan, the logins of one account, and targets that are dead, full or slow.

Trees in memory, virtual time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.messages import inline
from actorsync.actors.shutdown import Shutdown
from actorsync.endpoints.contract import Endpoint, ReadSession, Session, Source
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.wrappers.base import EndpointWrapper, ReadSessionWrapper
from actorsync.endpoints.wrappers.shared_listing import SharedListings
from actorsync.errors import TooManyConnections
from actorsync.journal import Journal, open_memory_journal
from actorsync.model.entry import Kind, Listing
from actorsync.model.event import Event, Resized, Retired
from actorsync.model.report import Report
from actorsync.planning.admission.ceiling import Ceiling, Share, Shares
from actorsync.policy import Clock, Policy, RunOptions
from actorsync.supervisor import supervise
from actorsync.testing.faulty_endpoint import Faulty, When
from tests.support.world.memory_mirror import ONE

POLICY = attrs.evolve(ONE, connections=4)


def a_source(files: int = 60) -> MemoryEndpoint:
    source = MemoryEndpoint("source")
    for number in range(files):
        source.write(f"d{number % 12}/e{number % 3}/{number}", b"%d" % number * 9)
    return source


@attrs.define(eq=False)
class Run:
    """One target, and all that its run needs."""

    target: Endpoint
    policy: Policy = POLICY
    shares: Shares = attrs.Factory(Shares)
    shutdown: Shutdown = attrs.Factory(Shutdown)
    journal: Journal = attrs.Factory(open_memory_journal)
    events: list[Event] = attrs.Factory(list)
    report: Report | None = None
    seconds: float = 0.0

    async def once(self, source: Source, listings: SharedListings | None = None) -> None:
        began = trio.current_time()
        reader = None if listings is None else listings.reader()
        if reader is not None:
            reader.prepare(began)
        tokens = iter(range(10**9))
        options = RunOptions(
            self.policy,
            shutdown=self.shutdown,
            observers=[self.events.append],
            clock=Clock(token=lambda: f"{next(tokens):016x}", blocking=inline),
            listings=reader,
            shares=self.shares,
        )
        self.report = await supervise(source, self.target, self.journal, options)
        self.seconds = trio.current_time() - began

    @property
    def exit_code(self) -> int:
        assert self.report is not None
        return self.report.exit_code


async def together(source: Source, runs: Sequence[Run], listings: SharedListings | None = None) -> None:
    with trio.fail_after(100_000):
        async with trio.open_nursery() as nursery:
            for run in runs:
                nursery.start_soon(run.once, source, listings)


@attrs.define(eq=False)
class Counting(EndpointWrapper[Endpoint]):
    """A source that counts how often each directory is listed."""

    listed: Counter[str] = attrs.Factory(Counter)

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[ReadSession]:
        async with self.real.open_session() as session:
            yield _CountingSession(session, self)


class _CountingSession(ReadSessionWrapper):
    def __init__(self, real: ReadSession, counting: Counting) -> None:
        super().__init__(real)
        self._counting = counting

    async def list_directory(self, directory: str) -> Listing:
        self._counting.listed[directory] += 1
        await trio.sleep(0.01)
        return await self._real.list_directory(directory)


def taking(target: MemoryEndpoint, seconds: Mapping[str, float]) -> Faulty:
    """Return a target whose verbs take time."""

    def decide(verb: str, when: When) -> float | None:
        return seconds.get(verb) if when == "before" else None

    return Faulty(target, decide)


async def test_good_target_beside_a_dead_a_full_and_a_slow_one_is_done_as_if_alone(autojump_clock: MockClock) -> None:
    alone, alone_source = Run(taking(MemoryEndpoint("alone"), {"stage": 0.1})), Counting(a_source())
    await alone.once(alone_source)

    def never(verb: str, when: When) -> float | None:
        raise TooManyConnections("the server is down")

    full = MemoryEndpoint("full")
    full.capacity = 100
    good = Run(taking(MemoryEndpoint("good"), {"stage": 0.1}))
    runs = {
        "good": good,
        "dead": Run(Faulty(MemoryEndpoint("dead"), never)),
        "full": Run(full),
        "slow": Run(taking(MemoryEndpoint("slow"), {"stage": 100.0, "open_session": 50.0})),
    }
    source = Counting(a_source())
    await together(source, [*runs.values()], SharedListings())
    assert {name: run.exit_code for name, run in runs.items()} == {"good": 0, "dead": 5, "full": 1, "slow": 0}
    assert good.seconds <= alone.seconds + 1e-6
    assert Counter(verb for verb, _ in _log(good)) == Counter(verb for verb, _ in _log(alone))
    assert source.listed == alone_source.listed
    assert set(source.listed.values()) == {1}
    assert runs["slow"].seconds > 1_000
    for name in ("good", "slow"):
        target = runs[name].target
        assert isinstance(target, Faulty)
        assert isinstance(target.real, MemoryEndpoint)
        assert isinstance(source.real, MemoryEndpoint)
        assert target.real.files() == source.real.files()
    for run in runs.values():
        assert run.journal.pending() == []


def _log(run: Run) -> Sequence[tuple[str, str]]:
    target = run.target
    assert isinstance(target, Faulty)
    assert isinstance(target.real, MemoryEndpoint)
    return target.real.log


# Logins.


@attrs.define(eq=False)
class Server:
    """A server that allows ``allows`` logins at one account, whatever they are for."""

    allows: int
    open: int = 0
    most: int = 0
    rejected: int = 0


@attrs.define(eq=False)
class At(EndpointWrapper[Endpoint]):
    """A place at a server."""

    server: Server

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Session]:
        server = self.server
        await trio.sleep(0.2)
        if server.open >= server.allows:
            server.rejected += 1
            raise TooManyConnections("too many connections")
        server.open += 1
        server.most = max(server.most, server.open)
        try:
            async with self.real.open_session() as session:
                yield session
        finally:
            server.open -= 1


def at_one_account(server: Server, limit: int, count: int) -> list[Run]:
    ceiling = Ceiling(limit)
    runs = []
    for number in range(count):
        target = At(taking(MemoryEndpoint(f"{number}"), {"stage": 0.5}), server)
        run = Run(target, attrs.evolve(POLICY, connections=limit), Shares(Share(ceiling, object())))
        run.shares.join()
        runs.append(run)
    return runs


@pytest.mark.parametrize("count", [2, 3, 4, 7])
async def test_targets_at_one_account_never_have_too_many_logins(autojump_clock: MockClock, count: int) -> None:
    server = Server(4)
    runs = at_one_account(server, 4, count)
    await together(a_source(), runs, SharedListings())
    assert [run.exit_code for run in runs] == [0] * count
    assert (server.most, server.rejected, server.open) == (4, 0, 0)


@pytest.mark.parametrize("allows", [1, 2, 3])
async def test_server_that_allows_fewer_than_the_profile_mirrors_all_targets(
    autojump_clock: MockClock, allows: int
) -> None:
    server = Server(allows)
    runs = at_one_account(server, 4, 3)
    await together(a_source(), runs, SharedListings())
    assert [run.exit_code for run in runs] == [0, 0, 0]
    assert server.most == allows
    assert server.rejected < 60
    assert not [event for run in runs for event in run.events if isinstance(event, Retired)]


async def test_run_that_ends_gives_its_logins_to_the_others(autojump_clock: MockClock) -> None:
    server = Server(3)
    first, second = at_one_account(server, 3, 2)
    second.target = At(MemoryEndpoint("second"), server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.once, a_source(200))
        nursery.start_soon(second.once, a_source(5))
        await trio.sleep(3)
        assert second.exit_code == 0
        await trio.sleep(3)
        assert server.open == 3
    assert first.exit_code == 0
    assert not [event for event in first.events if isinstance(event, Resized)]


async def test_runs_between_two_places_of_one_account_do_not_wait_for_each_other(autojump_clock: MockClock) -> None:
    server, ceiling = Server(2), Ceiling(2)
    runs = []
    for number in range(3):
        run_id = object()
        shares = Shares(Share(ceiling, run_id), Share(ceiling, run_id))
        shares.join()
        runs.append(Run(At(MemoryEndpoint(f"{number}"), server), attrs.evolve(POLICY, connections=2), shares))
    real = MemoryEndpoint("source", is_remote=True)
    for number in range(20):
        real.write(f"d{number % 3}/{number}", b"text")
    await together(At(real, server), runs, SharedListings())
    assert [run.exit_code for run in runs] == [0, 0, 0]
    assert server.most == 2
    assert server.rejected == 0


async def test_cancelled_run_gives_its_logins_back(autojump_clock: MockClock) -> None:
    server = Server(2)
    first, second = at_one_account(server, 2, 2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.once, a_source(500))
        nursery.start_soon(second.once, a_source(30))
        await trio.sleep(2)
        first.shutdown.cancel()
        await trio.sleep(5)
        assert server.open == 2
    assert (first.exit_code, second.exit_code) == (130, 0)
    assert server.rejected == 0
    assert [record.target.kind for record in first.journal.subtree("")].count(Kind.FILE) > 0
