"""One scan for several runs: each directory is listed once, no run waits for another, and nothing too old is read."""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from actorsync.endpoints.contract import BulkListing, Capabilities, Content, ReadSession, Source
from actorsync.endpoints.wrappers.base import EndpointWrapper, ReadSessionWrapper
from actorsync.endpoints.wrappers.shared_listing import ListingReader, SharedListings, SharedSource
from actorsync.errors import ConnectionLost
from actorsync.model.entry import Entry, Kind, Listing, Problem, Root
from actorsync.model.row import ListingRows, Row, rows_of

NAMES = tuple(f"d{number}" for number in range(20))


class TellingSession(ReadSession):
    """A session whose listings tell when they began, as the size of their only file, in thousandths of a second."""

    def __init__(self, place: Telling) -> None:
        self._place = place

    async def list_directory(self, directory: str) -> Listing:
        place = self._place
        place.listed[directory] += 1
        size = round(trio.current_time() * 1000)
        await trio.sleep(place.seconds(directory))
        if directory in place.problems:
            return Listing(directory, problem=Problem(directory, "denied"))
        return Listing(
            directory, (Entry(f"{directory}/\udcff", Kind.FILE, size, inode=1 << 63),), frozenset({"h\udcff"})
        )

    def open(self, path: str) -> AbstractAsyncContextManager[Content]:
        raise AssertionError(path)

    def describe(self) -> Sequence[tuple[str, str]]:
        return ()

    def warnings(self) -> Sequence[str]:
        return ()


class BulkSession(TellingSession):
    async def list_many(self, directories: Sequence[str]) -> Sequence[ListingRows]:
        return [rows_of(await self.list_directory(it)) for it in directories[:3]]


@attrs.define(eq=False)
class Telling:
    """A source that counts its listings."""

    is_bulk: bool = False
    seconds: Callable[[str], float] = lambda _: 0.1
    problems: frozenset[str] = frozenset()
    listed: Counter[str] = attrs.Factory(Counter)
    display: str = "source"
    capabilities: Capabilities = attrs.Factory(Capabilities)
    device: int = 1

    async def identify(self) -> Root:
        await trio.lowlevel.checkpoint()
        return Root(Entry("", Kind.DIRECTORY, inode=7), self.device)

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[ReadSession]:
        await trio.lowlevel.checkpoint()
        yield BulkSession(self) if self.is_bulk else TellingSession(self)


async def scan(place: Source, reader: ListingReader, pause: float = 0.0) -> dict[str, float]:
    """Read all directories at a pace, and return when the listing of each began."""
    source, found, waiting = SharedSource(place, reader), {}, [*NAMES]
    await source.identify()
    async with source.open_session() as session:
        assert isinstance(session, BulkListing)
        while waiting:
            listings = await session.list_many(waiting)
            assert [it.directory for it in listings] == waiting[: len(listings)]
            for listed in listings:
                waiting.remove(listed.directory)
                found[listed.directory] = float("nan") if listed.problem else listed.rows[0][2] / 1000
                if listed.problem is None:
                    assert (listed.rows[0][0], listed.rows[0][5]) == (b"\xff", 1 << 63)
                    assert listed.hidden == {"h\udcff"}
            await trio.sleep(pause)
    return found


@pytest.mark.parametrize("is_bulk", [False, True])
async def test_each_directory_is_listed_once_for_all_runs(autojump_clock: MockClock, is_bulk: bool) -> None:
    shared, place = SharedListings(), Telling(is_bulk)
    readers = [shared.reader() for _ in range(3)]
    for reader in readers:
        reader.prepare(trio.current_time())
    async with trio.open_nursery() as nursery:
        for number, reader in enumerate(readers):
            nursery.start_soon(scan, place, reader, 0.01 * number)
    assert place.listed == Counter(NAMES)


