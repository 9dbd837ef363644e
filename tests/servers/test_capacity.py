"""Real servers with connection limits and restarts, and a machine with few descriptors.

Every file arrives without a failed attempt, and the next run knows the limit that this run has learnt.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.backoff import Backoff
from actorsync.endpoints.contract import Endpoint
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.endpoints.local.tree import Opened
from actorsync.endpoints.wrappers.bandwidth import Bandwidth
from actorsync.errors import OwnLimit
from actorsync.journal import open_journal
from actorsync.model.entry import name_of
from actorsync.model.event import Connected, Event, LoginDeferred, Resized, Retired
from actorsync.model.operation import Copy, Done, Failed, Returned
from actorsync.model.row import ListingRows
from actorsync.testing import EmbeddedFtpServer
from tests.support import FtpTarget
from tests.support.mirror import Run, contents, mirror, temporaries
from tests.support.root import ROOT
from tests.support.scenarios import write
from tests.support.servers import debian_servers, ftp, ssh_servers, ssh_target
from tests.support.servers.ssh_target import OPENSSH
from tests.support.system.disk_log import PURE_FTPD_RENAME

LIMIT, WANTED = 8, 20  # Pure-FTPd accepts eight connections from one address by default


@contextmanager
def served(name: str, folder: Path, **limits: Any) -> Iterator[tuple[Callable[[], Endpoint], Path, Callable[[], None]]]:
    """Serve an empty root: yield a factory for endpoints, the root, and a function that restarts the server.

    The SFTP endpoint has one lane, so that it wants as many connections as the FTP endpoint.
    """
    root = folder / "root"
    root.mkdir()
    with ExitStack() as stack:
        if name == OPENSSH:
            ssh_servers.require(OPENSSH)
            ssh = stack.enter_context(ssh_servers.openssh_server(root, folder, ssh_servers.Options(**limits)))
            yield lambda: ssh_target.endpoint_for(ssh.target, lanes=1), root, ssh.restart
        elif name == ftp.PYFTPDLIB:
            embedded = stack.enter_context(EmbeddedFtpServer(root, **limits))
            yield lambda: ftp.endpoint_for(embedded), root, embedded.restart
        else:
            debian = next(one for one in debian_servers.NAMES if one == name)
            debian_servers.require(debian)
            options = debian_servers.Options(**limits)
            server = stack.enter_context(debian_servers.debian_server(debian, root, folder, options))
            yield lambda: ftp.endpoint_for(server.target), root, server.restart


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Enough small files for every connection."""
    folder = tmp_path / "source"
    for number in range(300):
        write(folder / f"d{number % 6}" / f"{number}", b"%d " % number * (number * 37 % 3_000))
    return folder


def ceiling_in(journal: Path) -> int | None:
    with open_journal(journal, "test") as opened:
        return opened.ceiling()


def check(run: Run, source: Path, root: Path, *, ignored: str | None = None) -> None:
    """Check that every file and nothing else has arrived, each copied once.

    ``ignored`` is the prefix of names that the server itself may have left on its disk.
    """
    assert (run.report.exit_code, run.failures) == (0, {})
    found = contents(root)
    there = {path: found[path] for path in found if ignored is None or not name_of(path).startswith(ignored)}
    assert there == contents(source)
    assert temporaries(root) == []
    copies = Counter(event.operation.path for event in run.of(Done) if isinstance(event.operation, Copy))
    assert set(copies.values()) <= {1}


def check_no_attempt_is_counted(run: Run) -> None:
    """Check that the limit cost no file an attempt, and that no connection was retried on its own."""
    assert not [event for event in run.of(Returned) if event.tried]
    assert run.of(Retired) == []
    assert run.report.reconnects == 0


# ---- connection limits


class SlowToOpen(LocalEndpoint):
    """A source with slow files, so that there is work while connections are opened."""

    async def open_file(self, path: str) -> Opened:
        await trio.sleep(0.03)
        return await super().open_file(path)


