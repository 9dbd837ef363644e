"""A big upload is cut at 20 places on every server: it goes on where it was cut, and no wrong file is ever kept."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import get_args

import pytest
import trio

from actorsync.endpoints.ftp.endpoint import FtpEndpoint
from actorsync.endpoints.sftp.endpoint import SftpEndpoint
from actorsync.planning.publishing.rules import PublishRule, ResumeRule
from actorsync.testing.network.faults import CutData, Fault, How, Throttle
from actorsync.testing.network.ftp_proxy import FaultProxy, open_fault_proxy
from actorsync.testing.network.proxy import CutWire, WireFault, WireProxy, open_wire_proxy
from tests.support.mirror import Run, mirror, mirror_process
from tests.support.servers import any_server, debian_servers
from tests.support.servers.any_server import AnyServer
from tests.support.servers.ftp import home
from tests.support.tiers import amount

MIB = 1024 * 1024
BLOCK = 64 * 1024
SIZE = 6 * MIB + 321
DATA = random.Random(15).randbytes(SIZE)
#: One byte before, at and after the boundaries of blocks.
PLACES = [min(SIZE - 1, BLOCK * number * 5 + number % 3 - 1) for number in range(1, 21)]
HOWS: tuple[How, ...] = get_args(How)
KILL = len(HOWS)
RESUME = PublishRule(resume=ResumeRule(smallest=MIB))
#: What a server was sent and has not written when the connection ends: OpenSSH's window of a channel, and packets.
IN_FLIGHT = 2 * MIB + 4 * BLOCK


@pytest.fixture(scope="module", params=any_server.NAMES)
def server(request: pytest.FixtureRequest) -> Iterator[AnyServer]:
    with home() as folder, any_server.running(request.param, folder) as running:
        yield running


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "big").write_bytes(DATA)
    return tmp_path / "source"


@asynccontextmanager
async def proxied(
    server: AnyServer, folder: Path, ftp: Fault, wire: WireFault | None, rate: int = 0, stall: float = 2.0
) -> AsyncIterator[tuple[FtpEndpoint | SftpEndpoint, FaultProxy | WireProxy]]:
    address = server.target.host, server.target.port
    if server.is_ftp:
        async with open_fault_proxy(address, ftp) as ftp_proxy:
            yield server.endpoint(folder, host=ftp_proxy.host, stall_seconds=stall), ftp_proxy
    else:
        async with open_wire_proxy(address, [wire], rate=rate) as proxy:
            yield server.endpoint(folder, host=proxy.host, stall_seconds=stall), proxy


def places(way: int) -> list[int]:
    """Return some of the places for one way to cut: all 20, over the four ways, with ACTORSYNC_RESUME_PLACES=5."""
    return PLACES[way :: KILL + 1][-amount("RESUME_PLACES", short=1, full=2) :]


def uploaded(proxy: FaultProxy | WireProxy) -> int:
    return proxy.uploaded if isinstance(proxy, FaultProxy) else proxy.passed["up"]


def check(run: Run, folder: Path, place: int, proxy: FaultProxy | WireProxy, *, goes_on: bool = True) -> None:
    assert run.report.exit_code == 0, run.failures
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("big", DATA)]
    if goes_on:
        again = uploaded(proxy) - SIZE
        assert again <= min(place, 2 * MIB) + IN_FLIGHT, f"cut at {place}: {again} bytes were sent again"
        assert run.report.resumed_bytes or place < 2 * MIB + IN_FLIGHT, f"cut at {place}: sent from the beginning"


@pytest.mark.scaled
@pytest.mark.parametrize("how", HOWS)
async def test_upload_that_is_cut_goes_on(server: AnyServer, source: Path, how: How) -> None:
    """vsftpd locks a file until it has noticed the end of a silent connection: the file is sent from its beginning."""

    async def one(place: int) -> None:
        folder = server.fresh_folder(f"{how}{place}")
        cuts = CutData(verb="STOR", after=place, how=how), CutWire(after=place, how=how)
        async with proxied(server, folder, *cuts) as (endpoint, proxy):
            run = await mirror(source, endpoint, None, connections=1, settled=True, publish=RESUME)
            assert proxy.fired
            check(run, folder, place, proxy, goes_on=(server.name, how) != ("vsftpd", "silence"))

    async with trio.open_nursery() as nursery:
        for place in places(HOWS.index(how)):
            nursery.start_soon(one, place)


@pytest.mark.full
async def test_upload_of_a_killed_process_goes_on(server: AnyServer, source: Path, tmp_path: Path) -> None:
    async def one(place: int) -> None:
        folder, journal = server.fresh_folder(f"kill{place}"), tmp_path / f"{place}.journal"
        # Nothing falls silent here. A server that has no time for two seconds would look like one that keeps a lock.
        async with proxied(server, folder, Throttle(8 * MIB), None, 8 * MIB, stall=20.0) as (endpoint, proxy):
            path = str(folder.relative_to(server.root))
            path = f"/{path}" if server.is_ftp else path
            process = mirror_process(
                source, server.target, journal, path=path, host=proxy.host, connections=1, settled=True, resume=MIB
            )
            with trio.fail_after(30):
                while uploaded(proxy) < place:  # noqa: ASYNC110 - the proxies have no event for it
                    await trio.sleep(0.001)
            process.kill()
            process.communicate()
            place = -1
            while place != uploaded(proxy):  # what the process had written to its sockets arrives all the same
                place = uploaded(proxy)
                await trio.sleep(0.5)
            run = await mirror(source, endpoint, journal, connections=1, settled=True, publish=RESUME)
            check(run, folder, place, proxy)

    async with trio.open_nursery() as nursery:
        for place in places(KILL):
            nursery.start_soon(one, place)


@pytest.mark.full
async def test_server_that_refuses_restarts_gets_the_file_from_its_beginning(source: Path) -> None:
    """ProFTPD without AllowStoreRestart, which is its default."""
    debian_servers.require("proftpd")
    options = debian_servers.Options(store_restart=False)
    with home() as place, any_server.running("proftpd", place, options) as server:
        folder = server.fresh_folder("site")
        cut = CutData(verb="STOR", after=5 * MIB, how="rst")
        async with proxied(server, folder, cut, None) as (endpoint, proxy):
            run = await mirror(source, endpoint, None, connections=1, settled=True, publish=RESUME)
            assert proxy.fired
            assert run.report.resumed_bytes == 0
            check(run, folder, 5 * MIB, proxy, goes_on=False)
