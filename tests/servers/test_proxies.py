"""Mirrors through a SOCKS5 proxy and through an HTTP proxy, whose address is not the server's."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Literal, TypeAlias, cast

import attrs
import pytest
import trio

from actorsync.cli.commands import run_command
from actorsync.endpoints.ftp.wire.certificates import TlsPolicy
from actorsync.endpoints.ftp.wire.connection import FtpConnection, Knowledge
from actorsync.endpoints.ftp.wire.control import ControlConnection
from actorsync.endpoints.ftp.wire.data import DataConnection, Timeouts
from actorsync.endpoints.sftp.endpoint import SftpEndpoint
from actorsync.endpoints.shared.proxy import Proxy
from actorsync.endpoints.ssh.settings import HostTrust, SshLogin
from actorsync.errors import ConnectionLost, LoginRefused
from actorsync.profile import load_profile
from actorsync.testing import (
    EmbeddedFtpServer,
    EmbeddedSftpServer,
    ForwardProxy,
    forward_proxy,
    open_forward_proxy,
    self_signed_certificate,
)
from tests.support.mirror import contents
from tests.support.root import ROOT
from tests.support.servers import debian_servers, ssh_servers
from tests.support.servers.certificates import authority, identity
from tests.support.servers.evil import evil_server
from tests.support.servers.ftp import endpoint_for
from tests.support.servers.ssh_target import OPENSSH

Kind: TypeAlias = Literal["socks5", "http"]
Embedded: TypeAlias = EmbeddedFtpServer | EmbeddedSftpServer

#: A name that only the proxy can look up.
NAME = "files.internal"
PROXY_HOST = "127.0.0.2"
LOGIN = ("office", "CANARY-4711")
KINDS: tuple[Kind, ...] = ("socks5", "http")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "a.txt").write_text("a")
    (source / "sub" / "big").write_bytes(bytes(range(256)) * 1_000)
    return source


def ftp(folder: Path) -> Embedded:
    return EmbeddedFtpServer(folder)


def ftp_without_epsv(folder: Path) -> Embedded:
    return EmbeddedFtpServer(folder, without={"EPSV"})


def ftpes(folder: Path) -> Embedded:
    return EmbeddedFtpServer(folder, certificate=self_signed_certificate(folder.parent / "certificate.pem"))


def ftps(folder: Path) -> Embedded:
    certificate = self_signed_certificate(folder.parent / "certificate.pem")
    return EmbeddedFtpServer(folder, certificate=certificate, is_implicit=True)


def sftp(folder: Path) -> Embedded:
    return EmbeddedSftpServer(folder)


SERVERS = (ftp, ftp_without_epsv, ftpes, ftps, sftp)


@pytest.fixture
def root(server_folder: Path) -> Path:
    root = server_folder / "root"
    root.mkdir()
    return root


def profile_through(proxy: ForwardProxy | str, server: Embedded, source: Path, *keys: str) -> str:
    """Write a profile for a server with the name that only the proxy knows, and return its path."""
    url = proxy if isinstance(proxy, str) else proxy.url
    lines = ["[target]", f'proxy = "{url}"', *keys]
    text = server.profile(source, "site", "[sync]\ndelete = true").replace(server.host, NAME)
    path = source.parent / "shop.toml"
    path.touch(0o600)
    path.write_text(text.replace("[target]", "\n".join(lines)))
    return str(path)


@pytest.mark.parametrize("make", SERVERS, ids=lambda make: make.__name__)
def test_mirror_through_a_proxy_ends_equal(
    kind: Kind, make: Callable[[Path], Embedded], source: Path, root: Path
) -> None:
    with make(root) as server, forward_proxy(kind, names={NAME: server.host}) as proxy:
        profile = profile_through(proxy, server, source)
        assert run_command(["check", profile]) == 0
        assert run_command(["run", profile]) == 0
        assert contents(root / "site") == contents(source)
        (source / "a.txt").unlink()
        assert run_command(["run", profile]) == 0
        assert contents(root / "site") == contents(source)
    assert {host for host, _ in proxy.asked} == {NAME}, "every connection, also of data, is to the server's name"
    assert len({port for _, port in proxy.asked}) > 1 or make is sftp


def test_mirror_ends_equal_although_data_connections_overtake_the_control_connection(
    kind: Kind, source: Path, root: Path
) -> None:
    """pyftpdlib drops data that arrives before the STOR, without a final reply. Two connections keep no order."""
    with EmbeddedFtpServer(root) as server, forward_proxy(kind, names={NAME: server.host}, late=0.02) as proxy:
        assert run_command(["run", profile_through(proxy, server, source)]) == 0
        assert contents(root / "site") == contents(source)


@attrs.frozen
class SilentControl:
    """A control connection whose server never replies."""

    timeouts: Timeouts = attrs.Factory(Timeouts)

    async def reply_within(self, seconds: float) -> None:
        await trio.sleep(seconds)


async def test_upload_that_is_cut_without_a_reply_makes_later_ones_wait_for_the_150(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The server may have dropped the data because it arrived before the STOR, which can happen without a proxy too."""
    ours, theirs = socket.socketpair()
    connection = FtpConnection(cast(ControlConnection, SilentControl()), Knowledge(), "")
    with ours, theirs, pytest.raises(ConnectionLost, match="the server accepts no more data, and does not say why"):
        await connection.end_of_upload(DataConnection(ours, Timeouts()), is_sent=False)
    assert connection.known.needs_150_first


