"""The keys to log in with: how they are loaded, and what to say of a file that is not such a key."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path

from actorsync.endpoints.shared.private_files import is_exposed
from actorsync.endpoints.ssh.import_asyncssh import asyncssh
from actorsync.endpoints.ssh.settings import SshLogin, usual_key_files
from actorsync.errors import LoginRefused
from actorsync.model.text import display

__all__ = ["load_certificates", "load_client_keys"]

_MAX_BYTES = 100_000
_PUBLIC = re.compile(
    rb"(ssh-|ecdsa-|sk-ssh-|sk-ecdsa-)[a-z0-9@.-]+ AAAA|---- BEGIN SSH2 PUBLIC KEY|-----BEGIN PUBLIC KEY"
)
_ARMOR = re.compile(rb"-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----(.*?)(-----END|\Z)", re.DOTALL)


def load_client_keys(login: SshLogin, passphrase: Callable[[], str | None]) -> list[asyncssh.SSHKeyPair]:
    """Load the keys to log in with: the configured one, or the default ones that need no passphrase.

    A key with a certificate comes with it first, and then alone. ``passphrase`` is called only for a configured key
    that needs one.

    Raises:
        LoginRefused: the configured key or its certificate cannot be used.
    """
    certificates = load_certificates(login)
    if login.key_file is not None:
        return _configured_key(login.key_file, certificates, passphrase, login.table)
    if login.password is not None or login.agent is False:
        return []
    paths = usual_key_files() if login.identity_files is None else login.identity_files
    keys: list[asyncssh.SSHKeyPair] = []
    for path in paths:
        with contextlib.suppress(OSError, ValueError):  # all of asyncssh's errors about keys are ValueErrors
            keys += asyncssh.load_keypairs([str(path)], certlist=certificates)
    return keys


def load_certificates(login: SshLogin) -> list[asyncssh.SSHCertificate]:
    """Load the configured certificates. Raises `LoginRefused` if one of them cannot be used."""
    certificates: list[asyncssh.SSHCertificate] = []
    for path in login.certificate_files:
        shown, key = display(str(path)), f"{login.table}.certificate-file"
        try:
            found = asyncssh.load_certificates(str(path))
        except OSError as error:
            raise LoginRefused(f"{shown} cannot be read: {error.strerror}; set {key}") from error
        except ValueError:
            found = ()
        if not found:
            raise LoginRefused(f"{shown} is not a certificate; set {key} to a file like id_ed25519-cert.pub")
        certificates += found
    return certificates


def _configured_key(
    path: Path,
    certificates: list[asyncssh.SSHCertificate],
    passphrase: Callable[[], str | None],
    table: str,
) -> list[asyncssh.SSHKeyPair]:
    shown = display(str(path))
    try:
        status = path.stat()
        if status.st_uid == os.geteuid() and is_exposed(path, status):
            raise LoginRefused(f"{shown} is a private key that others can read; run: chmod 600 {shown}")
        try:
            keys = list(asyncssh.load_keypairs([str(path)], certlist=certificates))
        except (asyncssh.KeyEncryptionError, asyncssh.KeyImportError) as error:
            # Only for a key that needs it, because the user may be asked on a terminal.
            secret = passphrase() if _needs_passphrase(error) else None
            if secret is None:
                raise
            keys = list(asyncssh.load_keypairs([str(path)], secret, certlist=certificates))
    except OSError as error:
        raise LoginRefused(f"{shown} cannot be read: {error.strerror}; set {table}.key-file") from error
    except asyncssh.KeyEncryptionError:
        raise LoginRefused(f"{shown} cannot be used: {table}.passphrase is not its passphrase; correct it") from None
    except asyncssh.KeyImportError as error:
        needs = _needs_passphrase(error)
        why = f"it needs a passphrase; set {table}.passphrase" if needs else _why_unusable(path, table)
        raise LoginRefused(f"{shown} cannot be used: {why}") from None
    except ValueError:
        other = f"{shown}.pub or {shown}-cert.pub"
        raise LoginRefused(f"{shown} cannot be used: {other} belongs to another key; remove or replace it") from None
    if any(key.algorithm.startswith(b"sk-") for key in keys):
        raise LoginRefused(
            f"{shown} is the key of a security token, which only the SSH agent can use; run: ssh-add {shown}, set "
            f"{table}.agent = true, and remove {table}.key-file"
        )
    if certificates and not any(key.has_cert for key in keys):
        raise LoginRefused(f"{shown} cannot be used: {table}.certificate-file is for another key; correct one of them")
    return keys


def _why_unusable(path: Path, table: str) -> str:
    """Return what a file is instead of a private key, and what to do."""
    data = path.read_bytes()[:_MAX_BYTES]
    start = data.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        return f"it is empty; write the private key to it, or set {table}.key-file to another file"
    if start.startswith(b"PuTTY-User-Key-File"):
        return "it is a key of PuTTY; convert it: puttygen key.ppk -O private-openssh -o key"
    if b"-cert-v01@openssh.com " in start[:100]:
        return (
            f"it is a certificate; set {table}.key-file to the private key, and {table}.certificate-file to this file"
        )
    if _PUBLIC.match(start):
        return f"it is the public half of a key; set {table}.key-file to the private key, usually without .pub"
    if (kind := _ARMOR.search(data)) is None:
        return f"it is not a private key; set {table}.key-file"
    if kind[1].startswith(b"DSA "):
        return "it is a DSA key, which servers do not accept any more; make a new one: ssh-keygen -t ed25519"
    return "its lines are damaged, or its format is not known; copy the file again without changing its line breaks"


def _needs_passphrase(error: Exception) -> bool:
    return isinstance(error, asyncssh.KeyEncryptionError) or "passphrase" in str(error).lower()
