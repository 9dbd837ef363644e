"""The actors of a two-way run, built from its options. None of them runs before the supervisor starts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
import trio

from actorsync.actors.connections.connection import Connection
from actorsync.actors.connections.context import ConnectionContext, Reading
from actorsync.actors.connections.pool import Pool
from actorsync.actors.connections.trash import Trash
from actorsync.actors.messages import Fact
from actorsync.actors.observers import is_async
from actorsync.actors.pairs.planner import CLOCK_TRAIT, STAMP_TRAIT, PairPlanner, PairRules
from actorsync.actors.pairs.recovery import Recovery
from actorsync.actors.pairs.scan import PairScan
from actorsync.actors.pairs.scanner import PairScanner
from actorsync.actors.reading.remote_source import RemoteSource
from actorsync.actors.recorder import Recorder
from actorsync.actors.second_look import SecondLook
from actorsync.actors.stages import Gate
from actorsync.actors.statistics import ConnectionLevel, Room
from actorsync.assembly import hides_links, modes_for
from actorsync.classes import define, frozen
from actorsync.endpoints.contract import Endpoint, FindsLinks, Source, ToldOfLogins, traits_of
from actorsync.endpoints.wrappers.bandwidth import Limited
from actorsync.endpoints.wrappers.warm import WarmEndpoint
from actorsync.errors import ConnectionLost, FatalError, GuardRefused, OperationRefused
from actorsync.model.entry import Scope
from actorsync.model.event import TrashOpened
from actorsync.model.operation import Side
from actorsync.model.pair import other
from actorsync.planning.admission.pool_size import Sizing
from actorsync.planning.pairs.clocks import Clocks
from actorsync.planning.pairs.rules import PairRule
from actorsync.planning.pairs.sharing import shared_out
from actorsync.planning.pairs.stamp import Stamp
from actorsync.planning.publishing.keeping import Keeping
from actorsync.planning.publishing.rules import ResumeRule
from actorsync.planning.publishing.trash import Places, run_directory
from actorsync.policy import RunOptions

if TYPE_CHECKING:
    from actorsync.journal.pairs.memory import PairMemory

__all__ = ["Limb", "PairActors", "assemble_pair"]

#: Directories that are listed at the same time: over one connection that carries many requests, and on disks.
_SHARED_WALKERS: Final = 64
_DISK_WALKERS: Final = 4
#: Files that are written to a disk at the same time while they come over connections that carry many at once.
_DISK_WRITERS: Final = 32
#: Seconds for which a connection that nobody uses stays open. It is used again within a run, or closed at its end.
_IDLE: Final = 60.0


@frozen(eq=False)
class Limb:
    """The connections that change one side, and the pool that admits them."""

    side: Side
    endpoint: Endpoint
    pool: Pool
    connections: tuple[Connection, ...]


@frozen(eq=False)
class PairActors:
    """Every actor of one two-way run."""

    scanner: PairScanner
    planner: PairPlanner
    limbs: Mapping[Side, Limb]
    recorder: Recorder
    remotes: tuple[RemoteSource, ...]
    """The sides that are on servers, as they are read."""
    warm: tuple[WarmEndpoint, ...]
    """Holds the connections that pass from those who read a side to those who change it."""

    @property
    def connections(self) -> Sequence[Connection]:
        """All connections."""
        return [it for limb in self.limbs.values() for it in limb.connections]


def assemble_pair(source: Endpoint, target: Endpoint, memory: PairMemory, options: RunOptions) -> PairActors:
    """Build every actor of a two-way run, and set ``options.statistics`` up for its connections."""
    if any(is_async(observer) for observer in options.observers):
        raise TypeError("supervise_pair takes no async observers; run_once, run_forever and make_plan do")
    if options.pipeline.stages or options.policy.transforms:
        raise FatalError(
            "a two-way run has no stages and no transforms, because what they make cannot be taken back to the other "
            'side; leave them out, or use sync.mode = "mirror"'
        )
    options = attrs.evolve(options, policy=options.policy.sparing({}))
    policy, clock, shutdown = options.policy, options.clock, options.shutdown
    shares = {Side.SOURCE: options.shares.source, Side.TARGET: options.shares.target}
    places: dict[Side, Endpoint] = {Side.SOURCE: source, Side.TARGET: target}
    warm = {side: WarmEndpoint(it, _IDLE, shares[side]) for side, it in places.items() if _is_closed_after_use(it)}
    places |= warm
    for side, place in places.items():
        traits_of(place).recall(memory.traits(side))
        if shares[side].ceiling is not None and isinstance(place, ToldOfLogins):
            place.note_others(shares[side].are_others_open)
        if isinstance(place, FindsLinks):
            place.find_links()
    read: dict[Side, Source] = {}
    remotes: dict[Side, RemoteSource] = {}
    for side, place in places.items():
        if place.capabilities.is_remote:
            readers = max(1, policy.connections - 1)
            remotes[side] = RemoteSource(
                place,
                readers,
                policy.backoff,
                shutdown.draining,
                policy.publish.resume,
                clock.wall_ns,
                shares[side],
                side,
            )
        read[side] = remotes.get(side, place)
    options.statistics.bandwidth = policy.bandwidth
    options.statistics.room = Room()
    options.statistics.connections[:] = []
    looks = {side: SecondLook(read[side]) for side in Side}
    clocks = Clocks(*(_ahead(memory.traits(side), places[side]) for side in Side))
    gate = Gate(options.pipeline.before_commit)
    trashes = {} if options.is_plan else _trashes(memory, options)
    limbs = {
        side: _limb(side, places[side], read, looks, gate, memory, options, clocks, trashes.get(side)) for side in Side
    }
    rule = policy.pair or PairRule()
    scope = None if options.within is None else Scope(options.within, is_shallow=True)
    stamp = Stamp.from_text(memory.traits(Side.TARGET).get(STAMP_TRAIT, "")) or Stamp(clock.token()[:8])
    planner = PairPlanner(
        memory=memory,
        rules=PairRules(
            rule,
            policy.max_delete,
            policy.allowed.any_device,
            options.takes,
            scope,
            options.shrinking,
            options.settling,
            options.pipeline.decide,
            options.is_plan,
        ),
        looks=looks,
        clocks=clocks,
        stamp=stamp,
        token=clock.token,
        draining=shutdown.draining,
        wall_clock_ns=clock.wall_ns,
        statistics=options.statistics,
        hides_links={side: partial(hides_links, place, policy) for side, place in places.items()},
        share=partial(_share, limbs, remotes, policy.connections),
        blocking=clock.blocking,
    )
    walkers = max(_walkers(place, policy.connections) for place in places.values())
    scanner = PairScanner(
        read[Side.SOURCE],
        read[Side.TARGET],
        memory,
        policy.selection,
        options.statistics,
        clocks,
        clock.wall_ns,
        shutdown.draining,
        stamp,
        walkers=walkers,
        by_size_time=policy.by_size_time,
        by_content=policy.by_content,
        is_first=memory.is_fresh,
        begin_at=("",) if options.within is None else sorted(options.within),
        is_partial=options.within is not None,
        blocking=clock.blocking,
        recover=partial(_recover, places, memory, options, trashes),
        scan=PairScan(_Preparing(places, remotes, is_plan=options.is_plan).prepare),
    )
    recorder = Recorder(memory, options.observers, clock.blocking, options.feeds)
    return PairActors(scanner, planner, limbs, recorder, tuple(remotes.values()), tuple(warm.values()))


def _is_closed_after_use(place: Endpoint) -> bool:
    """Return whether a session of a place is a connection that ends with its use."""
    return place.capabilities.is_remote and not isinstance(place, WarmEndpoint)


@define(eq=False)
class _Preparing:
    """Logs in to a side that will be changed while the scan goes on, if no connection of the scan will be free then.

    One is in use until the end of the run: it reads what the other side is to get. Where a connection does one thing at
    a time, the scan has as many as there may be, and most of them become free.
    """

    places: Mapping[Side, Endpoint]
    remotes: Mapping[Side, RemoteSource]
    is_plan: bool
    _done: set[Side] = attrs.field(factory=set, init=False)

    def prepare(self, side: Side) -> None:
        """Prepare the change of a side, and of the target, which gets a stamp with any change."""
        if not self.is_plan:
            for one in {side, Side.TARGET} - self._done:
                self._done.add(one)
                place, remote = self.places[one], self.remotes.get(one)
                has_lanes = place.capabilities.lanes > 1
                if isinstance(place, WarmEndpoint) and remote is not None and has_lanes and remote.pool.gives_up_one():
                    place.prepare()


async def _recover(
    places: Mapping[Side, Endpoint],
    memory: PairMemory,
    options: RunOptions,
    trashes: Mapping[Side, Trash],
    facts: trio.MemorySendChannel[Fact],
) -> set[str]:
    """Put right what a run that died has left on either side. Return the paths of which that could not be done.

    Before the first run of all, a target that does not exist is made, as a mirror does.
    """
    if memory.is_fresh and not memory.count() and not options.is_plan:
        await _make_root(places[Side.TARGET])
    unsettled: set[str] = set()
    for side, place in places.items():
        pending = memory.pending(side)
        if pending and options.is_plan:
            unsettled |= {it.final for it in pending if it.final is not None and it.is_aside}
            continue
        recovery = Recovery(
            side,
            place,
            memory.agreement,
            options.policy.backoff,
            options.shutdown.draining,
            options.clock.wall_ns,
            trashes.get(side),
        )
        unsettled |= await recovery.run(pending, facts)
        blocking = options.clock.blocking
        if not options.is_plan and (unknown := await blocking(memory.trash.open, side)):
            await blocking(memory.trash.settle, await recovery.kept(unknown))
    return unsettled


def _trashes(memory: PairMemory, options: RunOptions) -> dict[Side, Trash]:
    """Return the trash of each side; none where old files are removed. No place is that of a file of both sides."""
    rule, clock = options.policy.publish.trash, options.clock
    if rule is None:
        return {}
    now, run = clock.wall_ns(), memory.trash.next_run()
    opened = TrashOpened(run, run_directory(rule.path, now, run, rule.owner), now / 1e9)
    places = Places(opened.directory)
    return {side: Trash(opened, clock.token, places, side) for side in Side}


async def _make_root(place: Endpoint) -> None:
    """Make a root that does not exist. If that goes wrong, the scan says what is wrong with the root.

    On a server the session that looks also makes it, and the scan goes on with it: each login takes many round trips.
    """
    with suppress(ConnectionLost, GuardRefused, OperationRefused):
        if place.capabilities.is_remote:
            async with place.open_session() as session:
                if (await session.list_directory("")).problem is not None:
                    await session.make_directories([""])
            return
        try:
            await place.identify()
        except GuardRefused:
            async with place.open_session() as session:
                await session.make_directories([""])


def _walkers(place: Source, connections: int) -> int:
    if not place.capabilities.is_remote:
        return _DISK_WALKERS
    # Two for each connection: a session can prepare a listing while it ends the one before, if there is one that waits.
    return _SHARED_WALKERS if place.capabilities.lanes > 1 else 2 * connections


def _ahead(traits: Mapping[str, str], place: Source) -> int | None:
    """Return how far the clock of a side is ahead of ours, in nanoseconds; None if that is not known."""
    if not place.capabilities.is_remote:
        return 0
    text = traits.get(CLOCK_TRAIT, "")
    return int(text) if text.lstrip("-").isdigit() else None


def _limb(
    side: Side,
    endpoint: Endpoint,
    read: Mapping[Side, Source],
    looks: Mapping[Side, SecondLook],
    gate: Gate,
    memory: PairMemory,
    options: RunOptions,
    clocks: Clocks,
    trash: Trash | None,
) -> Limb:
    """Return the limb that changes one side, and reads the other one."""
    policy, clock = options.policy, options.clock
    from_side = other(side)
    share = options.shares.target if side is Side.TARGET else options.shares.source
    is_disk = not endpoint.capabilities.is_remote
    at_once = read[from_side].capabilities.lanes if isinstance(read[from_side], RemoteSource) else 1
    most = max(policy.connections, min(_DISK_WRITERS, policy.connections * at_once)) if is_disk else policy.connections
    sizing = Sizing(most, None if is_disk else memory.ceiling(), policy.is_automatic and not is_disk, share)
    sizing.want(options.control.connections)
    pool = Pool(sizing, options.statistics, endpoint.capabilities.lanes, policy.backoff.jitter)
    sent = read[from_side] if policy.bandwidth is None else Limited(read[from_side], policy.bandwidth)
    context = ConnectionContext(
        reading=Reading(sent, read[from_side], looks[from_side], is_near=not isinstance(read[from_side], RemoteSource)),
        target=endpoint,
        statistics=options.statistics,
        shutdown=options.shutdown,
        pool=pool,
        gate=gate,
        backoff=policy.backoff,
        token=clock.token,
        wall_clock_ns=clock.wall_ns,
        keeping=Keeping(ResumeRule(None, keep=0.0)),
        modes=modes_for(endpoint, policy.modes),
        control=options.control,
        side=side,
        clocks=clocks,
        trash=trash,
    )
    first = len(options.statistics.connections) + 1
    levels = [ConnectionLevel(number) for number in range(first, first + most)]
    options.statistics.connections += levels
    return Limb(side, endpoint, pool, tuple(Connection(context, level) for level in levels))


async def _share(
    limbs: Mapping[Side, Limb], remotes: Mapping[Side, RemoteSource], most: int, weights: Mapping[Side, int]
) -> None:
    """Share the connections to each server out between what is read there and what is written."""
    for side, remote in remotes.items():
        lanes = remote.capabilities.lanes
        readers, writers = shared_out(most, lanes, reading=weights[other(side)], writing=weights[side])
        await remote.pool.limit_to(readers)
        limbs[side].pool.want(writers)
