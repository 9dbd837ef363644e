"""The SFTP test servers serve, log and send wrong replies, and the wire proxy applies each fault.

The clients are those of asyncssh and OpenSSH, so that no code of actorsync is between server and test.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import asyncssh
import pytest
import trio

from actorsync.testing import EmbeddedSftpServer
from actorsync.testing.network.proxy import CutWire, HoldWire, WireFault, open_wire_proxy
from actorsync.testing.servers import sftp_packets as raw
from tests.support.servers import evil_sftp, ssh_servers
from tests.support.servers.ssh_keys import agent, make_key
from tests.support.servers.ssh_servers import NAMES, OPENSSH, Options, openssh_server, require
from tests.support.servers.ssh_target import SshTarget

T = TypeVar("T")
Embedded = tuple[EmbeddedSftpServer, SshTarget]


def as_client(target: SshTarget, use: Callable[[asyncssh.SFTPClient], Awaitable[T]], **settings: Any) -> T:
    """Log in with asyncssh's client and call ``use`` with it. The login is by key unless ``settings`` say otherwise."""

    async def main() -> T:
        chosen: dict[str, Any] = {"client_keys": [str(target.client_key)], "host": target.host, **settings}
        async with asyncssh.connect(
            port=target.port,
            username=target.user,
            known_hosts=str(target.known_hosts),
            agent_path=None,
            config=None,
            **chosen,
        ) as connection:
            client = await asyncio.wait_for(connection.start_sftp_client(), 5)
            return await asyncio.wait_for(use(client), 5)

    return asyncio.run(main())


async def list_root(client: asyncssh.SFTPClient) -> list[str]:
    return sorted(str(name) for name in await client.listdir(".") if name not in {".", ".."})


async def put(client: asyncssh.SFTPClient, name: str = "a", size: int = 1000) -> None:
    async with client.open(name, "wb") as file:
        await file.write(b"x" * size)


def run(*argv: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False, env=env)


def sftp(target: SshTarget, batch: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run OpenSSH's client with a batch of commands."""
    (folder / "batch").write_text(batch)
    trust = ("-o", f"UserKnownHostsFile={target.known_hosts}", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes")
    where = ("-i", target.client_key, "-P", str(target.port), f"{target.user}@{target.host}")
    return run("sftp", "-F", "none", *trust, "-b", folder / "batch", *where)


# ---- both servers


def test_openssh_client_is_served_below_the_root(
    shared_sftp_server: SshTarget, server_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "local").write_bytes(b"hello")
    (shared_sftp_server.root / "made-by-root").write_bytes(b"old")
    shared_sftp_server.adopt()
    done = sftp(
        shared_sftp_server,
        f"lcd {tmp_path}\nmkdir folder\nput local folder/a.txt\nrename folder/a.txt b.txt\nput local made-by-root\n",
        server_folder,
    )
    assert done.returncode == 0, done.stderr
    assert (shared_sftp_server.root / "b.txt").read_bytes() == b"hello"
    assert (shared_sftp_server.root / "made-by-root").read_bytes() == b"hello"
    assert (shared_sftp_server.root / "folder").is_dir()


def test_only_right_keys_and_passwords_are_accepted(shared_sftp_server: SshTarget) -> None:
    target = shared_sftp_server
    as_client(target, list_root)
    as_client(target, list_root, client_keys=None, password=target.password)
    with pytest.raises(asyncssh.PermissionDenied):
        as_client(target, list_root, client_keys=None, password="wrong")
    with pytest.raises(asyncssh.PermissionDenied):
        as_client(target, list_root, client_keys=[str(make_key().path)])
    assert target.password not in repr(target)
    assert target.password not in target.url("x y")
    assert target.url("x y").endswith(f":{target.port}/~/x%20y")


def test_host_key_is_the_one_in_known_hosts(shared_sftp_server: SshTarget) -> None:
    target = shared_sftp_server
    shown = run("ssh-keyscan", "-t", "ed25519", "-p", str(target.port), target.host).stdout
    assert shown.split()[1:] == target.known_hosts.read_text().split()[1:]
    as_client(target, list_root)


def test_restart_cuts_every_session(server_folder: Path) -> None:
    for name in NAMES:
        require(name)
    (server_folder / "root").mkdir()
    with openssh_server(server_folder / "root", server_folder) as server:

        async def use(client: asyncssh.SFTPClient) -> None:
            await asyncio.to_thread(server.restart)
            with pytest.raises((asyncssh.Error, OSError)):
                await client.stat(".")

        as_client(server.target, use)
        assert not as_client(server.target, list_root)
        assert "Accepted publickey" in server.log()
        assert server.target.password not in server.log()
    with pytest.raises(ConnectionRefusedError):
        as_client(server.target, list_root)


@contextmanager
def connected_without_login(where: tuple[str, int]) -> Iterator[None]:
    """Connect and do not log in. The server may take a while to notice that an earlier connection has ended."""
    for _ in range(50):
        with socket.create_connection(where, timeout=5) as client:
            said = b""
            with suppress(ConnectionResetError):
                said = client.recv(4)
            if said == b"SSH-":
                yield
                return
        time.sleep(0.1)
    pytest.fail("the server accepted no connection")


def log_in_eventually(target: SshTarget) -> None:
    """Log in. The server may take a while to notice that the connection of the start has ended, and drop logins."""
    for _ in range(50):
        with suppress(asyncssh.Error, OSError):
            as_client(target, list_root)
            return
        time.sleep(0.1)
    pytest.fail("the server accepted no login")


def test_openssh_drops_connections_over_the_limit(server_folder: Path) -> None:
    require(OPENSSH)
    (server_folder / "root").mkdir()
    options = Options(max_connections=1, login_grace=30)
    with openssh_server(server_folder / "root", server_folder, options) as server:
        where = (server.target.host, server.target.port)
        log_in_eventually(server.target)
        with (
            connected_without_login(where),
            socket.create_connection(where, timeout=5) as second,
            second.makefile("rb") as said,
        ):
            assert not said.readline().startswith(b"SSH-")


def test_missing_server_skips_the_test_and_fails_it_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_servers, "available", lambda _: "not installed")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="not installed"):
        require(OPENSSH)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="not installed"):
        require(OPENSSH)


