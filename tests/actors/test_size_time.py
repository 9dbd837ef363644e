"""``compare = "size-time"``: neither the inode nor its time make another file. For restored and re-linked sources."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from trio.testing import MockClock

from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.memory.tree import File
from actorsync.endpoints.wrappers.transform import Transform
from actorsync.model.event import Confirmed
from actorsync.transforms import gzip_stream
from tests.support.mirror import contents, mirror
from tests.support.scenarios import write
from tests.support.world.memory_mirror import ONE, Mirror

SECOND = 10**9
LONG_AGO = 1_700_000_000 * SECOND
NOW = 1_800_000_000 * SECOND
BY_SIZE_TIME = attrs.evolve(ONE, by_size_time=True)
BY_CONTENT = attrs.evolve(ONE, by_content=True)
GZIP = Transform("gzip", lambda path: True, gzip_stream)
COPIED = Transform("copied", lambda path: True, lambda stream: stream)


@pytest.fixture
def synced() -> Mirror:
    """A mirror of files that were written long ago."""
    clock = iter(range(LONG_AGO, NOW, 1_000_003))
    it = Mirror(source=MemoryEndpoint("source", now=clock.__next__), wall_ns=lambda: NOW)
    for number in range(5):
        it.source.write(f"d/{number}", b"%d" % number * 9)
    return it


def restore(it: Mirror, *, is_rounded: bool = False) -> None:
    """Replace every file by a copy with the same time: it has another inode, and another time of the inode."""
    for path, data in list(it.source.files().items()):
        then = it.source.find(path)
        assert isinstance(then, File)
        time = then.mtime_ns // SECOND * SECOND if is_rounded else then.mtime_ns
        it.source.delete(path)
        it.source.write(path, data, time)


@pytest.mark.parametrize("is_rounded", [False, True])
async def test_restored_source_is_not_sent_again(synced: Mirror, is_rounded: bool, autojump_clock: MockClock) -> None:
    assert (await synced.run(policy=BY_SIZE_TIME)).copied == 5
    restore(synced, is_rounded=is_rounded)
    report = await synced.run(policy=BY_SIZE_TIME)
    assert (report.exit_code, report.copied, report.removed) == (0, 0, 0)
    await synced.run(policy=BY_SIZE_TIME)
    assert synced.seen(Confirmed) == [], "the times of an archive are known by now"


async def test_restored_source_is_sent_again_by_times(synced: Mirror, autojump_clock: MockClock) -> None:
    await synced.run(policy=ONE)
    restore(synced)
    assert (await synced.run(policy=ONE)).copied == 5


@pytest.mark.parametrize(
    ("data", "mtime_ns"), [(b"longer than before", LONG_AGO), (b"!!!!!!!!!", LONG_AGO + 7 * SECOND)]
)
async def test_changed_size_or_time_is_sent(
    synced: Mirror, data: bytes, mtime_ns: int, autojump_clock: MockClock
) -> None:
    await synced.run(policy=BY_SIZE_TIME)
    synced.source.write("d/1", data, mtime_ns)
    assert (await synced.run(policy=BY_SIZE_TIME)).copied == 1
    assert synced.target.files() == synced.source.files()


async def test_file_written_twice_in_one_tick_is_sent(synced: Mirror, autojump_clock: MockClock) -> None:
    synced.wall_ns = lambda: LONG_AGO + SECOND
    await synced.run(policy=BY_SIZE_TIME)
    node = synced.source.find("d/1")
    assert isinstance(node, File)
    node.data = b"!" * 9
    assert (await synced.run(policy=BY_SIZE_TIME)).copied == 1
    assert synced.target.files() == synced.source.files()


async def test_rename_is_an_upload_and_a_removal(synced: Mirror, autojump_clock: MockClock) -> None:
    await synced.run(policy=BY_SIZE_TIME)
    synced.source.rename("d/1", "d/new")
    report = await synced.run(policy=BY_SIZE_TIME)
    assert (report.moved, report.copied, report.removed) == (0, 1, 1)


@pytest.mark.parametrize("first", [ONE, BY_SIZE_TIME, BY_CONTENT])
@pytest.mark.parametrize("second", [ONE, BY_SIZE_TIME, BY_CONTENT])
async def test_changing_the_key_sends_nothing_that_is_unchanged(
    synced: Mirror, first: object, second: object, autojump_clock: MockClock
) -> None:
    assert isinstance(first, type(ONE))
    assert isinstance(second, type(ONE))
    assert (await synced.run(policy=first)).copied == 5
    report = await synced.run(policy=second)
    assert (report.exit_code, report.copied, report.removed) == (0, 0, 0)
    synced.source.write("d/1", b"!" * 9)
    assert (await synced.run(policy=first)).copied == 1
    synced.source.write("d/1", b"?" * 9)
    assert (await synced.run(policy=second)).copied == 1
    assert synced.target.files() == synced.source.files()


async def test_change_that_size_and_time_hide_is_sent_when_all_times_count_again(
    synced: Mirror, autojump_clock: MockClock
) -> None:
    await synced.run(policy=BY_SIZE_TIME)
    node = synced.source.find("d/1")
    assert isinstance(node, File)
    synced.source.write("d/1", b"!" * 9, node.mtime_ns)
    assert (await synced.run(policy=BY_SIZE_TIME)).copied == 0, "this is what the key cannot see"
    assert (await synced.run(policy=ONE)).copied == 1
    assert synced.target.files() == synced.source.files()


async def test_restored_source_of_transformed_files_is_not_sent_again_and_other_transforms_are(
    synced: Mirror, autojump_clock: MockClock
) -> None:
    gzip = attrs.evolve(BY_SIZE_TIME, transforms=(GZIP,))
    assert (await synced.run(policy=gzip)).copied == 5
    assert (await synced.run(policy=gzip)).copied == 0
    restore(synced)
    assert (await synced.run(policy=gzip)).copied == 0
    assert (await synced.run(policy=attrs.evolve(BY_SIZE_TIME, transforms=(GZIP, COPIED)))).copied == 5
    assert (await synced.run(policy=BY_SIZE_TIME)).copied == 5
    assert (await synced.run(policy=gzip)).copied == 5


async def test_new_mode_alone_is_set(autojump_clock: MockClock) -> None:
    it = Mirror(
        source=MemoryEndpoint("source", modes=True), target=MemoryEndpoint("target", modes=True), wall_ns=lambda: NOW
    )
    it.source.write("x", b"x", LONG_AGO)
    await it.run(policy=BY_SIZE_TIME)
    node = it.source.find("x")
    assert isinstance(node, File)
    node.mode = 0o755
    node.ctime_ns += SECOND
    report = await it.run(policy=BY_SIZE_TIME)
    assert (report.copied, report.modes_set) == (0, 1)


def copy_tree(source: Path) -> None:
    copy = source.with_name("copy")
    shutil.copytree(source, copy)
    shutil.rmtree(source)
    copy.rename(source)


def snapshot(source: Path) -> None:
    subprocess.run(["cp", "-al", source, source.with_name("snapshot")], check=True)


def unpack(source: Path) -> None:
    archive = source.with_name("archive.tar")
    subprocess.run(["tar", "-cf", archive, "--format=ustar", "-C", source, "."], check=True)
    shutil.rmtree(source)
    source.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", source], check=True)


@pytest.mark.parametrize("change", [copy_tree, snapshot, unpack])
async def test_tree_with_other_inodes_or_ctimes_costs_nothing(change: Callable[[Path], None], tmp_path: Path) -> None:
    source, root = tmp_path / "source", tmp_path / "target"
    root.mkdir()
    for number in range(20):
        path = source / f"{number % 3}" / f"{number}"
        write(path, b"%02d " % number * 100)
        os.utime(path, ns=(LONG_AGO, LONG_AGO + number * 1_000_003))
    target, journal = LocalEndpoint(root), tmp_path / "journal"
    before = await mirror(source, target, journal, settled=True, by_size_time=True)
    assert before.report.copied == 20
    change(source)
    after = await mirror(source, target, journal, settled=True, by_size_time=True)
    assert (after.report.exit_code, after.report.copied, after.report.removed) == (0, 0, 0)
    write(source / "1" / "1", b"a new one")
    changed = await mirror(source, target, journal, settled=True, by_size_time=True)
    assert changed.report.copied == 1
    assert contents(root) == contents(source)
