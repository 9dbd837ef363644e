"""The FTP test servers serve and log, and the fault proxy applies each fault."""

from __future__ import annotations

import ftplib
import io
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import trio

from actorsync.testing import EmbeddedFtpServer
from actorsync.testing.network.faults import (
    Cut,
    CutData,
    Duplicate,
    Fault,
    Hold,
    How,
    Refuse,
    Slice,
    Swallow,
    Throttle,
    Truncate,
)
from actorsync.testing.network.ftp_proxy import FaultProxy, fault_proxy, open_fault_proxy
from actorsync.testing.servers.command_log import is_mutating
from tests.support import FtpTarget
from tests.support.servers import debian_servers

LOST = (ConnectionError, EOFError)


@contextmanager
def login(server: FtpTarget | EmbeddedFtpServer, host: str | None = None, timeout: float = 5) -> Iterator[ftplib.FTP]:
    """Log in to a server, or to its proxy at ``host``. The socket is always closed at the end."""
    client = ftplib.FTP(timeout=timeout)
    try:
        client.connect(host or server.host, server.port)
        client.login(server.user, server.password)
        yield client
    finally:
        client.close()


def store(client: ftplib.FTP, name: str, content: bytes) -> str:
    return client.storbinary(f"STOR {name}", io.BytesIO(content))


def retrieve(client: ftplib.FTP, name: str) -> bytes:
    chunks: list[bytes] = []
    client.retrbinary(f"RETR {name}", chunks.append)
    return b"".join(chunks)


@contextmanager
def through(server: EmbeddedFtpServer, *faults: Fault) -> Iterator[tuple[FaultProxy, ftplib.FTP]]:
    """Run a proxy with faults, and log in through it. USER was line 1 and PASS line 2."""
    with fault_proxy((server.host, server.port), *faults) as proxy, login(server, proxy.host, 2) as client:
        yield proxy, client


# ---- the four servers


def test_server_stores_and_lists_below_its_root(ftp_server: FtpTarget) -> None:
    (ftp_server.root / "made-by-root").write_bytes(b"old")
    ftp_server.adopt()
    with login(ftp_server) as client:
        assert client.pwd() == "/"
        client.mkd("folder")
        store(client, "folder/a.txt", b"hello")
        client.rename("folder/a.txt", "b.txt")
        store(client, "made-by-root", b"new")
        assert set(client.nlst()) - {".", ".."} == {"b.txt", "folder", "made-by-root"}
        assert retrieve(client, "b.txt") == b"hello"
        client.quit()
    assert (ftp_server.root / "b.txt").read_bytes() == b"hello"
    assert (ftp_server.root / "made-by-root").read_bytes() == b"new"


def test_proxy_logs_the_commands_for_each_server(ftp_server: FtpTarget) -> None:
    with fault_proxy((ftp_server.host, ftp_server.port)) as proxy:
        with login(ftp_server, proxy.host) as client:
            store(client, "a.txt", b"x" * 100_000)
            client.delete("a.txt")
        assert proxy.lines == [
            f"1 USER {ftp_server.user}",
            "1 PASS ***",
            "1 TYPE I",
            "1 PASV",
            "1 STOR a.txt",
            "1 DELE a.txt",
        ]
        assert [str(command) for command in proxy.mutating] == ["STOR a.txt", "DELE a.txt"]


@pytest.mark.parametrize("name", debian_servers.NAMES)
def test_debian_server_restarts_limits_connections_and_logs(name: debian_servers.Name, server_folder: Path) -> None:
    debian_servers.require(name)
    root = server_folder / "root"
    root.mkdir()
    options = debian_servers.Options(max_connections_per_address=2)
    with debian_servers.debian_server(name, root, server_folder, options) as server:
        with login(server.target) as first:
            server.restart()
            with pytest.raises(LOST):
                first.pwd()
        with login(server.target) as one, login(server.target):
            store(one, "a.txt", b"")
            # ProFTPD counts clients at login and replies 530.
            with pytest.raises(ftplib.Error, match=r"^(421|530)"), login(server.target):
                pass
        log = server.command_log()
        if name == "pure-ftpd":
            assert log is None
        else:
            assert log is not None
            assert {"STOR a.txt", "PASS ***"} <= set(log)
        assert not any(debian_servers.PASSWORD in file.read_text("latin-1") for file in logs(server_folder))
    # A process of the server that is just ending may still hold the port for an instant.
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)), login(server.target):
        pass


