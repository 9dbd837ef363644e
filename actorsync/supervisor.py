"""The supervisor: opens the channels and starts the actors. Nothing else does either.

::

              ┌──────────────────────── supervisor: one nursery ─────────────────────────┐
     source ──▶ scanner ──listings──▶ planner ──operations──▶ connection x N ──▶ target
                  │                    │  ▲                       │
                  │                    │  └──────settled─────┐    │
                  └───────facts────────┴───────facts─────────┼────┴──▶ recorder ──▶ journal, observers

Where a caller has stages of his own, listings go by way of an actor more, between scanner and planner; what is to be
done goes by way of one that the planner has, before it is scheduled.
Before a source on a server stands a `RemoteSource`: a few connections that all share. Contents are read through
`Transformed` (some are made on the way) and `Limited` (no quicker than they may be), where that is wanted.

Every channel is bounded, so a slow wire slows the scan down. The one arrow that goes back, ``settled``, cannot make its
sender wait (it never holds more than what was given out), so nobody ever waits in a circle.
"""

from __future__ import annotations

import hashlib
import math
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Protocol

import attrs
import trio

from actorsync.actors.connections.backoff import Backoff
from actorsync.actors.connections.connection import Connection
from actorsync.actors.connections.pool import Pool
from actorsync.actors.feed import Feed
from actorsync.actors.messages import Blocking, Fact, Finding, Settlement, in_thread
from actorsync.actors.pipeline import Pipeline
from actorsync.actors.planner.memory import Memory, Rules, SourceQueries
from actorsync.actors.planner.planner import Planner
from actorsync.actors.recorder import FactStore, Observer, Recorder
from actorsync.actors.scanner import WALKERS, Scanner
from actorsync.actors.shutdown import Shutdown
from actorsync.actors.source_pool import RemoteSource
from actorsync.actors.stages import Gate, ListingStages, blamed
from actorsync.actors.statistics import ConnectionLevel, Statistics
from actorsync.endpoints.contract import Endpoint, is_remote
from actorsync.endpoints.wrappers.bandwidth import Bandwidth, Limited
from actorsync.endpoints.wrappers.transform import Transform, Transformed
from actorsync.errors import ActorsyncError, GuardRefused, OperationRefused, StageFailed, TargetUnreachable
from actorsync.model.entry import Entry
from actorsync.model.event import Report, Started, Stopped, Warned
from actorsync.model.operation import Batch
from actorsync.planning.pool_size import Sizing
from actorsync.planning.removal_guard import DeleteLimit
from actorsync.planning.selection import Selection

#: How many batches are given out ahead, for each connection that has many lanes.
_AHEAD = 4

#: How many tokens are made at once.
_TOKENS = 256

__all__ = ["Clock", "JournalLike", "Policy", "supervise"]


class JournalLike(Memory, FactStore, Protocol):
    """What a run needs of a journal: to be remembered, and to remember."""

    def ceiling(self) -> int | None:
        """Give how many connections the server was seen to allow; None when it never refused one."""


@attrs.frozen
class Policy:
    """What a run may do, and how hard it tries.

    ``connections`` is the most that it keeps; with ``is_automatic`` it begins with fewer, and takes more while that
    helps. ``is_patient`` leaves paths alone that failed in the last runs, until their time is up or they change.
    ``bandwidth`` limits how much file data is moved in a second, and may be changed while the run goes on; without one
    nothing stands between the files and the wire. ``transforms`` make the content of some files, see `Transform`.
    ``by_content`` remembers the checksums of files, and reads those that were only touched instead of sending them.
    """

    selection: Selection
    max_delete: DeleteLimit
    delete: bool = False
    connections: int = 4
    is_automatic: bool = False
    is_patient: bool = False
    by_content: bool = False
    links_are_errors: bool = False
    backoff: Backoff = attrs.Factory(Backoff)
    bandwidth: Bandwidth | None = None
    transforms: tuple[Transform, ...] = ()


