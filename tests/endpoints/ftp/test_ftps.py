"""FTPS: which servers are trusted, what is refused, and that no content or password reaches another host.

A refusal is exit code 6 and one line. The tests also check which commands the server had received by then. Real servers
under TLS are in ``test_ftps_servers``.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest
import trio

from actorsync.actors.backoff import Backoff
from actorsync.endpoints.ftp.endpoint import FtpEndpoint
from actorsync.endpoints.ftp.wire.certificates import (
    NotTls,
    TlsPolicy,
    UntrustedServer,
    check_pin,
    fingerprint,
    handshake_error,
    make_context,
    warn_of_clear_text,
)
from actorsync.errors import ActorsyncError, ConnectionLost, LoginRefused, ProfileError
from tests.support import FtpTarget
from tests.support.mirror import Run, mirror
from tests.support.servers import certificates, debian_servers
from tests.support.servers.certificates import identity
from tests.support.servers.debian_servers import Options, Tls
from tests.support.servers.evil import EvilServer, evil_server
from tests.support.servers.ftp import PYFTPDLIB, endpoint_for, serving

PASSWORD = "CANARY-4711"


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> TlsPolicy:
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    path.write_bytes(certificates.authority())
    return TlsPolicy(ca_file=path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "small").write_bytes(b"small")
    (folder / "big").write_bytes(b"0123456789" * 20_000)
    return folder


async def one_run(server: EvilServer | FtpTarget, source: Path, policy: TlsPolicy, **settings: Any) -> Run:
    endpoint = endpoint_for(server, **{"tls": policy, **settings})
    run = await mirror(
        source, endpoint, None, connections=1, backoff=Backoff(0.01, 0.02, tries=3), settled=True, seconds=20
    )
    assert PASSWORD not in str(run)
    return run


async def meet(endpoint: FtpEndpoint) -> None:
    async with endpoint.open_session():
        pass


async def refusal(server: EvilServer | FtpTarget, policy: TlsPolicy) -> str:
    """Return the one line of the refusal."""
    endpoint = endpoint_for(server, tls=policy)
    with pytest.raises(LoginRefused) as caught:
        await meet(endpoint)
    assert caught.value.exit_code == 6
    text = str(caught.value)
    assert text.startswith(f"{endpoint.display}: ")
    assert "\n" not in text and PASSWORD not in text
    return text


# ---- the wrong scheme


async def wrong_scheme(server: EvilServer | FtpTarget, tls: TlsPolicy | None) -> str:
    """Return the refusal of a URL with the wrong scheme. No run repeats it."""
    with pytest.raises(LoginRefused) as caught, trio.fail_after(10):
        await meet(endpoint_for(server, tls=tls, connect_seconds=1.0))
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


async def test_explicit_scheme_at_an_implicit_port_is_refused_with_the_right_one(policy: TlsPolicy) -> None:
    """Both sides would wait for the other. No name and no password is sent."""
    async with evil_server(tls=identity().server_context(), is_implicit=True) as server:
        for tls in (policy, None):
            assert "waits for TLS from the first byte on this port: use ftps://" in await wrong_scheme(server, tls)
        assert server.commands == []


async def test_implicit_scheme_at_an_explicit_port_is_refused_with_the_right_one(policy: TlsPolicy) -> None:
    async with evil_server(tls=identity().server_context()) as server:
        said = await wrong_scheme(server, attrs.evolve(policy, is_implicit=True))
        assert "begins without TLS on this port: use ftpes://" in said
        assert not {"USER", "PASS"} & {line.split()[0] for line in server.commands}


@pytest.mark.parametrize("verb", ["USER", "PASS"])
@pytest.mark.parametrize(
    "reply",
    [
        b"421 Sorry, cleartext sessions and weak ciphers are not accepted on this server.",
        b"550 SSL/TLS required on the control channel",
        b"530 Non-anonymous sessions must use encryption.",
    ],
)
async def test_login_in_clear_where_tls_is_needed_is_refused_with_the_right_scheme(verb: str, reply: bytes) -> None:
    async with evil_server({verb: reply}, tls=identity().server_context()) as server:
        said = await wrong_scheme(server, None)
        assert f"{reply.decode().rstrip('.')}; the server accepts logins under TLS only: use ftpes://" in said


async def test_mention_of_tls_by_a_server_without_it_is_no_hint() -> None:
    """The second connection finds no TLS. A server that has too many connections may mention anything."""
    async with evil_server({"USER": b"421 too many secure sessions"}) as server:
        with pytest.raises(ConnectionLost, match="too many secure sessions"):
            await meet(endpoint_for(server, tls=None))


async def test_slow_greeting_is_no_wrong_scheme() -> None:
    async with evil_server(greets_after=0.7) as server:
        await meet(endpoint_for(server, tls=None, connect_seconds=1.0))


# ---- without faults


@pytest.mark.parametrize("is_implicit", [False, True])
async def test_upload_over_tls_sends_only_auth_tls_in_clear(is_implicit: bool, source: Path, policy: TlsPolicy) -> None:
    tls = identity().server_context()
    async with evil_server(tls=tls, is_implicit=is_implicit) as server:
        run = await one_run(server, source, attrs.evolve(policy, is_implicit=is_implicit))
    assert (run.report.exit_code, run.failures) == (0, {})
    assert {path: len(data) for path, data in server.files.items()} == {"/small": 5, "/big": 200_000}
    begin = ["PBSZ 0", "PROT P", "USER demo"]
    assert server.commands[:4] == ([*begin, f"PASS {PASSWORD}"] if is_implicit else ["AUTH TLS", *begin])
    assert server.count("CCC") == 0


def test_display_shows_the_scheme_of_the_tls_mode() -> None:
    explicit, implicit = TlsPolicy(), TlsPolicy(is_implicit=True)
    assert FtpEndpoint("h", user="u", path="p").display == "ftp://u@h/p"
    assert FtpEndpoint("h", user="u", path="p", tls=explicit).display == "ftpes://u@h/p"
    assert FtpEndpoint("h", 990, user="u", path="p", tls=implicit).display == "ftps://u@h/p"
    assert FtpEndpoint("h", 21, user="u", path="p", tls=implicit).display == "ftps://u@h:21/p"


async def test_describe_shows_the_protection_of_the_connection(policy: TlsPolicy) -> None:
    async with (
        evil_server(tls=identity().server_context()) as server,
        endpoint_for(server, tls=policy).open_session() as session,
    ):
        said = dict(session.describe())["security"]
        assert said == f"TLSv1.3, TLS_AES_256_GCM_SHA384, certificate SHA-256 {identity().sha256}"
        assert session.warnings() == ()
    async with evil_server() as server, endpoint_for(server).open_session() as session:
        assert dict(session.describe())["security"] == "none: everything is sent in clear"
        assert session.warnings() == (), "the server is on this machine"


@pytest.mark.parametrize(
    ("address", "user", "warns"),
    [
        ("198.51.100.7", "anonymous", False),
        ("8.8.8.8", "me", True),
        ("8.8.8.8", "anonymous", False),
        ("8.8.8.8", "FTP", False),
        ("2606:4700::1111", "me", True),
        ("::ffff:8.8.8.8", "me", True),
        ("::ffff:10.0.0.1", "me", False),
        ("127.0.0.1", "me", False),
        ("::1", "me", False),
        ("10.1.2.3", "me", False),
        ("192.168.1.1", "me", False),
        ("169.254.1.1", "me", False),
        ("fe80::1%eth0", "me", False),
        ("fd00::1", "me", False),
    ],
)
def test_clear_text_warning_depends_on_address_and_user(address: str, user: str, warns: bool) -> None:
    said = warn_of_clear_text("example.org", [address], user)
    assert bool(said) is warns
    assert all("in clear to example.org" in line and "ftpes://" in line for line in said)


# ---- m093 to m096: before the login


@pytest.mark.parametrize(
    "answer",
    [b"500 what?", b"502 no", b"504 not TLS", b"530 log in first", b"431 no certificate", b"200 ok", b"334 AAAA"],
)
async def test_m093_refused_auth_tls_ends_the_run(answer: bytes, source: Path, policy: TlsPolicy) -> None:
    async with evil_server({"AUTH": answer}, tls=identity().server_context()) as server:
        assert answer.decode() in await refusal(server, policy)
        run = await one_run(server, source, policy)
    assert run.report.exit_code == 6
    assert set(server.commands) == {"AUTH TLS"}
    assert len(server.commands) == 2, "each of the two connections sent it once"


async def test_m093_server_without_tls_is_refused(embedded: Any, source: Path, policy: TlsPolicy) -> None:
    run = await one_run(embedded, source, policy)
    assert run.report.exit_code == 6
    assert {command.verb for command in embedded.commands} == {"AUTH"}


async def test_m093_unanswered_auth_tls_raises_connection_lost(source: Path, policy: TlsPolicy) -> None:
    """It counts as a network fault, and the connection does not go on in clear."""
    async with evil_server({"AUTH": b""}) as server:
        run = await one_run(server, source, policy, stall_seconds=0.1, connect_seconds=0.2)
    assert run.report.exit_code == 5
    assert set(server.commands) == {"AUTH TLS"}


@pytest.mark.parametrize("greeting", [b"230 you are in\r\n", b"331 password?\r\n", b"200 ok\r\n"])
@pytest.mark.parametrize("is_implicit", [False, True])
async def test_m094_greeting_other_than_220_is_refused(
    greeting: bytes, is_implicit: bool, source: Path, policy: TlsPolicy
) -> None:
    tls = identity().server_context()
    async with evil_server(greeting=greeting, tls=tls, is_implicit=is_implicit) as server:
        run = await one_run(server, source, attrs.evolve(policy, is_implicit=is_implicit))
    assert run.report.exit_code == 5
    assert server.commands == []


@pytest.mark.parametrize("injected", [b"230 ok\r\n", b"220 hello\r\n230 ok\r\n", b"2", b"\r\n", b"\x16\x03\x03"])
async def test_m095_bytes_after_the_234_end_the_run(injected: bytes, source: Path, policy: TlsPolicy) -> None:
    async with evil_server({"AUTH": b"234 go on\r\n" + injected + b"\n"}, tls=identity().server_context()) as server:
        assert "in clear" in await refusal(server, policy)
        run = await one_run(server, source, policy)
    assert run.report.exit_code == 6
    assert set(server.commands) == {"AUTH TLS"}


@pytest.mark.parametrize("answer", [b"534 no", b"536 no", b"431 not now", b"502 what?"])
async def test_m096_refused_prot_p_ends_the_run(answer: bytes, source: Path, policy: TlsPolicy) -> None:
    async with evil_server({"PROT": answer}, tls=identity().server_context()) as server:
        assert answer.decode() in await refusal(server, policy)
        run = await one_run(server, source, policy)
    assert run.report.exit_code == 6
    assert set(server.commands) == {"AUTH TLS", "PBSZ 0", "PROT P"}


# ---- m097: data connections


@pytest.mark.parametrize("fault", ["expired", "another host", "unknown authority", "self-signed"])
async def test_m097_data_connection_with_another_certificate_is_refused(
    fault: certificates.Fault, source: Path, policy: TlsPolicy
) -> None:
    tls, other = identity().server_context(), identity(fault).server_context()
    async with evil_server(tls=tls, data_tls=other) as server:
        run = await one_run(server, source, policy)
    assert run.report.exit_code == 6
    assert server.files == {}


async def test_m097_data_connection_without_the_pinned_certificate_is_refused(source: Path) -> None:
    """A certificate of a trusted authority is refused as well."""
    pinned = TlsPolicy(certificate_sha256=identity("self-signed").sha256)
    tls, other = identity("self-signed").server_context(), identity().server_context()
    async with evil_server(tls=tls, data_tls=other) as server:
        run = await one_run(server, source, pinned)
        with pytest.raises(LoginRefused, match=r"data connection to 127\.0\.0\.1: .* certificate-sha256"):
            async with endpoint_for(server, tls=pinned).open_session() as session:
                await session.list_directory("")
    assert run.report.exit_code == 6
    assert server.files == {}


async def test_m097_listing_in_clear_is_refused(policy: TlsPolicy) -> None:
    async with evil_server(tls=identity().server_context(), data_tls="clear", listing=b"x" * 100) as server:
        with pytest.raises(LoginRefused, match="the answer is not TLS"):
            async with endpoint_for(server, tls=policy).open_session() as session:
                await session.list_directory("")


async def test_m097_server_that_wants_data_in_clear_receives_no_content(source: Path, policy: TlsPolicy) -> None:
    """The server receives the first TLS record, and nothing of the file."""
    async with evil_server(tls=identity().server_context(), data_tls="clear") as server:
        server.listing = b""
        run = await one_run(server, source, policy, stall_seconds=0.2)
    assert run.report.exit_code != 0
    assert not any(b"small" in data or b"0123456789" in data for data in server.files.values())


@pytest.mark.parametrize("answer", [b"522 session reuse required", b"425 no data connection"])
async def test_m097_tls_session_not_resumed_raises_connection_lost(answer: bytes, policy: TlsPolicy) -> None:
    """A new connection gets a new session, so that a retry may succeed."""
    async with evil_server({"MLSD": answer}, tls=identity().server_context()) as server:
        with pytest.raises(ConnectionLost, match="resumed"):
            async with endpoint_for(server, tls=policy).open_session() as session:
                await session.list_directory("")


async def test_m087_other_process_on_the_data_port_receives_no_content(source: Path, policy: TlsPolicy) -> None:
    """Another process listens on the data port of the server: by accident, or because it won a race."""
    stolen = b""

    async def take(stream: trio.SocketStream) -> None:
        nonlocal stolen
        with suppress(trio.BrokenResourceError):
            async for piece in stream:
                stolen += piece

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, take, [listener])
        answers = {
            "EPSV": b"229 here (|||%d|)" % listener.socket.getsockname()[1],
            "MLSD": b"500 what?",
            "LIST": b"226",
        }
        async with evil_server(answers, tls=identity().server_context()) as server:
            run = await one_run(server, source, policy, stall_seconds=0.2)
        nursery.cancel_scope.cancel()
    assert run.report.exit_code != 0
    assert stolen and stolen[:2] == b"\x16\x03", "the first TLS record"
    assert b"small" not in stolen and b"0123456789" not in stolen


@pytest.mark.parametrize("is_secure", [False, True])
async def test_m086_m087_data_connections_lead_to_the_control_peer_only(
    is_secure: bool, source: Path, policy: TlsPolicy
) -> None:
    """PORT and EPRT are never sent, and data connections lead to the control connection's peer."""
    answers = {"EPSV": b"500 what?", "PASV": b"500 what?"}
    async with evil_server(answers, tls=identity().server_context() if is_secure else None) as server:
        run = await one_run(server, source, policy, **({} if is_secure else {"tls": None}))
        assert run.report.exit_code == 1
        assert not {"PORT", "EPRT"} & {line.split()[0] for line in server.commands}
        server.answers = {}
        async with endpoint_for(server, tls=policy if is_secure else None).open_session() as session:
            data, _ = await session.connection.open_data()
            assert data._socket.getpeername()[0] == session.connection.control.peer[0]
            session.connection.close_data()


