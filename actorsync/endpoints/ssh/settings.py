"""The login for an SSH server, the jump hosts on the way to it, and the host keys that are trusted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import attrs

from actorsync.classes import frozen
from actorsync.endpoints.shared.home import home_directory

__all__ = ["HostTrust", "JumpHost", "OneTimeCodes", "ShownHostKey", "SshLogin", "usual_key_files"]


def usual_key_files() -> tuple[Path, ...]:
    """Return the key files that a login tries when none is configured, whether they exist or not."""
    home = home_directory()
    return () if home is None else tuple(Path(home, ".ssh", name) for name in ("id_ed25519", "id_ecdsa", "id_rsa"))


class OneTimeCodes(Protocol):
    """Where the codes of a second factor come from. Each code is sent once: servers reject a code that was used."""

    def next(self) -> str:
        """Return a code that was not sent before. May block, and may return the same code again if it was not sent.

        Raises `LoginRefused` if there is no other code.
        """

    def note_sent(self, code: str) -> None:
        """Note that ``code`` was sent."""


@frozen
class JumpHost:
    """A server that the connection to the next one goes through.

    The keys and the agent of the login are offered to it, and never the password or a code.
    """

    host: str
    port: int
    user: str
    identity_files: tuple[Path, ...] | None = None
    """Key files to try instead of the default ones, without a passphrase. None: the default ones."""

    @property
    def name(self) -> str:
        """The jump host as it is written in a profile."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}" if self.port == 22 else f"{self.user}@{host}:{self.port}"


@frozen
class SshLogin:
    """The credentials to offer to the server, in this order: ``key_file``, the agent, the password.

    With none of the three, the agent and the user's default key files (``~/.ssh/id_*``) are tried, as ``ssh`` does.
    ``passphrase`` and ``password`` are called once, at the first login that needs them; they may block.
    """

    user: str
    key_file: Path | None = None
    passphrase: Callable[[], str] | None = attrs.field(default=None, repr=False)
    password: Callable[[], str] | None = attrs.field(default=None, repr=False)
    agent: bool | None = None
    """Whether to use the agent at ``$SSH_AUTH_SOCK``. None: only without a key file and a password."""
    certificate_files: tuple[Path, ...] = ()
    """Certificates for ``key_file``, or for keys in the agent. Without any, ``<key_file>-cert.pub`` is used."""
    identity_files: tuple[Path, ...] | None = None
    """Key files to try instead of the default ones, without a passphrase. None: the default ones."""
    codes: OneTimeCodes | None = attrs.field(default=None, repr=False)
    """The codes of a second factor. With them, one login serves all sessions."""
    table: str = "target"
    """The profile's table with these settings, for error messages."""


@frozen
class HostTrust:
    """The host keys that are trusted.

    ``host_key`` (``"SHA256:..."``, as ``ssh-keygen -l`` shows it) pins one key, and no other key is trusted. Without a
    pin, ``known_hosts`` and the machine's ``/etc/ssh/ssh_known_hosts`` decide. ``~/.ssh/config`` is never read.
    """

    known_hosts: Path
    host_key: str | None = None
    table: str = "target"
    """The profile's table with these settings, for error messages."""


@frozen
class ShownHostKey:
    """The host key that a server sent, and how it compares with the user's known_hosts files.

    ``standing`` is "known" for a trusted key, "changed" when another key is trusted for the host, "unknown" when no key
    is, and "revoked" for a key that is marked so. ``line`` is the line to add to a known_hosts file to trust the key.
    """

    algorithm: str
    fingerprint: str
    line: str
    standing: Literal["known", "unknown", "changed", "revoked"]
