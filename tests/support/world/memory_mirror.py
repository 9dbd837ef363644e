"""Whole runs between trees in memory on virtual time, for tests of lanes: all that is announced, and what is left."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import attrs
import trio

from actorsync.actors.backoff import Backoff
from actorsync.actors.control import Control
from actorsync.actors.feed import Feed
from actorsync.actors.messages import Blocking, inline
from actorsync.actors.pipeline import Pipeline
from actorsync.actors.shutdown import Shutdown
from actorsync.actors.statistics import Statistics
from actorsync.endpoints.contract import Endpoint, Session, Upload
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.wrappers.base import EndpointWrapper, SessionWrapper
from actorsync.journal import Journal, open_memory_journal
from actorsync.model.entry import Kind
from actorsync.model.event import Event
from actorsync.model.operation import Copy, Done, Failed, Skipped
from actorsync.model.report import Report
from actorsync.planning.selection import Selection
from actorsync.planning.watching.shrinking import Shrinking
from actorsync.policy import Clock, Policy, RunOptions
from actorsync.profile.values.units import MaxDelete
from actorsync.supervisor import supervise

__all__ = ["LANES", "ONE", "PATIENT", "Counted", "Mirror"]

T = TypeVar("T")

LANES = 5
PATIENT = Backoff(initial=1.0, cap=8.0, tries=9, jitter=lambda: 1.0)
ONE = Policy(Selection(), MaxDelete.parse("100%"), delete=True, connections=1, backoff=PATIENT)


@attrs.define(eq=False)
class Counted(EndpointWrapper[Endpoint]):
    """An endpoint that counts its sessions, and the operations that each carries at once."""

    warning: str | None = None
    sessions: int = 0
    busy: int = 0
    busiest: int = 0

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Session]:
        self.sessions += 1
        async with self.real.open_session() as session:
            yield _CountedSession(session, self)


class _CountedSession(SessionWrapper):
    def __init__(self, real: Session, counted: Counted) -> None:
        super().__init__(real)
        self._counted = counted

    async def stage(self, upload: Upload, **rest: Any) -> Any:
        self._counted.busy += 1
        self._counted.busiest = max(self._counted.busiest, self._counted.busy)
        try:
            return await self._real.stage(upload, **rest)
        finally:
            self._counted.busy -= 1

    def warnings(self) -> Sequence[str]:
        return () if self._counted.warning is None else (self._counted.warning,)


@attrs.define(eq=False)
class Mirror:
    """Two trees in memory and a journal, and all that is announced."""

    source: MemoryEndpoint = attrs.Factory(lambda: MemoryEndpoint("source"))
    target: MemoryEndpoint = attrs.Factory(lambda: MemoryEndpoint("target", inodes=False, lanes=LANES))
    journal: Journal = attrs.Factory(open_memory_journal)
    shutdown: Shutdown = attrs.Factory(Shutdown)
    statistics: Statistics = attrs.Factory(Statistics)
    events: list[Event] = attrs.Factory(list)
    tokens: itertools.count[int] = attrs.Factory(itertools.count)
    wall_ns: Callable[[], int] = time.time_ns
    blocking: Blocking = inline

    async def run(
        self,
        target: Any = None,
        *,
        source: Any = None,
        policy: Policy = ONE,
        observe: Callable[[Event], None] = lambda event: None,
        pipeline: Pipeline | None = None,
        feed: Feed | None = None,
        within: Iterable[str] | None = None,
        control: Control | None = None,
        shrinking: Shrinking | None = None,
    ) -> Report:
        self.events.clear()
        with trio.fail_after(3_600):
            return await supervise(
                source or self.source,
                target or self.target,
                self.journal,
                RunOptions(
                    policy,
                    shutdown=self.shutdown,
                    observers=[self.events.append, observe],
                    statistics=self.statistics,
                    clock=Clock(
                        wall_ns=self.wall_ns, token=lambda: f"{next(self.tokens):016x}", blocking=self.blocking
                    ),
                    pipeline=pipeline or Pipeline(),
                    feed=feed,
                    control=control or Control(),
                    within=None if within is None else frozenset(within),
                    shrinking=shrinking,
                ),
            )

    def seen(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]

    def fill(self, count: int) -> None:
        for number in range(count):
            self.source.write(f"d/{number}", b"%d" % number * 9)

    def check_one_outcome_each(self) -> None:
        """Every file that was sent has one outcome that counts, whatever was done again on the way."""
        outcomes = Counter(
            outcome.operation.path
            for outcome in self.events
            if isinstance(outcome, Done | Failed | Skipped) and isinstance(outcome.operation, Copy)
        )
        assert not [path for path, count in outcomes.items() if count > 1]

    def check_nothing_left(self) -> None:
        """There are no temporaries on the target, and none in the journal, which holds what the target has."""
        assert not [path for path in self.target.files() if ".tmp" in path]
        assert self.journal.pending() == []
        recorded = {r.target.path for r in self.journal.subtree("") if r.target.kind is Kind.FILE}
        assert recorded == self.target.files().keys()
