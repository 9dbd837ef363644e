"""The environment of a run: closed streams, suspended processes, jumping clocks, disks, very large trees."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.shutdown import Shutdown
from actorsync.endpoints.contract import Capabilities
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.errors import ConnectionLost
from actorsync.journal import open_memory_journal
from actorsync.model.event import Reconnecting
from actorsync.model.report import Report
from actorsync.planning.selection import Selection
from actorsync.policy import Clock, Policy, RunOptions
from actorsync.profile.values.units import MaxDelete
from actorsync.runs.repeating.repeat import repeat
from actorsync.supervisor import supervise
from tests.support import FtpTarget
from tests.support.mirror import contents, mirror, temporaries
from tests.support.root import ROOT
from tests.support.scenarios import write
from tests.support.servers import evil, ftp, ssh_servers
from tests.support.servers.evil import evil_server
from tests.support.servers.ssh_target import OPENSSH, SshTarget
from tests.support.system.program import program, run_again, write_profile
from tests.support.world.memory_mirror import Mirror

MIRROR = "[sync]\ndelete = true"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    for number in range(20):
        write(source / f"d{number % 3}" / f"{number}", b"%d" % number * 1_000)
    return source


@contextmanager
def serving(name: str, folder: Path) -> Iterator[FtpTarget | SshTarget]:
    if name == OPENSSH:
        with ssh_servers.serving(OPENSSH, folder) as target:
            yield target
    else:
        with ftp.serving(name, folder) as ftp_target:
            yield ftp_target


# ---- output


@pytest.mark.parametrize(("show", "closed"), [("--json", ">&-"), ("-v", ">&- 2>&-"), ("--json", "<&- >&- 2>&-")])
def test_m124_streams_that_are_closed_from_the_start(
    show: str, closed: str, source: Path, server_folder: Path, tmp_path: Path
) -> None:
    """The descriptors of closed streams are reused for sockets and files; no output may go there."""
    with ftp.serving(ftp.PYFTPDLIB, server_folder) as server:
        profile = write_profile(tmp_path / "profile.toml", source, server, "site")
        command = f'exec "$0" -m actorsync run "$1" {show} {closed}'
        done = subprocess.run(
            ["sh", "-c", command, sys.executable, profile], capture_output=True, cwd=ROOT, check=False
        )
        assert done.returncode == 0, done
        assert b"Traceback" not in done.stdout + done.stderr
        assert contents(server.root / "site") == contents(source)
        assert run_again(profile) == 0


def test_m124_run_continues_after_head_closes_the_pipe(source: Path, tmp_path: Path) -> None:
    profile = write_profile(tmp_path / "profile.toml", source, tmp_path / "target")
    command = 'set -o pipefail; "$0" -m actorsync run "$1" -v 2>&1 | head -n 1'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, profile], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert contents(tmp_path / "target") == contents(source)


# ---- time


@pytest.mark.parametrize("name", ["proftpd", OPENSSH])
def test_m125_suspended_process_continues(name: str, source: Path, server_folder: Path, tmp_path: Path) -> None:
    write(source / "big", random.Random("stop").randbytes(40 << 20))
    with serving(name, server_folder) as server:
        profile = write_profile(tmp_path / "profile.toml", source, server, "site")
        with program("run", os.fspath(profile), "--json") as running:
            assert running.process.stdout is not None
            while b'"copy"' not in running.process.stdout.readline():
                pass
            running.press(signal.SIGSTOP)
            time.sleep(3)
            running.press(signal.SIGCONT)
            ended = running.end()
        assert ended.code == 0, ended
        assert ended.out.count('"reconnecting"') <= 4, "each connection may find itself lost, once"
        assert contents(server.root / "site") == contents(source)
        assert temporaries(server.root) == []


async def test_m125_eight_hours_of_sleep_cause_one_late_pass(mock_clock: MockClock) -> None:
    passes: list[float] = []
    shutdown = Shutdown()

    async def one_pass() -> Report:
        passes.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        return Report(0, 0.0, 0.0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(repeat, one_pass, 60.0, shutdown)
        await trio.testing.wait_all_tasks_blocked()
        assert len(passes) == 1
        mock_clock.jump(8 * 3600)
        await trio.testing.wait_all_tasks_blocked()
        assert len(passes) == 2
        mock_clock.jump(59)
        await trio.testing.wait_all_tasks_blocked()
        assert len(passes) == 2
        shutdown.drain()


async def test_m125_long_sleep_does_not_cause_a_burst_of_logins(mock_clock: MockClock) -> None:
    """Every timer has expired and each connection is lost; each reconnects once."""
    world = Mirror()
    world.fill(200)
    is_away, attempts = False, 0

    class Server:
        display, capabilities = "server", Capabilities(is_remote=True)

        @asynccontextmanager
        async def open_session(self) -> AsyncIterator[object]:
            nonlocal attempts
            attempts += 1
            if is_away:
                raise ConnectionLost("away")
            async with world.target.open_session() as session:
                yield _Dying(session, lambda: is_away)

    policy = Policy(Selection(), MaxDelete.parse("100%"), connections=4)
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            report = await world.run(Server(), policy=policy)
            assert report.exit_code == 0, report

        nursery.start_soon(run)
        await sleep_until(lambda: len(world.target.files()) > 20)
        is_away = True
        await sleep_until(lambda: len(world.seen(Reconnecting)) >= 1)
        await trio.testing.wait_all_tasks_blocked()
        before = attempts
        mock_clock.jump(1000)
        await trio.testing.wait_all_tasks_blocked()
        assert attempts - before <= 4, "one try for each connection at most, however many timers ran out"
        is_away = False
        while nursery.child_tasks:
            mock_clock.jump(5)
            await trio.testing.wait_all_tasks_blocked()
    assert world.target.files() == world.source.files()


class _Dying:
    def __init__(self, session: object, is_dead: object) -> None:
        self._session, self._is_dead = session, is_dead

    def __getattr__(self, name: str) -> object:
        if self._is_dead():  # type: ignore[operator]
            raise ConnectionLost("it was asleep for too long")
        return getattr(self._session, name)


async def sleep_until(is_so: object) -> None:
    for _ in range(100_000):
        if is_so():  # type: ignore[operator]
            return
        await trio.lowlevel.checkpoint()
    raise AssertionError("it does not come to that")


@pytest.mark.parametrize("step", [-3600 * 10**9, -1, 10**18])
async def test_m131_wall_clock_jump_changes_nothing(step: int, source: Path, tmp_path: Path) -> None:
    now = time.time_ns()

    def wall_ns() -> int:
        nonlocal now
        now += step
        return now

    policy = Policy(Selection(), MaxDelete.parse("100%"), connections=2)
    journal = open_memory_journal()
    for _ in range(2):
        with trio.fail_after(20):
            report = await supervise(
                LocalEndpoint(source),
                LocalEndpoint(tmp_path / "target"),
                journal,
                RunOptions(
                    policy,
                    clock=Clock(wall_ns=wall_ns),
                ),
            )
        assert report.exit_code == 0
        assert 0 <= report.seconds < 20
    journal.close()
    assert report.copied == 0
    assert contents(tmp_path / "target") == contents(source)


# ---- disks


@contextmanager
def tmpfs(folder: Path) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_m059_unmounted_source_removes_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "target"
    profile = write_profile(tmp_path / "profile.toml", tmp_path / "source", target, "", MIRROR)
    with tmpfs(tmp_path / "source"):
        for number in range(5):
            write(tmp_path / "source" / f"{number}", b"x")
        assert run_again(profile) == 0
        there = contents(target)
    assert len(there) == 5
    for _ in range(2):
        assert run_again(profile) == 4
        assert contents(target) == there
    (tmp_path / "source" / "only").write_text("written below the mount point")
    assert run_again(profile) == 4
    assert contents(target).keys() == there.keys() | {"only"}
    assert "another" in capfd.readouterr().err


def test_m134_too_many_removals_are_refused(
    source: Path, server_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with ftp.serving(ftp.PYFTPDLIB, server_folder) as server:
        profile = write_profile(tmp_path / "profile.toml", source, server, "site", MIRROR)
        assert run_again(profile) == 0
        there = contents(server.root / "site")
        for number in range(15):
            (source / f"d{number % 3}" / f"{number}").unlink()
        with program("run", os.fspath(profile)) as running:
            ended = running.end()
        assert ended.code == 4
        assert "max-delete" in ended.err
        assert contents(server.root / "site") == there
        assert run_again(profile, "--set", "sync.max-delete=100%") == 0
        assert contents(server.root / "site") == contents(source)


# ---- sizes and shapes


class _Counted(bytes):
    """The content of a file, of which only the length is kept."""

    size = 0

    def __len__(self) -> int:
        return self.size


@pytest.mark.full
async def test_m066_sparse_file_over_4_gib_is_mirrored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes, offsets and counts on the wire have 64 bits. The target counts the bytes without storing them."""
    size, marks = 2**32 + 5_000, {2**32 - 2: b"ab", 2**32 + 3: b"X", 2**32 + 4_990: b"end"}
    source = tmp_path / "source"
    source.mkdir()
    descriptor = os.open(source / "big", os.O_WRONLY | os.O_CREAT)
    os.ftruncate(descriptor, size)
    for offset, mark in marks.items():
        os.pwrite(descriptor, mark, offset)
    os.close(descriptor)
    found: dict[int, bytes] = {}

    async def count(session: evil._Session, path: str) -> bytes:
        await session.stream.send_all(b"150 send it\r\n")
        kept = _Counted()
        async with await session.accept() as data:
            while piece := await data.receive_some(1 << 20):
                for offset, mark in marks.items():
                    for n in range(len(mark)):
                        if 0 <= (at := offset + n - kept.size) < len(piece):
                            found[offset] = found.get(offset, b"") + piece[at : at + 1]
                kept.size += len(piece)
        session.server.files[path] = kept
        return b"226 got it"

    monkeypatch.setattr(evil._Session, "do_stor", count)
    async with evil_server() as server:
        run = await mirror(source, ftp.endpoint_for(server), None, settled=True)
        assert (run.report.exit_code, run.failures) == (0, {})
        assert run.report.copied_bytes == size == len(server.files["/big"])
    assert found == marks