async def test_slow_run_delays_no_other_and_reads_everything_from_the_spool(autojump_clock: MockClock) -> None:
    shared, place = SharedListings(), Telling()
    ended: dict[str, float] = {}

    async def one(name: str, reader: ListingReader, pause: float) -> None:
        await scan(place, reader, pause)
        ended[name] = trio.current_time() - began

    began = trio.current_time()
    readers = {"fast": shared.reader(), "slow": shared.reader()}
    for reader in readers.values():
        reader.prepare(began)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, "slow", readers["slow"], 100.0)
        nursery.start_soon(one, "fast", readers["fast"], 0.0)
    assert place.listed == Counter(NAMES)
    assert ended["fast"] == pytest.approx(len(NAMES) * 0.1)  # as long as alone
    assert ended["slow"] > 100


async def test_run_that_begins_later_lists_anew_what_is_older(autojump_clock: MockClock) -> None:
    shared, place = SharedListings(), Telling()
    first, second = shared.reader(), shared.reader()
    await trio.sleep(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scan, place, first)
        await trio.sleep(0.55)
        since = trio.current_time()
        found = await scan(place, second)
    assert min(found.values()) >= since
    assert sum(place.listed.values()) == len(NAMES) + 6  # what the first had begun by then


async def test_listings_of_another_root_are_not_read(autojump_clock: MockClock) -> None:
    shared, place, other = SharedListings(), Telling(), Telling(device=2)
    readers = shared.reader(), shared.reader()
    for reader in readers:
        reader.prepare(trio.current_time())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scan, place, readers[0])
        nursery.start_soon(scan, other, readers[1])
    assert place.listed == other.listed == Counter(NAMES)


async def test_directory_that_is_asked_for_again_is_listed_anew(autojump_clock: MockClock) -> None:
    shared, place = SharedListings(), Telling()
    readers = shared.reader(), shared.reader()
    for reader in readers:
        reader.prepare(trio.current_time())
    source = SharedSource(place, readers[0])
    await source.identify()
    async with source.open_session() as session:
        assert isinstance(session, BulkListing)
        await session.list_many(["d0"])
        await session.list_many(["d0"])
        await session.list_directory("d0")
        assert place.listed["d0"] == 3
        newest = round(trio.current_time() * 1000) - 200
    found = await scan(place, readers[1])
    assert found["d0"] * 1000 == newest
    assert place.listed["d0"] == 3


async def test_what_cannot_be_listed_is_tried_by_each_run(autojump_clock: MockClock) -> None:
    shared, place = SharedListings(), Telling(problems=frozenset({"d3"}))
    readers = shared.reader(), shared.reader()
    for reader in readers:
        reader.prepare(trio.current_time())
    for reader in readers:
        await scan(place, reader)
    assert place.listed == Counter([*NAMES, "d3"])


@pytest.mark.parametrize("is_bulk", [False, True])
async def test_run_does_not_wait_long_for_a_listing_of_another_one(autojump_clock: MockClock, is_bulk: bool) -> None:
    stuck = [3_600.0, 0.1]
    shared, place = SharedListings(), Telling(is_bulk, seconds=lambda it: stuck.pop(0) if it == "d0" else 0.1)
    readers = shared.reader(), shared.reader()
    for reader in readers:
        reader.prepare(trio.current_time())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scan, place, readers[0])
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        await scan(place, readers[1])
        assert trio.current_time() - began < 10
        nursery.cancel_scope.cancel()


async def test_listing_that_is_broken_off_is_made_by_the_next_one(autojump_clock: MockClock) -> None:
    shared, place = SharedListings(), Telling()
    readers = shared.reader(), shared.reader()
    for reader in readers:
        reader.prepare(trio.current_time())
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scan, place, readers[0])
            await trio.sleep(0.05)
            scope.cancel()
    await scan(place, readers[1])
    assert place.listed == Counter([*NAMES, "d0"])


