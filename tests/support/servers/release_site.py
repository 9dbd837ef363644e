"""A site of twenty files on a real server in its old version, its journal, and a new version to publish."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal

import attrs
import trio

from actorsync.endpoints.contract import Endpoint
from actorsync.journal import open_journal
from actorsync.planning.publishing.rules import PublishRule
from actorsync.planning.temporary_names import is_own
from actorsync.testing.network.faults import Cut, How
from actorsync.testing.network.ftp_proxy import FaultProxy, open_fault_proxy
from actorsync.testing.network.proxy import CutWire, WireProxy, open_wire_proxy
from tests.support import FtpTarget
from tests.support.mirror import Run, contents, mirror, times
from tests.support.servers import any_server, debian_servers, ftp
from tests.support.servers.any_server import AnyServer
from tests.support.world.burst import NAMES as FILES

__all__ = ["BURST", "FILES", "NAMES", "TLS", "Case", "ReleaseSite", "files_of", "has_fired", "open_site"]

_Version = Literal["old", "new"]

#: ProFTPD once more, with TLS.
TLS = "proftpd-tls"
NAMES = (*any_server.NAMES, TLS)
BURST = PublishRule(is_burst=True)
STALE = {"stale.css", "old/stale.html"}
#: The file that is not small: it is sent in another way.
BIG = "assets/0.bin"
_SECONDS = {"old": 1_600_000_000, "new": 1_700_000_000}


def text_of(version: str, path: str) -> bytes:
    """Return the content of a file. In both versions it begins with the version, and has the same size."""
    return f"{version} {path}".encode() * (5_000 if path == BIG else 1)


def files_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return content and time of each file that a visitor may see."""
    there: dict[str, tuple[bytes, int]] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_file() and not is_own(name):
            there[name] = path.read_bytes(), int(path.stat().st_mtime)
    return there


@attrs.frozen
class Case:
    """One copy of the site on the server, with its journal."""

    site: ReleaseSite
    folder: Path
    journal: Path

    @property
    def path(self) -> str:
        """The path of the folder for a client."""
        path = str(self.folder.relative_to(self.site.server.root))
        return f"/{path}" if self.site.server.is_ftp else path

    async def publish(self, *, endpoint: Endpoint | None = None, **how: Any) -> Run:
        """Publish the new version in a burst, if ``how`` does not say otherwise."""
        how = {"connections": 2, "settled": True, "publish": BURST, **how}
        target = endpoint or self.site.server.endpoint(self.folder)
        return await mirror(self.site.source, target, self.journal, **how)

    def is_old(self) -> bool:
        """Return whether visitors see the old version, byte for byte."""
        return files_of(self.folder) == self.site.version("old")

    async def settled(self) -> dict[str, tuple[bytes, int]]:
        """Return what visitors see, once the server has executed the last commands of a client that was killed."""
        last: dict[str, tuple[bytes, int]] | None = None
        while True:
            now: dict[str, tuple[bytes, int]] | None
            try:
                now = files_of(self.folder)
            except FileNotFoundError:
                now = None
            if now is not None and now == last:
                return now
            last = now
            await trio.sleep(0.03)

    async def faults_between(self) -> list[str]:
        """Return what is wrong before the next run, as text: without a release in the journal, the site is whole."""
        there, old, new = await self.settled(), self.site.version("old"), self.site.version("new")
        with open_journal(self.journal, "test") as journal:
            if journal.release():
                return [path for path, data in there.items() if data not in (old.get(path), new.get(path))]
        is_new = there.items() >= new.items() and there.keys() - new.keys() <= STALE
        return [] if is_new or there == old else [f"no release is open, and visitors see {sorted(there.values())}"]

    def faults_at_the_end(self, run: Run) -> list[str]:
        """Return what is wrong after a run that had success, as text."""
        wrong = [] if run.report.exit_code == 0 else [f"exit code {run.report.exit_code}: {run.failures} {run.report}"]
        if contents(self.folder) != contents(self.site.source):
            wrong.append(f"the trees differ: {sorted(contents(self.folder))}")
        elif times(self.folder) != times(self.site.source):
            wrong.append("times differ")
        with open_journal(self.journal, "test") as journal:
            if journal.release() or journal.pending() or journal.kept():
                wrong.append(f"in the journal: {journal.release()} {journal.pending()} {journal.kept()}")
        return wrong


