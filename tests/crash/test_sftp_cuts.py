"""The connection is cut at every request of a small job, on every SFTP server: all files arrive, each once and whole.

Only the embedded server can see requests. There the cut is before a request is executed, before the client receives
its reply, or after the reply. On all servers, the connection is also cut at packets of the encrypted stream.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import get_args

import pytest
import trio

from actorsync.testing import EmbeddedSftpServer
from actorsync.testing.network.faults import How
from actorsync.testing.network.proxy import CutWire, Direction, open_wire_proxy
from actorsync.testing.servers.sftp_packets import SftpRequest
from tests.support.servers import ssh_servers
from tests.support.servers.at_request import AtRequest, When
from tests.support.servers.ssh_target import SshTarget, endpoint_for
from tests.support.small_job import SENT, faults_in_log, write_source
from tests.support.sweeps import IS_COMPLETE, Sweep, some
from tests.support.tiers import IS_FULL

HOWS: tuple[How, ...] = get_args(How)
FOLDER = "site"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("source"))


# ---- at every request


@asynccontextmanager
async def started_server(folder: Path) -> AsyncIterator[tuple[EmbeddedSftpServer, SshTarget]]:
    """Run a server for one job only, because its settings apply to all of its connections."""
    (folder / "root" / FOLDER).mkdir(parents=True)
    with ExitStack() as stack:
        serving = ssh_servers.embedded_server(folder / "root", folder)
        yield await trio.to_thread.run_sync(stack.enter_context, serving)
        with trio.CancelScope(shield=True):  # in a thread: its connections wait for this one
            await trio.to_thread.run_sync(stack.pop_all().close)


async def cut_at_request(
    sweep: Sweep, folder: Path, at: tuple[int, When, How], fired: list[SftpRequest], *, can_replace: bool = True
) -> int:
    """Run the job once with a cut at a request (0: no cut); return the number of requests on the first connection."""
    number, when, how = at
    async with (
        sweep.place() as place,
        started_server(folder / f"{number} {when} {how}") as (server, target),
        open_wire_proxy((server.host, server.port)) as proxy,
    ):
        if not can_replace:
            server.without = frozenset(["posix-rename@openssh.com"])
        fault = AtRequest(number, when, how, proxy)
        server.instead, server.distort = fault.instead, fault.distort
        endpoint = endpoint_for(target, FOLDER, host=proxy.host, lanes=1, stall_seconds=2.0, connect_seconds=3.0)
        root = target.root / FOLDER
        run, wrong = await sweep.run(root, None, endpoint, place=place, fired=fault.cuts, sets_aside=not can_replace)
        wrong += faults_in_log(server.mutating, f"/{FOLDER}")
        if can_replace != ("RENAME" not in {command.verb for command in server.mutating}):
            wrong.append("the run used the wrong request to rename")
        if run is not None and fault.fired and when != "after" and not run.report.reconnects:
            wrong.append("the run did not notice the cut")
        fired += fault.fired
    sweep.wrong += [f"{at} ({fault.fired}): {text}" for text in wrong]
    return fault.seen


async def at_requests(
    source: Path, folder: Path, when: When, *, count: int | None = None, can_replace: bool = True
) -> set[str]:
    """Run the job once for each request, or for ``count`` of them, with a cut there; return the verbs of the requests.

    The ways to cut alternate. A complete sweep tries each way at each request.
    """
    fired: list[SftpRequest] = []
    async with Sweep.of(source) as sweep:
        requests = await cut_at_request(sweep, folder, (0, when, "rst"), fired, can_replace=can_replace)
        sweep.assert_well()
        hows: Sequence[How] = ("fin",) if when == "after" else HOWS
        async with trio.open_nursery() as nursery:
            every = range(1, requests + 1)
            for number in every if count is None else some(every, count, when):
                for how in hows if IS_COMPLETE else hows[number % len(hows) :][:1]:
                    at = (number, when, how)
                    nursery.start_soon(partial(cut_at_request, sweep, folder, at, fired, can_replace=can_replace))
    assert len(fired) >= sweep.runs - 4, "a run may send a few requests fewer"
    return {request.verb for request in fired}


@pytest.mark.scaled
@pytest.mark.parametrize("when", get_args(When))
async def test_m004_m005_m006_m008_m009_m010_m011_cut_at_every_request_loses_and_repeats_no_file(
    source: Path, server_folder: Path, when: When
) -> None:
    verbs = await at_requests(source, server_folder, when, count=None if IS_FULL else 18)
    if not IS_FULL:
        return  # a sample need not contain every verb
    assert verbs >= {"INIT", "REALPATH", "READDIR", "MKDIR", "CREATE", "WRITE", "CLOSE", "LSTAT", "REMOVE", "RMDIR"}
    assert "POSIX-RENAME" in verbs


@pytest.mark.scaled
@pytest.mark.parametrize("when", get_args(When))
async def test_m033_m050_cut_on_a_server_that_cannot_replace_loses_and_repeats_no_file(
    source: Path, server_folder: Path, when: When
) -> None:
    """The old file is renamed first. After a cut, either the old or the new file has the name."""
    await at_requests(source, server_folder, when, count=15, can_replace=False)


# ---- at packets of the encrypted stream

numbers = itertools.count(1)


async def cut_at_packet(sweep: Sweep, server: SshTarget, fault: CutWire, fired: list[CutWire], *, lanes: int) -> None:
    path = f"cut{next(numbers)}"
    root = ssh_servers.fresh_folder(server, path)
    async with sweep.place() as place, open_wire_proxy((server.host, server.port), [fault]) as proxy:
        endpoint = endpoint_for(server, path, host=proxy.host, lanes=lanes, stall_seconds=2.0, connect_seconds=3.0)
        in_hand = min(lanes, len(SENT))
        run, wrong = await sweep.run(root, server.uid, endpoint, in_hand=in_hand, place=place, fired=proxy.fired)
        if fault.packet is not None and fault.packet < LOGIN and run is not None and not run.report.reconnects:
            wrong.append("the run did not notice the cut")
        fired += [fault] if proxy.fired else []
    sweep.wrong += [f"{fault}: {text}" for text in wrong]


#: Approximate number of packets in each direction: for the login, and for the rest of the job over one lane.
LOGIN, REST = 8, 30


@pytest.mark.scaled
@pytest.mark.parametrize("how", HOWS)
async def test_m004_m011_cut_during_a_login_loses_and_repeats_no_file(
    shared_sftp_server: SshTarget, source: Path, how: How
) -> None:
    """The cuts are at the versions, the key exchange, the client's key, the channel and the start of SFTP."""
    await at_packets(shared_sftp_server, source, range(1, LOGIN), how, 6, lanes=1)


@pytest.mark.scaled
@pytest.mark.parametrize("lanes", [1, 8])
@pytest.mark.parametrize("how", HOWS)
async def test_m005_m006_m010_m011_cut_at_a_packet_loses_and_repeats_no_file(
    shared_sftp_server: SshTarget, source: Path, how: How, lanes: int
) -> None:
    await at_packets(shared_sftp_server, source, range(LOGIN, LOGIN + REST // min(lanes, 2)), how, 6, lanes=lanes)


async def at_packets(server: SshTarget, source: Path, packets: range, how: How, count: int, *, lanes: int) -> None:
    fired: list[CutWire] = []
    directions: tuple[Direction, ...] = get_args(Direction)
    places = list(itertools.product(packets, directions))
    async with Sweep.of(source) as sweep, trio.open_nursery() as nursery:
        for packet, direction in some(places, count, f"{server.name} {how} {packets}"):
            fault = CutWire(packet=packet, direction=direction, how=how)
            nursery.start_soon(partial(cut_at_packet, sweep, server, fault, fired, lanes=lanes))
    assert len(fired) > sweep.runs / 2
