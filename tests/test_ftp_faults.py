"""A network that fails and servers that lie: every file arrives whole, or is reported; nothing hangs, nothing is left.

Networks fail in the fault proxy, before real servers. Servers lie in ``tests.support.evil``.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import trio

from actorsync.actors.restart import Backoff
from actorsync.endpoints.contract import Staged, Upload
from actorsync.endpoints.ftp import FtpEndpoint
from actorsync.endpoints.ftp_session import FtpSession
from actorsync.errors import ConnectionLost, LoginRefused, OperationRefused, TooManyConnections
from actorsync.model.entry import Entry, Kind
from actorsync.model.event import Resized
from actorsync.testing.conformance import MTIME_NS, MemoryContent, StallingContent
from actorsync.testing.faults import (
    Cut,
    CutData,
    Duplicate,
    Fault,
    Hold,
    How,
    Refuse,
    RefuseData,
    Slice,
    Swallow,
    Truncate,
)
from actorsync.testing.proxy import FaultProxy, open_fault_proxy
from tests.support import FtpTarget, debian_servers
from tests.support.evil import EvilServer, evil_server
from tests.support.ftp import PYFTPDLIB, endpoint_for, fresh_folder, home, serving
from tests.support.mirror import CountingEndpoint, Run, contents, mirror, temporaries, times

BIG = 200_000
FOREVER = 10**9

When = Literal["before", "unanswered", "after"]
HOWS: tuple[How, ...] = ("fin", "rst")
WHENS: tuple[When, ...] = ("before", "unanswered", "after")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small job: five files in three folders, some of them beyond what is sent blindly."""
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


@pytest.fixture(scope="module")
def debian_server(request: pytest.FixtureRequest) -> Iterator[FtpTarget]:
    with home() as folder, serving(request.param, folder) as server:
        yield server


class Job:
    """One run through a proxy with faults, into a folder of its own, with everything that can be said of it."""

    _number = 0

    def __init__(self, server: FtpTarget) -> None:
        Job._number += 1
        self.server, self.path = server, f"/job{Job._number}"
        self.root = fresh_folder(server, self.path[1:])
        self.proxy: FaultProxy
        self.opened: dict[str, int] = {}

    async def run(self, source: Path, *faults: Fault, connections: int = 2, **settings: Any) -> Run:
        counting = CountingEndpoint(source)
        self.opened = counting.opened
        async with open_fault_proxy((self.server.host, self.server.port), *faults) as self.proxy:
            target = endpoint_for(self.server, self.path, host=self.proxy.host, **settings)
            return await mirror(counting, target, None, connections=connections, settled=True, seconds=20)

    def assert_done(self, run: Run, source: Path, *, repeats: int) -> None:
        """See that all is there, nothing else is, and no more than ``repeats`` files were sent again."""
        assert (run.report.exit_code, run.failures) == (0, {}), self.proxy.lines
        assert contents(self.root) == contents(source)
        assert times(self.root) == times(source)
        assert temporaries(self.root) == []
        assert sum(self.opened.values()) - len(self.opened) <= repeats, self.opened


# ---- the control connection is cut at every line


async def cut_at(server: FtpTarget, source: Path, line: int, how: How, when: When) -> None:
    job = Job(server)
    run = await job.run(source, Cut(at_line=line, how=how, when=when))
    job.assert_done(run, source, repeats=1)
    if not job.proxy.fired:
        assert len(job.proxy.commands) < line
    elif when != "after" and job.proxy.commands[line - 1].verb != "QUIT":
        # One that is cut off while it logs in beside another leaves the work to that one.
        assert run.report.reconnects >= 1 or run.of(Resized)


@pytest.mark.parametrize("when", WHENS)
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("line", range(1, 65))
async def test_m004_to_m010_cut_at_every_line(
    pyftpdlib: FtpTarget, source: Path, line: int, how: How, when: When
) -> None:
    await cut_at(pyftpdlib, source, line, how, when)


