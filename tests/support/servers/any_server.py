"""Any of the six servers, for tests that work the same with FTP and SFTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from actorsync.endpoints.ftp.endpoint import FtpEndpoint
from actorsync.endpoints.sftp.endpoint import SftpEndpoint
from tests.support import FtpTarget
from tests.support.servers import debian_servers, ftp, ssh_servers
from tests.support.servers.ssh_target import SshTarget

__all__ = ["NAMES", "AnyServer", "running"]

NAMES: tuple[str, ...] = (*ftp.NAMES, *ssh_servers.NAMES)


@attrs.frozen
class AnyServer:
    """A running server."""

    target: FtpTarget | SshTarget

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def root(self) -> Path:
        return self.target.root

    @property
    def uid(self) -> int | None:
        """The user id that the server uses for files; None: that of this process."""
        return self.target.uid

    @property
    def is_ftp(self) -> bool:
        return isinstance(self.target, FtpTarget)

    def fresh_folder(self, name: str) -> Path:
        """Make an empty folder below the root that the server can write to."""
        if isinstance(self.target, FtpTarget):
            return ftp.fresh_folder(self.target, name)
        return ssh_servers.fresh_folder(self.target, name)

    def endpoint(self, folder: Path, **settings: Any) -> FtpEndpoint | SftpEndpoint:
        """Return an endpoint for a folder below the root."""
        path = str(folder.relative_to(self.root))
        if isinstance(self.target, FtpTarget):
            return ftp.endpoint_for(self.target, f"/{path}", **settings)
        return ssh_servers.endpoint_for(self.target, path, **settings)


@contextmanager
def running(name: str, folder: Path, options: debian_servers.Options | None = None) -> Iterator[AnyServer]:
    """Serve an empty ``folder/root``. Where the server cannot run, skip the test, or fail it in CI."""
    if name in ftp.NAMES:
        with ftp.serving(name, folder, options) as target:
            yield AnyServer(target)
    else:
        with ssh_servers.serving(name, folder) as ssh_target:  # type: ignore[arg-type]
            yield AnyServer(ssh_target)
