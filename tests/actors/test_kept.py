"""Temporaries that stay on the target: which ones the sweeps spare, and what becomes of those that are whole."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import attrs
import pytest
from trio.testing import MockClock

from actorsync.endpoints.contract import Staged
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.wrappers.dry_run import DryRun
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Listing, Problem
from actorsync.model.event import Intended, PartSent, Warned
from actorsync.model.kept import Kept
from actorsync.model.operation import Done, Prepare, Sweep
from actorsync.planning.publishing.rules import ResumeRule
from tests.support.world.broken import BIG, RESUMES, SIZE, Broken, resuming
from tests.support.world.sessions import listing_with

TEMPORARY = ".actorsync-00000000000000ff.tmp"
DIGEST = hashlib.blake2b(BIG, digest_size=32).digest()


@pytest.fixture
def broken() -> Broken:
    return Broken()


def prepare(broken: Broken, data: bytes = BIG, temporary: str = TEMPORARY, **more: Any) -> Kept:
    """Have an earlier run send the big file, and leave it whole under its temporary name."""
    source = broken.entry
    broken.target.write(temporary, data, source.mtime_ns)
    at = time.time()
    kept = Kept(temporary, source, SIZE, at, is_complete=True, size=SIZE, mtime_ns=source.mtime_ns)
    kept = attrs.evolve(kept, **more)
    broken.journal.apply([Intended((temporary,), source), Done(Prepare(source), source=source, kept=kept)])
    return kept


def keep_part(broken: Broken, temporary: str, size: int, source: Entry | None = None) -> Kept:
    """Have an earlier run send a part of the big file."""
    source = source or broken.entry
    broken.target.write(temporary, BIG[:size])
    kept = Kept(temporary, source, size, time.time())
    broken.journal.apply([Intended((temporary,), source), PartSent(kept)])
    return kept


def sent(broken: Broken) -> list[str]:
    return [verb for verb in broken.verbs if verb in {"stage", "commit", "sweep"}]


# ---- what is whole


async def test_whole_file_is_renamed_and_not_sent_again(broken: Broken, autojump_clock: MockClock) -> None:
    prepare(broken)
    report = await broken.mirror()
    assert (report.exit_code, report.copied, report.resumed_bytes) == (0, 1, SIZE)
    broken.check_arrived()
    assert sent(broken) == ["commit"]


async def test_whole_file_that_a_resume_rule_would_not_continue_is_used(
    broken: Broken, autojump_clock: MockClock
) -> None:
    prepare(broken)
    report = await broken.mirror(policy=resuming(ResumeRule(None)))
    assert report.resumed_bytes == SIZE
    broken.check_arrived()


async def test_plan_counts_a_whole_file_as_one_to_be_sent(broken: Broken, autojump_clock: MockClock) -> None:
    prepare(broken)
    await broken.mirror()
    assert (broken.statistics.files_done, broken.statistics.bytes_done, broken.statistics.bytes_moved) == (1, SIZE, 0)


@pytest.mark.parametrize("fault", ["gone", "shorter", "another time"])
async def test_whole_file_that_is_not_as_recorded_is_sent_anew_with_one_line(
    broken: Broken, fault: str, autojump_clock: MockClock
) -> None:
    kept = prepare(broken)
    match fault:
        case "gone":
            broken.target.delete(TEMPORARY)
        case "shorter":
            broken.target.write(TEMPORARY, BIG[:-1], kept.mtime_ns)
        case _:
            broken.target.write(TEMPORARY, BIG[::-1])
    report = await broken.mirror()
    assert (report.exit_code, report.resumed_bytes) == (0, 0)
    broken.check_arrived()
    assert len(broken.seen(Warned)) == (fault != "gone")


async def test_whole_file_of_another_version_is_swept(broken: Broken, autojump_clock: MockClock) -> None:
    prepare(broken)
    broken.source.write("big", BIG[::-1])
    report = await broken.mirror()
    assert (report.exit_code, report.resumed_bytes) == (0, 0)
    broken.check_arrived(BIG[::-1])


@pytest.mark.parametrize("is_same", [True, False])
async def test_whole_file_whose_times_proved_nothing_is_compared_with_the_source(
    broken: Broken, is_same: bool, autojump_clock: MockClock
) -> None:
    """It may have changed within the tick of the clock in which it was sent."""
    prepare(broken, BIG if is_same else BIG[::-1], digest=DIGEST if is_same else b"d" * 32)
    report = await broken.mirror()
    assert (report.exit_code, report.resumed_bytes) == (0, SIZE if is_same else 0)
    broken.check_arrived()
    record = broken.journal.record("big")
    assert record is not None
    assert record.digest is None  # by now its times do prove it


@pytest.mark.parametrize("checksum", [None, DIGEST])
async def test_whole_file_has_its_checksum_recorded(
    broken: Broken, checksum: bytes | None, autojump_clock: MockClock
) -> None:
    prepare(broken, checksum=checksum)
    report = await broken.mirror(policy=attrs.evolve(RESUMES, by_content=True))
    assert report.resumed_bytes == SIZE
    record = broken.journal.record("big")
    assert record is not None
    assert record.checksum == DIGEST


# ---- what the sweeps spare


async def test_best_of_several_temporaries_is_taken_up_and_the_others_are_swept(
    broken: Broken, autojump_clock: MockClock
) -> None:
    keep_part(broken, ".actorsync-0000000000000001.tmp", 8_000)
    keep_part(broken, ".actorsync-0000000000000002.tmp", 16_000)
    keep_part(broken, ".actorsync-0000000000000003.tmp", 12_000)
    report = await broken.mirror()
    assert report.resumed_bytes == 15_000
    broken.check_arrived()


async def test_whole_file_is_better_than_a_part(broken: Broken, autojump_clock: MockClock) -> None:
    prepare(broken)
    keep_part(broken, ".actorsync-0000000000000001.tmp", SIZE)
    report = await broken.mirror()
    assert report.resumed_bytes == SIZE
    broken.check_arrived()
    assert "stage" not in broken.verbs


async def test_part_of_a_file_that_the_source_no_longer_has_is_swept_at_the_end(
    broken: Broken, autojump_clock: MockClock
) -> None:
    await broken.break_off("cancel", 60)
    broken.source.delete("big")
    report = await broken.mirror()
    assert report.exit_code == 0
    assert broken.target.files() == {}
    assert (broken.journal.pending(), broken.journal.kept()) == ([], [])


async def test_part_of_an_excluded_file_is_swept_at_the_end(broken: Broken, autojump_clock: MockClock) -> None:
    await broken.break_off("cancel", 60)
    selection = attrs.evolve(RESUMES.selection, exclude=["big"])
    report = await broken.mirror(policy=attrs.evolve(RESUMES, selection=selection))
    assert report.exit_code == 0
    assert broken.target.files() == {}


async def test_part_stays_while_its_directory_cannot_be_listed(broken: Broken, autojump_clock: MockClock) -> None:
    """That a listing does not show the file proves nothing here."""
    broken.source.rename("big", "other")
    broken.source.write("d/big", BIG)
    broken.source.delete("other")
    await broken.break_off("cancel", 60)
    left = broken.target.files()
    assert len(left) == 1

    def hide(listing: Listing) -> Listing:
        return Listing("d", problem=Problem("d", "denied")) if listing.directory == "d" else listing

    report = await broken.run(source=listing_with(broken.source, hide), policy=RESUMES)
    assert report.exit_code == 1
    assert broken.target.files() == left
    report = await broken.mirror()
    assert report.resumed_bytes > SIZE / 2
    assert broken.target.files() == {"d/big": BIG}


@pytest.mark.parametrize("stop", ["drain", "cancel"])
async def test_part_stays_when_a_run_ends_before_it_has_scanned(
    broken: Broken, stop: str, autojump_clock: MockClock
) -> None:
    await broken.break_off("cancel", 60)
    left = broken.target.files()
    getattr(broken.shutdown, stop)()
    await broken.mirror()
    assert broken.target.files() == left
    broken.renew()
    report = await broken.mirror()
    assert report.resumed_bytes > SIZE / 2
    broken.check_arrived()


async def test_part_stays_while_its_path_is_parked(broken: Broken, autojump_clock: MockClock) -> None:
    policy = attrs.evolve(RESUMES, is_patient=True)
    await broken.break_off("cancel", 60, policy=policy)
    broken.target.trouble["big"] = OperationRefused("denied")
    broken.source.write("other", b"1")
    for _ in range(6):
        keep_part(broken, ".actorsync-00000000000000aa.tmp", 16_000)
        report = await broken.mirror(policy=policy)
        broken.renew()
    assert report.parked == 1
    assert [kept.temporary for kept in broken.journal.kept()] == [".actorsync-00000000000000aa.tmp"]
    assert broken.target.files().keys() == {"other", ".actorsync-00000000000000aa.tmp"}


async def test_file_in_sync_needs_no_part(broken: Broken, autojump_clock: MockClock) -> None:
    """It was sent by another version of the program, which knew nothing of the part."""
    await broken.mirror()
    keep_part(broken, TEMPORARY, 12_000)
    report = await broken.mirror()
    assert report.exit_code == 0
    broken.check_arrived()


# ---- a process that died between the rename and its record


@pytest.mark.parametrize("is_whole", [True, False])
async def test_file_that_got_its_name_before_a_crash_is_recovered(
    broken: Broken, is_whole: bool, autojump_clock: MockClock
) -> None:
    kept = prepare(broken) if is_whole else keep_part(broken, TEMPORARY, 16_000)
    broken.target.delete(TEMPORARY)
    broken.target.write("big", BIG, kept.source.mtime_ns)
    report = await broken.mirror()
    assert (report.exit_code, report.copied) == (0, 0)
    assert "stage" not in broken.verbs
    broken.check_arrived()


async def test_recovered_file_that_the_source_no_longer_has_is_removed(
    broken: Broken, autojump_clock: MockClock
) -> None:
    await broken.mirror(policy=RESUMES)
    broken.source.write("big", BIG[::-1])
    kept = keep_part(broken, TEMPORARY, SIZE)
    broken.target.delete(TEMPORARY)
    broken.target.write("big", BIG[::-1], kept.source.mtime_ns)
    broken.source.delete("big")
    report = await broken.mirror()
    assert (report.exit_code, report.removed) == (0, 1)
    assert broken.target.files() == {}


async def test_rename_in_steps_that_a_crash_broke_off_is_taken_back(broken: Broken, autojump_clock: MockClock) -> None:
    """The old file is missing: the sweep restores it, where a target replaces in several steps."""
    await broken.mirror()
    broken.source.write("big", BIG[::-1])
    keep_part(broken, TEMPORARY, 16_000)
    broken.target.delete("big")
    broken.target.log.clear()
    report = await broken.mirror()
    assert report.exit_code == 0
    assert broken.target.log[0] == ("sweep", TEMPORARY)
    broken.check_arrived(BIG[::-1])


async def test_what_cannot_be_asked_for_is_not_swept(broken: Broken, autojump_clock: MockClock) -> None:
    await broken.break_off("cancel", 60)
    sweeps = listing_with(broken.target, lambda listing: listing, hides_names=True)
    report = await broken.run(sweeps, policy=RESUMES)
    assert report.resumed_bytes > SIZE / 2
    broken.check_arrived()
    assert not [it for it in broken.seen(Done) if isinstance(it.operation, Sweep) and it.target is not None]


@pytest.mark.parametrize(
    ("there", "is_swept", "is_found"),
    [(None, True, False), (TEMPORARY, True, False), (TEMPORARY, False, True), ("a", True, True), ("a", False, True)],
)
async def test_plan_looks_for_a_file_of_a_run_that_was_killed(
    autojump_clock: MockClock, there: str | None, is_swept: bool, is_found: bool
) -> None:
    """The kill was before or after the rename, and before the journal had it: only the target knows."""
    target = MemoryEndpoint("target")
    target.write("a", b"old", 1_600_000_000 * 10**9)
    if there is not None:
        target.write(there, b"the new", 1_700_000_000 * 10**9)
    async with DryRun(target).open_session() as session:
        if is_swept:
            await session.sweep([TEMPORARY])
        (found,) = await session.commit([Staged("a", TEMPORARY, 7, 1_700_000_000 * 10**9)])
    assert isinstance(found, Entry) is is_found
