"""From a profile to its endpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from actorsync.endpoints.contract import Endpoint
from actorsync.endpoints.local import LocalEndpoint
from actorsync.endpoints.ssh_policy import HostTrust, SshLogin
from actorsync.profile import Profile, Secret, Secrets, SecretSource, Target

__all__ = ["open_endpoints"]


def open_endpoints(profile: Profile, secrets: Secrets | None = None) -> tuple[Endpoint, Endpoint]:
    """Give source and target. Nothing is connected, and no file is opened.

    Without ``secrets`` the profile's own are looked up when the login needs them, which blocks.
    """
    source = LocalEndpoint(profile.source.path, links=profile.sync.links)
    place, secrets = profile.target, secrets or Secrets()
    match place.scheme:
        case "file":
            return source, LocalEndpoint(Path(place.path))
        case "sftp":
            return source, _sftp_endpoint(place, secrets)
        case _:
            return source, _ftp_endpoint(place, secrets)


def _ftp_endpoint(place: Target, secrets: Secrets) -> Endpoint:
    from actorsync.endpoints.ftp import FtpEndpoint  # slow to import, as the other is
    from actorsync.endpoints.tls import TlsPolicy

    password = _revealing(secrets.password, place.password)
    assert password is not None, "an FTP target has a password"
    if place.scheme == "ftp":
        return FtpEndpoint(place.host, place.port, place.user, password, place.path)
    tls = TlsPolicy(
        is_implicit=place.scheme == "ftps",
        ca_file=place.ca_file,
        certificate_sha256=place.certificate_sha256,
        minimum_version=place.tls_min_version,
    )
    return FtpEndpoint(place.host, place.port, place.user, password, place.path, tls=tls)


def _sftp_endpoint(place: Target, secrets: Secrets) -> Endpoint:
    from actorsync.endpoints.sftp import SftpEndpoint  # slow to import, and of use only here

    assert place.known_hosts is not None, "an SFTP target has a known_hosts file"
    return SftpEndpoint(
        host=place.host,
        port=place.port,
        login=SshLogin(
            user=place.user,
            key_file=place.key_file,
            passphrase=_revealing(secrets.passphrase, place.passphrase),
            password=_revealing(secrets.password, place.password),
            agent=place.agent,
        ),
        trust=HostTrust(known_hosts=place.known_hosts, host_key=place.host_key),
        path=place.path,
        fsync=place.fsync,
        **({} if place.lanes is None else {"lanes": place.lanes}),
    )


def _revealing(secret: Secret | None, origin: SecretSource | None) -> Callable[[], str] | None:
    """Give what reveals ``secret``, or, where it was not looked up, looks it up now."""
    return None if origin is None else lambda: (secret or origin.resolve()).reveal()
