"""The whole engine, told by the thousand: one seed is one story of runs, changes, faults, stops and crashes.

``ACTORSYNC_SEEDS=N`` sets how many seeds there are, ``ACTORSYNC_SEED=k`` tells one story alone. Very many are told by
``python -m tests.support.world.long_run``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from unittest.mock import patch

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.pipeline import Pipeline
from actorsync.actors.shutdown import Shutdown
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.errors import FatalError, OperationRefused
from actorsync.model.entry import Entry, join
from actorsync.model.event import Confirmed, Event
from actorsync.model.operation import Copy, Done, Move, Prepare, Publish, Remove, Skipped
from actorsync.model.report import Report
from actorsync.planning.publishing.rules import PublishRule, TrashRule
from actorsync.planning.temporary_names import is_own
from actorsync.policy import Policy
from actorsync.profile.values.units import MaxDelete
from actorsync.testing.faulty_endpoint import Faulty, When
from tests.support.tiers import IS_FULL, amount, diagonals
from tests.support.world import long_run
from tests.support.world.burst import BURST
from tests.support.world.climate import KINDS, NO_CLIMATE, Climate
from tests.support.world.memory_mirror import ONE, Mirror
from tests.support.world.simulation import Story, simulate
from tests.support.world.world import NAMES, Weather

SEEDS = amount("SEEDS", short=200, full=1000)
BLOCK = 100
#: How many stories there are of renames.
RENAMES = amount("RENAMES", short=60, full=200)

#: Every seed that ever found something. Told first, and for ever. These have the first weather alone: that is all there
#: was when they found it.
# fmt: off
REGRESSIONS = [
    7, 59, 116, 127, 167, 200, 201, 260, 262, 271, 317, 331, 333, 334, 351, 396, 399, 429, 437, 449, 478, 502,
    518, 551, 579, 583, 605, 637, 663, 681, 689, 727, 738, 739, 742, 773, 778, 812, 860, 886, 903, 940, 955,
    971, 993, 1033, 1078, 1096, 1117, 1174, 1175, 1177, 1192, 1218, 1264, 1266, 1310, 1349, 1388, 1405, 1407,
    1446, 1484, 1496, 1509, 1542, 1544, 1560, 1565, 1590, 1594, 1604, 1675, 1717, 1786, 1791, 1802, 1834, 1929,
    1966, 2059, 2101, 2113, 2115, 2137, 2142, 2148, 2168, 2204, 2207, 2229, 2237, 2267, 2320, 2431, 2437, 2454,
    2459, 2486, 2509, 2511, 2519, 2527, 2578, 2635, 2662, 2671, 2672, 2690, 2696, 2704, 2707, 2747, 2749, 2786,
    2802, 2815, 2817, 2828, 2831, 2866, 2871, 2880, 2890, 2905, 2914, 9929, 17862,
]
# fmt: on
#: And these have every kind of weather that there was then, so that a new kind may not be drawn from an old stream.
LATER_REGRESSIONS = [
    54,
    98,
    506,
    558,
    596,
    751,
    1350,
    2372,
    2727,
    2890,
    3473,
    3746,
    5008,
    7764,
    20055,
    20067,
    20147,
    27973,
    50654,
    90221,
    101613,
    136464,
    125223,
    102067,
    1983,
    2574,
    2751,
]


def tell(seed: int, lanes: int | None = None, climate: Climate | None = None) -> Story:
    story = Story(seed, lanes, climate)
    try:
        return simulate(story)
    except BaseException as error:
        error.add_note(f"to tell this story again: ACTORSYNC_SEED={seed} pytest tests/actors/test_simulation.py")
        error.add_note(f"its kinds of trouble: {sorted(story.climate.troubles)}")
        raise


def tell_one_kind(kind: str) -> None:
    """Tell stories that have this kind of trouble and no other; in some of them it has to come."""
    came = sum(tell(seed, climate=Climate.of(seed, kind)).seen[kind] > 0 for seed in range(5_000, 5_010))
    assert came > 1


class Restless(Story):
    """A source that is changed all the time, and nothing else. ``met`` counts what that does to copies."""

    met: Counter[str]

    def _any_weather(self) -> Weather:
        return Weather(changes=0.3)

    async def run(self, weather: Weather) -> Report | None:
        report = await super().run(weather)
        for event in self.oracle.events:
            match event:
                case Skipped(Copy()):
                    self.met["vanished"] += 1
                case Done(Copy(seen), source=Entry() as read) if seen.inode == read.inode and seen != read:
                    self.met["rewritten"] += 1
                case Done(Copy(seen), source=Entry() as read) if seen != read:
                    self.met["replaced"] += 1
                case Done(Copy(), source=Entry(size=0)):
                    self.met["empty"] += 1
        return report


class Renaming(Story):
    """A source in which files and folders are given other names, between runs and while they go on.

    ``met`` counts what became of them.
    """

    met: Counter[str]

    async def tell(self) -> None:
        for path in ("a/a", "a/b", "a/c", "b/a", "b/c/a", "b/c/b", "c", "d"):
            with suppress(OperationRefused):  # a special file is above it
                self._write(path)
        self.oracle.see_source(self.source)
        await self.run(Weather())  # from here on, the target is known
        await trio.sleep(self.rng.choice((0.0, 10.0)))
        self._between_runs()
        await super().tell()

    def change_source(self) -> None:
        folders = sorted(self.source.directories())
        names = [*self.source.files(), *folders]
        node = self.source.find(self.rng.choice(names)) if names else None
        if node is not None and self.rng.random() < 0.3:  # by `touch`, or a tree that was checked out anew
            self.source.touch(node, self._any_time())
            self.oracle.see_source(self.source)
        if len(names) < 4 or self.rng.random() < 0.3:
            super().change_source()
            return
        old, folder = self.rng.choice(names), self.rng.choice(["", *folders])
        self.rename_in_source(old, join(folder, self.rng.choice(NAMES)))
        self.trace.append(f"  step {self.steps}: rename {old!r} to {folder!r}")
        self.oracle.see_source(self.source)

    def _between_runs(self) -> None:
        super()._between_runs()
        for _ in range(3):
            self.change_source()

    def _prepare_target(self) -> None:
        """It is known by now, and nobody else has put anything there."""

    def _any_policy(self) -> Policy:
        policy = attrs.evolve(super()._any_policy(), delete=True, max_delete=MaxDelete.parse("100%"))
        return attrs.evolve(policy, by_content=self.seed % 2 == 1)

    async def run(self, weather: Weather) -> Report | None:
        report = await super().run(weather)
        for event in self.oracle.events:
            match event:
                case Done(Move(), digest=digest):
                    self.met["moved"] += 1
                    self.met["moved, and young"] += digest is not None
                case Confirmed():
                    self.met["touched"] += 1
                case Skipped(Move()):
                    self.met["sent instead"] += 1
        if weather.stop == "crash" and any(record.is_removal_intended for record in self.oracle.journal.subtree("")):
            self.met["killed"] += 1
        return report


if "ACTORSYNC_SEED" in os.environ:  # one story is told alone, in full

    def test_one_story() -> None:
        story = Story(int(os.environ["ACTORSYNC_SEED"]))
        try:
            simulate(story)
        finally:
            print(sorted(story.climate.troubles))
            print("\n".join(story.trace))

else:

    @pytest.mark.parametrize(("seed", "lanes"), diagonals(REGRESSIONS, [1, 4], every=2))
    def test_story_that_once_went_wrong(seed: int, lanes: int) -> None:
        tell(seed, lanes, NO_CLIMATE)

    @pytest.mark.parametrize("seed", LATER_REGRESSIONS)
    def test_later_story_that_once_went_wrong(seed: int) -> None:
        tell(seed, climate=Climate.before_releases(seed))

    @pytest.mark.scaled
    @pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
    def test_stories(first: int) -> None:
        ends: Counter[int | None] = Counter()
        seen: Counter[str] = Counter()
        for seed in range(first, min(first + BLOCK, SEEDS)):
            story = tell(seed)
            ends.update(story.told)
            seen.update(story.seen.keys())
        if first + BLOCK <= SEEDS:
            # Every way to end a run comes up, and every kind of trouble: a block in which all went well would have
            # tested nothing.
            assert {0, 1, 3, 7, 130, None} <= ends.keys()
            assert seen.keys() == KINDS.keys()

    def test_m031_a_target_that_gets_full_and_has_room_again() -> None:
        tell_one_kind("full")

    def test_m048_m127_paths_on_which_every_operation_fails() -> None:
        tell_one_kind("cursed")

    def test_m014_server_with_other_clients() -> None:
        tell_one_kind("crowd")

    def test_m029_a_server_that_is_down_for_a_while() -> None:
        tell_one_kind("outage")

    def test_m030_m058_m131_clocks_that_are_set() -> None:
        tell_one_kind("clocks")

    def test_m041_a_target_that_rounds_times() -> None:
        tell_one_kind("times")

    def test_m038_a_target_that_loses_things() -> None:
        tell_one_kind("losses")

    def test_m037_a_target_that_others_change() -> None:
        tell_one_kind("strangers")

    def test_m116_a_journal_whose_disk_is_full() -> None:
        tell_one_kind("journal")

    def test_as_many_connections_as_are_of_use() -> None:
        tell_one_kind("automatic")

    def test_runs_with_parked_paths() -> None:
        tell_one_kind("patient")

    def test_m128_channels_with_a_buffer_of_0_or_1() -> None:
        tell_one_kind("narrow")

    def test_m128_schedule_with_a_tiny_window() -> None:
        tell_one_kind("window")

    def test_m056_a_source_whose_clock_ticks_slowly() -> None:
        tell_one_kind("ticks")

    def test_m057_files_of_any_age() -> None:
        tell_one_kind("ages")

    def test_m069_files_with_two_names() -> None:
        tell_one_kind("links")

    def test_m063_m064_links_and_special_files() -> None:
        tell_one_kind("specials")

    def test_m059_a_source_that_is_not_mounted() -> None:
        tell_one_kind("unmounted")

    def test_runs_that_publish_in_one_burst() -> None:
        tell_one_kind("burst")

    def test_files_that_have_ranks() -> None:
        tell_one_kind("ranks")

    def test_transfers_that_are_continued() -> None:
        stories = [tell(seed, climate=Climate.of(seed, "resume")) for seed in range(5_000, 5_030)]
        assert sum(story.target.continued > 0 for story in stories) > 1

    def test_runs_that_keep_old_versions_and_are_undone() -> None:
        tell_one_kind("trash")

    def test_runs_that_look_at_the_target() -> None:
        tell_one_kind("audits")

    @pytest.mark.full
    def test_m053_m054_m055_m062_m065_source_that_changes_all_the_time() -> None:
        met: Counter[str] = Counter()
        for seed in range(6_000, 6_040):
            story = Restless(seed, climate=NO_CLIMATE)
            story.met = met
            simulate(story)
        assert min(met[what] for what in ("vanished", "rewritten", "replaced", "empty")) > 5

    @pytest.mark.scaled
    def test_a_source_in_which_things_are_renamed() -> None:
        met: Counter[str] = Counter()
        for seed in range(7_000, 7_000 + RENAMES):
            story = Renaming(seed)
            story.met = met
            try:
                simulate(story)
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise
        least = min(met[what] for what in ("moved", "moved, and young", "sent instead", "touched", "killed"))
        assert least > (5 if IS_FULL else 0), met

    def test_the_same_seed_tells_the_same_story() -> None:
        first, second = tell(8), tell(8)
        assert first.told == second.told
        assert first.target.log == second.target.log
        assert first.oracle.events == second.oracle.events

    def test_a_long_run_says_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
        assert long_run.main(["--seeds", "20", "--from", "40", "--jobs", "1"]) == 0
        assert "20 seeds" in capsys.readouterr().out


# What stories have shown, told in short.


async def test_entry_beside_a_kept_directory_stays_in_the_journal(autojump_clock: MockClock) -> None:
    mirror = Mirror(target=MemoryEndpoint("target", inodes=False))
    mirror.source.write("a", b"")
    mirror.source.mkdir("d/busy")
    mirror.source.mkdir("d/shared")
    assert (await mirror.run()).exit_code == 0
    mirror.source.delete("d")
    mirror.target.write("d/shared/of somebody else", b"")
    mirror.target.trouble = {"d/busy": OperationRefused("busy")}
    assert dict((await mirror.run()).failures) == {"d/busy": "busy", "d": "it still holds 'd/busy'"}
    mirror.target.trouble = {}
    assert (await mirror.run()).exit_code == 0
    assert mirror.target.directories() == {"d", "d/shared"}


async def test_a_directory_whose_parent_is_gone_from_the_target_is_made(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.source.mkdir("a/b")
    assert (await mirror.run()).exit_code == 0
    mirror.target.delete("a")
    mirror.source.mkdir("a/b/c")
    assert (await mirror.run()).exit_code == 0
    assert mirror.target.directories() == {"a", "a/b", "a/b/c"}


async def test_m111_file_removed_by_an_interrupted_run_is_sent_when_it_is_back(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.source.write("site/a", b"a")
    mirror.source.write("site/b/c", b"c")
    mirror.source.mkdir("site/empty")
    mirror.source.write("z", b"z")
    assert (await mirror.run()).exit_code == 0
    mirror.source.rename("site", "site.old")  # nothing in it is touched by that
    apply = mirror.journal.apply

    def apply_until_something_is_removed(facts: Sequence[Event]) -> None:
        if any(isinstance(fact, Done) and isinstance(fact.operation, Remove) for fact in facts):
            raise FatalError("no space left")
        apply(facts)

    with patch.object(mirror.journal, "apply", apply_until_something_is_removed):
        assert (await mirror.run()).exit_code == 7
    assert mirror.target.find("site/a") is None
    mirror.source.rename("site.old", "site")
    assert (await mirror.run()).exit_code == 0
    assert mirror.target.files() == mirror.source.files()
    assert mirror.target.directories() == mirror.source.directories()


async def test_m049_first_of_two_names_that_the_target_folds_is_kept(autojump_clock: MockClock) -> None:
    mirror = Mirror(target=MemoryEndpoint("target", inodes=False, fold=str.casefold))
    mirror.source.write("a", b"the first")
    assert (await mirror.run()).exit_code == 0
    mirror.source.write("A", b"the second, which is longer")
    mirror.source.write("b/x", b"in b")
    mirror.source.write("B/y", b"in B")
    for _ in range(2):
        report = await mirror.run()
        assert report.exit_code == 1
        assert {path for path, _ in report.failures} in ({"A", "B", "B/y"}, {"A", "b", "b/x"})
        assert mirror.target.files()["a"] == b"the first"
        assert len(mirror.target.files()) == 2
    mirror.source.delete("A")
    mirror.source.delete("B" if ("B/y" in dict(report.failures)) else "b")
    assert (await mirror.run()).exit_code == 0
    assert mirror.target.files() == mirror.source.files()


async def test_drain_when_all_is_staged_leaves_the_release_to_the_next_run(
    autojump_clock: MockClock,
) -> None:
    mirror = Mirror()
    mirror.source.write("a", b"a")

    def drain(event: Event) -> None:
        if isinstance(event, Done) and isinstance(event.operation, Prepare):
            mirror.shutdown.drain()

    assert (await mirror.run(policy=BURST, observe=drain)).exit_code == 3
    mirror.shutdown = Shutdown()
    assert (await mirror.run(policy=BURST)).exit_code == 0
    assert mirror.target.files() == {"a": b"a"}


async def test_drain_in_the_hook_before_the_commit_point_leaves_the_release_to_the_next_run(
    autojump_clock: MockClock,
) -> None:
    mirror = Mirror()
    mirror.source.write("a", b"a")

    async def drain() -> None:
        mirror.shutdown.drain()

    assert (await mirror.run(policy=BURST, pipeline=Pipeline(before_commit=drain))).exit_code == 3
    mirror.shutdown = Shutdown()
    assert (await mirror.run(policy=BURST)).exit_code == 0
    assert mirror.target.files() == {"a": b"a"}


async def test_renamed_file_is_sent_for_its_release_and_not_moved_before_it(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.source.write("a", b"a")
    assert (await mirror.run(policy=BURST)).exit_code == 0
    mirror.source.rename("a", "b")
    assert (await mirror.run(policy=BURST)).exit_code == 0
    assert "move" not in {verb for verb, _ in mirror.target.log}
    assert mirror.target.files() == {"b": b"a"}


async def test_refused_release_leaves_a_file_that_nobody_could_list(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.target.write("a", b"of somebody else")
    mirror.target.mkdir("z")
    mirror.source.write("a", b"a")
    mirror.source.write("z", b"z")

    def decide(verb: str, when: When) -> None:
        if verb == "list_directory":
            raise OperationRefused("no permission")

    report = await mirror.run(Faulty(mirror.target, decide), policy=BURST)
    assert report.exit_code == 1
    assert "z: a directory is in its place" in str(report.not_published)
    assert {path: data for path, data in mirror.target.files().items() if not is_own(path)} == {
        "a": b"of somebody else"
    }


async def test_journal_that_fails_while_a_release_is_published_is_the_error_of_the_run(
    autojump_clock: MockClock,
) -> None:
    mirror = Mirror()
    mirror.source.write("a", b"a")
    apply = mirror.journal.apply

    def apply_until_something_is_published(facts: Sequence[Event]) -> None:
        if any(isinstance(fact, Done) and isinstance(fact.operation, Publish) for fact in facts):
            raise FatalError("no space left")
        apply(facts)

    with patch.object(mirror.journal, "apply", apply_until_something_is_published):
        report = await mirror.run(policy=BURST)
    assert (report.exit_code, report.error) == (7, "no space left")
    assert (await mirror.run(policy=BURST)).exit_code == 0
    assert mirror.target.files() == {"a": b"a"}


async def test_file_from_a_far_future_goes_to_the_trash(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    policy = attrs.evolve(ONE, publish=PublishRule(trash=TrashRule("../.trash")))
    mirror.source.write("a", b"a", 253_402_300_799 * 10**9)
    assert (await mirror.run(policy=policy)).exit_code == 0
    mirror.source.write("a", b"another")
    assert (await mirror.run(policy=policy)).exit_code == 0
    assert b"a" in mirror.target.files("..").values()