def samples(count: int) -> list[tuple[int, How, When]]:
    """Choose some of all cuts: the same in each run, and other lines for each way to cut."""
    rng = random.Random("cuts")
    return [(rng.randrange(1, 63), rng.choice(HOWS), rng.choice(WHENS)) for _ in range(count)]


@pytest.mark.parametrize(("line", "how", "when"), samples(30))
@pytest.mark.parametrize("debian_server", debian_servers.NAMES, indirect=True)
async def test_m004_to_m010_cut_at_some_lines(
    debian_server: FtpTarget, source: Path, line: int, how: How, when: When
) -> None:
    await cut_at(debian_server, source, line, how, when)


@pytest.mark.parametrize("verb", ["USER", "FEAT", "MKD", "MLSD", "EPSV", "STOR", "SIZE", "MFMT", "RNFR", "RNTO"])
async def test_m011_m028_silence(pyftpdlib: FtpTarget, source: Path, verb: str) -> None:
    job = Job(pyftpdlib)
    run = await job.run(source, Cut(verb=verb, how="silence"), stall_seconds=0.3, connect_seconds=0.5)
    job.assert_done(run, source, repeats=1)
    assert run.report.reconnects >= 1


async def test_m011_a_data_connection_goes_silent(pyftpdlib: FtpTarget, tmp_path: Path) -> None:
    """With more on its way than any buffer holds."""
    with open(tmp_path / "big", "wb") as file:  # noqa: ASYNC230 - nothing else runs yet
        file.truncate(30_000_000)
    job = Job(pyftpdlib)
    run = await job.run(tmp_path, CutData(verb="STOR", after=1_000_000, how="silence"), stall_seconds=0.5)
    job.assert_done(run, tmp_path, repeats=1)


async def test_m001_refused_connections(pyftpdlib: FtpTarget, source: Path) -> None:
    job = Job(pyftpdlib)
    run = await job.run(source, Refuse(how="rst", times=3), Refuse(how="fin", at_connection=4, times=1))
    job.assert_done(run, source, repeats=0)
    assert run.report.reconnects >= 3


async def test_m002_a_server_that_resets_everybody(pyftpdlib: FtpTarget, source: Path) -> None:
    job = Job(pyftpdlib)
    run = await job.run(source, Refuse(how="rst", times=FOREVER))
    assert run.report.exit_code == 5
    assert contents(job.root) == {}


# ---- the data connection is cut


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("after", [0, 1, 65_535, 65_536, BIG - 1, BIG])
async def test_m006_data_is_cut(shared_ftp_server: FtpTarget, one_big_file: Path, after: int, how: How) -> None:
    job = Job(shared_ftp_server)
    run = await job.run(one_big_file, CutData(verb="STOR", after=after, how=how), stall_seconds=1)
    job.assert_done(run, one_big_file, repeats=1)
    assert job.proxy.fired


@pytest.mark.parametrize("after", [0, 1, 65_535, BIG - 1])
async def test_m018_226_but_truncated(shared_ftp_server: FtpTarget, one_big_file: Path, after: int) -> None:
    job = Job(shared_ftp_server)
    run = await job.run(one_big_file, Truncate(verb="STOR", after=after))
    job.assert_done(run, one_big_file, repeats=1)
    assert job.proxy.fired
    assert run.report.reconnects == 0, "nothing was wrong with the connection"


async def test_m018_always_truncated(shared_ftp_server: FtpTarget, one_big_file: Path) -> None:
    """What never arrives whole never gets its name."""
    job = Job(shared_ftp_server)
    run = await job.run(one_big_file, Truncate(verb="STOR", after=100, times=FOREVER))
    assert run.report.exit_code == 1
    assert run.failures == {"big": f"the server has 100 of its {BIG} bytes"}
    assert contents(job.root) == {}


