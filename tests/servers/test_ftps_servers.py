"""Real servers under TLS in strict settings: nothing in clear, and every data connection must resume the session.

The tests of whole runs are those of ``test_ftp_pipeline``, over TLS.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from actorsync.endpoints.contract import Upload
from actorsync.errors import ConnectionLost
from actorsync.model.operation import Copy, Done
from actorsync.testing.conformance.contents import MemoryContent
from actorsync.testing.conformance.place import Check, Place
from actorsync.testing.conformance.suite import CHECK_FUNCTIONS
from actorsync.testing.network.faults import CutData, Fault, How, Refuse, Truncate
from tests.servers.test_ftp_pipeline import (  # noqa: F401 - run here over TLS, by the fixture `site`
    Site,
    source,
    test_changes_of_every_kind_converge_in_one_run,
    test_foreign_files_are_adopted_overwritten_or_kept,
    test_m048_second_of_two_names_that_a_server_merges_fails,
    test_m065_empty_files_arrive,
    test_m079_m080_m083_names_arrive_exactly_or_fail_by_name,
    test_m114_lost_journal_costs_only_a_survey,
    write,
    write_sparse,
)
from tests.support import FtpTarget
from tests.support.mirror import Run, contents, mirror, temporaries, times
from tests.support.servers import debian_servers
from tests.support.servers.debian_servers import Options, Tls, some_data_ports
from tests.support.servers.ftp import NAMES, PYFTPDLIB, endpoint_for, fresh_folder, home, proxy_before, serving
from tests.support.sweeps import IS_COMPLETE
from tests.support.system.steps import cancelled_after

MIB = 1024 * 1024
BIG = 200_000
FOREVER = 10**9


@attrs.frozen
class SecureServer:
    """A server with TLS, and its data ports, which the proxy needs."""

    target: FtpTarget
    data_ports: range


@contextmanager
def secured(name: str, tls: Tls) -> Iterator[SecureServer]:
    ports = some_data_ports()
    with home() as folder, serving(name, folder, Options(tls=tls, data_ports=ports)) as target:
        yield SecureServer(target, ports)


#: Each way to serve with TLS: a server, a version, explicit or implicit.
EVERY = [
    *((name, Tls(version)) for name in NAMES for version in ("1.2", "1.3")),
    *(
        (name, Tls(version, is_implicit=True))
        for name in (PYFTPDLIB, "vsftpd", "proftpd")
        for version in ("1.2", "1.3")
    ),
]


@pytest.fixture(scope="module")
def every(request: pytest.FixtureRequest) -> Iterator[SecureServer]:
    """Start a server with a version of TLS, explicit or implicit, once for this module."""
    with secured(*request.param) as server:
        yield server


WAYS = [f"{name}-{'implicit' if tls.is_implicit else 'explicit'}-{tls.version}" for name, tls in EVERY]


def conformance() -> list[object]:
    """Return pairs of a way to serve and a check.

    Each check is made on each server with one of the two versions, and on one of the implicit ones. A complete sweep
    (``ACTORSYNC_SWEEP=all``) makes each in all ways: they differ in the handshake.
    """
    explicit = 2 * len(NAMES)
    pairs: list[object] = []
    for place, (name, tls) in enumerate(EVERY):
        for number, check in enumerate(CHECK_FUNCTIONS):
            of_implicit = (place - explicit - number) % (len(EVERY) - explicit) == 0
            if IS_COMPLETE or (of_implicit if tls.is_implicit else (place + number) % 2 == 0):
                shown = f"{WAYS[place]}-{check.__name__.removeprefix('check_')}"
                pairs.append(pytest.param((name, tls), check, id=shown))
    return pairs


@pytest.fixture(scope="module", params=NAMES)
def secure(request: pytest.FixtureRequest) -> Iterator[SecureServer]:
    """Start each server in turn, with TLS 1.3."""
    with secured(request.param, Tls()) as server:
        yield server


@pytest.fixture
async def site(secure: SecureServer, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    """Return a fresh folder for each test, on each server."""
    name = request.node.name.partition("[")[0]
    fresh_folder(secure.target, name)
    async with proxy_before(secure.target, data_ports=secure.data_ports) as proxy:
        yield Site(secure.target, proxy, name, tmp_path / "journal")


@pytest.mark.full
@pytest.mark.parametrize(("every", "check"), conformance(), indirect=["every"])
async def test_conformance_over_tls(every: SecureServer, check: Check) -> None:
    fresh_folder(every.target, check.__name__)
    assert every.target.tls is not None
    # Reading takes long, and is the same under implicit and explicit TLS.
    reads = not every.target.tls.is_implicit
    await check(Place(endpoint_for(every.target, f"/{check.__name__}"), reads=reads))


async def test_tree_arrives_over_tls_and_the_second_run_does_nothing(site: Site, source: Path) -> None:  # noqa: F811
    for number in range(300):
        write(source / f"folder {number % 15}" / f"{number}.txt", b"%d" % number * 40, 10**9 + number)
    write(source / "empty", b"")
    (source / "empty folder").mkdir()
    for name, size in (("blind", 65_536), ("one more", 65_537), ("big", 5 * MIB)):
        write_sparse(source / name, size)
    run = await mirror(source, endpoint_for(site.server, site.path), site.journal)
    assert (run.report.exit_code, run.failures, run.report.reconnects) == (0, {}, 0)
    assert contents(site.root) == contents(source)
    assert times(site.root) == times(source)
    sent = [done.operation.path for done in run.of(Done) if isinstance(done.operation, Copy)]
    assert sorted(sent) == sorted(times(source)), "each was sent once"
    await site.assert_nothing_to_do(source)


@pytest.mark.parametrize("every", EVERY, indirect=True, ids=WAYS)
async def test_describe_shows_the_protection_of_the_session(every: SecureServer) -> None:
    async with endpoint_for(every.target).open_session() as session:
        assert dict(session.describe())["security"].startswith("TLSv1.")
        assert session.warnings() == ()


async def test_session_cancelled_anywhere_can_be_swept_or_is_lost(secure: SecureServer) -> None:
    """As in clear. Here the cancellation can also hit a handshake."""
    root = fresh_folder(secure.target, "cancelled")
    outcomes: list[bool | None] = []
    for steps in range(0, 60, 5):
        temporary = f".actorsync-{steps:04x}.tmp"
        with trio.fail_after(10):
            async with endpoint_for(secure.target, root.name, stall_seconds=0.5).open_session() as session:
                with cancelled_after(steps):
                    await session.stage(Upload("final", temporary, MemoryContent(bytes(300_000))))
                try:
                    outcomes.append(await session.abandon(temporary))
                    assert (await session.list_directory("")).problem is None, "the session is in step"
                except ConnectionLost:
                    outcomes.append(None)
        if outcomes[-1]:
            assert not (root / temporary).exists()
    if secure.target.name != PYFTPDLIB:  # it sends no further reply after a handshake that was cut off
        assert outcomes.count(True) > len(outcomes) / 2


# ---- network faults


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """Make six files in three folders, some of them larger than what is sent before the 150."""
    folder = tmp_path / "job"
    for number, size in enumerate((0, 300, 65_536, BIG, 5, 70_000)):
        write(folder / ("a", "b", "b/c", "")[number % 4] / f"{number}", b"%d" % number * size)
    return folder


async def run_through(secure: SecureServer, name: str, job: Path, *faults: Fault) -> Run:
    root = fresh_folder(secure.target, name)
    async with proxy_before(secure.target, *faults, data_ports=secure.data_ports) as proxy:
        endpoint = endpoint_for(secure.target, name, host=proxy.host, stall_seconds=1)
        run = await mirror(job, endpoint, None, settled=True, seconds=30)
        assert proxy.fired
    assert temporaries(root) == []
    return run


@pytest.mark.full
@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("after", [0, 1, 600, 40_000])
async def test_m006_cut_data_connection_is_retried(secure: SecureServer, job: Path, after: int, how: How) -> None:
    """The cuts are in the handshake, after it, and in the middle of a file. All files arrive whole."""
    name = f"cut {after} {how}"
    # Not twice at the same byte of one file: that looks like a limit on file sizes.
    again = CutData(after=2 * after, how=how)
    run = await run_through(secure, name, job, CutData(after=after, how=how), again)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert contents(secure.target.root / name) == contents(job)


@pytest.mark.full
@pytest.mark.parametrize("after", [0, 1, 600, 40_000, BIG])
async def test_m018_m100_truncated_upload_is_sent_again(secure: SecureServer, job: Path, after: int) -> None:
    """Some servers send 226 for it, under TLS 1.3 as well. The size on the server shows the truncation."""
    name = f"truncated {after}"
    run = await run_through(secure, name, job, Truncate(after=after, times=2))
    assert (run.report.exit_code, run.failures) == (0, {})
    assert contents(secure.target.root / name) == contents(job)


@pytest.mark.full
async def test_m100_upload_that_is_always_truncated_fails(secure: SecureServer, tmp_path: Path) -> None:
    """A file that never arrives whole never gets its final name."""
    folder = tmp_path / "one"
    write(folder / "big", b"0123456789" * (BIG // 10))
    run = await run_through(secure, "always truncated", folder, Truncate(after=100_000, times=FOREVER))
    assert run.report.exit_code == 1
    assert set(run.failures) == {"big"}
    assert contents(secure.target.root / "always truncated") == {}


async def test_m001_refused_connections_are_retried(secure: SecureServer, job: Path) -> None:
    run = await run_through(secure, "refused", job, Refuse(how="rst", times=2), Refuse(how="fin", times=1))
    assert (run.report.exit_code, run.failures) == (0, {})
    assert contents(secure.target.root / "refused") == contents(job)


@pytest.mark.parametrize("name", debian_servers.NAMES)
async def test_restarted_server_is_reached_again(name: Any, server_folder: Path, job: Path) -> None:
    """The new process does not know the TLS sessions of the old one."""
    debian_servers.require(name)
    root = server_folder / "root"
    root.mkdir()
    with debian_servers.debian_server(name, root, server_folder, Options(tls=Tls())) as server:
        restarted = False

        def restart_once(event: object) -> None:
            nonlocal restarted
            if isinstance(event, Done) and isinstance(event.operation, Copy) and not restarted:
                restarted = True
                server.restart()

        run = await mirror(job, endpoint_for(server.target), None, observer=restart_once, settled=True)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert run.report.reconnects >= 1
    assert contents(root) == contents(job)
