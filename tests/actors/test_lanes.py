"""Lanes: many operations share one session, and lose it together. Virtual time."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.shutdown import Shutdown
from actorsync.actors.statistics import ConnectionLevel, LaneLevel, Statistics
from actorsync.endpoints.contract import Upload
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.errors import ConnectionLost
from actorsync.model.event import Connected, Event, Retired, Warned
from actorsync.model.operation import Copy, Done, Failed, Returned
from actorsync.testing.faulty_endpoint import Faulty, When
from tests.support.world.memory_mirror import LANES, ONE, PATIENT, Counted, Mirror


def slowly(verb: str, delay: float = 1.0) -> Callable[[str, When], float | None]:
    """Return a decision that delays ``verb`` by ``delay`` seconds."""
    return lambda now, when: delay if (now, when) == (verb, "before") else None


class Losing(MemoryEndpoint):
    """A target that loses the connection when a name that ``is_poison`` is put on it."""

    is_poison: Callable[[str], bool] = staticmethod(lambda path: False)

    def put(self, path: str, node: Any) -> None:
        super().put(path, node)
        if self.is_poison(path):
            raise ConnectionLost("it died")


def losing(names: Sequence[str]) -> Losing:
    target = Losing("target", inodes=False, lanes=LANES)
    target.is_poison = lambda path: path.endswith(".tmp") and path.split("/")[0] in names
    return target


# One session.


@pytest.mark.parametrize("connections", [1, 3])
async def test_all_lanes_share_one_session(connections: int, autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(60)
    target = Counted(Faulty(mirror.target, slowly("read")))
    report = await mirror.run(target, policy=attrs.evolve(ONE, connections=connections))
    assert (report.exit_code, report.copied) == (0, 60)
    assert target.sessions == len(mirror.seen(Connected)) == connections
    assert target.busiest == LANES * connections, "all lanes work"
    assert mirror.target.files() == mirror.source.files()
    mirror.check_nothing_left()


async def test_slow_file_occupies_one_lane_only(autojump_clock: MockClock) -> None:
    """The other lanes send the remaining files meanwhile."""
    mirror = Mirror()
    mirror.fill(40)
    mirror.source.write("slow", b"x" * 1_000)
    moments: dict[str, float] = {}

    def observe(event: Event) -> None:
        if isinstance(event, Done) and isinstance(event.operation, Copy):
            moments[event.operation.path] = trio.current_time()

    first = itertools.count()

    def decide(verb: str, when: When) -> float | None:
        return 500.0 if (verb, when) == ("stage", "before") and next(first) == 0 else None

    assert (await mirror.run(Faulty(mirror.target, decide), observe=observe)).exit_code == 0
    late = [path for path, moment in moments.items() if moment >= 500]
    assert len(moments) == 41
    assert len(late) <= 2, "the slow one, and at most the one that its lane had taken ahead"


async def test_session_warning_is_reported_once_per_run(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(40)
    calls = itertools.count()

    def decide(verb: str, when: When) -> None:
        if (verb, when) == ("stage", "after") and next(calls) in {3, 9}:
            raise ConnectionLost("reset")

    target = Counted(Faulty(mirror.target, decide), warning="passwords travel in clear")
    report = await mirror.run(target, policy=attrs.evolve(ONE, connections=2))
    assert (report.exit_code, report.copied) == (0, 40)
    assert target.sessions > 2
    assert mirror.seen(Warned) == [Warned("passwords travel in clear")]
    mirror.fill(50)
    await mirror.run(target)
    assert mirror.seen(Warned) == [Warned("passwords travel in clear")], "and again in the next run"


# Lost sessions.


@pytest.mark.parametrize("others", [0, 3, 30])
@pytest.mark.parametrize("name", ["0 poison", "poison"])
async def test_m127_file_that_always_loses_the_connection_fails_alone(
    name: str, others: int, autojump_clock: MockClock
) -> None:
    mirror = Mirror(target=losing([name]))
    mirror.fill(others)
    mirror.source.write(f"{name}/x", b"x" * 100)
    target = Counted(mirror.target)
    report = await mirror.run(target)
    assert report.failures == ((f"{name}/x", "the connection was lost 5 times during this operation: it died"),)
    assert (report.exit_code, report.copied, report.failed) == (1, others, 1)
    assert target.sessions == 6, "five lost ones, and one for the remaining files"
    mirror.check_one_outcome_each()
    mirror.check_nothing_left()


@pytest.mark.parametrize("count", [2, 5, 7])
async def test_m127_several_files_that_always_lose_the_connection_fail_alone(
    count: int, autojump_clock: MockClock
) -> None:
    """Even if they are in hand at the same time, together with good files."""
    names = [f"p{number}" for number in range(count)]
    mirror = Mirror(target=losing(names))
    mirror.fill(30)
    for name in names:
        mirror.source.write(f"{name}/x", b"x" * 100)
    report = await mirror.run(policy=attrs.evolve(ONE, backoff=attrs.evolve(PATIENT, tries=40)))
    assert sorted(path for path, _ in report.failures) == [f"{name}/x" for name in names]
    assert (report.exit_code, report.copied) == (1, 30)
    assert {path: data for path, data in mirror.source.files().items() if path[0] == "d"} == mirror.target.files()
    mirror.check_one_outcome_each()
    mirror.check_nothing_left()


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("verb", ["stage", "commit", "read", "make_directories", "sweep"])
@pytest.mark.parametrize("at", [0, 3, 11])
async def test_m006_lanes_repeat_interrupted_operations_exactly_once(
    verb: str, moment: When, at: int, autojump_clock: MockClock
) -> None:
    mirror = Mirror()
    mirror.fill(25)
    calls = itertools.count()
    puts: Counter[str] = Counter()

    def decide(now: str, when: When) -> float | None:
        if (now, when) == (verb, moment) and next(calls) == at:
            raise ConnectionLost("reset")
        return 0.1 if when == "before" else None

    def observe(event: Event) -> None:
        if isinstance(event, Done) and isinstance(event.operation, Copy):
            puts[event.operation.path] += 1

    target = Counted(Faulty(mirror.target, decide))
    report = await mirror.run(target, observe=observe)
    assert (report.exit_code, report.copied, report.failed) == (0, 25, 0)
    assert puts == Counter(mirror.source.files().keys())
    lost = next(calls) > at
    assert (target.sessions, report.reconnects) == ((2, 1) if lost else (1, 0))
    assert mirror.target.files() == mirror.source.files()
    mirror.check_nothing_left()


async def test_m127_retired_connection_gives_back_the_work_of_all_its_lanes(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(30)
    sessions = itertools.count()

    def decide(verb: str, when: When) -> float | None:
        if (verb, when) == ("open_session", "before") and next(sessions) > 1:
            raise ConnectionLost("refused")
        if (verb, when) == ("stage", "after") and next(stages) == 3:
            raise ConnectionLost("reset")
        return 1.0 if (verb, when) == ("read", "before") else None

    stages = itertools.count()
    report = await mirror.run(Faulty(mirror.target, decide), policy=attrs.evolve(ONE, connections=2))
    assert (report.exit_code, report.copied) == (0, 30)
    assert len(mirror.seen(Retired)) == 1
    assert len(mirror.seen(Returned)) >= LANES - 1
    mirror.check_one_outcome_each()
    mirror.check_nothing_left()


# Stopping.


@pytest.mark.parametrize("at", [0.5, 1.5, 2.2, 3.0, 7.7])
@pytest.mark.parametrize("how", ["drain", "cancel"])
async def test_stop_during_many_uploads_leaves_no_temporaries(how: str, at: float, autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(60)
    target = Counted(Faulty(mirror.target, slowly("read", 0.3)))
    in_hand: list[int] = []

    async def stop() -> None:
        await trio.sleep(at)
        in_hand.append(target.busy)
        getattr(mirror.shutdown, how)()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        report = await mirror.run(target)
    assert in_hand[0] > 1, "several lanes were uploading"
    assert report.exit_code == {"drain": 3, "cancel": 130}[how]
    assert report.copied == len(mirror.target.files()) < 60
    if how == "drain":
        assert report.copied >= in_hand[0], "uploads in flight have finished"
    mirror.check_one_outcome_each()
    mirror.check_nothing_left()
    mirror.shutdown = Shutdown()
    assert (await mirror.run()).exit_code == 0
    assert mirror.target.files() == mirror.source.files()


async def test_cancel_on_a_lost_connection_ends_at_once_and_the_next_run_sweeps(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(60)
    lost = False

    def decide(verb: str, when: When) -> float | None:
        if lost and verb != "read":
            raise ConnectionLost("gone")
        return 0.3 if (verb, when) == ("read", "before") else None

    async def stop() -> None:
        nonlocal lost
        await trio.sleep(1.3)
        lost = True
        mirror.shutdown.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        report = await mirror.run(Faulty(mirror.target, decide))
    assert report.exit_code == 130
    left = {path for path in mirror.target.files() if ".tmp" in path}
    assert left
    assert left <= {path for path, _ in mirror.journal.pending()}
    mirror.shutdown = Shutdown()
    assert (await mirror.run()).exit_code == 0
    mirror.check_nothing_left()


# Levels.


def lane(size: int | None, state: str = "sending") -> LaneLevel:
    upload = None if size is None else Upload("f", "t", None, sent=size // 2)  # type: ignore[arg-type]
    return LaneLevel(state, upload, size or 0)


def test_busiest_lane_has_the_largest_upload_or_is_busy() -> None:
    lanes = [lane(None, "idle"), lane(None, "removing"), lane(5), lane(900), lane(None, "idle")]
    level = ConnectionLevel(1, is_connected=True, lanes=lanes)
    assert (level.busiest, level.uploads) == (lanes[3], 2)
    level.lanes = lanes[:2]
    assert (level.busiest, level.uploads) == (lanes[1], 0)
    level.lanes = [lanes[0], lane(0), lanes[1]]
    assert (level.busiest, level.uploads) == (level.lanes[1], 1), "an empty file is an upload too"
    level.lanes = lanes[:1]
    assert level.busiest is lanes[0]
    level.lanes = []
    assert level.busiest is None
    level.lanes, level.is_connected = lanes, False
    assert level.busiest is None


def test_bytes_sent_sum_over_all_lanes_of_all_connections() -> None:
    levels = [ConnectionLevel(n, lanes=[lane(10), lane(None), lane(30)]) for n in (1, 2)]
    assert Statistics(levels, bytes_done=100).bytes_sent == 100 + 2 * (5 + 15)


async def test_levels_are_current_during_a_run_and_idle_after_it(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(30)
    seen: list[tuple[int, bool]] = []

    async def look() -> None:
        while True:
            await trio.sleep(0.05)
            (level,) = mirror.statistics.connections
            seen.append((level.uploads, level.is_connected))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        await mirror.run(Faulty(mirror.target, slowly("read", 0.3)))
        nursery.cancel_scope.cancel()
    assert max(seen) == (LANES, True), "all lanes, and never more"
    (level,) = mirror.statistics.connections
    assert (level.state, level.uploads, level.busiest) == ("done", 0, None)
    assert mirror.statistics.bytes_sent == sum(map(len, mirror.source.files().values()))


async def test_failed_file_is_no_longer_shown_as_upload(autojump_clock: MockClock) -> None:
    mirror = Mirror(target=losing(["poison"]))
    mirror.fill(3)
    mirror.source.write("poison/x", b"x" * 100)
    under_way: list[str] = []

    def observe(event: Event) -> None:
        if isinstance(event, Failed):
            lanes = mirror.statistics.connections[0].lanes
            under_way.extend(lane.upload.path for lane in lanes if lane.upload is not None)

    await mirror.run(observe=observe)
    assert "poison/x" not in under_way