# ---- m098: certificates

REASONS: dict[certificates.Fault, str] = {
    "expired": "has expired",
    "not yet valid": "is not valid yet",
    "another host": "is for another address",
    "another address": "is for another address",
    "self-signed": "is self-signed",
    "unknown authority": "is signed by an unknown authority",
}


@pytest.mark.parametrize("is_implicit", [False, True])
@pytest.mark.parametrize("fault", get_args(certificates.Fault))
async def test_m098_bad_certificate_is_refused_and_can_be_pinned(
    fault: certificates.Fault, is_implicit: bool, source: Path, policy: TlsPolicy
) -> None:
    policy = attrs.evolve(policy, is_implicit=is_implicit)
    async with evil_server(tls=identity(fault).server_context(), is_implicit=is_implicit) as server:
        said = await refusal(server, policy)
        run = await one_run(server, source, policy)
        assert run.report.exit_code == 6
        assert not {"USER", "PASS", "PBSZ"} & {line.split()[0] for line in server.commands}
        assert REASONS[fault] in said
        assert "set ca-file or certificate-sha256 in [target]" in said
        assert f"SHA-256 {identity(fault).sha256}" in said

        # The advice in the message works.
        pinned = attrs.evolve(policy, certificate_sha256=said.rpartition("SHA-256 ")[2].rstrip(")"))
        run = await one_run(server, source, pinned)
        assert (run.report.exit_code, run.failures) == (0, {})


