"""A rename in the source is a rename on the server: what counts as one, what does not, and what follows a refusal."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.shutdown import Shutdown
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.memory.tree import File
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.entry import Entry, Kind, Record
from actorsync.model.event import Confirmed, Event, MovesIntended, Planned, RemovalsRefused
from actorsync.model.operation import Done, Failed, MakeDirectory, Move, Remove, Skipped
from actorsync.planning.reconcile import Action, Decision
from actorsync.planning.renames import candidates, has_to_be_read, may_be, pair
from actorsync.planning.schedule import BATCH, Schedule
from actorsync.profile.values.units import MaxDelete
from actorsync.testing import EmbeddedFtpServer
from actorsync.testing.faulty_endpoint import Faulty, When
from tests.support import FtpTarget
from tests.support.mirror import Run, contents, mirror, times
from tests.support.scenarios import write
from tests.support.servers import ftp as ftp_servers
from tests.support.servers import ssh_servers
from tests.support.servers.ssh_target import SshTarget
from tests.support.servers.ssh_target import endpoint_for as sftp_endpoint_for
from tests.support.world.memory_mirror import ONE, Mirror

SECOND = 10**9
LONG_AGO = 1_700_000_000 * SECOND
NOW = 1_800_000_000 * SECOND

FILES = 1_000


# What is a rename.


def file(path: str, inode: int = 7, mtime_ns: int = LONG_AGO + 5, ctime_ns: int = LONG_AGO + 9, size: int = 3) -> Entry:
    return Entry(path, Kind.FILE, size, mtime_ns, ctime_ns, inode)


def was(path: str = "old", **more: Any) -> Record:
    digests = {name: more.pop(name) for name in ("digest", "checksum") if name in more}
    return Record(file(path, **more), Entry(path, Kind.FILE, 3, LONG_AGO), **digests)


def new(entry: Entry) -> Decision:
    return Decision(Action.COPY, entry, None)


def test_only_new_files_with_an_inode_are_candidates() -> None:
    mine = was("mine")
    decisions = [
        new(file("new")),
        new(attrs.evolve(file("remote"), inode=None)),
        Decision(Action.MAKE, Entry("folder", Kind.DIRECTORY, 0, 1, 1, 8), None),
        Decision(Action.COPY, file("mine"), mine),
        Decision(Action.COPY, file("broken off"), Record(file("broken off"), file("broken off"), b"")),
        Decision(Action.COPY, file("doomed", inode=8), Record(file("doomed"), file("doomed"), b"")),
        Decision(Action.REMOVE, None, mine),
    ]
    assert [entry.path for entry in candidates(decisions)] == ["new", "broken off"]


@pytest.mark.parametrize("change", [{"inode": 8}, {"size": 4}, {"mtime_ns": LONG_AGO}], ids=str)
def test_different_inode_size_or_time_is_no_rename(change: dict[str, int]) -> None:
    decision = new(file("new", **change))
    assert list(pair([decision], {"old": was()}, set())) == [(decision, None)]


def test_each_old_file_is_moved_once_and_each_new_name_used_once() -> None:
    two = [new(file("a")), new(file("b"))]
    assert list(pair(two, {"old": was()}, set())) == [(two[0], was()), (two[1], None)]
    olds = {path: was(path) for path in ("x", "y")}
    assert list(pair(two[:1], olds, set())) == [(two[0], olds["x"])]
    doomed = attrs.evolve(olds["x"], digest=b"")
    assert list(pair(two[:1], {"x": doomed, "y": olds["y"]}, set())) == [(two[0], olds["y"])], "that one is there"


def test_file_that_waits_for_a_removal_is_not_moved() -> None:
    decision = new(file("f/f"))
    assert list(pair([decision], {"old": was()}, {"f"})) == [(decision, None)]


@pytest.mark.parametrize(
    ("change", "record", "is_possible", "is_read"),
    [
        ({}, was(), True, False),  # a directory above it was renamed
        ({"ctime_ns": LONG_AGO + 99}, was(), True, False),  # it was renamed itself
        ({"mtime_ns": LONG_AGO}, was(mtime_ns=LONG_AGO), True, False),
        ({"mtime_ns": LONG_AGO, "ctime_ns": LONG_AGO + 99}, was(mtime_ns=LONG_AGO), False, False),  # an archive's time
        ({"mtime_ns": LONG_AGO, "ctime_ns": LONG_AGO + 99}, was(mtime_ns=LONG_AGO, checksum=b"x"), True, True),
        ({}, was(checksum=b"x"), True, False),
        ({"ctime_ns": LONG_AGO + 99}, was(checksum=b"x"), True, True),
        ({}, was(digest=b"x"), True, True),  # it was young when it was sent
        ({}, was(digest=b"", checksum=b"x"), True, True),  # and a run that was killed has forgotten that
        ({"ctime_ns": NOW - SECOND}, was(), True, True),  # it is young now
    ],
)
def test_what_proves_a_rename(change: dict[str, int], record: Record, is_possible: bool, is_read: bool) -> None:
    now = file("new", **change)
    assert may_be(now, record, "old") is is_possible
    assert has_to_be_read(now, record, NOW) is is_read


def test_a_file_that_was_written_in_a_folder_that_was_renamed_is_in_doubt() -> None:
    written = file("new/name", ctime_ns=LONG_AGO + 99)
    assert not may_be(written, was("old/name"), "old")
    assert may_be(written, was("old/other name"), "old"), "it was renamed itself"
    assert may_be(written, was("old/name"), "old/name"), "the folder is still there, and so it was moved itself"
    assert may_be(written, was("old/name", checksum=b"x"), "old"), "its content will tell"
    assert may_be(file("new/name"), was("old/name"), "old")


# In what order.


def test_moves_wait_for_their_directory_and_go_in_batches() -> None:
    schedule = Schedule()
    moves = [Move(file(f"d/{n}"), Entry(f"old/{n}", Kind.FILE, 3)) for n in range(BATCH + 1)]
    for move in moves:
        schedule.add(Remove(move.target))
    schedule.add(Remove(Entry("old", Kind.DIRECTORY)))
    schedule.add(MakeDirectory(Entry("d", Kind.DIRECTORY)))
    assert schedule.move(moves) == []
    assert [removal.path for removal in schedule.removals] == ["old"]
    made = schedule.next_batch()
    assert made == (MakeDirectory(Entry("d", Kind.DIRECTORY)),)
    assert schedule.next_batch() is None
    schedule.settle(Done(made[0]))
    assert [schedule.next_batch(), schedule.next_batch()] == [tuple(moves[:BATCH]), tuple(moves[BATCH:])]
    assert not schedule.is_idle
    for move in moves:
        schedule.settle(Done(move))
    schedule.release_removals()
    assert schedule.next_batch() == (Remove(Entry("old", Kind.DIRECTORY)),)


def test_a_move_whose_directory_is_not_made_is_no_failure() -> None:
    schedule = Schedule()
    folder, move = MakeDirectory(Entry("d", Kind.DIRECTORY)), Move(file("d/f"), Entry("f", Kind.FILE, 3))
    schedule.add(folder)
    schedule.move([move])
    schedule.next_batch()
    assert [(type(outcome), outcome.operation) for outcome in schedule.settle(Failed(folder, "no"))] == [
        (Skipped, move)
    ]
    assert [type(outcome) for outcome in schedule.move([move])] == [Skipped]


# Whole runs, in memory.


@pytest.fixture
def synced() -> Mirror:
    """A mirror of a tree that was written long ago."""
    clock = iter(range(LONG_AGO, NOW, 1_000_003))
    source = MemoryEndpoint("source", now=clock.__next__)
    it = Mirror(source=source, wall_ns=lambda: NOW)
    for number in range(5):
        source.write(f"d/{number}", b"%d" % number * 9)
    source.write("d/e/deep", b"deep down")
    source.write("top", b"at the top")
    return it


def rename(mirror: Mirror, old: str, new: str) -> None:
    """Rename as a file system does: the time of the inode tells of it."""
    mirror.source.rename(old, new)
    node = mirror.source.find(new)
    assert node is not None
    mirror.source.touch(node, node.mtime_ns)


async def run(mirror: Mirror, *commands: str, **more: Any) -> Any:
    """Make a run that gives these commands; then the two sides are equal, and the next has nothing to do."""
    mirror.target.log.clear()
    report = await mirror.run(**more)
    assert report.exit_code == 0, report
    assert mirror.target.files() == mirror.source.files()
    assert mirror.target.directories() == mirror.source.directories()
    mirror.check_nothing_left()
    if commands:
        assert {verb for verb, _ in mirror.target.log} == set(commands), mirror.target.log
    log = len(mirror.target.log)
    assert (await mirror.run()).exit_code == 0
    assert mirror.target.log[log:] == []
    return report


async def test_a_folder_that_was_renamed_is_moved(synced: Mirror, autojump_clock: MockClock) -> None:
    await run(synced, "make", "stage", "commit")
    synced.source.rename("d", "c")
    report = await run(synced, "make", "move", "remove")
    assert (report.moved, report.copied, report.directories_made, report.removed) == (6, 0, 2, 2)


async def test_a_file_that_was_renamed_is_moved(synced: Mirror, autojump_clock: MockClock) -> None:
    await run(synced)
    rename(synced, "top", "d/e/was top")
    rename(synced, "d/0", "zero")
    report = await run(synced, "move")
    assert (report.moved, report.copied, report.removed) == (2, 0, 0)
    rename(synced, "zero", "d/0")
    assert (await run(synced, "move")).moved == 1


async def test_move_is_recorded_before_it_is_done(synced: Mirror, autojump_clock: MockClock) -> None:
    await run(synced)
    rename(synced, "top", "bottom")
    await synced.run()
    (planned,) = synced.seen(Planned)
    assert (planned.removals, planned.moves) == (0, 1)
    told = [event for event in synced.events if isinstance(event, MovesIntended | Done)]
    assert [type(event) for event in told] == [MovesIntended, Done]
    assert isinstance(told[1], Done) and isinstance(told[1].operation, Move)


async def test_without_delete_nothing_is_moved(synced: Mirror, autojump_clock: MockClock) -> None:
    await run(synced)
    rename(synced, "top", "bottom")
    report = await synced.run(policy=attrs.evolve(ONE, delete=False))
    assert (report.moved, report.copied) == (0, 1)
    assert {"top", "bottom"} <= synced.target.files().keys()


async def test_a_second_name_is_a_copy(synced: Mirror, autojump_clock: MockClock) -> None:
    await run(synced)
    synced.source.link("top", "top as well")
    report = await run(synced, "stage", "commit")
    assert report.moved == 0


async def test_nothing_is_moved_when_the_device_changed(synced: Mirror, autojump_clock: MockClock) -> None:
    await run(synced)
    synced.source.rename("d", "c")
    synced.source.device = 2
    report = await synced.run()
    assert (report.moved, report.copied) == (0, 6)


async def test_a_file_that_only_looks_renamed_is_sent(synced: Mirror, autojump_clock: MockClock) -> None:
    """A build gives all its files one time, and the next file the inode of the last: only the inode's time is new."""
    synced.source.write("app.1.js", b"version 1", LONG_AGO)
    await run(synced)
    node = synced.source.take("app.1.js")
    assert isinstance(node, File)
    synced.source.put("app.2.js", node)
    node.data = b"version 2"
    synced.source.touch(node, LONG_AGO)
    report = await run(synced, "stage", "commit", "remove")
    assert (report.moved, report.copied, report.removed) == (0, 1, 1)