async def test_m045_a_listing_that_is_cut_is_asked_for_again(shared_ftp_server: FtpTarget, one_big_file: Path) -> None:
    job = Job(shared_ftp_server)
    for name in ("x" * 200, "y" * 200):
        (job.root / name).write_bytes(b"")
    run = await job.run(one_big_file, CutData(after=100, how="rst"))
    assert (run.report.exit_code, run.failures) == (0, {})
    assert job.proxy.fired
    assert (job.root / "big").stat().st_size == BIG


# ---- replies are late, lost, or come twice


@pytest.mark.parametrize("verb", ["STOR", "SIZE", "RNTO", "MKD", "EPSV", "MFMT", "PASS"])
async def test_m017_a_reply_that_never_comes(pyftpdlib: FtpTarget, source: Path, verb: str) -> None:
    job = Job(pyftpdlib)
    run = await job.run(source, Swallow(verb=verb, times=1), stall_seconds=0.3)
    job.assert_done(run, source, repeats=1)


@pytest.mark.parametrize("verb", ["STOR", "SIZE", "RNTO", "MKD"])
async def test_m017_a_reply_that_is_late(pyftpdlib: FtpTarget, source: Path, verb: str) -> None:
    job = Job(pyftpdlib)
    run = await job.run(source, Hold(verb=verb, seconds=0.1, times=2), stall_seconds=2)
    job.assert_done(run, source, repeats=0)
    assert run.report.reconnects == 0


VERBS = ("USER", "PASS", "FEAT", "TYPE", "PWD", "OPTS", "MKD", "EPSV", "MLSD", "STOR", "SIZE", "RNFR", "RNTO", "MDTM")


@pytest.mark.parametrize("verb", [*VERBS, "MFMT"])
@pytest.mark.parametrize("at", [1, 2, 5])
async def test_m020_a_reply_that_comes_twice(pyftpdlib: FtpTarget, source: Path, verb: str, at: int) -> None:
    job = Job(pyftpdlib)
    run = await job.run(source, Duplicate(verb=verb, at_line=at))
    job.assert_done(run, source, repeats=2)


async def test_m026_one_byte_at_a_time(shared_ftp_server: FtpTarget, source: Path) -> None:
    job = Job(shared_ftp_server)
    run = await job.run(source, Slice(1))
    job.assert_done(run, source, repeats=0)
    assert run.report.reconnects == 0


# ---- data ports that nobody reaches


async def test_m016_epsv_is_blocked_and_pasv_is_not(shared_ftp_server: FtpTarget, source: Path) -> None:
    job = Job(shared_ftp_server)
    run = await job.run(source, RefuseData(verb="EPSV", times=FOREVER))
    job.assert_done(run, source, repeats=2)
    assert run.report.reconnects <= 3


async def test_m016_pasv_is_blocked_and_epsv_fails_once(pyftpdlib: FtpTarget, source: Path) -> None:
    job = Job(pyftpdlib)
    run = await job.run(source, RefuseData(verb="PASV", times=FOREVER), RefuseData(verb="EPSV", at_reply=3))
    job.assert_done(run, source, repeats=4)


async def test_m016_everything_is_blocked(pyftpdlib: FtpTarget, source: Path) -> None:
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
async def test_m094_only_220_is_a_greeting(greeting: bytes, one_big_file: Path) -> None:
    async with evil_server(greeting=greeting) as server:
        run = await one_run(server, one_big_file, connect_seconds=0.2)
    assert run.report.exit_code == 5
    assert server.commands == [], "nothing was said to whoever that is"


async def test_m002_a_server_that_never_greets(one_big_file: Path) -> None:
    async with evil_server(greeting=b"220-still\r\n") as server:
        run = await one_run(server, one_big_file, connect_seconds=0.2)
    assert run.report.exit_code == 5


@pytest.mark.parametrize("piece", [b"120 soon\r\n", b"220-line\r\n", b"x"], ids=["promises", "lines", "one line"])
@pytest.mark.parametrize("pause", [0.02, 0], ids=["slowly", "quickly"])
async def test_m002_m003_an_endless_greeting(piece: bytes, pause: float, one_big_file: Path) -> None:
    """It is given up when the time for a whole greeting is over, and before it fills the memory."""
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


