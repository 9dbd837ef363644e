"""The recorder: the only writer of the journal, and the only source of events."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Protocol

import attrs
import trio

from actorsync.actors.feed import Feed
from actorsync.actors.messages import (
    Blocking,
    Fact,
    Mark,
    Registration,
    Settlement,
    Several,
    Unissued,
    holding,
    in_thread,
)
from actorsync.actors.observers import Failure, Observer
from actorsync.classes import define
from actorsync.model.entry import Kind
from actorsync.model.event import (
    Adopted,
    Agreed,
    Audited,
    Conflicted,
    Event,
    NotPublished,
    Reconnecting,
    Released,
    ReleaseEnded,
    RemovalsDelayed,
    RemovalsRefused,
    RemovalsWithheld,
    Scanned,
    Warned,
    is_durable,
)
from actorsync.model.left_out import NOTHING, LeftOut
from actorsync.model.operation import (
    Audit,
    Compare,
    Copy,
    Done,
    Failed,
    Fault,
    Look,
    Maintain,
    MakeDirectory,
    Move,
    Outcome,
    Prepare,
    Publish,
    PutBack,
    Remove,
    Respell,
    SetMode,
    Side,
    Skipped,
    Survey,
    Tidying,
)
from actorsync.model.report import Report

__all__ = ["FactStore", "Recorder", "Tally"]

#: The highest number of facts in one transaction. One flush to disk serves them all.
GROUP = 500

_KEPT_FAILURES = 1_000

_UNFINISHED = "the run ended while it published; the next run finishes that first, or takes it back"

#: The outcomes after which an operation is not tried again in this run.
_FINAL = (Done, Failed, Skipped)


class FactStore(Protocol):
    """What the recorder needs from a journal."""

    def apply(self, facts: Sequence[Event]) -> None:
        """Record the facts. They are durable when this returns."""


@define
class Failures:
    """The failures of a run so far: their number, how many of them are of parked paths, and the first of them."""

    count: int = 0
    parked: int = 0
    first: list[tuple[str, str]] = attrs.Factory(list)

    def add(self, path: str, reason: str) -> None:
        """Count one failure, and keep it if it is one of the first."""
        self.count += 1
        if len(self.first) < _KEPT_FAILURES:
            self.first.append((path, reason))


@define
class _ReleaseTally:
    """What this run has published: the temporaries, and why something is not published."""

    temporaries: set[str] = attrs.Factory(set)
    why_not: str | None = None

    def count(self, event: Released | ReleaseEnded | NotPublished) -> None:
        match event:
            case Released():
                self.why_not = _UNFINISHED
            case ReleaseEnded(None):
                self.why_not = None
            case ReleaseEnded(str(reason)):
                self.why_not = f"rolled back: {reason}"
            case NotPublished(reason):
                self.why_not = reason


@define
class _Sent:
    """What was sent and has its final name. ``resumed_bytes`` were there already, from an earlier attempt."""

    copied: int = 0
    copied_bytes: int = 0
    resumed_bytes: int = 0
    to_source: int = 0

    def count(self, done: Done) -> None:
        self.resumed_bytes += done.resumed
        if not isinstance(done.operation, Prepare):
            self.copied += 1
            self.to_source += done.operation.side is Side.SOURCE
            self.copied_bytes += done.target.size if done.target is not None else 0

    def take_back(self, size: int) -> None:
        self.copied -= 1
        self.copied_bytes -= size


@define
class Tally:
    """The counts of a run so far, for its `Report`. ``settled`` counts the changes that have an outcome."""

    settled: int = 0
    sent: _Sent = attrs.Factory(_Sent)
    directories_made: int = 0
    removed: int = 0
    adopted: int = 0
    files_seen: int = 0
    hidden: int = 0
    skipped: int = 0
    reconnects: int = 0
    withheld: int = 0
    delayed: RemovalsDelayed | None = None
    moved: int = 0
    modes_set: int = 0
    audited: int = 0
    left_out: LeftOut = NOTHING
    failures: Failures = attrs.Factory(Failures)
    refused: str | None = None
    conflicts: int = 0
    releases: _ReleaseTally = attrs.Factory(_ReleaseTally)

    def count(self, event: Event) -> None:
        """Count one event."""
        if isinstance(event, _FINAL):
            self._settle(event)
        match event:
            case Agreed(agreement, is_new):
                self.adopted += is_new and agreement.source.kind is Kind.FILE
            case Adopted(source):  # first: the most frequent event of a survey
                self.adopted += source.kind is Kind.FILE
            case Done(Compare()):
                self.adopted += 1
            case Done(Copy() | Publish() | Prepare()):
                self.sent.count(event)
            case Released() | ReleaseEnded() | NotPublished():
                self.releases.count(event)
            case Done(MakeDirectory(source)) if source.path:  # the root mostly exists
                self.directories_made += 1
            case Done(Remove()):
                self.removed += 1
            case Done(Move() | Respell()):
                self.moved += 1
            case Done(SetMode()):
                self.modes_set += 1
            case Scanned(files=files, hidden=hidden, problems=problems, left_out=left_out):
                self.files_seen += files
                self.hidden += hidden
                if hidden:
                    self.left_out += left_out
                for problem in problems:
                    if not problem.vanished:
                        self.failures.add(problem.path, problem.reason)
            case Failed(operation, reason, fault):
                self.failures.add(operation.path, reason)
                self.failures.parked += fault is Fault.PARKED
            # Other operations replace these; what cannot be looked at is a warning.
            case Skipped(operation) if not isinstance(operation, Compare | Move | Respell | Audit | Look):
                self.skipped += 1
            case Audited(directories):
                self.audited += directories
            case Reconnecting():
                self.reconnects += 1
            case Conflicted():
                self.conflicts += 1
            case RemovalsDelayed(paths):
                self.delayed = event if paths else None
            case RemovalsWithheld(removals):
                self.withheld += removals
            case RemovalsRefused(reason):
                self.refused = reason

    def _settle(self, outcome: Done | Failed | Skipped) -> None:
        """Count what is settled. A file that was staged is settled when it is published, unless that is taken back."""
        match outcome:
            case Done(Prepare()) | Failed(Publish() | PutBack()):
                return
            case Done(Publish(kept)):
                self.releases.temporaries.add(kept.temporary)
                self.settled += 1
            case Done(PutBack(item)):
                if item.kept.temporary not in self.releases.temporaries:
                    return  # by this run, at least
                self.releases.temporaries.discard(item.kept.temporary)
                self.settled -= 1
                self.sent.take_back(item.kept.size)
            case _ if not isinstance(outcome.operation, Audit | Look | Maintain | Survey | Tidying):
                self.settled += 1

    def report(self, **ending: object) -> Report:
        """Return the report: these counts, and how the run ended."""
        own = {"settled", "releases", "sent"}
        counts = attrs.asdict(self, recurse=False, filter=lambda field, _: field.name not in own)
        counts |= attrs.asdict(self.sent)
        counts |= {
            "failed": self.failures.count,
            "parked": self.failures.parked,
            "failures": tuple(self.failures.first),
            "not_published": self.releases.why_not,
        }
        counts["delayed"] = 0 if self.delayed is None else len(self.delayed.paths)
        counts["delayed_until"] = None if self.delayed is None else self.delayed.last
        return Report(**{**counts, **ending})


@define
class Recorder:
    """An actor: record facts in the order in which they arrive, and publish each after its commit has returned.

    Facts that arrive together share one transaction. The recorder runs until every sender is closed, shielded from
    cancellation: what was done is always recorded.
    """

    journal: FactStore
    observers: Sequence[Observer] = ()
    blocking: Blocking = in_thread
    feeds: Sequence[Feed] = ()
    failure: Failure = attrs.Factory(Failure)
    """What an observer raised. It is not called again, and the recorder goes on."""
    tally: Tally = attrs.Factory(Tally)
    _warned: set[str] = attrs.Factory(set)
    _is_finishing: bool = False
    _receiving: trio.CancelScope = attrs.Factory(trio.CancelScope)

    async def run(
        self,
        facts: trio.MemoryReceiveChannel[Fact],
        settled: trio.MemorySendChannel[Settlement],
        published: trio.MemorySendChannel[Settlement],
    ) -> None:
        """Record until the last sender of ``facts`` is closed.

        The outcomes of a release go to ``published``, all others to ``settled``. Neither ever makes the recorder wait:
        their buffers have room for every operation that can be given out at once. So planner, publisher and recorder
        can send to each other without a deadlock.
        """
        with holding(facts, settled, published), trio.CancelScope(shield=True):
            while (first := await self._next(facts)) is not None:
                group = [first]
                while len(group) < GROUP:
                    try:
                        group.append(facts.receive_nowait())
                    except (trio.WouldBlock, trio.EndOfChannel):
                        break
                await self._record(group, settled, published)

    def finish(self) -> None:
        """Record what has arrived, and end, although somebody could still send.

        A ``KeyboardInterrupt`` can keep an actor from closing its end of the channel.
        """
        self._is_finishing = True
        self._receiving.cancel()

    async def _next(self, facts: trio.MemoryReceiveChannel[Fact]) -> Fact | None:
        """Return the next fact; None at the end."""
        if not self._is_finishing:
            with trio.CancelScope() as self._receiving:
                try:
                    return await facts.receive()
                except trio.EndOfChannel:
                    return None
        try:
            return facts.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return None

    async def _record(
        self,
        group: Sequence[Fact],
        settled: trio.MemorySendChannel[Settlement],
        published: trio.MemorySendChannel[Settlement],
    ) -> None:
        events_of_each = [_events_of(fact) for fact in group]
        durable = [event for events in events_of_each for event in events if is_durable(event)]
        if durable:
            await self.blocking(self.journal.apply, durable)
        for fact, events in zip(group, events_of_each, strict=True):
            if isinstance(fact, Registration | Mark):
                fact.durable.set()
            elif isinstance(fact, Outcome):
                _settle(fact, published if isinstance(fact.operation, Maintain | Publish | PutBack) else settled)
            for event in events:
                self.publish(event)
        for feed in self.feeds:
            await feed.room()

    def publish(self, event: Event) -> None:
        """Count an event and call the observers with it. A warning that several connections send is published once."""
        if isinstance(event, Warned):
            if event.text in self._warned:
                return
            self._warned.add(event.text)
        self.tally.count(event)
        for observer in self.observers:
            try:
                observer(event)
            except Exception as error:  # noqa: BLE001 - reported, and raised by the supervisor
                self.failure.note(observer, error)
                self.observers = [other for other in self.observers if other is not observer]
        for feed in self.feeds:
            feed.observe(event)

    def release_reader(self) -> None:
        """Wait no more for the readers of ``feeds``."""
        for feed in self.feeds:
            feed.release()


def _settle(outcome: Outcome, settled: trio.MemorySendChannel[Settlement]) -> None:
    with contextlib.suppress(trio.BrokenResourceError):  # the reader has ended; the fact is recorded all the same
        settled.send_nowait(outcome)


def _events_of(fact: Fact) -> Sequence[Event]:
    match fact:
        case Several(events):
            return events
        case Mark():
            return ()
        case Registration(event):
            return (event,)
        case Unissued(outcome):
            return (outcome,)
        case _:
            return (fact,)
