"""What is gone from the source stays on the target for a while if the profile asks for it: ``publish.remove-after``."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from trio.testing import MockClock

from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.model.event import Planned, RemovalsDelayed, RemovalsRefused
from actorsync.model.messages import summary
from actorsync.model.report import Report
from actorsync.planning.publishing.lingering import Lingering, lingering
from actorsync.planning.publishing.rules import PublishRule
from actorsync.profile.values.units import MaxDelete
from tests.support.world.memory_mirror import ONE, Mirror

SECOND = 10**9
TEN = attrs.evolve(ONE, publish=PublishRule(remove_after=10.0))


@attrs.define(eq=False)
class Site:
    """A mirror and its time of day, in seconds."""

    mirror: Mirror = attrs.Factory(lambda: Mirror(target=MemoryEndpoint("target", inodes=False)))
    now: float = 2e9

    def __attrs_post_init__(self) -> None:
        self.mirror.wall_ns = lambda: int(self.now * SECOND)

    async def run(self, later: float = 0, policy: Any = TEN) -> Report:
        self.now += later
        return await self.mirror.run(policy=policy)

    @property
    def there(self) -> set[str]:
        return set(self.mirror.target.files())

    @property
    def event(self) -> RemovalsDelayed:
        (event,) = self.mirror.seen(RemovalsDelayed)
        return event


@pytest.fixture
async def site(autojump_clock: MockClock) -> Site:
    it = Site()
    for path in ("a.css", "b.css", "d/c.css", "d/d.css"):
        it.mirror.source.write(path, path.encode() * len(path))
    await it.run()
    return it


async def test_gone_file_stays_until_its_time_has_come(site: Site) -> None:
    site.mirror.source.delete("a.css")
    report = await site.run()
    assert (report.exit_code, report.removed, report.left, report.delayed) == (0, 0, 0, 1)
    assert report.delayed_until == site.now + 10
    assert [event.removals for event in site.mirror.seen(Planned)] == [0]
    assert "1 entry gone from the source stays until 2033-05-18" in summary(report)
    report = await site.run(9)
    assert (report.exit_code, report.removed, report.delayed, site.event.found) == (0, 0, 1, ())
    assert "a.css" in site.there
    report = await site.run(1)
    assert (report.exit_code, report.removed, report.delayed, report.delayed_until) == (0, 1, 0, None)
    assert site.mirror.journal.audits.leaving() == {}
    assert site.there == {"b.css", "d/c.css", "d/d.css"}


async def test_time_counts_anew_for_a_file_that_has_come_back(site: Site) -> None:
    site.mirror.source.delete("a.css")
    await site.run()
    site.mirror.source.write("a.css", b"back")
    await site.run(5)
    assert (site.event.paths, site.event.returned) == ((), ("a.css",))
    site.mirror.source.delete("a.css")
    report = await site.run(20)
    assert (report.removed, report.delayed, "a.css" in site.there) == (0, 1, True)
    report = await site.run(11)
    assert report.removed == 1


async def test_folder_stays_with_what_is_in_it(site: Site) -> None:
    site.mirror.source.delete("d/c.css")
    await site.run()
    site.mirror.source.delete("d")
    report = await site.run(5)
    assert list(site.event.paths) == ["d", "d/c.css", "d/d.css"]
    report = await site.run(6)
    assert (report.exit_code, report.removed, list(site.event.paths)) == (0, 1, ["d", "d/d.css"])
    report = await site.run(4)
    assert (report.exit_code, report.removed, site.there) == (0, 2, {"a.css", "b.css"})


async def test_what_is_in_the_way_does_not_stay(site: Site) -> None:
    site.mirror.source.delete("d")
    site.mirror.source.delete("a.css")
    site.mirror.source.write("d", b"now a file")
    report = await site.run()
    assert (report.exit_code, report.removed, report.delayed) == (0, 3, 1)
    assert site.there == {"a.css", "b.css", "d"}


async def test_renamed_file_keeps_its_old_name_for_a_while(site: Site) -> None:
    site.now += 100
    site.mirror.source.rename("a.css", "new.css")
    report = await site.run()
    assert (report.exit_code, report.moved, report.copied, report.delayed) == (0, 0, 1, 1)
    assert {"a.css", "new.css"} < site.there


async def test_guard_counts_what_is_removed_now(site: Site) -> None:
    careful = attrs.evolve(TEN, max_delete=MaxDelete.parse(1))
    site.mirror.source.delete("a.css")
    await site.run(policy=careful)
    site.mirror.source.delete("b.css")
    report = await site.run(5, policy=careful)
    assert (report.exit_code, report.delayed) == (0, 2)
    report = await site.run(6, policy=careful)
    assert (report.exit_code, report.removed, report.delayed) == (0, 1, 1)
    site.mirror.source.delete("d")
    await site.run(policy=careful)
    report = await site.run(11, policy=careful)
    assert (report.exit_code, report.removed) == (4, 0)
    assert [event.removals for event in site.mirror.seen(RemovalsRefused)] == [4]


async def test_stopped_run_forgets_no_time(site: Site) -> None:
    site.mirror.source.delete("a.css")
    await site.run()
    site.mirror.shutdown.drain()
    await site.run(1)
    assert set(site.mirror.journal.audits.leaving()) == {"a.css"}


async def test_without_the_key_nothing_stays(site: Site) -> None:
    site.mirror.source.delete("a.css")
    await site.run()
    report = await site.run(policy=ONE)
    assert (report.exit_code, report.removed, report.delayed, site.mirror.journal.audits.leaving()) == (0, 1, 0, {})


async def test_foreign_entries_of_an_exact_mirror_stay_for_a_while(site: Site) -> None:
    exact = attrs.evolve(TEN, delete="everything")
    site.mirror.target.write("theirs.txt", b"by another program")
    report = await site.run(policy=exact)
    assert (report.exit_code, report.removed, site.event.paths) == (0, 0, ("theirs.txt",))
    report = await site.run(10, policy=exact)
    assert (report.exit_code, report.removed) == (0, 1)


def test_clock_that_was_set_back_does_not_keep_a_file_for_years() -> None:
    found = lingering({"a"}, (), {"a": 1_000.0}, 100.0, 10.0)
    assert found == Lingering(frozenset({"a"}), frozenset({"a"}), 110.0, 110.0)
    assert lingering({"a"}, (), {"a": 90.0}, 100.0, 10.0) == Lingering()
