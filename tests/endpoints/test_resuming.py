"""An upload that was broken off goes on where the target has it, and from its beginning where that could be wrong."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from actorsync.endpoints.contract import Staged, Upload
from actorsync.endpoints.ftp.endpoint import FtpEndpoint
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.endpoints.resuming import BLOCK, Resuming, open_at, restart_at
from actorsync.endpoints.sftp.endpoint import SftpEndpoint
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.protocols.ftp.restart import mark_of, remember
from actorsync.testing import EmbeddedFtpServer
from actorsync.testing.conformance.contents import MemoryContent, content_with_descriptor
from actorsync.testing.servers.faults import FaultPlan
from tests.support.servers import ssh_servers
from tests.support.servers.ftp import endpoint_for, home
from tests.support.servers.ssh_target import endpoint_for as ssh_endpoint_for

MIB = 1024 * 1024
DATA = random.Random(14).randbytes(4 * MIB + 5)
KEPT = 3 * MIB
TEMPORARY = ".actorsync-0011223344556677.tmp"

AnyEndpoint = FtpEndpoint | SftpEndpoint | LocalEndpoint
Serve = Callable[[FaultPlan], AbstractAsyncContextManager[tuple[AnyEndpoint, Path]]]


@asynccontextmanager
async def ftp(plan: FaultPlan) -> AsyncIterator[tuple[AnyEndpoint, Path]]:
    with served_by_ftp(plan) as (server, root):
        yield endpoint_for(server), root


@contextmanager
def served_by_ftp(plan: FaultPlan, without: frozenset[str] = frozenset()) -> Iterator[tuple[EmbeddedFtpServer, Path]]:
    with home() as folder:
        root = folder / "root"
        root.mkdir()
        with EmbeddedFtpServer(root, faults=plan, without=without) as server:
            yield server, root


@asynccontextmanager
async def sftp(plan: FaultPlan) -> AsyncIterator[tuple[AnyEndpoint, Path]]:
    with home() as folder:
        root = folder / "root"
        root.mkdir()
        with ssh_servers.embedded_server(root, folder, faults=plan) as (_, target):
            yield ssh_endpoint_for(target), root


@asynccontextmanager
async def local(plan: FaultPlan) -> AsyncIterator[tuple[AnyEndpoint, Path]]:
    with home() as folder:
        yield LocalEndpoint(folder), folder


async def resume(endpoint: AnyEndpoint, root: Path, kept: bytes = DATA[:KEPT]) -> tuple[int, Staged | OperationRefused]:
    """Leave a part of the file on the target and upload the file. Returns where it went on, and its outcome."""
    (root / TEMPORARY).write_bytes(kept)
    with content_with_descriptor(DATA) as content:
        async with endpoint.open_session() as session:
            assert isinstance(session, Resuming)
            upload = Upload("file", TEMPORARY, content)
            if not (start := await session.continue_from(upload)):
                await session.sweep([TEMPORARY])
            upload.start = start
            staged, _ = await session.stage(upload)
            return start, staged


def assert_whole(root: Path, staged: Staged | OperationRefused) -> None:
    assert isinstance(staged, Staged), staged
    assert [(path.name, path.read_bytes()) for path in root.iterdir()] == [(TEMPORARY, DATA)]


@pytest.mark.parametrize("serve", [ftp, sftp, local])
async def test_upload_goes_on_one_to_two_mebibytes_before_the_end(serve: Serve) -> None:
    async with serve(FaultPlan()) as (endpoint, root):
        start, staged = await resume(endpoint, root)
        assert start == restart_at(KEPT) == 2 * MIB
        assert_whole(root, staged)


@pytest.mark.parametrize("serve", [ftp, sftp, local])
@pytest.mark.parametrize(
    "kept",
    [DATA[:KEPT] + b"?" * 2 * MIB, bytes(KEPT), DATA[: 2 * MIB - 1], DATA[:MIB] + bytes(MIB) + DATA[2 * MIB : KEPT]],
    ids=["longer", "zeros", "short", "hole"],
)
async def test_what_is_not_the_beginning_of_the_file_is_sent_anew(serve: Serve, kept: bytes) -> None:
    async with serve(FaultPlan()) as (endpoint, root):
        start, staged = await resume(endpoint, root, kept)
        assert start == 0
        assert_whole(root, staged)


@pytest.mark.parametrize("fault", ["refuse@restart", "zero-fill@restart", "ignore-restart@restart"])
async def test_ftp_server_that_fails_the_probe_gets_the_file_from_its_beginning(fault: str) -> None:
    async with ftp(plan := FaultPlan([fault])) as (endpoint, root):
        for _ in range(2):  # the second time, the finding is remembered
            start, staged = await resume(endpoint, root)
            assert start == 0
            assert_whole(root, staged)
        assert plan.seen["restart"] == 1


@pytest.mark.parametrize(
    "faults",
    [["refuse@restart:2"], ["zero-fill@restart:2"], ["ignore-restart@restart:2"], ["truncate-late@restart:2"]],
    ids=str,
)
@pytest.mark.parametrize("serve", [ftp, sftp])
async def test_fault_after_the_probe_leaves_no_wrong_file(serve: Serve, faults: Sequence[str]) -> None:
    """The probe (FTP), or the first OPEN (SFTP), has gone well."""
    async with serve(plan := FaultPlan(tuple(faults))) as (endpoint, root):
        start, staged = await resume(endpoint, root)
        assert start
        assert plan.happened
        assert isinstance(staged, OperationRefused), "the server's file is wrong"
        assert list(root.iterdir()) == []
        assert_whole(root, (await resume(endpoint, root, b""))[1])


async def test_sftp_server_that_empties_the_file_gets_it_from_its_beginning() -> None:
    async with sftp(FaultPlan(["zero-fill@restart"])) as (endpoint, root):
        start, staged = await resume(endpoint, root)
        assert start == 0
        assert_whole(root, staged)


@pytest.mark.parametrize(("days", "probes"), [(6, 0), (8, 1), (-1, 1)])
async def test_ftp_finding_counts_for_a_week(days: int, probes: int) -> None:
    async with ftp(plan := FaultPlan(["cut@store:99"])) as (endpoint, root):
        assert isinstance(endpoint, FtpEndpoint)
        async with endpoint.open_session():
            mark = mark_of(endpoint.knowledge.greeting)
        found = datetime.now(UTC).date() - timedelta(days=days)
        endpoint.traits.learn("restart", remember(mark, found, can=False))
        start, staged = await resume(endpoint, root)
        assert (start > 0, plan.seen.get("restart", 0)) == (probes > 0, 2 * probes)
        assert_whole(root, staged)


async def test_ftp_probe_is_swept_with_its_temporary() -> None:
    """As after a connection that was lost between the upload of the probe and its removal."""
    with served_by_ftp(FaultPlan()) as (server, root):
        endpoint = endpoint_for(server)
        (root / TEMPORARY).write_bytes(DATA[:KEPT])
        (root / "try.actorsync-0011223344556677").write_bytes(b"abcd")
        async with endpoint.open_session() as session:
            assert await session.sweep([TEMPORARY]) == [True]
        assert list(root.iterdir()) == []


@pytest.mark.parametrize("how", ["without REST", "refuse@part", "ignore-restart@part"])
async def test_ftp_source_that_cannot_begin_in_the_middle_is_never_mixed_up(how: str) -> None:
    faults = [] if how == "without REST" else [how]
    without = frozenset({"REST"}) if how == "without REST" else frozenset[str]()
    with served_by_ftp(FaultPlan(tuple(faults)), without) as (server, root):
        (root / "file").write_bytes(DATA)
        endpoint = endpoint_for(server)
        outcomes: list[bool] = []
        for _ in range(2):
            async with endpoint.open_session() as session:
                try:
                    async with open_at(session, "file", 4 * MIB) as content:
                        found = b""
                        while piece := await content.read(MIB):
                            found += piece
                        is_right = found == DATA[content.start :]
                        assert is_right or not await content.is_unchanged(), "wrong bytes are reported as unchanged"
                        outcomes.append(is_right)
                except (OperationRefused, ConnectionLost):
                    outcomes.append(False)
        assert outcomes[1], "the second try begins at the beginning"


@pytest.mark.parametrize("serve", [ftp, sftp, local])
async def test_content_that_is_read_in_order_is_compared_where_it_begins(serve: Serve) -> None:
    async with serve(FaultPlan()) as (endpoint, root):
        (root / TEMPORARY).write_bytes(DATA[:KEPT])
        async with endpoint.open_session() as session:
            assert isinstance(session, Resuming)
            at = await session.may_continue(TEMPORARY)
            assert at == 2 * MIB - BLOCK
            upload = Upload("file", TEMPORARY, MemoryContent(DATA, start=at))
            upload.start = await session.continue_from(upload)
            assert upload.start == 2 * MIB
            staged, _ = await session.stage(upload)
        assert_whole(root, staged)
