"""Publishing in one burst: all of a release or nothing of it, whatever happens. Trees in memory, virtual time."""

from __future__ import annotations

import itertools

import attrs
import pytest
from trio.testing import MockClock

from actorsync.actors.pipeline import Pipeline
from actorsync.actors.shutdown import Shutdown
from actorsync.actors.statistics import Statistics
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.memory.tree import File
from actorsync.endpoints.wrappers.dry_run import DryRun
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.changes import change_of
from actorsync.model.entry import Kind
from actorsync.model.event import MemoryVoided, NotPublished, Released, ReleaseEnded, Warned
from actorsync.model.messages import summary
from actorsync.model.operation import Copy, Done, Move, Prepare
from actorsync.planning.drift import AuditRule
from actorsync.profile.values.units import MaxDelete
from actorsync.testing.faulty_endpoint import Decide, Faulty, When
from tests.support.world.burst import BURST, NAMES, Stubborn, Telling, a_site, restart, site_of, write_new
from tests.support.world.memory_mirror import ONE, Mirror


async def test_nothing_is_visible_before_everything_is_staged(autojump_clock: MockClock) -> None:
    mirror = await a_site()
    before = site_of(mirror.target)
    seen: list[bool] = []

    def observe(event: object) -> None:
        if not mirror.seen(Released):
            seen.append(site_of(mirror.target) == before)

    mirror.statistics = Statistics()
    report = await mirror.run(policy=BURST, observe=observe)
    assert (report.exit_code, report.copied, report.removed, report.left) == (0, len(NAMES), 3, 0)
    assert (mirror.statistics.files_done, mirror.statistics.bytes_left) == (len(NAMES), 0)
    assert [change_of(event) for event in mirror.events if isinstance(event, Done)].count(("+", "new.html")) == 1
    assert all(seen)
    assert len(mirror.seen(Released)) == 1
    assert not [it for it in mirror.seen(Done) if isinstance(it.operation, Copy | Move)]
    assert mirror.target.files() == mirror.source.files()
    mirror.check_nothing_left()
    assert (await mirror.run(policy=BURST)).copied == 0
    assert not mirror.seen(Released)


async def test_files_are_published_in_the_order_of_their_ranks(autojump_clock: MockClock) -> None:
    mirror = await a_site()
    published: list[str] = []
    target = Stubborn(mirror.target, begins=lambda _, path: published.append(path))
    assert (await mirror.run(target, policy=BURST)).exit_code == 0
    ranks = [BURST.publish.ranks.of(path) for path in published]
    assert sorted(published) == sorted(NAMES)
    assert ranks == sorted(ranks)


async def test_a_crash_at_any_moment_leaves_the_old_site_or_the_next_start_makes_the_new_one(
    autojump_clock: MockClock,
) -> None:
    mirror = await a_site()
    old, new = site_of(mirror.target), mirror.source.files()
    moments: list[Mirror] = []
    count = 0

    def note() -> None:
        nonlocal count
        count += 1
        if mirror.journal.release() or count % 8 == 0:  # every moment of the burst, and some of the others
            moments.append(restart(mirror))

    def decide(verb: str, when: When) -> float | None:
        note()
        return None

    report = await mirror.run(Faulty(mirror.target, decide), policy=BURST, observe=lambda event: note())
    assert report.exit_code == 0
    stages = {"before": 0, "in it": 0, "after": 0}
    for moment in moments:
        has_begun, there = bool(moment.journal.release()), site_of(moment.target)
        if not has_begun:
            gone = {"stale.css", "old/stale.html"}
            is_new = there.items() >= new.items() and there.keys() - new.keys() <= gone
            assert is_new or there == old
            stages["after" if is_new else "before"] += 1
        else:
            stages["in it"] += 1
        then = await moment.run(policy=attrs.evolve(BURST, audit=AuditRule(50)))
        assert (then.exit_code, then.left) == (0, 0), "what the killed run has published is no drift"
        assert moment.target.files() == new
        moment.check_nothing_left()
        assert not moment.journal.release()
    assert all(count >= 2 for count in stages.values()), stages


