"""Start any of the four FTP servers by name, and make endpoints for it."""

from __future__ import annotations

import os
import random
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

from actorsync.endpoints.ftp.endpoint import FtpEndpoint
from actorsync.testing import EmbeddedFtpServer
from actorsync.testing.network.faults import Fault
from actorsync.testing.network.ftp_proxy import FaultProxy, open_fault_proxy
from actorsync.testing.network.proxy import WireFault
from tests.support import FtpTarget
from tests.support.docs.matrix import note_server
from tests.support.servers import certificates, debian_servers
from tests.support.servers.evil import EvilServer

__all__ = ["NAMES", "PYFTPDLIB", "endpoint_for", "fresh_folder", "home", "proxy_before", "serving"]

PYFTPDLIB = "pyftpdlib"
NAMES = (PYFTPDLIB, *debian_servers.NAMES)


@contextmanager
def home() -> Iterator[Path]:
    """Make a folder that other users can read, for servers under another user. The folders of pytest are private."""
    with tempfile.TemporaryDirectory(prefix="actorsync-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@contextmanager
def serving(name: str, folder: Path, options: debian_servers.Options | None = None) -> Iterator[FtpTarget]:
    """Serve an empty ``folder/root`` with one of the four servers. Without it, skip the test, or fail it in CI."""
    root = folder / "root"
    root.mkdir()
    if name == PYFTPDLIB:
        tls = options.tls if options else None
        policy = tls.policy(folder) if tls else None
        ports = options.data_ports if tls and options else None
        idle = options.idle_timeout if options else None
        port = debian_servers.free_port()  # outside the kernel's range for clients: a proxy needs the same port
        settings = {**_embedded_tls(folder, tls), "data_ports": ports, "idle_timeout": idle}
        with EmbeddedFtpServer(root, port=port, **settings) as server:
            yield FtpTarget(PYFTPDLIB, server.host, server.port, server.user, server.password, root, tls=policy)
    else:
        debian_name = cast(debian_servers.Name, name)
        debian_servers.require(debian_name)
        with debian_servers.debian_server(debian_name, root, folder, options or debian_servers.Options()) as started:
            yield started.target


def _embedded_tls(folder: Path, tls: debian_servers.Tls | None) -> dict[str, Any]:
    if tls is None:
        return {}
    return {"certificate": tls.install(folder), "is_implicit": tls.is_implicit, "tls_version": tls.version}


@asynccontextmanager
async def proxy_before(
    server: FtpTarget, *faults: Fault, data_ports: range, wire: Sequence[WireFault | None] = ()
) -> AsyncIterator[FaultProxy]:
    """Run a fault proxy for a server with TLS, at an address that is in its certificate."""
    hosts = random.sample(certificates.PROXY_HOSTS, len(certificates.PROXY_HOSTS))
    host = next(host for host in hosts if _is_free(host, data_ports))
    address = (server.host, server.port)
    async with open_fault_proxy(address, *faults, host=host, data_ports=data_ports, wire=wire) as proxy:
        yield proxy


def _is_free(host: str, ports: range) -> bool:
    try:
        for port in ports:
            socket.create_server((host, port)).close()
    except OSError:
        return False
    return True


def fresh_folder(server: FtpTarget, name: str) -> Path:
    """Make an empty folder below the root that the server can write to."""
    folder = server.root / name
    folder.mkdir()
    if server.uid is not None:
        os.chown(folder, server.uid, server.uid)
    return folder


def endpoint_for(server: FtpTarget | EmbeddedFtpServer | EvilServer, path: str = "", **settings: Any) -> FtpEndpoint:
    """Return an endpoint for a folder on the server. ``host`` may be that of a proxy on the same port."""
    note_server(getattr(server, "name", "scripted" if isinstance(server, EvilServer) else PYFTPDLIB))
    settings = {"host": server.host, "port": server.port, "tls": getattr(server, "tls", None), **settings}
    return FtpEndpoint(user=server.user, password=lambda: server.password, path=path, **settings)
