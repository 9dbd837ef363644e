"""Permissions in whole runs between trees in memory: what is set, what is sent, and what is left to a later run."""

from __future__ import annotations

import attrs
import pytest
from trio.abc import ReceiveChannel, SendChannel
from trio.testing import MockClock

from actorsync.actors.pipeline import Change, Pipeline, operation_stage
from actorsync.assembly import modes_for
from actorsync.endpoints.contract import Capabilities
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.memory.tree import Directory, File
from actorsync.errors import OperationRefused
from actorsync.model.event import Confirmed, Planned, Warned
from actorsync.model.operation import Done, Failed, SetMode
from actorsync.model.report import Report
from actorsync.planning.modes import ALONE, KEEP, SOURCE, Modes
from actorsync.policy import Policy
from tests.support.world.memory_mirror import ONE, Mirror

SECOND = 10**9
LONG_AGO = 1_700_000_000 * SECOND
NOW = 1_800_000_000 * SECOND
BY_CONTENT = attrs.evolve(ONE, by_content=True)
FIXED = attrs.evolve(ONE, modes=Modes("fixed", 0o640, 0o750))


@pytest.fixture
def mirror() -> Mirror:
    """A mirror of two files and two directories that were written long ago."""
    clock = iter(range(LONG_AGO, NOW, 1_000_003))
    it = Mirror(
        source=MemoryEndpoint("source", now=clock.__next__, modes=True),
        target=MemoryEndpoint("target", inodes=False, modes=True),
        wall_ns=lambda: NOW,
    )
    for path in ("d/run.sh", "e/page"):
        it.source.write(path, path.encode())
    chmod(it.source, "e", 0o700)
    chmod(it.source, "e/page", 0o600)
    return it


def chmod(tree: MemoryEndpoint, path: str, mode: int) -> None:
    """Set a mode as another program does: the time of the content stays."""
    node = tree.find(path)
    assert isinstance(node, File | Directory)
    node.mode = mode
    tree.touch(node, node.mtime_ns)


def modes_in(tree: MemoryEndpoint) -> dict[str, int]:
    found = {path: tree.find(path) for path in tree.files().keys() | tree.directories()}
    return {path: node.mode for path, node in sorted(found.items()) if isinstance(node, File | Directory)}


async def synced(mirror: Mirror, policy: Policy = ONE) -> Report:
    mirror.target.log.clear()
    report = await mirror.run(policy=policy)
    assert report.exit_code == 0
    assert mirror.target.files() == mirror.source.files()
    return report


def verbs(mirror: Mirror) -> list[tuple[str, str]]:
    return [command for command in mirror.target.log if command != ("make", "")]


async def test_files_and_directories_get_the_modes_of_the_source(mirror: Mirror, autojump_clock: MockClock) -> None:
    await synced(mirror)
    assert modes_in(mirror.target) == {"d": 0o755, "d/run.sh": 0o644, "e": 0o700, "e/page": 0o600}
    assert (await synced(mirror)).modes_set == 0
    assert verbs(mirror) == []


@pytest.mark.parametrize("policy", [ONE, BY_CONTENT], ids=["times", "checksum"])
async def test_chmod_alone_is_set_and_not_sent(mirror: Mirror, policy: Policy, autojump_clock: MockClock) -> None:
    await synced(mirror, policy)
    chmod(mirror.source, "d/run.sh", 0o755)
    chmod(mirror.source, "e", 0o750)
    report = await synced(mirror, policy)
    assert (report.modes_set, report.copied) == (2, 0)
    assert modes_in(mirror.target) == {"d": 0o755, "d/run.sh": 0o755, "e": 0o750, "e/page": 0o600}
    assert sorted(verbs(mirror)) == [("set_mode", "d/run.sh"), ("set_mode", "e")]
    (planned,) = mirror.seen(Planned)
    assert planned.modes == 2
    assert (await synced(mirror, policy)).modes_set == 0
    assert verbs(mirror) == []


async def test_chmod_and_new_content_is_one_upload(mirror: Mirror, autojump_clock: MockClock) -> None:
    await synced(mirror)
    mirror.source.write("d/run.sh", b"other")
    chmod(mirror.source, "d/run.sh", 0o755)
    report = await synced(mirror)
    assert (report.modes_set, report.copied) == (0, 1)
    assert modes_in(mirror.target)["d/run.sh"] == 0o755


async def test_chmod_of_a_file_that_is_renamed_is_not_lost(mirror: Mirror, autojump_clock: MockClock) -> None:
    await synced(mirror)
    mirror.source.rename("d/run.sh", "d/go.sh")
    chmod(mirror.source, "d/go.sh", 0o755)
    report = await synced(mirror)
    assert (report.moved, report.copied) == (1, 0)
    assert modes_in(mirror.target)["d/go.sh"] == 0o755


async def test_lost_journal_leaves_no_file_with_another_mode(mirror: Mirror, autojump_clock: MockClock) -> None:
    await synced(mirror)
    chmod(mirror.target, "d/run.sh", 0o600)
    chmod(mirror.target, "d", 0o775)
    again = Mirror(source=mirror.source, target=mirror.target, wall_ns=lambda: NOW)
    report = await synced(again)
    assert (report.adopted, report.modes_set, report.copied) == (1, 1, 0)
    assert modes_in(mirror.target)["d/run.sh"] == 0o644
    assert modes_in(mirror.target)["d"] == 0o775, "a directory that another program made keeps its mode"


