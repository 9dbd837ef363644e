"""A target that other programs have changed between runs: what a run finds, says and restores."""

from __future__ import annotations

import attrs
import pytest
from trio.testing import MockClock

from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.model.entry import Listing, Problem
from actorsync.model.event import Audited, Drifted, DriftEnded, MemoryVoided, TargetSeen, Warned
from actorsync.model.operation import Audit, Copy, Done, Look
from actorsync.planning.drift import EVERYTHING, AuditRule
from actorsync.planning.selection import Selection
from tests.support.world.memory_mirror import LANES, ONE, Mirror
from tests.support.world.sessions import listing_with

REPORTS = attrs.evolve(ONE, audit=AuditRule(EVERYTHING))
MENDS = attrs.evolve(ONE, audit=AuditRule(EVERYTHING, mends=True))
TRUSTS = attrs.evolve(ONE, audit=None)


async def mirrored(*paths: str, policy: object = None) -> Mirror:
    """Return a mirror in sync, with a file at each path."""
    mirror = Mirror()
    for path in paths or ("a", "d/b", "d/e/c"):
        mirror.source.write(path, f"content of {path}".encode())
    assert (await mirror.run(policy=REPORTS)).exit_code == 0
    return mirror


async def test_an_untouched_target_is_in_sync_and_was_seen(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    report = await mirror.run(policy=REPORTS)
    assert (report.exit_code, report.drifted, report.audited) == (0, 0, 3)
    assert report.looked_at is not None
    assert len(mirror.seen(TargetSeen)) == 1
    assert mirror.journal.audits.seen() == report.looked_at


@pytest.mark.parametrize("path", ["a", "d/b", "d/e/c", "d/e", "d"])
async def test_missing_entry_is_reported_once_and_counted_in_each_run(autojump_clock: MockClock, path: str) -> None:
    mirror = await mirrored()
    mirror.target.delete(path)
    before = mirror.target.files()
    for is_new in (True, False, False):
        report = await mirror.run(policy=REPORTS)
        assert (report.exit_code, report.drifted) == (9, 1)
        assert [(it.path, it.now, it.is_new) for it in mirror.seen(Drifted)] == [(path, None, is_new)]
        assert mirror.target.files() == before
    assert [drift.path for drift in mirror.journal.audits.drifts()] == [path]


@pytest.mark.parametrize("path", ["a", "d/b", "d/e/c", "d/e", "d"])
async def test_missing_entry_is_restored_where_the_rule_mends(autojump_clock: MockClock, path: str) -> None:
    mirror = await mirrored()
    mirror.target.delete(path)
    report = await mirror.run(policy=MENDS)
    assert report.exit_code == 0
    assert [(it.path, it.is_mended) for it in mirror.seen(Drifted)] == [(path, True)]
    assert mirror.target.files() == mirror.source.files()
    assert (await mirror.run(policy=MENDS)).copied == 0
    assert mirror.journal.audits.drifts() == []


async def test_what_was_reported_is_restored_by_a_later_run_that_mends(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    mirror.target.delete("d/b")
    mirror.target.write("a", b"edited on the server")
    assert (await mirror.run(policy=attrs.evolve(REPORTS, audit=AuditRule(EVERYTHING, is_alone=True)))).drifted == 2
    # Not even the directories whose turn it is are needed for that.
    assert (await mirror.run(policy=attrs.evolve(ONE, audit=AuditRule(0, mends=True)))).exit_code == 0
    assert mirror.target.files() == mirror.source.files()


async def test_edited_file_is_reported_again_when_it_is_edited_again(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    mirror.target.write("d/b", b"edited on the server")
    await mirror.run(policy=REPORTS)
    mirror.target.write("d/b", b"and once more")
    assert (await mirror.run(policy=REPORTS)).exit_code == 9
    assert [(it.path, it.is_new) for it in mirror.seen(Drifted)] == [("d/b", True)]
    assert mirror.target.files()["d/b"] == b"and once more"


async def test_drift_that_others_have_undone_is_over(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    there = mirror.target.take("d/b")
    await mirror.run(policy=REPORTS)
    mirror.target.put("d/b", there)
    assert (await mirror.run(policy=REPORTS)).exit_code == 0
    assert [it.path for it in mirror.seen(DriftEnded)] == ["d/b"]
    assert mirror.journal.audits.drifts() == []


async def test_drift_of_a_file_that_the_run_sends_anyway_is_over(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    mirror.target.write("d/b", b"edited on the server")
    mirror.source.write("d/b", b"changed in the source")
    await mirror.run(policy=REPORTS)
    report = await mirror.run(policy=REPORTS)
    assert (report.exit_code, report.drifted) == (0, 0)
    assert mirror.target.files()["d/b"] == b"changed in the source"
    assert mirror.journal.audits.drifts() == []


@pytest.mark.parametrize("policy", [REPORTS, MENDS])
async def test_root_that_was_emptied_is_listed_anew_and_filled(autojump_clock: MockClock, policy: object) -> None:
    mirror = await mirrored()
    for name in ("a", "d"):
        mirror.target.delete(name)
    report = await mirror.run(policy=REPORTS if policy is REPORTS else MENDS)
    assert [it.reason for it in mirror.seen(MemoryVoided)] == ["is empty"]
    assert (report.exit_code, report.copied) == (0, 3)
    assert mirror.target.files() == mirror.source.files()


async def test_root_that_is_missing_is_made_again_and_filled(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    mirror.target.delete("")
    report = await mirror.run(policy=REPORTS)
    assert [it.reason for it in mirror.seen(MemoryVoided)] == ["is missing"]
    assert (report.exit_code, report.copied) == (0, 3)
    assert mirror.target.files() == mirror.source.files()


async def test_root_of_others_is_not_taken_for_the_known_one(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    for name in ("a", "d"):
        mirror.target.delete(name)
    mirror.target.write("of others", b"")
    report = await mirror.run(policy=REPORTS)
    assert [it.reason for it in mirror.seen(MemoryVoided)] == ["has nothing of what was put there"]
    assert report.exit_code == 0
    assert mirror.target.files() == {**mirror.source.files(), "of others": b""}


async def test_root_that_is_another_directory_is_listed_anew(autojump_clock: MockClock) -> None:
    mirror = Mirror(target=MemoryEndpoint("target", lanes=LANES))
    for name in ("a", "b"):
        mirror.source.write(name, name.encode())
    await mirror.run(policy=REPORTS)
    mirror.target.device = 2
    mirror.target.write("b", b"of an older backup")
    report = await mirror.run(policy=REPORTS)
    assert [it.reason for it in mirror.seen(MemoryVoided)] == ["is another directory than in the last run"]
    assert (report.exit_code, report.adopted, report.copied) == (0, 1, 1)
    await mirror.run(policy=REPORTS)
    assert not mirror.seen(MemoryVoided)


async def test_entries_that_cannot_be_looked_at_do_not_prove_another_root(autojump_clock: MockClock) -> None:
    mirror = Mirror(target=MemoryEndpoint("target", lanes=LANES))
    mirror.source.write("a", b"a")
    await mirror.run(policy=REPORTS)
    mirror.target.device = 2
    closed = listing_with(mirror.target, lambda listing: listing, hides_names=True)
    report = await mirror.run(closed, policy=REPORTS)
    assert not mirror.seen(MemoryVoided)
    assert report.copied == 0
    record = mirror.journal.record("a")
    assert record is not None
    assert record.source is not None


async def test_root_with_another_number_and_the_known_entries_is_audited_as_a_whole(autojump_clock: MockClock) -> None:
    """Some disks and network file systems have another number in each mount."""
    mirror = Mirror(target=MemoryEndpoint("target", lanes=LANES))
    for number in range(9):
        mirror.source.write(f"{number}/a", b"a")
    policy = attrs.evolve(ONE, audit=AuditRule(1))
    await mirror.run(policy=policy)
    mirror.target.device = 2
    mirror.target.write("8/a", b"of an older backup")
    report = await mirror.run(policy=policy)
    assert not mirror.seen(MemoryVoided)
    assert (report.exit_code, report.audited, report.drifted) == (9, 10, 1)
    assert (await mirror.run(policy=policy)).audited == 2


async def test_run_without_a_rule_opens_no_connection(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    mirror.target.delete("")
    mirror.target.max_sessions = 0
    report = await mirror.run(policy=TRUSTS)
    assert report.exit_code == 0
    assert report.looked_at is not None
    assert report.looked_at < report.started_at


async def test_listing_that_shows_nothing_does_not_void_what_is_there_by_name(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    blind = listing_with(mirror.target, lambda listing: Listing(listing.directory), only_first=True)
    report = await mirror.run(blind, policy=REPORTS)
    assert not mirror.seen(MemoryVoided)
    assert (report.exit_code, report.copied) == (0, 0)


async def test_entry_that_one_listing_leaves_out_is_no_drift(autojump_clock: MockClock) -> None:
    mirror = await mirrored()

    def without_b(listing: Listing) -> Listing:
        return attrs.evolve(listing, entries=tuple(it for it in listing.entries if it.path != "d/b"))

    report = await mirror.run(listing_with(mirror.target, without_b, only_first=True), policy=REPORTS)
    assert (report.exit_code, report.drifted) == (0, 0)
    assert not mirror.seen(Drifted)


async def test_root_that_cannot_be_listed_is_said_and_voids_nothing(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    closed = listing_with(mirror.target, lambda it: Listing(it.directory, problem=Problem(it.directory, "denied")))
    report = await mirror.run(closed, policy=REPORTS)
    assert not mirror.seen(MemoryVoided)
    assert report.exit_code == 0
    assert report.looked_at is not None
    assert report.looked_at < report.started_at
    assert "the root of the target cannot be listed: denied; its entries are asked for by name" in [
        it.text for it in mirror.seen(Warned)
    ]


async def test_excluded_entries_are_not_audited(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    mirror.target.delete("d/b")
    mirror.target.delete("d/e")
    policy = attrs.evolve(REPORTS, selection=Selection(exclude=["d/"]))
    assert (await mirror.run(policy=policy)).exit_code == 0


async def test_directories_take_turns_and_a_round_ends_in_time(autojump_clock: MockClock) -> None:
    paths = [f"{letter}/{number}/x" for letter in "abc" for number in range(3)]
    mirror = await mirrored(*paths)
    policy = attrs.evolve(ONE, audit=AuditRule(5))
    directories = len(mirror.source.directories())
    listed: list[str] = []
    for _ in range(-(-directories // 5)):
        await mirror.run(policy=policy)
        audits = [it.operation.path for it in mirror.seen(Done) if isinstance(it.operation, Audit)]
        assert audits[0] == ""
        assert len(audits) <= 6
        listed += audits[1:]
    assert sorted(listed) == sorted(mirror.source.directories())
    (audited,) = mirror.seen(Audited)
    assert (audited.last, audited.known) == ("", directories)
    assert audited.whole is not None


async def test_drift_is_found_within_the_promised_number_of_runs(autojump_clock: MockClock) -> None:
    paths = [f"{number:02}/x" for number in range(20)]
    for changed in ("00/x", "07/x", "19/x"):
        mirror = await mirrored(*paths)
        policy = attrs.evolve(ONE, audit=AuditRule(6))
        await mirror.run(policy=policy)
        mirror.target.write(changed, b"edited")
        ends = [(await mirror.run(policy=policy)).exit_code for _ in range(4)]
        assert 9 in ends
        assert ends[ends.index(9) :] == [9] * (4 - ends.index(9))  # and it is said until it is mended


async def test_audit_alone_changes_nothing_and_reads_no_source(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    mirror.source.write("new", b"new")
    mirror.target.delete("d/b")
    log = [*mirror.target.log]
    report = await mirror.run(policy=attrs.evolve(ONE, audit=AuditRule(EVERYTHING, is_alone=True)))
    assert (report.exit_code, report.drifted, report.audited, report.is_audit) == (9, 1, 3, True)
    assert mirror.target.log == log
    assert not [it for it in mirror.seen(Done) if not isinstance(it.operation, Audit | Look)]


async def test_audit_alone_of_a_root_that_is_gone_voids_nothing(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    mirror.target.delete("")
    report = await mirror.run(policy=attrs.evolve(ONE, audit=AuditRule(EVERYTHING, is_alone=True)))
    assert report.exit_code == 9
    assert mirror.target.find("") is None
    assert not mirror.journal.is_fresh


async def test_new_file_in_an_audited_directory_is_no_drift(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    for number in range(30):
        mirror.source.write(f"d/new {number}", b"%d" % number)
        mirror.source.write(f"d/e/{number}/x", b"%d" % number)
    report = await mirror.run(policy=REPORTS)
    assert (report.exit_code, report.copied, report.drifted) == (0, 60, 0)
    assert not mirror.seen(Drifted)


async def test_what_others_put_there_is_known_after_an_audit(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    mirror.target.write("d/theirs", b"theirs")
    await mirror.run(policy=REPORTS)
    record = mirror.journal.record("d/theirs")
    assert record is not None
    assert record.source is None
    mirror.target.delete("d/theirs")
    await mirror.run(policy=REPORTS)
    assert mirror.journal.record("d/theirs") is None


@pytest.mark.parametrize("was_directory", [False, True])
async def test_entry_of_another_kind_is_reported_and_never_overwritten(
    autojump_clock: MockClock, was_directory: bool
) -> None:
    mirror = await mirrored()
    path = "d/e" if was_directory else "d/b"
    mirror.target.delete(path)
    if was_directory:
        mirror.target.write(path, b"theirs")
    else:
        mirror.target.write(f"{path}/inside", b"theirs")
    before = mirror.target.files()
    assert (await mirror.run(policy=REPORTS)).exit_code == 9
    report = await mirror.run(policy=MENDS)
    assert report.exit_code == 1  # in the way, and not ours
    assert dict(report.failures)[path].startswith("blocked by an existing entry")
    assert mirror.target.files() == before


async def test_large_root_is_asked_for_a_few_names_and_listed_in_its_turn(autojump_clock: MockClock) -> None:
    mirror = await mirrored(*(f"{number:02}" for number in range(40)), "d/x")
    policy = attrs.evolve(ONE, audit=AuditRule(1, large_root=20))
    assert (await mirror.run(policy=policy)).exit_code == 0
    audits = [it.operation.path for it in mirror.seen(Done) if isinstance(it.operation, Audit)]
    looks = [it for it in mirror.seen(Done) if isinstance(it.operation, Look)]
    assert sorted(audits) == ["", "d"]  # a round begins: it is the turn of the root
    assert 0 < len(looks) <= 20
    mirror.target.delete("05")
    assert (await mirror.run(policy=policy)).exit_code == 9
    for name in [*mirror.target.files(), "d"]:
        if mirror.target.find(name) is not None:
            mirror.target.delete(name)
    report = await mirror.run(policy=policy)
    assert [it.reason for it in mirror.seen(MemoryVoided)] == ["is empty"]
    assert report.copied == 41


async def test_stop_during_an_audit_leaves_it_to_the_next_run(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    mirror.target.delete("d/b")

    def stop(event: object) -> None:
        if isinstance(event, Done) and isinstance(event.operation, Audit):
            mirror.shutdown.drain()

    report = await mirror.run(policy=REPORTS, observe=stop)
    assert report.left == 0
    assert report.exit_code in {0, 3, 9}
    mirror.shutdown = type(mirror.shutdown)()
    assert (await mirror.run(policy=REPORTS)).exit_code == 9


async def test_unchanged_files_are_not_sent_by_a_run_that_mends(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    mirror.target.delete("d/e")
    await mirror.run(policy=MENDS)
    copies = [it.operation.path for it in mirror.seen(Done) if isinstance(it.operation, Copy)]
    assert copies == ["d/e/c"]
