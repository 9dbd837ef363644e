"""Certificates for keys in files and in the agent, and keys on security tokens."""

from __future__ import annotations

import base64
from contextlib import ExitStack
from pathlib import Path

import asyncssh
import attrs
import pytest
import trio

from actorsync.endpoints.sftp.endpoint import SftpEndpoint
from actorsync.endpoints.ssh.client_keys import load_client_keys
from actorsync.endpoints.ssh.settings import SshLogin
from actorsync.errors import LoginRefused
from tests.support.servers.debian_servers import USER
from tests.support.servers.fake_agent import Token, token_agent
from tests.support.servers.ssh_keys import Key, agent, make_key
from tests.support.servers.ssh_servers import OPENSSH, OpenSshServer, Options, openssh_server, require
from tests.support.servers.ssh_ways import SshWays, known_hosts, serving_ways

SECONDS = 20.0


@attrs.frozen
class Signed:
    """A key and, in another folder, a certificate for it."""

    key: Key
    certificate: Path
    authority: str


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    (tmp_path / "elsewhere").mkdir()
    key = make_key(tmp_path / "signed")
    authority = asyncssh.generate_private_key("ssh-ed25519")
    public = asyncssh.import_public_key(key.public_line)
    certificate = authority.generate_user_certificate(public, "me", principals=[USER])
    path = tmp_path / "elsewhere" / "me-cert.pub"
    path.write_bytes(certificate.export_certificate())
    return Signed(key, path, authority.export_public_key().decode())


def login(signed: Signed, key_file: Path | None) -> SshLogin:
    return SshLogin(USER, key_file, agent=key_file is None, certificate_files=(signed.certificate,))


def test_certificate_is_offered_before_the_key_alone(signed: Signed) -> None:
    found = load_client_keys(login(signed, signed.key.path), lambda: None)
    assert [pair.has_cert for pair in found] == [True, False]


def test_certificate_for_another_key_is_refused(signed: Signed, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    with pytest.raises(LoginRefused) as refused:
        load_client_keys(login(signed, other.path), lambda: None)
    assert str(refused.value) == (
        f"{other.path} cannot be used: target.certificate-file is for another key; correct one of them"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "is not a certificate; set target.certificate-file to a file like id_ed25519-cert.pub"),
        (None, "cannot be read: No such file or directory; set target.certificate-file"),
    ],
)
def test_unusable_certificate_is_refused(text: str | None, reason: str, signed: Signed) -> None:
    signed.certificate.unlink()
    if text is not None:
        signed.certificate.write_text(text)
    with pytest.raises(LoginRefused) as refused:
        load_client_keys(login(signed, signed.key.path), lambda: None)
    assert str(refused.value) == f"{signed.certificate} {reason}"


async def accepted(place: SftpEndpoint) -> None:
    with trio.fail_after(SECONDS):
        async with place.open_session() as session:
            assert (await session.list_directory("")).problem is None


def trusting(server: OpenSshServer, signed: Signed, folder: Path) -> None:
    """Have the server accept certificates of the authority only."""
    (folder / "user_ca.pub").write_text(signed.authority)
    (folder / "authorized_keys").write_text("")
    server.restart()


@pytest.mark.parametrize("holder", ["file", "agent"])
@pytest.mark.parametrize("name", [OPENSSH])
async def test_openssh_accepts_a_certificate(
    name: str, holder: str, signed: Signed, server_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(OPENSSH)
    (server_folder / "root").mkdir()
    options = Options(more=f"TrustedUserCAKeys {server_folder}/user_ca.pub")
    with (
        openssh_server(server_folder / "root", server_folder, options) as server,
        agent(tmp_path, signed.key.path) as at,
    ):
        trusting(server, signed, server_folder)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(at))
        target, key_file = server.target, signed.key.path if holder == "file" else None
        place = SftpEndpoint(target.host, login(signed, key_file), target.trust, target.port)
        await accepted(place)
        assert "Accepted certificate ID" in server.log()
        without = attrs.evolve(place, login=attrs.evolve(place.login, certificate_files=()))
        with pytest.raises(LoginRefused, match="rejected the login"):
            async with without.open_session():
                pass


