"""Shared parts of the tests. This file holds the FTP server as a test sees it."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import attrs

from actorsync.endpoints.ftp.wire.certificates import TlsPolicy
from tests.support.docs.matrix import note_server

__all__ = ["FtpTarget"]


@attrs.frozen
class FtpTarget:
    """Any running FTP server: how to log in, and its files. Clients see ``root`` as "/"."""

    name: str
    host: str
    port: int
    user: str
    password: str = attrs.field(repr=False)
    root: Path
    uid: int | None = None
    """The user id that the server uses for files; None: that of this process."""
    tls: TlsPolicy | None = None
    """How clients connect with TLS; None for a server without TLS."""

    def url(self, path: str = "") -> str:
        """Return the URL of a path below the root, with the user name and without the password."""
        note_server(self.name)
        return f"ftp://{quote(self.user)}@{self.host}:{self.port}/{quote(path.lstrip('/'))}"

    def adopt(self) -> None:
        """Change the owner of everything below the root to the server's user, so that the server can change it."""
        if self.uid is not None:
            for folder, _, files in os.walk(self.root):
                for path in [folder, *(os.path.join(folder, name) for name in files)]:
                    os.chown(path, self.uid, self.uid, follow_symlinks=False)