@pytest.mark.parametrize("name", [ftp.PYFTPDLIB, *debian_servers.NAMES])
async def test_m014_pool_of_twenty_learns_a_limit_of_eight(
    name: str, source: Path, server_folder: Path, tmp_path: Path
) -> None:
    with served(name, server_folder, max_connections_per_address=LIMIT) as (endpoint, root, _):
        run = await mirror(SlowToOpen(source), endpoint(), tmp_path / "state", connections=WANTED)
        check(run, source, root)
        check_no_attempt_is_counted(run)
        if name == "proftpd" and len(run.of(Connected)) > LIMIT:
            return  # its clients count themselves in a file, so a busy machine accepts more
        assert len(run.of(Connected)) == LIMIT
        learnt = run.of(Resized)[0]
        assert (learnt.connections, learnt.ceiling, learnt.before) == (LIMIT, LIMIT, WANTED)
        assert len(run.of(LoginDeferred)) <= 8, "only logins at the same time; later ones know the limit"
        assert ceiling_in(tmp_path / "state") == LIMIT

        for number in range(0, 300, 2):
            write(source / f"d{number % 6}" / f"{number}", b"changed")
        run = await mirror(SlowToOpen(source), endpoint(), tmp_path / "state", connections=WANTED)
        check(run, source, root)
        assert 1 < len(run.of(Connected)) <= LIMIT
        # The server may still count sessions of the first run.
        assert len(run.of(Connected)) + len(run.of(LoginDeferred)) <= LIMIT + 2, (
            "the run starts with the limit from the journal"
        )


@pytest.mark.full
@pytest.mark.parametrize("startups", ["1:100:2", "2:100:3"])
async def test_m015_pool_of_eight_logs_in_below_max_startups(
    startups: str, source: Path, server_folder: Path, tmp_path: Path
) -> None:
    """``MaxStartups`` drops connections while another one logs in; all eight get in one after the other."""
    with served(OPENSSH, server_folder, max_startups=startups) as (endpoint, root, _):
        for number in range(300, 1_500):
            write(source / "more" / f"{number}", b"%d" % number)
        run = await mirror(SlowToOpen(source), endpoint(), tmp_path / "state", connections=8)
        check(run, source, root)
        assert len(run.of(Connected)) == 8
        assert run.of(LoginDeferred)
        check_no_attempt_is_counted(run)
        assert ceiling_in(tmp_path / "state") is None, "no limit is learnt, because logins one after the other succeed"


async def test_m014_max_sessions_of_one_does_not_limit_the_pool(
    source: Path, server_folder: Path, tmp_path: Path
) -> None:
    with served(OPENSSH, server_folder, max_sessions=1) as (endpoint, root, _):
        run = await mirror(SlowToOpen(source), endpoint(), tmp_path / "state", connections=4)
        check(run, source, root)
        check_no_attempt_is_counted(run)
        assert len(run.of(Connected)) == 4
        assert ceiling_in(tmp_path / "state") is None


class Dozing(LocalEndpoint):
    """A source with one directory that lists slowly."""

    async def list_many(self, directories: Sequence[str]) -> Sequence[ListingRows]:
        if directories[0] == "5":
            await trio.sleep(2.5)
        return await super().list_many(directories[:1])


@pytest.mark.parametrize("name", ["vsftpd", "proftpd", ftp.PYFTPDLIB])
async def test_m013_idle_connection_closed_by_the_server_is_reopened(
    name: str, server_folder: Path, tmp_path: Path
) -> None:
    """The scan takes longer than the server's idle timeout; the next operation reconnects."""
    for number in range(6):
        write(tmp_path / "source" / f"{number}/x", b"%d" % number)
    with served(name, server_folder, idle_timeout=1) as (endpoint, root, _):
        run = await mirror(Dozing(tmp_path / "source"), endpoint(), None, connections=1)
        check(run, tmp_path / "source", root)
        assert run.report.reconnects == 1
        assert run.of(Failed) == []


# ---- restarts


