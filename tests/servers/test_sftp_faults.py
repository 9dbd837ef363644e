"""Network failures, full disks and restarts of servers: every file arrives complete, or is reported.

A proxy in front of the servers makes the network fail at random places, which are the same in each run. Hostile servers
are in ``test_sftp_security``.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from actorsync.actors.backoff import Backoff
from actorsync.endpoints.contract import Staged, Upload
from actorsync.errors import ConnectionLost, LoginRefused
from actorsync.model.operation import Copy, Done
from actorsync.testing import EmbeddedSftpServer
from actorsync.testing.conformance.contents import MemoryContent, StallingContent
from actorsync.testing.network.faults import How
from actorsync.testing.network.proxy import CutWire, Direction, HoldWire, WireFault, WireProxy, open_wire_proxy
from tests.support.mirror import QUICK, CountingEndpoint, Run, contents, mirror, temporaries, times
from tests.support.scenarios import MIB, write
from tests.support.servers import evil_sftp
from tests.support.servers.ssh_servers import OPENSSH, embedded_server, fresh_folder, openssh_server, require
from tests.support.servers.ssh_target import ASYNCSSH, NAMES, Name, SshTarget, endpoint_for

Embedded = tuple[EmbeddedSftpServer, SshTarget]

LEAVES_WITHIN = 5.0  # seconds: a bound on any reaction to being stopped, not a measure of speed
#: Approximate bytes of a login in one direction, and of the whole job below from client to server.
HANDSHAKE, JOB = 3_000, 900_000


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small job: 12 files in four directories, some of several packets."""
    folder = tmp_path_factory.mktemp("source")
    rng = random.Random("sftp faults")
    for number, size in enumerate((0, 1, 300, 32_768, 65_536, 200_000, 5, 0, 300_000, 70, 4_096, 150_000)):
        write(folder / ("a", "b", "b/c", "")[number % 4] / f"{number}", rng.randbytes(size))
    return folder


class Job:
    """One run through a proxy with faults, into a new directory, and its checks."""

    _number = 0

    def __init__(self, server: SshTarget) -> None:
        Job._number += 1
        self.server, self.path = server, f"job{Job._number}"
        self.root = fresh_folder(server, self.path)
        self.proxy: WireProxy
        self.opened: dict[str, int] = {}

    async def run(
        self,
        source: Path,
        faults: Sequence[WireFault | None] = (),
        *,
        connections: int = 2,
        seconds: float = 30,
        backoff: Backoff = QUICK,
        network: dict[str, int] | None = None,
        **settings: Any,
    ) -> Run:
        counting = CountingEndpoint(source)
        self.opened = counting.opened
        async with open_wire_proxy((self.server.host, self.server.port), faults, **(network or {})) as self.proxy:
            target = endpoint_for(self.server, self.path, host=self.proxy.host, **settings)
            return await mirror(
                counting, target, None, connections=connections, settled=True, seconds=seconds, backoff=backoff
            )

    def assert_done(self, run: Run, source: Path, *, repeats: int) -> None:
        """Check that all files and nothing else arrived, and that at most ``repeats`` files were sent again."""
        assert (run.report.exit_code, run.failures) == (0, {}), self.proxy.fired
        assert contents(self.root) == contents(source)
        assert times(self.root) == times(source)
        assert temporaries(self.root) == []
        assert sum(self.opened.values()) - len(self.opened) <= repeats, self.opened


# ---- connections are cut


def cuts(seed: str, count: int, hows: Sequence[How] = ("fin", "rst")) -> list[CutWire]:
    """Return random cuts, the same in each run; half of them fall into the login or the first requests."""
    rng = random.Random(seed)
    chosen = []
    for _ in range(count):
        direction: Direction = rng.choice(("up", "down"))
        limit = (2 * HANDSHAKE if rng.random() < 0.5 else JOB) if direction == "up" else 3 * HANDSHAKE
        chosen.append(CutWire(after=rng.randrange(limit), direction=direction, how=rng.choice(hows)))
    return chosen


LANES = 64  # more than one connection ever has in flight