@pytest.mark.parametrize("name", ["asyncssh", OPENSSH])
async def test_key_of_a_security_token_logs_in_through_the_agent(
    name: str, server_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = Token()
    line = f"sk-ssh-ed25519@openssh.com {base64.b64encode(token.blob).decode()}\n"
    with ExitStack() as stack:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(stack.enter_context(token_agent(tmp_path, token))))
        login = SshLogin(USER, agent=True, identity_files=())
        if name == OPENSSH:
            require(OPENSSH)
            (server_folder / "root").mkdir()
            target = stack.enter_context(openssh_server(server_folder / "root", server_folder)).target
            (server_folder / "authorized_keys").write_text(line)
            place = SftpEndpoint(target.host, login, target.trust, target.port)
        else:
            ways = stack.enter_context(serving_ways(SshWays(root=tmp_path, authorized=[line])))
            place = SftpEndpoint("127.0.0.1", login, known_hosts(tmp_path / "known", ways), ways.port)
        await accepted(place)
    assert token.touches == 1


@pytest.mark.parametrize("name", ["asyncssh", OPENSSH])
async def test_agent_with_too_many_keys_is_refused_once_with_the_way_out(
    name: str, server_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sshd closes the connection, which is no reason to try again."""
    keys = [make_key(tmp_path / f"k{number}").path for number in range(4)]
    with ExitStack() as stack:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(stack.enter_context(agent(tmp_path, *keys))))
        login = SshLogin(USER, agent=True, identity_files=())
        if name == OPENSSH:
            require(OPENSSH)
            (server_folder / "root").mkdir()
            options = Options(more="MaxAuthTries 2")
            target = stack.enter_context(openssh_server(server_folder / "root", server_folder, options)).target
            place = SftpEndpoint(target.host, login, target.trust, target.port)
        else:
            ways = stack.enter_context(serving_ways(SshWays(root=tmp_path, most_tries=2)))
            place = SftpEndpoint("127.0.0.1", login, known_hosts(tmp_path / "known", ways), ways.port)
        with trio.fail_after(SECONDS), pytest.raises(LoginRefused) as refused:
            async with place.open_session():
                pass
    assert f"the server rejected the login of {USER}: it closed the connection after several rejected keys" in str(
        refused.value
    )
    assert str(refused.value).endswith("; name the right one in target.key-file, and set target.agent = false")


def test_key_file_of_a_security_token_is_refused_with_the_way_out(tmp_path: Path) -> None:
    token, path = Token(), tmp_path / "id_ed25519_sk"
    path.write_bytes(private_half(token))
    path.chmod(0o600)
    with pytest.raises(LoginRefused) as refused:
        load_client_keys(SshLogin(USER, key_file=path), lambda: None)
    assert str(refused.value) == (
        f"{path} is the key of a security token, which only the SSH agent can use; run: ssh-add {path}, set "
        "target.agent = true, and remove target.key-file"
    )


def private_half(token: Token) -> bytes:
    """Return the file that ssh-keygen writes for the key of a token (PROTOCOL.key and PROTOCOL.u2f of OpenSSH)."""

    def string(data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + data

    check = b"\0\0\0\1" * 2
    private = check + token.blob + b"\x01" + string(b"handle") + string(b"") + string(b"a token")
    private += bytes(range(1, 1 + -len(private) % 8))
    none = string(b"none") + string(b"none") + string(b"")
    body = b"openssh-key-v1\0" + none + b"\0\0\0\1" + string(token.blob) + string(private)
    lines = base64.encodebytes(body).decode()
    return f"-----BEGIN OPENSSH PRIVATE KEY-----\n{lines}-----END OPENSSH PRIVATE KEY-----\n".encode()