def test_pull_through_a_proxy_ends_equal(kind: Kind, source: Path, root: Path, tmp_path: Path) -> None:
    (root / "a.txt").write_text("a")
    with EmbeddedFtpServer(root) as server, forward_proxy(kind, names={NAME: server.host}) as proxy:
        profile = tmp_path / "pull.toml"
        profile.touch(0o600)
        login = f'url = "ftp://demo@{NAME}:{server.port}/"\npassword = "demo"\nproxy = "{proxy.url}"'
        profile.write_text(f'[source]\n{login}\n[target]\nurl = "mirror"\n')
        assert run_command(["run", str(profile)]) == 0
        assert contents(tmp_path / "mirror") == contents(root)


def test_trust_shows_the_host_key_through_a_proxy(
    kind: Kind, source: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with EmbeddedSftpServer(root) as server, forward_proxy(kind, names={NAME: server.host}) as proxy:
        assert run_command(["trust", profile_through(proxy, server, source)]) == 0
        assert server.fingerprint in capsys.readouterr().out


def test_mirror_after_a_login_at_the_proxy_ends_equal(
    kind: Kind, source: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROXY_PASSWORD", LOGIN[1])
    with EmbeddedFtpServer(root) as server, forward_proxy(kind, login=LOGIN, names={NAME: server.host}) as proxy:
        key = 'proxy-password = { env = "PROXY_PASSWORD" }'
        assert run_command(["run", "--json", profile_through(proxy, server, source, key)]) == 0
        assert contents(root / "site") == contents(source)
    assert proxy.logins == len(proxy.asked) > 0
    out, error = capsys.readouterr()
    assert LOGIN[1] not in out + error


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("make", [ftp, sftp], ids=lambda make: make.__name__)
def test_rejected_login_at_the_proxy_ends_with_6_after_one_attempt(
    kind: Kind,
    command: str,
    make: Callable[[Path], Embedded],
    source: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PROXY_PASSWORD", "WRONG-0815")
    with make(root) as server, forward_proxy(kind, login=LOGIN, names={NAME: server.host}) as proxy:
        key = 'proxy-password = { env = "PROXY_PASSWORD" }'
        assert run_command([command, profile_through(proxy, server, source, key)]) == 6
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("actorsync: ")]
    assert f"proxy {proxy.url} rejected the login: " in line
    assert line.endswith("; check the user in target.proxy, and target.proxy-password")
    assert "WRONG-0815" not in line
    assert (proxy.logins, proxy.asked) == (0, [])


async def test_proxy_that_wants_a_login_and_gets_none_says_what_to_add(kind: Kind) -> None:
    async with open_forward_proxy(kind, login=LOGIN) as running:
        proxy = Proxy(kind, running.host, running.port)
        with pytest.raises(LoginRefused, match=r"; add a user to target\.proxy, and target\.proxy-password$"):
            await proxy.connect("127.0.0.1", 9, 10)


async def test_login_that_worked_before_is_retried_when_it_is_rejected(kind: Kind) -> None:
    async with evil_server() as server, open_forward_proxy(kind, login=LOGIN) as running:
        proxy = Proxy(kind, running.host, running.port, LOGIN[0], lambda: LOGIN[1])
        await trio.aclose_forcefully(await proxy.connect(server.host, server.port, 10))
        running._login = ("other", "secret")
        with pytest.raises(ConnectionLost, match="rejected the login"):
            await proxy.connect(server.host, server.port, 10)


@pytest.mark.parametrize("make", [ftp, sftp], ids=lambda make: make.__name__)
def test_proxy_that_is_down_ends_with_5_and_names_the_proxy(
    kind: Kind,
    make: Callable[[Path], Embedded],
    source: Path,
    root: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with make(root) as server, forward_proxy(kind) as proxy:
        url = proxy.url
        profile = profile_through(url, server, source)
    assert run_command(["check", profile]) == 5
    error = capsys.readouterr().err
    assert error.endswith(f"proxy {url}: Connection refused; check target.proxy, and that the proxy is running\n")
    assert error.count("\n") == 1


async def test_host_that_the_proxy_does_not_know_is_named(kind: Kind) -> None:
    async with open_forward_proxy(kind) as running:
        proxy = Proxy(kind, running.host, running.port)
        with pytest.raises(ConnectionLost, match=f"did not connect to {NAME}:21: .*; check host and port"):
            await proxy.connect(NAME, 21, 10)
    assert running.asked == [(NAME, 21)]


def test_proxy_that_allows_only_the_control_port_names_the_data_port(
    kind: Kind, source: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with EmbeddedFtpServer(root) as server:
        with forward_proxy(kind, names={NAME: server.host}, only_ports={server.port}) as proxy:
            assert run_command(["check", profile_through(proxy, server, source)]) == 5
        data_ports = {port for _, port in proxy.asked} - {server.port}
    line = capsys.readouterr().err
    assert any(f"did not connect to {NAME}:{port}: " in line for port in data_ports)
    assert line.endswith("check host and port, and whether the proxy allows them\n")


@asynccontextmanager
async def answering(*pieces: bytes) -> AsyncIterator[tuple[str, int]]:
    """Run a proxy that reads a request and sends the pieces, and yield its address."""

    async def attend(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            for piece in pieces:
                await stream.send_all(piece)
                await trio.testing.wait_all_tasks_blocked(0.01)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, attend, 0)
        address = listeners[0].socket.getsockname()
        yield "127.0.0.1", address[1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 Connection established\r\n\r\n220 hello\r\n",),
        (b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r", b"\n220 hel", b"lo\r\n"),
        (b"H", b"TTP/1.0 200\n", b"\n", b"220 hello\r\n"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 2_000 + b"\r\n220 hello\r\n",),
    ],
)
async def test_greeting_that_follows_the_answer_of_the_proxy_is_kept(pieces: tuple[bytes, ...]) -> None:
    async with answering(*pieces) as (host, port), await Proxy("http", host, port).connect("h", 21, 10) as stream:
        received = b""
        while piece := await stream.receive_some():
            received += piece
    assert received == b"220 hello\r\n"


@pytest.mark.parametrize(
    ("kind", "answer", "reason"),
    [
        ("http", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 'it sent no valid HTTP answer: "SSH-2.0-OpenSSH_9.2"'),
        ("http", b"", "it closed the connection; check target.proxy"),
        ("http", b"HTTP/1.1 200 OK\r\n", "it closed the connection"),
        ("http", b"HTTP/1.1 200 OK\r\n" + b"X" * 100_000, "its answer has more than 16384 bytes"),
        ("http", b"HTTP/1.1 503 \x1b[31mNo\r\n\r\n", r"did not connect to h:21: 503 \x1b[31mNo"),
        ("socks5", b"", "Connection closed unexpectedly"),
        ("socks5", b"HTTP/1.1 400 Bad Request\r\n\r\n", "it does not speak SOCKS5; check target.proxy"),
        ("socks5", b"\x05\x09", "Invalid authentication method: 0X9"),
    ],
)
async def test_wrong_answer_of_a_proxy_is_a_lost_connection(kind: Kind, answer: bytes, reason: str) -> None:
    async with answering(answer) as (host, port):
        with pytest.raises(ConnectionLost) as caught:
            await Proxy(kind, host, port).connect("h", 21, 10)
    text = str(caught.value)
    assert text.startswith(f"proxy {kind}://127.0.0.1:{port}")
    assert reason in text
    assert text.isprintable()


async def say_nothing(_: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def test_silent_proxy_is_a_lost_connection(kind: Kind, autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, say_nothing, 0)
        proxy = Proxy(kind, "127.0.0.1", listeners[0].socket.getsockname()[1])
        with pytest.raises(ConnectionLost, match=r"no answer in time; check target\.proxy$"):
            await proxy.connect("h", 21, 30)
        nursery.cancel_scope.cancel()


async def test_silent_proxy_of_an_ssh_server_is_named(tmp_path: Path, kind: Kind) -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, say_nothing, 0)
        proxy = Proxy(kind, "127.0.0.1", listeners[0].socket.getsockname()[1])
        login, trust = SshLogin("u", agent=False), HostTrust(tmp_path / "known_hosts")
        endpoint = SftpEndpoint(host="h", login=login, trust=trust, path="www", connect_seconds=0.2, proxy=proxy)
        with pytest.raises(ConnectionLost, match=rf"proxy {kind}://.*: no answer in time; check target\.proxy$"):
            async with endpoint.open_session():
                raise AssertionError("a session was opened")
        nursery.cancel_scope.cancel()


@pytest.fixture
def policy(tmp_path: Path) -> TlsPolicy:
    (tmp_path / "ca.pem").write_bytes(authority())
    return TlsPolicy(ca_file=tmp_path / "ca.pem")


async def test_certificate_is_verified_for_the_server_and_not_for_the_proxy(kind: Kind, policy: TlsPolicy) -> None:
    """The certificate is for example.org. The proxy's address, 127.0.0.2, is in no certificate."""
    tls = identity("another host").server_context()
    async with evil_server(tls=tls) as server, open_forward_proxy(kind, names={"example.org": server.host}) as running:
        proxy = Proxy(kind, running.host, running.port)
        endpoint = endpoint_for(server, host="example.org", tls=policy, proxy=proxy)
        async with endpoint.open_session() as session:
            assert (await session.list_directory("")).problem is None
        running._names = {"example.net": server.host}
        other = endpoint_for(server, host="example.net", tls=policy, proxy=proxy)
        with pytest.raises(LoginRefused, match="the certificate is for another host name"):
            async with other.open_session():
                pass


@pytest.mark.parametrize(
    ("host", "warns"),
    [("127.0.0.1", False), ("localhost", False), (NAME, True)],
)
async def test_clear_text_warning_depends_on_the_server_behind_the_proxy(kind: Kind, host: str, warns: bool) -> None:
    names = {NAME: "127.0.0.1", "localhost": "127.0.0.1"}
    async with evil_server() as server, open_forward_proxy(kind, names=names) as running:
        endpoint = endpoint_for(server, host=host, proxy=Proxy(kind, running.host, running.port))
        async with endpoint.open_session() as session:
            assert bool(session.warnings()) is warns


async def test_pasv_is_possible_through_a_proxy_to_a_host_name(kind: Kind) -> None:
    async with evil_server() as server, open_forward_proxy(kind, names={NAME: server.host}) as running:
        server.answers = {"EPSV": b"502 no"}
        endpoint = endpoint_for(server, host=NAME, proxy=Proxy(kind, running.host, running.port))
        async with endpoint.open_session() as session:
            assert (await session.list_directory("")).problem is None
    assert server.count("PASV") == 1
    assert {host for host, _ in running.asked} == {NAME}


def test_proxy_is_no_part_of_the_identity_of_a_profile(source: Path, root: Path) -> None:
    server = EmbeddedSftpServer(root, port=2222)
    ids = {
        load_profile(Path(profile_through(url, server, source))).identity
        for url in ("socks5://127.0.0.2:1080", "http://proxy.example.com:8080")
    }
    assert len(ids) == 1
    profile = source.parent / "shop.toml"
    lines = profile.read_text().splitlines()
    profile.write_text("\n".join(line for line in lines if not line.startswith("proxy")))
    assert ids == {load_profile(profile).identity}


def test_no_endpoint_connects_around_the_proxy() -> None:
    """A connection that some module makes by itself would go past the proxy."""
    endpoints = ROOT / "actorsync" / "endpoints"
    making = ("open_tcp_stream", "create_connection((", "open_connection(")
    found = {path.name for path in endpoints.rglob("*.py") if any(call in path.read_text() for call in making)}
    assert found == {"tcp.py", "proxy.py"}


# ---- Real proxies


@contextmanager
def openssh_as_socks_proxy(folder: Path) -> Iterator[tuple[str, str]]:
    """Run ``ssh -D``, and yield the URL of the proxy and the host name that it knows."""
    with ssh_servers.serving(OPENSSH, folder) as target:
        port = debian_servers.free_port()
        known = ["-o", f"UserKnownHostsFile={target.known_hosts}", "-o", "ExitOnForwardFailure=yes"]
        command = ["ssh", "-F", "none", "-N", "-D", f"{PROXY_HOST}:{port}", "-p", str(target.port), *known]
        command += ["-i", str(target.client_key), "-o", "BatchMode=yes", f"{target.user}@{target.host}"]
        with running(command, port):
            yield f"socks5://{PROXY_HOST}:{port}", "localhost"


@contextmanager
def apache_as_http_proxy(folder: Path) -> Iterator[tuple[str, str]]:
    """Run Apache with mod_proxy_connect, and yield the URL of the proxy and the host name that it knows."""
    port = debian_servers.free_port()
    modules = ("mpm_event", "authz_core", "proxy", "proxy_connect")
    lines = [f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in modules]
    lines += ["User nobody", "Group nogroup", f"ServerName {PROXY_HOST}", f"Listen {PROXY_HOST}:{port}"]
    lines += [f"PidFile {folder}/pid", f"ErrorLog {folder}/log", "ProxyRequests On", "AllowCONNECT 1-65535"]
    (folder / "apache.conf").write_text("\n".join(lines) + "\n")
    with running(["apache2", "-D", "FOREGROUND", "-d", str(folder), "-f", str(folder / "apache.conf")], port):
        yield f"http://{PROXY_HOST}:{port}", "localhost"


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    """Run a daemon, and wait until it accepts connections."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            while True:
                assert process.poll() is None, f"{command[0]} has ended"
                try:
                    socket.create_connection((PROXY_HOST, port)).close()
                except ConnectionRefusedError:
                    time.sleep(0.05)
                else:
                    break
            yield
        finally:
            process.terminate()


@pytest.mark.full
@pytest.mark.parametrize("make", [ftp, ftpes, sftp], ids=lambda make: make.__name__)
@pytest.mark.parametrize("open_proxy", [openssh_as_socks_proxy, apache_as_http_proxy], ids=lambda it: it.__name__)
def test_mirror_through_a_real_proxy_ends_equal(
    open_proxy: Callable[[Path], AbstractContextManager[tuple[str, str]]],
    make: Callable[[Path], Embedded],
    source: Path,
    server_folder: Path,
    tmp_path: Path,
) -> None:
    root = tmp_path / "served"
    root.mkdir()
    with make(root) as server, open_proxy(server_folder) as (url, name):
        profile = Path(profile_through(url, server, source))
        profile.write_text(profile.read_text().replace(NAME, name))
        assert run_command(["run", "-q", str(profile)]) == 0
        assert contents(root / "site") == contents(source)