async def test_m109_a_wrong_password_is_tried_once(source: Path) -> None:
    async with evil_server(password="another") as server:
        server_says = endpoint_for(server)
        server_says.password = lambda: "CANARY-4711"
        run = await mirror(source, server_says, None, connections=8, seconds=10)
    assert run.report.exit_code == 6
    assert server.count("PASS") == 1
    assert "CANARY" not in str(run)


async def test_m014_530_after_a_good_login_is_no_refusal_of_the_password() -> None:
    """ProFTPD says 530 for too many connections."""
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


async def test_the_password_is_asked_for_once(source: Path) -> None:
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


async def test_only_the_first_login_is_alone() -> None:
    """Those who waited for it go on side by side."""
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


# ---- servers that lie


async def test_m085_pasv_that_names_another_host(source: Path) -> None:
    canary = socket.create_server(("127.0.0.9", 0))
    canary.setblocking(False)
    port = canary.getsockname()[1]
    answers = {"EPSV": b"500 what?", "PASV": b"227 over there (127,0,0,9,%d,%d)" % (port // 256, port % 256)}
    async with evil_server(answers) as server:
        run = await one_run(server, source)
    assert run.report.exit_code != 0
    with canary, pytest.raises(BlockingIOError):
        canary.accept()


async def test_m085_a_port_below_1024(source: Path) -> None:
    async with evil_server({"EPSV": b"229 here (|||22|)"}) as server:
        run = await one_run(server, source)
    assert run.report.exit_code != 0
    assert server.files == {}


@pytest.mark.parametrize("name", ["..", "../../etc/x", "/etc/x", "a/../../x", "a\nb", "", "a\\..\\b", "x\0y"])
async def test_m072_hostile_names_in_listings(name: str) -> None:
    listing = b"type=file;size=1;modify=20240101000000; good\r\ntype=file;size=1; " + name.encode() + b"\r\n"
    async with evil_server(listing=listing) as server, endpoint_for(server).open_session() as session:
        found = await session.list_directory("")
    if name == "a\\..\\b":
        assert found.problem is None, "a name like any other, here"
    else:
        assert found.problem is not None
        assert found.entries == ()


async def test_m018_a_size_that_is_wrong(one_big_file: Path) -> None:
    async with evil_server({"SIZE": b"213 1"}) as server:
        run = await one_run(server, one_big_file)
    assert run.failures["big"] == f"the server has 1 of its {BIG} bytes"
    assert "/big" not in server.files
    assert server.count("RNTO") == 0


async def test_a_server_without_size_is_no_target(one_big_file: Path) -> None:
    async with evil_server({"SIZE": b"500 what?"}) as server:
        run = await one_run(server, one_big_file)
    assert run.report.exit_code == 7
    assert server.count("RNTO") == 0


@pytest.mark.parametrize("old", [None, b"0" * BIG, b"short"], ids=["nothing", "as long", "shorter"])
@pytest.mark.parametrize("sets_times", [True, False])
async def test_m034_a_rename_that_does_nothing(old: bytes | None, sets_times: bool, one_big_file: Path) -> None:
    answers = {"RNTO": b"250 done"} | ({} if sets_times else {"MFMT": b"500 what?"})
    async with evil_server(answers) as server:
        if old is not None:
            server.files["/big"] = old
        run = await one_run(server, one_big_file)
    assert run.failures == {"big": "the server says that it renamed it, and has not"}
    assert server.files == ({} if old is None else {"/big": old}), "and the temporary is gone"


async def test_m041_a_server_that_rounds_times(one_big_file: Path) -> None:
    """What counts is what it says afterwards."""
    async with evil_server({"MDTM": b"213 20010203040506"}) as server:
        run = await one_run(server, one_big_file)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert len(server.files["/big"]) == BIG


async def test_m018_226_before_the_data(source: Path) -> None:
    async with evil_server(early=True) as server:
        run = await one_run(server, source)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert {path for path in server.files if "actorsync" in path} == set()
    assert len(server.files) == 5


@pytest.mark.parametrize("unknown", [("MLSD",), ("MLST",), ("MLSD", "MLST")])
async def test_m022_features_that_are_not_there(unknown: tuple[str, ...], source: Path) -> None:
    async with evil_server(dict.fromkeys(unknown, b"500 what?")) as server:
        run = await one_run(server, source)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert len(server.files) == 5


async def test_m020_more_replies_than_questions() -> None:
    async with evil_server({"DELE": b"250 gone\r\n250 and this as well"}) as server:
        endpoint = endpoint_for(server)
        async with endpoint.open_session() as session:
            with pytest.raises(ConnectionLost, match=r"more replies|out of turn"):
                await sweep_twice(session)


async def sweep_twice(session: FtpSession) -> None:
    await session.sweep(["a"])
    await session.sweep(["b"])


async def test_a_refused_data_connection_refuses_the_upload_and_not_the_rename(one_big_file: Path) -> None:
    """Both verbs refused: no upload, but what was staged before still gets its name."""
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
async def test_m047_links_that_lead_back_up_are_no_endless_tree(
    shared_ftp_server: FtpTarget, at: str, tmp_path: Path
) -> None:
    """pyftpdlib shows links as what they lead to; two that lead up make a tree that doubles with each level."""
    job = Job(shared_ftp_server)
    (job.root / "real" / "deeper").mkdir(parents=True)
    (job.root / "real" / "foreign").write_bytes(b"not ours")
    for name, leads_to in ((f"{at}/one", "."), (f"{at}/two", "."), ("real/up", ".."), ("real/deeper/up", "..")):
        (job.root / name.strip("/")).symlink_to(leads_to)
    shared_ftp_server.adopt()
    (tmp_path / "new").write_bytes(b"new")
    run = await job.run(tmp_path)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert (job.root / "new").read_bytes() == b"new"
    assert (job.root / "real" / "foreign").read_bytes() == b"not ours"
    assert (job.root / "real" / "up").is_symlink()
    listings = [command for command in job.proxy.commands if command.verb in ("MLSD", "LIST")]
    assert len(listings) <= 20


# ---- leaving


@pytest.mark.parametrize("size", [1_000, 300_000])
async def test_a_session_that_is_cancelled_anywhere_can_be_tidied_up_or_is_lost(
    shared_ftp_server: FtpTarget, size: int
) -> None:
    """Cancelled after any number of steps, `abandon` removes the temporary, or says that the connection is lost."""
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
                with trio.CancelScope() as scope:
                    scope_cancel = _After(steps, scope.cancel)
                    trio.lowlevel.add_instrument(scope_cancel)
                    try:
                        await session.stage(Upload("final", temporary, content), commit=[first])
                    finally:
                        trio.lowlevel.remove_instrument(scope_cancel)
                try:
                    outcomes.append(await session.abandon(temporary))
                    assert (await session.list_directory("")).problem is None, "the session is in step"
                except ConnectionLost:
                    outcomes.append(None)
        assert not slow.cancelled_caught, f"stuck after {steps} steps"
        if outcomes[-1]:
            assert not (root / temporary).exists()
    assert outcomes.count(True) > len(outcomes) / 2


class _After(trio.abc.Instrument):
    """Does something once this run has taken so many steps."""

    def __init__(self, steps: int, action: Callable[[], object]) -> None:
        self.left, self.action = steps, action

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            self.action()


async def test_no_socket_is_left_when_a_session_ends_in_an_error(pyftpdlib: FtpTarget) -> None:
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
    assert open_sockets() <= before + 4, "those of the server, which runs in this process, close a little later"


def open_sockets() -> int:
    return sum("socket:" in str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink())


async def test_a_password_that_is_refused_is_not_tried_by_those_who_wait() -> None:
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
