"""A profile with the wrong scheme, the wrong port or a host that does not exist."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from actorsync.actors.backoff import Backoff
from actorsync.cli.commands import run_command
from actorsync.endpoints.ftp.endpoint import FtpEndpoint
from actorsync.endpoints.sftp.endpoint import SftpEndpoint
from actorsync.endpoints.shared import tcp
from actorsync.endpoints.ssh import batching_transport
from actorsync.endpoints.ssh.login import reason_of
from actorsync.endpoints.ssh.settings import HostTrust, SshLogin
from actorsync.errors import ConnectionLost, LoginRefused
from actorsync.profile import load_profile
from actorsync.runs.open_endpoints import open_endpoints
from tests.support.mirror import mirror
from tests.support.remote_profile import profile_at
from tests.support.servers import debian_servers, ftp, ssh_servers
from tests.support.servers.evil import evil_server
from tests.support.servers.ssh_target import OPENSSH
from tests.support.servers.ssh_target import endpoint_for as ssh_endpoint

SSH = b"SSH-2.0-OpenSSH_9.2p1\r\n"
REFUSAL = b"500 Invalid command: try being more creative\r\n"


@contextmanager
def listening(*words: bytes) -> Iterator[int]:
    """Serve one server after the other in a thread: each sends its greeting, then one piece for each that it gets."""
    server = socket.create_server(("127.0.0.1", 0))

    def attend(client: socket.socket) -> None:
        with client:
            for word in words:
                client.sendall(word)
                if not client.recv(4096):
                    return
            while client.recv(4096):
                pass

    def run() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=attend, args=(client,), daemon=True).start()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def ended(capsys: pytest.CaptureFixture[str], command: str, profile: Path) -> tuple[int, str]:
    """Run a command, and return its exit code and the one line of its error."""
    code = run_command([command, str(profile)])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("actorsync: ")]
    assert len(lines) == 1
    return code, lines[0]


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(
    ("scheme", "words", "said"),
    [
        ("ftp", [SSH], 'this is an SSH server ("SSH-2.0-OpenSSH_9.2p1"), and no FTP server; use sftp:// for SSH, or '),
        (
            "ftpes",
            [SSH],
            'this is an SSH server ("SSH-2.0-OpenSSH_9.2p1"), and no FTP server; use sftp:// for SSH, or ',
        ),
        ("ftps", [SSH], 'this is an SSH server ("SSH-2.0-OpenSSH_9.2p1"), and no FTP server; use sftp:// for SSH, or '),
        ("ftp", [b"+OK POP3\r\n"], 'this is a POP3 mail server ("+OK POP3"), and no FTP server; use the port of '),
        (
            "sftp",
            [b"220 ready\r\n", REFUSAL],
            'this is an FTP or mail server ("220 ready"), and no SSH server; use ftp',
        ),
        (
            "sftp",
            [b"", b"HTTP/1.1 400 Bad Request\r\n"],
            'this is a web server ("HTTP/1.1 400 Bad Request"), and no SSH ',
        ),
        (
            "sftp",
            [b"", b"\x15\x03\x01\0\x02\x02\x46"],
            "this is a server that expects TLS, and no SSH server; use ftps://",
        ),
    ],
)
def test_server_of_another_kind_ends_with_6_and_its_name(
    command: str, scheme: str, words: list[bytes], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with listening(*words) as port:
        url = f"{scheme}://me@127.0.0.1:{port}/www"
        code, line = ended(capsys, command, profile_at(tmp_path, url, 'password = "x"'))
    assert code == 6
    assert line.startswith(f"actorsync: {url}: {said}")


def test_trust_on_the_port_of_an_ftp_server_ends_with_6(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with listening(b"220 ready\r\n", REFUSAL) as port:
        code, line = ended(capsys, "trust", profile_at(tmp_path, f"sftp://me@127.0.0.1:{port}/www"))
    assert (code, "this is an FTP or mail server" in line) == (6, True)


@pytest.mark.parametrize("is_closed", [True, False])
async def test_server_that_greets_with_a_reply_and_says_no_more_is_no_ssh_server(
    is_closed: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(batching_transport, "SILENT_SECONDS", 0.05)
    greeted = 0

    async def attend(client: trio.SocketStream) -> None:
        nonlocal greeted
        greeted += 1
        async with client:
            await client.send_all(b"220-Welcome\r\n220 ready\r\n")
            while await client.receive_some():
                if is_closed:
                    return

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, attend, 0)
        endpoint = SftpEndpoint(
            "127.0.0.1",
            SshLogin("me", password=lambda: "x"),
            HostTrust(tmp_path / "hosts"),
            listeners[0].socket.getsockname()[1],
        )
        with pytest.raises(LoginRefused, match=r'this is an FTP or mail server \("220-Welcome"\), and no SSH server'):
            async with endpoint.open_session():
                pass
        nursery.cancel_scope.cancel()
    assert greeted == 2, "the second connection confirms the first"


@pytest.mark.parametrize("name", debian_servers.NAMES)
def test_ssh_on_the_port_of_ftp(
    name: str, server_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ftp.serving(name, server_folder) as server:
        url = f"sftp://{server.user}@{server.host}:{server.port}/www"
        code, line = ended(capsys, "run", profile_at(tmp_path, url, 'password = "x"'))
    assert code == 6
    assert f'{url}: this is an FTP or mail server ("220' in line


@pytest.mark.parametrize("name", [OPENSSH])
def test_ftp_on_the_port_of_ssh(
    name: str, server_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ssh_servers.serving(OPENSSH, server_folder) as server:
        url = f"ftp://{server.user}@{server.host}:{server.port}/www"
        code, line = ended(capsys, "run", profile_at(tmp_path, url, 'password = "x"'))
    assert code == 6
    assert f'{url}: this is an SSH server ("SSH-2.0-OpenSSH' in line


async def test_server_that_says_nothing_to_an_ftp_client_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    async def say_nothing(_: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, say_nothing, 0)
        endpoint = FtpEndpoint("127.0.0.1", listeners[0].socket.getsockname()[1])
        with pytest.raises(ConnectionLost, match=r"^the server sends no greeting; check host, port and scheme$"):
            async with endpoint.open_session():
                pass
        nursery.cancel_scope.cancel()


# ---- One look is not enough, and nothing contradicts what worked before.


@asynccontextmanager
async def in_front_of(port: int, *wrong: list[bytes]) -> AsyncIterator[int]:
    """Send wrong words to the first connections, one list to each, and join the later ones to a server."""
    left = list(wrong)

    async def attend(client: trio.SocketStream) -> None:
        async with client:
            if left:
                for word in left.pop(0):
                    await client.send_all(word)
                    await client.receive_some()
                return
            async with await trio.open_tcp_stream("127.0.0.1", port) as server, trio.open_nursery() as nursery:
                nursery.start_soon(copy, client, server, nursery.cancel_scope)
                nursery.start_soon(copy, server, client, nursery.cancel_scope)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, attend, 0)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def copy(source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope) -> None:
    try:
        while data := await source.receive_some():
            await sink.send_all(data)
    except trio.BrokenResourceError:
        pass
    scope.cancel()


async def test_ftp_server_that_was_another_one_once_is_used() -> None:
    async with evil_server() as server, in_front_of(server.port, [SSH]) as port:
        endpoint = ftp.endpoint_for(server, port=port)
        with pytest.raises(ConnectionLost, match="this is an SSH server"):  # and the run tries again
            async with endpoint.open_session():
                pass
        async with endpoint.open_session() as session:
            assert (await session.list_directory("")).problem is None


async def test_ftp_server_that_was_used_before_is_not_taken_for_another_kind() -> None:
    async with evil_server() as server:
        endpoint = ftp.endpoint_for(server)
        async with endpoint.open_session():
            pass
        async with in_front_of(server.port, [SSH], [SSH], [SSH]) as port:
            endpoint.port = port
            with pytest.raises(ConnectionLost, match="this is an SSH server"):
                async with endpoint.open_session():
                    pass


async def test_ssh_server_that_was_another_one_once_is_used(server_folder: Path) -> None:
    with ssh_servers.serving("asyncssh", server_folder) as target:
        async with in_front_of(target.port, [b"220 ready\r\n", REFUSAL]) as port:
            (server_folder / "hosts").write_text(target.known_hosts.read_text().replace(str(target.port), str(port)))
            endpoint = ssh_endpoint(target, port=port, trust=HostTrust(server_folder / "hosts"))
            async with endpoint.open_session() as session:
                assert (await session.list_directory("")).problem is None


# ---- Hosts that do not exist, and ports that are closed


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (socket.EAI_NONAME, "the host name is unknown; check its spelling"),
        (socket.EAI_NODATA, "the host name is unknown; check its spelling"),
        (socket.EAI_AGAIN, "the host name cannot be looked up (words); check the network and its DNS"),
        (socket.EAI_FAIL, "the host name cannot be looked up (words); check the network and its DNS"),
    ],
)
def test_failed_lookup_is_put_in_words(number: int, words: str) -> None:
    error = socket.gaierror(number, "words")
    assert tcp.words_of(error) == reason_of(error) == words
    assert str(tcp.no_connection("h.example", 21, error)) == f"h.example:21: {words}"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ECONNREFUSED, "Connection refused; check the port, and that the server is running"),
        (errno.EHOSTUNREACH, "No route to host; check the host, and the network or VPN that leads to it"),
        (errno.ENETUNREACH, "Network is unreachable; check the host, and the network or VPN that leads to it"),
        (errno.ETIMEDOUT, "Connection timed out; check host, port and firewall"),
        (errno.ECONNRESET, "Connection reset by peer"),
    ],
)
def test_failed_connection_says_what_to_check(number: int, words: str) -> None:
    assert str(tcp.no_connection("::1", 21, OSError(number, "other words"))) == f"[::1]:21: {words}"


def test_error_of_the_first_address_is_shown() -> None:
    error = OSError("all attempts failed")
    error.__cause__ = ExceptionGroup("", [ConnectionRefusedError(errno.ECONNREFUSED, "x"), OSError(1, "y")])
    assert "Connection refused" in str(tcp.no_connection("h", 21, error))


@pytest.fixture
def no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the lookup of every name fail."""

    def unknown(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)


