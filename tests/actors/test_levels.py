"""The levels of a run: what they count is true at any moment, also when files fail or are sent again."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from actorsync.actors.statistics import FILE_WEIGHT, Statistics
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind
from actorsync.model.operation import Copy, Failed, MakeDirectory, Skipped
from actorsync.testing.faulty_endpoint import Faulty, When
from tests.support.world.memory_mirror import Mirror


def copy_of(size: int) -> Copy:
    return Copy(Entry("f", Kind.FILE, size))


@pytest.mark.parametrize("refusals", [1, 2, 100])
async def test_file_whose_rename_failed_does_not_count_as_done(refusals: int, autojump_clock: MockClock) -> None:
    mirror, levels = Mirror(), list[tuple[int, int]]()
    mirror.fill(20)
    left = refusals

    def decide(verb: str, when: When) -> None:
        nonlocal left
        levels.append((mirror.statistics.bytes_sent, mirror.statistics.bytes_expected))
        if (verb, when) == ("commit", "before") and left:
            left -= 1
            raise OperationRefused("no", retry=True)

    report = await mirror.run(Faulty(mirror.target, decide))
    statistics = mirror.statistics
    assert all(sent <= expected for sent, expected in levels)
    assert statistics.bytes_done == sum(map(len, mirror.target.files().values()))
    assert statistics.files_done == report.copied
    assert statistics.bytes_planned == sum(map(len, mirror.source.files().values()))
    assert statistics.files_given_up == report.failed
    assert (statistics.bytes_left, statistics.share) == (0, 1.0)


async def test_what_failed_is_not_left(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(7)

    def decide(verb: str, when: When) -> None:
        if (verb, when) == ("stage", "before"):
            raise OperationRefused("no")

    report = await mirror.run(Faulty(mirror.target, decide))
    statistics = mirror.statistics
    assert report.failed == statistics.files_given_up == statistics.files_planned == 7
    assert statistics.bytes_given_up == statistics.bytes_planned
    assert (statistics.bytes_left, statistics.files_done) == (0, 0)


async def test_what_was_never_planned_is_not_given_up(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.source.write("a", b"file")
    mirror.target.write("a/foreign", b"in the way")
    report = await mirror.run()
    statistics = mirror.statistics
    assert report.failed == 1
    assert (statistics.files_planned, statistics.files_given_up, statistics.bytes_given_up) == (0, 0, 0)


def test_planned_bytes_follow_what_a_file_had_when_it_was_sent() -> None:
    statistics = Statistics(files_planned=2, bytes_planned=300)
    statistics.note_sent(copy_of(100), 150)
    assert (statistics.bytes_planned, statistics.bytes_done, statistics.bytes_left) == (350, 150, 200)
    statistics.note_undone(copy_of(100), 150)
    assert (statistics.bytes_planned, statistics.bytes_done, statistics.bytes_left) == (300, 0, 300)


def test_only_copies_that_were_not_made_are_given_up() -> None:
    statistics = Statistics(files_planned=3, bytes_planned=30)
    directory = MakeDirectory(Entry("d", Kind.DIRECTORY))
    for outcome in (Failed(copy_of(10), "no"), Skipped(copy_of(10), "gone"), Failed(directory, "no")):
        statistics.note_outcome(outcome)
    assert (statistics.files_given_up, statistics.bytes_given_up, statistics.bytes_left) == (2, 20, 10)


def test_empty_files_are_a_share_of_the_work() -> None:
    statistics = Statistics(files_planned=10)
    assert statistics.share == 0
    statistics.files_done = 5
    assert statistics.share == 0.5
    statistics.files_given_up = 5
    assert statistics.share == 1
    statistics.comparisons_planned, statistics.comparisons_done = 10, 5
    assert statistics.share == 10 / 15
    assert Statistics().share == 1
    half = Statistics(files_planned=2, files_done=1, bytes_planned=2 * FILE_WEIGHT, bytes_done=FILE_WEIGHT)
    assert half.share == 0.5