def logs(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()]


@pytest.mark.parametrize("allowed", [True, False])
def test_vsftpd_sets_times_only_with_mdtm_write(allowed: bool, server_folder: Path) -> None:
    debian_servers.require("vsftpd")
    root = server_folder / "root"
    root.mkdir()
    options = debian_servers.Options(mdtm_write=allowed)
    serving = debian_servers.debian_server("vsftpd", root, server_folder, options)
    with serving as server, login(server.target) as client:
        store(client, "a", b"")
        with nullcontext() if allowed else pytest.raises(ftplib.error_perm):
            client.sendcmd("MDTM 20200102030405 a")
    assert ((root / "a").stat().st_mtime == 1577934245) is allowed


def test_missing_server_skips_the_test_and_fails_it_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian_servers, "available", lambda _: "not installed")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="not installed"):
        debian_servers.require("vsftpd")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="not installed"):
        debian_servers.require("vsftpd")


def test_urls_contain_the_user_and_no_password(embedded: EmbeddedFtpServer) -> None:
    assert embedded.url == f"ftp://demo@127.0.0.1:{embedded.port}/"
    target = FtpTarget("x", "127.0.0.1", 21, "demo", "secret", Path())
    assert target.url("a b/c") == "ftp://demo@127.0.0.1:21/a%20b/c"
    assert "secret" not in repr(target)


# ---- the embedded server


def test_embedded_server_logs_commands_and_counts_bytes(embedded: EmbeddedFtpServer) -> None:
    with login(embedded) as client:
        store(client, "a.txt", b"x" * 1000)
        client.sendcmd("MFMT 20200102030405 a.txt")
    assert embedded.bytes_received == 1000
    assert (1, "PASS", "***") in embedded.commands
    assert embedded.mutating == [(1, "STOR", "a.txt"), (1, "MFMT", "20200102030405 a.txt")]
    with login(embedded):
        pass
    assert embedded.commands[-1] == (2, "PASS", "***")


def test_embedded_server_rejects_commands_in_without(server_folder: Path) -> None:
    with EmbeddedFtpServer(server_folder, without={"MLSD", "MLST", "MFMT"}) as server, login(server) as client:
        features = client.sendcmd("FEAT")
        assert "SIZE" in features
        assert "MLST" not in features
        assert "MFMT" not in features
        with pytest.raises(ftplib.error_perm, match="500"):
            client.sendcmd("MLSD")


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_address"])
def test_embedded_server_limits_connections(limit: str, server_folder: Path) -> None:
    settings: dict[str, Any] = {limit: 2}
    with EmbeddedFtpServer(server_folder, **settings) as server, login(server) as client:
        with login(server) as other:
            store(client, "data-connections-do-not-count", b"")
            with pytest.raises(ftplib.error_temp, match="421"), login(server):
                pass
            other.quit()
        with login(server):  # one connection has ended
            pass


def test_embedded_server_ends_idle_sessions(server_folder: Path) -> None:
    with EmbeddedFtpServer(server_folder, idle_timeout=0.2) as server, login(server) as client:
        assert client.sock is not None
        assert client.sock.recv(100).startswith(b"421 ")


def test_embedded_server_restarts_on_its_port_and_cuts_a_slow_transfer(server_folder: Path) -> None:
    with EmbeddedFtpServer(server_folder, throttle=20_000) as server:
        with login(server) as client:
            with client.transfercmd("STOR slow") as data:
                data.sendall(b"x" * 200_000)
                while server.bytes_received == 0:
                    time.sleep(0.01)
                server.restart()
            with pytest.raises(LOST):
                client.voidresp()
        assert 0 < server.bytes_received < 200_000
        with login(server):
            pass


def test_mutating_commands_are_recognized() -> None:
    assert is_mutating("MDTM", "20200102030405 a")
    assert not is_mutating("MDTM", "a")
    assert not is_mutating("RNFR", "a")
    assert is_mutating("SITE", "CHMOD 600 a")