@pytest.mark.parametrize("scheme", ["ftp", "sftp"])
def test_check_of_an_unknown_host_ends_with_5_and_says_so(
    no_names: None, scheme: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = profile_at(tmp_path, f"{scheme}://me@files.example/www", 'password = "x"')
    code, line = ended(capsys, "check", profile)
    assert code == 5
    assert line.endswith("the host name is unknown; check its spelling")


@pytest.mark.parametrize("scheme", ["ftp", "sftp"])
async def test_run_with_an_unknown_host_tries_again_and_ends_with_5(
    no_names: None, scheme: str, tmp_path: Path
) -> None:
    """The lookup may fail for a while only, for example while a laptop wakes up."""
    profile = load_profile(profile_at(tmp_path, f"{scheme}://me@files.example/www", 'password = "x"'))
    _, target = open_endpoints(profile)
    patience = Backoff(initial=0.01, cap=0.02, tries=3)
    run = await mirror(tmp_path / "source", target, None, connections=1, backoff=patience)
    assert run.report.exit_code == 5
    assert "could not be reached after 3 attempts" in str(run.report.error)
    assert str(run.report.error).endswith("the host name is unknown; check its spelling")


async def test_host_that_does_not_answer_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *_: Any, **__: Any) -> Any:
            await trio.sleep_forever()

        async def getnameinfo(self, *_: Any, **__: Any) -> Any:
            raise AssertionError

    trio.socket.set_custom_hostname_resolver(Resolver())
    with pytest.raises(ConnectionLost, match=r"^h:21: no answer in time; check host, port and firewall$"):
        await tcp.connect("h", 21, 30)


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", "münchen..example"])
async def test_host_name_that_cannot_exist_is_a_lost_connection(host: str) -> None:
    with pytest.raises(ConnectionLost, match=r"the host name is (unknown|not valid); check its spelling"):
        await tcp.connect(host, 21, 30)
