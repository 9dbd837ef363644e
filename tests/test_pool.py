"""The pool in whole runs: servers that let in fewer than are wanted, that go away and come back."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
from trio.testing import MockClock

from actorsync.actors.channels import inline
from actorsync.actors.restart import Backoff
from actorsync.endpoints.contract import Upload
from actorsync.endpoints.memory import MemoryEndpoint, MemorySession
from actorsync.errors import ConnectionLost
from actorsync.journal import Journal, open_memory_journal
from actorsync.model.entry import ScanComplete
from actorsync.model.event import Connected, Event, Reconnecting, Report, Resized, Retired
from actorsync.planning.selection import Selection
from actorsync.profile import MaxDelete
from actorsync.supervisor import Clock, Policy, supervise
from actorsync.testing.faulty import Faulty, FaultySession, When

PATIENT = Backoff(initial=1.0, cap=8.0, tries=6, jitter=lambda: 1.0)
POLICY = Policy(Selection(), MaxDelete.parse("100%"), connections=8, backoff=PATIENT)


def a_source(files: int) -> MemoryEndpoint:
    source = MemoryEndpoint("source")
    for number in range(files):
        source.write(f"d{number % 5}/{number}", b"%d" % number)
    return source


def slow(target: MemoryEndpoint, seconds: float = 0.5) -> Faulty:
    """A server that takes its time for each file."""

    def decide(verb: str, when: When) -> float | None:
        return seconds if (verb, when) == ("stage", "before") else None

    return Faulty(target, decide)


@attrs.define
class Told:
    report: Report
    events: list[Event]

    def of(self, kind: type) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


async def mirror(source: MemoryEndpoint, target: object, journal: Journal, policy: Policy = POLICY) -> Told:
    events: list[Event] = []
    tokens = itertools.count()
    with trio.fail_after(10_000):
        report = await supervise(
            source,
            target,  # type: ignore[arg-type]
            journal,
            policy,
            observers=[events.append],
            clock=Clock(token=lambda: f"{next(tokens):016x}", blocking=inline),
        )
    return Told(report, events)


async def test_m014_a_server_that_lets_in_fewer_gets_everything_and_its_limit_is_remembered(
    autojump_clock: MockClock,
) -> None:
    source, target, journal = (
        a_source(400),
        MemoryEndpoint("target", max_sessions=3, inodes=False),
        open_memory_journal(),
    )
    told = await mirror(source, slow(target), journal)
    assert (told.report.exit_code, told.report.failed, told.report.reconnects) == (0, 0, 0)
    assert target.files() == source.files()
    assert not told.of(Retired)
    assert journal.ceiling() == 3
    refusals = len(told.of(Resized))
    assert refusals < 20, "it does not hammer at a closed door"

    for number in range(50):
        source.write(f"more/{number}", b"more")
    told = await mirror(source, slow(target), journal)
    assert target.files() == source.files()
    assert len(told.of(Connected)) == 3
    assert len(told.of(Resized)) <= 2, "it begins with what it knows, and tries one more now and then"


async def test_m014_a_refusal_costs_an_operation_no_try(autojump_clock: MockClock) -> None:
    source, target = a_source(60), MemoryEndpoint("target", max_sessions=1, inodes=False)
    told = await mirror(source, slow(target), open_memory_journal())
    assert told.report.exit_code == 0
    assert len([verb for verb, _ in target.log if verb == "stage"]) == 60


async def test_m014_a_server_that_lets_in_more_again_is_used(autojump_clock: MockClock) -> None:
    source, target, journal = (
        a_source(2_000),
        MemoryEndpoint("target", max_sessions=2, inodes=False),
        open_memory_journal(),
    )
    async with trio.open_nursery() as nursery:

        async def later() -> None:
            await trio.sleep(30)
            target.max_sessions = None

        nursery.start_soon(later)
        told = await mirror(source, slow(target), journal)
    assert told.report.exit_code == 0
    assert journal.ceiling() == 8
    assert told.report.seconds < 300, "with two connections it takes 500 s"


async def test_m001_a_server_that_is_down_is_asked_by_one_connection_only(autojump_clock: MockClock) -> None:
    source, target = a_source(100), MemoryEndpoint("target", inodes=False)
    asked: list[float] = []

    def decide(verb: str, when: When) -> float | None:
        if (verb, when) == ("open_session", "before"):
            asked.append(trio.current_time())
            if len(asked) < 5:
                raise ConnectionLost("refused")
        return None

    told = await mirror(source, Faulty(target, decide), open_memory_journal())
    assert told.report.exit_code == 0
    assert [later - earlier for earlier, later in itertools.pairwise(asked[:5])] == [1.0, 2.0, 4.0, 8.0]
    assert len(told.of(Reconnecting)) == 4


@attrs.define(eq=False)
class Restarting:
    """A server whose sessions are all lost at once, again and again; a file takes a while."""

    endpoint: MemoryEndpoint
    up_at: float = 0.0
    epoch: int = 0
    display: str = "restarting"
    lanes: int = 3

    def restart(self) -> None:
        self.epoch += 1
        self.up_at = trio.current_time() + 3.0

    async def identify(self) -> ScanComplete:
        return await self.endpoint.identify()

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[FaultySession]:
        if trio.current_time() < self.up_at:
            raise ConnectionLost("refused")
        epoch = self.epoch

        def decide(verb: str, when: When) -> float | None:
            if epoch != self.epoch:
                raise ConnectionLost("reset")
            return 0.5 if (verb, when) == ("stage", "before") else None

        async with Faulty(self.endpoint, decide).open_session() as session:
            yield session


async def test_m029_a_server_that_restarts_twenty_times(autojump_clock: MockClock) -> None:
    source, target, rng = a_source(3_000), Restarting(MemoryEndpoint("target", inodes=False)), random.Random(29)
    async with trio.open_nursery() as nursery:

        async def trouble() -> None:
            for _ in range(20):
                await trio.sleep(rng.uniform(2, 10))
                target.restart()

        nursery.start_soon(trouble)
        told = await mirror(source, target, open_memory_journal())
        nursery.cancel_scope.cancel()
    assert (told.report.exit_code, told.report.failed) == (0, 0)
    assert target.endpoint.files() == source.files()
    assert target.epoch >= 15


async def test_an_automatic_pool_takes_as_many_as_are_of_use(autojump_clock: MockClock) -> None:
    source, target = a_source(3_000), MemoryEndpoint("target", inodes=False)
    line = trio.CapacityLimiter(4)  # the wire carries four at once

    @attrs.define(eq=False)
    class Wire:
        endpoint: MemoryEndpoint
        display: str = "narrow"
        lanes: int = 1

        async def identify(self) -> ScanComplete:
            return await self.endpoint.identify()

        @asynccontextmanager
        async def open_session(self) -> AsyncIterator[MemorySession]:
            async with self.endpoint.open_session() as session:
                yield _Narrow(session, line)  # type: ignore[misc]

    told = await mirror(
        source, Wire(target), open_memory_journal(), attrs.evolve(POLICY, connections=16, is_automatic=True)
    )
    assert told.report.exit_code == 0
    assert target.files() == source.files()
    most = len(told.of(Connected))
    assert 4 <= most <= 9, most


class _Narrow:
    def __init__(self, session: MemorySession, line: trio.CapacityLimiter) -> None:
        self._session, self._line = session, line

    def __getattr__(self, name: str) -> object:
        return getattr(self._session, name)

    async def stage(self, *args: object, **kwargs: object) -> object:
        async with self._line:
            await trio.sleep(0.1)
        return await self._session.stage(*args, **kwargs)  # type: ignore[arg-type]


async def test_m029_no_connection_is_blamed_for_what_hit_them_all(autojump_clock: MockClock) -> None:
    """Neither the first to notice, nor the last: twelve outages in a row, and not one file done between them."""
    source, target = a_source(2), MemoryEndpoint("target", inodes=False)
    at_work = 0
    outages = 12
    everybody = trio.Event()

    @attrs.define(eq=False)
    class Failing:
        display: str = "failing"
        lanes: int = 1

        async def identify(self) -> ScanComplete:
            return await target.identify()

        @asynccontextmanager
        async def open_session(self) -> AsyncIterator[_Together]:
            async with target.open_session() as session:
                yield _Together(session, stage)

    async def stage(path: str) -> None:
        nonlocal at_work, outages, everybody
        if not outages:
            return
        at_work += 1
        mine = everybody
        if at_work == 2:
            at_work, outages, everybody = 0, outages - 1, trio.Event()
            mine.set()
        await mine.wait()
        await trio.sleep(0.01 if path == "d1/1" else 0)  # one of them is always the last to notice
        raise ConnectionLost("the server went away")

    policy = attrs.evolve(POLICY, connections=2, backoff=attrs.evolve(PATIENT, tries=50))
    told = await mirror(source, Failing(), open_memory_journal(), policy)
    assert (told.report.exit_code, told.report.failed) == (0, 0)
    assert target.files() == source.files()
    assert outages == 0


class _Together:
    def __init__(self, session: MemorySession, before: Callable[[str], Awaitable[None]]) -> None:
        self._session, self._before = session, before

    def __getattr__(self, name: str) -> object:
        return getattr(self._session, name)

    async def stage(self, upload: Upload, **kwargs: Any) -> object:
        await self._before(upload.path)
        return await self._session.stage(upload, **kwargs)
