"""The pool in whole runs: servers that limit connections or logins, that go down and come back. Virtual time."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ClassVar, TypeVar

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.backoff import Backoff
from actorsync.actors.connections.lane import LOSSES
from actorsync.actors.connections.pool import Pool, Role
from actorsync.actors.messages import inline
from actorsync.actors.statistics import Statistics
from actorsync.endpoints.contract import Capabilities, Endpoint, Upload
from actorsync.endpoints.memory.endpoint import MemoryEndpoint, MemorySession
from actorsync.errors import (
    ConnectionLost,
    LoginLapsed,
    LoginRefused,
    OwnLimit,
    TargetFull,
    TooManyConnections,
)
from actorsync.journal import Journal, open_memory_journal
from actorsync.model.entry import Kind, Root
from actorsync.model.event import (
    BreakerOpened,
    Connected,
    Event,
    LoginDeferred,
    Reconnecting,
    Resized,
    Resumed,
    Retired,
)
from actorsync.model.operation import Failed, Fault, Returned
from actorsync.model.report import Report
from actorsync.planning.admission.pool_size import Sizing
from actorsync.planning.selection import Selection
from actorsync.policy import Clock, Policy, RunOptions
from actorsync.profile import MaxDelete
from actorsync.supervisor import supervise
from actorsync.testing.faulty_endpoint import Faulty, FaultySession, When

T = TypeVar("T")

PATIENT = Backoff(initial=1.0, cap=8.0, tries=6, jitter=lambda: 1.0)
POLICY = Policy(Selection(), MaxDelete.parse("100%"), connections=8, backoff=PATIENT)


def a_source(files: int) -> MemoryEndpoint:
    source = MemoryEndpoint("source")
    for number in range(files):
        source.write(f"d{number % 5}/{number}", b"%d" % number)
    return source


def slow(target: MemoryEndpoint, seconds: float = 0.5) -> Faulty:
    """A server that needs ``seconds`` for each file."""

    def decide(verb: str, when: When) -> float | None:
        return seconds if (verb, when) == ("stage", "before") else None

    return Faulty(target, decide)


@attrs.define
class Told:
    report: Report
    events: list[Event]

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]


async def mirror(source: Endpoint, target: object, journal: Journal, policy: Policy = POLICY) -> Told:
    events: list[Event] = []
    tokens = itertools.count()
    with trio.fail_after(10_000):
        report = await supervise(
            source,
            target,  # type: ignore[arg-type]
            journal,
            RunOptions(
                policy,
                observers=[events.append],
                clock=Clock(token=lambda: f"{next(tokens):016x}", blocking=inline),
            ),
        )
    return Told(report, events)


async def test_m014_server_with_connection_limit_gets_everything_and_the_limit_is_recorded(
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
    assert refusals < 20, "few logins are tried at the limit"

    for number in range(50):
        source.write(f"more/{number}", b"more")
    told = await mirror(source, slow(target), journal)
    assert target.files() == source.files()
    assert len(told.of(Connected)) == 3
    assert len(told.of(Resized)) <= 2, "it begins at the recorded limit, and rarely tries one more"


async def test_m014_rejected_connection_does_not_count_as_try_of_an_operation(autojump_clock: MockClock) -> None:
    source, target = a_source(60), MemoryEndpoint("target", max_sessions=1, inodes=False)
    told = await mirror(source, slow(target), open_memory_journal())
    assert told.report.exit_code == 0
    assert len([verb for verb, _ in target.log if verb == "stage"]) == 60


async def test_m014_raised_connection_limit_is_used(autojump_clock: MockClock) -> None:
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


async def test_m001_server_that_is_down_gets_attempts_of_one_connection_only(autojump_clock: MockClock) -> None:
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
    """A server that can lose all its sessions at once; a file takes a while."""

    endpoint: MemoryEndpoint
    up_at: float = 0.0
    epoch: int = 0
    display: str = "restarting"
    lanes: int = 3
    login: Callable[[], None] = lambda: None

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(lanes=self.lanes)

    def restart(self) -> None:
        self.epoch += 1
        self.up_at = trio.current_time() + 3.0

    async def identify(self) -> Root:
        return await self.endpoint.identify()

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[FaultySession]:
        if trio.current_time() < self.up_at:
            raise ConnectionLost("refused")
        self.login()
        epoch = self.epoch

        def decide(verb: str, when: When) -> float | None:
            if epoch != self.epoch:
                raise ConnectionLost("reset")
            return 0.5 if (verb, when) == ("stage", "before") else None

        async with Faulty(self.endpoint, decide).open_session() as session:
            yield session


async def test_m029_server_restarts_twenty_times_and_every_file_arrives(autojump_clock: MockClock) -> None:
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


async def test_automatic_pool_stops_growing_when_more_connections_do_not_help(autojump_clock: MockClock) -> None:
    source, target = a_source(3_000), MemoryEndpoint("target", inodes=False)
    line = trio.CapacityLimiter(4)  # the wire carries four at once

    @attrs.define(eq=False)
    class Wire:
        endpoint: MemoryEndpoint
        display: str = "narrow"
        capabilities: ClassVar = Capabilities()

        async def identify(self) -> Root:
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


async def test_m029_outage_of_all_connections_counts_against_no_operation(autojump_clock: MockClock) -> None:
    """Twelve outages in a row without a finished file between them: neither the first nor the last loss counts."""
    source, target = a_source(2), MemoryEndpoint("target", inodes=False)
    at_work = 0
    outages = 12
    all_failed = trio.Event()

    @attrs.define(eq=False)
    class Failing:
        display: str = "failing"
        capabilities: ClassVar = Capabilities()

        async def identify(self) -> Root:
            return await target.identify()

        @asynccontextmanager
        async def open_session(self) -> AsyncIterator[_Together]:
            async with target.open_session() as session:
                yield _Together(session, stage)

    async def stage(path: str) -> None:
        nonlocal at_work, outages, all_failed
        if not outages:
            return
        at_work += 1
        mine = all_failed
        if at_work == 2:
            at_work, outages, all_failed = 0, outages - 1, trio.Event()
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


# Logins.


@attrs.define(eq=False)
class LoginServer:
    """A server with slow logins, and limits on concurrent logins and on connections. It may also reject all logins."""

    endpoint: MemoryEndpoint
    seconds: float = 0.25
    startups: int = 1_000
    most: int = 1_000
    asked: list[float] = attrs.Factory(list)
    accepted: list[float] = attrs.Factory(list)
    refuse: Callable[[int], Exception | None] = lambda number: None
    _logins: int = 0
    _inside: int = 0

    display = "server"
    capabilities = Capabilities()

    async def identify(self) -> Root:
        return await self.endpoint.identify()

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[MemorySession]:
        self.asked.append(trio.current_time())
        if (error := self.refuse(len(self.asked))) is not None:
            await trio.sleep(self.seconds)
            raise error
        if self._logins >= self.startups:
            await trio.sleep(0.01)
            raise TooManyConnections("rejected before the login")
        self._logins += 1
        try:
            await trio.sleep(self.seconds)
        finally:
            self._logins -= 1
        if self._inside >= self.most:
            raise TooManyConnections("530 too many connections")
        self.accepted.append(trio.current_time())
        self._inside += 1
        try:
            async with self.endpoint.open_session() as session:
                yield _Slow(session)  # type: ignore[misc]
        finally:
            self._inside -= 1


class _Slow:
    def __init__(self, session: MemorySession) -> None:
        self._session = session

    def __getattr__(self, name: str) -> object:
        return getattr(self._session, name)

    async def stage(self, *args: object, **kwargs: object) -> object:
        await trio.sleep(0.5)
        return await self._session.stage(*args, **kwargs)  # type: ignore[arg-type]


async def test_m015_logins_run_concurrently_after_the_first_succeeds(autojump_clock: MockClock) -> None:
    """One login comes first, to see that it is accepted. Then all others run concurrently."""
    source, target = a_source(100), LoginServer(MemoryEndpoint("target", inodes=False))
    began = trio.current_time()
    told = await mirror(source, target, open_memory_journal())
    assert told.report.exit_code == 0
    assert len(target.accepted) == 8
    assert target.accepted[-1] - began < 4 * target.seconds


@pytest.mark.parametrize("startups", [1, 2, 3])
async def test_m015_server_that_limits_concurrent_logins_accepts_them_one_at_a_time(
    startups: int, autojump_clock: MockClock
) -> None:
    source, target, journal = a_source(200), LoginServer(MemoryEndpoint("target", inodes=False)), open_memory_journal()
    target.startups = startups
    told = await mirror(source, target, journal)
    assert (told.report.exit_code, told.report.failed, told.report.reconnects) == (0, 0, 0)
    assert target.endpoint.files() == source.files()
    assert len(target.accepted) == 8, "all connections work"
    assert target.accepted[-1] - target.accepted[0] < 8 * (target.seconds + 0.1) + 0.6
    rejected = [event.connection for event in told.of(LoginDeferred)]
    assert 0 < len(rejected) <= 7 - startups
    assert len(rejected) == len(set(rejected)), "no connection is rejected twice"
    assert told.of(Resized) == [], "this is not a limit on connections"
    assert journal.ceiling() is None


async def test_m014_m015_limits_on_connections_and_on_logins_are_told_apart(autojump_clock: MockClock) -> None:
    source, target, journal = a_source(200), LoginServer(MemoryEndpoint("target", inodes=False)), open_memory_journal()
    target.startups, target.most = 1, 3
    told = await mirror(source, target, journal)
    assert (told.report.exit_code, told.report.failed, told.report.reconnects) == (0, 0, 0)
    assert target.endpoint.files() == source.files()
    assert journal.ceiling() == 3
    assert told.of(Resized)[0].connections == 3


async def test_m014_limit_found_by_one_connection_is_not_tried_by_those_waiting(
    autojump_clock: MockClock,
) -> None:
    """Connections that wait for their login do not try it once the limit is known."""
    source, target, journal = (
        a_source(60),
        LoginServer(MemoryEndpoint("target", inodes=False), most=3),
        open_memory_journal(),
    )
    told = await mirror(source, target, journal, attrs.evolve(POLICY, connections=20))
    assert told.report.exit_code == 0
    assert journal.ceiling() == 3
    assert 1 + 3 <= len([moment for moment in target.asked if moment - target.asked[0] < 4]) <= 1 + 8 + 1


@pytest.mark.parametrize("connections", [1, 8])
async def test_m109_rejected_login_is_not_tried_by_other_connections(
    connections: int, autojump_clock: MockClock
) -> None:
    """Even if there is work for all of them, because the target needs no survey."""
    source, target, journal = a_source(1), LoginServer(MemoryEndpoint("target", inodes=False)), open_memory_journal()
    policy = attrs.evolve(POLICY, connections=connections)
    assert (await mirror(source, target, journal, policy)).report.exit_code == 0
    for number in range(60):
        source.write(f"d0/{number} more", b"more")
    target.asked.clear()
    target.seconds, target.refuse = 2.5, lambda number: LoginRefused("530 no")
    told = await mirror(source, target, journal, policy)
    assert (told.report.exit_code, told.report.error) == (6, "530 no")
    assert len(target.asked) == 1


@pytest.mark.parametrize("connections", [1, 8])
async def test_m109_login_that_stops_working_is_tried_three_times_only(
    connections: int, autojump_clock: MockClock
) -> None:
    source, target = a_source(700), Restarting(MemoryEndpoint("target", inodes=False), lanes=1)
    logins = 0

    def lapse() -> None:
        nonlocal logins
        if target.epoch:
            logins += 1
            raise LoginLapsed("530 Login incorrect.")

    target.login = lapse
    async with trio.open_nursery() as nursery:

        async def later() -> None:
            await trio.sleep(20)
            target.restart()

        nursery.start_soon(later)
        policy = attrs.evolve(POLICY, connections=connections, backoff=attrs.evolve(PATIENT, tries=20))
        told = await mirror(source, target, open_memory_journal(), policy)
    assert (told.report.exit_code, told.report.error) == (5, "restarting could not be reached: 530 Login incorrect.")
    assert logins == 3


async def test_m109_login_that_works_again_resets_the_count(autojump_clock: MockClock) -> None:
    """The server still counts sessions that are gone, and rejects the login twice for that."""
    source, target = a_source(700), Restarting(MemoryEndpoint("target", inodes=False), lanes=1)
    refusals = 0

    def lapse() -> None:
        nonlocal refusals
        if refusals < 2 * target.epoch:
            refusals += 1
            raise LoginLapsed("530 too many connections from your host")

    target.login = lapse
    async with trio.open_nursery() as nursery:

        async def trouble() -> None:
            for _ in range(4):
                await trio.sleep(20)
                target.restart()

        nursery.start_soon(trouble)
        told = await mirror(source, target, open_memory_journal())
    assert (told.report.exit_code, refusals, target.epoch) == (0, 8, 4)


# No room for another connection on this machine.


async def test_m129_connection_without_descriptors_is_given_up_and_no_file_fails(autojump_clock: MockClock) -> None:
    source, target, journal = a_source(400), MemoryEndpoint("target", inodes=False), open_memory_journal()
    sessions = working = 0

    def decide(verb: str, when: When) -> float | None:
        nonlocal sessions, working
        match verb, when:
            case "open_session", "after":
                sessions += 1
            case "stage", "before":
                working += 1
                if sessions > 5:
                    working -= 1
                    sessions -= 1
                    raise OwnLimit("this machine can open no more: Too many open files")
                return 0.5
            case "stage", "after":
                working -= 1
        return None

    told = await mirror(source, Faulty(target, decide), journal)
    assert (told.report.exit_code, told.report.failed, told.report.reconnects) == (0, 0, 0)
    assert target.files() == source.files()
    assert [event for event in told.of(Returned) if event.tried] == []
    sizes = [event.connections for event in told.of(Resized)]
    assert min(sizes) == 5
    assert journal.ceiling() is None, "it is not a limit of the server"


async def test_m129_single_connection_without_descriptors_waits_and_tries_again(autojump_clock: MockClock) -> None:
    source, target = a_source(20), MemoryEndpoint("target", inodes=False)
    asked = itertools.count()

    def decide(verb: str, when: When) -> None:
        if (verb, when) == ("open_session", "before") and next(asked) < 3:
            raise OwnLimit("this machine can open no more: Too many open files")

    told = await mirror(source, Faulty(target, decide), open_memory_journal(), attrs.evolve(POLICY, connections=1))
    assert (told.report.exit_code, told.report.reconnects) == (0, 3)
    assert target.files() == source.files()


# Reported outages and bugs.


async def test_m001_m029_outage_and_its_end_are_reported_once(autojump_clock: MockClock) -> None:
    source, target = a_source(1_500), Restarting(MemoryEndpoint("target", inodes=False))
    async with trio.open_nursery() as nursery:

        async def trouble() -> None:
            for _ in range(3):
                await trio.sleep(10)
                target.restart()

        nursery.start_soon(trouble)
        told = await mirror(source, target, open_memory_journal(), attrs.evolve(POLICY, connections=4))
    assert told.report.exit_code == 0
    seen = [event for event in told.events if isinstance(event, BreakerOpened | Resumed)]
    assert [type(event) for event in seen] == [BreakerOpened, Resumed] * 3
    assert {event.cause for event in seen} == {"down"}
    assert {event.reason for event in seen if isinstance(event, BreakerOpened)} == {"reset"}


async def test_m126_bug_in_the_pool_ends_the_run_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    bug = ZeroDivisionError("a bug")

    def broken(self: Sizing, now: float, connected: int, done: float) -> bool:
        raise bug

    monkeypatch.setattr(Sizing, "look", broken)
    source, target, journal = a_source(400), MemoryEndpoint("target", inodes=False), open_memory_journal()
    raised: BaseException | None = None
    try:
        await mirror(source, slow(target), journal)
    except ZeroDivisionError as error:
        raised = error
    assert raised is bug
    recorded = {record.target.path for record in journal.subtree("") if record.target.kind is Kind.FILE}
    assert recorded <= target.files().keys(), "the journal records only what is there"


async def test_m013_connection_closed_while_idle_does_not_count_as_try_of_a_file(
    autojump_clock: MockClock,
) -> None:
    """Five connections in a row are lost over the only file. The first was idle before, so four losses count."""
    source, target = MemoryEndpoint("source"), MemoryEndpoint("target", inodes=False)
    source.write("a", b"a")
    source.write("d/late", b"late")
    lost = itertools.count()

    def scan(verb: str, when: When) -> float | None:
        return 100.0 if (verb, when) == ("list_directory", "after") else None

    def decide(verb: str, when: When) -> None:
        if verb == "stage" and when == "before" and "a" in target.files() and next(lost) < LOSSES:
            raise ConnectionLost("421 idle for too long")

    told = await mirror(Faulty(source, scan), Faulty(target, decide), open_memory_journal())
    assert (told.report.exit_code, told.report.failed) == (0, 0)
    assert next(lost) == LOSSES + 1
    assert target.files() == source.files()


# No deadlock.


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("most", [1, 2, 3])
async def test_m128_any_connection_limit_completes_without_deadlock(
    most: int, lanes: int, autojump_clock: MockClock
) -> None:
    """One operation uses one connection, so any number of connections is enough, even one."""
    for connections in range(1, 21):
        source = MemoryEndpoint("source")
        for number in range(12):
            source.write(f"{number % 3}/{number % 2}/{number}", b"%d" % number)
        target = MemoryEndpoint("target", inodes=False, max_sessions=most, lanes=lanes)
        journal, policy = open_memory_journal(), attrs.evolve(POLICY, connections=connections, delete=True)
        told = await mirror(source, slow(target), journal, policy)
        assert (told.report.exit_code, told.report.failed) == (0, 0), connections
        assert target.files() == source.files()
        source.delete("0")
        source.write("1/0/new", b"new")
        told = await mirror(source, slow(target), journal, policy)
        assert (told.report.exit_code, told.report.removed) == (0, 7), connections
        assert target.files() == source.files()


async def test_m128_connection_without_work_lets_another_one_probe_the_server(
    autojump_clock: MockClock,
) -> None:
    """A connection that probed a server which is down, and then has no work left, leaves the probe to the next one."""
    pool = Pool(Sizing(4), Statistics())
    pool.request(1)
    assert await pool.reserve(1) is Role.ADDITIONAL
    assert await pool.may_log_in(1, has_work=True)
    pool.note_lost(1)
    assert pool.note_failure(1, ConnectionLost("refused"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.reserve, 1)
        with trio.fail_after(1):
            assert await pool.may_log_in(2, has_work=True)
        pool.close()


async def test_waiting_connections_without_work_do_not_log_in_after_the_pool_closes(autojump_clock: MockClock) -> None:
    """A connection that has work in hand still logs in."""
    pool, admitted = Pool(Sizing(20), Statistics()), dict[int, bool]()
    pool.request(20)

    async def come(number: int, *, has_work: bool) -> None:
        admitted[number] = await pool.may_log_in(number, has_work=has_work)

    assert await pool.may_log_in(1, has_work=False)
    pool.note_connected(1)
    async with trio.open_nursery() as nursery:
        for number in range(2, 12):
            nursery.start_soon(partial(come, number, has_work=False))
        await trio.testing.wait_all_tasks_blocked()
        accepted = list(admitted)
        assert len(accepted) == 8, "the limit on concurrent logins"
        nursery.start_soon(partial(come, 12, has_work=True))
        await trio.testing.wait_all_tasks_blocked()
        pool.close()
        for number in accepted:
            pool.note_connected(number)
    assert {number for number, is_in in admitted.items() if is_in} == {*accepted, 12}


# A target that is full.


@attrs.define(eq=False)
class Disk:
    """A target with room for ``room`` bytes. A file that does not fit is refused after it has been sent."""

    endpoint: MemoryEndpoint
    room: int
    lanes: int = 1
    seconds: float = 0.1
    refused: list[str] = attrs.Factory(list)
    is_full: trio.Event = attrs.Factory(trio.Event)

    display = "disk"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(lanes=self.lanes)

    async def identify(self) -> Root:
        return await self.endpoint.identify()

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[MemorySession]:
        async with self.endpoint.open_session() as session:
            yield _OnDisk(session, self)  # type: ignore[misc]

    @property
    def used(self) -> int:
        return sum(map(len, self.endpoint.files().values()))


class _OnDisk:
    def __init__(self, session: MemorySession, disk: Disk) -> None:
        self._session, self._disk = session, disk

    def __getattr__(self, name: str) -> object:
        return getattr(self._session, name)

    async def stage(self, upload: Upload, **rest: Any) -> object:
        staged, committed = await self._session.stage(upload, **rest)
        await trio.sleep(self._disk.seconds)
        if self._disk.used > self._disk.room:
            await self._session.sweep([upload.temporary])
            self._disk.refused.append(upload.path)
            self._disk.is_full.set()
            return TargetFull("the server's disk is full"), committed
        return staged, committed


def files_of(sizes: dict[str, int]) -> MemoryEndpoint:
    source = MemoryEndpoint("source")
    for path, size in sizes.items():
        source.write(path, b"x" * size)
    return source


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("connections", [1, 4])
async def test_m031_full_target_stops_uploads_and_nothing_else(
    connections: int, lanes: int, autojump_clock: MockClock
) -> None:
    source = files_of({f"d{number % 7}/{number}": 100 for number in range(500)})
    target, journal = Disk(MemoryEndpoint("target", inodes=False, lanes=lanes), 5_050, lanes), open_memory_journal()
    policy = attrs.evolve(POLICY, connections=connections)
    told = await mirror(source, target, journal, policy)
    assert told.report.exit_code == 1
    assert 50 - connections * lanes < told.report.copied <= 50, "except for uploads in flight when the room ended"
    assert len(target.refused) <= connections * lanes, "only uploads in flight are refused, and none afterwards"
    unsent = [event for event in told.of(Failed) if event.fault is Fault.UNSENT]
    assert told.report.copied + len(unsent) + len(target.refused) == 500
    (suspended,) = told.of(BreakerOpened)
    assert (suspended.cause, suspended.delay) == ("full", 10.0)
    assert suspended.reason in {f"{path}: the server's disk is full" for path in target.refused}
    assert {event.reason for event in unsent} == {f"not sent: the target is full ({suspended.reason})"}
    assert target.endpoint.directories() == source.directories(), "directories are made"
    assert journal.pending() == []
    assert not [path for path in target.endpoint.files() if ".tmp" in path], "whole files have their final names"
    assert told.report.seconds < 20

    target.room = 1_000_000
    told = await mirror(source, target, journal, policy)
    assert told.report.exit_code == 0
    assert target.endpoint.files() == source.files()


async def test_m031_file_too_large_for_the_target_does_not_block_smaller_files(autojump_clock: MockClock) -> None:
    sizes = {"big": 90_000, "as big": 90_000, **{f"d/{number}": 100 for number in range(200)}}
    source, target = files_of(sizes), Disk(MemoryEndpoint("target", inodes=False), 50_000)
    told = await mirror(source, target, open_memory_journal(), attrs.evolve(POLICY, connections=1))
    assert (told.report.exit_code, told.report.copied) == (1, 200)
    assert len(target.refused) == 1
    assert dict(told.report.failures) == {
        target.refused[0]: "the server's disk is full",
        ({"big", "as big"} - set(target.refused)).pop(): (
            f"not sent: the target is full ({target.refused[0]}: the server's disk is full)"
        ),
    }
    assert [type(event) for event in told.events if isinstance(event, BreakerOpened | Resumed)] == [
        BreakerOpened,
        Resumed,
    ]


async def test_m031_uploads_resume_when_the_target_has_room_again(autojump_clock: MockClock) -> None:
    """The scan is slow, so that most files come when there is room again."""
    source = files_of({f"{number:03}/x": 100 for number in range(100)})
    target = Disk(MemoryEndpoint("target", inodes=False), 1_050)

    def slowly(verb: str, when: When) -> float | None:
        return 1.0 if (verb, when) == ("list_directory", "before") else None

    async with trio.open_nursery() as nursery:

        async def clean_up() -> None:
            await target.is_full.wait()
            await trio.sleep(15)
            target.room = 1_000_000

        nursery.start_soon(clean_up)
        policy = attrs.evolve(POLICY, connections=1)
        told = await mirror(Faulty(source, slowly), target, open_memory_journal(), policy)
    assert told.report.exit_code == 1
    assert len(target.refused) == 2, "the first one, and a probe after ten seconds"
    assert [event.cause for event in told.of(Resumed)] == ["full"]
    assert 30 < told.report.copied < 90
    assert told.report.copied + told.report.failed == 100


async def test_m031_full_target_still_gets_its_removals(autojump_clock: MockClock) -> None:
    source = files_of({**{f"old/{number}": 100 for number in range(10)}, "keep/a": 100})
    target, journal = Disk(MemoryEndpoint("target", inodes=False), 2_000), open_memory_journal()
    policy = attrs.evolve(POLICY, delete=True)
    assert (await mirror(source, target, journal, policy)).report.exit_code == 0
    source.delete("old")
    source.write("new/big", b"x" * 5_000)
    told = await mirror(source, target, journal, policy)
    assert (told.report.exit_code, told.report.failed, told.report.removed) == (1, 1, 11)
    assert set(target.endpoint.files()) == {"keep/a"}


async def test_m031_rename_refused_for_room_stops_uploads(autojump_clock: MockClock) -> None:
    source, target = files_of({f"{number}": 10 for number in range(50)}), MemoryEndpoint("target", inodes=False)
    renames = itertools.count()

    def decide(verb: str, when: When) -> None:
        if (verb, when) == ("commit", "before"):
            next(renames)
            raise TargetFull("no room for the name")

    told = await mirror(source, Faulty(target, decide), open_memory_journal(), attrs.evolve(POLICY, connections=1))
    assert told.report.exit_code == 1
    assert target.files().keys() <= source.files().keys(), "no temporary is left"
    assert told.of(BreakerOpened)


async def test_request_for_connections_wakes_no_lane_that_waits_for_work(autojump_clock: MockClock) -> None:
    """Each file makes a request, and hundreds of lanes may wait: waking them all costs more than the file."""
    pool, left = Pool(Sizing(2), Statistics(), lanes=64), list[int]()

    async def wait(number: int) -> None:
        with pool.until_one_too_many(number):
            await trio.sleep_forever()
        left.append(number)

    pool.note_connected(1)
    pool.note_connected(2)
    async with trio.open_nursery() as nursery:
        for number in (1, 2, 2):
            nursery.start_soon(wait, number)
        await trio.testing.wait_all_tasks_blocked()
        pool.request(1)
        pool.request(2)
        assert trio.lowlevel.current_statistics().tasks_runnable == 0
        pool.want(1)
        await trio.testing.wait_all_tasks_blocked()
        assert left == [2, 2], "those over the connection that is one too many"
        pool.want(None)
        nursery.start_soon(wait, 2)
        await trio.testing.wait_all_tasks_blocked()
        assert left == [2, 2]
        pool.want(1)
        await trio.testing.wait_all_tasks_blocked()
        assert left == [2, 2, 2]
        nursery.cancel_scope.cancel()