@pytest.mark.parametrize("is_changed", [False, True])
async def test_a_young_file_is_read_before_it_is_moved(
    synced: Mirror, is_changed: bool, autojump_clock: MockClock
) -> None:
    synced.wall_ns = lambda: LONG_AGO + SECOND
    await synced.run()
    record = synced.journal.record("d/0")
    assert record is not None and record.digest is not None
    node = synced.source.find("d/0")
    assert isinstance(node, File)
    if is_changed:
        node.data = b"!" + node.data[1:]
    synced.source.rename("d", "c")
    report = await synced.run()
    assert (report.exit_code, report.moved, report.copied) == (0, 5 if is_changed else 6, 1 if is_changed else 0)
    assert synced.target.files() == synced.source.files()
    moved = synced.journal.record("c/1")
    assert moved is not None and moved.digest is not None, "its times prove no more than before"
    synced.wall_ns = lambda: NOW
    await synced.run()
    assert len(synced.seen(Confirmed)) == len(synced.source.files())
    await run(synced)


async def test_swapped_names_are_sent(synced: Mirror, autojump_clock: MockClock) -> None:
    await run(synced)
    rename(synced, "d/0", "tmp")
    rename(synced, "d/1", "d/0")
    rename(synced, "tmp", "d/1")
    assert (await run(synced, "stage", "commit")).moved == 0


