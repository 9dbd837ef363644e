"""The recorder: the only writer of the journal, and the only source of events."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
import trio

from actorsync.actors.feed import Feed
from actorsync.actors.messages import Blocking, Fact, Registration, Settlement, Several, Unissued, holding, in_thread
from actorsync.model.entry import Kind
from actorsync.model.event import (
    Adopted,
    Event,
    Reconnecting,
    RemovalsRefused,
    RemovalsWithheld,
    Scanned,
    Warned,
    is_durable,
)
from actorsync.model.operation import Copy, Done, Failed, Fault, MakeDirectory, Move, Outcome, Remove, Skipped
from actorsync.model.report import Report

__all__ = ["FactStore", "Observer", "Recorder", "Tally"]

#: Takes each event, at once and without waiting: a slow observer would hold up the run.
Observer = Callable[[Event], None]

#: How many facts share one transaction at most. One flush to disk serves them all.
GROUP = 500

_KEPT_FAILURES = 1_000


class FactStore(Protocol):
    """What the recorder needs of a journal."""

    def apply(self, facts: Sequence[Event]) -> None:
        """Write what the facts change, durably."""


@attrs.define
class Tally:
    """What the run has done so far, as the `Report` will say it."""

    copied: int = 0
    copied_bytes: int = 0
    directories_made: int = 0
    removed: int = 0
    adopted: int = 0
    files_seen: int = 0
    hidden: int = 0
    failed: int = 0
    skipped: int = 0
    left: int = 0
    reconnects: int = 0
    parked: int = 0
    withheld: int = 0
    moved: int = 0
    failures: list[tuple[str, str]] = attrs.Factory(list)
    refused: str | None = None

    def count(self, event: Event) -> None:
        """Take one event into account."""
        match event:
            case Adopted(source):  # first, as there may be a tree full of them
                self.adopted += source.kind is Kind.FILE
            case Done(Copy(), target):
                self.copied += 1
                self.copied_bytes += target.size if target is not None else 0
            case Done(MakeDirectory(source)) if source.path:  # the root is made sure of, and mostly there
                self.directories_made += 1
            case Done(Remove()):
                self.removed += 1
            case Done(Move()):
                self.moved += 1
            case Scanned(files=files, hidden=hidden, problems=problems):
                self.files_seen += files
                self.hidden += hidden
                for problem in problems:
                    if not problem.vanished:
                        self._fail(problem.path, problem.reason)
            case Failed(operation, reason, fault):
                self._fail(operation.path, reason)
                self.parked += fault is Fault.PARKED
            case Skipped(operation) if not isinstance(operation, Move):  # which is done otherwise
                self.skipped += 1
            case Reconnecting():
                self.reconnects += 1
            case RemovalsWithheld(removals):
                self.withheld += removals
            case RemovalsRefused(reason):
                self.refused = reason

    def report(self, **ending: object) -> Report:
        """Give the report, with how the run ended."""
        counts = attrs.asdict(self, recurse=False)
        counts["failures"] = tuple(self.failures)
        return Report(**{**counts, **ending})

    def _fail(self, path: str, reason: str) -> None:
        self.failed += 1
        if len(self.failures) < _KEPT_FAILURES:
            self.failures.append((path, reason))


@attrs.define
class Recorder:
    """Write facts in the order they come, then tell everybody: never before the commit has returned.

    Facts that arrive together share one transaction. Runs until every sender is closed, shielded: whatever else is
    cancelled, what was done is written down.
    """

    journal: FactStore
    observers: Sequence[Observer] = ()
    blocking: Blocking = in_thread
    feed: Feed | None = None
    tally: Tally = attrs.Factory(Tally)
    _warned: set[str] = attrs.Factory(set)

    async def run(self, facts: trio.MemoryReceiveChannel[Fact], settled: trio.MemorySendChannel[Settlement]) -> None:
        """Record until the last sender of ``facts`` is closed.

        ``settled`` never makes the recorder wait: its buffer holds whatever can be given out at once. That is why the
        planner may wait for the recorder, and the recorder feed the planner, without a deadlock.
        """
        with holding(facts, settled), trio.CancelScope(shield=True):
            async for first in facts:
                group = [first]
                while len(group) < GROUP:
                    try:
                        group.append(facts.receive_nowait())
                    except (trio.WouldBlock, trio.EndOfChannel):
                        break
                await self._record(group, settled)

    async def _record(self, group: Sequence[Fact], settled: trio.MemorySendChannel[Settlement]) -> None:
        told = [_events_of(fact) for fact in group]
        lasting = [event for events in told for event in events if is_durable(event)]
        if lasting:
            await self.blocking(self.journal.apply, lasting)
        for fact, events in zip(group, told, strict=True):
            if isinstance(fact, Registration):
                fact.durable.set()
            elif isinstance(fact, Outcome):
                self._settle(fact, settled)
            for event in events:
                self.publish(event)
        if self.feed is not None:
            await self.feed.room()

    def publish(self, event: Event) -> None:
        """Count an event and show it to the observers. A warning that every connection gives is shown once."""
        if isinstance(event, Warned):
            if event.text in self._warned:
                return
            self._warned.add(event.text)
        self.tally.count(event)
        for observer in self.observers:
            observer(event)
        if self.feed is not None:
            self.feed.observe(event)

    def release_reader(self) -> None:
        """Wait no more for the reader of ``feed``."""
        if self.feed is not None:
            self.feed.release()

    def _settle(self, outcome: Outcome, settled: trio.MemorySendChannel[Settlement]) -> None:
        with contextlib.suppress(trio.BrokenResourceError):  # the planner is gone; the journal still wants to know
            settled.send_nowait(outcome)


def _events_of(fact: Fact) -> Sequence[Event]:
    match fact:
        case Several(events):
            return events
        case Registration(intended):
            return (intended,)
        case Unissued(outcome):
            return (outcome,)
        case _:
            return (fact,)