def test_agent_holds_keys(tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    with agent(tmp_path, key.path) as path:
        shown = run("ssh-add", "-l", env={**os.environ, "SSH_AUTH_SOCK": str(path)})
        assert key.fingerprint in shown.stdout
    assert run("ssh-keygen", "-l", "-f", key.path).stdout.split()[1] == key.fingerprint


# ---- the embedded server


def test_embedded_server_logs_requests_and_counts_bytes(embedded_sftp: Embedded) -> None:
    server, target = embedded_sftp

    async def use(client: asyncssh.SFTPClient) -> None:
        await client.mkdir("d")
        await put(client, "d/a")
        await client.posix_rename("d/a", "d/b")
        await client.utime("d/b", (5, 5))
        async with client.open("d/b", "rb") as file:
            content: object = await file.read()  # asyncssh declares str
            assert content == b"x" * 1000

    as_client(target, use, client_keys=None, password=target.password)
    assert server.bytes_received == 1000
    assert [str(command) for command in server.mutating] == [
        "MKDIR d",
        "CREATE d/a",
        "WRITE d/a",
        "POSIX-RENAME d/a -> d/b",
        "SETSTAT d/b",
    ]
    assert {(1, "USER", target.user), (1, "PASS", "***"), (1, "OPEN", "d/b"), (1, "READ", "d/b")} <= set(
        server.commands
    )
    as_client(target, list_root)
    assert server.connections == 2
    assert server.commands[-1].session == 2


def test_embedded_server_rejects_extensions_in_without(embedded_sftp: Embedded) -> None:
    server, target = embedded_sftp
    everything = ("posix-rename@openssh.com", "fsync@openssh.com", "statvfs@openssh.com", "limits@openssh.com")

    async def use(client: asyncssh.SFTPClient) -> list[bool]:
        await put(client)
        possible = []
        for verb in (client.posix_rename("a", "b"), client.statvfs(".")):
            try:
                await verb
                possible.append(True)
            except asyncssh.SFTPOpUnsupported:
                possible.append(False)
        return possible

    assert as_client(target, use) == [True, True]
    server.without = frozenset(everything)
    assert as_client(target, use) == [False, False]
    unannounced = raw.packet(200, raw.number(1) + raw.string(everything[0]) + raw.string("a") + raw.string("c"))
    assert ask(target, unannounced)[4:13] == bytes([raw.STATUS]) + raw.number(1) + raw.number(raw.UNSUPPORTED)


def ask(target: SshTarget, packet: bytes) -> bytes:
    """Send a packet after INIT and return the packet of its reply."""

    async def main() -> bytes:
        async with asyncssh.connect(
            target.host,
            target.port,
            username=target.user,
            client_keys=[str(target.client_key)],
            known_hosts=str(target.known_hosts),
            config=None,
        ) as connection:
            writer, reader, _ = await connection.open_session(subsystem="sftp", encoding=None)
            writer.write(raw.packet(1, raw.number(3)))
            await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
            writer.write(packet)
            length = await reader.readexactly(4)
            body = await reader.readexactly(int.from_bytes(length, "big"))
            return bytes(length + body)

    return asyncio.run(main())


def test_embedded_server_drops_connections_over_the_limit(embedded_sftp: Embedded) -> None:
    server, target = embedded_sftp
    server.max_connections = 1

    async def use(_: asyncssh.SFTPClient) -> None:
        with pytest.raises((asyncssh.Error, OSError)):
            await asyncio.to_thread(as_client, target, list_root)

    as_client(target, use)
    assert server.connections == 2


def test_embedded_server_keeps_port_and_key_over_restarts(embedded_sftp: Embedded) -> None:
    server, target = embedded_sftp
    before = (server.port, server.fingerprint, server.known_hosts_line)
    server.restart()
    as_client(target, list_root)
    assert (server.port, server.fingerprint, server.known_hosts_line) == before
    with pytest.raises(RuntimeError):
        server.start()
    server.stop()
    server.stop()
    server.start()
    assert server.known_hosts_line.startswith(f"[127.0.0.1]:{server.port} ssh-ed25519 AAAA")
    assert server.url == f"sftp://{target.user}@127.0.0.1:{server.port}/"
    assert target.password not in repr(server)


def test_start_on_a_taken_port_raises(embedded_sftp: Embedded, tmp_path: Path) -> None:
    server, _ = embedded_sftp
    with pytest.raises(OSError, match="in use"):
        EmbeddedSftpServer(tmp_path, port=server.port).start()


def test_m136_embedded_server_writes_nothing_to_standard_error(tmp_path: Path) -> None:
    """Also when its clients disconnect in the middle of a request."""
    program = f"""
import asyncio, pathlib, socket, asyncssh
from actorsync.testing import EmbeddedSftpServer
async def vanish(port):
    connection = await asyncssh.connect("127.0.0.1", port, username="demo", password="demo", known_hosts=None,
                                        client_keys=None, agent_path=None, config=None)
    client = await connection.start_sftp_client()
    file = await client.open("a", "wb")
    writing = asyncio.ensure_future(file.write(bytes(10_000_000)))
    await asyncio.sleep(0.01)
    connection.abort()
    await asyncio.gather(writing, return_exceptions=True)
with EmbeddedSftpServer(pathlib.Path({str(tmp_path)!r})) as server:
    socket.create_connection(("127.0.0.1", server.port)).close()
    with socket.create_connection(("127.0.0.1", server.port)) as rude:
        rude.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n" + bytes(100_000))
    for _ in range(3):
        asyncio.run(vanish(server.port))
"""
    done = run(sys.executable, "-X", "dev", "-c", program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# ---- wrong replies


def test_wrong_replies_replace_the_right_ones(embedded_sftp: Embedded) -> None:
    server, target = embedded_sftp
    server.instead = evil_sftp.listing(["../escape", "good"])
    assert as_client(target, list_root) == ["../escape", "good"]
    assert as_client(target, list_root) == ["../escape", "good"], "a second listing gets the wrong reply as well"
    server.instead = evil_sftp.acknowledged_but_cut_off(0)
    as_client(target, put)
    assert (target.root / "a").stat().st_size == 0
    server.instead = evil_sftp.refusal("REMOVE", code=77, message="\x1b[31m", at=2)

    async def remove_two(client: asyncssh.SFTPClient) -> None:
        await client.remove("a")
        await put(client)
        with pytest.raises(asyncssh.SFTPError, match="\x1b"):
            await client.remove("a")

    as_client(target, remove_two)
    assert (target.root / "a").exists()
    server.instead = evil_sftp.size_of(5)

    async def size(client: asyncssh.SFTPClient) -> int | None:
        return (await client.stat("a")).size

    assert as_client(target, size) == 5


@pytest.mark.parametrize(
    ("instead", "distort"),
    [
        (evil_sftp.version(2), None),
        (None, lambda request, answer: b"garbage!" + answer if request.verb == "INIT" else answer),
        (evil_sftp.cut_short("LSTAT", "STAT"), None),
        (None, evil_sftp.unknown_id("STAT")),
        (evil_sftp.refusal("STAT", code=99), None),
    ],
    ids=["version", "garbage", "cut short", "unknown id", "unknown status"],
)
def test_wrong_replies_reach_the_client(instead: Any, distort: Any, embedded_sftp: Embedded) -> None:
    server, target = embedded_sftp
    server.instead, server.distort = instead, distort

    async def use(client: asyncssh.SFTPClient) -> None:
        await client.stat("/")

    with pytest.raises((asyncssh.Error, OSError, asyncio.TimeoutError)):
        as_client(target, use)


def test_request_without_a_reply_times_out(embedded_sftp: Embedded) -> None:
    server, target = embedded_sftp
    server.instead = evil_sftp.silence("STAT", at=2)

    async def use(client: asyncssh.SFTPClient) -> None:
        await client.stat("/")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.stat("/"), 0.1)
        await client.stat("/")

    as_client(target, use)


# ---- the proxy for any protocol


async def echo(stream: trio.SocketStream) -> None:
    try:
        async for chunk in stream:
            await stream.send_all(chunk)
    except trio.BrokenResourceError:
        pass


async def through(*faults: WireFault | None, size: int = 1000, **network: int) -> tuple[list[object], Any]:
    """Send ``size`` bytes through a proxy to an echo server, on one connection for each fault.

    Returns for each connection the number of bytes received, ``"rst"`` or ``"silence"``; and the proxy.
    """
    outcomes: list[object] = []
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, echo, [listener])
        async with open_wire_proxy(("127.0.0.1", listener.socket.getsockname()[1]), faults, **network) as proxy:
            for _ in faults:
                async with await trio.open_tcp_stream(proxy.host, proxy.port) as client:
                    outcomes.append(await _send_and_receive(client, size))
        nursery.cancel_scope.cancel()
    return outcomes, proxy