#: Directories that are looked at side by side where they share one connection, which they fill with questions.
_SHARING_WALKERS = 8


def token_source() -> Callable[[], str]:
    """Give what gives tokens that nobody else has: 64 random bits each, asked of the system many at a time."""

    def tokens() -> Iterator[str]:
        while True:
            block = secrets.token_hex(8 * _TOKENS)
            yield from (block[start : start + 16] for start in range(0, len(block), 16))

    return partial(next, tokens())


@attrs.frozen
class Clock:
    """Everything a run takes from outside that is not a tree: the time of day, randomness, threads.

    A simulation puts its own in; deadlines follow trio's clock in any case.
    """

    wall_ns: Callable[[], int] = time.time_ns
    token: Callable[[], str] = attrs.Factory(token_source)
    blocking: Blocking = in_thread


async def supervise(
    source: Endpoint,
    target: Endpoint,
    journal: JournalLike,
    policy: Policy,
    *,
    shutdown: Shutdown | None = None,
    observers: Sequence[Observer] = (),
    statistics: Statistics | None = None,
    clock: Clock | None = None,
    pipeline: Pipeline | None = None,
    feed: Feed | None = None,
) -> Report:
    """Mirror ``source`` to ``target`` once, and say what was done.

    Refusals (of a guard, a login, a server that stays away) end in the report, as failures of single files do; its
    ``exit_code`` tells them apart. A bug is raised, alone, after everybody has stopped and the journal is true.
    So is what the caller's own stages and hooks raise (`StageFailed`). Whatever happens, `Stopped` is the last event.
    ``feed`` takes the events for somebody who reads them in a task of his own.
    """
    run = _Run(
        source,
        target,
        journal,
        policy,
        shutdown or Shutdown(),
        observers,
        statistics if statistics is not None else Statistics(),
        clock or Clock(),
        pipeline or Pipeline(),
        feed,
    )
    return await run.to_its_end()


