"""From a profile to runs: its endpoints, its policy, its journal, its secrets, and how often.

For a program as for the command line: `run_once` mirrors, `run_forever` goes on mirroring, `plan_once` says what
would be done. All three take a `Shutdown` to be stopped with, observers that are shown every event, and statistics
that may be looked at any time. What ends a pass is in its `Report`; raised is only what keeps a run from beginning
(`JournalLocked`, `ProfileError` of a secret, `FatalError` of the journal), and bugs.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Final

import attrs
import trio

from actorsync.actors.feed import Feed
from actorsync.actors.pipeline import Pipeline
from actorsync.actors.recorder import Observer
from actorsync.actors.shutdown import Shutdown
from actorsync.actors.statistics import Statistics
from actorsync.endpoints.contract import Endpoint
from actorsync.endpoints.wrappers.bandwidth import Bandwidth
from actorsync.endpoints.wrappers.dry_run import DryRun
from actorsync.errors import (
    ActorsyncError,
    ConnectionLost,
    GuardRefused,
    JournalUnusable,
    ProfileError,
    TargetUnreachable,
)
from actorsync.journal import Journal, journal_path, open_journal, open_memory_journal, state_directory
from actorsync.journal.file import naming, open_reader
from actorsync.model.event import Event, Stopped, Warned
from actorsync.model.report import Report
from actorsync.profile import BothSecrets, Profile
from actorsync.runs.open_endpoints import open_endpoints
from actorsync.runs.saved_plan import Notes, Plan, check_target, only
from actorsync.supervisor import Policy, supervise

__all__ = [
    "BREATH",
    "apply_once",
    "ask_first",
    "make_plan",
    "open_endpoints",
    "plan_once",
    "policy_of",
    "repeat",
    "run_forever",
    "run_once",
]

#: Seconds between the end of a pass that took longer than the period, and the next pass.
BREATH: Final = 1.0

#: A pass that ends with one of these may be followed by a better one. Not so with a login that was refused (servers
#: lock accounts out), what is fatal, and a cancel.
_GOES_ON: Final = frozenset({0, 1, GuardRefused.exit_code, TargetUnreachable.exit_code})


def ask_first(profile: Profile, *, is_plan: bool = False, is_rebuilding: bool = False) -> Profile:
    """Ask on the terminal for the secrets that have to be typed, and give the profile with the answers in it.

    Blocks, and is for the main thread, before trio runs there: a Ctrl-C is a ``KeyboardInterrupt``, and nothing else is
    drawn on the terminal. Nobody is asked for a run that another run locks out (`JournalLocked`), nor for a plan that
    need not connect.
    """
    asks_for_target = profile.target.is_asking and not (is_plan and _is_known(profile))
    if not (asks_for_target or profile.source.is_asking):
        return profile
    if not is_plan:
        try:
            with _opened_journal(profile):
                pass
        except JournalUnusable:
            if not is_rebuilding:
                raise
    return profile.answered(only_source=not asks_for_target)


def policy_of(profile: Profile) -> Policy:
    """Give what a run of the profile may do."""
    sync = profile.sync
    return Policy(
        selection=sync.selection(),
        max_delete=sync.max_delete,
        delete=sync.delete,
        by_content=sync.compare == "checksum",
        connections=sync.most_connections,
        is_automatic=sync.is_automatic,
        links_are_errors=sync.links == "error",
        bandwidth=None if sync.bwlimit is None else Bandwidth(sync.bwlimit),
    )


async def run_once(
    profile: Profile,
    *,
    shutdown: Shutdown | None = None,
    observers: Sequence[Observer] = (),
    statistics: Statistics | None = None,
    policy: Policy | None = None,
    is_rebuilding: bool = False,
    pipeline: Pipeline | None = None,
    feed: Feed | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> Report:
    """Mirror once. The journal is locked for as long as it takes.

    ``policy`` replaces the profile's own. ``is_rebuilding`` moves a journal aside that cannot be used, and begins a new
    one: a target that nothing is known of is surveyed, and what is on it is adopted or replaced, but not removed.
    ``task_status`` is told when nothing can keep the run from beginning any more.
    """
    mirror = _Mirror.of(
        profile, shutdown, observers, statistics, policy, is_rebuilding=is_rebuilding, pipeline=pipeline, feed=feed
    )
    async with mirror.ready() as (journal, secrets):
        task_status.started()
        return mirror.unbegun() if mirror.is_stopped else await mirror.one_pass(journal, secrets)


async def run_forever(
    profile: Profile,
    *,
    shutdown: Shutdown | None = None,
    observers: Sequence[Observer] = (),
    statistics: Statistics | None = None,
    policy: Policy | None = None,
    is_rebuilding: bool = False,
) -> int:
    """Mirror every ``sync.every`` until stopped, as `repeat` does; give the exit code.

    The journal stays locked between passes, and each secret is looked up once. The endpoints are new for each pass: a
    source that is a link is followed where it leads by then, and a password that was changed on the server is tried
    once. From the second pass on, paths that keep failing are left alone for longer and longer.
    """
    assert profile.sync.every is not None, "the profile does not say how often"
    mirror = _Mirror.of(profile, shutdown, observers, statistics, policy, is_rebuilding=is_rebuilding)
    async with mirror.ready() as (journal, secrets):
        if mirror.is_stopped:
            return mirror.unbegun().exit_code
        passes = itertools.count()

        async def one_pass() -> Report:
            # A person waits for the first pass, and may have mended what failed. The others are patient.
            return await mirror.one_pass(journal, secrets, is_patient=next(passes) > 0)

        return await repeat(one_pass, profile.sync.every, mirror.shutdown)


async def plan_once(
    profile: Profile,
    *,
    shutdown: Shutdown | None = None,
    observers: Sequence[Observer] = (),
    statistics: Statistics | None = None,
    policy: Policy | None = None,
) -> Report:
    """Go through a run in which nothing is changed, neither the target nor the journal; the events say what would be.

    Takes no lock: it reads the journal as it is at one moment, also while a run is going on. A target that is a server
    is connected to only when the journal does not know it.
    """
    mirror = _Mirror.of(profile, shutdown, observers, statistics, policy)
    with contextlib.closing(await trio.to_thread.run_sync(_copy_journal, profile)) as journal:
        secrets = await mirror.secrets(only_source=not journal.is_fresh)
        if mirror.is_stopped:
            return mirror.unbegun()
        source, target = open_endpoints(profile, secrets)
        return await mirror.supervise(source, DryRun(target), journal)


async def make_plan(
    profile: Profile,
    *,
    shutdown: Shutdown | None = None,
    observers: Sequence[Observer] = (),
    statistics: Statistics | None = None,
    policy: Policy | None = None,
    pipeline: Pipeline | None = None,
) -> Plan:
    """Do as `plan_once` does, and give what would be done as a plan that can be kept.

    A run that was stopped has planned a part, as its report says.
    """
    mirror = _Mirror.of(profile, shutdown, observers, statistics, policy, pipeline=pipeline)
    with contextlib.closing(await trio.to_thread.run_sync(_copy_journal, profile)) as journal:
        secrets = await mirror.secrets(only_source=not journal.is_fresh)
        return await mirror.plan(journal, secrets)


async def apply_once(
    profile: Profile,
    plan: Plan,
    *,
    shutdown: Shutdown | None = None,
    observers: Sequence[Observer] = (),
    statistics: Statistics | None = None,
    policy: Policy | None = None,
    pipeline: Pipeline | None = None,
) -> Report:
    """Do what ``plan`` says, all of it, and nothing else. The journal is locked for as long as it takes.

    Raises `PlanOutdated`, before anything is changed, where either side has moved since the plan was made: what would
    be done now is planned anew, and the directories of the target that it concerns are listed. ``policy`` and
    ``pipeline`` have to be what the plan was made with.
    """
    mirror = _Mirror.of(profile, shutdown, observers, statistics, policy, pipeline=pipeline)
    async with mirror.ready() as (journal, secrets):
        if mirror.is_stopped:
            return mirror.unbegun()
        now = await attrs.evolve(mirror, observers=()).plan(journal.copy_to_memory(), secrets)
        if mirror.is_stopped:
            return mirror.unbegun()
        if now.report.error is not None:
            mirror.publish(Stopped(now.report))
            return now.report
        plan.check(now)
        _, target = open_endpoints(profile, secrets)
        try:
            async with target.open_session() as session:
                await check_target(plan, session)
        except ConnectionLost as error:
            raise TargetUnreachable(f"{target.display} stayed away: {error}") from None
        stages = (*mirror.pipeline.stages, only(plan))
        return await mirror.one_pass(journal, secrets, pipeline=attrs.evolve(mirror.pipeline, stages=stages))


async def repeat(one_pass: Callable[[], Awaitable[Report]], period: float, shutdown: Shutdown) -> int:
    """Make passes, one after the other, until stopped; give the exit code.

    ``period`` counts from start to start. A pass that takes longer is followed by the next after `BREATH`; what was
    missed is not made up for. A pass that failed does not end it, unless its failure will stand: a login refused, or a
    fatal error. A drain between two passes ends it at once, with 0; one during a pass lets the pass end it.
    """
    while True:
        began = trio.current_time()
        report = await one_pass()
        if shutdown.draining.is_set() or report.exit_code not in _GOES_ON:
            return report.exit_code
        with trio.move_on_at(max(began + period, trio.current_time() + BREATH)):
            await shutdown.draining.wait()
            return 0


@attrs.frozen(eq=False)
class _Mirror:
    """A profile, with everything that its passes have in common."""

    profile: Profile
    shutdown: Shutdown
    observers: Sequence[Observer]
    statistics: Statistics
    policy: Policy
    is_rebuilding: bool
    pipeline: Pipeline
    feed: Feed | None

    @classmethod
    def of(
        cls,
        profile: Profile,
        shutdown: Shutdown | None,
        observers: Sequence[Observer],
        statistics: Statistics | None,
        policy: Policy | None,
        *,
        is_rebuilding: bool = False,
        pipeline: Pipeline | None = None,
        feed: Feed | None = None,
    ) -> _Mirror:
        """Fill in what was not given."""
        return cls(
            profile,
            shutdown or Shutdown(profile.shutdown.drain, profile.shutdown.cancel),
            observers,
            statistics if statistics is not None else Statistics(),
            policy or policy_of(profile),
            is_rebuilding,
            pipeline or Pipeline(),
            feed,
        )

    @property
    def is_stopped(self) -> bool:
        return self.shutdown.draining.is_set()

    @contextlib.asynccontextmanager
    async def ready(self) -> AsyncIterator[tuple[Journal, BothSecrets | None]]:
        """Lock and open the journal first, so that a second run is refused before it asks anybody for a password."""
        with contextlib.ExitStack() as stack:
            opening = _opened_journal(self.profile, is_rebuilding=self.is_rebuilding)
            journal = await trio.to_thread.run_sync(stack.enter_context, opening)
            if journal.aside is not None:
                aside, reason = journal.aside
                self.publish(Warned(f"{reason.rpartition('; ')[0]}; it was moved to {aside}, and a new one is begun"))
            yield journal, await self.secrets()

    async def secrets(self, *, only_source: bool = False) -> BothSecrets | None:
        """Look the secrets up, in a thread. A drain meanwhile ends the wait, and None is given."""
        secrets: BothSecrets | None = None
        look_up = partial(self.profile.look_up, only_source=only_source)
        refused: ProfileError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._when_stopped, nursery.cancel_scope.cancel)
            try:
                secrets = await trio.to_thread.run_sync(look_up, abandon_on_cancel=True)
            except ProfileError as error:
                refused = error
            nursery.cancel_scope.cancel()
        if refused is not None:
            raise refused
        return secrets

    async def _when_stopped(self, then: Callable[[], object]) -> None:
        await self.shutdown.draining.wait()
        then()

    def unbegun(self) -> Report:
        """Report a run that was stopped before it began."""
        is_cancelled = self.shutdown.cancelling.is_set()
        report = Report(130 if is_cancelled else 3, time.time(), 0.0, drained=True, cancelled=is_cancelled)
        self.publish(Stopped(report))
        return report

    def publish(self, event: Event) -> None:
        """Tell everybody what is told outside a pass."""
        for observer in self.observers:
            observer(event)
        if self.feed is not None:
            self.feed.observe(event)

    async def plan(self, journal: Journal, secrets: BothSecrets | None) -> Plan:
        """Make a plan with a journal that is only a copy."""
        notes = Notes(journal.record)
        source, target = open_endpoints(self.profile, secrets)
        if self.is_stopped:
            report = self.unbegun()
        else:
            # Behind the stages of the caller: what they leave out is not planned.
            pipeline = Pipeline((*self.pipeline.stages, notes.stage))
            report = await self.supervise(source, DryRun(target), journal, notes.observe, pipeline=pipeline)
        return notes.plan(self.profile.identity, source.display, target.display, report)

    async def one_pass(
        self,
        journal: Journal,
        secrets: BothSecrets | None,
        *,
        is_patient: bool = False,
        pipeline: Pipeline | None = None,
    ) -> Report:
        """Mirror once, and have the journal remember that and how. A patient pass leaves alone what is parked."""
        endings: list[Report] = []

        def keep(event: Event) -> None:
            if isinstance(event, Stopped):
                endings.append(event.report)

        run = await trio.to_thread.run_sync(journal.begin_run, time.time())
        try:
            source, target = open_endpoints(self.profile, secrets)
            return await self.supervise(source, target, journal, keep, is_patient=is_patient, pipeline=pipeline)
        finally:
            # What cannot be noted here was told already, by a report or a bug that must not be hidden.
            with trio.CancelScope(shield=True), contextlib.suppress(ActorsyncError):
                for report in endings:
                    await trio.to_thread.run_sync(journal.end_run, run, report)

    async def supervise(
        self,
        source: Endpoint,
        target: Endpoint,
        journal: Journal,
        *more: Observer,
        is_patient: bool = False,
        pipeline: Pipeline | None = None,
    ) -> Report:
        """Run the engine, with statistics that begin at nothing."""
        for field, value in attrs.asdict(Statistics(), recurse=False).items():
            setattr(self.statistics, field, value)
        return await supervise(
            source,
            target,
            journal,
            attrs.evolve(self.policy, is_patient=is_patient),
            shutdown=self.shutdown,
            observers=[*more, *self.observers],
            statistics=self.statistics,
            pipeline=pipeline or self.pipeline,
            feed=self.feed,
        )


def _opened_journal(profile: Profile, *, is_rebuilding: bool = False) -> contextlib.AbstractContextManager[Journal]:
    directory, identity = state_directory(), profile.identity
    return open_journal(directory, identity, name=str(profile.path), is_rebuilding=is_rebuilding)


@contextlib.contextmanager
def _read_journal(profile: Profile) -> Iterator[Journal | None]:
    """Give the profile's journal to be read, or None when there is none yet. Makes and locks nothing."""
    path = journal_path(state_directory(), profile.identity)
    reader = open_reader(path, profile.identity)
    if reader is None:
        yield None
        return
    with naming(str(path)), contextlib.closing(Journal(reader, reader, str(path))) as journal:
        yield journal


def _copy_journal(profile: Profile) -> Journal:
    """Give a copy of the profile's journal in memory, an empty one when there is none yet."""
    with _read_journal(profile) as journal:
        return open_memory_journal(profile.identity) if journal is None else journal.copy_to_memory()


def _is_known(profile: Profile) -> bool:
    """Tell whether the journal knows the target, so that a plan need not look at it."""
    with _read_journal(profile) as journal:
        return journal is not None and not journal.is_fresh