# ---- faults on the control connection


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize(
    ("when", "arrived", "answered"),
    [("before", False, False), ("unanswered", True, False), ("after", True, True)],
)
def test_control_connection_is_cut_before_or_after_a_line(
    embedded: EmbeddedFtpServer, how: How, when: Any, arrived: bool, answered: bool
) -> None:
    with through(embedded, Cut(at_line=4, how=how, when=when)) as (proxy, client):
        client.voidcmd("NOOP")
        if answered:
            client.mkd("folder")
            with pytest.raises(LOST):
                client.voidcmd("NOOP")
        else:
            with pytest.raises(LOST):
                client.mkd("folder")
        assert (embedded.root / "folder").is_dir() is arrived
        assert proxy.lines[3] == "1 MKD folder"
        assert len(proxy.fired) == 1
        with login(embedded, proxy.host) as again:  # the fault happens only once
            again.mkd("other")
        assert proxy.connections == 2


def test_silence_on_a_control_connection_times_out(embedded: EmbeddedFtpServer) -> None:
    with through(embedded, Cut(verb="NOOP", how="silence")) as (_, client):
        client.sock.settimeout(0.2)  # type: ignore[union-attr]
        with pytest.raises(TimeoutError):
            client.voidcmd("NOOP")


def test_cut_at_a_transfer_waits_for_the_final_reply(embedded: EmbeddedFtpServer) -> None:
    with through(embedded, Cut(verb="STOR", when="unanswered")) as (_, client), pytest.raises(LOST):
        store(client, "a", b"x" * 200_000)
    assert (embedded.root / "a").stat().st_size == 200_000


def test_cut_per_connection_happens_on_several_connections(embedded: EmbeddedFtpServer) -> None:
    fault = Cut(at_line=3, per_connection=True, times=2)
    with fault_proxy((embedded.host, embedded.port), fault) as proxy:
        for _ in range(2):
            with login(embedded, proxy.host) as client, pytest.raises(LOST):
                client.voidcmd("NOOP")
        with login(embedded, proxy.host) as client:
            client.voidcmd("NOOP")
        assert proxy.fired == [fault, fault]


def test_replies_are_held_swallowed_and_duplicated(embedded: EmbeddedFtpServer) -> None:
    faults: list[Fault] = [Hold(verb="NOOP", seconds=0.3), Duplicate(verb="PWD"), Swallow(verb="SYST")]
    with through(embedded, *faults) as (proxy, client):
        before = time.monotonic()
        client.voidcmd("NOOP")
        assert time.monotonic() - before > 0.3
        assert client.pwd() == "/"
        assert client.voidcmd("TYPE I").startswith("257")  # the duplicate; from here, replies are one line behind
        assert client.voidcmd("SYST").startswith("200 Type")
        client.sock.settimeout(0.2)  # type: ignore[union-attr]
        with pytest.raises(TimeoutError):
            client.voidresp()
        assert proxy.fired == faults


def test_refused_connections_end_before_the_greeting(embedded: EmbeddedFtpServer) -> None:
    with fault_proxy((embedded.host, embedded.port), Refuse(times=2), Refuse(at_connection=3, how="fin")) as proxy:
        for _ in range(3):
            with pytest.raises(LOST), login(embedded, proxy.host):
                pass
        with login(embedded, proxy.host):
            pass


def test_stopped_server_resets_the_client(embedded: EmbeddedFtpServer) -> None:
    with fault_proxy((embedded.host, embedded.port)) as proxy:
        embedded.stop()
        with pytest.raises(LOST), login(embedded, proxy.host):
            pass


# ---- faults on data connections


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_upload_is_cut_and_the_control_connection_stays(embedded: EmbeddedFtpServer, how: How) -> None:
    with through(embedded, CutData(after=5000, how=how)) as (proxy, client):
        with client.transfercmd("STOR a") as data, pytest.raises(ConnectionError):
            data.sendall(b"x" * 50_000_000)
        client.getresp()  # the control connection still works
        assert proxy.fired == [CutData(after=5000, how=how)]
    assert (embedded.root / "a").stat().st_size <= 5000


