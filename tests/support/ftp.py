"""FTP servers for tests that need more than an empty root: any of the four by name, and endpoints that lead to them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from actorsync.endpoints.ftp import FtpEndpoint
from actorsync.testing import EmbeddedFtpServer
from tests.support import FtpTarget, debian_servers
from tests.support.evil import EvilServer

__all__ = ["NAMES", "PYFTPDLIB", "endpoint_for", "fresh_folder", "home", "serving"]

PYFTPDLIB = "pyftpdlib"
NAMES = (PYFTPDLIB, *debian_servers.NAMES)


@contextmanager
def home() -> Iterator[Path]:
    """Make a folder that a server under another user can reach; those of pytest are closed to others."""
    with tempfile.TemporaryDirectory(prefix="actorsync-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@contextmanager
def serving(name: str, folder: Path, options: debian_servers.Options | None = None) -> Iterator[FtpTarget]:
    """Serve an empty ``folder/root`` with one of the four servers; skip, or fail in CI, where it cannot run."""
    root = folder / "root"
    root.mkdir()
    if name == PYFTPDLIB:
        with EmbeddedFtpServer(root) as server:
            yield FtpTarget(PYFTPDLIB, server.host, server.port, server.user, server.password, root)
    else:
        debian_name = cast(debian_servers.Name, name)
        debian_servers.require(debian_name)
        with debian_servers.debian_server(debian_name, root, folder, options or debian_servers.Options()) as started:
            yield started.target


def fresh_folder(server: FtpTarget, name: str) -> Path:
    """Make an empty folder below the root, which the server may write to."""
    folder = server.root / name
    folder.mkdir()
    if server.uid is not None:
        os.chown(folder, server.uid, server.uid)
    return folder


def endpoint_for(server: FtpTarget | EmbeddedFtpServer | EvilServer, path: str = "", **settings: Any) -> FtpEndpoint:
    """Give an endpoint for a folder on the server. ``host`` may name a proxy before it, on the same port."""
    settings = {"host": server.host, "port": server.port, **settings}
    return FtpEndpoint(user=server.user, password=lambda: server.password, path=path, **settings)
