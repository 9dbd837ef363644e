"""Every endpoint passes the same suite. A new kind of endpoint joins by one line in ``PLACES``."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from actorsync.endpoints.contract import Staged, Upload
from actorsync.endpoints.ftp.wire.connection import Knowledge
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.releases import Publication, publish, put_back
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.entry import Entry
from actorsync.planning.name_folding import loosest_key
from actorsync.testing import SOURCE_CHECKS, EmbeddedFtpServer, check_source
from actorsync.testing.conformance.contents import MemoryContent
from actorsync.testing.conformance.place import Check, Place
from actorsync.testing.conformance.source_checks import LONG_TREE, TREE, fill
from actorsync.testing.conformance.suite import CHECK_FUNCTIONS
from actorsync.testing.faulty_endpoint import Faulty, RandomFaults, When
from tests.support import FtpTarget
from tests.support.servers import ssh_servers
from tests.support.servers.ftp import endpoint_for, fresh_folder, home
from tests.support.servers.ssh_target import SshTarget
from tests.support.servers.ssh_target import endpoint_for as ssh_endpoint_for

#: Optional extensions of SFTP servers that actorsync uses.
EXTENSIONS = frozenset({"posix-rename@openssh.com", "fsync@openssh.com", "statvfs@openssh.com", "hardlink@openssh.com"})

OUTSIDE = "../.trash"

OpenPlace = Callable[[Path], AbstractAsyncContextManager[Place]]


@asynccontextmanager
async def local(path: Path) -> AsyncIterator[Place]:
    (path / "root").mkdir()
    yield Place(LocalEndpoint(path / "root", outside=OUTSIDE), outside=OUTSIDE)


@asynccontextmanager
async def local_follow(path: Path) -> AsyncIterator[Place]:
    (path / "root").mkdir()
    yield Place(LocalEndpoint(path / "root", links="follow", outside=OUTSIDE), outside=OUTSIDE)


@asynccontextmanager
async def memory(path: Path) -> AsyncIterator[Place]:
    yield Place(MemoryEndpoint(), outside=OUTSIDE)


@asynccontextmanager
async def memory_like_ftp(path: Path) -> AsyncIterator[Place]:
    yield Place(MemoryEndpoint(precision_ns=10**9, inodes=False), outside=OUTSIDE)


@asynccontextmanager
async def memory_folding(path: Path) -> AsyncIterator[Place]:
    yield Place(MemoryEndpoint(fold=loosest_key), outside=OUTSIDE)


@asynccontextmanager
async def faultless(path: Path) -> AsyncIterator[Place]:
    yield Place(Faulty(MemoryEndpoint(), lambda verb, when: None), outside=OUTSIDE)


PLACES: tuple[OpenPlace, ...] = (local, local_follow, memory, memory_like_ftp, memory_folding, faultless)


@pytest.mark.parametrize("check", CHECK_FUNCTIONS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("open_place", PLACES, ids=lambda open_place: open_place.__name__)
async def test_local_and_memory_endpoints_pass_the_suite(open_place: OpenPlace, check: Check, tmp_path: Path) -> None:
    async with open_place(tmp_path) as place:
        await check(place)


@pytest.mark.parametrize("check", CHECK_FUNCTIONS, ids=lambda check: check.__name__.removeprefix("check_"))
async def test_ftp_endpoint_passes_the_suite(shared_ftp_server: FtpTarget, check: Check) -> None:
    fresh_folder(shared_ftp_server, check.__name__)
    endpoint = endpoint_for(shared_ftp_server, f"/{check.__name__}", knowledge=Knowledge(outside=OUTSIDE))
    await check(Place(endpoint, outside=OUTSIDE))


@pytest.fixture(scope="module", params=[pytest.param("packet", marks=pytest.mark.full), "any order"])
def shared_lock_step_server(request: pytest.FixtureRequest) -> Iterator[EmbeddedFtpServer]:
    """A server that does not take commands in a row."""
    with home() as folder:
        (folder / "root").mkdir()
        with EmbeddedFtpServer(folder / "root", in_a_row=request.param) as server:
            yield server


@pytest.mark.parametrize("check", CHECK_FUNCTIONS, ids=lambda check: check.__name__.removeprefix("check_"))
async def test_ftp_endpoint_in_lock_step_passes_the_suite(
    shared_lock_step_server: EmbeddedFtpServer, check: Check
) -> None:
    (shared_lock_step_server.root / check.__name__).mkdir()
    endpoint = endpoint_for(shared_lock_step_server, f"/{check.__name__}", knowledge=Knowledge(outside=OUTSIDE))
    await check(Place(endpoint, outside=OUTSIDE))


@pytest.mark.parametrize("check", CHECK_FUNCTIONS, ids=lambda check: check.__name__.removeprefix("check_"))
async def test_sftp_endpoint_passes_the_suite(shared_sftp_server: SshTarget, check: Check) -> None:
    ssh_servers.fresh_folder(shared_sftp_server, check.__name__)
    await check(Place(ssh_endpoint_for(shared_sftp_server, check.__name__, outside=OUTSIDE), outside=OUTSIDE))


@pytest.fixture(scope="module")
def bare_sftp_server() -> Iterator[SshTarget]:
    """A server with plain version 3, without extensions: a rename cannot replace a file."""
    with home() as folder:
        root = folder / "root"
        root.mkdir()
        with ssh_servers.embedded_server(root, folder, without=EXTENSIONS) as (_, target):
            yield target


@pytest.mark.full
@pytest.mark.parametrize("check", CHECK_FUNCTIONS, ids=lambda check: check.__name__.removeprefix("check_"))
async def test_m050_sftp_endpoint_without_extensions_passes_the_suite(
    bare_sftp_server: SshTarget, check: Check
) -> None:
    ssh_servers.fresh_folder(bare_sftp_server, check.__name__)
    await check(Place(ssh_endpoint_for(bare_sftp_server, check.__name__, outside=OUTSIDE), outside=OUTSIDE))


@pytest.mark.parametrize("open_place", PLACES, ids=lambda open_place: open_place.__name__)
async def test_local_and_memory_sources_pass_the_suite(open_place: OpenPlace, tmp_path: Path) -> None:
    async with open_place(tmp_path) as place:
        await fill(place.endpoint, LONG_TREE)
        await check_source(lambda tree: place.endpoint)


#: Without the check of a long listing: the suite for targets has it, and its tree takes long to upload.
QUICK = [check for check in SOURCE_CHECKS if check != "listings_are_complete"]


async def test_ftp_source_passes_the_suite(shared_ftp_server: FtpTarget) -> None:
    fresh_folder(shared_ftp_server, "source")
    endpoint = endpoint_for(shared_ftp_server, "/source")
    await fill(endpoint, TREE)
    for demand in QUICK:
        await check_source(lambda tree: endpoint, only=demand)


async def test_sftp_source_passes_the_suite(shared_sftp_server: SshTarget) -> None:
    ssh_servers.fresh_folder(shared_sftp_server, "source")
    endpoint = ssh_endpoint_for(shared_sftp_server, "source")
    await fill(endpoint, TREE)
    for demand in QUICK:
        await check_source(lambda tree: endpoint, only=demand)


async def test_make_directories_makes_a_missing_root(tmp_path: Path) -> None:
    for endpoint in (LocalEndpoint(tmp_path / "a" / "b"), MemoryEndpoint(exists=False)):
        async with endpoint.open_session() as session:
            problem = (await session.list_directory("")).problem
            assert problem is not None
            assert not problem.vanished
            root, below = await session.make_directories(["", "below"])
            assert isinstance(root, Entry)
            assert isinstance(below, Entry)
            assert len((await session.list_directory("")).entries) == 1


# Memory: intermediate states that a simulation can see.


async def test_half_written_temporary_is_visible_in_memory() -> None:
    endpoint = MemoryEndpoint()
    seen: set[int] = set()

    async def watch() -> None:
        while True:
            seen.update(len(data) for data in endpoint.files().values())
            await trio.lowlevel.checkpoint()

    async with endpoint.open_session() as session, trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        for _ in range(10):
            upload = Upload("final", "temporary", MemoryContent(b"x" * 9))
            staged, _ = await session.stage(upload)
            assert isinstance(staged, Staged)
            assert await session.sweep(["temporary"]) == [True]
        nursery.cancel_scope.cancel()
    assert seen >= {4, 8, 9}
    assert endpoint.log[:2] == [("stage", "temporary"), ("sweep", "temporary")]


async def test_open_content_sees_writes_in_place_but_not_a_rename() -> None:
    endpoint = MemoryEndpoint()
    endpoint.write("d/file", b"old old")
    async with endpoint.open_session() as session, session.open("d/file") as content:
        endpoint.write("d/new", b"new")
        endpoint.rename("d/new", "d/file")
        assert await content.read(100) == b"old old"
        assert await content.is_unchanged()
        async with session.open("d/file") as content:
            endpoint.write("d/file", b"sum")
            assert await content.read(100) == b"sum"
            assert not await content.is_unchanged()
    assert endpoint.files() == {"d/file": b"sum"}
    endpoint.delete("d")
    assert (endpoint.files(), endpoint.directories()) == ({}, set())


# Faults.


def fault_at(verb: str, when: When, error: Exception) -> Callable[[str, When], None]:
    def decide(now: str, moment: When) -> None:
        if (now, moment) == (verb, when):
            raise error

    return decide


async def test_lost_session_stays_lost_and_a_new_one_works() -> None:
    memory = MemoryEndpoint()
    endpoint = Faulty(memory, fault_at("commit", "after", ConnectionLost("cut")))
    async with endpoint.open_session() as session:
        staged, _ = await session.stage(Upload("final", "temporary", MemoryContent(b"content")))
        assert isinstance(staged, Staged)
        for _ in range(2):
            with pytest.raises(ConnectionLost):
                await session.commit([staged])
        with pytest.raises(ConnectionLost):
            await session.list_directory("")
    assert memory.files() == {"final": b"content"}, "the commit was done, and its outcome was lost"
    async with endpoint.open_session() as session:
        assert (await session.list_directory("")).problem is None


@pytest.mark.parametrize("inodes", [True, False])
@pytest.mark.parametrize("moment", range(6))
async def test_release_that_breaks_off_at_any_item_is_completed_and_taken_back(moment: int, inodes: bool) -> None:
    memory = MemoryEndpoint(inodes=inodes)
    for name in ("one", "two"):
        memory.write(name, b"before")
    for verb in (publish, put_back):
        moments = iter(range(100))

        def decide(now: str, when: When, of: str = verb.__name__, moments: Iterator[int] = moments) -> None:
            if now == of and next(moments) == moment:
                raise ConnectionLost("cut")

        endpoint = Faulty(memory, decide)
        if verb is publish:
            items = []
            async with memory.open_session() as staging:
                for name in ("one", "two", "three"):
                    staged, _ = await staging.stage(Upload(name, f"{name}.tmp", MemoryContent(b"after")))
                    assert isinstance(staged, Staged)
                    items.append(Publication(staged, f"{name}.old"))
            before = memory.files()
        async with endpoint.open_session() as session:
            with pytest.raises(ConnectionLost):
                await verb(session, items)
        async with endpoint.open_session() as session:
            assert not [it for it in await verb(session, items) if isinstance(it, OperationRefused)]
        if verb is publish:
            old = {"one.old": b"before", "two.old": b"before"}
            assert memory.files() == {**dict.fromkeys(("one", "two", "three"), b"after"), **old}
    assert memory.files() == before


async def test_connection_lost_during_an_upload_leaves_a_partial_temporary() -> None:
    memory = MemoryEndpoint()
    reads = iter([None, None, None, ConnectionLost("cut")])

    def decide(verb: str, when: When) -> None:
        if verb == "read" and (error := next(reads)) is not None:
            raise error

    async with Faulty(memory, decide).open_session() as session:
        upload = Upload("final", "temporary", MemoryContent(b"x" * 9))
        with pytest.raises(ConnectionLost):
            await session.stage(upload)
    assert memory.files() == {"temporary": b"x" * 4}
    assert upload.sent == 4


@pytest.mark.parametrize("verb", ["read", "stage", "commit", "list_directory"])
async def test_injected_refusal_is_a_value_and_the_session_goes_on(verb: str) -> None:
    async with Faulty(MemoryEndpoint(), fault_at(verb, "before", OperationRefused("no"))).open_session() as session:
        staged, _ = await session.stage(Upload("final", "temporary", MemoryContent(b"content")))
        assert isinstance(staged, OperationRefused if verb in {"read", "stage"} else Staged)
        if isinstance(staged, Staged):
            (entry,) = await session.commit([staged])
            assert isinstance(entry, OperationRefused if verb == "commit" else Entry)
        assert ((await session.list_directory("")).problem is not None) is (verb == "list_directory")


async def test_random_faults_repeat_with_the_same_seed(autojump_clock: MockClock) -> None:
    async def story() -> list[str]:
        endpoint = Faulty(MemoryEndpoint(), RandomFaults(random.Random(7), 0.1))
        outcomes: list[str] = []
        for number in range(50):
            try:
                async with endpoint.open_session() as session:
                    outcomes.append(str(await session.make_directories([str(number)])))
            except ConnectionLost as lost:
                outcomes.append(str(lost))
        return outcomes

    first = await story()
    assert first == await story()
    assert any("lost" in line for line in first)
    assert any("refused" in line for line in first)
    assert trio.current_time() > 1