@pytest.mark.full
@pytest.mark.parametrize("name", [ftp.PYFTPDLIB, *debian_servers.NAMES, OPENSSH])
async def test_m029_run_completes_while_the_server_restarts_twenty_times(
    name: str, server_folder: Path, tmp_path: Path
) -> None:
    source, restarts, files = tmp_path / "source", 20, 400
    for number in range(files):
        write(source / f"d{number % 7}" / f"{number}", b"%d" % number * 5_000)
    goals = [trio.Event() for _ in range(restarts)]
    done = 0

    def count(event: Event) -> None:
        nonlocal done
        done += isinstance(event, Done) and isinstance(event.operation, Copy)
        for goal in goals[: (done + 10) * restarts // files]:
            goal.set()

    async def restart_often(restart: Callable[[], None]) -> None:
        for goal in goals:
            await goal.wait()
            await trio.to_thread.run_sync(restart)

    with served(name, server_folder) as (endpoint, root, restart):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(restart_often, restart)
            backoff = Backoff(initial=0.02, cap=0.2, tries=20)
            # Over SFTP, 64 files are on the way at once: without a limit, they arrive before the restarts are over.
            limit = Bandwidth(500_000) if name == OPENSSH else None
            more: dict[str, Any] = {"backoff": backoff, "settled": True, "bandwidth": limit}
            run = await mirror(source, endpoint(), None, observer=count, connections=4, **more)
    assert all(goal.is_set() for goal in goals)
    # Pure-FTPd deletes a file by renaming it first. Killed in between, it leaves that name behind.
    check(run, source, root, ignored=PURE_FTPD_RENAME if name == "pure-ftpd" else None)
    assert len(run.of(Connected)) >= restarts


# ---- descriptor limits


@contextmanager
def no_descriptor_left() -> Iterator[Callable[[], None]]:
    """Prevent this process from opening descriptors until the yielded function is called or the block ends."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def relieve() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    lowest = os.open("/", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
    try:
        yield relieve
    finally:
        relieve()


@pytest.mark.parametrize("is_relieved", [False, True])
async def test_m129_source_without_descriptors_waits_and_fails_no_file(
    is_relieved: bool, tmp_path: Path, autojump_clock: MockClock
) -> None:
    write(tmp_path / "a", b"content")
    endpoint = LocalEndpoint(tmp_path)
    await endpoint.hop(os.getpid)  # starts its thread now
    async with endpoint.open_session() as session:
        if is_relieved:
            async with relieved_later():
                assert (await session.list_directory("")).problem is None
            async with relieved_later(), session.open("a") as content:
                assert await content.read(10) == b"content"
            return
        with no_descriptor_left():
            with pytest.raises(OwnLimit, match="this machine can open no more: Too many open files"):
                await session.open("a").__aenter__()
            problem = (await session.list_directory("")).problem
        assert problem is not None
        assert (problem.reason, problem.vanished) == ("Too many open files", False)


@asynccontextmanager
async def relieved_later() -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        with no_descriptor_left() as relieve:

            async def later() -> None:
                await trio.sleep(0.5)
                relieve()

            nursery.start_soon(later)
            yield


@pytest.mark.parametrize("name", [ftp.PYFTPDLIB, ssh_target.ASYNCSSH])
async def test_m129_connection_without_a_descriptor_is_a_local_limit(name: str, server_folder: Path) -> None:
    with ExitStack() as stack:
        if name == ftp.PYFTPDLIB:
            endpoint: Any = ftp.endpoint_for(stack.enter_context(ftp.serving(name, server_folder)))
        else:
            endpoint = ssh_target.endpoint_for(
                stack.enter_context(ssh_servers.serving(ssh_target.ASYNCSSH, server_folder))
            )
        with no_descriptor_left():
            for _ in range(2):
                with pytest.raises(OwnLimit, match="this machine can open no more: Too many open files"):
                    await endpoint.open_session().__aenter__()
        async with endpoint.open_session() as session:
            assert (await session.list_directory("")).problem is None


def under_a_limit(descriptors: int, argv: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors)),
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def profile_for(server: Any, source: Path, path: Path, connections: int) -> Path:
    secret = 'password = { env = "SECRET" }'
    if not isinstance(server, FtpTarget):
        secret = f'known-hosts = "{server.known_hosts}"\nkey-file = "{server.client_key}"'
    target = f'[target]\nurl = "{server.url()}"\n{secret}'
    path.write_text(f'[source]\npath = "{source}"\n{target}\n[sync]\nconnections = {connections}\n')
    return path


@pytest.mark.parametrize(("name", "size"), [("vsftpd", 1_000), ("pure-ftpd", 300_000), (OPENSSH, 300_000)])
def test_m129_run_completes_with_32_descriptors_and_twenty_connections(
    name: str, size: int, server_folder: Path, tmp_path: Path
) -> None:
    """``ulimit -n 32`` is too little for twenty connections, and enough to copy every file."""
    source = tmp_path / "source"
    for number in range(80):
        write(source / f"d{number % 6}" / f"{number}", b"%03d" % number * (size // 3))
    with ExitStack() as stack:
        if name == OPENSSH:
            server: Any = stack.enter_context(ssh_servers.serving(OPENSSH, server_folder))
        else:
            server = stack.enter_context(ftp.serving(name, server_folder))
        profile = profile_for(server, source, tmp_path / "p.toml", WANTED)
        done = under_a_limit(
            32, [sys.executable, "-m", "actorsync", "run", "--once", str(profile)], SECRET=server.password
        )
        assert (done.returncode, "failed:" in done.stdout + done.stderr) == (0, False), done.stdout + done.stderr
        assert contents(server.root) == contents(source)
        assert temporaries(server.root) == []
        assert name == OPENSSH or "this machine can open no more: Too many open files" in done.stderr
