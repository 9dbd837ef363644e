"""Faults of the embedded servers: the texts that name them, and the effect of each with FTP, FTPS and SFTP."""

from __future__ import annotations

import asyncio
import contextlib
import ftplib
import gc
import io
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import trio

from actorsync.testing.servers.certificates import self_signed_certificate
from actorsync.testing.servers.faults import FaultPlan, Happened, ServerFault, parse_fault
from actorsync.testing.servers.ftp import EmbeddedFtpServer
from actorsync.testing.servers.sftp import EmbeddedSftpServer

DATA = bytes(range(256)) * 1024  # 256 KiB: more than one read returns


@pytest.mark.parametrize(
    ("text", "name", "place", "count", "times"),
    [
        ("cut@store:3", "cut", "store", 3, 1),
        ("reset@line:20*2", "reset", "line", 20, 2),
        ("silence@data:100000", "silence", "data", 100_000, 1),
        ("truncate@data:64KiB", "truncate", "data", 65_536, 1),
        ("refuse@login", "refuse", "login", 1, 1),
        ("kill@1.5s", "kill", "time", 1.5, 1),
        ("full@5MB", "full", "", 5_000_000, 1),
        ("slow@10B", "slow", "", 10, 1),
        ("capacity@4", "capacity", "", 4, 1),
        ("forbid@rename:8", "forbid", "rename", 8, 1),
        ("kill@rank:2", "kill", "rank", 2, 1),
    ],
)
def test_fault_text_is_parsed_and_kept(text: str, name: str, place: str, count: float, times: int) -> None:
    fault = parse_fault(text)
    assert (fault.name, fault.place, fault.count, fault.times) == (name, place, count, times)
    assert str(fault) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("cutt@store", "there is no fault 'cutt'; did you mean cut?"),
        ("", "there is no fault ''; known: cut, reset, silence"),
        ("cut", "'cut' has no place; write it like cut@store:3"),
        ("full", "'full' has no place; write it like full@5MB"),
        ("cut@stor:3", "there is no place 'stor'; did you mean store?"),
        ("cut@xyz", "there is no place 'xyz'; known: connect, login, line"),
        ("cut@store:0", "'0' is not a number; write it like cut@store:3"),
        ("cut@store:", "'' is not a number; write it like cut@store:3"),
        ("cut@data", "'' is not a size; write it like cut@data:100KB"),
        ("cut@data:0", "'0' is not a size; write it like cut@data:100KB"),
        ("cut@store*x", "'x' is not a number of times; write it like cut@store*2"),
        ("truncate@store", "'truncate' cannot happen at 'store'; it can at: data"),
        ("refuse@data:5", "'refuse' cannot happen at 'data:5'; it can at: connect, login, line, store"),
        ("drop@1s", "'drop' cannot happen at '1s'; it can at: line, store"),
        ("full@lots", "'lots' is not a size; write it like full@5MB"),
        ("full@5MB*2", "'full' lasts and cannot happen several times; leave *2 out"),
        ("forbid@store", "'forbid' cannot happen at 'store'; it can at: rename"),
        ("forbid", "'forbid' has no place; write it like forbid@rename:3"),
        ("capacity@0", "'0' is not a number of connections; write it like capacity@4"),
    ],
)
def test_wrong_fault_text_names_the_wrong_part(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_fault(text)
    assert str(refused.value).startswith(reason)


def test_kill_without_a_process_is_rejected() -> None:
    with pytest.raises(ValueError, match="'kill' needs a process to kill"):
        FaultPlan(("kill@store",))


def test_rank_without_the_ranks_of_files_is_rejected() -> None:
    with pytest.raises(ValueError, match="'rank' needs the ranks of files"):
        FaultPlan(("cut@rank",))


def test_rank_comes_up_at_the_first_rename_of_a_later_rank() -> None:
    killed: list[str] = []
    plan = FaultPlan(("kill@rank",), kill=lambda: killed.append("killed"), rank_of={"css": 1, "html": 2}.get)
    pairs = [("tmp-1", "css"), ("tmp-2", "/"), ("tmp-2", "css"), ("html", "aside"), ("tmp-3", "html"), ("tmp-4", "css")]
    assert [plan.at(["line", "rename"], "RNTO", pair) for pair in pairs] == [None, None, None, "cut", None, None]
    assert killed == ["killed"]
    assert plan.seen == {"line": 6, "rename": 5, "rank": 1}
    plan.begin(2)
    assert [plan.at(["rename"], "RNTO", pair) for pair in pairs[-2:]] == [None, None]
    assert plan.seen["rank"] == 1, "a run begins with any rank"


def test_forbidden_rename_is_refused_until_the_run_ends() -> None:
    plan = FaultPlan(("forbid@rename:2",))
    pairs = [("a", "b"), ("c", "d"), ("d", "c"), ("c", "d"), ("a", "b")]
    assert [plan.at(["rename"], "RNTO", pair) for pair in pairs] == [None, "refuse", None, "refuse", None]
    assert plan.at(["line", "size"], "SIZE", ("c", "d")) is None
    plan.begin(2)
    assert plan.at(["rename"], "RNTO", ("c", "d")) is None


def test_plan_counts_places_and_records_faults() -> None:
    watched: list[Happened] = []
    plan = FaultPlan(("cut@store:2*2", "refuse@login:9"), watch=watched.append)
    cut, refuse = plan.faults
    assert [plan.at(["line", "store"], f"STOR {number}") for number in range(1, 7)] == [
        *(None, "cut", None, "cut", None, None)
    ]
    assert [(one.fault, one.where) for one in watched] == [(cut, "STOR 2"), (cut, "STOR 4")]
    assert plan.happened == watched
    assert plan.never_happened() == [refuse]
    assert plan.seen == {"line": 6, "store": 6}


def test_full_disk_has_room_again_in_the_next_run() -> None:
    plan = FaultPlan(("full@100",))
    assert [plan.data(60, ""), plan.data(60, ""), plan.data(60, "")] == [(None, 60), ("full", 40), ("full", 0)]
    plan.begin(2)
    assert plan.data(60, "") == (None, 60)


# ---- FTP, with the client of the standard library


@pytest.fixture(params=["ftp", "ftps"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class _ImplicitFtps(ftplib.FTP_TLS):
    """A client for implicit TLS; ftplib itself has only explicit TLS."""

    @property
    def sock(self) -> Any:
        return self._secure

    @sock.setter
    def sock(self, value: Any) -> None:
        is_plain = value is not None and not isinstance(value, ssl.SSLSocket)
        self._secure = self.context.wrap_socket(value) if is_plain else value


@contextlib.contextmanager
def ftp(tmp_path: Path, scheme: str, *faults: str, **plan: Any) -> Iterator[tuple[EmbeddedFtpServer, Any]]:
    """Run a server with faults, and log a client in to it."""
    root = tmp_path / "root"
    root.mkdir()
    certificate = None if scheme == "ftp" else self_signed_certificate(tmp_path / "pem")
    settings: dict[str, Any] = {"certificate": certificate, "is_implicit": scheme == "ftps"}
    with EmbeddedFtpServer(root, faults=FaultPlan(faults, **plan), **settings) as server:
        assert server.url == f"{scheme}://demo@127.0.0.1:{server.port}/"
        with contextlib.closing(connected(server, scheme)) as client:
            login(client)
            yield server, client


def connected(server: EmbeddedFtpServer, scheme: str) -> ftplib.FTP:
    context = ssl._create_unverified_context()
    client = ftplib.FTP()
    if scheme != "ftp":
        client = _ImplicitFtps(context=context)
    try:
        client.connect(server.host, server.port, timeout=5)
    except BaseException:
        client.close()
        raise
    return client


def login(client: ftplib.FTP) -> None:
    ftplib.FTP.login(client, "demo", "demo")  # FTP_TLS.login sends AUTH first
    if isinstance(client, ftplib.FTP_TLS):
        client.prot_p()


def store(client: ftplib.FTP, name: str = "a", data: bytes = DATA) -> str:
    return client.storbinary(f"STOR {name}", io.BytesIO(data))


PATIENCE = 0.2


def store_and_read_reply(client: ftplib.FTP, name: str) -> None:
    """Upload a file, and read the server's reply also when the data connection breaks."""
    try:
        store(client, name)
    except GONE:
        client.voidresp()


def repeat_forever(do: Callable[[], object]) -> None:
    while True:
        do()


GONE = (EOFError, ConnectionError, ssl.SSLError)


@pytest.mark.parametrize("how", ["cut", "reset"])
def test_ftp_fault_at_a_command_ends_the_session(how: str, scheme: str, tmp_path: Path) -> None:
    with ftp(tmp_path, scheme, f"{how}@store:2") as (server, client):
        store(client)
        with pytest.raises(GONE):
            store(client, "b")
        assert [one.where for one in server.faults.happened] == ["STOR b"]
        assert [path.name for path in server.root.iterdir()] == ["a"]


def test_ftp_drop_executes_the_command_and_loses_the_reply(scheme: str, tmp_path: Path) -> None:
    with ftp(tmp_path, scheme, "drop@store", "drop@mkdir") as (server, client):
        with pytest.raises(GONE):
            store(client)
        assert (server.root / "a").read_bytes() == DATA
        with contextlib.closing(connected(server, scheme)) as again:
            login(again)
            with pytest.raises(GONE):
                again.mkd("d")
        assert (server.root / "d").is_dir()


def test_ftp_refusal_affects_one_command_only(scheme: str, tmp_path: Path) -> None:
    with ftp(tmp_path, scheme, "refuse@mkdir", "refuse@login:2") as (server, client):
        with pytest.raises(ftplib.error_perm, match="550"):
            client.mkd("d")
        client.mkd("d")
        with contextlib.closing(connected(server, scheme)) as again:
            with pytest.raises(ftplib.error_perm, match="530"):
                login(again)
            login(again)


@pytest.mark.parametrize("how", ["cut", "reset"])
def test_ftp_upload_is_cut_at_the_given_byte(how: str, scheme: str, tmp_path: Path) -> None:
    with ftp(tmp_path, scheme, f"{how}@data:100KB") as (server, client), pytest.raises((*GONE, ftplib.error_temp)):
        store(client)
    assert (server.root / "a").stat().st_size == 100_000
    assert len(server.faults.happened) == 1


def test_ftp_truncated_upload_reports_success(scheme: str, tmp_path: Path) -> None:
    with ftp(tmp_path, scheme, "truncate@data:100000") as (server, client):
        assert store(client).startswith("226")
        assert (server.root / "a").read_bytes() == DATA[:100_000]
        assert store(client).startswith("226")
        assert (server.root / "a").read_bytes() == DATA


def test_ftp_server_is_full_until_the_run_ends(scheme: str, tmp_path: Path) -> None:
    with ftp(tmp_path, scheme, "full@300000") as (server, client):
        store(client)
        for name in ("b", "c"):
            with pytest.raises(ftplib.error_temp, match="452"):
                store_and_read_reply(client, name)
        server.faults.begin(2)
        with contextlib.closing(connected(server, scheme)) as again:
            login(again)
            store(again, "c")
        assert (server.root / "c").read_bytes() == DATA


@pytest.mark.parametrize("fault", ["silence@store", "silence@data:1000", "silence@0s"])
def test_ftp_silence_times_out_in_the_client(fault: str, scheme: str, tmp_path: Path) -> None:
    with ftp(tmp_path, scheme) as (server, client):
        server.faults.arm(fault)
        client.sock.settimeout(0.2)
        client.timeout = 0.2
        with pytest.raises(TimeoutError):
            repeat_forever(lambda: store(client))
        assert len(server.faults.happened) == 1
        client.sock.settimeout(5)
    assert client.sock is None, "the context manager closed the client"


def test_ftp_capacity_rejects_further_connections(scheme: str, tmp_path: Path) -> None:
    with ftp(tmp_path, scheme, "capacity@1") as (server, _):
        with pytest.raises((ftplib.error_temp, *GONE), match=r"421|EOF|closed|^$"):
            connected(server, scheme)
        assert [str(one.fault) for one in server.faults.happened] == ["capacity@1"]


def test_ftp_fault_at_a_time_ends_all_sessions(scheme: str, tmp_path: Path) -> None:
    with ftp(tmp_path, scheme) as (server, client):
        server.faults.arm("reset@0s")
        with pytest.raises(GONE):
            repeat_forever(lambda: client.voidcmd("NOOP"))
    assert len(server.faults.happened) == 1


def test_ftp_kill_fault_kills_the_client(scheme: str, tmp_path: Path) -> None:
    killed = threading.Event()
    with ftp(tmp_path, scheme, "kill@mkdir:2", kill=killed.set) as (_, client):
        client.mkd("a")
        assert not killed.is_set()
        client.mkd("b")  # the server executes the command all the same
        assert killed.is_set()


def test_ftp_fault_at_connect_ends_the_connection_before_the_greeting(scheme: str, tmp_path: Path) -> None:
    with ftp(tmp_path, scheme, "reset@connect:2", "refuse@connect:3") as (server, _):
        with pytest.raises(GONE):
            connected(server, scheme)
        with pytest.raises((ftplib.error_temp, *GONE)):
            connected(server, scheme)
        with contextlib.closing(connected(server, scheme)) as client:
            login(client)


# ---- SFTP


async def visit(server: EmbeddedSftpServer, work: Callable[[asyncssh.SFTPClient], Awaitable[object]]) -> None:
    """Log in and run ``work`` with an SFTP client, in an asyncio loop of its own. Raises TimeoutError on silence."""
    connections: list[asyncssh.SSHClientConnection] = []

    async def session() -> None:
        connection = await asyncssh.connect(
            server.host, server.port, username="demo", password="demo", known_hosts=None, config=None, client_keys=None
        )
        connections.append(connection)
        await work(await connection.start_sftp_client())

    async def main() -> None:
        doing = asyncio.ensure_future(session())
        try:
            while True:
                is_silent = any(one.fault.name == "silence" for one in server.faults.happened)
                await asyncio.wait([doing], timeout=PATIENCE)
                if doing.done() or is_silent:
                    break
        finally:
            for connection in connections:
                connection.abort()
        if not doing.done():
            doing.cancel()
            await asyncio.wait([doing], timeout=PATIENCE)
            raise TimeoutError
        await doing

    await trio.to_thread.run_sync(asyncio.run, main())


async def put(client: asyncssh.SFTPClient, name: str = "a") -> None:
    async with client.open(name, "wb") as file:
        await file.write(DATA)


async def put_until_it_fails(client: asyncssh.SFTPClient) -> None:
    """Upload a file again and again over one connection, so that a fault at a time meets an open connection."""
    while True:
        await put(client)


LOST = (asyncssh.Error, OSError)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.mark.parametrize("fault", ["cut@store", "reset@store", "reset@line:3", "cut@data:70000", "reset@0.01s"])
async def test_sftp_fault_ends_the_connection(fault: str, root: Path) -> None:
    async with EmbeddedSftpServer(root, faults=[fault]) as server:
        with pytest.raises(LOST):
            await visit(server, put_until_it_fails)
        assert [str(one.fault) for one in server.faults.happened] == [fault]
        await visit(server, put)
    assert (root / "a").read_bytes() == DATA


@pytest.mark.parametrize("fault", ["silence@store", "silence@data:70000", "silence@login", "silence@connect"])
async def test_sftp_silence_times_out_in_the_client(fault: str, root: Path) -> None:
    async with EmbeddedSftpServer(root, faults=[fault]) as server:
        with pytest.raises(TimeoutError):
            await visit(server, put)
        assert [str(one.fault) for one in server.faults.happened] == [fault]


async def test_sftp_drop_executes_the_request_and_loses_the_reply(root: Path) -> None:
    async with EmbeddedSftpServer(root, faults=["drop@mkdir"]) as server:
        with pytest.raises(LOST):
            await visit(server, lambda client: client.mkdir("d"))
    assert (root / "d").is_dir()


async def test_sftp_refusal_affects_one_request_only(root: Path) -> None:
    async def twice(client: asyncssh.SFTPClient) -> None:
        with pytest.raises(asyncssh.SFTPPermissionDenied):
            await client.mkdir("d")
        await client.mkdir("d")

    async with EmbeddedSftpServer(root, faults=["refuse@mkdir", "refuse@login:2", "refuse@connect:4"]) as server:
        await visit(server, twice)
        with pytest.raises(asyncssh.PermissionDenied):
            await visit(server, put)
        await visit(server, put)
        with pytest.raises(LOST):
            await visit(server, put)


async def test_sftp_truncated_upload_reports_success(root: Path) -> None:
    async with EmbeddedSftpServer(root, faults=["truncate@data:100000"]) as server:
        await visit(server, put)
        assert (root / "a").stat().st_size < len(DATA)
        await visit(server, put)
        assert (root / "a").read_bytes() == DATA


async def test_sftp_server_is_full_until_the_run_ends(root: Path) -> None:
    async with EmbeddedSftpServer(root, faults=["full@300000"]) as server:
        await visit(server, put)
        for _ in range(2):
            with pytest.raises(asyncssh.SFTPFailure):
                await visit(server, lambda client: put(client, "b"))
        server.faults.begin(2)
        await visit(server, lambda client: put(client, "b"))
    assert (root / "b").read_bytes() == DATA


async def test_sftp_capacity_rejects_connections_and_slow_limits_the_rate(root: Path) -> None:
    async def again(_: asyncssh.SFTPClient) -> None:
        with pytest.raises(LOST):
            await asyncssh.connect(server.host, server.port, known_hosts=None, config=None, username="demo")

    async with EmbeddedSftpServer(root, faults=["capacity@1", "slow@1MB"]) as server:
        await visit(server, again)
        assert [str(one.fault) for one in server.faults.happened] == ["capacity@1"]
        began = time.monotonic()
        await visit(server, put)
        assert time.monotonic() - began >= len(DATA) / 1_000_000
        assert {str(one.fault) for one in server.faults.happened} == {"capacity@1", "slow@1MB"}


async def test_sftp_kill_fault_kills_the_client(root: Path) -> None:
    killed: list[int] = []
    plan = FaultPlan(("kill@store", "kill@data:1"), kill=lambda: killed.append(1))
    async with EmbeddedSftpServer(root, faults=plan) as server:
        await visit(server, put)
    assert killed == [1, 1]


def test_faults_can_be_passed_as_values(root: Path) -> None:
    with EmbeddedSftpServer(root, faults=[ServerFault("cut", "store", 1)]) as it:
        assert it.faults.faults[0].name == "cut"


def test_connection_made_while_an_sftp_server_stops_is_closed(root: Path) -> None:
    """asyncio leaks the socket of a connection that is accepted and not set up yet when its server is closed."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for _ in range(20):
            with contextlib.ExitStack() as sockets, EmbeddedSftpServer(root) as server:
                clients = [sockets.enter_context(socket.socket()) for _ in range(40)]
                for client in clients:
                    client.setblocking(False)
                    client.connect_ex((server.host, server.port))
        gc.collect()
    assert [str(warning.message) for warning in warned if issubclass(warning.category, ResourceWarning)] == []