async def test_a_refusal_at_any_rename_takes_everything_back(autojump_clock: MockClock) -> None:
    for path in NAMES:
        # With inodes, this target sets old files aside by hard links.
        for inodes in (False, True) if path in {"assets/0.css", "index.html", "new.html"} else (False,):
            mirror = await a_site(MemoryEndpoint("target", inodes=inodes))
            before = site_of(mirror.target)
            report = await mirror.run(Stubborn(mirror.target, refused=[path]), policy=BURST)
            assert report.exit_code == 1
            assert report.failures == ((path, "550 no"),)
            assert report.not_published == f"rolled back: {path}: 550 no"
            assert (report.copied, report.copied_bytes, report.removed) == (0, 0, 0)
            assert report.left == len(NAMES) + 3
            assert summary(report).endswith(f"; rolled back: {path}: 550 no")
            assert site_of(mirror.target) == before
            assert [it.rolled_back for it in mirror.seen(ReleaseEnded)] == [f"{path}: 550 no"]
            then = await mirror.run(policy=BURST)
            assert (then.exit_code, then.copied, then.not_published) == (0, len(NAMES), None)
            assert mirror.target.files() == mirror.source.files()


async def test_one_refusal_that_does_not_last_decides_nothing(autojump_clock: MockClock) -> None:
    mirror = await a_site()
    target = Stubborn(mirror.target, refused=["0.html"])
    tries: list[str] = []

    def begins(verb: str, path: str) -> None:
        tries.extend([path] if path == "0.html" else [])
        target.refused = () if len(tries) > 1 else target.refused

    target.begins = begins
    report = await mirror.run(target, policy=BURST)
    assert (report.exit_code, report.failed, len(tries)) == (0, 0, 2)
    assert mirror.target.files() == mirror.source.files()


@pytest.mark.parametrize("stuck", [(), NAMES[-3:], ("index.html",)])
async def test_what_can_neither_be_finished_nor_taken_back_is_mended_by_the_next_start(
    stuck: tuple[str, ...], autojump_clock: MockClock
) -> None:
    mirror = await a_site()
    before = site_of(mirror.target)
    target = Stubborn(mirror.target, refused=["sw.js"], stuck=stuck)
    report = await mirror.run(target, policy=BURST)
    assert report.exit_code == (7 if stuck else 1)
    assert bool(mirror.journal.release()) == bool(stuck)
    assert stuck or site_of(mirror.target) == before
    again = await mirror.run(target, policy=BURST)  # it is no better yet
    assert again.exit_code == (7 if stuck else 1)
    assert (await mirror.run(policy=BURST)).exit_code == 0
    assert mirror.target.files() == mirror.source.files()
    mirror.check_nothing_left()


async def test_a_failed_check_takes_everything_back(autojump_clock: MockClock) -> None:
    mirror = await a_site()
    before = site_of(mirror.target)
    seen: list[dict[str, bytes]] = []

    async def check() -> None:
        seen.append(site_of(mirror.target))
        raise ValueError("status 500\nand more")

    report = await mirror.run(policy=BURST, pipeline=Pipeline(check=check))
    assert [it.items() >= mirror.source.files().items() for it in seen] == [True]
    assert report.exit_code == 1
    assert report.not_published == "rolled back: the check failed: status 500\\x0aand more"
    assert site_of(mirror.target) == before
    assert report.left == len(NAMES) + 3
    assert (await mirror.run(policy=BURST)).exit_code == 0
    assert mirror.target.files() == mirror.source.files()


async def test_a_crash_before_the_check_has_answered_makes_the_next_start_check(autojump_clock: MockClock) -> None:
    mirror = await a_site()
    before = site_of(mirror.target)
    moments: list[Mirror] = []

    async def check() -> None:
        moments.append(restart(mirror))

    async def fails() -> None:
        raise ValueError("status 500")

    assert (await mirror.run(policy=BURST, pipeline=Pipeline(check=check))).exit_code == 0
    (moment,) = moments
    report = await moment.run(policy=BURST, pipeline=Pipeline(check=fails))
    assert len(moment.seen(ReleaseEnded)) == 2, "the release of the killed run, and one of this run"
    assert report.exit_code == 1
    assert report.left == len(NAMES) + 3
    assert site_of(moment.target) == before


