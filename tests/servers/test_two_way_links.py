"""Two-way with each kind of side, and links to directories below the root: nothing is removed through a link.

pyftpdlib shows links as directories in MLSD, and as links in LIST. ProFTPD with ``ShowSymlinks off`` and Pure-FTPd with
``BrokenClientsCompatibility`` show them as directories in both.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
import pytest

from actorsync.actors.pipeline import Pipeline
from actorsync.endpoints.contract import Endpoint
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.journal import Journal, open_memory_journal
from actorsync.model.event import Event
from actorsync.model.operation import Failed
from actorsync.model.report import Report
from actorsync.pair_supervisor import supervise_pair
from actorsync.planning.pairs.rules import PairRule
from actorsync.planning.selection import Selection
from actorsync.policy import Allowed, Policy, RunOptions
from tests.support.mirror import QUICK
from tests.support.servers import any_server, ftp, odd_servers
from tests.support.servers.any_server import AnyServer
from tests.support.servers.any_side import HIDING
from tests.support.servers.debian_servers import Options
from tests.support.two_way import ALL
from tests.support.two_way_disk import DiskTree

_LOCAL: Final = "local"


@pytest.fixture(scope="module", params=[*any_server.NAMES, *HIDING, _LOCAL])
def server(request: pytest.FixtureRequest) -> Iterator[AnyServer | None]:
    name: str = request.param
    if name == _LOCAL:
        yield None
        return
    options = Options(shows_links=False) if name in HIDING else None
    with ftp.home() as home:
        (home / "server").mkdir(mode=0o755)
        with any_server.running(HIDING.get(name, name), home / "server", options) as server:
            yield server


@attrs.frozen
class _Sides:
    """A folder, and a folder of a server or of this machine, with a journal. ``outside`` is beside the second one."""

    server: AnyServer | None
    source: DiskTree
    target: DiskTree
    outside: DiskTree
    journal: Journal = attrs.Factory(open_memory_journal)

    async def run(self, pipeline: Pipeline | None = None) -> Report:
        policy = Policy(
            Selection(), ALL, allowed=Allowed(no_links=True), pair=PairRule("keep"), connections=3, backoff=QUICK
        )
        root = self.target.root
        target: Endpoint = LocalEndpoint(root) if self.server is None else self.server.endpoint(root)
        options = RunOptions(policy, pipeline=pipeline or Pipeline())
        return await supervise_pair(LocalEndpoint(self.source.root), target, self.journal.pairs, options)

    def fill(self, path: str) -> None:
        """Write two files into a directory of the target, old ones that any user may change."""
        for name in ("one", "deep/two"):
            self.target.write(f"{path}/{name}", b"data", 1_600_000_000 * 10**9)

    def link(self, path: str, leads_to: str) -> None:
        (self.target.root / path).symlink_to(leads_to)

    def swap(self, path: str) -> None:
        """Move a directory of the target out of it, and put a link to it in its place."""
        (self.target.root / path).rename(self.outside.root / path)
        self.link(path, f"../{self.outside.root.name}/{path}")


@pytest.fixture
def sides(server: AnyServer | None, tmp_path: Path) -> _Sides:
    name = f"links-{time.monotonic_ns()}"
    source = tmp_path / "source"
    source.mkdir()
    if server is None:
        root, outside = tmp_path / name, tmp_path / f"{name}-outside"
        root.mkdir()
        outside.mkdir()
    else:
        root, outside = server.fresh_folder(name), server.fresh_folder(f"{name}-outside")
    for place in (root, outside):
        place.chmod(0o777)
    return _Sides(server, DiskTree(source), DiskTree(root), DiskTree(outside))


async def test_m036_what_a_link_leads_to_stays_when_its_copy_is_removed(sides: _Sides) -> None:
    """``shared`` leads out of the root, and ``second`` is another name for a directory of the same tree."""
    sides.fill("other")
    sides.outside.write("precious", b"of somebody else", 1_600_000_000 * 10**9)
    sides.link("shared", f"../{sides.outside.root.name}")
    sides.link("second", "other")
    before = sides.target.shown()
    await sides.run()
    for name in ("shared", "second"):
        if (sides.source.root / name).exists():
            sides.source.delete(name)
    for _ in range(2):
        await sides.run()
        assert sides.outside.shown() == {"precious": "of somebody else"}
        assert sides.target.shown() == before
        assert sides.source.shown() == before


async def test_m036_directory_that_became_a_link_is_not_emptied_through_it(sides: _Sides) -> None:
    sides.fill("d")
    sides.fill("e")
    await sides.run()
    sides.swap("d")
    before = sides.outside.shown()
    sides.source.delete("d")
    sides.source.delete("e/deep")
    await sides.run()
    assert sides.outside.shown() == before
    assert (sides.target.root / "d").is_symlink()
    assert not (sides.target.root / "e/deep").exists()


async def test_m036_directory_that_becomes_a_link_after_the_scan_is_not_emptied_through_it(sides: _Sides) -> None:
    sides.fill("d")
    await sides.run()
    before = sides.target.shown()
    sides.source.delete("d")

    async def swap(_: object = None) -> None:
        sides.swap("d")

    await sides.run(Pipeline(before_commit=swap))
    assert sides.outside.shown() == before


@pytest.mark.full
@pytest.mark.parametrize("name", ["twisted", "ftp-srv", "npm-ftpd"])  # aioftp shows no sizes, so nothing is read
async def test_m036_nothing_is_removed_in_directories_where_no_link_is_shown(name: str, tmp_path: Path) -> None:
    """Removed is what lies in the root. All else stays, and a line says how to remove it."""
    source = DiskTree(tmp_path / "source")
    source.root.mkdir()
    events: list[Event] = []
    journal = open_memory_journal()
    with ftp.home() as home, odd_servers.odd_server(name, home) as server:
        target, outside = DiskTree(server.root), DiskTree(home / "outside")
        target.write("d/one", b"data", 1_600_000_000 * 10**9)
        target.write("top", b"data", 1_600_000_000 * 10**9)
        outside.root.mkdir()
        outside.write("precious", b"of somebody else", 1_600_000_000 * 10**9)
        (target.root / "shared").symlink_to("../outside")
        for step in range(3):
            if step == 1:
                for path in ("shared", "d", "top"):
                    source.delete(path)
            events.clear()
            policy = Policy(Selection(), ALL, pair=PairRule("keep"), connections=2, backoff=QUICK)
            places = LocalEndpoint(source.root), ftp.endpoint_for(server, "/")
            await supervise_pair(*places, journal.pairs, RunOptions(policy, observers=[events.append]))
        held = {it.operation.path: it.reason for it in events if isinstance(it, Failed)}
        assert held.keys() == {"d", "shared"}
        assert all("set sync.no-links = true" in reason for reason in held.values())
        assert outside.shown() == {"precious": "of somebody else"}
        assert target.shown() == {"d": None, "d/one": "data"}
