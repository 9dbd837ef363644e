"""``compare = "checksum"`` and a target that the journal does not know: contents decide what is adopted."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.abc
from trio.testing import MockClock

from actorsync.actors.pipeline import Change, Pipeline, operation_stage
from actorsync.cli.output.progress import progress_text
from actorsync.endpoints.content_hash import ContentHash
from actorsync.endpoints.contract import Endpoint, Session
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.memory.tree import File
from actorsync.endpoints.wrappers.bandwidth import Bandwidth
from actorsync.endpoints.wrappers.base import EndpointWrapper, SessionWrapper
from actorsync.endpoints.wrappers.dry_run import DryRun
from actorsync.endpoints.wrappers.transform import Transform
from actorsync.errors import ConnectionLost, OperationRefused, StageFailed
from actorsync.journal import open_memory_journal
from actorsync.model.entry import Entry
from actorsync.model.event import Event, SurveyComplete
from actorsync.model.operation import Compare, Copy, Done, Failed, SetMode, Skipped
from actorsync.model.report import Report
from actorsync.policy import Policy
from actorsync.testing import EmbeddedFtpServer, Faulty
from actorsync.transforms import gzip_stream
from tests.support.mirror import contents, mirror
from tests.support.scenarios import write
from tests.support.servers import debian_servers, ssh_servers
from tests.support.servers import ftp as ftp_servers
from tests.support.servers.ssh_target import endpoint_for as sftp_endpoint_for
from tests.support.world.memory_mirror import ONE, Mirror
from tests.support.world.simulation import Story, simulate
from tests.support.world.world import Weather

SECOND = 10**9
LONG_AGO = 1_700_000_000 * SECOND
NOW = 1_800_000_000 * SECOND
BY_CONTENT = attrs.evolve(ONE, by_content=True)
FILES = 6


@pytest.fixture(params=["one lane", "five lanes", "local"])
def lost(request: pytest.FixtureRequest) -> Mirror:
    """A target with the files of a build that gives every file one time, and a journal that was lost.

    One file, ``d/1``, is another version of the same size.
    """
    lanes = 5 if request.param == "five lanes" else 1
    target = MemoryEndpoint("target", inodes=False, lanes=lanes, is_remote=request.param != "local")
    it = Mirror(target=target, wall_ns=lambda: NOW)
    for number in range(FILES):
        it.source.write(f"d/{number}", b"%d" % number * 9, LONG_AGO)
        it.target.write(f"d/{number}", b"%d" % number * 9, LONG_AGO)
    settle_times(it)
    it.target.write("d/1", b"an old on", LONG_AGO)
    return it


def file_of(tree: MemoryEndpoint, path: str) -> File:
    node = tree.find(path)
    assert isinstance(node, File)
    return node


def settle_times(it: Mirror) -> None:
    """No file of the source was changed just now."""
    for path in it.source.files():
        file_of(it.source, path).ctime_ns = LONG_AGO


def compared(it: Mirror) -> dict[str, str]:
    """Return the outcome of each comparison."""
    outcomes = [event for event in it.events if isinstance(event, Done | Skipped | Failed)]
    return {one.operation.path: type(one).__name__ for one in outcomes if isinstance(one.operation, Compare)}


EXPECTED = {f"d/{number}": "Skipped" if number == 1 else "Done" for number in range(FILES)}


async def test_lost_journal_same_size_and_time_other_content_is_sent(lost: Mirror, autojump_clock: MockClock) -> None:
    report = await lost.run(policy=BY_CONTENT)
    assert compared(lost) == EXPECTED
    assert (report.exit_code, report.copied, report.adopted, report.skipped) == (0, 1, FILES - 1, 0)
    assert lost.target.files() == lost.source.files()
    lost.check_nothing_left()
    again = await lost.run(policy=BY_CONTENT)
    assert (again.copied, again.adopted) == (0, 0)
    assert compared(lost) == {}


async def test_adopted_file_has_the_checksum_of_its_content(lost: Mirror, autojump_clock: MockClock) -> None:
    await lost.run(policy=BY_CONTENT)
    lost.source.touch(file_of(lost.source, "d/2"))
    report = await lost.run(policy=BY_CONTENT)
    assert report.copied == 0, "it is known by its content, and only its time has changed"


async def test_times_adopt_on_size_and_time_and_read_nothing(lost: Mirror, autojump_clock: MockClock) -> None:
    report = await lost.run(policy=ONE)
    assert (report.copied, report.adopted) == (0, FILES)
    assert compared(lost) == {}


async def test_file_that_others_put_there_later_is_compared(autojump_clock: MockClock) -> None:
    it = Mirror(wall_ns=lambda: NOW)
    for path in ("kept", "theirs"):
        it.target.write(path, b"version 1", LONG_AGO)
    it.source.write("first", b"version 1", LONG_AGO)
    await it.run(policy=BY_CONTENT)
    it.source.write("kept", b"version 1", LONG_AGO)
    it.source.write("theirs", b"version 2", LONG_AGO)
    report = await it.run(policy=BY_CONTENT)
    assert (report.copied, report.adopted) == (1, 1)
    assert it.target.files() == it.source.files()


@pytest.mark.parametrize("is_remote", [False, True])
async def test_file_with_another_time_is_read_where_reading_is_cheap(
    is_remote: bool, autojump_clock: MockClock
) -> None:
    it = Mirror(target=MemoryEndpoint("target", inodes=False, is_remote=is_remote), wall_ns=lambda: NOW)
    it.source.write("x", b"version 1", LONG_AGO)
    it.target.write("x", b"version 1", LONG_AGO - SECOND)
    report = await it.run(policy=BY_CONTENT)
    assert (report.copied, report.adopted) == ((1, 0) if is_remote else (0, 1))


async def test_file_of_another_size_is_not_compared(autojump_clock: MockClock) -> None:
    it = Mirror(wall_ns=lambda: NOW)
    it.source.write("x", b"version 10", LONG_AGO)
    it.target.write("x", b"version 1", LONG_AGO)
    assert (await it.run(policy=BY_CONTENT)).copied == 1
    assert compared(it) == {}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 2 * FILES, 3))
async def test_connection_lost_during_comparisons_goes_on_over_the_next(
    lost: Mirror, number: int, when: str, autojump_clock: MockClock
) -> None:
    calls: Counter[str] = Counter()

    def decide(verb: str, moment: str) -> None:
        if verb == "read" and moment == when:
            calls[verb] += 1
            if calls[verb] == number:
                raise ConnectionLost("reset by the peer")

    report = await lost.run(Faulty(lost.target, decide), policy=BY_CONTENT)
    assert (report.exit_code, report.copied, report.adopted) == (0, 1, FILES - 1)
    assert lost.target.files() == lost.source.files()
    lost.check_one_outcome_each()


async def test_file_that_ends_every_connection_when_it_is_read_is_sent(autojump_clock: MockClock) -> None:
    it = Mirror(target=MemoryEndpoint("target", inodes=False, is_remote=True), wall_ns=lambda: NOW)
    it.source.write("x", b"version 1", LONG_AGO)
    it.target.write("x", b"version 1", LONG_AGO)
    it.target.trouble = {"x": ConnectionLost("reset by the peer")}

    def observe(event: Event) -> None:
        if isinstance(event, Skipped):
            it.target.trouble = {}

    report = await it.run(policy=BY_CONTENT, observe=observe)
    assert (report.exit_code, report.copied, report.failed) == (0, 1, 0)


async def test_file_that_cannot_be_read_on_the_target_is_sent(autojump_clock: MockClock) -> None:
    it = Mirror(wall_ns=lambda: NOW)
    it.source.write("x", b"version 1", LONG_AGO)
    it.target.write("x", b"version 1", LONG_AGO)

    def decide(verb: str, moment: str) -> None:
        if verb == "open":
            raise OperationRefused("550 Permission denied")

    report = await it.run(Faulty(it.target, decide), policy=BY_CONTENT)
    assert (report.exit_code, report.copied, report.adopted, report.skipped) == (0, 1, 0, 0)


async def test_file_that_changes_while_it_is_compared_is_sent(autojump_clock: MockClock) -> None:
    it = Mirror(wall_ns=lambda: NOW)
    it.source.write("x", b"version 1", LONG_AGO)
    it.target.write("x", b"version 1", LONG_AGO)

    def decide(verb: str, moment: str) -> None:
        node = file_of(it.source, "x")
        if verb == "read" and moment == "after" and node.data == b"version 1":
            node.data = b"version 2"
            it.source.touch(node)

    report = await it.run(Faulty(it.target, decide), policy=BY_CONTENT)
    assert (report.exit_code, report.copied) == (0, 1)
    assert it.target.files() == it.source.files()


async def test_drain_stops_comparisons_and_the_next_run_makes_them(lost: Mirror, autojump_clock: MockClock) -> None:
    def observe(event: Event) -> None:
        if isinstance(event, SurveyComplete):
            lost.shutdown.draining.set()

    stopped = await lost.run(policy=BY_CONTENT, observe=observe)
    assert stopped.exit_code == 3
    assert stopped.adopted + stopped.copied + stopped.left == FILES
    assert stopped.left
    lost.shutdown = type(lost.shutdown)()
    report = await lost.run(policy=BY_CONTENT)
    assert (report.exit_code, stopped.adopted + report.adopted) == (0, FILES - 1)
    assert lost.target.files() == lost.source.files()


async def test_run_that_is_cancelled_during_comparisons_adopts_nothing_unread(
    lost: Mirror, autojump_clock: MockClock
) -> None:
    class Killed(Exception):
        pass

    def observe(event: Event) -> None:
        if isinstance(event, Done) and isinstance(event.operation, Compare):
            raise Killed

    with pytest.raises(StageFailed, match="raised Killed"):
        await lost.run(policy=BY_CONTENT, observe=observe)
    report = await lost.run(policy=BY_CONTENT)
    assert (report.exit_code, report.copied) == (0, 1)
    assert lost.target.files() == lost.source.files()


async def test_file_of_a_run_that_died_before_it_sent_is_not_taken_for_sent(autojump_clock: MockClock) -> None:
    """The temporary is gone, and the final name has the size and time of the file: of the version before."""
    it = Mirror(source=MemoryEndpoint("source", inodes=False), wall_ns=lambda: NOW)
    it.source.write("x", b"version 2", LONG_AGO)
    it.target.write("x", b"version 1", LONG_AGO)

    class Killed(Exception):
        pass

    def decide(verb: str, moment: str) -> None:
        if verb == "stage":
            raise Killed

    with pytest.raises((Killed, BaseExceptionGroup)):
        await it.run(Faulty(it.target, decide), policy=BY_CONTENT)
    report = await it.run(policy=BY_CONTENT)
    assert report.exit_code == 0
    assert it.target.files() == it.source.files()


async def test_progress_counts_comparisons(lost: Mirror, autojump_clock: MockClock) -> None:
    await lost.run(policy=BY_CONTENT)
    levels = lost.statistics
    assert (levels.comparisons_done, levels.comparisons_planned) == (FILES, FILES)
    assert f"{FILES} of {FILES} compared" in progress_text(levels, None)


@pytest.mark.parametrize("has_fault", [False, True])
async def test_pulled_tree_is_compared_with_what_the_server_has(has_fault: bool, autojump_clock: MockClock) -> None:
    it = Mirror(source=MemoryEndpoint("source", inodes=False, lanes=5, is_remote=True), wall_ns=lambda: NOW)
    for number in range(FILES):
        it.source.write(f"d/{number}", b"%d" % number * 9, LONG_AGO)
        it.target.write(f"d/{number}", b"%d" % number * 9, LONG_AGO)
    it.target.write("d/1", b"an old on", LONG_AGO)
    calls: Counter[str] = Counter()

    def decide(verb: str, moment: str) -> None:
        calls[verb] += moment == "before"
        if has_fault and verb == "read" and moment == "before" and calls[verb] in {2, 5}:
            raise ConnectionLost("reset by the peer")

    report = await it.run(source=Faulty(it.source, decide), policy=BY_CONTENT)
    assert (report.exit_code, report.copied, report.adopted) == (0, 1, FILES - 1)
    assert it.target.files() == it.source.files()


@pytest.mark.parametrize("is_changed", [False, True])
async def test_transformed_content_is_compared_as_it_would_be_sent(is_changed: bool, autojump_clock: MockClock) -> None:
    policy = attrs.evolve(BY_CONTENT, transforms=(Transform("gzip", lambda path: True, gzip_stream),))
    it = Mirror(wall_ns=lambda: NOW)
    for path in ("a", "b"):
        it.source.write(path, path.encode() * 5_000, LONG_AGO)
    assert (await it.run(policy=policy)).copied == 2
    it.journal = open_memory_journal()
    if is_changed:
        it.source.write("a", b"c" * 5_000, LONG_AGO)
    report = await it.run(policy=policy)
    assert (report.exit_code, report.copied, report.adopted) == (0, int(is_changed), 2 - is_changed)
    assert (await it.run(policy=policy)).copied == 0


async def test_mode_of_an_equal_file_is_set(autojump_clock: MockClock) -> None:
    it = Mirror(
        source=MemoryEndpoint("source", modes=True), target=MemoryEndpoint("target", modes=True), wall_ns=lambda: NOW
    )
    for tree, mode in ((it.source, 0o640), (it.target, 0o644)):
        tree.write("x", b"version 1", LONG_AGO)
        file_of(tree, "x").mode = mode
    settle_times(it)
    report = await it.run(policy=BY_CONTENT)
    assert (report.copied, report.adopted, report.modes_set) == (0, 1, 1)
    assert file_of(it.target, "x").mode == 0o640
    record = it.journal.record("x")
    assert record is not None
    assert record.source is not None
    assert (record.source.mode, record.checksum is not None) == (0o640, True)
    assert (await it.run(policy=BY_CONTENT)).modes_set == 0


async def test_run_that_dies_between_comparison_and_mode_sets_the_mode_in_the_next(autojump_clock: MockClock) -> None:
    it = Mirror(
        source=MemoryEndpoint("source", modes=True), target=MemoryEndpoint("target", modes=True), wall_ns=lambda: NOW
    )
    for tree, mode in ((it.source, 0o640), (it.target, 0o644)):
        tree.write("x", b"version 1", LONG_AGO)
        file_of(tree, "x").mode = mode
    settle_times(it)

    def decide(verb: str, moment: str) -> None:
        if verb == "set_modes":
            raise OperationRefused("550 not now")

    await it.run(Faulty(it.target, decide), policy=BY_CONTENT)
    report = await it.run(policy=BY_CONTENT)
    assert report.modes_set == 1


async def test_stages_see_the_copy_of_a_file_that_differs_and_no_comparison(
    lost: Mirror, autojump_clock: MockClock
) -> None:
    seen: list[Change] = []

    @operation_stage
    async def collect(receive: trio.abc.ReceiveChannel[Change], send: trio.abc.SendChannel[Change | Failed]) -> None:
        seen.extend([operation async for operation in receive])
        for operation in seen:
            await send.send(operation)

    report = await lost.run(policy=BY_CONTENT, pipeline=Pipeline((collect,)))
    assert (report.exit_code, report.copied) == (0, 1)
    assert [(type(it), it.path) for it in seen if it.path == "d/1"] == [(Copy, "d/1")]
    assert not [it for it in seen if not isinstance(it, Copy | SetMode)]


async def test_plan_compares_and_shows_the_file_that_differs(lost: Mirror, autojump_clock: MockClock) -> None:
    before = lost.target.files()
    report = await lost.run(DryRun(lost.target), policy=BY_CONTENT)
    assert (report.copied, report.adopted) == (1, FILES - 1)
    assert lost.target.files() == before


async def test_reading_back_waits_for_the_bandwidth_limit(autojump_clock: MockClock) -> None:
    it = Mirror(target=MemoryEndpoint("target", inodes=False, is_remote=True), wall_ns=lambda: NOW)
    it.source.write("x", b"x" * 100_000, LONG_AGO)
    it.target.write("x", b"x" * 100_000, LONG_AGO)
    began = trio.current_time()
    report = await it.run(policy=attrs.evolve(BY_CONTENT, bandwidth=Bandwidth(10_000)))
    assert report.adopted == 1
    assert trio.current_time() - began >= 9.0


async def compare_a_build(source: Path, root: Path, endpoint: Any) -> None:
    """A build gives every file one time, its journal is lost, and one page has changed."""
    for number in range(30):
        write(source / f"{number % 3}" / f"{number}", b"%02d " % number * 100)
    write(source / "big", os.urandom(3_000_000))
    before = await mirror(source, endpoint, None, settled=True, by_content=True)
    assert before.report.copied == 31
    for path in (source / "1" / "13", source / "big"):
        status = path.stat()
        data = path.read_bytes()
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = await mirror(source, endpoint, None, settled=True, by_content=True)
    assert (after.report.exit_code, after.report.copied, after.report.adopted) == (0, 2, 29)
    assert after.report.reconnects == 0
    assert contents(root) == contents(source)


async def test_contents_are_read_back_over_ftp(embedded: EmbeddedFtpServer, tmp_path: Path) -> None:
    await compare_a_build(tmp_path / "source", embedded.root, ftp_servers.endpoint_for(embedded))
    assert [command.verb for command in embedded.commands].count("RETR") == 31


async def test_contents_are_read_back_over_sftp(server_folder: Path, tmp_path: Path) -> None:
    root = server_folder / "root"
    root.mkdir()
    with ssh_servers.embedded_server(root, server_folder) as (_, target):
        await compare_a_build(tmp_path / "source", root, sftp_endpoint_for(target))


async def test_contents_are_compared_in_a_local_directory(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    await compare_a_build(tmp_path / "source", tmp_path / "target", LocalEndpoint(tmp_path / "target"))


class Hashing(EndpointWrapper[Endpoint]):
    """A target whose server computes hashes; of the paths in ``unknown`` it returns none."""

    unknown: frozenset[str] = frozenset()

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Session]:
        async with self.real.open_session() as session:
            yield _HashingSession(session, self.unknown)


class _HashingSession(SessionWrapper):
    def __init__(self, real: Session, unknown: frozenset[str]) -> None:
        super().__init__(real)
        self._unknown = unknown

    async def hash_files(self, entries: Sequence[Entry]) -> list[ContentHash | None]:
        found: list[ContentHash | None] = []
        for entry in entries:
            async with self._real.open(entry.path) as content:
                digest = hashlib.sha256(await content.read(1 << 20)).digest()
            found.append(None if entry.path in self._unknown else ContentHash("sha256", digest))
        return found


@pytest.mark.parametrize("is_dry", [False, True])
async def test_hash_of_the_server_decides_without_reading_back(is_dry: bool, autojump_clock: MockClock) -> None:
    it = Mirror(target=MemoryEndpoint("target", inodes=False, lanes=1, is_remote=True), wall_ns=lambda: NOW)
    for number in range(FILES):
        it.source.write(f"d/{number}", b"%d" % number * 9, LONG_AGO)
        it.target.write(f"d/{number}", b"%d" % number * 9, LONG_AGO - SECOND)
    it.target.write("d/1", b"an old on", LONG_AGO)
    settle_times(it)
    target = Hashing(it.target)
    target.unknown = frozenset({"d/2"})
    report = await it.run(DryRun(target) if is_dry else target, policy=BY_CONTENT)
    assert compared(it) == {**EXPECTED, "d/2": "Skipped"}
    assert (report.copied, report.adopted) == (2, FILES - 2), "without a hash, a file with another time is sent"


class Forgetful(Story):
    """A mirror by content whose journal is often lost, and a source whose files all have one time.

    ``adopted`` and ``different`` count what comparisons have found.
    """

    adopted = 0
    different = 0

    async def run(self, weather: Weather) -> Report | None:
        report = await super().run(weather)
        outcomes = [it for it in self.oracle.events if isinstance(it, Done | Skipped)]
        self.adopted += sum(isinstance(it, Done) and isinstance(it.operation, Compare) for it in outcomes)
        self.different += sum(isinstance(it, Skipped) and isinstance(it.operation, Compare) for it in outcomes)
        return report

    def _any_policy(self) -> Policy:
        return attrs.evolve(super()._any_policy(), by_content=True)

    def _any_time(self) -> int | None:
        return 1_700_000_000 * SECOND

    def _between_runs(self) -> None:
        super()._between_runs()
        if self.rng.random() < 0.5:
            self.lose_journal()


def test_lost_journals_adopt_nothing_of_another_content() -> None:
    stories = [Forgetful(seed) for seed in range(40)]
    for story in stories:
        simulate(story)
    assert sum(story.adopted for story in stories)
    assert sum(story.different for story in stories)


@pytest.mark.parametrize("name", ["proftpd"])
async def test_hashes_of_a_real_server_decide(name: debian_servers.Name, server_folder: Path, tmp_path: Path) -> None:
    root, folder = server_folder / "root", server_folder / "server"
    root.mkdir()
    folder.mkdir()
    options = debian_servers.Options(has_hashes=True)
    with debian_servers.debian_server(name, root, folder, options) as server:
        await compare_a_build(tmp_path / "source", root, ftp_servers.endpoint_for(server.target))
        verbs = [line.partition(" ")[0] for line in server.command_log() or ()]
        assert (verbs.count("HASH"), verbs.count("RETR")) == (31, 0)