@pytest.mark.parametrize("cut", cuts("one", 16), ids=lambda cut: f"{cut.direction}-{cut.after}-{cut.how}")
async def test_m004_m005_m006_m010_run_completes_after_a_cut_at_any_byte(
    shared_sftp_server: SshTarget, source: Path, cut: CutWire
) -> None:
    job = Job(shared_sftp_server)
    run = await job.run(source, [cut], connections=1)
    job.assert_done(run, source, repeats=LANES)
    if job.proxy.fired:
        assert run.report.reconnects >= 1


@pytest.mark.parametrize("seed", range(4))
async def test_m006_m010_run_completes_after_many_cuts(shared_sftp_server: SshTarget, source: Path, seed: int) -> None:
    job = Job(shared_sftp_server)
    run = await job.run(source, cuts(f"often {seed}", 6), connections=2)
    job.assert_done(run, source, repeats=6 * LANES)


async def test_m111_committed_files_are_not_sent_again_after_a_cut(
    shared_sftp_server: SshTarget, tmp_path: Path
) -> None:
    for number in range(300):
        write(tmp_path / f"{number}", b"%d" % number * 2_000)
    job = Job(shared_sftp_server)
    run = await job.run(tmp_path, [CutWire(after=500_000)], connections=1)
    job.assert_done(run, tmp_path, repeats=LANES)
    assert job.proxy.fired
    done = [event.operation.path for event in run.of(Done) if isinstance(event.operation, Copy)]
    assert len(done) == len(set(done)) == 300


async def test_m006_large_file_completes_after_a_cut_in_the_middle(
    shared_sftp_server: SshTarget, tmp_path: Path
) -> None:
    write(tmp_path / "big", random.Random("big").randbytes(4 * MIB))
    job = Job(shared_sftp_server)
    faults = [CutWire(after=2 * MIB, how="rst"), CutWire(after=3 * MIB, how="fin")]
    run = await job.run(tmp_path, faults, connections=1)
    job.assert_done(run, tmp_path, repeats=2)
    assert job.proxy.fired == faults


async def test_m001_m002_run_completes_after_refused_connections(shared_sftp_server: SshTarget, source: Path) -> None:
    job = Job(shared_sftp_server)
    run = await job.run(source, [CutWire(how="rst"), CutWire(how="fin"), CutWire(how="rst", direction="down")])
    job.assert_done(run, source, repeats=0)
    assert run.report.reconnects >= 2


async def test_m001_unreachable_server_ends_with_exit_code_5(asyncssh_server: SshTarget, source: Path) -> None:
    backoff = Backoff(initial=0.01, cap=0.02, tries=3)
    run = await Job(asyncssh_server).run(source, [CutWire()] * 1000, backoff=backoff)
    assert run.report.exit_code == 5


# ---- connections go silent


@pytest.mark.full
@pytest.mark.parametrize("after", [0, 1_000, HANDSHAKE, 2 * HANDSHAKE, 100_000, 500_000])
@pytest.mark.parametrize("direction", ["up", "down"])
async def test_m011_m017_run_completes_after_a_silent_connection(
    asyncssh_server: SshTarget, source: Path, after: int, direction: Direction
) -> None:
    """A connection without received bytes is closed after the timeout."""
    job = Job(asyncssh_server)
    cut = CutWire(after=after, direction=direction, how="silence")
    run = await job.run(source, [cut], connections=1, connect_seconds=1.0, stall_seconds=1.0)
    job.assert_done(run, source, repeats=LANES)
    if job.proxy.fired:
        assert run.report.reconnects >= 1


async def test_m011_run_completes_after_a_silent_connection_to_openssh(source: Path, server_folder: Path) -> None:
    require(OPENSSH)
    (server_folder / "root").mkdir()
    with openssh_server(server_folder / "root", server_folder) as server:
        job = Job(server.target)
        cut = CutWire(after=300_000, how="silence")
        run = await job.run(source, [cut], connections=1, stall_seconds=1.0)
        job.assert_done(run, source, repeats=LANES)
        assert job.proxy.fired


