"""Host keys: the comparison with the known_hosts files or the pin, and what to say of a key that is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import attrs

from actorsync.classes import frozen
from actorsync.endpoints.ssh.import_asyncssh import asyncssh
from actorsync.endpoints.ssh.settings import HostTrust, ShownHostKey
from actorsync.errors import LoginRefused
from actorsync.model.text import display

__all__ = ["HOST_KEY_ALGORITHMS", "HostKeys", "read_host_keys"]

_SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")

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


@frozen
class HostKeys:
    """The keys of one host according to the known_hosts files, or the pin."""

    name: str
    """The host as known_hosts files write it: ``host``, or ``[host]:port`` for other ports than 22."""
    trust: HostTrust
    trusted: tuple[asyncssh.SSHKey, ...] = ()
    authorities: tuple[asyncssh.SSHKey, ...] = ()
    revoked: tuple[asyncssh.SSHKey, ...] = ()
    refused: frozenset[str] = frozenset()
    """Algorithms of keys that the server has shown and that are not trusted. They are offered last."""

    @property
    def algorithms(self) -> list[str]:
        """The algorithms to offer, those of trusted keys first: a server may have other keys that are not listed."""
        known = {name.decode() for key in self.trusted for name in key.sig_algorithms}
        certificates = [f"{name}-cert-v01@openssh.com" for name in HOST_KEY_ALGORITHMS] if self.authorities else []
        plain = sorted(HOST_KEY_ALGORITHMS, key=lambda name: (name in self.refused, name not in known))
        return certificates + plain

    def preferring_others(self, key: asyncssh.SSHKey) -> HostKeys | None:
        """Return the same keys, but offer algorithms like those of ``key`` last; None if they were already last.

        A server shows one key in each connection, of the first offered kind that it has. A fingerprint does not tell
        the kind of its key, so the kinds are tried one after the other. A server without another kind shows the same
        key again: if its kind were not offered at all, it would break the connection, and not say why.
        """
        names = {name.decode() for name in key.sig_algorithms}
        return None if names <= self.refused else attrs.evolve(self, refused=self.refused | names)

    def after_refusal(self, key: asyncssh.SSHKey | None) -> HostKeys | None:
        """Return what to offer after ``key`` was refused, or None if no other key of the server can be trusted.

        ``key`` is None after a certificate that is not valid. As in ssh, the plain key may be trusted by its own line.
        """
        if key is None:
            return attrs.evolve(self, authorities=()) if self.authorities and self.trusted else None
        return self.preferring_others(key) if self.trust.host_key is not None else None

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

    def why_invalid(self, reason: str) -> str:
        """Return one line: why the connection to a server with an invalid host certificate is refused."""
        return (
            f"the server's host certificate is not valid: {reason}; ask its administrator for a valid certificate with "
            f"the name in {self.trust.table}.url, or add the line of its key to {display(str(self.trust.known_hosts))}"
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
    if name != host:  # names in certificates have no port, so an authority counts for all ports, as in ssh
        _, of_host, revoked_of_host, *_ = known.match(host, "", None)
        authorities, revoked = [*authorities, *of_host], [*revoked, *revoked_of_host]
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