async def test_m098_certificate_for_another_host_name_is_refused(policy: TlsPolicy) -> None:
    async with evil_server(tls=identity("another host").server_context()) as server:
        said = await refusal_for(server, policy, "localhost")
        assert "is for another host name" in said


async def refusal_for(server: EvilServer, policy: TlsPolicy, host: str) -> str:
    with pytest.raises(LoginRefused) as caught:
        await meet(endpoint_for(server, host=host, tls=policy))
    return str(caught.value)


@pytest.mark.parametrize("fault", ["self-signed", None])
async def test_m098_certificate_of_the_ca_file_is_trusted(fault: certificates.Fault | None, tmp_path: Path) -> None:
    """A self-signed certificate can be its own authority, if it is for this host. The system's store has neither."""
    async with evil_server(tls=identity(fault).server_context()) as server:
        assert REASONS["self-signed" if fault else "unknown authority"] in await refusal(server, TlsPolicy())
        trusted = tmp_path / "trusted.pem"
        trusted.write_text(identity(fault).certificate if fault else certificates.authority().decode())
        if fault is None:
            await meet(endpoint_for(server, tls=TlsPolicy(ca_file=trusted)))
        else:
            assert "another address" in await refusal(server, TlsPolicy(ca_file=trusted))


async def test_m098_certificate_other_than_the_pinned_is_refused(source: Path, policy: TlsPolicy) -> None:
    pinned = TlsPolicy(certificate_sha256="0" * 64)
    async with evil_server(tls=identity().server_context()) as server:
        said = await refusal(server, pinned)
        run = await one_run(server, source, pinned)
    assert run.report.exit_code == 6
    assert identity().sha256 in said
    assert set(server.commands) == {"AUTH TLS"}


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_m098_unusable_ca_file_is_a_profile_error(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ProfileError, match=r"ca-file .*ca\.pem cannot be used: (No such file|it contains no cert)"):
        make_context(TlsPolicy(ca_file=path))