def test_data_connection_that_is_reset_before_it_is_accepted_gets_a_reply(embedded: EmbeddedFtpServer) -> None:
    os.mkfifo(embedded.root / "fifo")
    with login(embedded) as client, login(embedded) as other:
        host, port = client.makepasv()
        other.putcmd("STOR fifo")  # the server waits for a reader, and accepts nothing meanwhile
        while "STOR fifo" not in map(str, embedded.commands):
            time.sleep(0.001)
        with socket.create_connection((host, port)) as data:
            data.sendall(b"x")
            data.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.putcmd("STOR a")
        with (embedded.root / "fifo").open("rb"):
            assert client.getresp().startswith("1")
            assert client.getresp().startswith("226")


def test_only_the_second_download_is_cut(embedded: EmbeddedFtpServer) -> None:
    (embedded.root / "a").write_bytes(b"x" * 100_000)
    with through(embedded, CutData(after=5000, verb="RETR", at_transfer=2)) as (proxy, client):
        store(client, "b", b"x" * 10_000)
        assert len(retrieve(client, "a")) == 100_000
        with pytest.raises(ConnectionResetError):
            retrieve(client, "a")
        assert len(proxy.fired) == 1


def test_silence_in_an_upload_times_out(embedded: EmbeddedFtpServer) -> None:
    with through(embedded, CutData(after=5000, how="silence")) as (_, client):
        client.sock.settimeout(0.3)  # type: ignore[union-attr]
        with pytest.raises(TimeoutError):
            store(client, "a", b"x" * 10_000)


def test_truncated_upload_reports_success_on_each_server(ftp_server: FtpTarget) -> None:
    fault = Truncate(after=88_576, verb="STOR")
    with fault_proxy((ftp_server.host, ftp_server.port), fault) as proxy, login(ftp_server, proxy.host) as client:
        assert store(client, "a", b"x" * 200_000).startswith("226")
        assert (ftp_server.root / "a").stat().st_size == 88_576
        store(client, "a", b"x" * 200_000)
        assert (ftp_server.root / "a").stat().st_size == 200_000


def test_truncated_download_ends_early(embedded: EmbeddedFtpServer) -> None:
    (embedded.root / "a").write_bytes(b"x" * 100_000)
    with through(embedded, Truncate(after=10)) as (_, client):
        assert retrieve(client, "a") == b"x" * 10


def test_slices_keep_data_and_replies_whole(ftp_server: FtpTarget) -> None:
    (ftp_server.root / "a").write_bytes(bytes(range(256)))
    ftp_server.adopt()
    with fault_proxy((ftp_server.host, ftp_server.port), Slice()) as proxy, login(ftp_server, proxy.host) as client:
        assert retrieve(client, "a") == bytes(range(256))
        assert "211" in client.sendcmd("FEAT")


def test_throttle_limits_the_rate(embedded: EmbeddedFtpServer) -> None:
    with through(embedded, Throttle(100_000)) as (_, client):
        before = time.monotonic()
        store(client, "a", b"x" * 30_000)
        assert 0.25 < time.monotonic() - before < 2


# ---- the proxy as a trio context manager


async def test_proxy_runs_in_trio(embedded: EmbeddedFtpServer) -> None:
    async with open_fault_proxy((embedded.host, embedded.port), host="127.0.0.9") as proxy:
        assert (proxy.host, proxy.port) == ("127.0.0.9", embedded.port)
        stream = await trio.open_tcp_stream(proxy.host, proxy.port)
        async with stream:
            assert (await stream.receive_some()).startswith(b"220 ")
            proxy.arm(Duplicate())
            await stream.send_all(b"NOOP\r\n")
            reply = b""
            while reply.count(b"200 ") < 2:
                reply += await stream.receive_some()


async def test_error_in_the_block_is_raised_without_a_group(embedded: EmbeddedFtpServer) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_fault_proxy((embedded.host, embedded.port)):
            raise ZeroDivisionError
    with trio.move_on_after(0.05) as scope:
        async with open_fault_proxy((embedded.host, embedded.port)):
            await trio.sleep_forever()
    assert scope.cancelled_caught


def test_port_taken_on_all_addresses_is_an_error() -> None:
    with (
        socket.create_server(("", 0)) as taken,
        pytest.raises(OSError, match="does the server listen on all"),
        fault_proxy(taken.getsockname()),
    ):
        pass