@pytest.mark.full
@pytest.mark.parametrize("verb", ["INIT", "REALPATH", "OPENDIR", "READDIR", "MKDIR", "CREATE", "WRITE", "CLOSE"])
async def test_m017_run_completes_after_a_missing_reply(verb: str, embedded_sftp: Embedded, source: Path) -> None:
    server, target = embedded_sftp
    server.instead = evil_sftp.silence(verb)
    job = Job(target)
    run = await job.run(source, connections=1, connect_seconds=1.0, stall_seconds=1.0)
    job.assert_done(run, source, repeats=LANES)
    assert server.instead.sent <= 1


async def test_m017_m027_slow_network_does_not_reconnect(asyncssh_server: SshTarget, source: Path) -> None:
    """The whole run takes longer than the limit, but no single packet does."""
    job = Job(asyncssh_server)
    run = await job.run(source, connections=1, network={"rate": 400_000}, stall_seconds=1.5)
    job.assert_done(run, source, repeats=0)
    assert run.report.reconnects == 0


async def test_m017_pause_below_the_limit_does_not_reconnect(asyncssh_server: SshTarget, source: Path) -> None:
    job = Job(asyncssh_server)
    faults = [HoldWire(seconds=0.3, after=200_000), HoldWire(seconds=0.3, after=4_000, direction="down")]
    run = await job.run(source, faults, stall_seconds=5)
    job.assert_done(run, source, repeats=0)
    assert run.report.reconnects == 0
    assert job.proxy.fired


async def test_m026_run_completes_with_three_bytes_at_a_time(shared_sftp_server: SshTarget, tmp_path: Path) -> None:
    for number in range(10):
        write(tmp_path / f"d{number % 2}/{number}", b"%d" % number * 100)
    job = Job(shared_sftp_server)
    run = await job.run(tmp_path, network={"slice_size": 3})
    job.assert_done(run, tmp_path, repeats=0)
    assert run.report.reconnects == 0


async def test_m002_server_without_ssh_loses_the_connection(source: Path, asyncssh_server: SshTarget) -> None:
    for says in (b"", b"220 hello\r\n", b"SSH-1.5-old\r\n", b"line\r\n" * 2000, b"\x16\x03\x01\x00", b"x" * 100_000):
        for closes in (True, False):
            with evil_sftp.open_tcp_greeter(says, then_closes=closes) as (host, port, heard):
                endpoint = endpoint_for(asyncssh_server, host=host, port=port, connect_seconds=0.5)
                with trio.fail_after(LEAVES_WITHIN), pytest.raises((ConnectionLost, LoginRefused)):
                    async with endpoint.open_session():
                        raise AssertionError("connected")
                assert b"CANARY" not in b"".join(heard)


# ---- cancellation


async def test_m012_large_upload_over_a_silent_network_cancels_at_once(
    shared_sftp_server: SshTarget, tmp_path: Path
) -> None:
    with open(tmp_path / "big", "wb") as file:  # noqa: ASYNC230 - nothing else runs yet
        file.truncate(64 * MIB)
    server = shared_sftp_server
    path = fresh_folder(server, "silent").name
    async with open_wire_proxy((server.host, server.port)) as proxy, trio.open_nursery() as nursery:
        target = endpoint_for(server, path, host=proxy.host)

        async def upload() -> None:
            await mirror(tmp_path, target, None, connections=1)

        nursery.start_soon(upload)
        with trio.fail_after(30):
            await proxy.wait_passed("up", 8 * MIB)
        proxy.cut("silence")
        await trio.sleep(0.2)  # until all buffers are full
        began = time.monotonic()
        nursery.cancel_scope.cancel()
    assert time.monotonic() - began < LEAVES_WITHIN


@pytest.mark.parametrize("after", [0, 500, 1_500, 3_000])
async def test_m012_m122_hanging_login_cancels_at_once(asyncssh_server: SshTarget, after: int) -> None:
    server = asyncssh_server
    cut = CutWire(after=after, how="silence")
    async with open_wire_proxy((server.host, server.port), [cut]) as proxy:
        endpoint = endpoint_for(server, host=proxy.host)
        began = time.monotonic()
        with trio.move_on_after(0.3):
            async with endpoint.open_session() as session:
                await session.list_directory("")
    assert time.monotonic() - began < LEAVES_WITHIN


