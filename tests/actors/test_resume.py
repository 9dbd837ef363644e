"""A big file goes on where it broke off, after a lost connection, a cancel or a crash, in the same run or another."""

from __future__ import annotations

import hashlib
import random
import time
from pathlib import Path

import attrs
import pytest
from trio.testing import MockClock

from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.wrappers.transform import Transform
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.event import Event, Learned, PartSent, Warned
from actorsync.model.operation import Copy, Done, Failed, Side
from actorsync.planning.publishing.rules import PublishRule, ResumeRule
from actorsync.testing.faulty_endpoint import Faulty, When
from actorsync.transforms import gzip_stream
from tests.support.mirror import contents, mirror
from tests.support.world.broken import AGAIN, BIG, BLOCK, OVERLAP, PIECES, RESUMES, SIZE, Broken, Cut, lose, resuming
from tests.support.world.memory_mirror import ONE

#: 20 moments at which an upload is broken off: before and after the reading of a piece, from the first to the last.
MOMENTS = [1 + number * 4 + number % 2 for number in range(20)]
#: Another version of the file, with the same bytes wherever they are compared before an upload goes on.
OTHER = BIG[:100][::-1] + BIG[100:]
DAY_NS = 86_400 * 10**9


@pytest.fixture
def broken() -> Broken:
    return Broken()


def warnings(broken: Broken) -> list[str]:
    return [it.text for it in broken.seen(Warned)]


@pytest.mark.parametrize("at", MOMENTS)
async def test_lost_connection_is_resumed_in_the_same_run(broken: Broken, at: int, autojump_clock: MockClock) -> None:
    cut = Cut(at)
    report = await broken.mirror(cut)
    assert report.exit_code == 0
    broken.check_arrived()
    pieces = cut.moments / 2
    assert pieces <= PIECES + 4 + (AGAIN + BLOCK) / SIZE * PIECES or report.resumed_bytes == 0
    assert report.resumed_bytes >= at / 2 * SIZE / PIECES - 2 * AGAIN


@pytest.mark.parametrize("at", MOMENTS)
@pytest.mark.parametrize("way", ["cancel", "now", "outside", "crash"])
async def test_run_that_is_broken_off_is_resumed_by_the_next(
    broken: Broken, way: str, at: int, autojump_clock: MockClock
) -> None:
    await broken.break_off(way, at)
    left = broken.left
    report = await broken.mirror()
    assert report.exit_code == 0
    broken.check_arrived()
    assert report.resumed_bytes >= left - AGAIN
    assert (report.resumed_bytes > 0) is (left > OVERLAP + BLOCK)
    assert report.copied_bytes == SIZE


async def test_several_losses_send_each_byte_about_once(broken: Broken, autojump_clock: MockClock) -> None:
    moments = {20, 45, 70}
    cut = Cut(0)

    def decide(verb: str, when: When) -> float | None:
        cut(verb, when)
        if verb == "read" and cut.moments in moments:
            lose()
        return None

    report = await broken.mirror(decide)
    assert report.exit_code == 0
    broken.check_arrived()
    assert cut.moments / 2 * SIZE / PIECES <= SIZE + 4 * (AGAIN + BLOCK)


async def test_another_connection_takes_up_what_one_has_left(broken: Broken, autojump_clock: MockClock) -> None:
    """The connection that was lost cannot log in again, and gives its work back."""
    logins = 0
    cut = Cut(40)

    def decide(verb: str, when: When) -> float | None:
        nonlocal logins
        if verb == "open_session" and when == "before":
            logins += 1
            if cut.moments > 40 and logins == 2:
                raise ConnectionLost("no login for this one")
        return cut(verb, when)

    policy = attrs.evolve(RESUMES, connections=2, backoff=attrs.evolve(ONE.backoff, tries=2))
    report = await broken.mirror(decide, policy=policy)
    assert report.exit_code == 0
    broken.check_arrived()
    assert report.resumed_bytes >= SIZE / 2 - 2 * AGAIN


