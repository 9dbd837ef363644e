"""A profile that is being mirrored: what its passes have in common."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import trio

from actorsync.actors.observers import Observer
from actorsync.actors.pipeline import Pipeline
from actorsync.actors.statistics import Statistics
from actorsync.classes import frozen
from actorsync.endpoints.contract import Endpoint, keeping_logins
from actorsync.errors import ActorsyncError, ProfileError
from actorsync.journal import Journal, begin_mode
from actorsync.model.event import Event, Stopped, Warned
from actorsync.model.messages import did_nothing, unplanned_text
from actorsync.model.operation import Copy, Done, MakeDirectory, Move, Remove
from actorsync.model.report import Report
from actorsync.planning.publishing.rules import ResumeRule
from actorsync.policy import RunOptions
from actorsync.profile import BothSecrets, Profile
from actorsync.runs.doubts import doubts_of
from actorsync.runs.open_endpoints import open_endpoints
from actorsync.runs.past.trash import sides_of, tend
from actorsync.runs.profile_journal import lock_journal_of
from actorsync.supervisor import supervise

if TYPE_CHECKING:
    from actorsync.runs.saved_plan import Plan

__all__ = ["Mirror", "Places"]

#: Source and target of a run.
Places = tuple[Endpoint, Endpoint]


@frozen(eq=False)
class Mirror:
    """A profile and the options of its run. Each pass goes over new endpoints."""

    profile: Profile
    options: RunOptions
    is_rebuilding: bool = False

    @property
    def is_stopped(self) -> bool:
        """Whether a stop was requested."""
        return self.options.shutdown.draining.is_set()

    def with_policy(self, **changes: Any) -> Mirror:
        """Return the mirror with changes to its policy."""
        policy = attrs.evolve(self.options.policy, **changes)
        return attrs.evolve(self, options=attrs.evolve(self.options, policy=policy))

    @contextlib.asynccontextmanager
    async def ready(self) -> AsyncIterator[tuple[Journal, BothSecrets | None]]:
        """Lock and open the journal, then look the secrets up: a locked journal is reported before any prompt."""
        with contextlib.ExitStack() as stack:
            opening = lock_journal_of(self.profile, is_rebuilding=self.is_rebuilding)
            journal = await trio.to_thread.run_sync(stack.enter_context, opening)
            if journal.aside is not None:
                aside, reason = journal.aside
                self.publish(Warned(f"{reason.rpartition('; ')[0]}; moved to {aside}, and a new journal was started"))
            await self.warn_of_doubts()
            async with contextlib.AsyncExitStack() as companions:
                for companion in self.options.companions:
                    await companions.enter_async_context(companion(journal, self.publish))
                secrets = await self.secrets()
                self.options.begun()
                yield journal, secrets

    async def warn_of_doubts(self) -> None:
        """Publish a warning for each text in the profile that hardly means what it says. See `doubts_of`."""
        for doubt in await trio.to_thread.run_sync(doubts_of, self.profile):
            self.publish(Warned(doubt))

    async def secrets(self, *, only_source: bool = False) -> BothSecrets | None:
        """Look the secrets up, in a thread. Return None if a stop is requested meanwhile."""
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
        await self.options.shutdown.draining.wait()
        then()

    def unbegun(self) -> Report:
        """Publish and return the report of a run that was stopped before it began."""
        is_cancelled = self.options.shutdown.cancelling.is_set()
        report = Report(130 if is_cancelled else 3, time.time(), 0.0, drained=True, cancelled=is_cancelled)
        self.publish(Stopped(report))
        return report

    def publish(self, event: Event) -> None:
        """Show the observers an event that does not belong to a pass."""
        self.options.publish(event)

    async def plan(self, journal: Journal, secrets: BothSecrets | None, places: Places | None = None) -> Plan:
        """Make a plan. ``journal`` must be a copy: the plan changes it. See `one_pass` for ``places``."""
        if self.options.policy.pair is not None:
            return await self._pair_plan(journal, secrets, places)
        # What a run does not need is not imported for it: it starts faster.
        from actorsync.endpoints.wrappers.dry_run import DryRun
        from actorsync.runs.saved_plan import Notes

        notes = Notes(journal.record)
        source, target = places or open_endpoints(self.profile, secrets)
        if self.is_stopped:
            report = self.unbegun()
        else:
            # After the stages of the caller: an operation that they leave out is not planned.
            stages = (*self.options.pipeline.stages, notes.stage)
            # It rests on the journal alone, where there is one: the target is not asked for its secret.
            # It stages nothing, nothing goes to the trash, and what is kept would have to be looked at on the target.
            resume = ResumeRule(None, keep=0.0)
            publish = attrs.evolve(self.options.policy.publish, is_burst=False, trash=None, resume=resume)
            policy = attrs.evolve(self.options.policy.sparing({}), audit=None, counts_drift=False, publish=publish)
            options = attrs.evolve(self.options, policy=policy, pipeline=Pipeline(stages))
            if drifts := journal.audits.drifts():
                self.publish(Warned(unplanned_text(len(drifts))))
            mirror = attrs.evolve(self, options=options)
            async with keeping_logins(source, *([target] if journal.is_fresh else [])):
                report = await mirror._supervise(
                    source, DryRun(target, is_read=journal.is_fresh), journal, notes.observe
                )
        return notes.plan(self.profile.identity, source.display, target.display, report)

    async def _pair_plan(self, journal: Journal, secrets: BothSecrets | None, places: Places | None) -> Plan:
        """Make the plan of a two-way run: it lists both sides, and does nothing of what follows."""
        from actorsync.runs.saved_plan import Plan, Step

        steps: list[Step] = []

        def note(event: Event) -> None:
            match event:
                case Done(Copy() as operation):
                    steps.append(Step(operation, operation.over))
                case Done(Move() | Remove() as operation):
                    steps.append(Step(operation, operation.target))
                case Done(MakeDirectory() as operation):
                    steps.append(Step(operation, None))

        source, target = places or open_endpoints(self.profile, secrets)
        if self.is_stopped:
            report = self.unbegun()
        else:
            mirror = attrs.evolve(self, options=attrs.evolve(self.options, is_plan=True))
            async with keeping_logins(source, target):
                report = await mirror._supervise(source, target, journal, note)
        identity = self.profile.identity
        return Plan(identity, source.display, target.display, report.started_at, tuple(steps), report)

    async def one_pass(self, journal: Journal, secrets: BothSecrets | None, places: Places | None = None) -> Report:
        """Mirror once, and record in the journal that the pass began and how it ended.

        ``places`` are a source and a target that are open already; without them, new ones are opened. A pass over a
        part of the source (``RunOptions.within``) is recorded at its end, if it has done or left anything: most hints
        are about nothing.
        """
        if self.options.within is not None:
            return await self._partial_pass(journal, places or open_endpoints(self.profile, secrets))
        endings: list[Report] = []

        def keep(event: Event) -> None:
            if isinstance(event, Stopped):
                endings.append(event.report)

        run = await trio.to_thread.run_sync(journal.begin_run, time.time())
        try:
            source, target = places or open_endpoints(self.profile, secrets)
            async with keeping_logins(source, target):
                report = await self._supervise(source, target, journal, keep)
                await self._tend_trash(source, target, journal, report)
                return report
        finally:
            # An error here must not hide the report, or the bug, that was announced before.
            with trio.CancelScope(shield=True), contextlib.suppress(ActorsyncError):
                for report in endings:
                    await trio.to_thread.run_sync(journal.end_run, run, report)

    async def _partial_pass(self, journal: Journal, places: Places) -> Report:
        def record(event: Event) -> None:
            if isinstance(event, Stopped):
                endings.append(event.report)

        endings: list[Report] = []
        try:
            async with keeping_logins(*places):
                return await self._supervise(*places, journal, record)
        finally:
            # An error here must not hide the report, or the bug, that was announced before.
            with trio.CancelScope(shield=True), contextlib.suppress(ActorsyncError):
                for report in endings:
                    if not (report.exit_code == 0 and did_nothing(report)):
                        await trio.to_thread.run_sync(journal.end_run, None, report)

    async def _tend_trash(self, source: Endpoint, target: Endpoint, journal: Journal, report: Report) -> None:
        """Let old versions leave the trash after a run that was neither stopped nor ended by an error.

        What is not deleted stays for the next run.
        """
        rule = self.options.policy.publish.trash
        if rule is None or self.is_stopped or report.error is not None:
            return
        is_two_way = self.options.policy.pair is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._when_stopped, nursery.cancel_scope.cancel)
            with contextlib.suppress(ActorsyncError):
                await tend(sides_of(source, target, is_two_way=is_two_way), journal, rule, time.time())
            nursery.cancel_scope.cancel()

    async def _supervise(self, source: Endpoint, target: Endpoint, journal: Journal, observer: Observer) -> Report:
        """Run the supervisor, with statistics that begin at zero, and one more observer."""
        for field, value in attrs.asdict(Statistics(), recurse=False).items():
            setattr(self.options.statistics, field, value)
        options = attrs.evolve(self.options, observers=[observer, *self.options.observers])
        is_two_way = options.policy.pair is not None
        await trio.to_thread.run_sync(partial(begin_mode, journal, is_two_way=is_two_way))
        if options.policy.pair is not None:
            from actorsync.pair_supervisor import supervise_pair

            return await supervise_pair(source, target, journal.pairs, options)
        return await supervise(source, target, journal, options)