def test_m098_context_requires_verification_and_tls_1_2() -> None:
    context = make_context(TlsPolicy())
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert make_context(TlsPolicy(minimum_version="1.3")).minimum_version is ssl.TLSVersion.TLSv1_3
    assert make_context(TlsPolicy(certificate_sha256="0" * 64)).minimum_version is ssl.TLSVersion.TLSv1_2


def test_m098_pin_covers_the_whole_certificate() -> None:
    der = ssl.PEM_cert_to_DER_cert(identity().certificate)
    check_pin(TlsPolicy(), None)
    check_pin(TlsPolicy(certificate_sha256=fingerprint(der)), der)
    for shown in (der + b"\0", der[:-1], b"", None):
        with pytest.raises(UntrustedServer):
            check_pin(TlsPolicy(certificate_sha256=fingerprint(der)), shown)


# ---- m099: versions


@contextmanager
def old_server(version: ssl.TLSVersion, *, is_implicit: bool) -> Iterator[tuple[int, list[bytes]]]:
    """Serve with the standard library, which sends TLS alerts. Yields the port, and a list of the received bytes."""
    context, heard = identity().server_context(), list[bytes]()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = version

    def serve() -> None:
        with suppress(OSError):  # including TLS errors, and the closed listener
            while True:
                connection = listener.accept()[0]
                with connection, suppress(ssl.SSLError, ConnectionError):
                    if not is_implicit:
                        connection.sendall(b"220 hello\r\n")
                        heard.append(connection.recv(1000))
                        connection.sendall(b"234 go on\r\n")
                    with context.wrap_socket(connection, server_side=True) as secured:
                        heard.append(secured.recv(1000))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], heard
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.parametrize("is_implicit", [False, True])
async def test_m099_server_with_only_old_tls_versions_is_refused(
    version: ssl.TLSVersion, is_implicit: bool, policy: TlsPolicy
) -> None:
    policy = attrs.evolve(policy, is_implicit=is_implicit)
    with (
        old_server(version, is_implicit=is_implicit) as (port, heard),
        pytest.raises(LoginRefused, match="no TLS version in common"),
    ):
        await meet(FtpEndpoint("127.0.0.1", port, tls=policy))
    assert heard == ([] if is_implicit else [b"AUTH TLS\r\n"])


