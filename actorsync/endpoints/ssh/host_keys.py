"""Host keys: the comparison with the known_hosts files. Client keys: how they are loaded."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import attrs

from actorsync.endpoints.shared.home import home_directory
from actorsync.endpoints.shared.private_files import is_exposed
from actorsync.endpoints.ssh.import_asyncssh import asyncssh
from actorsync.endpoints.ssh.settings import HostTrust, ShownHostKey, SshLogin
from actorsync.errors import LoginRefused
from actorsync.model.text import display

__all__ = ["HOST_KEY_ALGORITHMS", "HostKeys", "load_client_keys", "read_host_keys"]

_SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")

#: The signature algorithms that are accepted from a server, the best first. None uses SHA-1.
HOST_KEY_ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)

Standing = Literal["known", "unknown", "changed", "revoked"]


@attrs.frozen
class HostKeys:
    """The keys of one host according to the known_hosts files, or the pin."""

    name: str
    """The host as known_hosts files write it: ``host``, or ``[host]:port`` for other ports than 22."""
    trust: HostTrust
    trusted: tuple[asyncssh.SSHKey, ...] = ()
    authorities: tuple[asyncssh.SSHKey, ...] = ()
    revoked: tuple[asyncssh.SSHKey, ...] = ()

    @property
    def algorithms(self) -> list[str]:
        """The algorithms to offer, those of trusted keys first: a server may have other keys that are not listed."""
        known = {name.decode() for key in self.trusted for name in key.sig_algorithms}
        certificates = [f"{name}-cert-v01@openssh.com" for name in HOST_KEY_ALGORITHMS] if self.authorities else []
        return certificates + sorted(HOST_KEY_ALGORITHMS, key=lambda name: name not in known)

    def standing(self, key: asyncssh.SSHKey) -> Standing:
        """Compare a key with the files or the pin; see `ShownHostKey`."""
        if self.trust.host_key is not None:
            return "known" if key.get_fingerprint("sha256") == self.trust.host_key else "changed"
        if key in self.revoked:
            return "revoked"
        if key in self.trusted:
            return "known"
        return "changed" if self.trusted or self.authorities else "unknown"

    def shown(self, key: asyncssh.SSHKey) -> ShownHostKey:
        """Return a key with its fingerprint and standing."""
        kind, base64 = key.export_public_key("openssh").decode().split()[:2]
        line = f"{self.name} {kind} {base64}"
        return ShownHostKey(kind, key.get_fingerprint("sha256"), line, self.standing(key))

    def why_refused(self, key: asyncssh.SSHKey) -> str:
        """Return one line: why the connection to a server with this key is refused, and what to do."""
        shown = self.shown(key)
        named = f"{shown.algorithm} {shown.fingerprint}"
        files = display(str(self.trust.known_hosts))
        if self.trust.host_key is not None:
            setting = f"{self.trust.table}.host-key"
            return (
                f"the server's host key is {named}, but {setting} pins {self.trust.host_key}; change {setting} only if "
                "the server's administrator confirms the new key"
            )
        if shown.standing == "revoked":
            return (
                f"the server's host key {named} is marked as revoked in {files}: do not trust this server; ask its "
                "administrator for a new key"
            )
        if shown.standing == "changed":
            return (
                f"THE HOST KEY HAS CHANGED: the server sent {named}, but {files} has another key for {self.name}; this "
                "may be an attack, or the server was reinstalled: ask its administrator before you remove the old line"
            )
        command = "actorsync trust --source" if self.trust.table == "source" else "actorsync trust"
        return (
            f"the server's host key is unknown: {named}; if its administrator confirms the key, run {command}, or add "
            f"this line to {files}: {shown.line}"
        )


def read_host_keys(host: str, port: int, trust: HostTrust) -> HostKeys:
    """Read the keys of a host from the known_hosts files. Missing files and invalid lines are skipped.

    Raises:
        LoginRefused: a file cannot be read, so a revoked key could go unnoticed.
    """
    name = host if port == 22 else f"[{host}]:{port}"
    if trust.host_key is not None:
        return HostKeys(name, trust)
    known = asyncssh.SSHKnownHosts()
    for path in (trust.known_hosts, _SYSTEM_KNOWN_HOSTS):
        for line in _lines(path):
            with contextlib.suppress(ValueError):
                known.load(_without_empty_names(line))
    # Only the name is matched, because the address may have belonged to another server before. The port is part of the
    # name, because each port of a host may have its own key.
    trusted, authorities, revoked, *_ = known.match(name, "", None)
    return HostKeys(name, trust, tuple(trusted), tuple(authorities), tuple(revoked))


def _without_empty_names(line: str) -> str:
    """Remove empty names from a line (``"host, ssh-ed25519 ..."``); asyncssh would match them with every host."""
    words = line.split(maxsplit=2)
    index = 1 if line.lstrip().startswith("@") else 0  # after a marker
    if len(words) <= index:
        return line
    words[index] = ",".join(name for name in words[index].split(",") if name)
    return " ".join(words) if words[index] else ""


def _lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise LoginRefused(f"{display(str(path))} cannot be read: {error.strerror}; make it a readable file") from error


def load_client_keys(login: SshLogin, passphrase: Callable[[], str | None]) -> list[asyncssh.SSHKeyPair]:
    """Load the keys to log in with: the configured one, or the default ones that need no passphrase.

    ``passphrase`` is called only for a configured key that needs one.

    Raises:
        LoginRefused: the configured key cannot be used.
    """
    if login.key_file is not None:
        return _configured_key(login.key_file, passphrase, login.table)
    if login.password is not None or login.agent is False:
        return []
    keys: list[asyncssh.SSHKeyPair] = []
    home = home_directory()
    for name in _DEFAULT_KEYS if home is not None else ():
        path = Path(home or "/", ".ssh", name)
        with contextlib.suppress(OSError, ValueError):  # all of asyncssh's errors about keys are ValueErrors
            keys += asyncssh.load_keypairs([str(path)])
    return keys


def _configured_key(path: Path, passphrase: Callable[[], str | None], table: str) -> list[asyncssh.SSHKeyPair]:
    shown = display(str(path))
    try:
        status = path.stat()
        if status.st_uid == os.geteuid() and is_exposed(path, status):
            raise LoginRefused(f"{shown} is a private key that others can read; run: chmod 600 {shown}")
        try:
            return list(asyncssh.load_keypairs([str(path)]))
        except (asyncssh.KeyEncryptionError, asyncssh.KeyImportError) as error:
            # Only for a key that needs it, because the user may be asked on a terminal.
            secret = passphrase() if _needs_passphrase(error) else None
            if secret is None:
                raise
            return list(asyncssh.load_keypairs([str(path)], secret))
    except OSError as error:
        raise LoginRefused(f"{shown} cannot be read: {error.strerror}; set {table}.key-file") from error
    except asyncssh.KeyEncryptionError:
        raise LoginRefused(f"{shown} cannot be used: {table}.passphrase is not its passphrase; correct it") from None
    except asyncssh.KeyImportError as error:
        needs = _needs_passphrase(error)
        why = (
            f"it needs a passphrase; set {table}.passphrase"
            if needs
            else f"it is not a private key; set {table}.key-file"
        )
        raise LoginRefused(f"{shown} cannot be used: {why}") from None
    except ValueError:
        other = f"{shown}.pub or {shown}-cert.pub"
        raise LoginRefused(f"{shown} cannot be used: {other} belongs to another key; remove or replace it") from None


def _needs_passphrase(error: Exception) -> bool:
    return isinstance(error, asyncssh.KeyEncryptionError) or "passphrase" in str(error).lower()
