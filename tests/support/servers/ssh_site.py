"""A folder on an SFTP server behind a proxy, and runs that mirror to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from actorsync.endpoints.contract import Endpoint
from actorsync.testing.network.proxy import WireFault, WireProxy, open_wire_proxy
from tests.support.mirror import Run, contents, mirror, times
from tests.support.servers.ssh_servers import fresh_folder
from tests.support.servers.ssh_target import SshTarget, endpoint_for

__all__ = ["Site", "site_on"]


class Site:
    """A folder on a server, the proxy for it, and a journal."""

    def __init__(self, server: SshTarget, proxy: WireProxy, name: str, journal: Path) -> None:
        self.server, self.proxy, self.path, self.journal = server, proxy, name, journal
        self.root = server.root / name

    def endpoint(self, **settings: Any) -> Endpoint:
        """Return an endpoint for the folder through the proxy."""
        return endpoint_for(self.server, self.path, **{"host": self.proxy.host, **settings})

    async def run(self, source: Path, *, delete: bool = True, connections: int = 2, **settings: Any) -> Run:
        """Run once through the proxy."""
        return await mirror(source, self.endpoint(**settings), self.journal, delete=delete, connections=connections)

    async def succeed(self, source: Path, **settings: Any) -> Run:
        """Run once; check that the run succeeds and that both sides are equal afterwards."""
        run = await self.run(source, **settings)
        assert (run.report.exit_code, run.failures) == (0, {})
        assert contents(self.root) == contents(source)
        assert times(self.root) == times(source)
        return run

    async def assert_nothing_to_do(self, source: Path) -> None:
        """Run once; check that the run does not connect."""
        before = self.proxy.connections
        run = await self.run(source)
        assert run.report.exit_code == 0
        assert self.proxy.connections == before


@asynccontextmanager
async def site_on(
    server: SshTarget, name: str, tmp_path: Path, faults: Sequence[WireFault | None] = (), **network: int
) -> AsyncIterator[Site]:
    """Make a new folder on a server, and a proxy with these faults."""
    fresh_folder(server, name)
    async with open_wire_proxy((server.host, server.port), faults, **network) as proxy:
        yield Site(server, proxy, name, tmp_path / "journal")
