"""What the sweeps of kills share: the kinds of targets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.support import FtpTarget
from tests.support.servers import ftp, ssh_servers
from tests.support.servers.ssh_target import OPENSSH, SshTarget

__all__ = ["LOCAL", "PROFTPD", "serving"]

LOCAL: Final = "local"
PROFTPD: Final = "proftpd"


@contextmanager
def serving(name: str, folder: Path) -> Iterator[FtpTarget | SshTarget | None]:
    """Serve ``folder/root`` with the server of that name; yield None for `LOCAL`."""
    with ExitStack() as stack:
        if name == PROFTPD:
            yield stack.enter_context(ftp.serving(name, folder))
        elif name == OPENSSH:
            yield stack.enter_context(ssh_servers.serving(OPENSSH, folder))
        else:
            yield None
