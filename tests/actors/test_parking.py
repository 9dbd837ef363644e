"""Paths that keep failing: when they are parked, what a patient run does about them, and what sets them free.

Numbers in names (``test_m135_...``) are rows of the fault matrix.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from actorsync.endpoints.contract import Capabilities, Staged, Upload
from actorsync.endpoints.memory.endpoint import MemoryEndpoint, MemorySession
from actorsync.errors import ConnectionLost, LoginRefused, OperationRefused, TargetFull
from actorsync.model.entry import (
    WHOLE_TREE,
    Entry,
    Kind,
    Listing,
    Problem,
    Root,
    Scope,
)
from actorsync.model.event import Event, Parked, Recovered, RemovalsWithheld, Scanned, Swept, Warned
from actorsync.model.operation import Copy, Done, Failed, Fault, MakeDirectory, Remove, Sweep
from actorsync.model.report import Report
from actorsync.planning.parking import (
    FIRST_DELAY,
    LONGEST_DELAY,
    PARK_AFTER,
    Parking,
    delay_after,
    is_due,
    is_parked,
    troubled,
)
from actorsync.planning.selection import Selection
from actorsync.testing.faulty_endpoint import When
from tests.support.tiers import amount
from tests.support.world.memory_mirror import ONE, Mirror
from tests.support.world.simulation import Story, simulate
from tests.support.world.world import Weather

FILE = Entry("x", Kind.FILE, 3, 7)
#: How many stories of passes are told; ``ACTORSYNC_SEEDS`` sets it, as for the stories of single runs.
SEEDS = amount("SEEDS", short=800, full=2000) // 100
EPOCH_NS = 1_700_000_000 * 10**9


# Counting.


def test_the_third_failure_in_a_row_parks_for_a_minute_and_each_further_one_for_twice_as_long() -> None:
    assert [delay_after(n) for n in range(12)] == [0, 0, 0, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert (PARK_AFTER, FIRST_DELAY, LONGEST_DELAY) == (3, 60, 3600)
    assert delay_after(10**9) == 3600  # a path that fails for years
    trouble = None
    for n in range(1, 5):
        trouble = troubled(trouble, "x", FILE, "no", now=100.0 * n)
        assert (trouble.failures, trouble.since, trouble.failed_at) == (n, 100.0, 100.0 * n)
        assert is_parked(trouble) is (n >= 3)
        assert trouble.retry_at == {3: 360.0, 4: 520.0}.get(n)


@pytest.mark.parametrize("changed", [attrs.evolve(FILE, size=4), attrs.evolve(FILE, inode=9), None])
def test_other_version_of_the_source_restarts_the_count(changed: Entry | None) -> None:
    before = Parked("x", FILE, 7, 1.0, 2.0, "no", 99.0)
    assert troubled(before, "x", changed, "never", 50.0) == Parked("x", changed, 1, 50.0, 50.0, "never")
    assert troubled(before, "x", FILE, "never", 50.0).failures == 8


def test_directory_with_other_times_is_the_same() -> None:
    before = Parked("x", Entry("x", Kind.DIRECTORY, 0, 1, 1, 5), 3, 1.0, 2.0, "no", 99.0)
    later = Entry("x", Kind.DIRECTORY, 4096, 2, 2, 5)
    assert troubled(before, "x", later, "no", 50.0).failures == 4
    assert parking_of(before, now=3.0).why_not("x", later) is not None


@given(st.integers(1, 40), st.floats(0, 1e9), st.floats(-1e6, 1e6))
def test_m058_a_path_is_due_when_its_time_is_up_and_when_the_clock_was_set_back(
    failures: int, failed_at: float, later: float
) -> None:
    trouble = Parked("x", FILE, failures, 0.0, failed_at, "no")
    now = failed_at + later
    waits = failed_at <= now < failed_at + delay_after(failures)
    assert is_due(trouble, now) is not waits
    assert is_due(trouble, failed_at - 1) and is_due(trouble, failed_at + LONGEST_DELAY)


# What a run makes of it.


def parking_of(*troubles: Parked, is_patient: bool = True, now: float = 100.0) -> Parking:
    parking = Parking(is_patient)
    parking.begin(troubles, now)
    return parking


PARKED = Parked("x", FILE, 4, 10.0, 90.0, "553 never", 210.0)


def test_why_not_returns_a_reason_for_parked_paths_only() -> None:
    assert parking_of(PARKED).why_not("x", FILE) == "parked after 4 failures, tried again in 1 min 50 s: 553 never"
    assert parking_of(PARKED).why_not("x", attrs.evolve(FILE, size=9)) is None
    assert parking_of(PARKED).why_not("x", None) is None
    assert parking_of(PARKED).why_not("y", FILE) is None
    assert parking_of(PARKED, is_patient=False).why_not("x", FILE) is None
    assert parking_of(PARKED, now=210.0).why_not("x", FILE) is None
    assert parking_of(attrs.evolve(PARKED, failures=2)).why_not("x", FILE) is None


def conclusions(parking: Parking, *unseen: str, scope: Scope = WHOLE_TREE) -> list[Parked | Recovered | Swept | Warned]:
    return list(parking.conclude(set(unseen), 100.0, scope))


def test_temporary_that_is_not_removed_in_three_runs_is_let_go() -> None:
    """It is reported once, and not tried again. Otherwise every run would fail for ever."""
    trouble: Parked | None = None
    for failures in (1, 2, 3):
        parking = parking_of(*([trouble] if trouble else []))
        for recovers in (True, False):
            parking.settle(Failed(Sweep(".t", None, recovers), "550 denied"))
        changes = conclusions(parking)
        if failures < 3:
            (trouble,) = [change for change in changes if isinstance(change, Parked)]
            assert (len(changes), trouble.failures) == (1, failures)
    warned, *rest = changes
    assert isinstance(warned, Warned)
    assert warned.text == (
        "the temporary file '.t' could not be removed in 3 runs, and is not tried again (550 denied); remove it by hand"
    )
    assert rest == [Swept((".t",)), Recovered(".t", was_parked=False)]


def test_temporary_that_is_removed_at_the_second_try_has_not_failed() -> None:
    parking = parking_of(attrs.evolve(PARKED, path=".t", failures=2))
    parking.settle(Failed(Sweep(".t", None, True), "450 busy"))
    parking.settle(Done(Sweep(".t")))
    assert conclusions(parking) == [Recovered(".t", was_parked=False)]


def test_path_outside_the_scope_has_not_recovered() -> None:
    parking = parking_of(attrs.evolve(PARKED, path="in/x"), attrs.evolve(PARKED, path="out/x"))
    assert conclusions(parking, scope=Scope.of(["in"])) == [Recovered("in/x", was_parked=True)]


def test_parked_path_that_is_not_tried_stays_as_it_was() -> None:
    parking = parking_of(PARKED)
    assert parking.why_not("x", FILE)
    parking.settle(Failed(Copy(FILE), "parked after ...", Fault.PARKED))
    assert conclusions(parking) == []


def test_repeated_failure_is_counted_and_success_recovers() -> None:
    parking = parking_of(PARKED, attrs.evolve(PARKED, path="y", failures=1), is_patient=False)
    for outcome in (Failed(Copy(FILE), "no"), Done(Copy(attrs.evolve(FILE, path="y"))), Failed(Remove(FILE), "no")):
        parking.why_not(outcome.operation.path, FILE)
        parking.settle(outcome)
    failed, recovered = conclusions(parking)
    assert failed == Parked("x", None, 1, 100.0, 100.0, "no")  # of two failures of one path, the last counts
    assert recovered == Recovered("y", was_parked=False)


def test_path_with_nothing_to_do_recovers_unless_its_directory_is_unseen() -> None:
    trouble = attrs.evolve(PARKED, path="a/b/x")
    assert conclusions(parking_of(trouble)) == [Recovered("a/b/x", was_parked=True)]
    assert conclusions(parking_of(trouble), "a/b-c", "a/b/x", "b") == [Recovered("a/b/x", was_parked=True)]
    for unseen in ("", "a", "a/b"):
        assert conclusions(parking_of(trouble), unseen) == []


def test_only_failures_of_the_path_itself_count() -> None:
    for fault in (Fault.OTHER, Fault.PARKED):
        parking = parking_of()
        parking.settle(Failed(Copy(FILE), "its directory could not be made", fault))
        assert conclusions(parking) == []
    parking = parking_of()
    for path in ("d", "d/e", "d/e/f"):  # on the wire together
        parking.settle(Failed(MakeDirectory(Entry(path, Kind.DIRECTORY)), "550 no"))
    assert [it.path for it in conclusions(parking) if isinstance(it, Parked)] == ["d"]
    parking = parking_of()
    parking.settle(Failed(Copy(FILE), "451 why ever"))
    parking.settle(Failed(MakeDirectory(attrs.evolve(FILE, path="y")), "no room", Fault.TARGET))
    assert conclusions(parking) == []  # of a target that is full, any failure may come


# Whole runs.


class Stubborn(MemoryEndpoint):
    """A target that refuses certain paths; ``tried`` has those of them that it was asked for, once for each session."""

    def __init__(self) -> None:
        super().__init__("target", inodes=False)
        self.refusing: dict[str, OperationRefused] = {}
        self.tried: list[str] = []
        self.opened = 0
        self._asked: set[tuple[int, str]] = set()

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[MemorySession]:
        self.opened += 1
        async with super().open_session():
            yield _StubbornSession(self)

    def refusal(self, path: str) -> OperationRefused | None:
        if path in self.refusing and (self.opened, path) not in self._asked:
            self._asked.add((self.opened, path))
            self.tried.append(path)
        return self.refusing.get(path)


class _StubbornSession(MemorySession):
    _endpoint: Stubborn

    async def stage(self, upload: Upload, **rest: Any) -> tuple[Staged | OperationRefused, list[Any]]:
        if (refusal := self._endpoint.refusal(upload.path)) is not None:
            return refusal, await self.commit(rest.get("commit", ()))
        return await super().stage(upload, **rest)

    async def make_directories(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        return [
            self._endpoint.refusal(path) or (await super(_StubbornSession, self).make_directories([path]))[0]
            for path in paths
        ]

    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        return [
            self._endpoint.refusal(it.path) or (await super(_StubbornSession, self).remove([it]))[0] for it in entries
        ]


@attrs.frozen
class Unreadable:
    """A source with an unreadable directory."""

    endpoint: MemoryEndpoint
    directory: str

    display = "unreadable"
    capabilities = Capabilities()

    async def identify(self) -> Root:
        return await self.endpoint.identify()

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[MemorySession]:
        yield _UnreadableSession(self.endpoint, self.directory)


class _UnreadableSession(MemorySession):
    def __init__(self, endpoint: MemoryEndpoint, directory: str) -> None:
        super().__init__(endpoint)
        self._directory = directory

    async def list_directory(self, directory: str) -> Listing:
        if directory == self._directory:
            return Listing(directory, problem=Problem(directory, "Permission denied"))
        return await super().list_directory(directory)


def wall_ns() -> int:
    return EPOCH_NS + int(trio.current_time() * 1e9)


@attrs.define(eq=False)
class Site(Mirror):
    """A mirror to a stubborn target, with passes as ``sync.every`` makes them."""

    target: Stubborn = attrs.Factory(Stubborn)
    wall_ns: Callable[[], int] = wall_ns

    async def passes(self, count: int, every: float = 10.0, **rest: Any) -> Report:
        for _ in range(count):
            await trio.sleep(every)
            report = await self.one_pass(**rest)
        return report

    async def one_pass(self, **rest: Any) -> Report:
        return await self.run(policy=attrs.evolve(ONE, is_patient=True), **rest)

    def refuse(self, *paths: str, refusal: OperationRefused | None = None) -> None:
        for path in paths:
            self.target.refusing[path] = refusal or OperationRefused("553 never")

    @property
    def memory(self) -> object:
        journal = self.journal
        return journal.record(""), journal.subtree(""), journal.pending(), journal.root(), journal.troubles()

    @property
    def failures(self) -> dict[str, int]:
        return {trouble.path: trouble.failures for trouble in self.journal.troubles()}


@pytest.fixture
def site() -> Site:
    site = Site()
    site.source.write("good", b"1")
    site.source.write("bad", b"22")
    site.refuse("bad")
    return site


async def test_path_that_keeps_failing_is_retried_at_growing_intervals(site: Site, autojump_clock: MockClock) -> None:
    tries = []
    for _ in range(200):
        before = len(site.target.tried)
        report = await site.passes(1, every=60.0)
        assert (report.exit_code, report.failed) == (1, 1)
        if len(site.target.tried) > before:
            tries.append(trio.current_time())
            assert (report.parked, report.failures) == (0, (("bad", "553 never"),))
        else:
            assert report.parked == 1
    waits = [after - before for before, after in itertools.pairwise(tries)]
    assert waits == [60, 60, 60, 120, 240, 480, 960, 1920, 3600, 3600]


async def test_pass_with_only_parked_paths_does_not_connect_or_write(site: Site, autojump_clock: MockClock) -> None:
    await site.passes(3)
    memory, opened = site.memory, site.target.opened
    site.journal._writer.execute("PRAGMA query_only = ON")
    report = await site.passes(1)
    assert (report.exit_code, report.failed, report.parked, report.copied) == (1, 1, 1, 0)
    assert report.failures == (("bad", "parked after 3 failures, tried again in 50.0 s: 553 never"),)
    assert (site.memory, site.target.opened) == (memory, opened)
    assert not site.seen(Parked)


async def test_run_without_failures_parks_nothing_and_writes_nothing(site: Site, autojump_clock: MockClock) -> None:
    site.target.refusing.clear()
    await site.passes(1)
    memory = site.memory
    site.journal._writer.execute("PRAGMA query_only = ON")
    assert (await site.passes(1)).exit_code == 0
    assert site.memory == memory
    assert site.journal.troubles() == []


async def test_the_third_failure_is_announced_with_the_next_try(site: Site, autojump_clock: MockClock) -> None:
    for number in (1, 2, 3):
        await site.passes(1)
        (trouble,) = site.seen(Parked)
        assert (trouble.path, trouble.failures, trouble.reason) == ("bad", number, "553 never")
    now = wall_ns() / 1e9
    assert trouble.retry_at == pytest.approx(now + 60)
    assert trouble.since == pytest.approx(now - 20)
    assert site.journal.troubles() == [trouble]


async def test_run_started_by_a_user_tries_parked_paths(site: Site, autojump_clock: MockClock) -> None:
    await site.passes(3)
    report = await site.run()
    assert site.target.tried == ["bad"] * 4
    assert (report.exit_code, report.parked, site.failures) == (1, 0, {"bad": 4})
    site.target.refusing.clear()
    assert (await site.run()).exit_code == 0
    assert site.seen(Recovered) == [Recovered("bad", was_parked=True)]
    assert site.failures == {}


async def test_changed_source_is_tried_at_once_and_restarts_the_count(site: Site, autojump_clock: MockClock) -> None:
    await site.passes(5)
    assert site.failures == {"bad": 3}
    site.source.write("bad", b"333")
    await site.passes(1)
    assert site.target.tried == ["bad"] * 4
    assert site.failures == {"bad": 1}
    site.source.write("bad", b"4444")
    site.target.refusing.clear()
    assert (await site.passes(1)).exit_code == 0
    assert site.target.files() == {"good": b"1", "bad": b"4444"}
    assert site.failures == {}


@pytest.mark.parametrize("how", ["deleted", "moved", "excluded"])
async def test_path_that_is_gone_is_parked_no_longer(site: Site, autojump_clock: MockClock, how: str) -> None:
    await site.passes(3)
    policy = ONE
    if how == "deleted":
        site.source.delete("bad")
    elif how == "moved":
        site.source.rename("bad", "better")
    else:
        policy = attrs.evolve(ONE, selection=Selection(exclude=["bad"]))
    report = await site.run(policy=attrs.evolve(policy, is_patient=True))
    assert report.exit_code == 0
    assert site.seen(Recovered) == [Recovered("bad", was_parked=True)]
    assert site.failures == {}


async def test_m061_path_in_an_unreadable_directory_stays_parked(site: Site, autojump_clock: MockClock) -> None:
    site.source.write("d/e/bad", b"1")
    site.refuse("d/e/bad")
    await site.passes(3)

    await site.passes(1, source=Unreadable(site.source, "d"))
    assert [problem.path for event in site.seen(Scanned) for problem in event.problems] == ["d"]
    assert site.failures == {"bad": 3, "d/e/bad": 3}


# Trouble of the whole host.


class Elsewhere(MemoryEndpoint):
    """A target that rejects every connection."""

    def __init__(self, error: Exception) -> None:
        super().__init__("target", inodes=False)
        self.error = error

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[MemorySession]:
        await trio.lowlevel.checkpoint()
        raise self.error
        yield MemorySession(self)


@pytest.mark.parametrize(
    ("error", "code"), [(ConnectionLost("no route"), 5), (LoginRefused("who are you?"), 6)], ids=["away", "login"]
)
async def test_unreachable_host_parks_nothing(
    site: Site, autojump_clock: MockClock, error: Exception, code: int
) -> None:
    site.target.refusing.clear()
    await site.passes(1)
    site.source.write("new", b"5")
    for _ in range(4):
        report = await site.passes(1, target=Elsewhere(error))
        assert report.exit_code == code
    assert site.failures == {}


@pytest.mark.parametrize("how", ["drain", "cancel"])
async def test_a_run_that_is_stopped_parks_nothing(site: Site, autojump_clock: MockClock, how: str) -> None:
    for _ in range(4):
        site.shutdown = type(site.shutdown)()

        def stop(event: Event) -> None:
            if isinstance(event, Failed):
                getattr(site.shutdown, how)()

        site.source.write("later", b"1")
        site.source.write("and later", b"1")
        report = await site.passes(1, observe=stop)
        assert report.exit_code in {3, 130}
        assert report.failed == 1
    assert site.failures == {}


async def test_m031_a_target_without_room_parks_nothing(site: Site, autojump_clock: MockClock) -> None:
    site.source.write("also", b"333")
    site.refuse("bad", refusal=TargetFull("no room"))
    for _ in range(4):
        site.refuse("also")
        report = await site.passes(1)
        assert (report.exit_code, report.failed) == (1, 2)
    assert site.target.tried.count("bad") == 4
    assert site.failures == {}


# Directories and removals.


async def test_a_directory_is_parked_with_all_that_is_in_it(site: Site, autojump_clock: MockClock) -> None:
    site.target.refusing.clear()
    site.source.write("d/e/f", b"1")
    site.source.write("d/g", b"1")
    site.refuse("d")
    await site.passes(3)
    assert site.failures == {"d": 3}  # what is in it is not at fault
    report = await site.passes(1)
    assert site.target.tried == ["d"] * 3
    assert (report.failed, report.parked) == (4, 4)
    assert dict(report.failures)["d/e/f"] == "its directory is parked, and was not made"
    site.target.refusing.clear()
    site.source.write("d/h", b"1")  # it changes the directory's times, which says nothing of its name
    assert (await site.passes(1)).parked == 5
    await trio.sleep(60)
    assert (await site.passes(1)).exit_code == 0
    assert site.target.files().keys() == site.source.files().keys()


async def test_a_removal_is_parked_and_the_directories_that_hold_it_stay(site: Site, autojump_clock: MockClock) -> None:
    site.target.refusing.clear()
    for path in ("d/e/f", "d/e/g", "d/k", "z"):
        site.source.write(path, path.encode() * 3)
    await site.passes(1)
    site.source.delete("d")
    site.refuse("d/e/f")
    await site.passes(3)
    assert site.failures == {"d/e/f": 3}
    assert site.target.files().keys() == {"good", "bad", "d/e/f", "z"}
    site.source.delete("z")
    report = await site.passes(1)
    assert site.target.tried == ["d/e/f"] * 3
    assert (report.exit_code, report.failed, report.parked, report.removed, report.left) == (1, 1, 1, 1, 2)
    assert site.seen(RemovalsWithheld) == [
        RemovalsWithheld(2, "2 removals postponed: they may be half of a rename that failed ('d/e/f')")
    ]
    site.target.refusing.clear()
    await trio.sleep(60)
    assert (await site.passes(1)).exit_code == 0
    assert site.target.files().keys() == {"good", "bad"}
    assert site.failures == {}


async def test_parked_path_keeps_the_entry_in_its_way(site: Site, autojump_clock: MockClock) -> None:
    """A directory that a file is to replace is not emptied for a file that will not be sent."""
    site.target.refusing.clear()
    site.source.write("d/f", b"1")
    await site.passes(1)
    site.source.delete("d")
    site.source.write("d", b"now a file")
    site.refuse("d")  # as a directory that is to go, and as a file
    await site.passes(3)
    assert site.failures == {"d": 3}
    site.target.refusing.clear()
    site.target.write("d/f", b"1")
    report = await site.passes(1)
    assert (report.failed, report.parked) == (2, 2)
    await trio.sleep(60)
    site.target.delete("d/f")
    assert (await site.passes(1)).exit_code == 0
    assert site.target.files()["d"] == b"now a file"


async def test_m135_removals_near_a_parked_path_are_postponed(site: Site, autojump_clock: MockClock) -> None:
    site.target.refusing.clear()
    for path, data in (("old", b"1" * 50), ("d/other", b"1" * 60), ("d/like it", b"22" * 35)):
        site.source.write(path, data)
    await site.passes(1)
    for path in ("old", "d/other", "d/like it"):
        site.source.delete(path)
    site.source.write("new", b"33" * 35)
    site.refuse("new")
    report = await site.passes(4)
    assert (report.exit_code, report.parked, report.withheld, report.left) == (1, 1, 2, 2)
    assert site.target.files().keys() == {"good", "bad", "old", "d/like it"}
    assert site.target.tried == ["new"] * 3
    site.target.refusing.clear()
    await trio.sleep(60)
    report = await site.passes(1)
    assert (report.exit_code, report.removed) == (0, 2)
    assert site.target.files().keys() == {"good", "bad", "new"}


async def test_m061_removals_beside_an_unreadable_directory_are_postponed(
    site: Site, autojump_clock: MockClock
) -> None:
    site.target.refusing.clear()
    for path in ("a/x", "a/d/y", "b/z", "a/e/w"):
        site.source.write(path, path.encode())
    await site.passes(1)
    for path in ("a/x", "a/d", "b/z"):
        site.source.delete(path)

    site.source.write("a/e/v", b"1")
    report = await site.passes(1, source=Unreadable(site.source, "a/e"))
    # Not beside it, as a/x and the directory a/d that goes as a whole: elsewhere.
    assert (report.exit_code, report.failed, report.withheld) == (1, 1, 3)
    assert site.target.files().keys() == {"good", "bad", "a/x", "a/d/y", "a/e/w"}
    assert (await site.passes(1)).exit_code == 0
    assert site.target.files().keys() == site.source.files().keys()


# Stories.


class Passes(Story):
    """A mirror of every ten seconds, or hours, to a target that refuses the same verbs again and again."""

    refused: frozenset[str] = frozenset()

    async def tell(self) -> None:
        """Make passes while things fail, change and mend; then a person comes, and all is well."""
        rng = self.rng
        for _ in range(rng.randrange(4, 16)):
            self.change_source()
        self._prepare_target()
        self.policy = attrs.evolve(self.policy, is_patient=True)
        for _ in range(12):
            if rng.random() < 0.25:
                verbs = ("stage", "make_directories", "remove", "commit")
                self.refused = frozenset(verb for verb in verbs if rng.random() < 0.5)
            await self.check_pass(Weather(source_faults=rng.choice((0.0, 0.0, 0.05))))
            await trio.sleep(rng.choice((1.0, 10.0, 100.0, 4_000.0)))
            for _ in range(rng.choice((0, 0, 0, 1, 2))):
                self.change_source()
        self.refused = frozenset()
        self.policy = attrs.evolve(self.policy, is_patient=False)
        await trio.sleep(10)
        await self.converge()
        assert self.oracle.journal.troubles() == []

    async def check_pass(self, weather: Weather) -> None:
        """Make one pass. What waits and has not changed is not tried, and nothing is written about it."""
        now = self.wall_ns() / 1e9
        before = {it.path: it for it in self.oracle.journal.troubles()}
        waiting = {path: it for path, it in before.items() if is_parked(it) and not is_due(it, now)}
        report = await self.run(weather)
        after = {it.path: it for it in self.oracle.journal.troubles()}
        for event in self.oracle.events:
            if isinstance(event, Done | Failed) and event.operation.path in waiting:
                trouble = waiting[event.operation.path]
                is_new = trouble.source != getattr(event.operation, "source", None)
                is_new = is_new or (isinstance(event, Failed) and event.fault is not Fault.PATH)
                assert is_new, f"{trouble} was tried: {event}"
                self.told.append(-1)
        assert report is not None
        assert report.parked == sum(isinstance(it, Failed) and it.fault is Fault.PARKED for it in self.oracle.events)
        if not report.copied and not report.failed - report.parked:
            assert all(after[path] == it for path, it in waiting.items() if path in after)

    def _decide_target(self, verb: str, when: When) -> float | None:
        if when == "before" and verb in self.refused:
            self._step()
            raise OperationRefused(f"never: {verb}")
        return super()._decide_target(verb, when)


@pytest.mark.scaled
def test_m135_stories_of_passes_with_repeated_failures() -> None:
    parked = 0
    for seed in range(SEEDS):
        story = Passes(seed)
        try:
            simulate(story)
        except BaseException as error:
            error.add_note(f"seed {seed}:\n" + "\n".join(story.trace))
            raise
        parked += story.told.count(-1)
    assert parked > SEEDS, "nothing was ever left alone: this tested nothing"
