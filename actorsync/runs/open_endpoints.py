"""From a profile to its endpoints."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from actorsync.endpoints.contract import Endpoint
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.endpoints.releases import ReachesOutside
from actorsync.endpoints.shared.paths import leads_out
from actorsync.errors import ProfileError
from actorsync.model.text import display, hidden
from actorsync.planning.doubts import variable_in
from actorsync.profile import BothSecrets, Place, Profile, Secret, Secrets, SecretSource
from actorsync.runs.options import policy_of

if TYPE_CHECKING:
    from actorsync.endpoints.shared.proxy import Proxy

__all__ = ["open_endpoints", "open_source", "open_target", "require_source"]


#: What to do about a source that this user cannot read.
_UNREADABLE = "give this user access to it (chmod u+rx), or run as another user"


def require_source(profile: Profile) -> None:
    """Check that a source on this machine is a directory. Raises `ProfileError` that names the key if it is not.

    The same holds for one that this user cannot read. Blocks.
    """
    if profile.source.is_remote:
        return
    key, path = f"{profile.source.where}.path", display(profile.source.path)
    try:
        status = os.stat(profile.source.path)
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(profile.source.path):
            raise ProfileError(f"{key}: {path} is a symbolic link to nothing; correct the link or the path") from None
        variable = variable_in(profile.source.path, os.environ.__contains__)
        why = f" ({variable} is taken literally: variables are not replaced in a profile)" if variable else ""
        raise ProfileError(f"{key}: {path} does not exist; create the directory, or correct the path{why}") from None
    except PermissionError as error:
        raise ProfileError(f"{key}: cannot read {path}: {error.strerror}; {_UNREADABLE}") from None
    except OSError:
        return  # a disk or a network that fails: the scan finds out
    if not stat.S_ISDIR(status.st_mode):
        raise ProfileError(f"{key}: {path} is not a directory; name the directory to mirror")
    if not os.access(profile.source.path, os.R_OK | os.X_OK, effective_ids=True):
        raise ProfileError(f"{key}: cannot read {path}: Permission denied; {_UNREADABLE}")


def open_endpoints(profile: Profile, secrets: BothSecrets | None = None) -> tuple[Endpoint, Endpoint]:
    """Return source and target. Opens no connection and no file.

    Without ``secrets``, those of the profile are looked up when the login needs them, which blocks.
    """
    secrets = secrets or BothSecrets()
    return open_source(profile, secrets), open_target(profile, secrets)


def open_source(profile: Profile, secrets: BothSecrets) -> Endpoint:
    """Return the source of `open_endpoints`. A link that leads to a local one is followed now."""
    outside = _outside(profile) if profile.sync.mode == "two-way" else ""
    if profile.source.is_remote:
        return _endpoint(profile.source, secrets.source, "source", outside=outside)
    keeps_back = policy_of(profile).selection.keeps_back if profile.sync.links == "follow" else None
    return LocalEndpoint(Path(profile.source.path), links=profile.sync.links, keeps_back=keeps_back, outside=outside)


def open_target(profile: Profile, secrets: BothSecrets) -> Endpoint:
    """Return the target of `open_endpoints`."""
    is_exact = profile.sync.delete == "everything"
    return _endpoint(profile.target, secrets.target, "target", is_exact=is_exact, outside=_outside(profile))


def _outside(profile: Profile) -> str:
    """Return the directory beside the root of a side that its files may go to: a trash, or ``""``."""
    path = profile.trash.path or ""
    return path if leads_out(path) else ""


def _endpoint(place: Place, secrets: Secrets, table: str, *, is_exact: bool = False, outside: str = "") -> Endpoint:
    """Return the endpoint of a place. ``table`` is the table of its keys in the profile, for messages.

    ``is_exact``: it is the target of an exact mirror, which has to tell links from what they lead to. ``outside``: the
    directory beside its root that may be used as well.
    """
    match place.scheme:
        case "file":
            return LocalEndpoint(Path(place.path), outside=outside)
        case "sftp":
            return _sftp_endpoint(place, secrets, table, outside)
        case _ if place.is_plugged:
            plugged = _plugged_endpoint(place, secrets, table)
            if isinstance(plugged, ReachesOutside):
                plugged.outside = outside
            return plugged
        case _:
            return _ftp_endpoint(place, secrets, table, is_exact=is_exact, outside=outside)


def _ftp_endpoint(place: Place, secrets: Secrets, table: str, *, is_exact: bool, outside: str) -> Endpoint:
    from actorsync.endpoints.ftp.endpoint import FtpEndpoint  # slow to import
    from actorsync.endpoints.ftp.wire.certificates import TlsPolicy
    from actorsync.endpoints.ftp.wire.connection import Knowledge

    password = _revealing(secrets.password, place.password)
    assert password is not None, "an FTP server has a password"
    tls = None
    if place.scheme != "ftp":
        tls = TlsPolicy(
            is_implicit=place.scheme == "ftps",
            ca_file=place.ca_file,
            certificate_sha256=place.certificate_sha256,
            minimum_version=place.tls_min_version,
        )
    proxy = _proxy(place, secrets, table)
    return FtpEndpoint(
        place.host,
        place.port,
        place.user,
        password,
        place.path,
        tls=tls,
        table=table,
        proxy=proxy,
        knowledge=Knowledge(finds_links=is_exact, outside=outside),
    )


def _sftp_endpoint(place: Place, secrets: Secrets, table: str, outside: str) -> Endpoint:
    from actorsync.endpoints.sftp.endpoint import LANES, SftpEndpoint  # slow to import
    from actorsync.endpoints.ssh.settings import HostTrust, SshLogin

    assert place.known_hosts is not None, "an SFTP server has a known_hosts file"
    return SftpEndpoint(
        host=place.host,
        port=place.port,
        login=SshLogin(
            user=place.user,
            key_file=place.key_file,
            passphrase=_revealing(secrets.passphrase, place.passphrase),
            password=_revealing(secrets.password, place.password),
            agent=place.agent,
            certificate_files=place.ways.certificate_files,
            identity_files=place.ways.identity_files,
            codes=place.ways.codes,
            table=table,
        ),
        trust=HostTrust(known_hosts=place.known_hosts, host_key=place.host_key, table=table),
        path=place.path,
        below_login=place.below_login,
        fsync=place.fsync,
        jump=place.ways.jump,
        lanes=place.lanes or LANES,
        proxy=_proxy(place, secrets, table),
        outside=outside,
    )


def _proxy(place: Place, secrets: Secrets, table: str) -> Proxy | None:
    if place.proxy is None:
        return None
    from actorsync.endpoints.shared.proxy import Proxy  # slow to import

    password = _revealing(secrets.proxy_password, place.proxy_password)
    return Proxy(place.proxy.scheme, place.proxy.host, place.proxy.port, place.proxy.user, password, table)


def _plugged_endpoint(place: Place, secrets: Secrets, table: str) -> Endpoint:
    from actorsync.endpoints.plugins import Location, open_plugged  # searches the installed packages

    looked_up = dict(secrets.options)
    revealed: list[str] = []

    def noting(secret: Secret | None, origin: SecretSource | None) -> Callable[[], str] | None:
        """Return a function that reveals a secret, and hides it in later messages."""
        reveal = _revealing(secret, origin)

        def revealing() -> str:
            assert reveal is not None
            revealed.append(reveal())
            return revealed[-1]

        return None if reveal is None else revealing

    named = {name: noting(looked_up.get(name), origin) for name, origin in place.options.secrets}
    location = Location(
        scheme=place.scheme,
        host=place.host,
        port=place.port,
        user=place.user,
        path=place.path,
        password=noting(secrets.password, place.password),
        options=dict(place.options.values),
        secrets={name: reveal for name, reveal in named.items() if reveal is not None},
        table=table,
    )
    return open_plugged(location, place.where or table, partial(hidden, revealed))


def _revealing(secret: Secret | None, origin: SecretSource | None) -> Callable[[], str] | None:
    """Return a function that reveals ``secret``, and looks it up first if that was not done yet."""
    return None if origin is None else lambda: (secret or origin.resolve()).reveal()