async def test_a_guard_that_refuses_publishes_nothing(autojump_clock: MockClock) -> None:
    mirror = await a_site()
    before = site_of(mirror.target)
    policy = attrs.evolve(BURST, max_delete=MaxDelete.parse(1))
    report = await mirror.run(policy=policy)
    assert (report.exit_code, report.copied, report.removed, report.left) == (4, 0, 0, len(NAMES) + 3)
    assert report.not_published == "nothing was published: a guard refused the removals"
    assert site_of(mirror.target) == before
    assert {kept.path for kept in mirror.journal.kept()} == set(NAMES)
    assert (await mirror.run(policy=BURST)).exit_code == 0
    assert mirror.target.files() == mirror.source.files()


async def test_a_guard_counts_what_the_release_adds(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    for number in range(10):
        mirror.source.write(f"{number}.old.css", b"old")
    assert (await mirror.run(policy=BURST)).exit_code == 0
    for number in range(10):
        mirror.source.delete(f"{number}.old.css")
        mirror.source.write(f"{number}.new.css", b"new")
    policy = attrs.evolve(BURST, max_delete=MaxDelete.parse("50%"))
    report = await mirror.run(policy=policy)
    assert (report.exit_code, report.copied, report.removed) == (0, 10, 10)


async def test_a_file_that_cannot_be_sent_holds_everything_back(autojump_clock: MockClock) -> None:
    mirror = await a_site()
    before = site_of(mirror.target)
    mirror.target.capacity = sum(map(len, mirror.target.files().values())) + 100  # full in the middle of staging
    report = await mirror.run(Telling(mirror.target), policy=BURST)
    assert report.exit_code == 1
    assert report.not_published == f"nothing was published: {report.failed} paths could not be sent"
    assert (report.copied, report.removed) == (0, 0)
    assert report.left + report.failed == len(NAMES) + 3
    assert site_of(mirror.target) == before
    staged = {kept.temporary for kept in mirror.journal.kept()}
    assert len(staged) == len(NAMES) - report.failed > 0
    assert staged == mirror.target.files().keys() - before.keys(), "what is staged is kept, and nothing else"
    assert [it.staged for it in mirror.seen(NotPublished)] == [len(staged)]
    mirror.target.capacity = None
    assert (await mirror.run(policy=BURST)).exit_code == 0
    assert mirror.target.files() == mirror.source.files()
    mirror.check_nothing_left()


async def test_a_directory_that_cannot_be_listed_holds_everything_back(autojump_clock: MockClock) -> None:
    mirror = await a_site()
    before = site_of(mirror.target)

    listings = 0

    def decide(verb: str, when: When) -> float | None:
        nonlocal listings
        listings += (verb, when) == ("list_directory", "before")
        if listings == 2:
            raise OperationRefused("550 no")
        return None

    report = await mirror.run(source=Faulty(mirror.source, decide), policy=BURST)
    assert report.exit_code == 1
    assert report.not_published == "nothing was published: 1 directory of the source could not be listed"
    assert site_of(mirror.target) == before


async def test_a_link_that_is_an_error_holds_everything_back(autojump_clock: MockClock) -> None:
    mirror = await a_site()
    before = site_of(mirror.target)
    mirror.source.put_special("assets/link.css", Kind.LINK)
    report = await mirror.run(policy=attrs.evolve(BURST, links="error"))
    assert report.exit_code == 1
    assert report.not_published == "nothing was published: 1 path could not be sent"
    assert site_of(mirror.target) == before
    assert not mirror.seen(Released)
    mirror.source.delete("assets/link.css")
    assert (await mirror.run(policy=attrs.evolve(BURST, links="error"))).exit_code == 0
    assert site_of(mirror.target) == mirror.source.files()


async def test_a_connection_lost_at_any_moment_changes_nothing_in_the_end(autojump_clock: MockClock) -> None:
    count = 0

    def counting(verb: str, when: When) -> float | None:
        nonlocal count
        count += 1
        return None

    mirror = await a_site()
    assert (await mirror.run(Faulty(mirror.target, counting), policy=BURST)).exit_code == 0
    for moment in range(1, count + 1, 7):
        mirror = await a_site()
        report = await mirror.run(Faulty(mirror.target, _losing_at(moment)), policy=BURST)
        assert (report.exit_code, report.copied, report.left) == (0, len(NAMES), 0)
        assert mirror.target.files() == mirror.source.files()
        mirror.check_nothing_left()


def _losing_at(moment: int) -> Decide:
    calls = itertools.count(1)

    def decide(verb: str, when: When) -> float | None:
        if next(calls) == moment:
            raise ConnectionLost("lost once")
        return None

    return decide


async def test_a_target_lost_for_good_in_the_burst_is_finished_by_the_next_start(autojump_clock: MockClock) -> None:
    mirror = await a_site()
    is_down = False

    def decide(verb: str, when: When) -> float | None:
        nonlocal is_down
        is_down = is_down or (verb == "publish" and when == "after" and len(mirror.seen(Released)) > 0)
        if is_down:
            raise ConnectionLost("the server is down")
        return None

    report = await mirror.run(Faulty(mirror.target, decide), policy=BURST)
    assert report.exit_code == 5
    assert report.not_published is not None
    assert "the next run finishes that first" in report.not_published
    assert mirror.journal.release()
    assert (await mirror.run(policy=BURST)).exit_code == 0
    assert mirror.target.files() == mirror.source.files()
    mirror.check_nothing_left()


async def test_a_drain_before_the_commit_point_is_no_success(autojump_clock: MockClock) -> None:
    mirror = await a_site()
    before = site_of(mirror.target)

    async def before_commit() -> None:
        mirror.shutdown.drain()

    report = await mirror.run(policy=BURST, pipeline=Pipeline(before_commit=before_commit))
    assert site_of(mirror.target) == before
    assert (report.exit_code, report.drained) == (3, True)
    assert report.left >= len(NAMES)
    mirror.shutdown = type(mirror.shutdown)()
    assert (await mirror.run(policy=BURST)).exit_code == 0
    assert mirror.target.files() == mirror.source.files()


async def test_a_drain_between_two_releases_is_no_success(autojump_clock: MockClock) -> None:
    mirror = await a_site()
    mirror.source.delete("assets")
    mirror.source.write("assets", b"a file now")

    def observe(event: object) -> None:
        if isinstance(event, ReleaseEnded):
            mirror.shutdown.drain()

    report = await mirror.run(policy=BURST, observe=observe)
    assert len(mirror.seen(Released)) == 1
    assert (report.exit_code, report.drained) == (3, True)
    assert report.left > 0
    mirror.shutdown = type(mirror.shutdown)()
    assert (await mirror.run(policy=BURST)).exit_code == 0
    assert mirror.target.files() == mirror.source.files()


async def _stop_at(stop: str, moment: int) -> tuple[Mirror, dict[str, bytes], int, bool]:
    mirror = await a_site()
    before = site_of(mirror.target)

    def observe(event: object) -> None:
        if len(mirror.events) == moment:
            mirror.shutdown.drain() if stop == "drain" else mirror.shutdown.cancel()

    report = await mirror.run(policy=BURST, observe=observe)
    was_released = bool(mirror.seen(Released))
    assert report.exit_code in ({0, 3} if stop == "drain" else {0, 130})
    if not was_released:
        assert site_of(mirror.target) == before, "nothing is visible before the commit point"
    if stop == "drain":
        assert not mirror.journal.release(), "a drain finishes the burst"
    mirror.shutdown = type(mirror.shutdown)()
    return mirror, before, len(mirror.events), was_released


@pytest.mark.parametrize("stop", ["drain", "cancel"])
async def test_a_stop_at_any_moment_leaves_old_or_new_and_the_next_run_makes_it_new(
    stop: str, autojump_clock: MockClock
) -> None:
    seen = set()
    for moment in range(1, 140, 6):
        mirror, _, _, was_released = await _stop_at(stop, moment)
        seen.add(was_released)
        then = await mirror.run(policy=BURST)
        assert (then.exit_code, then.left) == (0, 0)
        assert mirror.target.files() == mirror.source.files()
        mirror.check_nothing_left()
    assert seen == {False, True}


async def test_a_file_that_becomes_a_directory_and_the_reverse_are_a_second_release(autojump_clock: MockClock) -> None:
    mirror = await a_site()
    mirror.source.delete("assets")
    mirror.source.write("assets", b"a file now")
    mirror.source.delete("0.html")
    mirror.source.write("0.html/index.html", b"a directory now")
    report = await mirror.run(policy=BURST)
    assert (report.exit_code, report.left) == (0, 0)
    first, second = mirror.seen(Released)
    assert {it.path for it in second.items} == {"assets", "0.html/index.html"}
    assert len(first.items) == len(NAMES) - 11
    assert mirror.target.files() == mirror.source.files()
    mirror.check_nothing_left()


async def test_modes_are_set_after_the_release(autojump_clock: MockClock) -> None:
    mirror = Mirror(source=MemoryEndpoint("source", modes=True), target=MemoryEndpoint("target", modes=True))
    mirror.source.write("a.html", b"a")
    mirror.source.write("b.html", b"b")
    assert (await mirror.run(policy=BURST)).exit_code == 0
    node = mirror.source.find("a.html")
    assert isinstance(node, File)
    node.mode = 0o600
    mirror.source.touch(node, node.mtime_ns)
    mirror.source.write("b.html", b"new b")
    mirror.target.log.clear()
    report = await mirror.run(policy=BURST)
    assert (report.exit_code, report.modes_set, report.copied) == (0, 1, 1)
    verbs = [verb for verb, _ in mirror.target.log if verb in {"publish", "set_mode"}]
    assert verbs == ["publish", "set_mode"]


async def test_the_hook_before_commit_is_awaited_when_everything_is_staged(autojump_clock: MockClock) -> None:
    mirror = await a_site()
    staged: list[int] = []

    async def before_commit() -> None:
        staged.append(sum(isinstance(it.operation, Prepare) for it in mirror.seen(Done)))
        assert not mirror.seen(Released)

    pipeline = Pipeline(before_commit=before_commit)
    assert (await mirror.run(policy=BURST, pipeline=pipeline)).exit_code == 0
    assert staged == [len(NAMES)]


async def test_without_old_files_a_refusal_leaves_the_others_published(autojump_clock: MockClock) -> None:
    mirror = await a_site()
    policy = attrs.evolve(BURST, publish=attrs.evolve(BURST.publish, keeps_old=False))
    report = await mirror.run(Stubborn(mirror.target, refused=["2.html"]), policy=policy)
    assert (report.exit_code, report.copied, report.failed) == (1, len(NAMES) - 1, 1)
    assert not [item.aside for event in mirror.seen(Released) for item in event.items if item.aside is not None]
    there = site_of(mirror.target)
    assert there["2.html"] == b"old 2.html"
    assert {path: data for path, data in there.items() if path != "2.html"}.items() <= mirror.source.files().items()
    assert (await mirror.run(policy=policy)).exit_code == 0
    assert mirror.target.files() == mirror.source.files()
    mirror.check_nothing_left()


async def test_without_old_files_nothing_that_others_have_put_there_is_taken_away(autojump_clock: MockClock) -> None:
    """Taken back, a file that replaced what no listing had shown would leave nothing under its name."""
    mirror = Mirror()
    mirror.source.write("same", b"same")
    assert (await mirror.run()).exit_code == 0
    mirror.source.write("style.css", b"ours")
    mirror.source.write("page.html", b"ours as well")
    mirror.target.write("style.css", b"from another program")
    policy = attrs.evolve(BURST, publish=attrs.evolve(BURST.publish, keeps_old=False))
    report = await mirror.run(Stubborn(mirror.target, refused=["page.html"]), policy=policy)
    assert (report.exit_code, report.failed) == (1, 1)
    assert site_of(mirror.target) == {"same": b"same", "style.css": b"ours"}


async def test_a_release_in_another_root_is_dropped(autojump_clock: MockClock) -> None:
    mirror = await a_site()
    moments: list[Mirror] = []

    def begins(verb: str, path: str) -> None:
        moments.append(restart(mirror))

    assert (await mirror.run(Stubborn(mirror.target, begins=begins), policy=BURST)).exit_code == 0
    moment = moments[7]
    assert moment.journal.release()
    moment.target.delete("")
    moment.target.mkdir("")
    report = await moment.run(policy=attrs.evolve(BURST, audit=AuditRule()))
    assert report.exit_code == 0
    assert len(moment.seen(MemoryVoided)) == len(moment.seen(Released)) == 1
    assert moment.target.files() == moment.source.files()
    moment.check_nothing_left()


MAINTAINED = attrs.evolve(BURST, publish=attrs.evolve(BURST.publish, maintenance=".maintenance"))


async def test_a_maintenance_file_is_there_as_long_as_the_release_is_published(autojump_clock: MockClock) -> None:
    mirror = await a_site()
    moments: list[Mirror] = []
    is_there: list[bool] = []

    def begins(verb: str, path: str) -> None:
        is_there.append(mirror.target.find(".maintenance") is not None)
        moments.append(restart(mirror))

    assert (await mirror.run(Stubborn(mirror.target, begins=begins), policy=MAINTAINED)).exit_code == 0
    assert len(is_there) == len(NAMES)
    assert all(is_there)
    assert mirror.target.files() == mirror.source.files()
    mirror.check_nothing_left()
    for moment in moments[::6]:  # killed meanwhile
        assert (await moment.run(policy=BURST)).exit_code == 0
        assert moment.target.files() == moment.source.files()
        moment.check_nothing_left()


async def test_a_file_that_has_the_name_of_the_maintenance_file_stays(autojump_clock: MockClock) -> None:
    mirror = await a_site()
    mirror.source.write(".maintenance", b"the site has one")
    for _ in range(2):
        write_new(mirror, b"again ")
        assert (await mirror.run(policy=MAINTAINED)).exit_code == 0
        assert mirror.target.files() == mirror.source.files()
    assert [it.text for it in mirror.seen(Warned)] == [
        "publish.maintenance: the site has .maintenance itself, and it is left as it is; use another name"
    ]


async def test_a_release_that_does_not_fit_is_refused_before_it_is_sent(autojump_clock: MockClock) -> None:
    mirror = await a_site()
    before = site_of(mirror.target)
    report = await mirror.run(Telling(mirror.target, 100), policy=BURST)
    assert report.exit_code == 1
    assert report.error is not None
    assert report.error.startswith("nothing was published: 3")
    assert report.error.endswith('the target has room for 100 B; free some, or set publish.mode = "file"')
    assert not mirror.seen(Released)
    assert site_of(mirror.target) == before
    report = await mirror.run(Telling(mirror.target, 1_000), policy=BURST)
    assert (report.exit_code, report.error) == (0, None), report.failures
    assert mirror.target.files() == mirror.source.files()
    mirror.check_nothing_left()


async def test_a_release_that_takes_longer_than_a_stop_may_is_refused(autojump_clock: MockClock) -> None:
    mirror = await a_site()
    before = site_of(mirror.target)
    mirror.shutdown = Shutdown(drain_seconds=0.3)
    report = await mirror.run(policy=BURST)
    assert report.exit_code == 1
    assert report.error == (
        "nothing was published: the burst would take about 0.4 s, and a stop waits only 0.3 s for it; "
        "raise shutdown.drain, or sync.connections"
    )
    assert site_of(mirror.target) == before


async def test_a_plan_takes_an_unfinished_release_for_finished(autojump_clock: MockClock) -> None:
    mirror = await a_site()
    moments: list[Mirror] = []
    target = Stubborn(mirror.target, begins=lambda _, __: moments.append(restart(mirror)))
    assert (await mirror.run(target, policy=BURST)).exit_code == 0
    moment = moments[9]
    before = moment.target.files()
    moment.journal = moment.journal.copy_to_memory()
    report = await moment.run(DryRun(moment.target), policy=ONE)
    assert (report.exit_code, report.removed, report.failed) == (0, 3, 0)
    assert moment.target.files() == before
    assert [it.text for it in moment.seen(Warned)] == [
        "an earlier run ended while it published 20 files: finishing that first"
    ]
