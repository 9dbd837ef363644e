"""Host keys against the user's files, and the keys that we log in with."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import attrs

from actorsync.endpoints.ssh.import_asyncssh import asyncssh
from actorsync.endpoints.ssh.settings import HostTrust, ShownHostKey, SshLogin
from actorsync.errors import LoginRefused
from actorsync.model.text import display

__all__ = ["HOST_KEY_ALGORITHMS", "HostKeys", "load_client_keys", "read_host_keys"]

_MACHINES_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")
_USUAL_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")

#: What a server may prove itself with, the best first. No SHA-1.
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
    """What the user's files, or a pin, say of one host."""

    name: str
    """The host as known_hosts files name it: with the port in brackets, unless it is 22."""
    trust: HostTrust
    trusted: tuple[asyncssh.SSHKey, ...] = ()
    authorities: tuple[asyncssh.SSHKey, ...] = ()
    revoked: tuple[asyncssh.SSHKey, ...] = ()

    @property
    def algorithms(self) -> list[str]:
        """What to ask the server for: what it is known by comes first, or another of its keys would look like news."""
        known = {name.decode() for key in self.trusted for name in key.sig_algorithms}
        certificates = [f"{name}-cert-v01@openssh.com" for name in HOST_KEY_ALGORITHMS] if self.authorities else []
        return certificates + sorted(HOST_KEY_ALGORITHMS, key=lambda name: name not in known)

    def standing(self, key: asyncssh.SSHKey) -> Standing:
        """Say what to think of ``key``."""
        if self.trust.host_key is not None:
            return "known" if key.get_fingerprint("sha256") == self.trust.host_key else "changed"
        if key in self.revoked:
            return "revoked"
        if key in self.trusted:
            return "known"
        return "changed" if self.trusted or self.authorities else "unknown"

    def shown(self, key: asyncssh.SSHKey) -> ShownHostKey:
        """Describe ``key``."""
        kind, base64 = key.export_public_key("openssh").decode().split()[:2]
        line = f"{self.name} {kind} {base64}"
        return ShownHostKey(kind, key.get_fingerprint("sha256"), line, self.standing(key))

    def why_refused(self, key: asyncssh.SSHKey) -> str:
        """Say in a line why a server with this key is not talked to, and what to do."""
        shown = self.shown(key)
        named = f"{shown.algorithm} {shown.fingerprint}"
        files = display(str(self.trust.known_hosts))
        if self.trust.host_key is not None:
            pinned = f"{self.trust.table}.host-key pins {self.trust.host_key}"
            return f"the server's host key is {named}, and {pinned}: not this server"
        if shown.standing == "revoked":
            return f"the server's host key {named} is marked as revoked in {files}: do not trust this server"
        if shown.standing == "changed":
            return (
                f"THE HOST KEY HAS CHANGED: the server shows {named}, {files} has another for {self.name}; somebody "
                "may be listening in, or the server was set up anew: ask its owner, and only then remove the old line"
            )
        command = "actorsync trust --source" if self.trust.table == "source" else "actorsync trust"
        return (
            f"the server's host key is not known: {named}; when its owner confirms it, run {command}, or add "
            f"this line to {files}: {shown.line}"
        )


def read_host_keys(host: str, port: int, trust: HostTrust) -> HostKeys:
    """Read what the files say of a host. Files that are not there say nothing; lines that make no sense neither."""
    name = host if port == 22 else f"[{host}]:{port}"
    if trust.host_key is not None:
        return HostKeys(name, trust)
    known = asyncssh.SSHKnownHosts()
    for path in (trust.known_hosts, _MACHINES_KNOWN_HOSTS):
        for line in _lines(path):
            with contextlib.suppress(ValueError):
                known.load(_without_empty_names(line))
    # The name only: a server must not be believed because its address once was another's. With the port in the name,
    # because the key of one port says nothing of another.
    trusted, authorities, revoked, *_ = known.match(name, "", None)
    return HostKeys(name, trust, tuple(trusted), tuple(authorities), tuple(revoked))


def _without_empty_names(line: str) -> str:
    """Take the empty names out of a line (``"host, ssh-ed25519 ..."``): to the library one would be any host's name."""
    words = line.split(maxsplit=2)
    place = 1 if line.lstrip().startswith("@") else 0
    if len(words) <= place:
        return line
    words[place] = ",".join(name for name in words[place].split(",") if name)
    return " ".join(words) if words[place] else ""


def _lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise LoginRefused(f"{display(str(path))} cannot be read: {error.strerror}") from error


def load_client_keys(login: SshLogin, passphrase: Callable[[], str | None]) -> list[asyncssh.SSHKeyPair]:
    """Load the keys to log in with: the one that is named, or the usual ones that need no passphrase.

    Raises:
        LoginRefused: the named one cannot be used.
    """
    if login.key_file is not None:
        return _named_key(login.key_file, passphrase, login.table)
    if login.password is not None or login.agent is False:
        return []
    keys: list[asyncssh.SSHKeyPair] = []
    for name in _USUAL_KEYS:
        path = Path.home() / ".ssh" / name
        with contextlib.suppress(OSError, ValueError):  # every error about a key is a ValueError
            keys += asyncssh.load_keypairs([str(path)])
    return keys


def _named_key(path: Path, passphrase: Callable[[], str | None], table: str) -> list[asyncssh.SSHKeyPair]:
    shown = display(str(path))
    try:
        if path.stat().st_mode & 0o077 and path.stat().st_uid == os.geteuid():
            raise LoginRefused(f"{shown} is a key that others can read; run: chmod 600 {shown}")
        try:
            return list(asyncssh.load_keypairs([str(path)]))
        except (asyncssh.KeyEncryptionError, asyncssh.KeyImportError) as error:
            # Only now, and not for what is no key: it may be asked for on a terminal.
            words = passphrase() if _needs_passphrase(error) else None
            if words is None:
                raise
            return list(asyncssh.load_keypairs([str(path)], words))
    except OSError as error:
        raise LoginRefused(f"{shown} cannot be read: {error.strerror}; set {table}.key-file") from error
    except asyncssh.KeyEncryptionError:
        raise LoginRefused(f"{shown} has another passphrase than {table}.passphrase gives") from None
    except asyncssh.KeyImportError as error:
        needs = _needs_passphrase(error)
        way_out = f"it needs a passphrase; set {table}.passphrase" if needs else "it is not a private key"
        raise LoginRefused(f"{shown} cannot be used: {way_out}") from None
    except ValueError:
        beside = f"{shown}.pub or {shown}-cert.pub"
        raise LoginRefused(f"{shown} cannot be used: {beside} is there and does not belong to it") from None


def _needs_passphrase(error: Exception) -> bool:
    return isinstance(error, asyncssh.KeyEncryptionError) or "passphrase" in str(error).lower()
