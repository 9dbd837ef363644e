"""Partial runs: they list the directories that they are told, and what is new in them, and conclude nothing more."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.control import Control
from actorsync.actors.pipeline import ListingStage, Pipeline
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.errors import OperationRefused
from actorsync.model.entry import Kind, ScanComplete
from actorsync.model.event import (
    Audited,
    Connected,
    Event,
    Parked,
    Recovered,
    RemovalsDelayed,
    Resized,
    Scanned,
    TargetSeen,
)
from actorsync.model.messages import summary
from actorsync.model.operation import Copy, Done, Remove
from actorsync.model.report import Report
from actorsync.planning.drift import AuditRule
from actorsync.planning.publishing.rules import PublishRule
from actorsync.planning.selection import Selection
from actorsync.profile.values.units import MaxDelete
from actorsync.testing.faulty_endpoint import Faulty, When
from tests.support.world.burst import BURST
from tests.support.world.memory_mirror import ONE, Mirror

SETTLING = attrs.evolve(ONE, delete_settle=5.0)
EXACT = attrs.evolve(ONE, delete="everything")


@attrs.define(eq=False)
class Site:
    """A mirror that knows its target, and the time of day in seconds."""

    mirror: Mirror = attrs.Factory(lambda: Mirror(target=MemoryEndpoint("target", inodes=False)))
    now: float = 2e9

    def __attrs_post_init__(self) -> None:
        self.mirror.wall_ns = lambda: int(self.now * 10**9)

    async def run(self, *within: str, later: float = 0, policy: Any = ONE, **more: Any) -> Report:
        self.now += later
        return await self.mirror.run(policy=policy, within=within, **more)

    @property
    def source(self) -> MemoryEndpoint:
        return self.mirror.source

    @property
    def there(self) -> set[str]:
        return {*self.mirror.target.files()}

    @property
    def listed(self) -> set[str]:
        return {event.directory for event in self.mirror.seen(Scanned)}

    @property
    def sent(self) -> list[str]:
        return sorted(it.operation.path for it in self.mirror.seen(Done) if isinstance(it.operation, Copy))

    @property
    def removed(self) -> list[str]:
        return sorted(it.operation.path for it in self.mirror.seen(Done) if isinstance(it.operation, Remove))


@pytest.fixture
async def site(autojump_clock: MockClock) -> Site:
    it = Site()
    for path in ("a/1", "a/2", "a/deep/3", "b/4", "b/5", "6"):
        it.source.write(path, path.encode() * 3)
    assert (await it.mirror.run()).exit_code == 0
    it.now += 100
    return it


async def test_only_the_directory_of_the_hint_is_listed(site: Site) -> None:
    site.source.write("a/1", b"new")
    site.source.write("b/4", b"also new, and no hint tells")
    report = await site.run("a")
    assert (report.exit_code, report.left, site.listed, site.sent) == (0, 0, {"a"}, ["a/1"])


async def test_new_directory_is_walked_in_full(site: Site) -> None:
    for path in ("a/new/x", "a/new/more/y", "a/new/more/still/z"):
        site.source.write(path, b"new")
    report = await site.run("a")
    assert site.listed == {"a", "a/new", "a/new/more", "a/new/more/still"}
    assert (report.exit_code, site.sent) == (0, ["a/new/more/still/z", "a/new/more/y", "a/new/x"])


async def test_hint_below_a_new_directory_is_planned_after_it(site: Site) -> None:
    for path in ("new/x", "new/more/y"):
        site.source.write(path, b"new")
    report = await site.run("new/more")
    assert (report.exit_code, site.sent) == (0, ["new/more/y", "new/x"])


@pytest.mark.parametrize("hints", [("",), ("", "a", "a/deep"), ("a/deep",), ("a",)])
async def test_directory_that_was_replaced_by_another_one_is_walked_in_full(site: Site, hints: Collection[str]) -> None:
    site.source.delete("a")
    site.source.write("a/deep/7", b"in another directory of the old name")
    site.source.write("a/new/8", b"new")
    report = await site.run("", *hints)
    assert report.exit_code == 0
    assert site.there == {"a/deep/7", "a/new/8", "b/4", "b/5", "6"}


@pytest.mark.parametrize("hint", ["a/deep", "a", "a/deep/deeper/still", "nowhere/at/all"])
async def test_hint_of_a_directory_that_is_gone_lists_the_nearest_one_that_is_there(site: Site, hint: str) -> None:
    site.source.delete("a")
    report = await site.run(hint)
    assert (report.exit_code, report.failed, site.listed) == (0, 0, {""})
    assert site.there == {"b/4", "b/5", "6"}


async def test_hint_of_an_excluded_directory_lists_the_one_above(site: Site) -> None:
    site.source.write("a/cache/x", b"excluded")
    policy = attrs.evolve(ONE, selection=Selection(exclude=["cache/"]))
    report = await site.run("a/cache/deeper", policy=policy)
    assert (report.exit_code, site.listed, site.sent) == (0, {"a"}, [])


async def test_hint_of_a_file_lists_the_directory_above(site: Site) -> None:
    site.source.delete("a")
    site.source.write("a", b"a file now")
    report = await site.run("a/deep", "a")
    assert (report.exit_code, report.failed) == (0, 0)
    assert site.there == {"a", "b/4", "b/5", "6"}


async def test_hint_below_a_symbolic_link_changes_nothing(site: Site) -> None:
    site.source.delete("a")
    site.source.put_special("a", Kind.LINK)
    report = await site.run("a/deep", "a")
    assert (report.exit_code, report.failed, site.removed) == (0, 0, [])
    assert {"a/1", "a/2", "a/deep/3"} < site.there


async def test_directory_that_cannot_be_listed_is_a_failure_and_loses_nothing(site: Site) -> None:
    asked: list[str] = []

    def decide(verb: str, when: When) -> None:
        asked.append(verb)
        if verb == "list_directory" and asked.count(verb) == 1:
            raise OperationRefused("permission denied")

    site.source.delete("a/1")
    report = await site.run("a", source=Faulty(site.source, decide))
    assert report.exit_code == 1
    assert dict(report.failures) == {"a": "permission denied"}
    assert site.removed == []


async def test_remote_source_is_listed_from_the_root_down_to_the_hint(autojump_clock: MockClock) -> None:
    """On a server a path may lead through a symbolic link: only the listings of the directories above tell."""
    it = Site(Mirror(MemoryEndpoint("source", is_remote=True), MemoryEndpoint("target", inodes=False)))
    for path in ("a/b/c/1", "a/x/2", "y/3"):
        it.source.write(path, b"1")
    assert (await it.mirror.run()).exit_code == 0
    it.source.write("a/b/c/1", b"new")
    report = await it.run("a/b/c")
    assert (report.exit_code, it.listed, it.sent) == (0, {"", "a", "a/b", "a/b/c"}, ["a/b/c/1"])
    it.source.delete("a/b")
    report = await it.run("a/b/c")
    assert (report.exit_code, it.listed, it.there) == (0, {"", "a"}, {"a/x/2", "y/3"})


async def test_only_what_was_listed_is_removed(site: Site) -> None:
    site.source.delete("a/1")
    site.source.delete("b/4")
    report = await site.run("a")
    assert (report.exit_code, site.removed) == (0, ["a/1"])


async def test_missing_directory_is_removed_with_all_below_it(site: Site) -> None:
    site.source.delete("a")
    report = await site.run("")
    assert (report.exit_code, site.removed) == (0, ["a", "a/1", "a/2", "a/deep", "a/deep/3"])
    assert site.listed == {""}


async def test_emptied_directory_is_no_emptied_source(site: Site) -> None:
    policy = attrs.evolve(ONE, max_delete=MaxDelete.parse("60%"))
    for name in ("1", "2", "deep"):
        site.source.delete(f"a/{name}")
    report = await site.run("a", policy=policy)
    assert (report.exit_code, report.removed) == (0, 4)


async def test_emptied_source_is_refused(site: Site) -> None:
    policy = attrs.evolve(ONE, max_delete=MaxDelete.parse("99%"))
    for name in ("a", "b", "6"):
        site.source.delete(name)
    report = await site.run("a", "b", policy=policy)
    assert (report.exit_code, report.removed) == (4, 0)
    assert "the source is empty" in str(report.refused)


async def test_removals_count_against_all_that_is_owned(site: Site) -> None:
    policy = attrs.evolve(ONE, max_delete=MaxDelete.parse("10%"))
    site.source.delete("b/4")
    report = await site.run("b", policy=policy)
    assert (report.exit_code, report.removed) == (4, 0)
    assert "1 of 9 entries" in str(report.refused)
    report = await site.run("b", policy=attrs.evolve(ONE, max_delete=MaxDelete.parse("12%")))
    assert (report.exit_code, report.removed) == (0, 1)


async def test_file_that_was_renamed_between_two_listed_directories_is_moved(site: Site) -> None:
    site.source.rename("a/1", "b/one")
    report = await site.run("a", "b")
    assert (report.exit_code, report.moved, report.copied, report.removed) == (0, 1, 0, 0)
    assert site.there == {"a/2", "a/deep/3", "b/4", "b/5", "b/one", "6"}


async def test_directory_that_was_renamed_is_moved_with_its_files(site: Site) -> None:
    site.source.rename("a", "b/c")
    report = await site.run("", "b")
    assert (report.exit_code, report.moved, report.copied) == (0, 3, 0)
    assert site.there == {"b/c/1", "b/c/2", "b/c/deep/3", "b/4", "b/5", "6"}


async def test_renamed_file_whose_old_directory_was_not_listed_is_sent(site: Site) -> None:
    site.source.rename("a/1", "b/one")
    report = await site.run("b")
    assert (report.exit_code, report.moved, report.copied, site.removed) == (0, 0, 1, [])
    assert {"a/1", "b/one"} < site.there
    report = await site.mirror.run()
    assert (report.exit_code, site.removed) == (0, ["a/1"])


async def test_run_that_finds_nothing_to_do_does_not_log_in(site: Site) -> None:
    root = site.mirror.journal.root()
    site.source.write("new", b"the root has other times now")
    policy = attrs.evolve(ONE, audit=AuditRule(5))
    commands = len(site.mirror.target.log)
    report = await site.run("a", policy=policy)
    assert report.exit_code == 0
    assert not site.mirror.seen(Connected)
    assert site.mirror.target.log[commands:] == []
    assert not [*site.mirror.seen(TargetSeen), *site.mirror.seen(Audited), *site.mirror.seen(ScanComplete)]
    assert site.mirror.journal.root() == root


async def test_run_without_a_hint_does_nothing(site: Site) -> None:
    site.source.write("a/1", b"new")
    report = await site.run()
    assert (report.exit_code, report.left, site.listed) == (0, 0, set())


async def test_journal_that_knows_nothing_makes_it_a_whole_run(autojump_clock: MockClock) -> None:
    it = Site()
    it.source.write("a/1", b"1")
    it.source.write("b/2", b"2")
    report = await it.run("a")
    assert (report.exit_code, it.there) == (0, {"a/1", "b/2"})
    assert not it.mirror.journal.is_fresh
    assert it.mirror.journal.root() is not None


async def test_root_that_was_replaced_makes_it_a_whole_run(site: Site) -> None:
    other = MemoryEndpoint("source")
    for number in range(20):
        other.write(f"filler {number}", b"so that inodes differ")
    other.delete("")
    for path in ("a/1", "new/2"):
        other.write(path, path.encode() * 3)
    site.mirror.source = other
    report = await site.run("a")
    assert report.exit_code == 0
    assert site.there == {"a/1", "new/2"}


async def test_other_rule_for_removals_makes_it_a_whole_run(site: Site) -> None:
    site.mirror.target.write("b/foreign", b"of somebody else")
    report = await site.run("a", policy=EXACT)
    assert (report.exit_code, site.there) == (0, {"a/1", "a/2", "a/deep/3", "b/4", "b/5", "6"})
    site.source.delete("a/1")
    site.source.delete("b/4")
    report = await site.run("a", policy=EXACT)
    assert (report.exit_code, site.listed, site.removed) == (0, {"a"}, ["a/1"])


async def test_what_was_not_listed_has_not_recovered(site: Site) -> None:
    site.mirror.target.trouble = {"b/4": OperationRefused("not allowed")}
    site.source.write("b/4", b"new")
    await site.run("b")
    assert [it.path for it in site.mirror.seen(Parked)] == ["b/4"]
    await site.run("a")
    assert not site.mirror.seen(Recovered)
    assert [it.path for it in site.mirror.journal.troubles()] == ["b/4"]
    site.mirror.target.trouble = {}
    await site.run("b")
    assert [it.path for it in site.mirror.seen(Recovered)] == ["b/4"]


async def test_parked_path_is_tried_when_the_user_asks_for_it(site: Site) -> None:
    patient, control = attrs.evolve(ONE, is_patient=True), Control()
    site.mirror.target.trouble = {"b/4": OperationRefused("not allowed")}
    site.source.write("b/4", b"new")
    for _ in range(3):
        await site.run("b", policy=patient)
    site.mirror.target.trouble = {}
    assert (await site.run("b", policy=patient)).parked == 1
    control.retry("b/4")
    report = await site.run("a", policy=patient, control=control)
    assert (report.exit_code, site.sent, control.retries) == (0, ["b/4"], set())


async def test_burst_of_a_part_is_a_release_of_its_own(site: Site) -> None:
    site.source.write("a/1", b"new")
    site.source.write("b/4", b"new")
    site.source.delete("a/2")
    report = await site.run("a", policy=BURST)
    assert (report.exit_code, report.copied, report.removed) == (0, 1, 1)
    assert site.mirror.target.files()["a/1"] == b"new"
    assert site.mirror.target.files()["b/4"] == b"b/4" * 3


async def test_directory_that_a_stage_hides_stays_hidden(site: Site) -> None:
    async def hide(receive: Any, send: Any) -> None:
        async for listing in receive:
            entries = tuple(entry for entry in listing.entries if entry.path != "a")
            await send.send(attrs.evolve(listing, entries=entries))

    pipeline = Pipeline((ListingStage(hide, "hide"),))
    site.source.write("a/1", b"new")
    report = await site.run("a", "b", pipeline=pipeline)
    assert (report.exit_code, site.sent, site.removed) == (0, [], [])


# What is gone is looked at twice.


async def test_gone_file_is_removed_by_the_second_look(site: Site) -> None:
    site.source.delete("a/1")
    report = await site.run("a", policy=SETTLING)
    assert (report.exit_code, report.removed, report.delayed, report.delayed_until) == (0, 0, 1, site.now + 5)
    assert "stays" not in summary(report)  # nobody has read it before it is gone
    report = await site.run("a", policy=SETTLING, later=4)
    assert (report.removed, report.delayed) == (0, 1)
    report = await site.run(policy=SETTLING, later=1)  # without a hint: it is due
    assert (report.exit_code, report.removed, report.delayed, site.listed) == (0, 1, 0, {"a"})


async def test_file_that_comes_back_is_never_removed(site: Site) -> None:
    site.source.delete("a/1")
    await site.run("a", policy=SETTLING)
    site.source.write("a/1", b"a/1" * 3)
    await site.run("a", policy=SETTLING, later=1)
    site.source.delete("a/1")
    report = await site.run("a", policy=SETTLING, later=100)
    assert (report.removed, report.delayed) == (0, 1)
    assert "a/1" in site.there


async def test_time_of_what_is_in_a_directory_that_comes_back_begins_anew(site: Site) -> None:
    site.source.rename("a", "outside")
    report = await site.mirror.run(policy=attrs.evolve(SETTLING, selection=Selection(exclude=["outside"])))
    assert report.delayed == 5
    site.source.rename("outside", "a")
    await site.run("", policy=SETTLING, later=1)
    site.source.delete("a/deep/3")
    report = await site.run("a/deep", policy=SETTLING, later=100)
    assert (report.removed, report.delayed) == (0, 1)


async def test_renamed_file_is_moved_at_once(site: Site) -> None:
    site.source.rename("a/1", "b/one")
    report = await site.run("a", "b", policy=SETTLING)
    assert (report.exit_code, report.moved, report.copied, report.delayed) == (0, 1, 0, 0)
    assert not site.mirror.seen(RemovalsDelayed)
    assert "a/1" not in site.there


async def test_file_makes_way_for_a_directory_at_once(site: Site) -> None:
    site.source.delete("6")
    site.source.write("6/x", b"in a directory now")
    report = await site.run("", policy=SETTLING)
    assert (report.exit_code, report.delayed, "6/x" in site.there) == (0, 0, True)


async def test_directory_makes_way_for_a_file_after_a_second_look(site: Site) -> None:
    site.source.delete("a")
    site.source.write("a", b"a file now")
    report = await site.run("", policy=SETTLING)
    assert (report.exit_code, report.left, report.removed, report.delayed) == (0, 0, 0, 5)
    report = await site.run(policy=SETTLING, later=5)
    assert (report.exit_code, report.removed, report.copied, report.delayed) == (0, 5, 1, 0)
    assert site.mirror.target.files()["a"] == b"a file now"


async def test_clock_that_is_set_back_delays_a_removal_by_the_same_time_again(site: Site) -> None:
    site.source.delete("a/1")
    await site.run("a", policy=SETTLING)
    report = await site.run(policy=SETTLING, later=-1000)
    assert (report.removed, report.delayed) == (0, 1)
    report = await site.run(policy=SETTLING, later=5)
    assert report.removed == 1


async def test_exact_mirror_removes_what_is_foreign_after_a_second_look(site: Site) -> None:
    policy = attrs.evolve(SETTLING, delete="everything")
    site.mirror.target.write("b/foreign", b"of somebody else")
    report = await site.run("a", policy=policy)  # a whole run: it has another rule
    assert (report.exit_code, report.removed, report.delayed) == (0, 0, 1)
    report = await site.run(policy=policy, later=5)
    assert (report.exit_code, site.removed, site.listed) == (0, ["b/foreign"], {"b"})


async def test_both_delays_together_are_the_longer_one(site: Site) -> None:
    policy = attrs.evolve(SETTLING, publish=PublishRule(remove_after=60.0))
    site.source.delete("a/1")
    report = await site.run("a", policy=policy)
    assert report.delayed_until == site.now + 60
    assert (await site.run(policy=policy, later=6)).removed == 0
    assert (await site.run(policy=policy, later=54)).removed == 1


# What the user wants meanwhile.


async def test_paused_run_begins_nothing_until_it_is_resumed(site: Site, autojump_clock: MockClock) -> None:
    control = Control()
    control.pause()
    site.source.write("a/1", b"new")
    reports: list[Report] = []
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            reports.append(await site.run("a", control=control))

        nursery.start_soon(run)
        await trio.sleep(100)
        assert reports == []
        assert site.sent == []
        control.resume()
    assert [report.exit_code for report in reports] == [0]
    assert site.sent == ["a/1"]


@pytest.mark.parametrize("within", [None, ("a",)])
async def test_drain_ends_a_paused_run_at_once(site: Site, autojump_clock: MockClock, within: Any) -> None:
    control = Control()
    control.pause()
    site.source.write("a/1", b"new")
    site.source.delete("b/4")
    reports: list[Report] = []
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            policy = attrs.evolve(ONE, audit=AuditRule(5, mends=True))
            reports.append(await site.mirror.run(within=within, control=control, policy=policy))

        nursery.start_soon(run)
        await trio.sleep(1)
        began = trio.current_time()
        site.mirror.shutdown.drain()
    assert trio.current_time() == began
    assert [report.exit_code for report in reports] == [3]


@pytest.mark.parametrize("lanes", [1, 3])
async def test_connections_above_a_new_limit_leave_and_the_others_do_the_rest(
    autojump_clock: MockClock, lanes: int
) -> None:
    mirror, control = Mirror(target=MemoryEndpoint("target", inodes=False, lanes=lanes)), Control()
    mirror.fill(150)
    sessions: list[int] = []  # that were open after each file

    def limit(event: Event) -> None:
        if not (isinstance(event, Done) and isinstance(event.operation, Copy)):
            return
        sessions.append(mirror.target.sessions)
        if len(sessions) == 20:
            control.limit_connections(1)
        if len(sessions) == 80:
            control.limit_connections(None)

    def slow(verb: str, when: When) -> float | None:
        return 0.01 if verb == "stage" and when == "before" else None

    policy = attrs.evolve(ONE, connections=4)
    report = await mirror.run(Faulty(mirror.target, slow), policy=policy, control=control, observe=limit)
    assert (report.exit_code, report.copied, report.reconnects) == (0, 150, 0)
    sizes = [(it.before, it.connections) for it in mirror.seen(Resized)]
    assert sizes == [(4, 1), (1, 4)]
    assert sessions[60] == 1
    assert sessions[-10] > 1
    mirror.check_one_outcome_each()


async def test_limit_of_connections_holds_from_the_beginning_and_is_never_below_one(
    autojump_clock: MockClock,
) -> None:
    mirror, control = Mirror(), Control()
    mirror.fill(50)
    control.limit_connections(0)
    report = await mirror.run(policy=attrs.evolve(ONE, connections=4), control=control)
    assert (report.exit_code, report.copied) == (0, 50)
    assert len(mirror.seen(Connected)) == 1