@pytest.mark.parametrize(
    "policy", [attrs.evolve(ONE, modes=KEEP), attrs.evolve(BY_CONTENT, modes=KEEP)], ids=["times", "checksum"]
)
async def test_keep_leaves_the_mode_of_a_replaced_file(
    mirror: Mirror, policy: Policy, autojump_clock: MockClock
) -> None:
    await synced(mirror, policy)
    assert modes_in(mirror.target)["e/page"] == 0o600, "a new file has the mode of its source"
    chmod(mirror.target, "d/run.sh", 0o711)
    mirror.source.write("d/run.sh", b"other")
    assert (await synced(mirror, policy)).copied == 1
    assert modes_in(mirror.target)["d/run.sh"] == 0o711
    chmod(mirror.source, "d/run.sh", 0o777)
    report = await synced(mirror, policy)
    assert (report.copied, report.modes_set) == (0, 0), "a chmod is no reason to send a file whose mode is kept"
    assert modes_in(mirror.target)["d/run.sh"] == 0o711


async def test_change_of_the_rule_reaches_every_entry(mirror: Mirror, autojump_clock: MockClock) -> None:
    await synced(mirror)
    assert (await synced(mirror, FIXED)).modes_set == 4
    assert modes_in(mirror.target) == {"d": 0o750, "d/run.sh": 0o640, "e": 0o750, "e/page": 0o640}
    assert (await synced(mirror, FIXED)).modes_set == 0
    chmod(mirror.source, "d/run.sh", 0o777)
    assert (await synced(mirror, FIXED)).modes_set == 0
    assert (await synced(mirror)).modes_set == 4
    assert modes_in(mirror.target) == modes_in(mirror.source)


async def test_rule_that_was_not_followed_everywhere_is_new_in_the_next_run(
    mirror: Mirror, autojump_clock: MockClock
) -> None:
    await synced(mirror)
    mirror.target.trouble["d/run.sh"] = OperationRefused("not now")
    assert (await mirror.run(policy=FIXED)).exit_code == 1
    assert [it.operation.path for it in mirror.seen(Failed)] == ["d/run.sh"]
    mirror.target.trouble.clear()
    assert (await synced(mirror, FIXED)).modes_set == 1
    assert modes_in(mirror.target)["d/run.sh"] == 0o640


async def test_failed_chmod_is_tried_again(mirror: Mirror, autojump_clock: MockClock) -> None:
    await synced(mirror)
    chmod(mirror.source, "d/run.sh", 0o755)
    mirror.target.trouble["d/run.sh"] = OperationRefused("not now")
    report = await mirror.run()
    assert (report.exit_code, report.failed) == (1, 1)
    mirror.target.trouble.clear()
    assert (await synced(mirror)).modes_set == 1


async def test_chmod_passes_through_the_stages_of_the_caller(mirror: Mirror, autojump_clock: MockClock) -> None:
    await synced(mirror)
    chmod(mirror.source, "d/run.sh", 0o755)
    seen: list[Change] = []

    @operation_stage
    async def keep_back(receive: ReceiveChannel[Change], send: SendChannel[Change | Failed]) -> None:
        seen.extend([operation async for operation in receive])

    report = await mirror.run(pipeline=Pipeline((keep_back,)))
    assert (report.left, report.modes_set) == (1, 0)
    assert [(type(it), it.path) for it in seen] == [(SetMode, "d/run.sh")]
    assert (await synced(mirror)).modes_set == 1


async def test_target_without_modes_gets_none_and_a_chmod_costs_nothing(
    mirror: Mirror, autojump_clock: MockClock
) -> None:
    mirror.target = MemoryEndpoint("target", inodes=False)
    await synced(mirror)
    chmod(mirror.source, "d/run.sh", 0o755)
    report = await synced(mirror)
    assert (report.copied, report.modes_set) == (0, 0)
    assert len(mirror.seen(Confirmed)) == 1
    assert verbs(mirror) == []


async def test_rule_for_a_target_without_modes_is_one_warning(mirror: Mirror, autojump_clock: MockClock) -> None:
    mirror.target = MemoryEndpoint("target", inodes=False)
    await synced(mirror, FIXED)
    assert [it.text for it in mirror.seen(Warned)] == [
        "sync.modes has no effect: the target has no permissions to set; remove the key from the profile"
    ]


async def test_recorded_mode_is_what_the_target_reports(mirror: Mirror, autojump_clock: MockClock) -> None:
    await synced(mirror)
    chmod(mirror.source, "d/run.sh", 0o755)
    await synced(mirror)
    (done,) = [it for it in mirror.seen(Done) if isinstance(it.operation, SetMode)]
    record = mirror.journal.record("d/run.sh")
    assert record is not None
    assert record.source == done.source
    assert (record.source and record.source.mode, record.target.mode) == (0o755, 0o755)


@pytest.mark.parametrize(
    ("capabilities", "default", "fixed"),
    [
        (Capabilities(), ALONE, ALONE),
        (Capabilities(sets_modes=True), ALONE, FIXED.modes),
        (Capabilities(keeps_modes=True), SOURCE, FIXED.modes),
    ],
)
def test_rule_of_a_run_follows_from_the_target(capabilities: Capabilities, default: Modes, fixed: Modes) -> None:
    target = MemoryEndpoint("target")
    target.capabilities = capabilities
    assert (modes_for(target, None), modes_for(target, FIXED.modes)) == (default, fixed)