@pytest.mark.parametrize("size", [1_000, 3_000_000])
async def test_abandon_after_a_cancellation_removes_the_temporary_or_loses_the_connection(
    shared_sftp_server: SshTarget, size: int
) -> None:
    """After a cancellation at any step, `abandon` removes the temporary, or raises `ConnectionLost`."""
    server = shared_sftp_server
    root = fresh_folder(server, f"cancelled{size}")
    endpoint = endpoint_for(server, root.name)
    for steps in range(0, 60, 5):
        temporary = f".actorsync-{steps:04x}.tmp"
        with trio.move_on_after(5) as slow:
            async with endpoint.open_session() as session:
                first, _ = await session.stage(Upload("first", ".actorsync-f.tmp", MemoryContent(b"1")))
                assert isinstance(first, Staged)
                with trio.CancelScope() as scope:
                    stop = After(steps, scope.cancel)
                    trio.lowlevel.add_instrument(stop)
                    try:
                        await session.stage(Upload("final", temporary, MemoryContent(bytes(size))), commit=[first])
                    finally:
                        trio.lowlevel.remove_instrument(stop)
                try:
                    is_gone = await session.abandon(temporary)
                    assert (await session.list_directory("")).problem is None, "the session is in step"
                    assert not is_gone or not (root / temporary).exists()
                except ConnectionLost:
                    pass
        assert not slow.cancelled_caught, f"stuck after {steps} steps"


class After(trio.abc.Instrument):
    """Calls ``action`` after a number of task steps."""

    def __init__(self, steps: int, action: Callable[[], object]) -> None:
        self.left, self.action = steps, action

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            self.action()


async def test_failed_session_leaves_no_socket_and_no_thread(asyncssh_server: SshTarget) -> None:
    """The number of sockets and threads does not grow with each session (ResourceWarning is an error here)."""
    fresh_folder(asyncssh_server, "sockets")
    endpoint = endpoint_for(asyncssh_server, "sockets")
    counts = []
    for number in range(4):
        content = StallingContent(300_000)
        async with trio.open_nursery() as nursery:

            async def use(number: int = number, content: StallingContent = content) -> None:
                async with endpoint.open_session() as session:
                    await session.stage(Upload("a", f".actorsync-{number}.tmp", content))

            nursery.start_soon(use)
            with trio.fail_after(5):
                await content.stalled.wait()
            nursery.cancel_scope.cancel()
        counts.append((len(os.listdir("/proc/self/fd")), threading.active_count()))
    assert counts[-1][0] <= counts[0][0] + 4, "the server runs in this process and closes its sockets a little later"
    assert counts[-1][1] <= counts[0][1] + 1


# ---- restarts and lost writes


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
async def test_m029_run_completes_while_the_server_restarts(name: Name, server_folder: Path, tmp_path: Path) -> None:
    require(name)
    source = tmp_path / "source"
    for number in range(400):
        write(source / f"d{number % 5}/{number}", b"%d" % number * 5_000)
    (server_folder / "root").mkdir()
    with ExitStack() as stack:
        restart: Callable[[], None]
        if name == OPENSSH:
            openssh = stack.enter_context(openssh_server(server_folder / "root", server_folder))
            target, restart = openssh.target, openssh.restart
        else:
            embedded, target = stack.enter_context(embedded_server(server_folder / "root", server_folder))
            restart = embedded.restart
        done = 0
        goals = {goal: trio.Event() for goal in (20, 110, 200, 290)}
        patience = Backoff(initial=0.02, cap=0.2, tries=20)

        async def restart_often() -> None:
            for reached in goals.values():
                await reached.wait()
                await trio.to_thread.run_sync(restart)

        def count(event: object) -> None:
            nonlocal done
            done += isinstance(event, Done) and isinstance(event.operation, Copy)
            if done in goals:
                goals[done].set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(restart_often)
            run = await mirror(source, endpoint_for(target), None, observer=count, backoff=patience)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert contents(target.root) == contents(source)
    assert temporaries(target.root) == []
    assert run.report.reconnects >= 4


