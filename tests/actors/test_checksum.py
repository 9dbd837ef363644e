"""``compare = "checksum"``: a file that was only touched is read, and not sent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs
import pytest
from trio.testing import MockClock

from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.memory.tree import File
from actorsync.errors import OperationRefused
from actorsync.model.event import Confirmed
from actorsync.testing import EmbeddedFtpServer
from tests.support.mirror import contents, mirror
from tests.support.scenarios import write
from tests.support.servers import ftp as ftp_servers
from tests.support.servers import ssh_servers
from tests.support.servers.ssh_target import endpoint_for as sftp_endpoint_for
from tests.support.world.memory_mirror import ONE, Mirror

SECOND = 10**9
LONG_AGO = 1_700_000_000 * SECOND
NOW = 1_800_000_000 * SECOND
BY_CONTENT = attrs.evolve(ONE, by_content=True)


@pytest.fixture
def synced() -> Mirror:
    """A mirror of files that were written long ago."""
    clock = iter(range(LONG_AGO, NOW, 1_000_003))
    it = Mirror(source=MemoryEndpoint("source", now=clock.__next__), wall_ns=lambda: NOW)
    for number in range(5):
        it.source.write(f"d/{number}", b"%d" % number * 9)
    return it


def touch(mirror: Mirror, path: str, data: bytes | None = None, mtime_ns: int | None = None) -> None:
    """Set another time of a file, and another content if one is given."""
    node = mirror.source.find(path)
    assert isinstance(node, File)
    node.data = node.data if data is None else data
    mirror.source.touch(node, mtime_ns)


async def copied(mirror: Mirror, policy: Any = BY_CONTENT) -> int:
    report = await mirror.run(policy=policy)
    assert report.exit_code == 0
    assert mirror.target.files() == mirror.source.files()
    return report.copied


def checksum_of(mirror: Mirror, path: str) -> bytes | None:
    record = mirror.journal.record(path)
    assert record is not None
    return record.checksum


async def test_touched_file_is_confirmed(synced: Mirror, autojump_clock: MockClock) -> None:
    assert await copied(synced) == 5
    for number in range(5):
        touch(synced, f"d/{number}")
    before = len(synced.target.log)
    assert await copied(synced) == 0
    assert len(synced.seen(Confirmed)) == 5
    assert len(synced.target.log) == before
    assert await copied(synced) == 0
    assert synced.seen(Confirmed) == [], "the new times are known now"


async def test_a_tree_that_was_checked_out_anew(synced: Mirror, autojump_clock: MockClock) -> None:
    await copied(synced)
    for path, data in list(synced.source.files().items()):
        synced.source.delete(path)
        synced.source.write(path, data)
    synced.source.write("d/2", b"222222223")
    assert await copied(synced) == 1
    assert len(synced.seen(Confirmed)) == 4


@pytest.mark.parametrize("data", [b"!!!!!!!!!", b"longer than before"])
async def test_changed_file_is_sent(synced: Mirror, data: bytes, autojump_clock: MockClock) -> None:
    await copied(synced)
    touch(synced, "d/1", data)
    assert await copied(synced) == 1
    touch(synced, "d/1")
    assert await copied(synced) == 0, "the new content is known"


async def test_touched_file_is_sent_when_only_times_count(synced: Mirror, autojump_clock: MockClock) -> None:
    await copied(synced)
    touch(synced, "d/1")
    assert await copied(synced, ONE) == 1
    assert checksum_of(synced, "d/1") is None, "what was sent now has none, and the old one may not stay"
    assert checksum_of(synced, "d/2") is not None


async def test_the_key_can_be_turned_on_and_off(synced: Mirror, autojump_clock: MockClock) -> None:
    assert await copied(synced, ONE) == 5
    assert await copied(synced) == 0
    touch(synced, "d/0")
    assert await copied(synced) == 1, "nothing was known of it"
    touch(synced, "d/0")
    assert await copied(synced) == 0
    touch(synced, "d/0", b"!" * 9)
    assert await copied(synced, ONE) == 1
    touch(synced, "d/0", b"?" * 9)
    assert await copied(synced) == 1
    touch(synced, "d/0")
    assert await copied(synced) == 0


@pytest.mark.parametrize("is_changed", [False, True])
async def test_racy_files_are_compared(synced: Mirror, is_changed: bool, autojump_clock: MockClock) -> None:
    synced.wall_ns = lambda: LONG_AGO + SECOND
    await copied(synced)
    record = synced.journal.record("d/0")
    assert record is not None
    assert record.digest is not None
    assert record.digest == record.checksum
    node = synced.source.find("d/0")
    assert isinstance(node, File)
    if is_changed:
        node.data = b"!" * 9  # in the same tick: its times are the same
    assert await copied(synced) == is_changed
    assert len(synced.seen(Confirmed)) == 5 - is_changed
    synced.wall_ns = lambda: NOW
    assert await copied(synced) == 0
    record = synced.journal.record("d/0")
    assert record is not None
    assert (record.digest, record.checksum is not None) == (None, True)


async def test_file_touched_just_now_is_compared_again_in_the_next_run(
    synced: Mirror, autojump_clock: MockClock
) -> None:
    await copied(synced)
    touch(synced, "d/0")
    node = synced.source.find("d/0")
    assert isinstance(node, File)
    synced.wall_ns = lambda: node.ctime_ns + SECOND
    assert await copied(synced) == 0
    node.data = b"!" * 9
    assert await copied(synced) == 1


async def test_a_young_file_that_was_sent_by_times_is_known_by_its_digest(
    synced: Mirror, autojump_clock: MockClock
) -> None:
    synced.wall_ns = lambda: LONG_AGO + SECOND
    await copied(synced, ONE)
    touch(synced, "d/0")
    assert await copied(synced) == 0


async def test_unreadable_file_fails(synced: Mirror, autojump_clock: MockClock) -> None:
    await copied(synced)
    touch(synced, "d/0")
    synced.source.trouble = {"d/0": OperationRefused("Permission denied")}
    report = await synced.run(policy=BY_CONTENT)
    assert dict(report.failures) == {"d/0": "Permission denied"}


async def test_a_renamed_file_with_an_old_time_is_known_by_its_checksum(
    synced: Mirror, autojump_clock: MockClock
) -> None:
    synced.source.write("app.1.js", b"version 1", LONG_AGO)
    await copied(synced)
    node = synced.source.take("app.1.js")
    synced.source.put("app.2.js", node)
    synced.source.touch(node, LONG_AGO)
    report = await synced.run(policy=BY_CONTENT)
    assert (report.moved, report.copied) == (1, 0)
    assert checksum_of(synced, "app.2.js") is not None
    assert isinstance(node, File)
    node.data = b"version 3"
    synced.source.take("app.2.js")
    synced.source.put("app.3.js", node)
    synced.source.touch(node, LONG_AGO)
    report = await synced.run(policy=BY_CONTENT)
    assert (report.moved, report.copied, report.removed) == (0, 1, 1)
    assert synced.target.files() == synced.source.files()


async def touch_a_hundred(source: Path, root: Path, endpoint: Any, journal: Path) -> None:
    for number in range(100):
        write(source / f"{number % 5}" / f"{number}", b"%d " % number * 100)
    before = await mirror(source, endpoint, journal, settled=True, by_content=True)
    assert before.report.copied == 100
    for number in range(100):
        os.utime(source / f"{number % 5}" / f"{number}")
    touched = await mirror(source, endpoint, journal, by_content=True)
    assert (touched.report.exit_code, touched.report.copied) == (0, 0)
    assert len(touched.of(Confirmed)) == 100
    write(source / "3" / "13", b"31 " * 100)
    changed = await mirror(source, endpoint, journal, settled=True, by_content=True)
    assert (changed.report.exit_code, changed.report.copied) == (0, 1)
    assert contents(root) == contents(source)


async def test_a_touched_tree_costs_no_data_over_ftp(embedded: EmbeddedFtpServer, tmp_path: Path) -> None:
    endpoint = ftp_servers.endpoint_for(embedded)
    await touch_a_hundred(tmp_path / "source", embedded.root, endpoint, tmp_path / "journal")
    assert [command.verb for command in embedded.commands].count("STOR") == 101


async def test_a_touched_tree_costs_no_data_over_sftp(server_folder: Path, tmp_path: Path) -> None:
    root = server_folder / "root"
    root.mkdir()
    with ssh_servers.embedded_server(root, server_folder) as (server, target):
        await touch_a_hundred(tmp_path / "source", root, sftp_endpoint_for(target), tmp_path / "journal")
        assert [command.verb for command in server.commands].count("CREATE") == 101
