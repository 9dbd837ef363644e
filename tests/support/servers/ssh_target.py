"""An SFTP server as tests see it, and endpoints for it. `ssh_servers` starts one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import attrs

from actorsync.endpoints.ssh.settings import HostTrust, SshLogin
from tests.support.docs.matrix import note_server

if TYPE_CHECKING:
    from actorsync.endpoints.sftp.endpoint import SftpEndpoint

__all__ = ["ASYNCSSH", "NAMES", "OPENSSH", "Name", "SshTarget", "endpoint_for"]

Name = Literal["openssh", "asyncssh"]
OPENSSH: Name = "openssh"
ASYNCSSH: Name = "asyncssh"
NAMES: tuple[Name, ...] = (OPENSSH, ASYNCSSH)


@attrs.frozen
class SshTarget:
    """Any running SFTP server: how to log in, and its files."""

    name: str
    host: str
    port: int
    user: str
    password: str = attrs.field(repr=False)
    client_key: Path
    known_hosts: Path
    root: Path
    uid: int | None = None
    """The user id that the server uses for files; None: that of this process."""

    @property
    def trust(self) -> HostTrust:
        """The host key of this server only."""
        return HostTrust(self.known_hosts)

    @property
    def login(self) -> SshLogin:
        """A login with the key."""
        return SshLogin(self.user, key_file=self.client_key)

    @property
    def password_login(self) -> SshLogin:
        """A login with the password."""
        return SshLogin(self.user, password=lambda: self.password)

    def url(self, path: str = "") -> str:
        """Return the URL of a path below the root, with the user name and without the password."""
        note_server(self.name)
        below = f"~/{quote(path.lstrip('/'))}" if path.strip("/") else ""
        return f"sftp://{quote(self.user)}@{self.host}:{self.port}/{below}"

    def adopt(self) -> None:
        """Change the owner of everything below the root to the server's user, so that the server can change it."""
        if self.uid is not None:
            for folder, _, files in os.walk(self.root):
                for path in [folder, *(os.path.join(folder, name) for name in files)]:
                    os.chown(path, self.uid, self.uid, follow_symlinks=False)


def endpoint_for(server: SshTarget, path: str = "", **settings: Any) -> SftpEndpoint:
    """Return an endpoint for a folder on the server. ``host`` may be that of a proxy on the same port."""
    from actorsync.endpoints.sftp.endpoint import SftpEndpoint

    note_server(server.name)
    known: dict[str, Any] = {"host": server.host, "port": server.port, "login": server.login, "trust": server.trust}
    return SftpEndpoint(**{**known, "path": path, **settings})