@pytest.mark.parametrize("after", [0, 1, 100_000])
async def test_m018_m051_acknowledged_short_write_is_refused(
    after: int, embedded_sftp: Embedded, tmp_path: Path
) -> None:
    """An incomplete file never gets its final name; the next attempt can succeed."""
    server, target = embedded_sftp
    write(tmp_path / "big", b"0123456789" * 100_000)
    (target.root / "big").write_bytes(b"old")
    server.instead = evil_sftp.acknowledged_but_cut_off(after)
    run = await mirror(tmp_path, endpoint_for(target), None, settled=True)
    assert run.report.exit_code == 1
    assert list(run.failures) == ["big"]
    assert ("full" if after == 0 else "bytes") in run.failures["big"], "a server that stores nothing counts as full"
    assert contents(target.root).keys() == {"big"}
    assert (target.root / "big").read_bytes() == b"old"

    server.instead = evil_sftp.acknowledged_but_cut_off(after, files=1)
    run = await mirror(tmp_path, endpoint_for(target), None, settled=True)
    assert (run.report.exit_code, run.failures, run.report.reconnects) == (0, {}, 0)
    assert contents(target.root) == contents(tmp_path)


# ---- fsync and times


@pytest.mark.parametrize("name", NAMES)
async def test_m052_fsync_is_sent_where_supported(name: Name, server_folder: Path, source: Path) -> None:
    require(name)
    (server_folder / "root").mkdir()
    with ExitStack() as stack:
        if name == OPENSSH:
            target = stack.enter_context(openssh_server(server_folder / "root", server_folder)).target
        else:
            server, target = stack.enter_context(embedded_server(server_folder / "root", server_folder))
        run = await mirror(source, endpoint_for(target, fsync=True), None)
        assert (run.report.exit_code, run.failures) == (0, {})
        assert contents(target.root) == contents(source)
        if name == ASYNCSSH:
            assert sum(command.verb == "FSYNC" for command in server.commands) == 12


async def test_m052_fsync_is_not_sent_by_default(embedded_sftp: Embedded, source: Path) -> None:
    server, target = embedded_sftp
    await mirror(source, endpoint_for(target), None)
    assert not any(command.verb == "FSYNC" for command in server.commands)


async def test_m052_failed_fsync_fails_the_file(embedded_sftp: Embedded, source: Path) -> None:
    server, target = embedded_sftp
    server.instead = evil_sftp.refusal("FSYNC", at=3, times=1)
    run = await mirror(source, endpoint_for(target, fsync=True), None, settled=True)
    assert len(run.failures) <= 1
    there = contents(target.root)
    assert {path for path in contents(source) if path not in there} == set(run.failures)
    assert temporaries(target.root) == []
    server.instead = evil_sftp.refusal("FSYNC")
    write(source / "new", b"never on disk")
    try:
        run = await mirror(source, endpoint_for(target, fsync=True), None)
        assert "new" in run.failures
        assert not (target.root / "new").exists()
    finally:
        (source / "new").unlink()


async def test_m052_unsupported_fsync_is_warned_of(embedded_sftp: Embedded, source: Path) -> None:
    server, target = embedded_sftp
    server.without = frozenset(["fsync@openssh.com"])
    endpoint = endpoint_for(target, fsync=True)
    run = await mirror(source, endpoint, None)
    assert (run.report.exit_code, run.failures) == (0, {})
    async with endpoint.open_session() as session:
        assert any("fsync" in warning for warning in session.warnings())


SECONDS = (-(2**33), -1, 0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**33)


async def test_m057_files_with_clamped_times_are_not_sent_again(shared_sftp_server: SshTarget, tmp_path: Path) -> None:
    """The files are sent once, and their clamped times do not make them differ in the next run."""
    source, journal = tmp_path / "source", tmp_path / "journal"
    for seconds in SECONDS:
        write(source / f"{seconds}", b"%d" % seconds, seconds)
    root = fresh_folder(shared_sftp_server, "times")
    run = await mirror(source, endpoint_for(shared_sftp_server, "times"), journal)
    assert (run.report.exit_code, run.failures, run.report.reconnects) == (0, {}, 0)
    assert contents(root) == contents(source)
    found = times(root)
    assert {s: found[str(s)] for s in SECONDS if 0 <= s < 2**32} == {s: s for s in SECONDS if 0 <= s < 2**32}
    again = await mirror(source, endpoint_for(shared_sftp_server, "times"), journal)
    assert (again.report.exit_code, again.report.copied) == (0, 0)