@attrs.define(eq=False)
class ReleaseSite:
    """The site in two versions, and copies of it on a server. ``home`` is for the source and the journals."""

    server: AnyServer
    home: Path
    data_ports: range | None = None
    _numbers: Iterator[int] = attrs.field(factory=itertools.count, init=False)

    @property
    def source(self) -> Path:
        return self.home / "source"

    @property
    def is_sealed(self) -> bool:
        """Whether a proxy cannot read the commands."""
        return not self.server.is_ftp or self.data_ports is not None

    def version(self, version: _Version) -> dict[str, tuple[bytes, int]]:
        names = [*FILES[:-3], *STALE] if version == "old" else FILES
        return {name: (text_of(version, name), _SECONDS[version]) for name in names}

    async def prepare(self) -> None:
        """Put the old version on the server by a run, and then the new version into the source."""
        template = self.server.fresh_folder("template")
        versions: tuple[_Version, ...] = ("old", "new")
        for version in versions:
            for name in STALE:
                (self.source / name).unlink(missing_ok=True)
            for name, (data, seconds) in self.version(version).items():
                path = self.source / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                os.utime(path, (seconds, seconds))
            if version == "old":
                run = await mirror(self.source, self.server.endpoint(template), self.home / "journal", settled=True)
                assert run.report.exit_code == 0
        (self.source / "old").rmdir()

    def case(self) -> Case:
        """Return another copy of the site."""
        number = next(self._numbers)
        folder, journal = self.server.root / f"site{number}", self.home / f"journal{number}"
        shutil.copytree(self.server.root / "template", folder)
        shutil.copytree(self.home / "journal", journal)
        self.adopt(folder)
        return Case(self, folder, journal)

    def adopt(self, folder: Path) -> None:
        """Change the owner of a folder and everything below it to the server's user."""
        if self.server.uid is not None:
            for path in [folder, *folder.rglob("*")]:
                os.chown(path, self.server.uid, self.server.uid)

    @asynccontextmanager
    async def proxied(self, fault: Cut | CutWire | None = None) -> AsyncIterator[FaultProxy | WireProxy]:
        """Run a proxy in front of the server, with this fault. A fault of the wire is on the first connection."""
        target = self.server.target
        address = target.host, target.port
        if isinstance(target, FtpTarget) and self.data_ports is not None:
            assert not isinstance(fault, Cut)
            async with ftp.proxy_before(target, data_ports=self.data_ports, wire=[fault]) as proxy:
                yield proxy
        elif isinstance(target, FtpTarget):
            async with open_fault_proxy(address, *([fault] if isinstance(fault, Cut) else [])) as proxy:
                yield proxy
        else:
            assert not isinstance(fault, Cut)
            async with open_wire_proxy(address, [fault]) as wire:
                yield wire

    def fault(self, place: int, how: How, is_heard: bool) -> Cut | CutWire:
        """Return a cut at a line, or, where a proxy cannot see lines, after so many bytes towards the server."""
        if self.is_sealed:
            return CutWire(after=place, how=how)
        return Cut(at_line=place, how=how, when="unanswered" if is_heard else "before")

    async def places(self) -> int:
        """Return how many places for cuts a burst has: lines, or bytes, of one connection.

        No two sealed connections have the same number of bytes, so the last tenth of them is left out.
        """
        case = self.case()
        async with self.proxied() as proxy:
            run = await case.publish(endpoint=self.server.endpoint(case.folder, host=proxy.host), connections=1)
        assert not case.faults_at_the_end(run)
        if isinstance(proxy, FaultProxy) and proxy.sealed is None:
            return len(proxy.commands)
        wire = proxy if isinstance(proxy, WireProxy) else proxy.sealed
        assert wire is not None
        return wire.passed["up"] * 9 // 10


def has_fired(proxy: FaultProxy | WireProxy) -> bool:
    """Return whether the fault of a proxy has happened."""
    return bool(proxy.fired or (isinstance(proxy, FaultProxy) and proxy.sealed is not None and proxy.sealed.fired))


@contextmanager
def open_site(name: str) -> Iterator[ReleaseSite]:
    """Serve the site with a server of `NAMES`. Where the server cannot run, skip the test, or fail it in CI."""
    ports = debian_servers.some_data_ports() if name == TLS else None
    options = None if ports is None else debian_servers.Options(tls=debian_servers.Tls(), data_ports=ports)
    with ftp.home() as home:
        (home / "server").mkdir(mode=0o755)
        with any_server.running(name.partition("-tls")[0], home / "server", options) as server:
            site = ReleaseSite(server, home, ports)
            trio.run(site.prepare)
            yield site