@pytest.mark.parametrize("name", [PYFTPDLIB, *debian_servers.NAMES])
async def test_m099_real_server_with_tls_1_1_is_refused(name: str, server_folder: Path, policy: TlsPolicy) -> None:
    with serving(name, server_folder, Options(tls=Tls("1.1"))) as server:
        # Pure-FTPd sends 234, and then an error in clear. Which one is read first depends on timing.
        assert "TLS" in await refusal(server, policy)


async def test_m099_minimum_version_1_3_refuses_tls_1_2(server_folder: Path, policy: TlsPolicy) -> None:
    with serving(PYFTPDLIB, server_folder, Options(tls=Tls("1.2"))) as server:
        await meet(endpoint_for(server, tls=policy))
        assert "no TLS version" in await refusal(server, attrs.evolve(policy, minimum_version="1.3"))


# ---- m100: the end of a stream


async def test_m100_listing_without_a_tls_end_raises_connection_lost(policy: TlsPolicy) -> None:
    listing = b"type=file;size=1;modify=20240101000000; one\r\n"
    async with (
        evil_server(tls=identity().server_context(), listing=listing) as server,
        endpoint_for(server, tls=policy).open_session() as session,
    ):
        assert [entry.path for entry in (await session.list_directory("")).entries] == ["one"]
        server.says_goodbye = False
        with pytest.raises(ConnectionLost, match="cut off"):
            await session.list_directory("")


