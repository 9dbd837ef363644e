"""Network faults and wrong replies: every file arrives whole or is reported, nothing hangs, no temporary is left.

The fault proxy makes the network faults, before real servers. ``tests.support.servers.evil`` sends the wrong replies.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
import trio
import trio.testing

from actorsync.actors.backoff import Backoff
from actorsync.endpoints.contract import Staged, Upload
from actorsync.endpoints.ftp.endpoint import FtpEndpoint
from actorsync.endpoints.ftp.session import FtpSession
from actorsync.errors import ConnectionLost, LoginRefused, OperationRefused, TooManyConnections
from actorsync.model.entry import Entry, Kind
from actorsync.model.event import Warned
from actorsync.model.row import ListingRows
from actorsync.testing.conformance.contents import MTIME_NS, MemoryContent, StallingContent
from actorsync.testing.network.faults import (
    Cut,
    CutData,
    Fault,
    Hold,
    How,
    Late,
    Refuse,
    RefuseData,
    Slice,
    Swallow,
    Throttle,
    Truncate,
    When,
)
from actorsync.testing.network.ftp_proxy import FaultProxy, open_fault_proxy
from tests.support import FtpTarget
from tests.support.mirror import CountingEndpoint, Run, contents, mirror, temporaries, times
from tests.support.servers import debian_servers
from tests.support.servers.evil import Answer, EvilServer, evil_server
from tests.support.servers.ftp import PYFTPDLIB, endpoint_for, fresh_folder, home, serving
from tests.support.system.steps import cancelled_after

BIG = 200_000
FOREVER = 10**9

HOWS: tuple[How, ...] = get_args(How)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make five files in three folders, some of them larger than what is sent before the 150."""
    folder = tmp_path_factory.mktemp("source")
    for number, size in enumerate((0, 300, 65_536, BIG, 5)):
        path = folder / ("a", "b", "b/c", "")[number % 4] / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            bytes(number + offset % 251 for offset in range(size)) if size < 1000 else b"%d" % number * size
        )
    return folder