async def test_a_file_that_went_into_a_folder_of_its_own_name(synced: Mirror, autojump_clock: MockClock) -> None:
    synced.source.write("a", b"first")
    synced.source.write("b", b"second")
    await run(synced)
    rename(synced, "a", "x")
    rename(synced, "b", "y")
    synced.source.mkdir("a")
    synced.source.mkdir("b")
    rename(synced, "x", "b/a")
    rename(synced, "y", "a/b")
    await run(synced)


async def test_moves_are_not_counted_as_removals(synced: Mirror, autojump_clock: MockClock) -> None:
    await run(synced)
    synced.source.rename("d", "c")
    limited = attrs.evolve(ONE, max_delete=MaxDelete.parse(2))
    assert (await synced.run(policy=limited)).exit_code == 0, "two folders, and no file"
    synced.source.rename("c", "b")
    limited = attrs.evolve(ONE, max_delete=MaxDelete.parse(1))
    report = await synced.run(policy=limited)
    assert (report.exit_code, report.moved) == (4, 6)
    assert [event.removals for event in synced.seen(RemovalsRefused)] == [2]
    assert synced.target.files() == synced.source.files()


async def test_file_that_cannot_be_moved_is_sent_and_its_old_name_removed(
    synced: Mirror, autojump_clock: MockClock
) -> None:
    await run(synced)
    synced.source.rename("d", "c")
    synced.target.write("c/0", b"of somebody else")
    node = synced.target.find("d/1")
    assert isinstance(node, File)
    node.mtime_ns += SECOND  # somebody has changed it, and what that was is not lost
    report = await synced.run()
    assert (report.moved, report.copied, report.skipped) == (4, 2, 0)
    assert dict(report.failures).keys() == {"d/1", "d"}
    assert {path: data for path, data in synced.target.files().items() if path != "d/1"} == synced.source.files()


