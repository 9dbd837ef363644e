"""The actors of a run, built from its options. None of them runs before the supervisor starts it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from actorsync.actors.connections.connection import Connection
from actorsync.actors.connections.context import ConnectionContext, Reading
from actorsync.actors.connections.digest import digest_of
from actorsync.actors.connections.pool import Pool
from actorsync.actors.connections.trash import Trash
from actorsync.actors.observers import is_async
from actorsync.actors.planner.memory import Memory, Rules, SourceQueries
from actorsync.actors.planner.planner import MODES_TRAIT, Planner
from actorsync.actors.planner.survey import DELETE_TRAIT
from actorsync.actors.publisher import Publisher
from actorsync.actors.recorder import FactStore, Recorder
from actorsync.actors.scanner import KEPT_BACK, WALKERS, Scanner
from actorsync.actors.second_look import SecondLook
from actorsync.actors.stages import Gate, ListingStages
from actorsync.actors.statistics import ConnectionLevel, Room
from actorsync.classes import frozen
from actorsync.endpoints.contract import Endpoint, FindsLinks, Source, ToldOfLogins, traits_of
from actorsync.endpoints.wrappers.bandwidth import Limited
from actorsync.endpoints.wrappers.transform import Transformed
from actorsync.model.entry import Root, parent_of
from actorsync.model.event import TrashOpened
from actorsync.model.operation import Side
from actorsync.planning.admission.pool_size import Sizing
from actorsync.planning.modes import ALONE, SOURCE, Modes
from actorsync.planning.order.arrivals import BIG, Arrivals
from actorsync.planning.publishing.keeping import Keeping
from actorsync.planning.publishing.trash import Places, run_directory
from actorsync.planning.schedule import COMPARISONS, Schedule
from actorsync.planning.walk import PartialWalk, Walk, is_same_root
from actorsync.policy import Policy, RunOptions

if TYPE_CHECKING:
    from actorsync.actors.reading.remote_source import RemoteSource

__all__ = ["Actors", "RunJournal", "assemble", "modes_for"]

_NO_MODES: Final = "sync.modes has no effect: the target has no permissions to set; remove the key from the profile"

#: Directories that are listed at the same time over one shared connection: enough requests to keep it busy.
_SHARING_WALKERS: Final = 8


class RunJournal(Memory, FactStore, Protocol):
    """What a run needs from a journal: the records of earlier runs, and a place for new facts."""

    def ceiling(self) -> int | None:
        """Return how many connections the server was seen to allow; None when it never refused one."""


@frozen(eq=False)
class Actors:
    """Every actor of one run."""

    scanner: Scanner
    stages: ListingStages | None
    """None when the caller adds no stages between scanner and planner."""
    planner: Planner
    publisher: Publisher
    pool: Pool
    connections: tuple[Connection, ...]
    recorder: Recorder
    remote_source: RemoteSource | None
    """None when the source is a local directory."""


@frozen(eq=False)
class _Source:
    """The source, as each actor sees it."""

    listed: Source
    """What the scanner lists."""
    sent: Source
    """What is read to be sent: behind the transforms and the bandwidth limit, where there are any."""
    hashed: Source
    """What is read to be compared. On a server this counts against the bandwidth limit, on a disk it does not."""
    remote: RemoteSource | None
    transformed: Transformed | None


def assemble(source: Source, target: Endpoint, journal: RunJournal, options: RunOptions) -> Actors:
    """Build every actor of a run, and set ``options.statistics`` up for its connections.

    ``options.observers`` are plain functions here: `actorsync.runs.observing` has made listeners of the others.
    """
    if any(is_async(observer) for observer in options.observers):
        raise TypeError("supervise takes no async observers; run_once, run_forever, make_plan and apply_once do")
    trash = _trash(journal, options)
    options = attrs.evolve(options, policy=options.policy.sparing(journal.trash.held()))
    traits_of(source).recall(journal.traits(Side.SOURCE))
    traits_of(target).recall(journal.traits(Side.TARGET))
    for place, share in ((target, options.shares.target), (source, options.shares.source)):
        if share.ceiling is not None and isinstance(place, ToldOfLogins):
            place.note_others(share.are_others_open)
    options = _for_part(journal, target, options)
    policy, shutdown = options.policy, options.shutdown
    seen, keeping = _source_of(source, options), Keeping(policy.publish.resume)
    planner = _planner(seen, target, journal, options, keeping)
    planner.trash = None if trash is None else (trash.opened, trash.place)
    sizing = Sizing(policy.connections, journal.ceiling(), policy.is_automatic, options.shares.target)
    sizing.want(options.control.connections)
    pool = Pool(
        sizing,
        options.statistics,
        target.capabilities.lanes,
        policy.backoff.jitter,
        note_size=planner.note_connections,
    )
    options.statistics.bandwidth = policy.bandwidth
    options.statistics.room = Room()
    second_look = SecondLook(seen.listed)
    gate = Gate(options.pipeline.before_commit)
    stages = options.pipeline.listing_stages
    return Actors(
        scanner=_scanner(
            seen.listed if options.listings is None else options.listings.source(seen.listed),
            second_look,
            planner,
            options,
            journal.traits(Side.SOURCE).get(KEPT_BACK, ""),
            is_first=journal.is_fresh,
            is_remote=seen.remote is not None,
        ),
        stages=ListingStages(stages, shutdown.draining) if stages else None,
        planner=planner,
        publisher=Publisher(gate, shutdown.draining, lambda: len(pool.connected), options.pipeline.check),
        pool=pool,
        connections=_connections(seen, second_look, target, pool, gate, options, trash, keeping),
        recorder=Recorder(journal, options.observers, options.clock.blocking, options.feeds),
        remote_source=seen.remote,
    )


def _trash(journal: RunJournal, options: RunOptions) -> Trash | None:
    """Return the trash of the run; None where old files are overwritten and removed."""
    rule, clock = options.policy.publish.trash, options.clock
    if rule is None:
        return None
    now, run = clock.wall_ns(), journal.trash.next_run()
    opened = TrashOpened(run, run_directory(rule.path, now, run, rule.owner), now / 1e9)
    return Trash(opened, clock.token, Places(opened.directory))


def _source_of(source: Source, options: RunOptions) -> _Source:
    policy = options.policy
    transforms = policy.transforms
    if isinstance(source, Transformed):
        transforms = (*source.transforms, *transforms)
        source = source.real
    remote: RemoteSource | None = None
    if source.capabilities.is_remote:
        from actorsync.actors.reading.remote_source import RemoteSource  # a source on this machine needs none

        draining, wall_ns = options.shutdown.draining, options.clock.wall_ns
        source = remote = RemoteSource(
            source, policy.connections, policy.backoff, draining, policy.publish.resume, wall_ns, options.shares.source
        )
    transformed = Transformed(source, transforms, has_inodes=not policy.by_size_time) if transforms else None
    read = source if transformed is None else transformed
    sent = read if policy.bandwidth is None else Limited(read, policy.bandwidth)
    return _Source(source, sent, read if remote is None else sent, remote, transformed)


def _for_part(journal: RunJournal, target: Endpoint, options: RunOptions) -> RunOptions:
    """Return the options of a run that lists only a part of the source; those of a whole one where it needs to be.

    A whole run is needed as long as the journal does not know both sides, after a release that was broken off, and for
    everything that another rule of the profile changes. A partial one does not look at the target: no round trip, and
    no login, while there is nothing to do. It lists what is asked for, and the directories of what is to be tried again
    or looked at again.
    """
    policy = options.policy
    traits = journal.traits(Side.TARGET)
    is_whole = (
        options.within is None
        or journal.is_fresh
        or journal.root() is None
        or bool(journal.release())
        or (policy.audit is not None and policy.audit.is_alone)
        or (policy.delete == "everything" and traits.get(DELETE_TRAIT, "") == "")
        or traits.get(MODES_TRAIT, str(modes_for(target, None))) != str(modes_for(target, policy.modes))
    )
    if options.within is None or is_whole:
        return attrs.evolve(options, within=None)
    now, stay = options.clock.wall_ns() / 1e9, max(policy.delete_settle, policy.publish.remove_after)
    leaving = journal.audits.leaving().items()
    again = {*options.control.retries, *(path for path, since in leaving if not since <= now < since + stay)}
    within = options.within | {parent_of(path) for path in again}
    return attrs.evolve(options, within=within, policy=attrs.evolve(policy, audit=None))


def _partial(planner: Planner, options: RunOptions, *, is_remote: bool) -> Callable[[Root], Walk | None]:
    """Return what makes the walk of a partial scan. There is none for another root than in the last whole scan.

    Listing stages hide directories with all that is in them, so they have to be shown the directories above.
    """
    journal, policy, within = planner.journal, options.policy, options.within
    is_careful = is_remote or bool(options.pipeline.listing_stages)

    def walk(root: Root) -> Walk | None:
        then = journal.root()
        if within is None or then is None or not is_same_root(then, root, has_inodes=not policy.by_size_time):
            return None
        hides = partial(policy.selection.hides, is_directory=True)
        return PartialWalk(within, hides, journal.directories, not policy.by_size_time, is_careful)

    return walk


def _scanner(
    source: Source,
    second_look: SecondLook,
    planner: Planner,
    options: RunOptions,
    told: str,
    *,
    is_first: bool,
    is_remote: bool,
) -> Scanner:
    policy = options.policy
    walkers = WALKERS if source.capabilities.lanes == 1 else _SHARING_WALKERS
    return Scanner(
        source=source,
        second_look=second_look,
        selection=policy.selection,
        statistics=options.statistics,
        turn=planner.turn,
        links_are_errors=policy.links == "error",
        links_are_followed=policy.links == "follow",
        walkers=walkers,
        begin_at=() if policy.audit is not None and policy.audit.is_alone else ("",),
        partial=_partial(planner, options, is_remote=is_remote),
        told=told,
        is_first=is_first,
    )


def _planner(source: _Source, target: Endpoint, journal: RunJournal, options: RunOptions, keeping: Keeping) -> Planner:
    policy, clock = options.policy, options.clock
    return Planner(
        journal=journal,
        rules=Rules(
            selection=policy.selection,
            max_delete=policy.max_delete,
            delete=bool(policy.delete),
            any_device=policy.allowed.any_device,
            is_patient=policy.is_patient,
            by_content=policy.by_content,
            by_size_time=policy.by_size_time,
            modes=modes_for(target, policy.modes),
            audit=policy.audit,
            counts_drift=policy.counts_drift,
            protects=policy.protects,
            publish=policy.publish,
            approval=options.pipeline.approval,
            settle=policy.delete_settle,
            is_partial=options.within is not None,
            control=options.control,
            shrinking=options.shrinking,
        ),
        source=SourceQueries(
            digest=partial(digest_of, source.hashed),
            is_gone=None if source.remote is None else source.remote.is_gone,
            fingerprinted=None if source.transformed is None else source.transformed.fingerprinted,
        ),
        draining=options.shutdown.draining,
        drain_seconds=options.shutdown.drain_seconds,
        wall_clock_ns=clock.wall_ns,
        statistics=options.statistics,
        blocking=clock.blocking,
        schedule=_schedule(target, policy),
        stages=options.pipeline.operation_stages,
        keeping=keeping,
        default_modes=modes_for(target, None),
    )


def _schedule(target: Endpoint, policy: Policy) -> Schedule:
    """Return the schedule of a run. Where a session sends many files at once, no big file is in the way of others."""
    is_single = target.capabilities.lanes == 1
    big = None if not is_single else min(BIG, policy.publish.resume.smallest or BIG)
    return Schedule(Arrivals(policy.publish.ranks, big=big), comparisons=COMPARISONS if is_single else 1)


def hides_links(place: Endpoint, policy: Policy) -> bool:
    """Return whether a symbolic link may look like a directory, and the user does not say that there is none."""
    return isinstance(place, FindsLinks) and place.hides_links and not policy.allowed.no_links


def modes_for(target: Endpoint, asked: Modes | None) -> Modes:
    """Return the rule for modes: the one that is asked for if the target can follow it, or else its default.

    A target that reports modes gets those of the source; another one keeps its own.
    """
    can = target.capabilities
    if asked is None:
        return SOURCE if can.keeps_modes else ALONE
    return asked if can.keeps_modes or can.sets_modes else ALONE


def _connections(
    source: _Source,
    second_look: SecondLook,
    target: Endpoint,
    pool: Pool,
    gate: Gate,
    options: RunOptions,
    trash: Trash | None,
    keeping: Keeping,
) -> tuple[Connection, ...]:
    policy, clock = options.policy, options.clock
    context = ConnectionContext(
        reading=Reading(source.sent, source.hashed, second_look, is_near=source.remote is None),
        target=target,
        statistics=options.statistics,
        shutdown=options.shutdown,
        pool=pool,
        gate=gate,
        backoff=policy.backoff,
        token=clock.token,
        wall_clock_ns=clock.wall_ns,
        by_content=policy.by_content,
        keeping=keeping,
        protects=policy.protects,
        hides_links=partial(hides_links, target, policy),
        modes=modes_for(target, policy.modes),
        is_burst=policy.publish.is_burst,
        warnings=() if policy.modes is None or modes_for(target, policy.modes) == policy.modes else (_NO_MODES,),
        control=options.control,
        trash=trash,
    )
    levels = options.statistics.connections
    levels[:] = [ConnectionLevel(number) for number in range(1, policy.connections + 1)]
    return tuple(Connection(context, level) for level in levels)
