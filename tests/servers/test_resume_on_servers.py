"""A big upload is cut at 20 places on every server: it goes on where it was cut, and no wrong file is ever kept."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import get_args

import pytest

from actorsync.endpoints.ftp.endpoint import FtpEndpoint
from actorsync.endpoints.sftp.endpoint import SftpEndpoint
from actorsync.planning.publishing.rules import PublishRule, ResumeRule
from actorsync.testing.network.faults import CutData, How
from actorsync.testing.network.ftp_proxy import FaultProxy, open_fault_proxy
from actorsync.testing.network.proxy import CutWire, WireProxy, open_wire_proxy
from tests.support.mirror import Run, mirror
from tests.support.servers import any_server
from tests.support.servers.any_server import AnyServer
from tests.support.servers.ftp import home

MIB = 1024 * 1024
SIZE = 6 * MIB + 321
DATA = random.Random(15).randbytes(SIZE)
#: On both sides of the boundaries of blocks, and in the middle of them.
PLACES = [min(SIZE - 1, 64 * 1024 * number * 5 + number % 3 - 1) for number in range(1, 21)][::5]
HOWS: tuple[How, ...] = get_args(How)
RESUME = PublishRule(resume=ResumeRule(smallest=MIB))


@pytest.fixture(scope="module", params=any_server.NAMES)
def server(request: pytest.FixtureRequest) -> Iterator[AnyServer]:
    with home() as folder, any_server.running(request.param, folder) as running:
        yield running


@asynccontextmanager
async def cut(
    server: AnyServer, folder: Path, place: int, how: How
) -> AsyncIterator[tuple[FtpEndpoint | SftpEndpoint, FaultProxy | WireProxy]]:
    address = server.target.host, server.target.port
    if server.is_ftp:
        async with open_fault_proxy(address, CutData(verb="STOR", after=place, how=how)) as ftp:
            yield server.endpoint(folder, host=ftp.host, stall_seconds=2.0), ftp
    else:
        async with open_wire_proxy(address, [CutWire(after=place, how=how)]) as wire:
            yield server.endpoint(folder, host=wire.host, stall_seconds=2.0), wire


def up(proxy: FaultProxy | WireProxy) -> int:
    return proxy.uploaded if isinstance(proxy, FaultProxy) else proxy.passed["up"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "big").write_bytes(DATA)
    return tmp_path / "source"


@pytest.mark.parametrize("how", HOWS)
async def test_upload_that_is_cut_goes_on(server: AnyServer, source: Path, how: How) -> None:
    for number, place in enumerate(PLACES):
        folder = server.fresh_folder(f"{how}{number}")
        async with cut(server, folder, place, how) as (endpoint, proxy):
            t0 = time.time()
            run: Run = await mirror(source, endpoint, None, connections=1, settled=True, publish=RESUME)
            print(
                server.name,
                how,
                place,
                "up",
                up(proxy),
                "resumed",
                run.report.resumed_bytes,
                "reconnects",
                run.report.reconnects,
                run.report.exit_code,
                round(time.time() - t0, 2),
                proxy.fired,
                run.failures,
            )
            assert proxy.fired
        assert run.report.exit_code == 0, run.failures
        assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("big", DATA)]
