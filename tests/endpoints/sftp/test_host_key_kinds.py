"""Servers with host keys of several kinds, and with host certificates."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import attrs
import pytest
import trio

from actorsync.endpoints.sftp.endpoint import SftpEndpoint
from actorsync.endpoints.ssh.settings import HostTrust, SshLogin
from actorsync.errors import LoginRefused
from tests.support.servers.debian_servers import PASSWORD, USER
from tests.support.servers.ssh_keys import make_key
from tests.support.servers.ssh_servers import OPENSSH, Options, openssh_server, require
from tests.support.servers.ssh_ways import SshWays, serving_ways

KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa")
SECONDS = 20.0


def endpoint(server: SshWays, trust: HostTrust) -> SftpEndpoint:
    login = SshLogin(USER, password=lambda: PASSWORD)
    return SftpEndpoint("127.0.0.1", login, trust, server.port)


async def accepted(place: SftpEndpoint) -> None:
    with trio.fail_after(SECONDS):
        async with place.open_session() as session:
            assert (await session.list_directory("")).problem is None


async def refusal(place: SftpEndpoint) -> str:
    with trio.fail_after(SECONDS), pytest.raises(LoginRefused) as refused:
        async with place.open_session():
            pass
    assert PASSWORD not in str(refused.value)
    return str(refused.value)


@pytest.fixture(scope="module")
def keys() -> dict[str, asyncssh.SSHKey]:
    return {kind: asyncssh.generate_private_key(kind) for kind in KINDS}


def with_password(tmp_path: Path, *host_keys: object) -> SshWays:
    return SshWays(root=tmp_path, host_keys=host_keys, steps=["password"])


@pytest.mark.parametrize("kind", KINDS)
async def test_pin_of_any_kind_of_key_is_accepted(kind: str, keys: dict[str, asyncssh.SSHKey], tmp_path: Path) -> None:
    with serving_ways(with_password(tmp_path, *keys.values())) as server:
        place = endpoint(server, HostTrust(tmp_path / "none", keys[kind].get_fingerprint()))
        await accepted(place)
        before = len(server.connections)
        await accepted(place)
        assert len(server.connections) == before + 1, "the kind is remembered for the next connection"


async def test_pin_that_no_key_has_is_refused_before_the_user_name(
    keys: dict[str, asyncssh.SSHKey], tmp_path: Path
) -> None:
    other = asyncssh.generate_private_key("ssh-rsa").get_fingerprint()
    with serving_ways(with_password(tmp_path, *keys.values())) as server:
        said = await refusal(endpoint(server, HostTrust(tmp_path / "none", other)))
        assert f"but target.host-key pins {other}" in said
        assert keys["ssh-ed25519"].get_fingerprint() in said
        assert server.received == []


@pytest.mark.parametrize("kind", KINDS)
async def test_host_key_with_the_wanted_fingerprint_is_shown(
    kind: str, keys: dict[str, asyncssh.SSHKey], tmp_path: Path
) -> None:
    with serving_ways(with_password(tmp_path, *keys.values())) as server:
        place = endpoint(server, HostTrust(tmp_path / "none"))
        shown = await place.show_host_key(wanted=[keys[kind].get_fingerprint()])
        assert (shown.algorithm, shown.fingerprint) == (kind, keys[kind].get_fingerprint())
        other = await place.show_host_key(wanted=["SHA256:none"])
        assert other.algorithm == "ssh-ed25519", "the first kind, if no key has the fingerprint"


@pytest.mark.parametrize("algorithm", KINDS)
@pytest.mark.parametrize("name", [OPENSSH])
async def test_pin_is_accepted_by_a_server_with_three_kinds(name: str, algorithm: str, server_folder: Path) -> None:
    require(OPENSSH)
    (server_folder / "root").mkdir()
    made = {kind: make_key(server_folder / kind, algorithm=kind) for kind in KINDS}
    more = "\n".join(f"HostKey {key.path}" for key in made.values())
    with openssh_server(server_folder / "root", server_folder, Options(more=more)) as server:
        target = server.target
        trust = HostTrust(server_folder / "none", made[algorithm].fingerprint)
        await accepted(SftpEndpoint(target.host, target.login, trust, target.port))


# ---- host certificates


@attrs.frozen
class Authority:
    """A server with a certificate for its key, and the key that has signed it."""

    server: SshWays
    line: str
    host_key: asyncssh.SSHKey

    def trust(self, path: Path, *lines: str) -> HostTrust:
        """Write known_hosts lines, in which ``CA`` and ``KEY`` stand for the public keys."""
        key = self.host_key.export_public_key().decode().strip()
        path.write_text("\n".join(line.replace("CA", self.line).replace("KEY", key) for line in lines) + "\n")
        return HostTrust(path)


def signed_for(tmp_path: Path, *principals: str) -> Authority:
    authority = asyncssh.generate_private_key("ssh-ed25519")
    key = asyncssh.generate_private_key("ssh-ed25519")
    certificate = authority.generate_host_certificate(key, "host", principals=principals)
    server = with_password(tmp_path, (key, certificate))
    return Authority(server, authority.export_public_key().decode().strip(), key)


@pytest.mark.parametrize(
    "line",
    ["@cert-authority * CA", "@cert-authority [127.0.0.1]:* CA", "@cert-authority 127.0.0.1 CA"],
    ids=["any host", "host and port", "host alone"],
)
async def test_host_certificate_is_accepted_on_another_port_than_22(line: str, tmp_path: Path) -> None:
    signed = signed_for(tmp_path, "127.0.0.1")
    with serving_ways(signed.server) as server:
        await accepted(endpoint(server, signed.trust(tmp_path / "known", line)))


async def test_host_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    signed = signed_for(tmp_path, "other.example.com")
    with serving_ways(signed.server) as server:
        said = await refusal(endpoint(server, signed.trust(tmp_path / "known", "@cert-authority * CA")))
        assert "host certificate is not valid: Certificate principal mismatch for host 127.0.0.1" in said
        assert server.received == []


async def test_host_certificate_of_a_revoked_authority_is_refused(tmp_path: Path) -> None:
    signed = signed_for(tmp_path, "127.0.0.1")
    with serving_ways(signed.server) as server:
        trust = signed.trust(tmp_path / "known", "@cert-authority * CA", "@revoked 127.0.0.1 CA")
        assert "host certificate is not valid" in await refusal(endpoint(server, trust))
        assert server.received == []


async def test_plain_key_is_accepted_where_the_certificate_is_of_another_authority(tmp_path: Path) -> None:
    signed, other = signed_for(tmp_path, "127.0.0.1"), signed_for(tmp_path)
    with serving_ways(signed.server) as server:
        known = f"[127.0.0.1]:{server.port} KEY"
        trust = signed.trust(tmp_path / "known", f"@cert-authority * {other.line}", known)
        await accepted(endpoint(server, trust))


async def test_host_key_is_shown_where_an_authority_is_known(tmp_path: Path) -> None:
    signed = signed_for(tmp_path, "127.0.0.1")
    with serving_ways(signed.server) as server:
        place = endpoint(server, signed.trust(tmp_path / "known", "@cert-authority * CA"))
        assert (await place.show_host_key()).fingerprint == signed.host_key.get_fingerprint()