async def test_file_that_fails_over_losses_is_resumed_by_the_next_run(
    broken: Broken, autojump_clock: MockClock
) -> None:
    """After half of the file, no connection lives long."""

    def decide(verb: str, when: When) -> float | None:
        if verb == "stage" and when == "after":
            lose()
        return None

    report = await broken.mirror(decide)
    assert report.exit_code == 1
    assert [it.operation.path for it in broken.seen(Failed)] == ["big"]
    (kept,) = broken.journal.kept()
    assert broken.target.files() == {kept.temporary: BIG}
    report = await broken.mirror()
    assert report.resumed_bytes >= SIZE - AGAIN
    broken.check_arrived()


async def test_file_of_the_same_size_and_time_that_changed_is_sent_from_its_beginning(
    broken: Broken, autojump_clock: MockClock
) -> None:
    """Only the time of its inode shows it."""
    before = broken.entry
    await broken.break_off("crash", 60)
    broken.source.write("big", OTHER, before.mtime_ns)
    assert attrs.evolve(broken.entry, ctime_ns=before.ctime_ns) == before
    report = await broken.mirror()
    assert (report.exit_code, report.resumed_bytes) == (0, 0)
    broken.check_arrived(OTHER)


async def test_file_that_changes_after_the_scan_is_sent_from_its_beginning(
    broken: Broken, autojump_clock: MockClock
) -> None:
    await broken.break_off("crash", 60)

    def change(verb: str, when: When) -> float | None:
        if verb == "may_continue" and when == "after":
            broken.source.write("big", OTHER)
        return None

    report = await broken.mirror(change)
    assert (report.exit_code, report.resumed_bytes) == (0, 0)
    broken.check_arrived(OTHER)


async def test_file_that_changes_while_the_rest_is_sent_is_never_published(
    broken: Broken, autojump_clock: MockClock
) -> None:
    await broken.break_off("crash", 40)
    report = await broken.mirror(Cut(10, lambda: broken.source.write("big", OTHER)))
    assert (report.exit_code, report.resumed_bytes) == (0, 0)
    broken.check_arrived(OTHER)


@pytest.mark.parametrize("damage", [0, 1], ids=["other bytes", "zeros"])
async def test_wrong_bytes_on_the_target_are_found_at_the_seam(
    broken: Broken, damage: int, autojump_clock: MockClock
) -> None:
    await broken.break_off("cancel", 60)
    ((temporary, data),) = broken.target.files().items()
    broken.target.write(temporary, data[::-1] if damage == 0 else bytes(len(data)))
    report = await broken.mirror()
    assert (report.exit_code, report.resumed_bytes) == (0, 0)
    broken.check_arrived()
    assert warnings(broken) == [
        "big: what an earlier attempt has left of it on the target cannot be continued; it is sent from its beginning"
    ]


async def test_temporary_that_is_gone_is_not_missed(broken: Broken, autojump_clock: MockClock) -> None:
    await broken.break_off("cancel", 60)
    (temporary,) = broken.target.files()
    broken.target.delete(temporary)
    report = await broken.mirror()
    assert (report.exit_code, report.resumed_bytes) == (0, 0)
    broken.check_arrived()


async def test_target_that_cannot_continue_gets_the_file_from_its_beginning_with_one_line(
    broken: Broken, autojump_clock: MockClock
) -> None:
    broken.target.can_resume = False
    report = await broken.mirror(Cut(60))
    assert (report.exit_code, report.resumed_bytes) == (0, 0)
    broken.check_arrived()
    assert len(warnings(broken)) == 1


async def test_part_is_kept_for_its_time_and_no_longer(broken: Broken, autojump_clock: MockClock) -> None:
    policy = resuming(ResumeRule(smallest=5_000, keep=3 * 86_400.0))
    await broken.break_off("cancel", 60, policy=policy)
    broken.wall_ns = lambda: time.time_ns() + 3 * DAY_NS
    report = await broken.mirror(policy=policy)
    assert (report.exit_code, report.resumed_bytes) == (0, 0)
    broken.check_arrived()
    assert "sweep" in broken.verbs[:2]