async def test_target_that_rejects_all_moves_gets_copies(synced: Mirror, autojump_clock: MockClock) -> None:
    await run(synced)
    synced.source.rename("d", "c")

    def decide(verb: str, when: When) -> None:
        if verb == "move" and when == "before":
            raise OperationRefused("no")

    report = await run(synced, "make", "stage", "commit", "remove", target=Faulty(synced.target, decide))
    assert (report.moved, report.copied, report.removed, report.failed, report.skipped) == (0, 6, 8, 0, 0)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("losses", [1, 99])
async def test_connections_lost_during_moves_converge(
    synced: Mirror, when: When, losses: int, autojump_clock: MockClock
) -> None:
    await run(synced)
    synced.source.rename("d", "c")
    left = [losses]

    def decide(verb: str, now: When) -> None:
        if verb == "move" and now == when and left[0]:
            left[0] -= 1
            raise ConnectionLost("lost")

    report = await run(synced, target=Faulty(synced.target, decide))
    assert report.moved == (6 if losses == 1 else 0)
    assert report.failed == 0


async def test_file_that_fails_after_a_move_keeps_its_old_name(synced: Mirror, autojump_clock: MockClock) -> None:
    await run(synced)
    synced.source.rename("d", "c")
    synced.target.trouble = {"c/3": OperationRefused("no")}
    report = await synced.run()
    assert dict(report.failures) == {"c/3": "no"}
    assert report.withheld
    assert synced.target.files()["d/3"] == synced.source.files()["c/3"]
    synced.target.trouble = {}
    await run(synced)


