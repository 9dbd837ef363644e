"""A side of a mirror for tests: a directory on this machine, or one on any of the servers."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import attrs

from actorsync.endpoints.contract import Endpoint
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.testing.network.faults import Fault, Throttle
from actorsync.testing.network.ftp_proxy import open_fault_proxy
from actorsync.testing.network.proxy import WireFault, open_wire_proxy
from tests.support.servers import debian_servers
from tests.support.servers.any_server import AnyServer, running
from tests.support.servers.ftp import home

__all__ = ["FTPES", "HIDING", "LOCAL", "OLD", "Side", "Sides", "fill", "put"]

LOCAL = "local"
#: vsftpd with TLS for commands and data.
FTPES = "ftpes"
#: Servers that are told to show what a link leads to in place of the link.
HIDING = {"hiding-proftpd": "proftpd", "hiding-pure-ftpd": "pure-ftpd"}
#: A time far in the past, in seconds.
OLD = 1_600_000_000

#: Short timeouts, for servers on the same machine.
_QUICK = {"stall_seconds": 1.5, "connect_seconds": 3.0}

_numbers = itertools.count(1)


@attrs.frozen
class Side:
    """An empty directory. ``server`` is None for a local one."""

    root: Path
    server: AnyServer | None = None

    @property
    def name(self) -> str:
        return LOCAL if self.server is None else self.server.name

    def endpoint(self, **settings: Any) -> Endpoint:
        """Return an endpoint for the directory. ``host`` may be that of a proxy."""
        if self.server is None:
            return LocalEndpoint(self.root)
        return self.server.endpoint(self.root, **settings)

    @property
    def address(self) -> tuple[str, int]:
        assert self.server is not None
        return self.server.target.host, self.server.target.port

    @property
    def path(self) -> str:
        """The path on the server."""
        assert self.server is not None
        below = str(self.root.relative_to(self.server.root))
        return f"/{below}" if self.server.is_ftp else below

    @asynccontextmanager
    async def disturbed(
        self, *faults: Fault, wire: Sequence[WireFault | None] = (), rate: int = 0
    ) -> AsyncIterator[Endpoint]:
        """Yield an endpoint behind a proxy with network faults: ``faults`` for FTP, ``wire`` for SFTP.

        ``rate`` limits each connection that carries data, in bytes a second.
        """
        if rate:
            faults = (*faults, Throttle(rate))
        if self.server is None:
            yield self.endpoint()
        elif self.server.is_ftp:
            async with open_fault_proxy(self.address, *faults) as proxy:
                yield self.endpoint(host=proxy.host, **_QUICK)
        else:
            async with open_wire_proxy(self.address, wire, rate=rate) as wire_proxy:
                yield self.endpoint(host=wire_proxy.host, **_QUICK)

    def adopt(self) -> None:
        """Change the owner of everything to the server's user, so that the server can change it."""
        if self.server is not None and self.server.uid is not None:
            for folder, _, files in os.walk(self.root):
                for path in [folder, *(os.path.join(folder, name) for name in files)]:
                    os.chown(path, self.server.uid, self.server.uid, follow_symlinks=False)


@attrs.define
class Sides:
    """Makes sides. Each server is started when it is first used."""

    folder: Path
    _stack: ExitStack
    _servers: dict[str, AnyServer] = attrs.Factory(dict)

    @classmethod
    @contextmanager
    def made(cls) -> Iterator[Sides]:
        with ExitStack() as stack:
            yield cls(stack.enter_context(home()), stack)

    def side(self, name: str) -> Side:
        """Make an empty side on the server of that name, or on this machine for ``"local"``."""
        number = next(_numbers)
        if name == LOCAL:
            root = self.folder / f"local{number}"
            root.mkdir()
            return Side(root)
        if name not in self._servers:
            options = debian_servers.Options(
                tls=debian_servers.Tls() if name == FTPES else None, shows_links=name not in HIDING
            )
            running_name = "vsftpd" if name == FTPES else HIDING.get(name, name)
            self._servers[name] = self._stack.enter_context(
                running(running_name, self._stack.enter_context(home()), options)
            )
        server = self._servers[name]
        return Side(server.fresh_folder(f"side{number}"), server)


def put(side: Side, path: str, data: bytes, *, time: int = OLD) -> None:
    """Write a file, with its parent directories."""
    file = side.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    os.utime(file, (time, time))


def fill(side: Side, rng: random.Random) -> None:
    """Write a small tree: files of several sizes and depths, an empty file and an empty directory."""
    sizes = [0, 1, 5_000, 40_000, 300_000, 1_500_000]
    for number in range(12):
        put(side, f"d{number % 3}/{'deep/er/' * (number % 2)}{number}", rng.randbytes(sizes[number % len(sizes)]))
    put(side, "at the top é.txt", b"top")
    put(side, "moved/away", b"to be moved" * 100)
    put(side, "gone/file", b"to be removed")
    (side.root / "empty").mkdir()
    side.adopt()
