"""The intake of listings: each directory is compared with the journal, and every difference becomes an operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import trio

from actorsync.actors.messages import Finding, Turn
from actorsync.actors.planner.announcer import Announcer
from actorsync.actors.planner.comparison import Comparison
from actorsync.actors.planner.content_checks import ContentChecks
from actorsync.actors.planner.dispatch import Dispatch
from actorsync.actors.planner.memory import Rules
from actorsync.actors.planner.progress import Progress, for_each
from actorsync.actors.planner.removals import Delays, Removals
from actorsync.actors.planner.renames import Renames
from actorsync.actors.planner.respellings import Respellings
from actorsync.actors.planner.survey import Survey
from actorsync.classes import define
from actorsync.model.entry import Entry, Kind, Listing, Record, ScanComplete
from actorsync.model.event import Adopted, Confirmed, Forgotten
from actorsync.model.operation import Failed, Fault, Outcome, SetMode
from actorsync.model.row import ListingRows, decode
from actorsync.planning.modes import mode_to_set
from actorsync.planning.parking import Parking
from actorsync.planning.publishing.held import Held
from actorsync.planning.reconcile import Action, Decision, reconcile
from actorsync.planning.schedule import Schedule

__all__ = ["Intake"]


@define(eq=False)
class Intake:
    """Plan each directory as it comes from the scanner. ``turn`` is held while the journal is read; see `Scanner`."""

    rules: Rules
    schedule: Schedule
    progress: Progress
    announcer: Announcer
    parking: Parking
    turn: Turn
    survey: Survey
    comparison: Comparison
    checks: ContentChecks
    renames: Renames
    respellings: Respellings
    removals: Removals
    delays: Delays
    dispatch: Dispatch
    held: Held
    seen: int = 0
    """How many entries the listings held."""
    has_failed: bool = False
    """Whether anything has failed in this run."""
    unseen: set[str] = attrs.Factory(set)
    """Directories of the source that could not be listed."""
    _scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    _deferred: list[Decision] = attrs.Factory(list)  # removals of directories whose contents are being listed

    async def run(self, listings: trio.MemoryReceiveChannel[Finding]) -> ScanComplete | None:
        """Plan listings until the scan is complete; return None when it ended otherwise, or after `stop`."""
        with self._scope:
            async for finding in listings:
                if isinstance(finding, ScanComplete):
                    return finding
                # While the target is surveyed, plan in small pieces: connections wait for the processor, too.
                for directories in [(listed,) for listed in finding] if self.survey.is_pending else [finding]:
                    await self._plan_directories(directories)
        return None

    @property
    def is_new_rule(self) -> bool:
        """Whether the last complete run had another rule for modes."""
        return self.comparison.is_complete

    async def act_on_deferred(self) -> None:
        """Act on the decisions that had to wait for the end of the survey."""
        deferred, self._deferred = self._deferred, []
        for decision in deferred:
            await self.act_on(decision)

    def settle(self, outcome: Outcome) -> None:
        """Take note of a failure."""
        self.has_failed |= isinstance(outcome, Failed)

    def stop(self) -> None:
        """End `run`: what was not planned is left to the next run."""
        self._scope.cancel()

    async def _plan_directories(self, directories: Sequence[ListingRows]) -> None:
        for listed in directories:
            await self.survey.until_listed(listed.directory)
        async with self.turn.taken():
            # Not in a thread: an indexed read is quick, and the hop costs more. Two at once are slower: see `Scanner`.
            differences = [self.comparison.differences(listed) for listed in directories]
            respelled = self.respellings.count
        for listed, (rest, records) in zip(directories, differences, strict=True):
            if respelled != self.respellings.count:
                rest, records = self.comparison.differences(listed)
            await self._plan_directory(listed, rest, records)
            await self.checks.follow_up(self.act_on)
            while self.schedule.is_full:
                await self.comparison.announce()
                await self.progress.wait()
                await self.checks.follow_up(self.act_on)
        await self.comparison.announce()

    async def _plan_directory(self, listed: ListingRows, rest: Listing, records: Mapping[str, Record]) -> None:
        """Plan one directory; ``rest`` and ``records`` are what of it is not as recorded."""
        if listed.problem is not None:
            # Unknown: nothing is sent, and nothing below is removed. What was there may be anything by now.
            self.unseen.add(listed.directory)
            if not listed.problem.vanished:
                self.removals.note_unlisted(listed.directory)
            return
        self.seen += len(listed.rows)
        if not rest.entries and not records:
            return
        decisions = self._decide(rest, records)
        if await self.respellings.change(decisions, lambda: (decode(row[0]) for row in listed.rows)):
            rest, records = self.comparison.differences(listed)
            decisions = self._decide(rest, records)
        held = await self.renames.candidates(decisions)
        to_be_read: list[Decision] = []
        for decision in decisions:
            if decision.now is not None and decision.now.path in held:
                self.renames.hold(decision)
            elif decision.action is Action.VERIFY:
                to_be_read.append(decision)
            else:
                await self.act_on(decision)
        await for_each(to_be_read, self.act_on)
        self.progress.notify()

    def _decide(self, rest: Listing, records: Mapping[str, Record]) -> list[Decision]:
        rules = self.rules
        decisions = reconcile(
            rest,
            records,
            rules.selection.hides,
            by_content=rules.by_content,
            by_size_time=rules.by_size_time,
            modes=rules.modes,
            is_new_rule=self.is_new_rule,
            protects=rules.protects,
        )
        return self.held.without(list(decisions))

    async def act_on(self, decision: Decision) -> None:
        """Offer the operations that follow from a decision."""
        now, record = decision.now, decision.record
        if record is not None and self._is_deferred(decision.action, record):
            self._deferred.append(decision)
            return
        if record is not None and record.source is None and decision.action not in {Action.REMOVE, Action.REPLACE}:
            self.removals.note_foreign()
        is_compared = decision.action in {Action.ADOPT, Action.VERIFY}
        if now is not None and not is_compared and await self._is_parked(now):
            return
        match decision.action:
            case Action.COPY | Action.MAKE:
                assert now is not None
                await self.dispatch.send(now, replaces=record is not None)
            case Action.ADOPT | Action.VERIFY:
                assert now is not None
                assert record is not None
                if (equal := await self.comparison.equality(now, record)) is not None:
                    await self._settle_mode(equal, record)
                elif not await self._is_parked(now):
                    await self.dispatch.send(now, replaces=True)
            case Action.COMPARE:
                assert now is not None
                assert record is not None
                self.checks.begin(now, record.target)
            case Action.SET_MODE | Action.NOTE:
                assert now is not None
                assert record is not None
                await self._settle_mode(Confirmed(now, record.target, record.digest, record.checksum), record)
            case Action.REMOVE:
                assert record is not None
                if self.rules.delete:
                    self.removals.note_missing(record)
                    await self._offer_removal(record)
            case Action.REPLACE:
                assert now is not None
                assert record is not None
                await self._replace(now, record)
            case Action.BLOCKED:
                assert now is not None
                await self.dispatch.refuse(now, "blocked by an existing entry that actorsync did not create")
                # The next run asks the server, not the journal: by then the entry may be gone. Neither a rename onto
                # a directory nor making a directory where a file is can do harm.
                await self.announcer.send(Forgotten(now.path))

    def _is_deferred(self, action: Action, record: Record) -> bool:
        """Return whether a directory of an exact mirror is to be removed while the survey may still list it."""
        is_removal = action is Action.REMOVE or action is Action.REPLACE
        is_listed_now = record.target.kind is Kind.DIRECTORY and self.survey.is_pending
        return is_removal and is_listed_now and self.rules.protects is not None

    async def _settle_mode(self, equal: Adopted | Confirmed, record: Record) -> None:
        """Offer to set the mode of what is equal, where the target is to have another one; else announce it."""
        source, target = equal.source, equal.target
        mode = mode_to_set(source, record, self.rules.modes, is_new_rule=self.is_new_rule)
        if mode is None:
            await self.comparison.add(equal)
        else:
            checksum = equal.checksum if isinstance(equal, Confirmed) else None
            await self.dispatch.offer(SetMode(source, target, mode, equal.digest, checksum))

    async def _replace(self, now: Entry, record: Record) -> None:
        """Replace an entry of the target by one of another kind.

        A directory may replace a file: that is overwriting it. A directory may hold anything: emptying it is a removal,
        which the profile must allow. Where it does not, the file is sent all the same: the directory may be gone by
        now, and if not, no server lets a file replace it. Where what is gone has to be seen twice, so has a directory.
        """
        is_removed = record.target.kind is Kind.FILE or self.rules.delete
        self.renames.note_replaced(now.path)
        if record.target.kind is Kind.DIRECTORY and self.rules.delete and self.delays.is_unsettled(now.path):
            await self._offer_removal(record)
            return
        goes = is_removed and await self._offer_removal(record)
        if is_removed and not goes and record.source is None:
            await self.dispatch.refuse(now, "blocked by a directory that holds excluded entries; exclude it as well")
        else:
            await self.dispatch.send(now, replaces=not is_removed)

    async def _offer_removal(self, record: Record) -> bool:
        """Offer the removals of an entry and of what is in it. Return whether the entry itself is among them."""
        removals = await self.removals.plan_removal(record)
        for removal in removals:
            await self.dispatch.offer(removal)
        return any(removal.path == record.target.path for removal in removals)

    async def _is_parked(self, now: Entry) -> bool:
        """Tell whether a path is parked. If so, it fails in this run, too."""
        why = self.parking.why_not(now.path, now)
        if why is not None:
            await self.dispatch.refuse(now, why, Fault.PARKED)
        return why is not None
