"""The endpoints and the policy of a profile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from actorsync.endpoints.ftp.endpoint import FtpEndpoint
from actorsync.endpoints.ftp.wire.certificates import TlsPolicy
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.endpoints.sftp.endpoint import LANES, SftpEndpoint
from actorsync.endpoints.ssh.settings import HostTrust
from actorsync.planning.drift import AuditRule
from actorsync.planning.selection import Selection
from actorsync.policy import Policy
from actorsync.profile import BothSecrets, MaxDelete, Secret, Secrets
from actorsync.runs.open_endpoints import open_endpoints
from actorsync.runs.options import policy_of
from tests.runs.profiles import CANARY, make_profile
from tests.support.root import ROOT


def test_endpoints_have_the_settings_of_the_profile(source: Path) -> None:
    profile = make_profile(source, "ftp://demo@example.com:2121//srv/www", "sync.links=follow")
    local, server = open_endpoints(profile)
    assert isinstance(local, LocalEndpoint)
    assert (local.root, local.links) == (source, "follow")
    assert isinstance(server, FtpEndpoint)
    assert (server.host, server.port, server.user, server.path) == ("example.com", 2121, "demo", "/srv/www")
    assert server.password() == "demo"
    assert "demo" not in repr(server).replace("user='demo'", "")


@pytest.mark.parametrize(("scheme", "is_implicit", "port"), [("ftpes", False, 21), ("ftps", True, 990)])
def test_endpoints_with_tls_have_the_settings_of_the_profile(
    source: Path, scheme: str, is_implicit: bool, port: int, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").touch()
    keys = ["ca-file=ca.pem", "certificate-sha256=" + "AB" * 32, "tls-min-version=1.3"]
    profile = make_profile(source, f"{scheme}://example.com/www", *(f"target.{key}" for key in keys))
    _, server = open_endpoints(profile)
    assert isinstance(server, FtpEndpoint)
    assert (server.host, server.port, server.user, server.path) == ("example.com", port, "anonymous", "www")
    assert server.tls == TlsPolicy(is_implicit, tmp_path / "ca.pem", "ab" * 32, "1.3")
    _, clear = open_endpoints(make_profile(source, "ftp://example.com/www"))
    assert isinstance(clear, FtpEndpoint)
    assert clear.tls is None


def test_m105_an_sftp_endpoint_has_the_settings_of_the_profile(source: Path, tmp_path: Path) -> None:
    (tmp_path / "id").touch(0o600)
    pin = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"
    keys = ['target.passphrase={ env = "P" }', "target.agent=true", f"target.host-key={pin}"]
    keys += ["target.key-file=id", "target.known-hosts=hosts", "target.lanes=3", "target.fsync=true"]
    keys += ['target.password={ env = "W" }']
    profile = make_profile(source, "sftp://demo@example.com:2222//srv/www", *keys)
    _, server = open_endpoints(profile, BothSecrets(target=Secrets(Secret(CANARY), Secret(f"{CANARY}-P"))))
    assert isinstance(server, SftpEndpoint)
    assert (server.host, server.port, server.path, server.lanes, server.fsync) == (
        *("example.com", 2222, "/srv/www", 3, True),
    )
    assert (server.login.user, server.login.key_file, server.login.agent) == ("demo", tmp_path / "id", True)
    assert server.trust == HostTrust(tmp_path / "hosts", pin)
    assert server.login.password is not None
    assert server.login.passphrase is not None
    assert (server.login.password(), server.login.passphrase()) == (CANARY, f"{CANARY}-P")
    assert CANARY not in f"{server!r}{server.login!r}{attrs.asdict(server.login)}"
    _, plain = open_endpoints(make_profile(source, "sftp://demo@example.com/"))
    assert isinstance(plain, SftpEndpoint)
    assert plain.lanes == LANES
    assert f"- Default: {LANES}\n" in (ROOT / "docs" / "profile.md").read_text()
    assert (plain.login.password, plain.login.passphrase, plain.login.agent, plain.fsync) == (None, None, None, False)


def test_slow_imports_are_not_made_at_the_start() -> None:
    code = (
        "import sys, actorsync.cli.commands, actorsync.cli.foreground, actorsync.cli.check; "
        "import actorsync.endpoints.ftp.endpoint; "
        "slow = {'asyncssh', 'rich', 'pathspec', 'keyring', 'cryptography', 'pyftpdlib'} & set(sys.modules); "
        "assert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_policy_has_the_settings_of_the_profile(source: Path) -> None:
    profile = make_profile(
        source,
        "t",
        "sync.connections=7",
        "sync.delete=true",
        "sync.max-delete=5",
        "sync.links=error",
        "sync.max-depth=2",
    )
    policy = policy_of(profile)
    assert policy.bandwidth is not None
    assert policy.bandwidth.limit is None  # until a user sets one
    assert attrs.evolve(policy, bandwidth=None) == Policy(
        Selection(max_depth=2),
        MaxDelete(5, is_percent=False),
        delete=True,
        connections=7,
        links="error",
        audit=AuditRule(50),
    )
    options = ("audit.listings=0", "audit.listings=7", "audit.repair=fix")
    off, _, mending = (policy_of(make_profile(source, "t", *options[: count + 1])).audit for count in range(3))
    assert off is None
    assert mending == AuditRule(7, mends=True)
    automatic = policy_of(make_profile(source, "t", "sync.connections=auto", "sync.max-connections=9"))
    assert (automatic.connections, automatic.is_automatic) == (9, True)