async def _send_and_receive(client: trio.SocketStream, size: int) -> object:
    received = 0
    with trio.move_on_after(0.5) as patience:
        try:
            await client.send_all(bytes(size))
            while received < size and (chunk := await client.receive_some()):
                received += len(chunk)
        except trio.BrokenResourceError:
            return "rst"
    return "silence" if patience.cancelled_caught else received


async def test_wire_is_cut_at_the_given_byte() -> None:
    outcomes, proxy = await through(
        None,
        CutWire(after=300, direction="down", how="fin"),
        CutWire(after=300, direction="up", how="rst"),
        CutWire(after=300, direction="up", how="silence"),
        CutWire(after=5000, direction="up"),
    )
    assert outcomes == [1000, 300, "rst", "silence", 1000]
    assert len(proxy.fired) == 3
    assert proxy.connections == 5
    assert proxy.passed["up"] == 3000 + 2 * 300


async def test_wire_is_sliced_held_or_throttled() -> None:
    assert (await through(None, size=300, slice_size=1))[0] == [300]
    began = time.monotonic()
    assert (await through(HoldWire(seconds=0.1, after=10)))[0] == [1000]
    assert time.monotonic() - began >= 0.1
    began = time.monotonic()
    assert (await through(None, size=1000, rate=10_000))[0] == [1000]
    assert time.monotonic() - began >= 0.05