@pytest.fixture(scope="module")
def one_big_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    (folder / "big").write_bytes(b"0123456789" * (BIG // 10))
    return folder


@pytest.fixture(scope="module")
def pyftpdlib() -> Iterator[FtpTarget]:
    with home() as folder, serving(PYFTPDLIB, folder) as server:
        yield server


class Job:
    """One run through a proxy with faults, into its own folder, and the checks on its result."""

    _number = 0

    def __init__(self, server: FtpTarget) -> None:
        Job._number += 1
        self.server, self.path = server, f"/job{Job._number}"
        self.root = fresh_folder(server, self.path[1:])
        self.proxy: FaultProxy
        self.opened: dict[str, int] = {}

    async def run(
        self,
        source: Path | CountingEndpoint,
        *faults: Fault,
        connections: int = 2,
        journal: Path | None = None,
        **settings: Any,
    ) -> Run:
        counting = CountingEndpoint(source) if isinstance(source, Path) else source
        self.opened = counting.opened
        async with open_fault_proxy((self.server.host, self.server.port), *faults) as self.proxy:
            target = endpoint_for(self.server, self.path, host=self.proxy.host, **settings)
            return await mirror(counting, target, journal, connections=connections, settled=True, seconds=30)

    def assert_done(self, run: Run, source: Path, *, repeats: int) -> None:
        """Check that exactly the source has arrived, and that at most ``repeats`` files were sent again."""
        assert (run.report.exit_code, run.failures) == (0, {}), self.proxy.lines
        assert contents(self.root) == contents(source)
        assert times(self.root) == times(source)
        assert temporaries(self.root) == []
        assert sum(self.opened.values()) - len(self.opened) <= repeats, self.opened


# ---- connections that go silent, or are refused


async def test_m011_silent_data_connection_is_retried(pyftpdlib: FtpTarget, tmp_path: Path) -> None:
    """The file is larger than any buffer."""
    with open(tmp_path / "big", "wb") as file:  # noqa: ASYNC230 - nothing else runs yet
        file.truncate(30_000_000)
    job = Job(pyftpdlib)
    run = await job.run(tmp_path, CutData(verb="STOR", after=1_000_000, how="silence"), stall_seconds=0.5)
    job.assert_done(run, tmp_path, repeats=1)


async def test_m001_refused_connections_are_retried(pyftpdlib: FtpTarget, source: Path) -> None:
    job = Job(pyftpdlib)
    run = await job.run(source, Refuse(how="rst", times=3), Refuse(how="fin", at_connection=4, times=1))
    job.assert_done(run, source, repeats=0)
    assert run.report.reconnects >= 3


async def test_m002_server_that_resets_every_connection_ends_the_run(pyftpdlib: FtpTarget, source: Path) -> None:
    job = Job(pyftpdlib)
    run = await job.run(source, Refuse(how="rst", times=FOREVER))
    assert run.report.exit_code == 5
    assert contents(job.root) == {}


# ---- the data connection is cut


@pytest.mark.parametrize("how", HOWS)
async def test_m006_m011_cut_data_connection_is_retried(
    shared_ftp_server: FtpTarget, one_big_file: Path, how: How
) -> None:
    """The cuts are at the first and last byte, and around the limit of what is sent before the 150."""

    async def cut(after: int) -> None:
        job = Job(shared_ftp_server)
        run = await job.run(one_big_file, CutData(verb="STOR", after=after, how=how), stall_seconds=1.5)
        job.assert_done(run, one_big_file, repeats=1)
        assert job.proxy.fired, after

    async with trio.open_nursery() as nursery:
        for after in (0, 1, 65_535, 65_536, BIG - 1, BIG):
            nursery.start_soon(cut, after)


async def test_m024_broken_upload_restarts_from_the_beginning(shared_ftp_server: FtpTarget, one_big_file: Path) -> None:
    """REST is never used: four servers behave in four different ways after it."""
    job = Job(shared_ftp_server)
    cuts: list[Fault] = [CutData(verb="STOR", after=BIG // 2, how="rst"), Truncate(verb="STOR", after=BIG // 2)]
    run = await job.run(one_big_file, *cuts, stall_seconds=1)
    job.assert_done(run, one_big_file, repeats=2)
    verbs = [command.verb for command in job.proxy.commands]
    stored = [command.argument for command in job.proxy.commands if command.verb == "STOR"]
    stored = [path for path in stored if "try.actorsync-" not in path]
    assert len(stored) == len(set(stored)) >= 3
    assert not {"REST", "APPE"} & set(verbs)


@pytest.mark.parametrize("after", [0, 1, 65_535, BIG - 1])
async def test_m018_truncated_upload_with_226_is_sent_again(
    shared_ftp_server: FtpTarget, one_big_file: Path, after: int
) -> None:
    job = Job(shared_ftp_server)
    run = await job.run(one_big_file, Truncate(verb="STOR", after=after))
    job.assert_done(run, one_big_file, repeats=1)
    assert job.proxy.fired
    assert run.report.reconnects == 0, "nothing was wrong with the connection"


async def test_m018_upload_that_is_always_truncated_fails(shared_ftp_server: FtpTarget, one_big_file: Path) -> None:
    """A file that never arrives whole never gets its final name."""
    job = Job(shared_ftp_server)
    run = await job.run(one_big_file, Truncate(verb="STOR", after=100, times=FOREVER))
    assert run.report.exit_code == 1
    assert run.failures == {"big": f"the server stored 100 of {BIG} bytes"}
    assert contents(job.root) == {}


CROWD = {PYFTPDLIB: 20_000, "proftpd": 10_000, "vsftpd": 2_000, "pure-ftpd": 9_000}
"""The number of files in one directory. vsftpd needs two commands for each, and Pure-FTPd limits its listings."""


async def test_m046_directory_with_many_files_is_listed_whole(shared_ftp_server: FtpTarget, tmp_path: Path) -> None:
    """All files are known afterwards: those that the source has as well are adopted."""
    count = CROWD[shared_ftp_server.name]
    job = Job(shared_ftp_server)
    for number in range(count):
        (job.root / f"{number:06} {'x' * 30}").write_bytes(b"")
    shared_ftp_server.adopt()
    for number in (0, count // 2, count - 1):
        name = f"{number:06} {'x' * 30}"
        (tmp_path / name).write_bytes(b"")
        there = (job.root / name).stat().st_mtime_ns // 10**9
        os.utime(tmp_path / name, (there, there))
    began = time.monotonic()
    run = await job.run(tmp_path, connections=1)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert (run.report.adopted, run.report.copied) == (3, 0)
    assert len(list(job.root.iterdir())) == count
    assert time.monotonic() - began < 20


async def test_m045_cut_listing_is_requested_again(shared_ftp_server: FtpTarget, one_big_file: Path) -> None:
    job = Job(shared_ftp_server)
    for name in ("x" * 200, "y" * 200):
        (job.root / name).write_bytes(b"")
    run = await job.run(one_big_file, CutData(after=100, how="rst"))
    assert (run.report.exit_code, run.failures) == (0, {})
    assert job.proxy.fired
    assert (job.root / "big").stat().st_size == BIG


# ---- replies are late, lost, or come twice


@pytest.mark.parametrize("how", ["lost", *HOWS])
async def test_m007_lost_226_sends_the_file_again(
    shared_ftp_server: FtpTarget, one_big_file: Path, how: How | Literal["lost"]
) -> None:
    """The file is sent again under a new name, and the old temporary is removed."""
    fault = Swallow(verb="STOR") if how == "lost" else Cut(verb="STOR", how=how, when="unanswered")
    job = Job(shared_ftp_server)
    run = await job.run(one_big_file, fault, connections=1, stall_seconds=0.5)
    job.assert_done(run, one_big_file, repeats=1)
    assert job.proxy.fired == [fault]
    sent = [command for command in job.proxy.commands if command.verb == "STOR" and ".tmp" in command.argument]
    stored = [command.argument for command in sent]
    whole = [command.argument for command, code in job.proxy.answers if command in sent and code == 226]
    assert len(stored) == len(set(stored)) == 2
    assert whole == stored


@pytest.mark.parametrize("when", ["unanswered", "after"])
@pytest.mark.parametrize("how", HOWS)
async def test_m008_connection_lost_between_rnfr_and_rnto_converges(
    shared_ftp_server: FtpTarget, one_big_file: Path, how: How, when: When
) -> None:
    """A file that is whole on the server is only renamed again."""
    faults = (Cut(verb="RNFR", how=how, when=when), Cut(verb="RNTO", how=how, when="before"))
    for fault in faults if when == "after" else faults[:1]:
        job = Job(shared_ftp_server)
        run = await job.run(one_big_file, fault, connections=1, stall_seconds=0.5)
        job.assert_done(run, one_big_file, repeats=0)
        assert job.proxy.fired == [fault]


@pytest.mark.parametrize("how", ["lost", *HOWS])
async def test_m009_rename_with_lost_reply_is_recognized(
    shared_ftp_server: FtpTarget, one_big_file: Path, how: How | Literal["lost"]
) -> None:
    """The final name shows that the rename was done: the file is not sent again, and is renamed once."""
    fault = Swallow(verb="RNTO") if how == "lost" else Cut(verb="RNTO", how=how, when="unanswered")
    job = Job(shared_ftp_server)
    (job.root / "big").write_bytes(b"old")
    shared_ftp_server.adopt()
    run = await job.run(one_big_file, fault, connections=1, stall_seconds=0.5)
    job.assert_done(run, one_big_file, repeats=0)
    assert job.proxy.fired == [fault]
    done = [answer for answer in job.proxy.answers if answer.command.verb == "RNTO" and answer.code == 250]
    assert len(done) == 1


@pytest.mark.parametrize("when", ["before", "unanswered", "after"])
@pytest.mark.parametrize("verb", ["DELE", "RMD", "MKD"])
async def test_m010_connection_lost_at_mkd_or_dele_converges(
    shared_ftp_server: FtpTarget, verb: str, when: When, tmp_path: Path
) -> None:
    """A directory that exists already and a file that is gone already count as done."""
    source, journal = tmp_path / "source", tmp_path / "journal"
    for path in ("keep/a", "gone/b", "gone/deep/c", "d"):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(path.encode())
    job = Job(shared_ftp_server)
    run = await job.run(source, connections=1, journal=journal)
    job.assert_done(run, source, repeats=0)
    shutil.rmtree(source / "gone")
    (source / "d").unlink()
    (source / "new" / "deeper").mkdir(parents=True)

    fault = Cut(verb=verb, how="rst", when=when)
    run = await job.run(source, fault, connections=1, journal=journal)
    assert (run.report.exit_code, run.failures) == (0, {}), job.proxy.lines
    assert contents(job.root) == contents(source)
    assert run.report.copied == 0
    assert job.proxy.fired == [fault]


@pytest.mark.full
async def test_m027_slow_link_does_not_time_out(pyftpdlib: FtpTarget, tmp_path: Path) -> None:
    """The upload takes several times as long as the stall timeout."""
    (tmp_path / "big").write_bytes(b"x" * 15_000)
    (tmp_path / "small").write_bytes(b"y" * 10)
    job = Job(pyftpdlib)
    began = trio.current_time()
    run = await job.run(tmp_path, Hold(seconds=0.1, times=FOREVER), Throttle(10_000), stall_seconds=0.7, connections=1)
    job.assert_done(run, tmp_path, repeats=0)
    assert run.report.reconnects == 0
    assert trio.current_time() - began > 2 * 0.7


async def test_data_that_arrives_before_its_stor_costs_at_most_one_retry(
    shared_ftp_server: FtpTarget, tmp_path: Path
) -> None:
    """Control and data connection have different delays, so that data can overtake its STOR.

    Other servers keep early data. pyftpdlib drops the data connection, sends 150, and waits for another.
    """
    for number in range(6):
        (tmp_path / f"{number}").write_bytes(b"%d" % number * 1_000)
    job = Job(shared_ftp_server)
    late = Late(verb="STOR", seconds=0.2, times=FOREVER)
    run = await job.run(tmp_path, late, stall_seconds=1.0, connections=1)
    is_dropped = shared_ftp_server.name == PYFTPDLIB
    job.assert_done(run, tmp_path, repeats=1 if is_dropped else 0)
    assert run.report.reconnects == (1 if is_dropped else 0)


async def test_m028_control_connection_lost_during_a_long_upload_is_retried(
    shared_ftp_server: FtpTarget, tmp_path: Path
) -> None:
    """The data is acknowledged to its end, and the 226 never comes."""
    (tmp_path / "big").write_bytes(b"0123456789" * 30_000)
    job = Job(shared_ftp_server)
    fault = Cut(verb="STOR", how="silence", when="unanswered")
    run = await job.run(tmp_path, fault, Throttle(600_000), stall_seconds=0.5, connections=1)
    job.assert_done(run, tmp_path, repeats=1)
    assert job.proxy.fired == [fault]
    assert run.report.reconnects == 1


@pytest.mark.parametrize("name", [PYFTPDLIB, "vsftpd", "proftpd"])
async def test_m013_421_on_an_idle_connection_costs_no_attempt(name: str, server_folder: Path, tmp_path: Path) -> None:
    """A connection that the server closed for idling costs no file an attempt."""
    source = tmp_path / "source"
    for path in ("a/first", "z/last"):
        (source / path).parent.mkdir(parents=True)
        (source / path).write_bytes(path.encode())
    with serving(name, server_folder, debian_servers.Options(idle_timeout=1)) as server:
        job = Job(server)
        run = await job.run(SlowSource(source, "z", 2.5), connections=1)
        job.assert_done(run, source, repeats=1)
    assert run.report.reconnects == 1


class SlowSource(CountingEndpoint):
    """A source that waits before it lists the directory ``slow``."""

    def __init__(self, root: Path, slow: str, seconds: float) -> None:
        super().__init__(root)
        self.slow, self.seconds = slow, seconds

    async def list_many(self, directories: Sequence[str]) -> Sequence[ListingRows]:
        if directories[0] == self.slow:
            await trio.sleep(self.seconds)
        return await super().list_many(directories[:1])


async def test_m023_line_ends_are_kept(shared_ftp_server: FtpTarget, tmp_path: Path) -> None:
    """Every server begins in text mode, which converts line ends."""
    (tmp_path / "text").write_bytes(b"one\ntwo\r\nthree\rfour\n\r\x1a\x00\xff\xf4\n" * 100)
    job = Job(shared_ftp_server)
    run = await job.run(tmp_path)
    job.assert_done(run, tmp_path, repeats=0)
    verbs = [command.verb for command in job.proxy.commands]
    assert verbs.index("TYPE") < verbs.index("STOR")


async def test_m026_replies_of_one_byte_at_a_time_are_read(shared_ftp_server: FtpTarget, source: Path) -> None:
    job = Job(shared_ftp_server)
    run = await job.run(source, Slice(1))
    job.assert_done(run, source, repeats=0)
    assert run.report.reconnects == 0


# ---- unreachable data ports


async def test_m016_blocked_epsv_falls_back_to_pasv(shared_ftp_server: FtpTarget, source: Path) -> None:
    job = Job(shared_ftp_server)
    run = await job.run(source, RefuseData(verb="EPSV", times=FOREVER))
    job.assert_done(run, source, repeats=2)
    assert run.report.reconnects <= 3


async def test_m016_blocked_pasv_goes_back_to_epsv(pyftpdlib: FtpTarget, source: Path) -> None:
    job = Job(pyftpdlib)
    run = await job.run(source, RefuseData(verb="PASV", times=FOREVER), RefuseData(verb="EPSV", at_reply=3))
    job.assert_done(run, source, repeats=4)


async def test_m016_blocked_data_ports_end_the_run(pyftpdlib: FtpTarget, source: Path) -> None:
    job = Job(pyftpdlib)
    run = await job.run(source, RefuseData(times=FOREVER))
    assert run.report.exit_code != 0
    assert not any(contents(job.root).values())


# ---- greetings and logins


async def one_run(server: EvilServer, source: Path, *, connections: int = 1, tries: int = 3, **settings: Any) -> Run:
    backoff = Backoff(initial=0.01, cap=0.02, tries=tries)
    target = endpoint_for(server, **settings)
    return await mirror(source, target, None, connections=connections, backoff=backoff, settled=True, seconds=10)


@pytest.mark.parametrize(
    "greeting",
    [
        b"230 you are in\r\n",
        b"331 password?\r\n",
        b"noise\r\n220 hello\r\n",
        b"\x16\x03\x01",
        b"SSH-2.0-x\r\n",
        b"500 no\r\n",
    ],
)
async def test_m094_greeting_other_than_220_is_refused(greeting: bytes, one_big_file: Path) -> None:
    async with evil_server(greeting=greeting) as server:
        run = await one_run(server, one_big_file, connect_seconds=0.2)
    # Only a greeting that names another service is certain not to change.
    assert run.report.exit_code == (6 if greeting.startswith(b"SSH-") else 5)
    assert server.commands == [], "nothing was sent"


async def test_m002_missing_greeting_times_out(one_big_file: Path) -> None:
    async with evil_server(greeting=b"220-still\r\n") as server:
        run = await one_run(server, one_big_file, connect_seconds=0.2)
    assert run.report.exit_code == 5


@pytest.mark.parametrize("piece", [b"120 soon\r\n", b"220-line\r\n", b"x"], ids=["promises", "lines", "one line"])
@pytest.mark.parametrize("pause", [0.02, 0], ids=["slowly", "quickly"])
async def test_m002_m003_endless_greeting_times_out(piece: bytes, pause: float, one_big_file: Path) -> None:
    """The connection ends when the time for the greeting is over, and before the greeting fills the memory."""
    sent = 0

    async def go_on(stream: trio.SocketStream) -> None:
        nonlocal sent
        try:
            while True:
                await stream.send_all(piece if pause else piece * 1000)
                sent += 1
                await trio.sleep(pause)
        except trio.BrokenResourceError:
            pass

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, go_on, [listener])
        endpoint = FtpEndpoint("127.0.0.1", listener.socket.getsockname()[1], connect_seconds=0.3)
        began = time.monotonic()
        with pytest.raises(ConnectionLost):
            async with endpoint.open_session():
                raise AssertionError("connected")
        assert time.monotonic() - began < 1
        nursery.cancel_scope.cancel()
    assert sent < 100_000


async def test_m109_wrong_password_is_sent_once(source: Path) -> None:
    async with evil_server(password="another") as server:
        server_says = endpoint_for(server)
        server_says.password = lambda: "CANARY-4711"
        run = await mirror(source, server_says, None, connections=8, seconds=10)
    assert run.report.exit_code == 6
    assert server.count("PASS") == 1
    assert "CANARY" not in str(run)


async def test_m014_530_after_an_accepted_login_is_retried() -> None:
    """ProFTPD sends 530 for too many connections."""
    logins = 0

    def answer(_: str) -> bytes | None:
        nonlocal logins
        logins += 1
        return b"530 too many connections" if logins == 2 else None

    async with evil_server({"PASS": answer}) as server:
        endpoint = endpoint_for(server)
        async with endpoint.open_session():
            with pytest.raises(TooManyConnections, match="530 too many connections"):
                await endpoint.open_session().__aenter__()
            async with endpoint.open_session() as session:
                assert (await session.list_directory("")).problem is None


async def test_password_source_is_called_once(source: Path) -> None:
    asked = 0

    def ask() -> str:
        nonlocal asked
        asked += 1
        return "CANARY-4711"

    async with evil_server() as server:
        endpoint = endpoint_for(server)
        endpoint.password = ask
        run = await mirror(source, endpoint, None, connections=4)
    assert run.report.exit_code == 0
    assert asked == 1
    assert "CANARY" not in repr(endpoint)


async def test_logins_after_the_first_run_in_parallel() -> None:
    """Logins that waited for the first one run in parallel."""
    all_in = trio.Event()
    inside = 0

    async with evil_server() as server:
        endpoint = endpoint_for(server)

        async def enter() -> None:
            nonlocal inside
            async with endpoint.open_session():
                inside += 1
                if inside == 5:
                    all_in.set()
                await all_in.wait()

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(enter)
    assert server.count("PASS") == 5


# ---- servers with wrong replies


async def test_m085_address_in_pasv_is_ignored(source: Path) -> None:
    canary = socket.create_server(("127.0.0.9", 0))
    canary.setblocking(False)
    port = canary.getsockname()[1]
    answers = {"EPSV": b"500 what?", "PASV": b"227 over there (127,0,0,9,%d,%d)" % (port // 256, port % 256)}
    async with evil_server(answers) as server:
        run = await one_run(server, source)
    assert run.report.exit_code != 0
    with canary, pytest.raises(BlockingIOError):
        canary.accept()


async def test_m085_data_port_below_1024_is_refused(source: Path) -> None:
    async with evil_server({"EPSV": b"229 here (|||22|)"}) as server:
        run = await one_run(server, source)
    assert run.report.exit_code != 0
    assert server.files == {}


@pytest.mark.parametrize("name", ["..", "../../etc/x", "/etc/x", "a/../../x", "a\nb", "", "a\\..\\b", "x\0y"])
async def test_m072_hostile_names_in_listings_are_refused(name: str) -> None:
    listing = b"type=file;size=1;modify=20240101000000; good\r\ntype=file;size=1; " + name.encode() + b"\r\n"
    async with evil_server(listing=listing) as server, endpoint_for(server).open_session() as session:
        found = await session.list_directory("")
    if name == "a\\..\\b":
        assert found.problem is None, "here it is an ordinary name"
    else:
        assert found.problem is not None
        assert found.entries == ()


async def test_m018_wrong_size_reply_refuses_the_upload(one_big_file: Path) -> None:
    async with evil_server({"SIZE": b"213 1"}) as server:
        run = await one_run(server, one_big_file)
    assert run.failures["big"] == f"the server stored 1 of {BIG} bytes"
    assert "/big" not in server.files
    assert server.count("RNTO") == 0


@pytest.mark.parametrize("has_mlst", [True, False], ids=["MLST", "LIST"])
async def test_server_without_size_is_verified_by_what_it_shows(has_mlst: bool, one_big_file: Path) -> None:
    lacks: dict[str, Answer] = {} if has_mlst else dict.fromkeys(("FEAT", "MLSD", "MLST"), b"500 what?")
    async with evil_server({"SIZE": b"500 what?", **lacks}) as server:
        run = await one_run(server, one_big_file)
    assert (run.report.exit_code, run.report.failures) == (0, ())
    assert len(server.files["/big"]) == BIG
    assert run.of(Warned) == []


@pytest.mark.parametrize("has_mlst", [True, False], ids=["MLST", "LIST"])
async def test_server_without_size_that_cuts_a_file_stores_nothing(has_mlst: bool, one_big_file: Path) -> None:
    lacks: dict[str, Answer] = {} if has_mlst else dict.fromkeys(("FEAT", "MLSD", "MLST"), b"500 what?")
    async with evil_server({"SIZE": b"500 what?", **lacks}, limit=BIG - 1, full=b"226 got it") as server:
        run = await one_run(server, one_big_file)
    assert run.report.exit_code == 1
    assert f"stored {BIG - 1} of {BIG} bytes" in run.failures["big"]
    assert server.files == {}


@pytest.mark.parametrize("old", [None, b"0" * BIG, b"short"], ids=["nothing", "as long", "shorter"])
@pytest.mark.parametrize("sets_times", [True, False])
async def test_m034_rename_that_does_nothing_is_a_failure(
    old: bytes | None, sets_times: bool, one_big_file: Path
) -> None:
    answers = {"RNTO": b"250 done"} | ({} if sets_times else {"MFMT": b"500 what?"})
    async with evil_server(answers) as server:
        if old is not None:
            server.files["/big"] = old
        run = await one_run(server, one_big_file)
    assert run.failures == {"big": "the server reported that it renamed the file, but did not"}
    assert server.files == ({} if old is None else {"/big": old}), "the temporary is removed"


async def test_m041_server_that_rounds_times_accepts_the_upload(one_big_file: Path) -> None:
    """The time that the server shows afterwards is accepted."""
    async with evil_server({"MDTM": b"213 20010203040506"}) as server:
        run = await one_run(server, one_big_file)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert len(server.files["/big"]) == BIG


@pytest.mark.parametrize("step", [2, 10])
async def test_m041_server_with_coarse_times_copies_nothing_again(step: int, source: Path, tmp_path: Path) -> None:
    """FAT has steps of two seconds. The next run compares with the time that the server showed."""
    server: EvilServer

    def rounded(path: str) -> bytes | None:
        time = server.times.get(path, b"20240229123456")
        return b"213 %d" % (int(time) // step * step) if path in server.files else None

    async with evil_server({"MDTM": rounded}) as server:
        for number, path in enumerate(sorted(times(source))):
            os.utime(source / path, (1_700_000_000 + number,) * 2)
        for copied in (5, 0):
            run = await mirror(source, endpoint_for(server), tmp_path / "journal")
            assert (run.report.exit_code, run.failures, run.report.copied) == (0, {}, copied)
        empty = tmp_path / "kept"
        empty.mkdir()
        (empty / "0").write_bytes(b"")
        run = await mirror(empty, endpoint_for(server), tmp_path / "journal")
        assert run.report.exit_code == 0
        assert server.files.keys() == {"/0"}, "no file counts as changed by others"


# ---- wrong listings


def list_only(server: EvilServer) -> None:
    server.answers = dict.fromkeys(("MLSD", "MLST"), b"500 what?")


#: In New York: the skipped hour, the repeated hour, that day without a time, and a day that most years do not have.
DATES = ("Mar  8 02:30", "Nov  1 01:30", "Nov  1  2026", "Feb 29  2024")


@pytest.mark.parametrize("date", DATES)
@pytest.mark.parametrize("zone", ["America/New_York", "UTC"])
async def test_m042_times_of_list_are_ignored(
    zone: str, date: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LIST has local times without a year, or days without a time. MDTM reports UTC, and is used instead."""
    source, journal = tmp_path / "source", tmp_path / "journal"
    source.mkdir()
    first, second = 1_793_511_000, 1_793_514_600  # 01:30 in New York, both of them
    for name, seconds in (("first", first), ("second", second), ("march", 1_772_955_000), ("leap", 1_709_184_600)):
        (source / name).write_bytes(b"same")
        os.utime(source / name, (seconds, seconds))
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        async with evil_server(date=date) as server:
            list_only(server)
            for lost in (True, False, True):
                if lost:
                    shutil.rmtree(journal, ignore_errors=True)
                run = await mirror(source, endpoint_for(server), journal)
                assert (run.report.exit_code, run.failures) == (0, {})
                assert server.count("STOR") == 4, "once each, whatever LIST shows, and with or without a journal"
            os.utime(source / "first", (second, second))
            run = await mirror(source, endpoint_for(server), journal)
            assert (run.report.exit_code, run.report.copied) == (0, 1)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("kept", range(0, 9, 2))
@pytest.mark.parametrize("forgets", [True, False])
async def test_m044_m045_incomplete_listing_removes_nothing(kept: int, forgets: bool, tmp_path: Path) -> None:
    """The listing is cut at a line end and closed with 226, so that FTP does not show the cut."""
    source, journal = tmp_path / "source", tmp_path / "journal"
    source.mkdir()
    for number in range(8):
        (source / f"{number}").write_bytes(b"content %d" % number)
        os.utime(source / f"{number}", (1_700_000_000, 1_700_000_000))
    async with evil_server() as server:
        assert (await mirror(source, endpoint_for(server), journal)).report.exit_code == 0
        (source / "7").unlink()
        server.listing = b"".join(server.shown("/").splitlines(keepends=True)[:kept])
        if forgets:
            shutil.rmtree(journal)
        for _ in range(2):
            run = await mirror(source, endpoint_for(server), journal)
            assert (run.report.exit_code, run.failures) == (0, {})
        removed = {line.split()[1] for line in server.commands if line.startswith("DELE")}
        assert {path for path in removed if "actorsync" not in path} == (set() if forgets else {"/7"})
        assert {f"/{n}": b"content %d" % n for n in range(7)}.items() <= server.files.items()


async def test_m018_226_before_the_data_still_ends_with_whole_files(source: Path) -> None:
    async with evil_server(early=True) as server:
        run = await one_run(server, source)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert {path for path in server.files if "actorsync" in path} == set()
    assert len(server.files) == 5


@pytest.mark.parametrize("unknown", [("MLSD",), ("MLST",), ("MLSD", "MLST")])
async def test_m022_features_that_do_not_work_are_replaced(unknown: tuple[str, ...], source: Path) -> None:
    async with evil_server(dict.fromkeys(unknown, b"500 what?")) as server:
        run = await one_run(server, source)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert len(server.files) == 5


@pytest.mark.parametrize("endless", [b"220-and on\r\n" * 10**6, b"2" * 10**7 + b"\r\n"], ids=["lines", "one line"])
@pytest.mark.parametrize("verb", ["FEAT", "EPSV", "RNTO"])
async def test_m003_endless_reply_ends_the_connection(verb: str, endless: bytes, one_big_file: Path) -> None:
    """The connection is closed long before all of the reply was read."""
    async with evil_server({verb: endless}) as server:
        tracemalloc.start()
        try:
            run = await one_run(server, one_big_file)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert run.report.exit_code != 0
    assert "/big" not in server.files or verb == "RNTO"
    assert peak < len(endless) / 2


async def test_m025_refused_epsv_over_ipv6_sends_no_pasv(one_big_file: Path) -> None:
    """PASV cannot express an IPv6 address: its reply would name another machine."""
    async with evil_server({"EPSV": b"500 what?"}, host="::1") as server:
        run = await one_run(server, one_big_file)
    assert run.report.exit_code != 0
    assert server.count("EPSV") > 0
    assert server.count("PASV") == 0
    assert server.files == {}


@pytest.mark.parametrize("refusal", [b"500 what?", b"502 no", b"522 no such protocol", b"425 not now"])
async def test_m025_server_without_epsv_gets_pasv(refusal: bytes, source: Path) -> None:
    async with evil_server({"EPSV": refusal}) as server:
        run = await one_run(server, source)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert len(server.files) == 5
    assert server.count("EPSV") == 1, "it is sent once"


@pytest.mark.parametrize("days", [-1, 1])
@pytest.mark.parametrize("sets_times", [True, False], ids=["MFMT", "no MFMT"])
async def test_m030_server_clock_that_moves_copies_nothing(days: int, sets_times: bool, tmp_path: Path) -> None:
    """Only changed files are sent, and only deleted files are removed."""
    source, journal = tmp_path / "source", tmp_path / "journal"
    source.mkdir()
    for name in ("same", "changed", "gone"):
        (source / name).write_bytes(name.encode())
    now = datetime.now(UTC)

    def arrived(path: str) -> bytes | None:
        if not sets_times:
            server.times[path] = now.strftime("%Y%m%d%H%M%S").encode()
        return None

    answers: dict[str, Answer] = {"RNTO": arrived}
    if not sets_times:
        answers["MFMT"] = b"500 what?"
    async with evil_server(answers) as server:
        first = await mirror(source, endpoint_for(server), journal, settled=True)
        assert (first.report.exit_code, first.report.copied) == (0, 3)
        now += timedelta(days=days)
        (source / "changed").write_bytes(b"changed again")
        (source / "new").write_bytes(b"new")
        (source / "gone").unlink()
        second = await mirror(source, endpoint_for(server), journal, settled=True)
        assert (second.report.exit_code, second.failures) == (0, {})
        assert (second.report.copied, second.report.removed) == (2, 1)
        assert {path: data.decode() for path, data in server.files.items()} == {
            "/same": "same",
            "/changed": "changed again",
            "/new": "new",
        }
        now -= timedelta(days=2 * days)
        said = len(server.commands)
        third = await mirror(source, endpoint_for(server), journal, settled=True)
        assert (third.report.exit_code, third.report.copied) == (0, 0)
        assert len(server.commands) == said, "with nothing to do, there is no connection"


async def test_m020_extra_reply_raises_connection_lost() -> None:
    async with evil_server({"DELE": b"250 gone\r\n250 and this as well"}) as server:
        endpoint = endpoint_for(server)
        async with endpoint.open_session() as session:
            with pytest.raises(ConnectionLost, match=r"more replies|without a command"):
                await sweep_twice(session)


async def sweep_twice(session: FtpSession) -> None:
    await session.sweep(["a"])
    await trio.testing.wait_all_tasks_blocked(0.01)  # until all replies have arrived
    await session.sweep(["b"])


async def test_refused_data_connection_refuses_the_upload_but_not_the_commit(one_big_file: Path) -> None:
    """With EPSV and PASV refused there is no upload, but the file staged before still gets its name."""
    async with evil_server() as server, endpoint_for(server).open_session() as session:
        staged, _ = await session.stage(Upload("one", ".actorsync-1.tmp", MemoryContent(b"one")))
        assert isinstance(staged, Staged)
        server.answers = {"EPSV": b"425 no", "PASV": b"425 no"}
        refused, committed = await session.stage(
            Upload("two", ".actorsync-2.tmp", MemoryContent(b"two")), commit=[staged]
        )
        assert isinstance(refused, OperationRefused)
        assert refused.retry
        assert committed == [Entry("one", Kind.FILE, 3, MTIME_NS // 10**9 * 10**9)]
        assert (await session.list_directory("")).problem is not None


@pytest.mark.parametrize("at", ["", "real"])
async def test_m047_links_to_a_parent_directory_are_not_followed(
    shared_ftp_server: FtpTarget, at: str, tmp_path: Path
) -> None:
    """pyftpdlib shows links as their targets. Two links that lead up make a tree that doubles with each level."""
    job = Job(shared_ftp_server)
    (job.root / "real" / "deeper").mkdir(parents=True)
    (job.root / "real" / "foreign").write_bytes(b"foreign")
    for name, leads_to in ((f"{at}/one", "."), (f"{at}/two", "."), ("real/up", ".."), ("real/deeper/up", "..")):
        (job.root / name.strip("/")).symlink_to(leads_to)
    shared_ftp_server.adopt()
    (tmp_path / "new").write_bytes(b"new")
    run = await job.run(tmp_path)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert (job.root / "new").read_bytes() == b"new"
    assert (job.root / "real" / "foreign").read_bytes() == b"foreign"
    assert (job.root / "real" / "up").is_symlink()
    listings = [command for command in job.proxy.commands if command.verb in ("MLSD", "LIST")]
    assert len(listings) <= 20


# ---- leaving


@pytest.mark.parametrize("size", [1_000, 300_000])
async def test_session_cancelled_anywhere_can_be_swept_or_is_lost(shared_ftp_server: FtpTarget, size: int) -> None:
    """After a cancellation at any step, `abandon` removes the temporary, or raises `ConnectionLost`."""
    server = shared_ftp_server
    root = fresh_folder(server, f"cancelled{size}")
    endpoint = endpoint_for(server, root.name)
    outcomes: list[bool | None] = []
    for steps in range(0, 100, 5):
        temporary = f".actorsync-{steps:04x}.tmp"
        content = MemoryContent(bytes(size))
        with trio.move_on_after(5) as slow:
            async with endpoint.open_session() as session:
                first, _ = await session.stage(Upload("first", ".actorsync-f.tmp", MemoryContent(b"1")))
                assert isinstance(first, Staged)
                with cancelled_after(steps):
                    await session.stage(Upload("final", temporary, content), commit=[first])
                try:
                    outcomes.append(await session.abandon(temporary))
                    assert (await session.list_directory("")).problem is None, "the session is in step"
                except ConnectionLost:
                    outcomes.append(None)
        assert not slow.cancelled_caught, f"stuck after {steps} steps"
        if outcomes[-1]:
            assert not (root / temporary).exists()
    assert outcomes.count(True) > len(outcomes) / 2


async def test_session_that_ends_in_an_error_closes_its_sockets(pyftpdlib: FtpTarget) -> None:
    """ResourceWarning is an error here."""
    fresh_folder(pyftpdlib, "sockets")
    content = StallingContent(300_000)
    endpoint = endpoint_for(pyftpdlib, "sockets")
    before = open_sockets()
    with trio.move_on_after(2):
        async with trio.open_nursery() as nursery:

            async def use() -> None:
                async with endpoint.open_session() as session:
                    await session.stage(Upload("a", ".actorsync-1.tmp", content))

            nursery.start_soon(use)
            await content.stalled.wait()
            nursery.cancel_scope.cancel()
    assert open_sockets() <= before + 4, "the server runs in this process, and closes its sockets a little later"


def open_sockets() -> int:
    return sum("socket:" in str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink())


async def test_refused_password_is_not_sent_by_waiting_connections() -> None:
    async with evil_server(password="another") as server:
        endpoint = endpoint_for(server)
        endpoint.password = lambda: "wrong"
        refused = 0

        async def enter() -> None:
            nonlocal refused
            with pytest.raises(LoginRefused):
                async with endpoint.open_session():
                    pass
            refused += 1

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(enter)
    assert refused == 8
    assert server.count("PASS") == 1
