"""The connection is cut at every line of a small job, on every FTP server: all files arrive, each once and whole.

There are three ways to cut (close, reset, silence) and three moments: before the server receives the line, before the
client receives the reply, and after the reply. Two independent logs are checked: the kernel's record of the server's
disk (`tests.support.system.disk_log`), and the proxy's record of the commands.
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
    """Run the job once through a proxy with these faults."""
    path = f"/cut{next(_numbers)}"
    root = fresh_folder(server, path[1:])
    async with sweep.place() as place, open_fault_proxy((server.host, server.port), *faults) as proxy:
        target = endpoint_for(server, path, host=proxy.host, stall_seconds=2.0, connect_seconds=3.0)
        run, wrong = await sweep.run(root, server.uid, target, connections=connections, place=place, fired=proxy.fired)
        wrong += faults_in_log(proxy.mutating, path)
    sweep.wrong += [f"{faults}: {text}; {' | '.join(proxy.lines)}" for text in wrong]
    return run, proxy


async def cut(sweep: Sweep, server: FtpTarget, fault: Cut, fired: list[Fault], *, connections: int = 1) -> None:
    """Run the job once with a cut at a line, and check that the run noticed it."""
    run, proxy = await one_run(sweep, server, fault, connections=connections)
    fired += proxy.fired
    if run is None:
        return
    if not proxy.fired and len(proxy.commands) >= fault.at_line:
        sweep.wrong.append(f"{fault}: the line was sent, and the fault did not happen")
    is_noticeable = proxy.fired and fault.when != "after" and proxy.commands[fault.at_line - 1].verb != "QUIT"
    # A connection that is cut during its login leaves the work to the other connection, if there is one.
    if is_noticeable and not (run.report.reconnects or run.of(Resized)):
        sweep.wrong.append(f"{fault}: the run did not notice it")


@pytest.mark.scaled
@pytest.mark.parametrize("when", WHENS)
@pytest.mark.parametrize("how", HOWS)
async def test_m004_m008_m009_m010_m011_cut_at_every_line_loses_and_repeats_no_file(
    shared_ftp_server: FtpTarget, source: Path, how: How, when: When
) -> None:
    """The full form takes half of the lines, and a quarter on the real servers: different ones for each way to cut.

    So each line is cut in two or three of the nine ways on each server. ``ACTORSYNC_SWEEP=all`` takes all of them.
    There are half as many cuts after a reply: each is almost the same as a cut before the next line.
    """
    fired: list[Fault] = []
    async with Sweep.of(source) as sweep:
        _, undisturbed = await one_run(sweep, shared_ftp_server)
        sweep.assert_well()
        lines: Sequence[int] = range(1, len(undisturbed.commands) + 1)
        parts = (2 if shared_ftp_server.name == PYFTPDLIB else 4) * (2 if when == "after" else 1)
        lines = some(lines, len(lines) // parts // (1 if IS_FULL else 4), f"{shared_ftp_server.name} {how} {when}")
        async with trio.open_nursery() as nursery:
            for line in lines:
                fault = Cut(at_line=line, how=how, when=when)
                nursery.start_soon(cut, sweep, shared_ftp_server, fault, fired)
    assert len(fired) > len(lines) - 4, "a run may send a few lines fewer, when a batch holds one file more"


@pytest.mark.scaled
@pytest.mark.parametrize("how", HOWS)
async def test_m004_m010_m011_cut_beside_another_connection_loses_and_repeats_no_file(
    shared_ftp_server: FtpTarget, source: Path, how: How
) -> None:
    """One of two connections is cut. The order of the lines differs from run to run."""
    fired: list[Fault] = []
    rng = random.Random(f"beside {how}")
    count = 40 if IS_COMPLETE else amount("CUTS_BESIDE", short=3, full=6)
    async with Sweep.of(source) as sweep, trio.open_nursery() as nursery:
        for line in rng.sample(range(1, 70), count):
            fault = Cut(at_line=line, how=how, when=rng.choice(WHENS))
            nursery.start_soon(partial(cut, sweep, shared_ftp_server, fault, fired, connections=2))
    assert len(fired) >= count / 2


@pytest.mark.scaled
async def test_m005_m007_m028_cut_during_an_upload_is_noticed(shared_ftp_server: FtpTarget, source: Path) -> None:
    """The server has received the STOR, and the client does not receive the 150, or the 226. The data still passes."""
    fired: list[Fault] = []
    whens: tuple[When, ...] = ("unheard", "unanswered")
    places = list(itertools.product(range(1, 5) if IS_FULL else [2], HOWS, whens))
    async with Sweep.of(source) as sweep, trio.open_nursery() as nursery:
        for line, how, when in places:
            nursery.start_soon(
                at_verb, sweep, shared_ftp_server, Cut(verb="STOR", at_line=line, how=how, when=when), fired
            )
    assert len(fired) == len(places)


async def test_m045_cut_during_a_listing_is_noticed(shared_ftp_server: FtpTarget, source: Path) -> None:
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
        sweep.wrong.append(f"{fault}: the run did not notice it")


# ---- replies that are lost, duplicated or late


@pytest.fixture(scope="module")
def pyftpdlib() -> Iterator[FtpTarget]:
    with ftp.home() as folder, ftp.serving(PYFTPDLIB, folder) as server:
        yield server


async def at_every_line(server: FtpTarget, source: Path, make: Callable[[int], Fault]) -> list[Run]:
    """Run the job once for each line, or for half of the lines, with the fault that ``make`` returns for the line.

    Returns the runs in which the fault happened.
    """
    runs: list[Run] = []
    async with Sweep.of(source) as sweep:
        _, undisturbed = await one_run(sweep, server)
        sweep.assert_well()

        every = range(1, len(undisturbed.commands) + 1)
        lines = some(every, len(every) // (2 if IS_FULL else 4), repr(make(1)))

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
async def test_m007_m017_lost_reply_at_every_line_is_noticed(pyftpdlib: FtpTarget, source: Path) -> None:
    """Only the reply to the last line, QUIT, may be lost unnoticed."""
    runs = await at_every_line(pyftpdlib, source, lambda line: Swallow(at_line=line))
    assert sum(run.report.reconnects == 0 for run in runs) <= 1


@pytest.mark.scaled
async def test_m020_duplicate_reply_at_every_line_loses_and_repeats_no_file(pyftpdlib: FtpTarget, source: Path) -> None:
    """The duplicate is never taken for the reply to the next command."""
    await at_every_line(pyftpdlib, source, lambda line: Duplicate(at_line=line))


async def test_m017_late_replies_cause_no_reconnect(shared_ftp_server: FtpTarget, source: Path) -> None:
    """Every reply is late, but within the timeout."""
    async with Sweep.of(source) as sweep:
        run, proxy = await one_run(sweep, shared_ftp_server, Hold(seconds=0.02, times=10**9))
    assert run is not None
    assert run.report.reconnects == 0
    assert len(proxy.fired) == len(proxy.commands)


# ---- under TLS, where the proxy cannot see lines

TLS_SERVERS = ("vsftpd", "proftpd", PYFTPDLIB)


@pytest.fixture(scope="module", params=TLS_SERVERS)
def tls_server(request: pytest.FixtureRequest) -> Iterator[tuple[FtpTarget, range]]:
    ports = some_data_ports()
    with ftp.home() as folder, ftp.serving(request.param, folder, Options(tls=Tls(), data_ports=ports)) as server:
        yield server, ports


async def cut_over_tls(
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


#: Approximate number of packets in each direction for a login over TLS: AUTH, handshake, PBSZ, PROT, USER, PASS.
LOGIN = 9


@pytest.mark.scaled
@pytest.mark.parametrize("how", HOWS)
async def test_m004_m011_cut_during_a_tls_login_loses_and_repeats_no_file(
    tls_server: tuple[FtpTarget, range], source: Path, how: How
) -> None:
    """The cuts are at AUTH, at each part of the handshake, at PBSZ, PROT, USER and PASS."""
    fired: list[CutWire] = []
    directions: tuple[Direction, ...] = get_args(Direction)
    places = list(itertools.product(range(LOGIN), directions))
    async with Sweep.of(source) as sweep, trio.open_nursery() as nursery:
        for packet, direction in some(places, 4, f"login {how} {tls_server[0].name}"):
            fault = CutWire(packet=packet, direction=direction, how=how)
            nursery.start_soon(cut_over_tls, sweep, *tls_server, fault, fired)
    assert len(fired) == sweep.runs


@pytest.mark.scaled
@pytest.mark.parametrize("how", HOWS)
async def test_m005_m010_m011_cut_at_a_packet_over_tls_loses_and_repeats_no_file(
    tls_server: tuple[FtpTarget, range], source: Path, how: How
) -> None:
    fired: list[CutWire] = []
    directions: tuple[Direction, ...] = get_args(Direction)
    places = list(itertools.product(range(LOGIN, 30), directions))
    async with Sweep.of(source) as sweep, trio.open_nursery() as nursery:
        for packet, direction in some(places, 4, f"{how} {tls_server[0].name}"):
            fault = CutWire(packet=packet, direction=direction, how=how)
            nursery.start_soon(cut_over_tls, sweep, *tls_server, fault, fired)
    assert len(fired) >= sweep.runs - 1, "a run may send a few packets fewer"
