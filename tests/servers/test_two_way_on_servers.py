"""Two-way with each server: a sample of the published scenarios, and a first run with equal trees."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.journal import Journal, open_memory_journal
from actorsync.model.event import Conflicted, Event
from actorsync.model.operation import Copy, Done
from actorsync.pair_supervisor import supervise_pair
from actorsync.planning.pairs.rules import ConflictRule, PairRule
from actorsync.planning.selection import Selection
from actorsync.policy import Policy, RunOptions
from tests.support.mirror import QUICK
from tests.support.servers import any_server, ftp
from tests.support.servers.any_server import AnyServer
from tests.support.two_way import ALL
from tests.support.two_way_disk import DiskTree
from tests.support.two_way_scenarios import SCENARIOS, change, expected, put, walk

#: One of each kind: changes of either side, removals, kinds that change, what is left out, renames, conflicts.
_SAMPLE: Final = (
    "unison-renames-many",
    "unison-file-over-directory",
    "unison-delete-back",
    "mutagen-042-two-way-safe",
    "mutagen-108-two-way-safe",
    "mutagen-117-two-way-safe",
    "bisync-changed-source-deleted-target",
    "osync-conflicts-reported",
)
_BY_ID: Final = {it["id"]: it for it in SCENARIOS}


@pytest.fixture(scope="module", params=any_server.NAMES)
def server(request: pytest.FixtureRequest) -> Iterator[AnyServer]:
    with ftp.home() as home:
        (home / "server").mkdir(mode=0o755)
        with any_server.running(request.param, home / "server") as server:
            yield server


@attrs.frozen
class _Sides:
    """A folder, and a folder of a server, with a journal."""

    server: AnyServer
    source: DiskTree
    target: DiskTree
    journal: Journal = attrs.Factory(open_memory_journal)

    async def run(self, conflict: ConflictRule = "keep") -> list[Event]:
        events: list[Event] = []
        policy = Policy(Selection(), ALL, pair=PairRule(conflict), connections=3, backoff=QUICK)
        source, target = LocalEndpoint(self.source.root), self.server.endpoint(self.target.root)
        options = RunOptions(policy, observers=[events.append])
        report = await supervise_pair(source, target, self.journal.pairs, options)
        assert report.exit_code in {0, 1}, report
        assert not report.failures
        return events

    def rest(self) -> None:
        """Set all times back, so that no file is recent: as if hours had passed."""
        for root in (self.source.root, self.target.root):
            for place in root.rglob("*"):
                if place.is_file() and not place.is_symlink():
                    then = place.stat().st_mtime_ns
                    os.utime(place, ns=(then - 10**13, then - 10**13))


@pytest.fixture
def sides(server: AnyServer, tmp_path: Path) -> _Sides:
    root = server.fresh_folder(f"two-way-{time.monotonic_ns()}")
    root.chmod(0o777)
    return _Sides(server, DiskTree(tmp_path), DiskTree(root))


@pytest.mark.parametrize("name", _SAMPLE)
async def test_scenario_on_a_server(sides: _Sides, name: str) -> None:
    scenario: dict[str, Any] = _BY_ID[name]
    for side in (sides.source, sides.target):
        for path, what in walk(scenario["agreed"]):
            put(side, path, what)
    await sides.run()
    change(sides.source, scenario["agreed"], scenario["source"])
    change(sides.target, scenario["agreed"], scenario["target"])
    events = await sides.run()
    expect = scenario["expect"]
    assert sides.source.shown() == expected(expect["source"])
    assert sides.target.shown() == expected(expect["target"])
    conflicts = [it.conflict.path for it in events if isinstance(it, Conflicted)]
    assert conflicts == ([] if name.startswith("mutagen-108") else expect["conflicts"])
    await sides.run()
    assert not [it for it in await sides.run() if isinstance(it, Done)]


async def test_first_run_with_equal_trees_sends_nothing(sides: _Sides) -> None:
    for side in (sides.source, sides.target):
        for number in range(20):
            side.write(f"d{number % 3}/f{number}", b"%d" % number, 1_700_000_000 * 10**9 + number * 10**9)
    events = await sides.run()
    assert not [it for it in events if isinstance(it, Done) and isinstance(it.operation, Copy)]
    assert sides.source.shown() == sides.target.shown()


@pytest.mark.parametrize("rule", ["source", "target"])
async def test_loser_of_a_rule_is_kept_on_both_sides_of_a_server(sides: _Sides, rule: ConflictRule) -> None:
    sides.source.write("x.txt", b"of the source")
    sides.target.write("x.txt", b"of the target!")

    await sides.run(rule)

    shown = sides.source.shown()
    assert sides.target.shown() == shown
    assert shown["x.txt"] == ("of the source" if rule == "source" else "of the target!")
    assert sorted(filter(None, shown.values())) == ["of the source", "of the target!"]
    await sides.run(rule)
    assert not [it for it in await sides.run(rule) if isinstance(it, Done)]
