"""Files arrive in their order in whole runs: no page before what it needs, and no small file behind all big ones."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.abc import ReceiveChannel, SendChannel
from trio.testing import MockClock

from actorsync.actors.pipeline import Change, Pipeline, operation_stage
from actorsync.endpoints.contract import Endpoint, Session, Staged, Upload
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.memory.tree import File
from actorsync.endpoints.wrappers.base import EndpointWrapper, SessionWrapper
from actorsync.errors import OperationRefused
from actorsync.model.entry import Listing
from actorsync.model.operation import Copy, Done, Failed, Move, Remove
from actorsync.planning.publishing.ranks import NONE, Ranks
from actorsync.planning.publishing.rules import PublishRule, ResumeRule
from actorsync.profile.values.units import MaxDelete
from actorsync.testing import EmbeddedFtpServer, EmbeddedSftpServer
from actorsync.testing.faulty_endpoint import Faulty, When
from actorsync.testing.visitor import Watcher
from tests.support.mirror import mirror
from tests.support.servers import ftp as ftp_servers
from tests.support.servers.ssh_target import SshTarget
from tests.support.servers.ssh_target import endpoint_for as sftp_endpoint_for
from tests.support.world.memory_mirror import ONE, Mirror

FOUR = attrs.evolve(ONE, connections=4)
SITE = 30


def new_mirror(lanes: int = 1) -> Mirror:
    return Mirror(target=MemoryEndpoint("target", inodes=False, lanes=lanes))


def write_version(write: Callable[[str, bytes], object], version: int) -> None:
    """Write a site of which each page needs a style sheet, and the entrance needs all pages. Pages are bigger."""
    text = b"%d " % version
    for number in range(SITE):
        write(f"assets/{number}.css", text * (number + 1))
        write(f"blog/{number}.html", text * (SITE + number))
    write("index.html", text * 999)


def check_site(read: Callable[[str], bytes | None]) -> None:
    """Read as a visitor does: the page first, and then what it needs. That must not be older than the page."""
    first = _version(read("index.html"))
    pages = [_version(read(f"blog/{number}.html")) for number in range(SITE)]
    assets = [_version(read(f"assets/{number}.css")) for number in range(SITE)]
    assert first <= min(pages), f"the entrance is of version {first}, and a page of version {min(pages)}"
    assert max(pages) <= min(assets), f"a page is of version {max(pages)}, and an asset of version {min(assets)}"


def _version(content: bytes | None) -> int:
    return 0 if content is None else int(content.split()[0])


def file_of(target: MemoryEndpoint, path: str) -> bytes | None:
    node = target.find(path)
    return node.data if isinstance(node, File) else None


def sent(it: Mirror) -> list[str]:
    """Return the paths of all changes in the order of their outcomes."""
    changes = (event.operation for event in it.events if isinstance(event, Done))
    return [change.path for change in changes if isinstance(change, Copy | Move | Remove)]


# Every page after what it needs.


@pytest.mark.parametrize("lanes", [1, 5])
async def test_visitor_sees_no_page_before_its_assets_in_memory(lanes: int, autojump_clock: MockClock) -> None:
    it, chance = new_mirror(lanes), random.Random(lanes)

    def look(verb: str, when: When) -> float | None:
        check_site(lambda path: file_of(it.target, path))
        return chance.random() if verb in {"stage", "commit", "list_directory"} else None

    for version in (1, 2):
        write_version(it.source.write, version)
        report = await it.run(Faulty(it.target, look), policy=FOUR)
        assert (report.exit_code, report.copied) == (0, 2 * SITE + 1)
        assert it.target.files() == it.source.files()


@attrs.define(eq=False)
class _Reader(Watcher):
    """A visitor of a folder."""

    root: Path
    looks: int = 0

    def __attrs_post_init__(self) -> None:
        super().__init__()

    def look(self) -> None:
        check_site(self._read)
        self.looks += 1

    def _read(self, path: str) -> bytes | None:
        try:
            return (self.root / path).read_bytes()
        except FileNotFoundError:
            return None


async def read_during_deploys(root: Path, endpoint: Any, folder: Path) -> None:
    source = folder / "source"

    def write(path: str, data: bytes) -> None:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(data)

    reader = _Reader(root)
    with reader.watching(pause=0.0005):
        for version in (1, 2, 3):
            write_version(write, version)
            run = await mirror(source, endpoint, folder / "journal", connections=3)
            assert (run.report.exit_code, run.report.copied) == (0, 2 * SITE + 1)
    assert reader.looks > 3


async def test_visitor_sees_no_page_before_its_assets_over_ftp(embedded: EmbeddedFtpServer, tmp_path: Path) -> None:
    await read_during_deploys(embedded.root, ftp_servers.endpoint_for(embedded), tmp_path)


async def test_visitor_sees_no_page_before_its_assets_over_sftp(
    embedded_sftp: tuple[EmbeddedSftpServer, SshTarget], tmp_path: Path
) -> None:
    _, target = embedded_sftp
    await read_during_deploys(target.root, sftp_endpoint_for(target), tmp_path)


async def test_renamed_folder_arrives_in_ranks(autojump_clock: MockClock) -> None:
    it = new_mirror()
    for name in ("index.html", "a.html", "z.css"):
        it.source.write(f"v1/{name}", name.encode(), mtime_ns=5)
    it.wall_ns = lambda: 2 * 10**18
    await it.run()
    it.source.rename("v1", "v2")
    await it.run()
    moves = [event.operation.path for event in it.seen(Done) if isinstance(event.operation, Move)]
    assert moves == ["v2/z.css", "v2/a.html", "v2/index.html"]


async def test_move_that_is_refused_is_sent_before_the_pages(autojump_clock: MockClock) -> None:
    it = new_mirror()
    it.wall_ns = lambda: 2 * 10**18
    it.source.write("old.css", b"css", mtime_ns=5)
    await it.run()
    it.source.rename("old.css", "new.css")
    it.source.write("a.html", b"page")

    def refuse(verb: str, when: When) -> None:
        if verb == "move":
            raise OperationRefused("550 no")

    report = await it.run(Faulty(it.target, refuse), policy=FOUR)
    assert (report.exit_code, sent(it)) == (0, ["new.css", "a.html", "old.css"])


async def test_failed_asset_does_not_hold_back_the_pages(autojump_clock: MockClock) -> None:
    it = new_mirror()
    it.source.write("a.css", b"css")
    it.source.write("a.html", b"page")

    async def fail(receive: ReceiveChannel[Change], send: SendChannel[Change | Failed]) -> None:
        async for operation in receive:
            await send.send(Failed(operation, "refused") if operation.path == "a.css" else operation)

    report = await it.run(pipeline=Pipeline((operation_stage(fail),)))
    assert (report.exit_code, sent(it)) == (1, ["a.html"])


async def test_stage_that_sends_at_the_end_sends_behind_all_ranks(autojump_clock: MockClock) -> None:
    it = new_mirror()
    for path in ("a.css", "late.css", "b.html", "index.html"):
        it.source.write(path, path.encode())

    async def delay(receive: ReceiveChannel[Change], send: SendChannel[Change | Failed]) -> None:
        late = []
        async for operation in receive:
            if operation.path == "late.css":
                late.append(operation)
            else:
                await send.send(operation)
        for operation in late:
            await send.send(operation)

    report = await it.run(policy=FOUR, pipeline=Pipeline((operation_stage(delay),)))
    assert (report.exit_code, sent(it)) == (0, ["a.css", "b.html", "index.html", "late.css"])


async def test_order_of_the_profile_replaces_the_ranks(autojump_clock: MockClock) -> None:
    it = new_mirror()
    for path in ("index.html", "data.json", "z/last.txt"):
        it.source.write(path, path.encode())
    ranks = Ranks.of_patterns([["*.json"], ["z/"]])
    report = await it.run(policy=attrs.evolve(FOUR, publish=PublishRule(ranks)))
    assert (report.exit_code, sent(it)) == (
        0,
        ["index.html", "data.json", "z/last.txt"],
    )


# What is in the way.


async def test_asset_in_place_of_a_folder_arrives_before_the_pages(autojump_clock: MockClock) -> None:
    it = new_mirror()
    it.source.write("a.css/x", b"an old part")
    it.source.write("gone.txt", b"to be removed")
    await it.run()
    it.source.delete("a.css")
    it.source.delete("gone.txt")
    it.source.write("a.css", b"asset")
    it.source.write("page.html", b"page")
    report = await it.run(policy=FOUR)
    assert (report.exit_code, sent(it)) == (0, ["a.css/x", "a.css", "a.css", "page.html", "gone.txt"])
    assert it.target.files() == it.source.files()


async def test_file_in_the_way_stays_until_what_looks_like_it_has_arrived(autojump_clock: MockClock) -> None:
    """It may be the same file under a new name: if that failed, the target would have it nowhere."""
    it = new_mirror()
    it.source.write("a.css/x", b"same size")
    await it.run()
    it.source.delete("a.css")
    it.source.write("a.css", b"asset")
    it.source.write("page.html", b"size same")
    report = await it.run(policy=FOUR)
    assert (report.exit_code, sent(it)) == (0, ["page.html", "a.css/x", "a.css", "a.css"])


async def test_page_that_fails_keeps_what_looks_like_it(autojump_clock: MockClock) -> None:
    it = new_mirror()
    it.source.write("a.css/x", b"same size")
    await it.run()
    it.source.delete("a.css")
    it.source.write("a.css", b"asset")
    it.source.write("page.html", b"size same")

    async def fail(receive: ReceiveChannel[Change], send: SendChannel[Change | Failed]) -> None:
        async for operation in receive:
            await send.send(Failed(operation, "refused") if operation.path == "page.html" else operation)

    report = await it.run(policy=FOUR, pipeline=Pipeline((operation_stage(fail),)))
    assert (report.exit_code, report.removed, it.target.files()) == (1, 0, {"a.css/x": b"same size"})


async def test_refused_removals_do_not_hold_back_the_pages(autojump_clock: MockClock) -> None:
    it = new_mirror()
    for number in range(9):
        it.source.write(f"a.css/{number}", b"x" * number)
    await it.run()
    it.source.delete("a.css")
    it.source.write("a.css", b"asset of another size")
    it.source.write("page.html", b"a page")
    never = attrs.evolve(FOUR, max_delete=MaxDelete.parse(1))
    report = await it.run(policy=never)
    assert (report.exit_code, report.removed, sent(it)) == (4, 0, ["page.html"])


async def test_stop_during_the_assets_leaves_the_pages_for_the_next_run(autojump_clock: MockClock) -> None:
    it = new_mirror()
    write_version(it.source.write, 1)

    def stop(event: object) -> None:
        if isinstance(event, Done) and event.operation.path.endswith(".css"):
            it.shutdown.drain()

    report = await it.run(policy=FOUR, observe=stop)
    assert report.exit_code == 3
    assert report.copied + report.left == 2 * SITE + 1
    assert not [path for path in it.target.files() if path.endswith(".html")]
    again = Mirror(it.source, it.target, it.journal, tokens=it.tokens)
    report = await again.run(policy=FOUR)
    assert (report.exit_code, it.target.files()) == (0, it.source.files())


# Big files.

BIG = 10_000
BIG_RULE = PublishRule(NONE, resume=ResumeRule(BIG))


@attrs.define(eq=False)
class _Slow(EndpointWrapper[Endpoint]):
    """A tree that needs a second for each 1,000 bytes that are sent, and some seconds to list the directory "z"."""

    listing: float = 0.0

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Session]:
        async with self.real.open_session() as session:
            yield _SlowSession(session, self.listing)


class _SlowSession(SessionWrapper):
    def __init__(self, real: Session, listing: float) -> None:
        super().__init__(real)
        self._listing = listing

    async def list_directory(self, directory: str) -> Listing:
        await trio.sleep(self._listing if directory == "z" else 0)
        return await super().list_directory(directory)

    async def stage(self, upload: Upload, *, commit: Sequence[Staged] = (), **rest: Any) -> Any:
        committed = await super().commit(commit)  # the renames are sent before the data
        await trio.sleep(upload.content.entry.size / 1_000)
        staged, _ = await super().stage(upload, **rest)
        return staged, committed


async def timed(it: Mirror, connections: int) -> dict[str, float]:
    """Mirror once, and return the second in which each file was there. It is 5 s until the directory "z" is listed."""
    began, times = trio.current_time(), dict[str, float]()

    async def watch() -> None:
        while True:
            await trio.sleep(0.5)
            for path in it.target.files():
                times.setdefault(path, trio.current_time() - began)

    policy = attrs.evolve(FOUR, connections=connections, publish=BIG_RULE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        report = await it.run(_Slow(it.target), source=_Slow(it.source, 5.0), policy=policy)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert report.exit_code == 0
    return {path: times[path] for path in it.source.files()}


@pytest.mark.parametrize("connections", [2, 4])
async def test_small_file_that_is_found_late_does_not_wait_for_big_ones(
    connections: int, autojump_clock: MockClock
) -> None:
    it = new_mirror()
    for number in range(8):
        it.source.write(f"a{number}.iso", bytes(BIG))
    it.source.write("z/late.txt", b"small")
    times = await timed(it, connections)
    assert times["z/late.txt"] <= 6
    assert max(times.values()) > 20


async def test_only_connection_sends_what_is_small_first(autojump_clock: MockClock) -> None:
    it = new_mirror()
    for number in range(3):
        it.source.write(f"a{number}.iso", bytes(BIG))
        it.source.write(f"b{number}.txt", bytes(100))
    await timed(it, 1)
    assert sent(it) == ["b0.txt", "b1.txt", "b2.txt", "a0.iso", "a1.iso", "a2.iso"]


async def test_big_files_alone_use_every_connection(autojump_clock: MockClock) -> None:
    it = new_mirror()
    for number in range(8):
        it.source.write(f"a{number}.iso", bytes(BIG))
    times = await timed(it, 4)
    assert max(times.values()) < 22, "two files after each other on each of four connections"