async def test_run_killed_during_moves_is_repaired(synced: Mirror, autojump_clock: MockClock) -> None:
    """At any step: nothing is lost, and what was moved is known again and not sent."""
    await run(synced)
    synced.source.rename("d", "c")
    for stop in ("before", "after"):
        with trio.CancelScope() as scope:

            def decide(verb: str, when: When, stop: str = stop, scope: trio.CancelScope = scope) -> float | None:
                if verb == "move" and when == stop:
                    scope.cancel()
                    return 1.0
                return None

            await synced.run(target=Faulty(synced.target, decide))
        assert all(record.is_removal_intended for path in ("d/0", "c/0") if (record := synced.journal.record(path)))
        report = await run(synced)
        assert (report.moved, report.copied) == (6, 0)
        # Once more, and this time it is renamed back before the next run.
        synced.source.rename("c", "d")
        await run(synced)
        synced.source.rename("d", "c")


async def test_a_rename_that_is_taken_back_after_a_kill(synced: Mirror, autojump_clock: MockClock) -> None:
    await run(synced)
    synced.source.rename("d", "c")
    with trio.CancelScope() as scope:

        def decide(verb: str, when: When) -> float | None:
            if verb == "move" and when == "after":
                scope.cancel()
                return 1.0
            return None

        await synced.run(target=Faulty(synced.target, decide))
    assert "c/0" in synced.target.files()
    synced.source.rename("c", "d")
    await run(synced)


async def test_a_drain_leaves_moves_to_the_next_run(synced: Mirror, autojump_clock: MockClock) -> None:
    await run(synced)
    synced.source.rename("d", "c")

    def observe(event: Event) -> None:
        if isinstance(event, Planned):
            synced.shutdown.drain()

    report = await synced.run(observe=observe)
    assert (report.exit_code, report.copied) == (3, 0)
    synced.shutdown = Shutdown()
    assert (await run(synced)).copied == 0


