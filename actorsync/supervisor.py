"""The supervisor: opens the channels and starts the actors. No other module does either.

::

              ┌──────────────────────── supervisor: one nursery ─────────────────────────┐
     source ──▶ scanner ──listings──▶ planner ──operations──▶ connection x N ──▶ target
                  │                   │ │  ▲                    ▲  │
                  │                   │ └──│──releases──▶ publisher│
                  │                   │    │                ▲  │   │
                  │                   │    └──settled──┐ outcomes │
                  └───────facts───────┴────────facts───┴────┴──┴───┴──▶ recorder ──▶ journal, observers

If the caller adds listing stages, listings pass through one extra actor between scanner and planner. Operation stages
run inside the planner, before an operation is scheduled.
If the source is on a server, a `RemoteSource` stands before it: a few connections that all actors share. Contents are
read through `Transformed` (content made on the way) and `Limited` (a bandwidth limit), where the policy asks for them.

The publisher gives files that were sent under temporary names their final names, all of a release together. It has the
operations of a release back from the recorder over a channel of its own, and answers the planner at the end.

Every channel is bounded, so a slow connection slows the scan down. The one arrow that goes back, ``settled``, never
makes its sender wait: it holds at most one outcome for each operation that was given out. So no circle of actors can
wait for each other.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from actorsync.actors.messages import Fact, Finding, Release, Settlement
from actorsync.actors.observers import Failure
from actorsync.actors.recorder import Recorder
from actorsync.actors.shutdown import Shutdown
from actorsync.assembly import Actors, RunJournal, assemble
from actorsync.ending import Ending
from actorsync.endpoints.contract import Endpoint, Source
from actorsync.model.event import Started
from actorsync.model.operation import Batch
from actorsync.model.report import Report
from actorsync.policy import RunOptions

if TYPE_CHECKING:
    from actorsync.actors.reading.remote_source import RemoteSource

__all__ = ["supervise"]

#: Batches that may wait in the channel, for each connection that has many lanes.
_AHEAD: Final = 4


async def supervise(source: Source, target: Endpoint, journal: RunJournal, options: RunOptions) -> Report:
    """Mirror ``source`` to ``target`` once, and return the report.

    A refusal (by a guard, of a login, by a server that cannot be reached) ends in the report, as failures of single
    files do; ``exit_code`` tells them apart. A bug is raised, alone, after all actors have stopped and the journal is
    written. So is `StageFailed`, for what the caller's own stages, hooks and observers raise. `Stopped` is always the
    last event.
    """
    actors, policy, clock = assemble(source, target, journal, options), options.policy, options.clock
    ending = Ending(actors, target, options, clock.wall_ns() / 1e9, trio.current_time())
    actors.recorder.publish(Started(source.display, target.display, policy.connections, policy.is_automatic))
    failures = (actors.recorder.failure, *(listener.failure for listener in options.listeners))
    lanes = target.capabilities.lanes
    options.shares.join()
    try:
        return await ending.after(partial(_run, actors, policy.connections, lanes, options.shutdown, failures))
    finally:
        options.shares.leave()


@trio.lowlevel.enable_ki_protection
async def _run(actors: Actors, connections: int, lanes: int, shutdown: Shutdown, failures: Sequence[Failure]) -> None:
    """Open every channel, start every actor with its ends, and return when all have stopped.

    A ``KeyboardInterrupt`` is raised elsewhere: in here it could leave a channel open, with a reader that
    waits for ever.
    """
    width = connections * lanes
    send_found, found = send_listing, listings = trio.open_memory_channel[Finding](width)
    if actors.stages is not None:
        send_listing, listings = trio.open_memory_channel[Finding](width)
    # Short: a batch in this channel is past the schedule, and a directory that became ready now waits behind it.
    send_batch, operations = trio.open_memory_channel[Batch](connections * min(lanes, _AHEAD))
    send_fact, facts = trio.open_memory_channel[Fact](16 * width)
    send_settled, settled = trio.open_memory_channel[Settlement](math.inf)
    send_outcome, outcomes = trio.open_memory_channel[Settlement](math.inf)
    send_release, releases = trio.open_memory_channel[Release](0)
    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(actors.recorder.run, facts, send_settled, send_outcome)
        nursery.start_soon(_enforce, shutdown, scope, actors.recorder)
        for failure in failures:
            nursery.start_soon(failure.watch)
        nursery.start_soon(actors.pool.run, lambda: operations.statistics().current_buffer_used, send_fact.clone())
        nursery.start_soon(actors.pool.follow, actors.planner.rules.control, send_fact.clone())
        try:
            with scope:
                async with _source_open(actors.remote_source, send_fact.clone()), trio.open_nursery() as inner:
                    inner.start_soon(actors.scanner.run, send_found, send_fact.clone())
                    if actors.stages is not None:
                        inner.start_soon(actors.stages.run, found, send_listing)
                    to_connections = send_batch.clone()
                    inner.start_soon(actors.publisher.run, releases, outcomes, to_connections, send_fact.clone())
                    inner.start_soon(actors.planner.run, listings, settled, send_batch, send_fact.clone(), send_release)
                    for connection in actors.connections:
                        inner.start_soon(connection.run, operations.clone(), send_fact.clone())
                    operations.close()
                    send_fact.close()
        except BaseException:
            actors.recorder.finish()  # all others have ended, and not each may have closed its ends
            raise
        finally:
            # The recorder is shielded. From here on it does not wait for a reader of events that is slow.
            actors.recorder.release_reader()
        nursery.cancel_scope.cancel()  # `_enforce`, `watch` and the pool; the recorder is shielded until it is done


async def _enforce(shutdown: Shutdown, scope: trio.CancelScope, recorder: Recorder) -> None:
    """Cancel ``scope`` when a stop asks for it."""
    await shutdown.enforce(scope)
    recorder.release_reader()


@asynccontextmanager
async def _source_open(source: RemoteSource | None, facts: trio.MemorySendChannel[Fact]) -> AsyncIterator[None]:
    """Keep the connections to a source that is on a server open in the block."""
    if source is None:
        facts.close()
        yield
    else:
        async with source.kept(facts):
            yield