@attrs.define(eq=False)
class _Run:
    source: Endpoint
    target: Endpoint
    journal: JournalLike
    policy: Policy
    shutdown: Shutdown
    observers: Sequence[Observer]
    statistics: Statistics
    clock: Clock
    extras: Pipeline
    feed: Feed | None

    remote: RemoteSource | None = attrs.field(init=False)
    recorder: Recorder = attrs.field(init=False)
    planner: Planner = attrs.field(init=False)
    pool: Pool = attrs.field(init=False)
    connections: list[Connection] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        policy, clock, shutdown = self.policy, self.clock, self.shutdown
        if isinstance(self.source, Transformed):
            policy = attrs.evolve(policy, transforms=(*self.source.transforms, *policy.transforms))
            self.source = self.source.real
        self.remote = None
        if is_remote(self.source):
            self.remote = RemoteSource(self.source, policy.connections, policy.backoff, shutdown.draining)
            self.source = self.remote
        made = Transformed(self.source, policy.transforms) if policy.transforms else None
        read = self.source if made is None else made
        sent = read if policy.bandwidth is None else Limited(read, policy.bandwidth)
        self.statistics.bandwidth = policy.bandwidth
        self.recorder = Recorder(self.journal, self.observers, clock.blocking, self.feed)
        self.planner = Planner(
            journal=self.journal,
            rules=Rules(
                policy.selection, policy.max_delete, policy.delete, policy.is_patient, by_content=policy.by_content
            ),
            source=SourceQueries(
                digest=partial(digest_of, read if self.remote is None else sent),
                is_gone=self.remote.is_gone if self.remote is not None else None,
                fingerprinted=None if made is None else made.fingerprinted,
            ),
            draining=shutdown.draining,
            wall_clock_ns=clock.wall_ns,
            statistics=self.statistics,
            blocking=clock.blocking,
            stages=self.extras.operation_stages,
        )
        sizing = Sizing(policy.connections, self.journal.ceiling(), policy.is_automatic)
        self.pool = Pool(sizing, self.statistics, self.target.lanes, policy.backoff.jitter)
        gate = Gate(self.extras.before_commit)
        self.statistics.connections[:] = [ConnectionLevel(n) for n in range(1, policy.connections + 1)]
        self.connections = [
            Connection(
                source=sent,
                target=self.target,
                level=level,
                statistics=self.statistics,
                shutdown=shutdown,
                token=clock.token,
                wall_clock_ns=clock.wall_ns,
                pool=self.pool,
                backoff=policy.backoff,
                gate=gate,
                by_content=policy.by_content,
            )
            for level in self.statistics.connections
        ]

    async def pipeline(self) -> None:
        """Start every actor with its channel ends; return when all have stopped."""
        n = self.policy.connections * self.target.lanes
        send_found, found = send_listing, listings = trio.open_memory_channel[Finding](n)
        if self.extras.listing_stages:
            send_listing, listings = trio.open_memory_channel[Finding](n)
        # Short: what is in it has no order any more, and a directory that can be made only now waits behind it.
        send_batch, operations = trio.open_memory_channel[Batch](
            self.policy.connections * min(self.target.lanes, _AHEAD)
        )
        send_fact, facts = trio.open_memory_channel[Fact](16 * n)
        send_settled, settled = trio.open_memory_channel[Settlement](math.inf)
        scanner = Scanner(
            self.source,
            self.policy.selection,
            self.statistics,
            self.planner.turn,
            self.policy.links_are_errors,
            WALKERS if self.source.lanes == 1 else _SHARING_WALKERS,
        )
        scope = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.recorder.run, facts, send_settled)
            nursery.start_soon(self._enforce, scope)
            nursery.start_soon(self.pool.run, lambda: operations.statistics().current_buffer_used, send_fact.clone())
            with self._nobody_waited_for_afterwards(), scope:
                async with self._source_kept(send_fact.clone()), trio.open_nursery() as actors:
                    actors.start_soon(scanner.run, send_found, send_fact.clone())
                    if self.extras.listing_stages:
                        stages = ListingStages(self.extras.listing_stages, self.shutdown.draining)
                        actors.start_soon(stages.run, found, send_listing)
                    actors.start_soon(self.planner.run, listings, settled, send_batch, send_fact.clone())
                    for connection in self.connections:
                        actors.start_soon(connection.run, operations.clone(), send_fact.clone())
                    operations.close()
                    send_fact.close()
            nursery.cancel_scope.cancel()  # `enforce` and the pool: the recorder is shielded until it is done

    async def _enforce(self, scope: trio.CancelScope) -> None:
        await self.shutdown.enforce(scope)
        self._release_feed()

    @contextmanager
    def _nobody_waited_for_afterwards(self) -> Iterator[None]:
        """When the actors have stopped, see to it that the recorder, which nobody cancels, waits for no reader."""
        try:
            yield
        finally:
            self._release_feed()

    def _release_feed(self) -> None:
        if self.feed is not None:
            self.feed.release()

    @asynccontextmanager
    async def _source_kept(self, facts: trio.MemorySendChannel[Fact]) -> AsyncIterator[None]:
        """Keep the connections of a source that is on a server."""
        if self.remote is None:
            facts.close()
            yield
        else:
            async with self.remote.kept(facts):
                yield

    async def to_its_end(self) -> Report:
        """Run the pipeline; whatever happens, report it, and announce `Stopped` last."""
        started_at, began = self.clock.wall_ns() / 1e9, trio.current_time()
        policy = self.policy
        self.recorder.publish(
            Started(self.source.display, self.target.display, policy.connections, policy.is_automatic)
        )
        error: BaseException | None = None
        try:
            await self.pipeline()
        except BaseException as raised:  # noqa: BLE001 - whatever it is, it is reported first and raised afterwards
            error = the_cause(raised)
        report = self._report(error, started_at, began)
        try:
            await self._afterwards(report)
        except BaseException as raised:  # noqa: BLE001 - as above
            if error is None:
                error = the_cause(raised)
                report = self._report(error, started_at, began)
        self.recorder.publish(Stopped(report))
        if error is not None and (isinstance(error, StageFailed) or not isinstance(error, ActorsyncError)):
            raise error
        return report

    def _report(self, error: BaseException | None, started_at: float, began: float) -> Report:
        return self.recorder.tally.report(
            exit_code=self._exit_code(error),
            started_at=started_at,
            seconds=trio.current_time() - began,
            left=self.planner.schedule.left,
            drained=self.shutdown.draining.is_set() and not self.planner.is_complete,
            cancelled=self.shutdown.cancelling.is_set() or is_from_outside(error),
            error=self._error_text(error),
        )

    async def _afterwards(self, report: Report) -> None:
        """Await the hook for afterwards, if anything was changed; in a run that is stopped, not for long."""
        hook = self.extras.after_run
        if hook is None or not (report.copied or report.moved or report.removed or report.directories_made):
            return
        has_returned = False
        if report.cancelled:
            with self.shutdown.tidying(), blamed("the hook after_run"):
                await hook(report)
                has_returned = True
        else:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.shutdown.enforce, nursery.cancel_scope)
                with blamed("the hook after_run"):
                    await hook(report)
                    has_returned = True
                nursery.cancel_scope.cancel()
        if not has_returned:
            self.recorder.publish(Warned("the hook after_run was not done when the time for stopping was over"))

    def _exit_code(self, error: BaseException | None) -> int:
        tally = self.recorder.tally
        if is_from_outside(error) or (error is None and self.shutdown.cancelling.is_set()):
            return 130
        if error is not None:
            return error.exit_code if isinstance(error, ActorsyncError) else ActorsyncError.exit_code
        if not self.planner.is_complete:
            return 3 if self.shutdown.draining.is_set() else TargetUnreachable.exit_code
        if tally.refused is not None:
            return GuardRefused.exit_code
        return 1 if tally.failed else 0

    def _error_text(self, error: BaseException | None) -> str | None:
        if is_from_outside(error):
            return None
        if error is not None:
            return str(error) if isinstance(error, ActorsyncError) else f"{type(error).__name__}: a bug in actorsync"
        if not self.planner.is_complete and not self.shutdown.draining.is_set():
            reasons = [str(connection.retired) for connection in self.connections if connection.retired is not None]
            return f"{self.target.display} stayed away: {reasons[-1]}" if reasons else "the run ended early"
        return None


