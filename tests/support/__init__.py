"""What tests share: the FTP servers that they run against."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import attrs

from actorsync.endpoints.ftp.certificates import TlsPolicy
from tests.support.docs.matrix import note_server

__all__ = ["FtpTarget"]


@attrs.frozen
class FtpTarget:
    """A running FTP server as a test sees it, whichever it is. ``root`` is "/" for whoever logs in."""

    name: str
    host: str
    port: int
    user: str
    password: str = attrs.field(repr=False)
    root: Path
    uid: int | None = None
    """Who the server is when it touches files under the root; None: this process."""
    tls: TlsPolicy | None = None
    """How to reach it under TLS; None: it has none."""

    def url(self, path: str = "") -> str:
        """The URL of a path below the root; it holds the user, and no password."""
        note_server(self.name)
        return f"ftp://{quote(self.user)}@{self.host}:{self.port}/{quote(path.lstrip('/'))}"

    def adopt(self) -> None:
        """Give all that a test has put under the root to the server, which could not change it otherwise."""
        if self.uid is not None:
            for folder, _, files in os.walk(self.root):
                for path in [folder, *(os.path.join(folder, name) for name in files)]:
                    os.chown(path, self.uid, self.uid, follow_symlinks=False)
