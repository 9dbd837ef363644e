"""The planner: compares the source with the journal, and gives out what must be done, in the right order.

It is one file because a run is told as one story.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import attrs
import trio

from actorsync.actors.leftovers import Leftovers
from actorsync.actors.messages import Blocking, Fact, Finding, Release, Settlement, Turn, holding, in_thread
from actorsync.actors.pipeline import OperationStage
from actorsync.actors.planner.announcer import Announcer
from actorsync.actors.planner.audits import Audits
from actorsync.actors.planner.comparison import Comparison
from actorsync.actors.planner.content_checks import ContentChecks
from actorsync.actors.planner.dispatch import Dispatch
from actorsync.actors.planner.giving_out import GivingOut
from actorsync.actors.planner.intake import Intake
from actorsync.actors.planner.memory import Memory, Rules, SourceQueries
from actorsync.actors.planner.progress import Progress
from actorsync.actors.planner.questions import Questions
from actorsync.actors.planner.releases import Releases
from actorsync.actors.planner.removals import Delays, Removals
from actorsync.actors.planner.renames import Renames
from actorsync.actors.planner.respellings import Respellings
from actorsync.actors.planner.survey import Survey
from actorsync.actors.statistics import Statistics
from actorsync.classes import define
from actorsync.model.entry import WHOLE_TREE, Entry, ScanComplete, Scope
from actorsync.model.event import Forgotten, Learned, Planned, TrashOpened
from actorsync.model.operation import Batch, Recall, Side
from actorsync.planning.modes import ALONE, Modes
from actorsync.planning.parking import Parking
from actorsync.planning.publishing.held import Held
from actorsync.planning.publishing.keeping import Keeping
from actorsync.planning.schedule import Schedule

__all__ = ["MODES_TRAIT", "Planner"]

#: The name under which the journal keeps the rule for modes of the last complete run.
MODES_TRAIT: Final = "sync.modes"


@define(eq=False)
class Planner:
    """Plan one run with the tables of ``actorsync.planning``.

    ``is_complete`` turns true when the whole run was planned and done, and a drain left nothing undone. ``stages`` are
    those of the caller. ``turn`` is held while the journal is read; see `Scanner`.
    """

    journal: Memory
    rules: Rules
    source: SourceQueries
    draining: trio.Event
    wall_clock_ns: Callable[[], int]
    statistics: Statistics
    turn: Turn = attrs.Factory(Turn)
    blocking: Blocking = in_thread
    stages: Sequence[OperationStage] = ()
    schedule: Schedule = attrs.Factory(Schedule)
    keeping: Keeping = attrs.Factory(Keeping)
    """What earlier attempts have left on the target. The lanes have the same one."""
    default_modes: Modes = ALONE
    """The rule for modes of a profile that has none."""
    trash: tuple[TrashOpened, Callable[[], str]] | None = None
    """The trash of the run, and what returns a place in it; None where old files are not kept there."""
    drain_seconds: float = math.inf
    """How long a stop waits for what was begun."""
    is_complete: bool = False
    audits: Audits | None = attrs.field(default=None, init=False)
    """What this run finds out about a target that is known; None before the run."""
    is_planned: bool = False
    """Whether everything that the run has to do was planned. If not, `planned` is less than that."""
    foreign: int = 0
    """How many entries the target keeps that no run has put there. Counted at the end of a whole run."""
    held: int = 0
    """How many paths stay undone. Counted at the end as well."""
    _story: _Story | None = attrs.field(default=None, init=False)

    @property
    def planned(self) -> int:
        """How many changes were planned so far: those of the schedule, and those that have not reached it yet."""
        beside = 0 if self._story is None else self._story.dispatch.in_hand + self._story.renames.to_replace
        return self.schedule.left.planned + beside

    async def run(
        self,
        listings: trio.MemoryReceiveChannel[Finding],
        settled: trio.MemoryReceiveChannel[Settlement],
        operations: trio.MemorySendChannel[Batch],
        facts: trio.MemorySendChannel[Fact],
        releases: trio.MemorySendChannel[Release],
    ) -> None:
        """Plan one run. Ends, closing its ends, when everything is settled or the drain is over."""
        began, began_ns = trio.current_time(), self.wall_clock_ns()
        with holding(listings, settled, operations, facts, releases):
            story = self._story = self._assemble(Announcer(facts, self.statistics), releases, began, began_ns)
            async with trio.open_nursery() as nursery:
                if self.stages:
                    nursery.start_soon(story.dispatch.run)
                nursery.start_soon(story.take_back, settled)
                nursery.start_soon(story.audits.run)
                nursery.start_soon(story.giving_out.run, operations)
                nursery.start_soon(story.watch_for_drain)
                nursery.start_soon(story.giving_out.follow)
                nursery.start_soon(story.releases.watch)
                complete = await story.plan(listings)
                self.is_complete = complete is not None
                if complete is not None:
                    await story.conclude(complete.scope)
                story.giving_out.is_finished = True
                nursery.cancel_scope.cancel()

    def note_connections(self, count: int) -> None:
        """Take note that so many connections are open: it decides how many of them may have big files."""
        self.schedule.arrivals.connections = count
        if self._story is not None:
            self._story.progress.notify()

    @property
    def is_audit(self) -> bool:
        """Whether the run only compares the target with the journal."""
        return self.rules.audit is not None and self.rules.audit.is_alone

    def _is_new_rule(self) -> bool:
        """Tell whether the last complete run followed another rule for modes than this one.

        A journal without a rule is new, or of a version that followed the default of the target.
        """
        known = self.journal.traits(Side.TARGET).get(MODES_TRAIT, str(self.default_modes))
        return known != str(self.rules.modes)

    def _assemble(
        self, announcer: Announcer, publisher: trio.MemorySendChannel[Release], began: float, began_ns: int
    ) -> _Story:
        """Build the parts of the planner, each with what it needs and no more."""
        journal, rules, source, schedule = self.journal, self.rules, self.source, self.schedule
        progress, parking = Progress(schedule), Parking(is_patient=rules.is_patient)
        is_exact = rules.protects is not None
        survey = Survey(journal, schedule, progress, announcer, self.statistics, self.draining, is_exact)
        is_new_rule = self._is_new_rule()
        comparison = Comparison(
            journal=journal,
            announcer=announcer,
            source=source,
            wall_clock_ns=self.wall_clock_ns,
            began=began,
            by_content=rules.by_content,
            by_size_time=rules.by_size_time,
            is_complete=is_new_rule,
        )
        checks = ContentChecks(schedule, progress, self.draining, self.statistics)
        removals = Removals(journal, rules, schedule, progress, announcer, parking, self.blocking, source.is_gone)
        undone = journal.trash.held()
        renames = Renames(
            journal=journal,
            schedule=schedule,
            progress=progress,
            announcer=announcer,
            parking=parking,
            draining=self.draining,
            blocking=self.blocking,
            digest=source.digest,
            wall_clock_ns=self.wall_clock_ns,
            began_ns=began_ns,
            gone=removals.movable,
            stay_undone=undone.keys(),
            is_enabled=rules.delete and source.is_gone is None and not rules.by_size_time and rules.publish.renames,
        )
        delays = Delays(journal, rules, schedule, announcer, self.blocking, self.wall_clock_ns)
        releases = Releases(
            rule=rules.publish,
            journal=journal,
            schedule=schedule,
            announcer=announcer,
            blocking=self.blocking,
            removals=removals,
            draining=self.draining,
            drain_seconds=self.drain_seconds,
            statistics=self.statistics,
            publisher=publisher,
        )
        releases.trash, releases.approval = self.trash, rules.approval
        respellings = Respellings(schedule, progress, announcer, renames)
        dispatch = Dispatch(
            schedule, progress, announcer, self.statistics, renames, removals, self.keeping, releases, self.stages
        )
        # Another rule for modes: what is kept has the modes of the old one, and no record that tells.
        leftovers = Leftovers(journal, self.keeping, progress.do, self.blocking, self.wall_clock_ns, not is_new_rule)
        intake = Intake(
            rules=rules,
            schedule=schedule,
            progress=progress,
            announcer=announcer,
            parking=parking,
            turn=self.turn,
            survey=survey,
            comparison=comparison,
            checks=checks,
            renames=renames,
            respellings=respellings,
            removals=removals,
            delays=delays,
            dispatch=dispatch,
            held=Held(undone, rules.by_size_time),
        )
        self.audits = audits = Audits(
            journal=journal,
            rule=rules.audit,
            questions=Questions(schedule, progress, self.draining, rules.selection.hides),
            announcer=announcer,
            blocking=self.blocking,
            wall_clock_ns=self.wall_clock_ns,
            survey=survey,
            is_exact=is_exact,
            counts_drift=rules.counts_drift,
        )
        announcer.listeners += [parking.settle, survey.settle, respellings.settle, renames.settle, removals.settle]
        announcer.listeners += [checks.settle, intake.settle, audits.settle, releases.settle, self.keeping.settle]
        parts = (parking, survey, audits, renames, removals, delays, releases, dispatch, intake, leftovers)
        giving_out = GivingOut(progress, self.statistics, rules.control, self.draining)
        return _Story(self, progress, announcer, *parts, giving_out)


@define(eq=False)
class _Story:
    """One run from beginning to end, and the tasks beside it that give work out and take outcomes back.

    The run in order: sweep what an earlier run left; look at the root of a target that the journal knows; survey one
    that it does not know, or not any more; plan each listing as it comes, while work is given out and idle connections
    audit the target; after `ScanComplete`, when everything else is settled, ask the guards, publish what was only
    staged, and remove.
    """

    planner: Planner
    progress: Progress
    announcer: Announcer
    parking: Parking
    survey: Survey
    audits: Audits
    renames: Renames
    removals: Removals
    delays: Delays
    releases: Releases
    dispatch: Dispatch
    intake: Intake
    leftovers: Leftovers
    giving_out: GivingOut

    async def plan(self, listings: trio.MemoryReceiveChannel[Finding]) -> ScanComplete | None:
        """Plan the run, and wait until it is done. Return the end of the scan; None when anything was left undone."""
        schedule = self.progress.schedule
        troubles = await self.planner.blocking(self.planner.journal.troubles)
        self.parking.begin(troubles, self.planner.wall_clock_ns() / 1e9, self.planner.rules.control.take_retries())
        if self.planner.is_audit:
            return await self._audit(listings)
        await self.leftovers.sweep_first()
        await self._recall()
        if not self.planner.journal.is_fresh:
            await self.audits.look_at_root()
        if not await self.releases.recover():
            return None
        await self.leftovers.look_again()
        if self.planner.journal.is_fresh:
            self.renames.is_enabled = False  # nothing on the target is known to be ours
        is_survey = await self.survey.begin_where_unknown()
        # A survey does not compare what is there with what a run that was killed had put there.
        has_records = not self.planner.journal.is_fresh
        if has_records or await self.planner.blocking(self.planner.journal.owned_count) > 0:
            await self.audits.begin()
        await self.removals.begin()
        await self.delays.begin()
        complete = await self.intake.run(listings)
        if is_survey and await self.survey.finish():
            await self.audits.note_survey()
        await self.intake.checks.finish(self.intake.act_on)
        if complete is not None:
            await self.intake.act_on_deferred()
        for move in await self.renames.resolve(complete, self.intake.act_on):
            await self.dispatch.offer(move)
        if complete is not None:
            await self.dispatch.finish()
            if not self.planner.draining.is_set():
                moved = self.renames.old_paths
                await self.delays.delay(complete.scope, moved, self.removals.kept_back, self.intake.unseen)
            await self._announce_totals()
        await self.renames.start()
        await self.renames.replace_undone(self.dispatch.take)
        schedule.arrivals.note_whole()
        self.progress.notify()
        await self.progress.until_idle()
        await self.intake.checks.follow_up(self.intake.act_on)  # after a drain, what is not sent counts as left
        await self.audits.finish()
        await self.giving_out.until_resumed()
        if self.planner.draining.is_set():
            schedule.drain()  # `watch_for_drain` may be late, and what is left must be known before the end
            self.releases.note_drain()
        elif complete is not None and self.planner.rules.publish.is_burst:
            await self.releases.publish_all(complete, self.intake.seen, self.intake.unseen, self.survey.unlisted)
        elif complete is not None:
            await self.removals.remove(complete, self.intake.seen, self.survey.unlisted)
        if self.releases.is_stuck:
            return None
        await self.announcer.until_recorded()
        await self._recall()
        leftovers = await self.planner.blocking(self._read_end)
        kept = self.releases.temporaries
        await self.leftovers.sweep_last(leftovers, complete, self.intake.unseen, kept)
        await self.survey.list_again(self.removals.outdated)  # after the sweep, so that no temporary is listed
        is_left = schedule.left.is_by_drain or self.audits.is_cut_short
        return None if is_left or self.renames.holds_some else complete

    async def _audit(self, listings: trio.MemoryReceiveChannel[Finding]) -> ScanComplete | None:
        """Audit the target, and change nothing on it. The scan lists nothing.

        What an earlier run that was killed has left is neither swept nor recovered. So it is not known whether the
        files that its temporaries were for were put there.
        """
        for _, source in await self.planner.blocking(self.planner.journal.pending):
            self.progress.schedule.audits.touched.update(() if source is None else (source.path,))
        await self.audits.look_at_root()
        await self.audits.begin()
        complete = await self.intake.run(listings)
        await self._announce_totals()
        await self.audits.finish()
        await self.planner.blocking(self._read_end)
        return None if self.audits.is_cut_short else complete

    def _read_end(self) -> Iterable[tuple[str, Entry | None]]:
        """Return the temporaries that are left, and count what the report tells, in one hop to a thread."""
        journal = self.planner.journal
        self.planner.foreign = 0 if self.planner.rules.is_partial else journal.foreign_count()
        self.planner.held = journal.trash.held_count()
        return journal.pending()

    async def _recall(self) -> None:
        """Find out about files that attempts were about to move to the trash, and of which no outcome is known."""
        found = await self.planner.blocking(self.planner.journal.trash.open)
        await self.progress.do(Recall(trashed) for trashed in found)

    async def _announce_totals(self) -> None:
        levels, moved = self.planner.statistics, self.renames.old_paths
        removals = sum(removal.path not in moved for removal in self.progress.schedule.removals)  # none after a drain
        levels.is_total_known = True
        self.planner.is_planned = not self.renames.holds_some
        self.releases.expected.is_whole.set()
        planned = levels.files_planned, levels.bytes_planned, levels.directories_planned
        await self.announcer.send(Planned(*planned, removals, self.renames.planned, self.dispatch.modes_planned))

    async def conclude(self, scope: Scope) -> None:
        """Announce which paths failed again in a complete run, and which have recovered."""
        is_whole = scope == WHOLE_TREE and not (self.intake.has_failed or self.intake.unseen)
        if self.intake.is_new_rule and is_whole and not self.progress.schedule.left.is_some:
            await self.announcer.send(Learned(Side.TARGET, MODES_TRAIT, str(self.planner.rules.modes)))
        for path in self.intake.held.unseen() if is_whole else ():
            record = await self.planner.blocking(self.planner.journal.record, path)
            if record is None or record.source is None:
                await self.announcer.send(Forgotten(path))  # the source has lost it: there is nothing to hold
        for change in self.parking.conclude(self.intake.unseen, self.planner.wall_clock_ns() / 1e9, scope):
            await self.announcer.send(change)

    # The tasks beside the story.

    async def take_back(self, settled: trio.MemoryReceiveChannel[Settlement]) -> None:
        """Settle the outcomes of what was given out, and announce what follows from them."""
        async for outcome in settled:
            self.announcer.note(outcome)
            consequences = self.progress.schedule.settle(outcome)
            if consequences or self.renames.has_undone:
                self.progress.is_settling = True  # the run must not end before these are announced and replaced
                await self.announcer.settle(consequences)
                await self.renames.replace_undone(self.dispatch.take)
                self.progress.is_settling = False
            self.progress.notify()

    async def watch_for_drain(self) -> None:
        """Stop planning and giving out when the run is to drain."""
        await self.planner.draining.wait()
        self.progress.schedule.drain()
        self.dispatch.stop()
        self.intake.stop()
        self.progress.notify()