@pytest.mark.parametrize("rule", [ResumeRule(None), ResumeRule(SIZE + 1)], ids=["false", "bigger"])
@pytest.mark.parametrize("way", ["cancel", "crash"])
async def test_file_that_is_not_to_be_resumed_leaves_nothing(
    broken: Broken, way: str, rule: ResumeRule, autojump_clock: MockClock
) -> None:
    await broken.break_off(way, 60, policy=resuming(rule))
    assert broken.journal.kept() == []
    assert way == "crash" or broken.left == 0
    report = await broken.mirror(policy=resuming(rule))
    assert (report.exit_code, report.resumed_bytes) == (0, 0)
    broken.check_arrived()


async def test_part_of_a_file_that_is_too_small_by_a_new_rule_is_swept(
    broken: Broken, autojump_clock: MockClock
) -> None:
    await broken.break_off("cancel", 60)
    report = await broken.mirror(policy=resuming(ResumeRule(None)))
    assert (report.exit_code, report.resumed_bytes) == (0, 0)
    broken.check_arrived()


async def test_transformed_content_is_never_continued(broken: Broken, autojump_clock: MockClock) -> None:
    policy = attrs.evolve(RESUMES, transforms=(Transform("gzip", ["big"], gzip_stream),))
    await broken.break_off("cancel", 2, policy=policy)
    assert (broken.left, broken.journal.kept()) == (0, [])
    await broken.break_off("cancel", 60)  # sent as it is, and from now on transformed
    report = await broken.mirror(policy=policy)
    assert (report.exit_code, report.resumed_bytes) == (0, 0)
    assert broken.target.files().keys() == {"big"}
    assert broken.target.files()["big"] != BIG
    assert broken.journal.pending() == []


@pytest.mark.parametrize("at", [41, 70])
async def test_checksum_of_a_resumed_file_is_that_of_all_of_it(
    broken: Broken, at: int, autojump_clock: MockClock
) -> None:
    policy = attrs.evolve(RESUMES, by_content=True)
    await broken.break_off("crash", at, policy=policy)
    report = await broken.mirror(policy=policy)
    assert report.resumed_bytes > SIZE / 4
    broken.check_arrived()
    record = broken.journal.record("big")
    assert record is not None
    assert record.checksum == hashlib.blake2b(BIG, digest_size=32).digest()


async def test_size_time_resumes_the_same_version(broken: Broken, autojump_clock: MockClock) -> None:
    policy = attrs.evolve(RESUMES, by_size_time=True)
    await broken.break_off("crash", 60, policy=policy)
    report = await broken.mirror(policy=policy)
    assert report.resumed_bytes > SIZE / 2
    broken.check_arrived()


async def test_file_whose_times_prove_nothing_is_sent_from_its_beginning(
    broken: Broken, autojump_clock: MockClock
) -> None:
    ctime_ns = broken.entry.ctime_ns
    assert ctime_ns is not None
    broken.wall_ns = lambda: ctime_ns + 10**9
    await broken.break_off("cancel", 60)
    assert (broken.left, broken.journal.kept()) == (0, [])
    report = await broken.mirror(Cut(60))
    assert (report.exit_code, report.resumed_bytes) == (0, 0)
    broken.check_arrived()


async def test_another_rule_for_modes_sends_from_the_beginning(broken: Broken, autojump_clock: MockClock) -> None:
    await broken.break_off("cancel", 60)
    broken.journal.apply([Learned(Side.TARGET, "sync.modes", "another")])
    report = await broken.mirror()
    assert (report.exit_code, report.resumed_bytes) == (0, 0)
    broken.check_arrived()


async def test_drain_finishes_the_upload_in_flight(broken: Broken, autojump_clock: MockClock) -> None:
    report = await broken.mirror(Cut(60, broken.shutdown.drain))
    assert report.copied == 1
    broken.check_arrived()


async def test_journal_gets_to_know_how_far_an_upload_is(broken: Broken, autojump_clock: MockClock) -> None:
    await broken.break_off("cancel", 60)
    (first, *_, last) = broken.seen(PartSent)
    (kept,) = broken.journal.kept()
    assert (first.kept.sent, last.kept.sent) == (0, broken.left)
    assert kept == last.kept
    assert kept.source == broken.entry