async def test_files_beyond_the_hold_limit_are_sent(
    synced: Mirror, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr("actorsync.actors.planner.renames._MOST_HELD", 3)
    await run(synced)
    synced.source.rename("d", "c")
    report = await run(synced)
    assert report.moved + report.copied == 6
    assert report.copied, "memory stays flat"


async def test_a_first_mirror_makes_no_index(synced: Mirror, autojump_clock: MockClock) -> None:
    def indices() -> list[bytes]:
        of_records = "tbl_name = 'records' AND type = 'index' AND sql IS NOT NULL"
        query = f"SELECT CAST(name AS BLOB) FROM sqlite_schema WHERE {of_records}"
        return [name for (name,) in synced.journal._reader.execute(query)]

    await synced.run()
    await synced.run()
    assert indices() == [b"directories"]
    synced.source.write("new", b"new")
    await synced.run()
    assert sorted(indices()) == [b"directories", b"files"]


# On servers.


def fill(source: Path, count: int) -> int:
    for number in range(count):
        write(source / "photos" / f"{number % 10}" / f"{number}.jpg", b"%d " % number * 50, LONG_AGO // SECOND + number)
    return sum(len(b"%d " % number * 50) for number in range(count))


def inodes(root: Path) -> dict[str, int]:
    """Return the inode of every file below ``root`` by its name: it stays, when nothing is written anew."""
    return {name: os.stat(os.path.join(folder, name)).st_ino for folder, _, files in os.walk(root) for name in files}


async def move_a_folder(
    source: Path, root: Path, run: Callable[[], Any], count: int, before_moving: Callable[[], object] = lambda: None
) -> Run:
    fill(source, count)
    assert (await run()).report.exit_code == 0
    known = inodes(root)
    (source / "photos").rename(source / "pictures")
    before_moving()
    moved: Run = await run()
    report = moved.report
    assert (report.exit_code, report.moved, report.copied, report.copied_bytes) == (0, count, 0, 0), report
    assert contents(root) == contents(source)
    assert times(root) == times(source)
    assert inodes(root) == known
    again = await run()
    assert (again.report.moved, again.report.copied, again.report.removed) == (0, 0, 0)
    return moved


@pytest.mark.full
async def test_a_folder_of_1000_files_costs_no_data_over_ftp(embedded: EmbeddedFtpServer, tmp_path: Path) -> None:
    received: list[int] = []

    def begin() -> None:
        embedded.commands.clear()
        received.append(embedded.bytes_received)

    async def run() -> Run:
        return await mirror(tmp_path / "source", ftp_servers.endpoint_for(embedded), tmp_path / "journal", settled=True)

    await move_a_folder(tmp_path / "source", embedded.root, run, FILES, begin)
    verbs = [command.verb for command in embedded.commands]
    assert (verbs.count("RNFR"), verbs.count("STOR"), verbs.count("EPSV")) == (FILES, 0, 0)
    assert [embedded.bytes_received] == received


@pytest.mark.full
async def test_a_folder_of_1000_files_costs_no_data_over_sftp(server_folder: Path, tmp_path: Path) -> None:
    root = server_folder / "root"
    root.mkdir()
    received: list[int] = []
    with ssh_servers.embedded_server(root, server_folder) as (server, target):

        def begin() -> None:
            server.commands.clear()
            received.append(server.bytes_received)

        async def run() -> Run:
            return await mirror(tmp_path / "source", sftp_endpoint_for(target), tmp_path / "journal", settled=True)

        await move_a_folder(tmp_path / "source", root, run, FILES, begin)
        verbs = [command.verb for command in server.commands]
        assert (verbs.count("RENAME"), verbs.count("CREATE"), verbs.count("WRITE")) == (FILES, 0, 0)
        assert [server.bytes_received] == received


async def test_a_folder_on_any_ftp_server(shared_ftp_server: FtpTarget, tmp_path: Path) -> None:
    folder = ftp_servers.fresh_folder(shared_ftp_server, "moved")
    endpoint = ftp_servers.endpoint_for(shared_ftp_server, "/moved")

    async def run() -> Run:
        return await mirror(tmp_path / "source", endpoint, tmp_path / "journal", settled=True)

    await move_a_folder(tmp_path / "source", folder, run, 100)


async def test_a_folder_on_any_sftp_server(shared_sftp_server: SshTarget, tmp_path: Path) -> None:
    folder = ssh_servers.fresh_folder(shared_sftp_server, "moved")
    endpoint = sftp_endpoint_for(shared_sftp_server, "moved")

    async def run() -> Run:
        return await mirror(tmp_path / "source", endpoint, tmp_path / "journal", settled=True)

    await move_a_folder(tmp_path / "source", folder, run, 100)


async def test_a_folder_on_this_machine(tmp_path: Path) -> None:
    async def run() -> Run:
        return await mirror(tmp_path / "source", LocalEndpoint(tmp_path / "t"), tmp_path / "journal", settled=True)

    await move_a_folder(tmp_path / "source", tmp_path / "t", run, 100)
    (tmp_path / "source/pictures/1/11.jpg").rename(tmp_path / "source/eleven.jpg")
    assert (await run()).report.moved == 1
    assert contents(tmp_path / "t") == contents(tmp_path / "source")
