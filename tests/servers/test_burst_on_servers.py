"""Bursts through the whole engine on every server: cut, killed, refused, taken back, and watched by a visitor.

CI takes a sample of the places. ``ACTORSYNC_BURST_PLACES=1000`` takes every line, and that many places of a sealed
connection; ``ACTORSYNC_BURST_REFUSALS=20`` takes every file.
"""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
import trio

from actorsync.actors.pipeline import Pipeline
from actorsync.model.event import Released
from actorsync.planning.publishing.rules import FILE_BY_FILE, PublishRule
from actorsync.testing.network.ftp_proxy import FaultProxy
from actorsync.testing.network.proxy import WireProxy
from actorsync.testing.visitor import Watcher
from tests.support.mirror import settings_for
from tests.support.servers.release_site import BURST, FILES, NAMES, Case, ReleaseSite, files_of, has_fired, open_site
from tests.support.system.forks import Forks
from tests.support.tiers import amount

AT_ONCE = 6


@pytest.fixture(scope="module", params=NAMES)
def site(request: pytest.FixtureRequest) -> Iterator[ReleaseSite]:
    with open_site(request.param) as site:
        yield site


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as forks:
        yield forks


def some(count: int, *, name: str, short: int, full: int) -> Sequence[int]:
    """Return places from 1 to ``count``, evenly spread."""
    wanted = min(count, amount(name, short=short, full=full))
    return [1 + number * (count - 1) // max(1, wanted - 1) for number in range(wanted)]


def connections(site: ReleaseSite, place: int) -> int:
    """Return how many connections a run has: one where a place counts the bytes of the first, else one or two."""
    return 1 if site.is_sealed else 1 + place // 2 % 2


async def each(
    places: Sequence[int], check: Callable[[int], Awaitable[list[str]]], *, at_once: int = AT_ONCE
) -> list[str]:
    """Await ``check`` for each place, several at a time; return what is wrong in any of them."""
    limit, wrong = trio.CapacityLimiter(at_once), list[str]()

    async def one(place: int) -> None:
        async with limit:
            wrong.extend(f"{place}: {text}" for text in await check(place))

    async with trio.open_nursery() as nursery:
        for place in places:
            nursery.start_soon(one, place)
    return wrong


# ---- cut and killed


@pytest.mark.scaled
async def test_burst_whose_connection_is_cut_ends_with_the_new_site(site: ReleaseSite) -> None:
    count, fired = await site.places(), 0

    async def cut(place: int) -> list[str]:
        nonlocal fired
        case = site.case()
        async with site.proxied(site.fault(place, "rst" if place % 2 else "fin", bool(place // 2 % 2))) as proxy:
            endpoint = site.server.endpoint(case.folder, host=proxy.host, stall_seconds=2.0)
            run = await case.publish(endpoint=endpoint, connections=connections(site, place // 2))
            fired += has_fired(proxy)
        return case.faults_at_the_end(run)

    places = some(count, name="BURST_PLACES", short=2, full=3)
    assert not await each(places, cut)
    assert fired >= len(places) * 2 / 3


@pytest.mark.scaled
async def test_burst_that_is_killed_leaves_the_old_site_or_the_next_start_makes_the_new_one(
    site: ReleaseSite, forks: Forks
) -> None:
    count = await site.places()
    killed = begun = 0

    async def kill(place: int) -> list[str]:
        nonlocal killed, begun
        case = site.case()
        async with site.proxied(site.fault(place, "silence", bool(place % 2))) as proxy:
            flag = case.journal.with_suffix(".kill")
            settings = settings_for(
                site.source,
                site.server.target,
                case.journal,
                path=case.path,
                host=proxy.host,
                connections=connections(site, place),
                settled=True,
                is_burst=True,
                stall_seconds=2.0,
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(touch_at_the_fault, proxy, flag)
                forked = await trio.to_thread.run_sync(partial(forks.run, settings, kill_on=flag))
                nursery.cancel_scope.cancel()
        killed += forked.is_killed
        if not forked.is_killed and not (forked.report and forked.report["exit_code"] == 0):
            return [f"it ended otherwise: {forked}"]
        wrong = await case.faults_between()
        begun += not (case.is_old() or files_of(case.folder).keys() == site.version("new").keys())
        run = await case.publish()
        return wrong + case.faults_at_the_end(run)

    places = some(count * 4 // 5, name="BURST_PLACES", short=2, full=4)
    assert not await each(places, kill, at_once=1)
    print(f"{site.server.name}: {count} places, {killed} of {len(places)} killed, {begun} in the burst")
    assert killed >= len(places) * 2 / 3


async def touch_at_the_fault(proxy: FaultProxy | WireProxy, flag: Path) -> None:
    while not has_fired(proxy):  # noqa: ASYNC110 - the proxies have no event for it
        await trio.sleep(0.001)
    await trio.Path(flag).touch()


# ---- refused and taken back


@pytest.mark.scaled
async def test_burst_in_which_a_rename_is_refused_is_taken_back_byte_for_byte(site: ReleaseSite) -> None:
    async def refuse(number: int) -> list[str]:
        case, path = site.case(), FILES[number - 1]
        there = case.folder / path
        there.unlink(missing_ok=True)
        (there / "in the way").mkdir(parents=True)
        (there / "in the way" / "kept").write_bytes(b"kept")
        site.adopt(case.folder)
        before = files_of(case.folder)
        run = await case.publish()
        wrong = [f"the site is {sorted(files_of(case.folder).items())}"] if files_of(case.folder) != before else []
        if run.report.exit_code != 1 or not (run.report.not_published or "").startswith("rolled back: "):
            wrong.append(f"{run.report}")
        if list(run.failures) != [path]:
            wrong.append(f"failed: {run.failures}")
        shutil.rmtree(there)
        return wrong + case.faults_at_the_end(await case.publish())

    assert not await each(some(len(FILES), name="BURST_REFUSALS", short=1, full=2), refuse)


async def test_burst_whose_check_fails_is_taken_back_byte_for_byte(site: ReleaseSite) -> None:
    case = site.case()
    seen: list[bool] = []

    async def check() -> None:
        seen.append(files_of(case.folder).items() >= site.version("new").items())
        raise RuntimeError("the shop does not open")

    run = await case.publish(pipeline=Pipeline(check=check))
    assert seen == [True], "the check sees the new site"
    assert run.report.exit_code == 1
    assert run.report.not_published == "rolled back: the check failed: the shop does not open"
    assert case.is_old()
    assert not case.faults_at_the_end(await case.publish())


# ---- what a visitor sees


class Reader(Watcher):
    """Reads pages and then what they need, all the time, as a browser does. ``wrong`` lists what it must never see.

    A page, once read as new, needs the new version of every file of a lower rank, also of those that are read later.
    ``together`` is how many of the first ranks are one. ``may_change`` is set when the site may begin to change.
    """

    def __init__(self, case: Case, together: int) -> None:
        super().__init__()
        ranks = BURST.ranks
        self._folder = case.folder
        self._names = sorted(FILES, key=ranks.of, reverse=True)  # the last to be published is read first
        self._ranks = {name: max(ranks.of(name), together - 1) for name in FILES}
        self.may_change = False
        self.wrong: list[str] = []
        self.mixed = 0

    def look(self) -> None:
        newest: tuple[int, str] | None = None
        states = []
        for name in self._names:
            try:
                state = (self._folder / name).read_bytes()[:3]
            except OSError:
                state = b""
            states.append(state)
            if newest is not None and self._ranks[name] < newest[0] and state == b"old":
                self.wrong.append(f"{newest[1]} was new, and then {name} was old")
            if newest is None and state == b"new":
                newest = self._ranks[name], name
        if b"new" in states and not self.may_change:
            self.wrong.append("a file was new before the commit point")
        self.mixed += b"new" in states and b"old" in states


@pytest.mark.parametrize("publish", [BURST, FILE_BY_FILE], ids=["burst", "file"])
async def test_visitor_never_sees_a_page_that_is_newer_than_what_it_needs(
    site: ReleaseSite, publish: PublishRule
) -> None:
    case = site.case()
    reader = Reader(case, 1 if publish.is_burst else publish.ranks.together)

    async def before_commit() -> None:
        reader.may_change = True

    with reader.watching(pause=0.0005):
        run = await case.publish(publish=publish, connections=3, pipeline=Pipeline(before_commit=before_commit))
    assert not reader.wrong
    assert not case.faults_at_the_end(run)
    assert bool(run.of(Released)) is publish.is_burst