def is_from_outside(error: BaseException | None) -> bool:
    """Tell whether a run was ended by its caller: a cancellation, in whatever shape, or Ctrl-C."""
    return error is not None and not isinstance(error, Exception)


def the_cause(raised: BaseException) -> BaseException:
    """Find what ended a run in the group of exceptions that its nurseries raised.

    A bug comes before a refusal, and anything before a cancellation, which is only ever a consequence.
    """

    def rank(leaf: BaseException) -> int:
        if isinstance(leaf, trio.Cancelled):
            return 2
        return 1 if isinstance(leaf, ActorsyncError) else 0

    leaves = list(_leaves(raised))
    first = min(leaves, key=rank)
    # A cancellation belongs to the caller's scope and must reach it in whatever shape it came.
    return raised if isinstance(first, trio.Cancelled) else first


def _leaves(raised: BaseException) -> Iterator[BaseException]:
    if isinstance(raised, BaseExceptionGroup):
        for inner in raised.exceptions:
            yield from _leaves(inner)
    else:
        yield raised


async def digest_of(source: Endpoint, path: str) -> tuple[Entry, bytes] | None:
    """Read one file of ``source`` and give it with a digest of its content; None when it cannot be had whole."""
    digest = hashlib.blake2b(digest_size=32)
    try:
        async with source.open_session() as session, session.open(path) as content:
            while data := await content.read(1 << 20):
                digest.update(data)
            return (content.entry, digest.digest()) if await content.is_unchanged() else None
    except OperationRefused:
        return None
