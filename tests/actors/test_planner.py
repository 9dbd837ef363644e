"""The planner alone: the test is its scanner, its connections and its recorder."""

from __future__ import annotations

import math

import trio
from trio.testing import MockClock

from actorsync.actors.messages import Fact, Finding, Mark, Release, Settlement, Unissued, inline
from actorsync.actors.planner.memory import Rules, SourceQueries
from actorsync.actors.planner.planner import Planner
from actorsync.actors.statistics import Statistics
from actorsync.journal import open_memory_journal
from actorsync.model.entry import Entry, Kind, Root, ScanComplete, Scope
from actorsync.model.event import Confirmed, Planned, SurveyComplete
from actorsync.model.operation import Batch, Done, Operation, Remove, Returned
from actorsync.model.row import ListingRows
from actorsync.planning.selection import Selection
from actorsync.profile.values.units import MaxDelete

ROOT = Root(Entry("", Kind.DIRECTORY), device=1)


async def no_digest(path: str) -> tuple[Entry, bytes] | None:
    return None


async def plan(known: list[Entry], findings: list[Finding]) -> tuple[list[Operation], list[Fact]]:
    """Plan one run on a target that has ``known``; return what was given out, all of which succeeds, and the facts."""
    journal = open_memory_journal()
    journal.apply([*(Confirmed(entry, entry) for entry in known), SurveyComplete()])
    planner = Planner(
        journal=journal,
        rules=Rules(Selection(), MaxDelete.parse("100%"), delete=True),
        source=SourceQueries(no_digest),
        draining=trio.Event(),
        wall_clock_ns=lambda: 0,
        statistics=Statistics(),
        blocking=inline,
    )
    send_finding, listings = trio.open_memory_channel[Finding](math.inf)
    send_batch, batches = trio.open_memory_channel[Batch](0)
    send_fact, facts = trio.open_memory_channel[Fact](math.inf)
    send_settled, settled = trio.open_memory_channel[Settlement](math.inf)
    send_release, _ = trio.open_memory_channel[Release](0)
    given_out: list[Operation] = []
    recorded: list[Fact] = []

    async def record() -> None:
        async for fact in facts:
            if isinstance(fact, Mark):
                fact.durable.set()
            else:
                recorded.append(fact)

    with send_finding:
        for finding in findings:
            send_finding.send_nowait(finding)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(planner.run, listings, settled, send_batch, send_fact, send_release)
        nursery.start_soon(record)
        async for batch in batches:
            for operation in batch:
                given_out.append(operation)
                send_settled.send_nowait(Done(operation))
    assert planner.is_complete
    return given_out, recorded


async def test_removals_are_planned_only_inside_the_scope_of_the_scan(autojump_clock: MockClock) -> None:
    known = [Entry(path, Kind.DIRECTORY) for path in ("a", "b")]
    known += [Entry(path, Kind.FILE, 1, 1, 1, inode) for inode, path in enumerate(("a/x", "b/x"))]
    scope = Scope.of(["a"])
    given_out, facts = await plan(known, [(ListingRows("a"), ListingRows("b")), ScanComplete(ROOT, scope)])
    assert given_out == [Remove(known[2])]
    outside = Unissued(Returned(Remove(known[3]), "it is outside the scope of the scan"))
    assert facts == [Planned(0, 0, 0, 2, 0), outside, ScanComplete(ROOT, scope)]