# ---- errors of a handshake


def tls_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, "words")
    error.reason = reason
    return error


ERRORS: list[tuple[BaseException | None, type[ActorsyncError], str]] = [
    (None, ConnectionLost, "closed the connection"),
    (ssl.SSLEOFError(8, "EOF"), ConnectionLost, "closed the connection"),
    (ConnectionResetError(104, "Connection reset by peer"), ConnectionLost, "Connection reset by peer"),
    (tls_error("TLSV1_ALERT_INTERNAL_ERROR"), ConnectionLost, "tlsv1 alert internal error"),
    (tls_error("BAD_SIGNATURE"), ConnectionLost, "bad signature"),
    (tls_error("WRONG_VERSION_NUMBER"), NotTls, "not TLS"),
    (tls_error("UNSUPPORTED_PROTOCOL"), LoginRefused, "no TLS version"),
    (tls_error("TLSV1_ALERT_PROTOCOL_VERSION"), LoginRefused, "no TLS version"),
    (tls_error("SSLV3_ALERT_HANDSHAKE_FAILURE"), LoginRefused, "strong enough"),
]


@pytest.mark.parametrize(("cause", "kind", "words"), ERRORS)
def test_handshake_error_has_the_reason(cause: BaseException | None, kind: type[ActorsyncError], words: str) -> None:
    error = handshake_error(cause)
    assert type(error) is kind
    assert words in str(error)


@pytest.mark.parametrize("answer", [b"", b"220 hello\r\n"], ids=["hangs up", "in clear"])
async def test_implicit_tls_to_a_server_without_tls_ends_the_run(
    answer: bytes, source: Path, policy: TlsPolicy
) -> None:
    implicit = attrs.evolve(policy, is_implicit=True)
    async with evil_server(greeting=answer or b"421 bye\r\n") as server:
        run = await one_run(server, source, implicit)
    assert run.report.exit_code == 6, "its greeting in clear is no TLS"
    assert not any("USER" in line for line in server.commands)
