"""The supervisor of a two-way run: opens the channels and starts the actors.

::

              ┌────────────────────── pair supervisor: one nursery ──────────────────────┐
     source ──▶ pair      ──scan──▶ pair     ──operations──▶ connection x N ──▶ target   │
     target ──▶ scanner             planner  ──operations──▶ connection x N ──▶ source   │
                  │                  │ ▲                        │                        │
                  │                  │ └──────settled───────┐   outcomes                 │
                  └──────facts───────┴────────facts─────────┴────┴──▶ recorder ──▶ journal, observers

The two sides are alike. Each is changed by a *limb*: a pool, and connections with lanes, as in any run. A limb reads
the other side through a `RemoteSource` if that is on a server, and so does the scanner.

The scan is complete before anything is planned, and the guards have agreed before anything is changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from actorsync.actors.messages import Fact, Settlement
from actorsync.actors.observers import Failure
from actorsync.actors.pairs.scan import PairScan
from actorsync.actors.recorder import Recorder
from actorsync.actors.shutdown import Shutdown
from actorsync.ending import Ending
from actorsync.endpoints.contract import Endpoint
from actorsync.model.event import Started
from actorsync.model.operation import Batch, Side
from actorsync.model.report import Report
from actorsync.pair_assembly import Limb, PairActors, assemble_pair
from actorsync.policy import RunOptions

if TYPE_CHECKING:
    from actorsync.journal.pairs.memory import PairMemory

__all__ = ["supervise_pair"]

#: Batches that may wait in the channel of a limb, for each connection that has many lanes.
_AHEAD: Final = 4


async def supervise_pair(source: Endpoint, target: Endpoint, memory: PairMemory, options: RunOptions) -> Report:
    """Keep both sides in step once, and return the report. Ends as `actorsync.supervisor.supervise` does."""
    actors, policy, clock = assemble_pair(source, target, memory, options), options.policy, options.clock
    ending = Ending(actors, target, options, clock.wall_ns() / 1e9, trio.current_time())
    started = Started(source.display, target.display, policy.connections, policy.is_automatic, is_two_way=True)
    actors.recorder.publish(started)
    failures = (actors.recorder.failure, *(listener.failure for listener in options.listeners))
    options.shares.join()
    try:
        return await ending.after(partial(_run, actors, options, failures))
    finally:
        options.shares.leave()


@trio.lowlevel.enable_ki_protection
async def _run(actors: PairActors, options: RunOptions, failures: Sequence[Failure]) -> None:
    """Open every channel, start every actor with its ends, and return when all have stopped.

    A ``KeyboardInterrupt`` is raised elsewhere: in here it could leave a channel open, with a reader that waits for
    ever.
    """
    width = sum(len(limb.connections) * limb.endpoint.capabilities.lanes for limb in actors.limbs.values())
    send_scan, scans = trio.open_memory_channel[PairScan](1)
    send_fact, facts = trio.open_memory_channel[Fact](16 * width)
    send_settled, settled = trio.open_memory_channel[Settlement](math.inf)
    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(actors.recorder.run, facts, send_settled, send_settled.clone())
        nursery.start_soon(_enforce, options.shutdown, scope, actors.recorder)
        for failure in failures:
            nursery.start_soon(failure.watch)
        for warm in actors.warm:
            await nursery.start(warm.run)
        operations: dict[Side, trio.MemorySendChannel[Batch]] = {}
        taking: dict[Side, trio.MemoryReceiveChannel[Batch]] = {}
        for side, limb in actors.limbs.items():
            operations[side], taking[side] = _channel_for(limb)
            waiting = partial(_waiting, taking[side])
            nursery.start_soon(limb.pool.run, waiting, send_fact.clone())
            nursery.start_soon(limb.pool.follow, options.control, send_fact.clone())
        try:
            with scope:
                async with AsyncExitStack() as stack:
                    for remote in actors.remotes:
                        await stack.enter_async_context(remote.kept(send_fact.clone()))
                    async with trio.open_nursery() as inner:
                        inner.start_soon(actors.scanner.run, send_scan, send_fact.clone())
                        inner.start_soon(actors.planner.run, scans, settled, operations, send_fact.clone())
                        for side, limb in actors.limbs.items():
                            for connection in limb.connections:
                                inner.start_soon(connection.run, taking[side].clone(), send_fact.clone())
                            taking[side].close()
                        send_fact.close()
        except BaseException:
            actors.recorder.finish()  # all others have ended, and not each may have closed its ends
            raise
        finally:
            # The recorder is shielded. From here on it does not wait for a reader of events that is slow.
            actors.recorder.release_reader()
        async with trio.open_nursery() as goodbyes:
            for warm in actors.warm:
                goodbyes.start_soon(warm.end)
        nursery.cancel_scope.cancel()  # `_enforce`, `watch` and the pools; the recorder is shielded until it is done


def _channel_for(limb: Limb) -> tuple[trio.MemorySendChannel[Batch], trio.MemoryReceiveChannel[Batch]]:
    """Open the channel of a limb. It is short, as in any run."""
    return trio.open_memory_channel[Batch](len(limb.connections) * min(limb.endpoint.capabilities.lanes, _AHEAD))


def _waiting(operations: trio.MemoryReceiveChannel[Batch]) -> int:
    """Return how many batches wait for a connection."""
    return operations.statistics().current_buffer_used


async def _enforce(shutdown: Shutdown, scope: trio.CancelScope, recorder: Recorder) -> None:
    """Cancel ``scope`` when a stop asks for it."""
    await shutdown.enforce(scope)
    recorder.release_reader()