async def test_refused_rest_of_a_file_is_sent_from_its_beginning(broken: Broken, autojump_clock: MockClock) -> None:
    """As by a server that takes the offset and then refuses the upload."""
    await broken.break_off("cancel", 60)

    def refuse() -> None:
        raise OperationRefused("no restart here")

    report = await broken.mirror(Cut(1, refuse, verb="stage"))
    assert (report.exit_code, report.resumed_bytes) == (0, 0)
    broken.check_arrived()


@pytest.mark.parametrize("at", MOMENTS)
async def test_lost_connection_to_the_source_reads_on_where_it_was(at: int, autojump_clock: MockClock) -> None:
    broken = Broken(source=MemoryEndpoint("source", is_remote=True), target=MemoryEndpoint("target"))
    cut = Cut(at)
    report = await broken.run(source=Faulty(broken.source, cut), policy=RESUMES)
    assert report.exit_code == 0
    broken.check_arrived()
    assert cut.moments > at
    assert cut.moments <= 2 * PIECES + 12
    assert broken.verbs.count("stage") == 1 or at <= 2  # nothing was read yet: the file is opened again


async def test_source_that_changes_while_its_connection_is_lost_is_read_from_its_beginning(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last bytes that were read are the same in both versions."""
    monkeypatch.setattr("actorsync.actors.reading.remote_source.BLOCK", BLOCK)
    broken = Broken(source=MemoryEndpoint("source", is_remote=True), target=MemoryEndpoint("target"))

    def change() -> None:
        broken.source.delete("big")
        broken.source.write("big", OTHER)
        lose()

    report = await broken.run(source=Faulty(broken.source, Cut(40, change)), policy=RESUMES)
    assert report.exit_code == 0
    broken.check_arrived(OTHER)


@pytest.mark.parametrize("way", ["cancel", "crash"])
async def test_pull_that_is_broken_off_is_resumed_by_the_next_run(way: str, autojump_clock: MockClock) -> None:
    broken = Broken(source=MemoryEndpoint("source", is_remote=True), target=MemoryEndpoint("target"))
    await broken.break_off(way, 60)
    report = await broken.mirror()
    assert report.resumed_bytes > SIZE / 2
    broken.check_arrived()


async def test_progress_counts_what_was_there_and_the_rate_does_not(broken: Broken, autojump_clock: MockClock) -> None:
    await broken.break_off("cancel", 60)
    levels, seen = broken.statistics, list[tuple[int, int]]()

    def look(verb: str, when: When) -> float | None:
        if verb == "read":
            seen.append((levels.bytes_sent, levels.bytes_moved))
        return None

    report = await broken.run(source=Faulty(broken.source, look), policy=RESUMES)
    assert seen[-1][0] > SIZE - AGAIN
    assert max(moved for _, moved in seen) <= SIZE - report.resumed_bytes
    assert (levels.bytes_done, levels.bytes_resumed) == (SIZE, report.resumed_bytes)
    assert levels.share == 1.0


async def test_outcome_says_how_much_was_not_sent_again(broken: Broken, autojump_clock: MockClock) -> None:
    await broken.break_off("cancel", 60)
    events: list[Event] = []
    report = await broken.mirror(observe=events.append)
    (done,) = [it for it in events if isinstance(it, Done) and isinstance(it.operation, Copy)]
    assert done.resumed == report.resumed_bytes > 0


@pytest.mark.parametrize("by_content", [False, True])
async def test_directory_as_target_gets_the_rest_of_a_file(tmp_path: Path, by_content: bool) -> None:
    data = random.Random(1).randbytes(6 << 20)
    for name in ("source", "target"):
        (tmp_path / name).mkdir()
    (tmp_path / "source" / "big").write_bytes(data)
    rule = PublishRule(resume=ResumeRule(1 << 20))
    target = Faulty(LocalEndpoint(tmp_path / "target"), Cut(11))
    run = await mirror(tmp_path / "source", target, None, settled=True, publish=rule, by_content=by_content)
    assert (run.report.exit_code, run.report.resumed_bytes) == (0, 4 << 20)
    assert contents(tmp_path / "target") == contents(tmp_path / "source")
    assert run.of(Warned) == []