async def test_lost_connection_of_one_run_is_not_that_of_another(autojump_clock: MockClock) -> None:
    shared, place = SharedListings(), Telling()
    readers = shared.reader(), shared.reader()
    for reader in readers:
        reader.prepare(trio.current_time())
    with pytest.raises(ConnectionLost):
        await scan(_Losing(place), readers[0])
    await scan(place, readers[1])
    assert place.listed == Counter(NAMES)


@attrs.define(eq=False)
class _Losing(EndpointWrapper[Telling]):
    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[ReadSession]:
        async with self.real.open_session() as session:
            yield _LosingSession(session)


class _LosingSession(ReadSessionWrapper):
    async def list_directory(self, directory: str) -> Listing:
        raise ConnectionLost("cut")


async def test_spool_that_fails_makes_each_run_list_for_itself(autojump_clock: MockClock) -> None:
    shared, place = SharedListings(), Telling()
    readers = shared.reader(), shared.reader()
    for reader in readers:
        reader.prepare(trio.current_time())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scan, place, readers[0])
        await trio.sleep(0.55)
        assert shared._spool is not None
        shared._spool.execute("DROP TABLE body")
    found = await scan(place, readers[1])
    assert found.keys() == set(NAMES)
    assert max(place.listed.values()) == 2


async def test_nothing_is_kept_when_all_runs_have_read_it_or_ended(autojump_clock: MockClock) -> None:
    shared, place = SharedListings(), Telling()
    readers = shared.reader(), shared.reader(), shared.reader()
    for reader in readers:
        reader.prepare(trio.current_time())
    await scan(place, readers[0])
    assert bodies(shared) == len(NAMES)
    readers[1].end()  # its target is down
    assert bodies(shared) == len(NAMES)
    await scan(place, readers[2])
    assert shared._spool is None


def bodies(shared: SharedListings) -> int:
    assert shared._spool is not None
    return int(shared._spool.execute("SELECT count(*) FROM body").fetchone()[0])


@pytest.mark.parametrize("seed", range(100))
async def test_no_run_reads_what_is_older_than_its_pass(autojump_clock: MockClock, seed: int) -> None:
    rng = random.Random(seed)
    shared = SharedListings()
    place = Telling(bool(seed % 2), seconds=lambda _: rng.choice((0.0, 0.1, 0.3, 7.0 * (rng.random() < 0.02))))

    async def passes(reader: ListingReader) -> None:
        for number in range(rng.randrange(1, 6)):
            await trio.sleep(rng.choice((0.0, rng.random() * 3)))
            since = trio.current_time()
            if rng.random() < 0.3:
                reader.prepare(since)
            with trio.move_on_after(rng.choice((rng.random() * 5, 1_000.0))) as scope:
                found = await scan(place, reader, rng.choice((0.0, 0.05, 1.0)))
                assert found.keys() == set(NAMES), number
                assert min(found.values()) >= since - 0.001
            if scope.cancelled_caught and rng.random() < 0.5:
                reader.end()
        reader.end()

    await trio.sleep(rng.random())
    async with trio.open_nursery() as nursery:
        for _ in range(rng.randrange(2, 6)):
            nursery.start_soon(passes, shared.reader())
    assert shared._spool is None
    assert shared._under_way == {}


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_big_spool_is_a_file_without_a_name() -> None:
    shared = SharedListings()
    readers = shared.reader(), shared.reader()
    for reader in readers:
        reader.prepare(trio.current_time())
        reader.root = 0
    for number in range(200):
        rows: list[Row] = [(b"%040d" % row, 1, row, row, row, row, 0o644) for row in range(1_000)]
        shared._keep(readers[0], ListingRows(f"{number}", rows), trio.current_time())
    spools = [it for number in os.listdir("/proc/self/fd") if "etilqs_" in (it := _path(number))]
    assert spools
    assert all(it.endswith(" (deleted)") for it in spools)
    for reader in readers:
        reader.end()


def _path(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except FileNotFoundError:
        return ""
