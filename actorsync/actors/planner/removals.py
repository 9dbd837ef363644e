"""Removals: planned while the scan goes on, checked when it is complete, and only then released."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping

import attrs
import trio

from actorsync.actors.messages import Blocking
from actorsync.actors.planner.announcer import Announcer
from actorsync.actors.planner.memory import Memory, Rules
from actorsync.actors.planner.progress import Progress, for_each
from actorsync.classes import define
from actorsync.model.entry import Entry, Kind, Record, ScanComplete, Scope, ancestors, name_of, parent_of
from actorsync.model.event import RemovalsDelayed, RemovalsRefused, RemovalsWithheld
from actorsync.model.operation import Failed, Fault, MakeDirectory, Move, Operation, Outcome, Remove, Sending
from actorsync.planning.name_folding import Twins
from actorsync.planning.parking import Parking
from actorsync.planning.publishing.lingering import lingering
from actorsync.planning.reconcile import removals_below
from actorsync.planning.removal_guard import Gone, RemovalRequest, may_go_early, objection, to_postpone, why_postponed
from actorsync.planning.schedule import Schedule

__all__ = ["Delays", "Removals"]


@define(eq=False)
class Removals:
    """Plan removals, and decide at the end of the scan which of them are done in this run.

    ``is_gone`` asks the source for an entry that no listing showed; None where a listing cannot be cut short.
    """

    journal: Memory
    rules: Rules
    schedule: Schedule
    progress: Progress
    announcer: Announcer
    parking: Parking
    blocking: Blocking
    is_gone: Callable[[Entry], Awaitable[bool]] | None = None
    _gone: dict[str, Gone] = attrs.Factory(dict)  # what is known of each path that is to be removed
    _missing: dict[str, Entry] = attrs.Factory(dict)  # what the source had, and did not show in this scan
    _parked: dict[str, str] = attrs.Factory(dict)  # removals that are not tried, and why
    _kept: set[str] = attrs.Factory(set)  # removals that a stage of the caller left out or failed
    _unsent: dict[str, Entry] = attrs.Factory(dict)  # what the source has, and the target has not got
    _ours_before: int = 0  # entries that the target had from the source when the run began
    _foreign_used: int = 0  # foreign entries that the source has as well
    _unlisted: Collection[str] = ()  # directories of the target that the survey could not list
    _guarded: frozenset[str] = frozenset()  # the removals that the guards have agreed to
    _postponed: int = 0  # removals that wait for a run in which nothing near them fails
    outdated: dict[str, bool] = attrs.Factory(dict)
    """Directories of the target in which a removal has shown that the journal does not know them; True: all below."""

    async def begin(self) -> None:
        """Count what the target has before the run changes anything."""
        if self.rules.protects is not None:
            self._ours_before = await self.blocking(self.journal.owned_count)

    def note_foreign(self) -> None:
        """Take note of a foreign entry that is not to be removed, because the source has it as well."""
        self._foreign_used += 1

    async def plan_removal(self, record: Record) -> list[Remove]:
        """Return the removals of an entry and everything below it, leaves first."""
        below: Collection[Record] = ()
        if record.target.kind is Kind.DIRECTORY:
            below = [*await self.blocking(self.journal.subtree, record.target.path)]
        records = {it.target.path: it for it in (record, *below)}
        removals = []
        for entry in removals_below(record, below, self.rules.selection.hides, self.rules.protects):
            self._gone[entry.path] = gone = Gone(records[entry.path], record.target.path)
            if (why := self.parking.why_not(entry.path, None)) is not None:
                self._parked[entry.path] = why
            removals.append(Remove(entry, is_foreign=gone.is_foreign))
        return removals

    def note_missing(self, record: Record) -> None:
        """Take note that the source does not show what it had."""
        self._missing[record.target.path] = record.source or record.target

    def note_unlisted(self, directory: str) -> None:
        """Take note of a directory of the source that could not be listed: it may hold what is missing elsewhere."""
        self._unsent[directory] = Entry(directory, Kind.DIRECTORY)

    def settle(self, outcome: Outcome) -> None:
        """Take note of what could not be sent, which may be the new name of what is missing; and of failed removals."""
        if not isinstance(outcome, Failed):
            return
        operation = outcome.operation
        if isinstance(operation, Sending | MakeDirectory):
            self._unsent[operation.path] = operation.source
        elif isinstance(operation, Remove) and outcome.fault is not Fault.PARKED and self.rules.protects is not None:
            self.outdated.setdefault(parent_of(operation.path), False)
            if operation.target.kind is Kind.DIRECTORY:
                self.outdated[operation.path] = True

    def keep(self, operation: Operation) -> None:
        """Take note of what a stage of the caller does not let go: the target keeps it."""
        if isinstance(operation, Remove):
            self._kept.add(operation.path)
        elif isinstance(operation, Move):
            self._kept.add(operation.target.path)
            self.schedule.forget_removals({operation.target.path})

    @property
    def kept_back(self) -> Collection[str]:
        """The removals that a stage of the caller left out or failed."""
        return self._kept

    def movable(self) -> Mapping[str, Gone]:
        """Return what is missing from the source and is to be removed: a new file may be one of these, renamed."""
        known = {removal.path for removal in self.schedule.removals}  # a stage may have kept some back
        return {
            path: gone
            for path, gone in self._gone.items()
            if gone.top in self._missing and not gone.is_foreign and path not in self._parked and path in known
        }

    async def remove(self, complete: ScanComplete, seen: int, unlisted: Collection[str]) -> None:
        """Ask the guards once about everything that would be removed; then release it, and wait until it is done.

        See `decide`.
        """
        if await self.decide(complete, seen, unlisted):
            await self.release()
        self.progress.notify()  # what a removal that is given up held back may go now
        await self.progress.until_idle()

    async def decide(self, complete: ScanComplete, seen: int, unlisted: Collection[str], coming: int = 0) -> bool:
        """Ask the guards about everything that would be removed. Return False if one refuses; then nothing is.

        ``seen`` is how many entries the scan showed, ``unlisted`` the directories of the target that the survey could
        not list, and ``coming`` how many files the run adds before it removes any.
        """
        await self._drop_outside(complete.scope)
        removals = self.schedule.removals
        reason = await self._objection(complete, seen, coming) if removals else None
        if reason is not None:
            await self.announcer.send(RemovalsRefused(reason, len(removals)))
            await self.announcer.settle(self.schedule.drop_removals("a guard refused"))
            return False
        self._unlisted = unlisted
        self._guarded = frozenset(removal.path for removal in removals)
        if not complete.scope.is_shallow:
            await self.announcer.send(complete)
        await self._confirm_absence()
        await self._postpone_removals()
        return True

    async def _objection(self, complete: ScanComplete, seen: int, coming: int) -> str | None:
        """Return why a guard refuses the removals. It counts all that the journal has, so that takes time."""
        removals = self.schedule.removals
        ours = coming + await self.blocking(self.journal.owned_count)
        root_then = await self.blocking(self.journal.root)
        foreign = sum(removal.is_foreign for removal in removals)
        known = self._ours_before + self._foreign_used + foreign
        if complete.scope.is_shallow:  # what was not listed, and is not known to be gone, is there
            seen += max(0, ours - coming - sum(not gone.is_foreign for gone in self._gone.values()))
        shrinking = self.rules.shrinking
        most = 0 if shrinking is None else shrinking.most(ours, trio.current_time())
        request = RemovalRequest(len(removals), ours, seen, root_then, complete.root, foreign, known, most)
        reason = objection(request, self.rules.max_delete, any_device=self.rules.any_device)
        if shrinking is not None:
            shrinking.is_refused = reason is not None
        return reason

    async def release(self) -> None:
        """Remove what may be removed, and wait until that is done. Only after `decide` has returned True."""
        await self.blocking(self._mark_twins)
        if self.schedule.arrivals:
            await self._make_way()
            # A move that could not be done meanwhile has become a removal that no guard has seen.
            late = frozenset(it.path for it in self.schedule.removals) - self._guarded
            reason = "it was found to be no move after the guards had been asked; the next run removes it"
            await self.announcer.settle(self.schedule.drop_removals(reason, late))
            await self._postpone_removals()
        await self._announce_postponed()
        self.schedule.release_removals()
        self.progress.notify()
        await self.progress.until_idle()

    async def _make_way(self) -> None:
        """Remove what is in the way of files that hold back others by their rank; return when all of these are sent.

        What must not go yet, or could not be removed, holds back nothing any more: it arrives last.
        """
        early = may_go_early(self._gone, self.schedule.making_way, self.schedule.arrivals.entries())
        self.schedule.release_removals(early)
        self.progress.notify()
        await self.progress.until_idle()
        self.schedule.excuse_waiting()
        self.progress.notify()
        await self.progress.until_idle()

    def _mark_twins(self) -> None:
        """Mark the removals of entries that the target may take for one that the source has."""
        removals = self.schedule.removals
        unsent: dict[str, list[str]] = {}
        for path in self._unsent:
            unsent.setdefault(parent_of(path), []).append(name_of(path))
        twins = Twins(lambda directory: [*self.journal.kept_names(directory), *unsent.get(directory, ())])
        going = {removal.path for removal in removals}
        found = {it.path: attrs.evolve(it, twin=twin) for it in removals if (twin := twins.of(it.path, going))}
        if found:
            self.schedule.mark_twins(found)

    async def _drop_outside(self, scope: Scope) -> None:
        """Drop removals outside the scope of the scan: it cannot know what is missing there."""
        outside = frozenset(it.path for it in self.schedule.removals if not scope.decides(it.path))
        if outside:
            await self.announcer.settle(self.schedule.drop_removals("it is outside the scope of the scan", outside))

    async def _confirm_absence(self) -> None:
        """Ask the source by name for what no listing showed: a listing that was cut short looks complete."""
        if self.is_gone is None or not self._missing:
            return
        there: set[str] = set()
        is_gone = self.is_gone

        async def ask(entry: Entry) -> None:
            if not await is_gone(entry):
                there.add(entry.path)

        await for_each(self._missing.values(), ask)
        reason = "not removed: the source has it, though a listing did not show it"
        present = {it.path: reason for it in self.schedule.removals if self._gone[it.path].top in there}
        await self.announcer.settle(self.schedule.park_removals(present, Fault.OTHER))
        self._parked |= present

    async def _postpone_removals(self) -> None:
        """Drop the removals that may be half of a rename which failed."""
        await self.announcer.settle(self.schedule.park_removals(self._parked))
        kept = self._parked.keys() | self._kept
        while True:
            removals = {removal.path: self._gone[removal.path] for removal in self.schedule.removals}
            postponed = to_postpone(removals, self._unsent.values(), kept=kept, unlisted=self._unlisted)
            if not postponed:
                break
            self._postponed += len(postponed)
            # What waits for a removal that is given up fails with it, which may postpone further removals.
            await self.announcer.settle(self.schedule.drop_removals("a file near it failed", postponed))

    async def _announce_postponed(self) -> None:
        """Announce in one event how many removals were postponed."""
        if self._postponed:
            near = self._unsent.keys() | self._parked.keys() | self._kept | set(self._unlisted)
            reason = why_postponed(self._postponed, near)
            await self.announcer.send(RemovalsWithheld(self._postponed, reason))


@define(eq=False)
class Delays:
    """Leave removals to later runs until their time has come: see `Rules.stays`."""

    journal: Memory
    rules: Rules
    schedule: Schedule
    announcer: Announcer
    blocking: Blocking
    wall_clock_ns: Callable[[], int]
    _since: Mapping[str, float] = attrs.Factory(dict)

    async def begin(self) -> None:
        """Learn since when earlier runs have found what gone."""
        self._since = await self.blocking(self.journal.audits.leaving)

    def is_unsettled(self, path: str) -> bool:
        """Return whether a directory may not make way for a file yet, because no run has found it gone for long enough.

        What it holds is lost with it. Where the profile only keeps what is gone for a while, it makes way at once.
        """
        seconds, now = self.rules.settle, self.wall_clock_ns() / 1e9
        return seconds > 0 and not self._since.get(path, now) + seconds <= now

    async def delay(
        self, scope: Scope, moved: Collection[str], kept: Collection[str], unlisted: Collection[str]
    ) -> None:
        """Delay removals, but not those that make way for something new. Call it when all are planned.

        ``moved`` are the old names of files that get another one, ``kept`` removals that a stage of the caller has kept
        back, ``unlisted`` directories of the source that could not be listed: what is below them may be gone or not.
        """
        gone = {it.path for it in self.schedule.removals if scope.decides(it.path) and it.path not in moved}
        since, seconds = self._since, self.rules.stays
        if not (since or (gone and seconds)):
            return
        now = self.wall_clock_ns() / 1e9
        stays = lingering(gone, self.schedule.making_way, since, now, seconds)
        self.schedule.forget_removals(stays.paths)
        there = {
            path
            for path in since
            if path not in gone and path not in kept and scope.contains(path) and not _is_below(path, unlisted)
        }
        # What is in a directory that has come back was not looked at, or is there, too: its time begins anew.
        returned = [path for path in since if path in there or (path not in gone and _is_below(path, there))]
        if stays.paths or returned:
            paths, found = tuple(sorted(stays.paths)), tuple(sorted(stays.found))
            await self.announcer.send(RemovalsDelayed(paths, stays.first, stays.last, now, found, tuple(returned)))


def _is_below(path: str, directories: Collection[str]) -> bool:
    return any(above in directories for above in ancestors(path))