@pytest.mark.full
def test_m067_tree_a_thousand_folders_deep_is_mirrored(server_folder: Path, tmp_path: Path) -> None:
    """A local target takes the whole tree. FTP takes what fits into a command, and the connection stays usable."""
    deep = tmp_path / "deep"
    write(deep / "file", b"on top")
    descriptor = os.open(deep, os.O_RDONLY)
    for number in range(1_000):
        os.mkdir("folder", dir_fd=descriptor)
        below = os.open("folder", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
        if number % 100 == 0:
            os.close(os.open(f"{number}", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor))
    os.close(descriptor)
    try:
        local = write_profile(tmp_path / "local.toml", deep, tmp_path / "target")
        assert run_again(local) == 0
        counts = [subprocess.check_output(["find", folder, "-printf", "x"]) for folder in (deep, tmp_path / "target")]
        assert len(counts[0]) == len(counts[1]) == 1 + 1_000 + 10 + 1
        with ftp.serving(ftp.PYFTPDLIB, server_folder) as server:
            remote = write_profile(tmp_path / "remote.toml", deep, server, "site")
            assert run_again(remote) == 1
            assert (server.root / "site" / "file").read_bytes() == b"on top"
            assert (server.root / "site" / "folder" / "0").exists()
            assert (server.root / "site" / "/".join(["folder"] * 201) / "200").exists()
            assert temporaries(server.root) == []
            subprocess.run(["rm", "-rf", server.root / "site"], check=True)
    finally:
        subprocess.run(["rm", "-rf", deep, tmp_path / "target"], check=True)


_MEASURE = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def peak_of(count: int, folder: Path) -> int:
    """Return the peak memory of a run with ``files`` files, in KiB."""
    source = folder / f"{count}"
    for number in range(count):
        path = source / f"folder {number % 97}" / f"a file with a name of some length {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    profile = write_profile(folder / f"{count}.toml", source, folder / f"target {count}")
    command = [sys.executable, "-m", "actorsync", "run", os.fspath(profile), "--quiet"]
    # A child inherits the peak size of its parent, so a small process has to start it.
    between = [sys.executable, "-I", "-S", "-c", _MEASURE]
    done = subprocess.run([*between, *command], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return int(done.stdout)


@pytest.mark.full
def test_m068_memory_does_not_grow_with_the_tree() -> None:
    """Ten times the entries need far less than ten times the memory."""
    import tempfile

    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        few, many = peak_of(1_000, Path(folder)), peak_of(10_000, Path(folder))
    print(f"{few} KiB, {many} KiB")
    assert many - few < 16 * 1024


def test_m069_hard_links_become_two_files(source: Path, server_folder: Path, tmp_path: Path) -> None:
    os.link(source / "d0" / "0", source / "d1" / "linked")
    with ftp.serving(ftp.PYFTPDLIB, server_folder) as server:
        for target, site in ((server, server.root / "site"), (tmp_path / "target", tmp_path / "target")):
            profile = write_profile(tmp_path / "profile.toml", source, target, "site")
            assert run_again(profile) == 0
            assert contents(site) == contents(source)
            assert (site / "d1" / "linked").stat().st_nlink == 1
            with open(source / "d0" / "0", "ab") as file:
                file.write(b"changed by its other name")
            assert run_again(profile) == 0
            assert contents(site) == contents(source)
