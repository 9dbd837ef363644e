"""The settings and the logs of an embedded SFTP server, which its sessions read and write."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

import attrs

from actorsync.classes import define
from actorsync.testing.servers.command_log import Command, CommandLog
from actorsync.testing.servers.faults import FaultPlan, plan_of
from actorsync.testing.servers.sftp_packets import SftpRequest
from actorsync.testing.servers.sftp_quirks import Order

__all__ = ["SftpLog", "SftpSettings"]

_MUTATING = frozenset(
    [
        *("CREATE", "WRITE", "SETSTAT", "FSETSTAT", "LSETSTAT", "MKDIR", "RMDIR", "REMOVE"),
        *("RENAME", "POSIX-RENAME", "SYMLINK", "HARDLINK", "COPY-DATA"),
    ]
)


class SftpLog(CommandLog):
    """The command log of an SFTP server: ``USER``, ``KEY`` and ``PASS ***`` for each login, then the requests."""

    @property
    def mutating(self) -> list[Command]:
        """The commands that can change the tree."""
        return [command for command in self.copy() if command.verb in _MUTATING]


@functools.cache
def _host_key_of_this_process() -> bytes:
    import asyncssh

    return asyncssh.generate_private_key("ssh-ed25519").export_private_key()


@define(eq=False)
class SftpSettings:
    """Base of `EmbeddedSftpServer`, whose documentation says what each attribute means."""

    root: Path
    user: str = "demo"
    password: str | None = attrs.field(default="demo", repr=False)
    authorized_keys: Sequence[str] = ()
    host: str = "127.0.0.1"
    port: int = 0
    host_key: bytes = attrs.field(factory=_host_key_of_this_process, repr=False)
    without: AbstractSet[str] = frozenset()
    max_connections: int | None = None
    version: str = "AsyncSSH_embedded"
    order: Order = "kept"
    max_handles: int | None = None
    mixes_up_handles: bool = False
    instead: Callable[[SftpRequest], bytes | None] | None = None
    distort: Callable[[SftpRequest, bytes], bytes] | None = None
    faults: FaultPlan = attrs.field(factory=FaultPlan, converter=plan_of)

    commands: SftpLog = attrs.field(factory=SftpLog, init=False, repr=False)
    """Every login and every request, as ``(connection, verb, path)``; passwords are masked."""
    bytes_received: int = attrs.field(default=0, init=False)
    """Bytes of file content received so far, over all connections."""
    connections: int = attrs.field(default=0, init=False)
    """Number of connections accepted so far, including dropped ones."""
