"""Who we are to an SSH server, and which host keys it may have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import attrs

__all__ = ["HostTrust", "ShownHostKey", "SshLogin"]


@attrs.frozen
class SshLogin:
    """What is offered to the server, in this order: ``key_file``, the agent, the password.

    With none of the three, the agent and the user's usual key files (``~/.ssh/id_*``) are tried, as ``ssh`` does. The
    secrets are asked for once, at the first login that needs them; the calls may block.
    """

    user: str
    key_file: Path | None = None
    passphrase: Callable[[], str] | None = attrs.field(default=None, repr=False)
    password: Callable[[], str] | None = attrs.field(default=None, repr=False)
    agent: bool | None = None
    """Use the agent at ``$SSH_AUTH_SOCK``. None: only when there is neither a key file nor a password."""
    table: str = "target"
    """Where the profile says all this, for errors."""


@attrs.frozen
class HostTrust:
    """Which host keys are believed.

    ``host_key`` (``"SHA256:..."``, as ``ssh-keygen -l`` shows it) pins one key, and nothing else counts then. Without
    it, ``known_hosts`` and the machine's ``/etc/ssh/ssh_known_hosts`` decide; ``~/.ssh/config`` is never read.
    """

    known_hosts: Path
    host_key: str | None = None
    table: str = "target"
    """Where the profile says this, for errors."""


@attrs.frozen
class ShownHostKey:
    """The key that a server shows, and what the user's files say of it.

    ``line`` is what makes it known when it is added to the known_hosts file.
    """

    algorithm: str
    fingerprint: str
    line: str
    standing: Literal["known", "unknown", "changed", "revoked"]
