"""Servers that accept the login and then provide no SFTP: text in its place, a closed channel, a refused subsystem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncssh
import pytest

from actorsync.endpoints.sftp.wire.requests import RequestPipeline
from actorsync.endpoints.ssh.subsystem import SftpNotStarted, start_subsystem
from actorsync.errors import ConnectionLost, LoginRefused
from actorsync.protocols.sftp.packets import text_in
from actorsync.testing import EmbeddedSftpServer
from actorsync.testing.servers.sftp_packets import LastWords, SftpRequest
from tests.support.mirror import mirror
from tests.support.scenarios import write
from tests.support.servers.sftp_tree_wire import version
from tests.support.servers.ssh_servers import OPENSSH, Options, openssh_server, require
from tests.support.servers.ssh_target import SshTarget, endpoint_for

Embedded = tuple[EmbeddedSftpServer, SshTarget]


class Line:
    """A channel whose bytes go nowhere."""

    def send(self, data: bytes) -> None:
        pass

    def abort(self) -> None:
        pass


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"Welcome to example.com\n\0\0\0\x05", "Welcome to example.com"),
        (b"Hi\n", "Hi"),
        (b"\n\n  two\r\nlines \x1b[0m", "two lines \\x1b[0m"),
        (version(), ""),
        (b"\0\0\0", ""),
        (b"", ""),
        (b"\x01\x02", ""),
    ],
)
def test_text_at_the_beginning_is_told_from_packets(data: bytes, expected: str) -> None:
    assert text_in(data) == expected


@pytest.mark.parametrize("pieces", [[b"Welcome\n" + version()], [b"Hi\n", version()], [b"Hi"], [b"H", b"i\n"]])
async def test_text_before_the_version_is_shown(pieces: list[bytes]) -> None:
    wire = RequestPipeline(10.0)
    for piece in pieces:
        wire.feed(piece)
    wire.lose("the server closed the connection")
    with pytest.raises(ConnectionLost, match=r'the text "(Welcome|Hi)" where SFTP should begin; .*\.bashrc'):
        await wire.start(Line())
    assert wire.sent_text


async def test_text_after_the_version_is_no_text_of_a_shell() -> None:
    wire = RequestPipeline(10.0)
    wire.feed(version())
    await wire.start(Line())
    wire.feed(b"Welcome\n")
    assert not wire.sent_text


class Session(asyncssh.SSHClientSession[bytes]):
    """A session that sees whether its channel was closed."""

    was_closed = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.was_closed = exc is None


class Closing(asyncssh.SSHClientConnection):
    """A connection whose channel fails to open with ``error``; before that, the server closes it if ``closes``."""

    def __init__(self, error: Exception, *, closes: bool) -> None:  # no transport is needed
        self.error, self.closes = error, closes

    async def create_session(self, *args: Any, **_: Any) -> Any:
        session: Session = args[0]()
        if self.closes:
            session.connection_lost(None)
        raise self.error


REFUSED = asyncssh.ChannelOpenError(0xFFFFFFFF, "Session request failed")


@pytest.mark.parametrize(
    ("error", "closes", "expected"),
    [
        (
            AttributeError("'NoneType' object has no attribute 'session_started'"),
            True,
            "closed the SFTP session at once",
        ),
        (REFUSED, True, "closed the SFTP session at once"),
        (REFUSED, False, "has no SFTP for it; enable the SFTP subsystem"),
    ],
)
async def test_channel_that_does_not_open_is_a_clear_message(error: Exception, closes: bool, expected: str) -> None:
    session = Session()
    with pytest.raises(SftpNotStarted, match=expected):
        await start_subsystem(Closing(error, closes=closes), session, lambda: session.was_closed)


@pytest.mark.parametrize(
    ("words", "expected"), [(b"", "closed the SFTP session at once"), (b"Account disabled.\n", "Account disabled")]
)
async def test_server_without_sftp_ends_the_run_after_a_second_login(
    embedded_sftp: Embedded, tmp_path: Path, words: bytes, expected: str
) -> None:
    server, target = embedded_sftp
    server.instead = lambda request: LastWords(words) if request.verb == "INIT" else None
    write(tmp_path / "source/a", b"a")
    run = await mirror(tmp_path / "source", endpoint_for(target), None)
    assert run.report.exit_code == 6
    assert expected in (run.report.error or "")
    assert server.connections == 2, "one failure is not enough to give up"


async def test_server_that_starts_sftp_the_second_time_is_used(embedded_sftp: Embedded, tmp_path: Path) -> None:
    server, target = embedded_sftp
    seen: list[SftpRequest] = []

    def instead(request: SftpRequest) -> bytes | None:
        if request.verb != "INIT":
            return None
        seen.append(request)
        return LastWords(b"") if len(seen) == 1 else None

    server.instead = instead
    write(tmp_path / "source/a", b"a")
    run = await mirror(tmp_path / "source", endpoint_for(target), None, connections=1)
    assert run.report.exit_code == 0
    assert (server.root / "a").read_bytes() == b"a"


async def test_sftp_that_worked_before_is_not_given_up(embedded_sftp: Embedded) -> None:
    server, target = embedded_sftp
    endpoint = endpoint_for(target)
    async with endpoint.open_session():
        pass
    server.instead = lambda request: LastWords(b"") if request.verb == "INIT" else None
    with pytest.raises(ConnectionLost):
        async with endpoint.open_session():
            pass


@pytest.mark.full
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("/bin/false", "closed the SFTP session at once"),
        ("echo This account is disabled.", 'the text "This account is disabled."'),
        ("/bin/sh -c 'echo Hi; exec /usr/lib/openssh/sftp-server'", "where SFTP should begin|at once"),
    ],
)
async def test_openssh_account_without_sftp_is_refused_with_the_reason(
    server_folder: Path, command: str, expected: str
) -> None:
    require(OPENSSH)
    root = server_folder / "root"
    root.mkdir()
    options = Options(more=f"ForceCommand {command}")
    with openssh_server(root, server_folder, options) as server, pytest.raises(LoginRefused, match=expected):
        async with endpoint_for(server.target).open_session():
            pass
