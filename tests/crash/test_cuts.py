"""The connection is cut at every line of a small job, on every FTP server: all files arrive, none twice, none half.

Three ways to cut (the end, a reset, silence) at three moments (before the server sees the line, when it has answered
and the client does not hear it, after the answer). Two witnesses that know nothing of each other: the kernel tells what
happened on the server's disk, the proxy what was asked of the server.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import cast, get_args

import pytest
import trio

from actorsync.model.event import Resized
from actorsync.testing.network.faults import Cut, Duplicate, Fault, Hold, How, Swallow, When
from actorsync.testing.network.ftp_proxy import FaultProxy, open_fault_proxy
from actorsync.testing.network.proxy import CutWire, Direction
from tests.support import FtpTarget
from tests.support.mirror import Run
from tests.support.servers import ftp
from tests.support.servers.debian_servers import Options, Tls, some_data_ports
from tests.support.servers.ftp import PYFTPDLIB, endpoint_for, fresh_folder, proxy_before
from tests.support.small_job import faults_in_log, write_source
from tests.support.sweeps import IS_COMPLETE, Sweep, some
from tests.support.tiers import IS_FULL, amount

HOWS: tuple[How, ...] = get_args(How)
WHENS: tuple[When, ...] = ("before", "unanswered", "after")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("source"))


_numbers = itertools.count(1)


async def one_run(
    sweep: Sweep, server: FtpTarget, *faults: Fault, connections: int = 1
) -> tuple[Run | None, FaultProxy]:
    """Make one run through a proxy with these faults."""
    path = f"/cut{next(_numbers)}"
    root = fresh_folder(server, path[1:])
    async with sweep.place() as place, open_fault_proxy((server.host, server.port), *faults) as proxy:
        target = endpoint_for(server, path, host=proxy.host, stall_seconds=2.0, connect_seconds=3.0)
        run, wrong = await sweep.run(root, server.uid, target, connections=connections, place=place, fired=proxy.fired)
        wrong += faults_in_log(proxy.mutating, path)
    sweep.wrong += [f"{faults}: {text}; {' | '.join(proxy.lines)}" for text in wrong]
    return run, proxy


async def cut(sweep: Sweep, server: FtpTarget, fault: Cut, fired: list[Fault], *, connections: int = 1) -> None:
    """Make one run that is cut at a line, and see that somebody noticed."""
    run, proxy = await one_run(sweep, server, fault, connections=connections)
    fired += proxy.fired
    if run is None:
        return
    if not proxy.fired and len(proxy.commands) >= fault.at_line:
        sweep.wrong.append(f"{fault}: there was such a line, and nothing happened")
    is_felt = proxy.fired and fault.when != "after" and proxy.commands[fault.at_line - 1].verb != "QUIT"
    # One that is cut off while it logs in beside another leaves the work to that one.
    if is_felt and not (run.report.reconnects or run.of(Resized)):
        sweep.wrong.append(f"{fault}: nobody noticed")


@pytest.mark.scaled
@pytest.mark.parametrize("when", WHENS)
@pytest.mark.parametrize("how", HOWS)
async def test_m004_m008_m009_m010_m011_cut_at_every_line(
    shared_ftp_server: FtpTarget, source: Path, how: How, when: When
) -> None:
    """CI takes half of the lines on servers outside this process, other ones for each way to cut.

    Of the cuts after an answer it takes half of that: the next line's before it is sent are almost the same.
    """
    fired: list[Fault] = []
    async with Sweep.of(source) as sweep:
        _, undisturbed = await one_run(sweep, shared_ftp_server)
        sweep.assert_well()
        lines: Sequence[int] = range(1, len(undisturbed.commands) + 1)
        parts = (1 if shared_ftp_server.name == PYFTPDLIB else 2) * (2 if when == "after" else 1)
        lines = some(lines, len(lines) // parts // (1 if IS_FULL else 2), f"{shared_ftp_server.name} {how} {when}")
        async with trio.open_nursery() as nursery:
            for line in lines:
                fault = Cut(at_line=line, how=how, when=when)
                nursery.start_soon(cut, sweep, shared_ftp_server, fault, fired)
    assert len(fired) > len(lines) - 4, "the last few lines are not always there: a flight may hold one file more"


@pytest.mark.scaled
@pytest.mark.parametrize("how", HOWS)
async def test_m004_m010_m011_cut_beside_another_connection(
    shared_ftp_server: FtpTarget, source: Path, how: How
) -> None:
    """Of two connections one is cut, at lines whose order is never the same."""
    fired: list[Fault] = []
    rng = random.Random(f"beside {how}")
    count = 40 if IS_COMPLETE else amount("CUTS_BESIDE", short=3, full=6)
    async with Sweep.of(source) as sweep, trio.open_nursery() as nursery:
        for line in rng.sample(range(1, 70), count):
            fault = Cut(at_line=line, how=how, when=rng.choice(WHENS))
            nursery.start_soon(partial(cut, sweep, shared_ftp_server, fault, fired, connections=2))
    assert len(fired) >= count / 2


async def test_m005_m007_m028_cut_while_a_file_is_on_its_way(shared_ftp_server: FtpTarget, source: Path) -> None:
    """The server has the STOR, and the client has not its 150, or not its 226; the data goes on as it would."""
    fired: list[Fault] = []
    whens: tuple[When, ...] = ("unheard", "unanswered")
    async with Sweep.of(source) as sweep, trio.open_nursery() as nursery:
        for line, how, when in itertools.product(range(1, 5), HOWS, whens):
            nursery.start_soon(
                at_verb, sweep, shared_ftp_server, Cut(verb="STOR", at_line=line, how=how, when=when), fired
            )
    assert len(fired) == 4 * 3 * 2


async def test_m045_cut_while_a_listing_is_on_its_way(shared_ftp_server: FtpTarget, source: Path) -> None:
    fired: list[Fault] = []
    verb = "LIST" if shared_ftp_server.name == "vsftpd" else "MLSD"
    async with Sweep.of(source) as sweep, trio.open_nursery() as nursery:
        for line, how in itertools.product((1, 2), HOWS):
            fault = Cut(verb=verb, at_line=line, how=how, when="unheard")
            nursery.start_soon(at_verb, sweep, shared_ftp_server, fault, fired)
    assert len(fired) == 2 * 3


async def at_verb(sweep: Sweep, server: FtpTarget, fault: Cut, fired: list[Fault]) -> None:
    run, proxy = await one_run(sweep, server, fault)
    fired += proxy.fired
    if run is not None and not run.report.reconnects:
        sweep.wrong.append(f"{fault}: nobody noticed")


# ---- replies that are lost, or come twice, or late


@pytest.fixture(scope="module")
def pyftpdlib() -> Iterator[FtpTarget]:
    with ftp.home() as folder, ftp.serving(PYFTPDLIB, folder) as server:
        yield server


async def at_every_line(server: FtpTarget, source: Path, make: Callable[[int], Fault]) -> list[Run]:
    """Make one run for each line, in CI for each second, with the fault that is made for it."""
    runs: list[Run] = []
    async with Sweep.of(source) as sweep:
        _, undisturbed = await one_run(sweep, server)
        sweep.assert_well()

        every = range(1, len(undisturbed.commands) + 1)
        lines = some(every, len(every) // 2, repr(make(1)))

        async def disturbed(line: int) -> None:
            run, proxy = await one_run(sweep, server, make(line))
            if run is not None and proxy.fired:
                runs.append(run)

        async with trio.open_nursery() as nursery:
            for line in lines:
                nursery.start_soon(disturbed, line)
    assert len(runs) > len(lines) - 4
    return runs


@pytest.mark.scaled
async def test_m007_m017_every_reply_is_lost(pyftpdlib: FtpTarget, source: Path) -> None:
    """All but the last, which nobody waits for, are missed."""
    runs = await at_every_line(pyftpdlib, source, lambda line: Swallow(at_line=line))
    assert sum(run.report.reconnects == 0 for run in runs) <= 1


@pytest.mark.scaled
async def test_m020_every_reply_comes_twice(pyftpdlib: FtpTarget, source: Path) -> None:
    """The second is never taken for the answer to what was asked next."""
    await at_every_line(pyftpdlib, source, lambda line: Duplicate(at_line=line))


async def test_m017_every_reply_is_late(shared_ftp_server: FtpTarget, source: Path) -> None:
    """And not too late."""
    async with Sweep.of(source) as sweep:
        run, proxy = await one_run(sweep, shared_ftp_server, Hold(seconds=0.02, times=10**9))
    assert run is not None
    assert run.report.reconnects == 0
    assert len(proxy.fired) == len(proxy.commands)


# ---- under TLS, where nobody sees lines

TLS_SERVERS = ("vsftpd", "proftpd", PYFTPDLIB)


@pytest.fixture(scope="module", params=TLS_SERVERS)
def tls_server(request: pytest.FixtureRequest) -> Iterator[tuple[FtpTarget, range]]:
    ports = some_data_ports()
    with ftp.home() as folder, ftp.serving(request.param, folder, Options(tls=Tls(), data_ports=ports)) as server:
        yield server, ports


async def cut_sealed(
    sweep: Sweep, server: FtpTarget, ports: range, fault: CutWire | None, fired: list[CutWire]
) -> None:
    path = f"/cut{next(_numbers)}"
    root = fresh_folder(server, path[1:])
    faults = () if fault is None else (fault,)
    async with sweep.place(), proxy_before(server, data_ports=ports, wire=faults) as proxy:
        target = endpoint_for(server, path, host=proxy.host, stall_seconds=2.0, connect_seconds=3.0)
        _, wrong = await sweep.run(root, server.uid, target)
        assert proxy.sealed is not None
        fired += cast(list[CutWire], proxy.sealed.fired)
    sweep.wrong += [f"{fault}: {text}" for text in wrong]


#: Packets in each direction until a connection is logged in over TLS, about: AUTH, a handshake, PBSZ and PROT, USER...
LOGIN = 9


@pytest.mark.scaled
@pytest.mark.parametrize("how", HOWS)
async def test_m004_m011_cut_in_a_login_over_tls(tls_server: tuple[FtpTarget, range], source: Path, how: How) -> None:
    """AUTH, each part of the handshake, PBSZ, PROT, USER, PASS: no connection is used that is half made."""
    fired: list[CutWire] = []
    directions: tuple[Direction, ...] = get_args(Direction)
    places = list(itertools.product(range(LOGIN), directions))
    async with Sweep.of(source) as sweep, trio.open_nursery() as nursery:
        for packet, direction in some(places, 4, f"login {how} {tls_server[0].name}"):
            fault = CutWire(packet=packet, direction=direction, how=how)
            nursery.start_soon(cut_sealed, sweep, *tls_server, fault, fired)
    assert len(fired) == sweep.runs


@pytest.mark.scaled
@pytest.mark.parametrize("how", HOWS)
async def test_m005_m010_m011_cut_at_some_packets_over_tls(
    tls_server: tuple[FtpTarget, range], source: Path, how: How
) -> None:
    fired: list[CutWire] = []
    directions: tuple[Direction, ...] = get_args(Direction)
    places = list(itertools.product(range(LOGIN, 30), directions))
    async with Sweep.of(source) as sweep, trio.open_nursery() as nursery:
        for packet, direction in some(places, 4, f"{how} {tls_server[0].name}"):
            fault = CutWire(packet=packet, direction=direction, how=how)
            nursery.start_soon(cut_sealed, sweep, *tls_server, fault, fired)
    assert len(fired) >= sweep.runs - 1, "the last packets are not always there"
