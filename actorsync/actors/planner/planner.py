"""The planner: compares what is with what was, and gives out what must be done, in the right order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

import attrs
import trio

from actorsync.actors.messages import Blocking, Fact, Finding, Settlement, Several, Turn, Unissued, holding, in_thread
from actorsync.actors.pipeline import Change, OperationStage
from actorsync.actors.stages import OperationStages, Verdict
from actorsync.actors.statistics import Statistics
from actorsync.errors import FatalError
from actorsync.model.entry import Entry, Kind, Listing, Record, ScanComplete, ancestors
from actorsync.model.event import (
    Adopted,
    Confirmed,
    Forgotten,
    Parked,
    Planned,
    RemovalsRefused,
    RemovalsWithheld,
    SurveyComplete,
)
from actorsync.model.operation import (
    Batch,
    Copy,
    Done,
    Failed,
    Fault,
    MakeDirectory,
    Move,
    Operation,
    Outcome,
    Remove,
    Returned,
    Skipped,
    Survey,
    Sweep,
)
from actorsync.model.row import ListingRows, encode
from actorsync.planning import renames as moves
from actorsync.planning.parking import Quarantine
from actorsync.planning.reconcile import Action, Decision, is_racy, reconcile, removals_below
from actorsync.planning.removal_guard import DeleteLimit, Gone, Removals, objection, why_withheld, withheld
from actorsync.planning.schedule import Schedule
from actorsync.planning.selection import Selection

__all__ = ["Digest", "Memory", "Planner"]

#: How many entries that are found to be equal are told in one go, at most.
GROUP = 500

#: Seconds that a file of a server has looked the same when a change would show in its time, in whole seconds.
_SETTLING = 3.0
#: How many files are asked for by name, or read, at once.
_AT_ONCE = 8
#: How many files are held back at most because they may be others by a new name. Beyond that, they are sent.
_MOST_HELD = 200_000

#: Reads a source file and gives the entry that was read with a digest of its content; None when it changed meanwhile
#: or could not be read.
Digest = Callable[[str], Awaitable[tuple[Entry, bytes] | None]]


T = TypeVar("T")


class Memory(Protocol):
    """What the planner needs of a journal."""

    @property
    def is_fresh(self) -> bool: ...

    def differences(self, listed: ListingRows) -> tuple[Listing, Mapping[str, Record]]: ...

    def familiar(self, entries: Sequence[Entry]) -> set[str]: ...

    def subtree(self, directory: str) -> Iterable[Record]: ...

    def owned_count(self) -> int: ...

    def pending(self) -> Iterable[tuple[str, Entry | None]]: ...

    def root(self) -> ScanComplete | None: ...

    def troubles(self) -> Iterable[Parked]: ...


@attrs.define(eq=False)
class Planner:
    """Decide with the tables of ``actorsync.planning``; wait, give out and take back here.

    The run in order: sweep what an earlier run left; survey a target the journal does not know; plan each listing as it
    comes, giving out work all the while; and only after `ScanComplete`, when everything else is settled, ask the guards
    and remove. ``is_complete`` turns true when all of that was gone through, and nothing was left undone by a drain.
    """

    journal: Memory
    selection: Selection
    max_delete: DeleteLimit
    delete: bool
    digest: Digest
    draining: trio.Event
    wall_clock_ns: Callable[[], int]
    statistics: Statistics
    turn: Turn = attrs.Factory(Turn)  # held while the journal is read; see `Scanner`
    is_patient: bool = False
    by_content: bool = False
    """Whether a file that was only touched is read, and not sent, where the checksum of what was sent is known."""
    blocking: Blocking = in_thread
    is_gone: Callable[[Entry], Awaitable[bool]] | None = None
    """Asks the source for what its listings have not shown; None where they cannot have been cut short."""
    stages: Sequence[OperationStage] = ()
    fingerprinted: Callable[[ListingRows], ListingRows] | None = None
    """Gives a directory with what files are known by that are transformed on the way; None where none are."""
    schedule: Schedule = attrs.Factory(Schedule)
    _staging: OperationStages | None = None
    _changed: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)
    is_complete: bool = False
    _finished: bool = False
    _seen: int = 0
    _unsent: dict[str, Entry] = attrs.Factory(dict)  # what the source has, and the target has not got
    _surveying: set[str] = attrs.Factory(set)  # directories of the target that are to be listed, or are just now
    _unsurveyed: set[str] = attrs.Factory(set)  # directories of the target that could not be listed
    _unseen: set[str] = attrs.Factory(set)  # directories of the source that were not
    _gone: dict[str, Gone] = attrs.Factory(dict)  # what was where something is to be removed
    _replaced: set[str] = attrs.Factory(set)  # what makes way for something else of its name
    _held: list[Decision] = attrs.Factory(list)  # new files that may be old ones by another name
    _moves: list[Move] = attrs.Factory(list)  # not scheduled yet: together they are, in one go
    _moves_planned: int = 0
    _unmoved: list[Move] = attrs.Factory(list)  # what has to be sent and removed after all
    _parked: dict[str, str] = attrs.Factory(dict)  # removals that are not tried, and why
    _spared: set[str] = attrs.Factory(set)  # removals that a stage of the caller's would not have
    _equal: list[Adopted | Confirmed] = attrs.Factory(list)  # not told yet
    _missing: dict[str, Entry] = attrs.Factory(dict)  # what the source had, and does not show any more
    _began: float = 0.0
    _began_ns: int = 0
    _is_fresh: bool = False
    _root_refused: str | None = None
    _quarantine: Quarantine = attrs.Factory(lambda: Quarantine({}, 0.0, is_patient=False))
    _announcing: bool = False
    _absorbing: trio.CancelScope = attrs.Factory(trio.CancelScope)

    async def run(
        self,
        listings: trio.MemoryReceiveChannel[Finding],
        settled: trio.MemoryReceiveChannel[Settlement],
        operations: trio.MemorySendChannel[Batch],
        facts: trio.MemorySendChannel[Fact],
    ) -> None:
        """Plan one run. Ends, closing ``operations``, when all is settled or the drain is over."""
        self._began, self._began_ns = trio.current_time(), self.wall_clock_ns()
        with holding(listings, settled, operations, facts):
            async with trio.open_nursery() as nursery:
                if self.stages:
                    self._staging = OperationStages(
                        self.stages,
                        partial(self._take, facts),
                        partial(self._until_done, facts),
                        partial(self._leave_out, facts),
                    )
                    nursery.start_soon(self._staging.run)
                nursery.start_soon(self._take_back, settled, facts)
                nursery.start_soon(self._give_out, operations)
                nursery.start_soon(self._watch_for_drain)
                await self._plan(listings, facts)
                self._finished = True
                self._wake()
                nursery.cancel_scope.cancel()

    # The story.

    async def _plan(self, listings: trio.MemoryReceiveChannel[Finding], facts: trio.MemorySendChannel[Fact]) -> None:
        troubles = await self.blocking(self.journal.troubles)
        self._quarantine = Quarantine.of(troubles, self._now(), is_patient=self.is_patient)
        await self._sweep(recovers=True)
        self._is_fresh = self.journal.is_fresh
        if self._is_fresh:
            await self._begin_survey()
        complete = await self._absorb(listings, facts)
        if self._is_fresh:
            await self._end_survey(facts)
        for move in await self._settle_held(complete, facts):
            await self._offer(move, facts)
        if self._staging is not None and complete is not None:
            await self._staging.finish()
        if complete is not None:
            await self._announce(facts)
        await self._start_moves(facts)
        await self._send_unmoved(facts)
        self._wake()
        await self._until_idle()
        if self.draining.is_set():
            self.schedule.drain()  # the watcher may be late, and what is left must be known before the end
        elif complete is not None:
            await self._remove(complete, facts)
        await self._sweep()
        self.is_complete = complete is not None and not self.schedule.left_by_drain
        if self.is_complete:
            for change in self._quarantine.conclude(self._unseen, self._now()):
                await facts.send(change)

    async def _sweep(self, *, recovers: bool = False) -> None:
        """Remove the temporaries of attempts that did not end: whatever the journal still knows of, and only that.

        ``recovers``: an earlier run may have died between a rename and writing it down. In the run itself, another
        attempt has told what became of the file. The journal goes on knowing those of earlier runs until the second
        time: the server may have been told of them only after the first.
        """
        for temporary, source in await self.blocking(self.journal.pending):
            self.schedule.add(Sweep(temporary, source, recovers))
        self._wake()
        await self._until_idle()

    async def _begin_survey(self) -> None:
        """Have the whole target listed into the journal: a target that is not known must not be guessed at.

        Nothing in a directory is planned before it was listed, and that is all that has to wait.
        """
        self.statistics.is_surveying = True
        self.schedule.add(MakeDirectory(Entry("", Kind.DIRECTORY)))
        self._wake()
        await self._until_idle()
        if self._root_refused is not None:
            raise FatalError(f"the root of the target cannot be made: {self._root_refused}")
        self._add_survey("")
        self._wake()

    async def _end_survey(self, facts: trio.MemorySendChannel[Fact]) -> None:
        """Wait for what of the target the source knows nothing of."""
        while self._surveying and not self.draining.is_set():
            await self._changed.park()
        self.statistics.is_surveying = False
        if not self._unsurveyed and not self.draining.is_set():
            await facts.send(SurveyComplete())

    async def _absorb(
        self, listings: trio.MemoryReceiveChannel[Finding], facts: trio.MemorySendChannel[Fact]
    ) -> ScanComplete | None:
        """Plan listings as they come. Only a `ScanComplete` means that there were no more."""
        with self._absorbing:
            async for finding in listings:
                if isinstance(finding, ScanComplete):
                    return finding
                # While connections list, not for so long in one piece that they would wait for it.
                for results in [(listed,) for listed in finding] if self._surveying else [finding]:
                    await self._absorb_some(results, facts)
        return None

    async def _absorb_some(self, results: Sequence[ListingRows], facts: trio.MemorySendChannel[Fact]) -> None:
        for listed in results:
            while self._is_being_surveyed(listed.directory):
                await self._changed.park()
        async with self.turn.taken():
            # Not in a thread: an indexed read is quick, and handing it over costs more. Two at once are worse: see
            # `Scanner`.
            differences = [self._differences(listed) for listed in results]
        for listed, (rest, records) in zip(results, differences, strict=True):
            await self._absorb_listing(listed, rest, records, facts)
            while self.schedule.is_full:
                await self._tell_equal(facts)
                await self._changed.park()
        await self._tell_equal(facts)

    def _is_being_surveyed(self, directory: str) -> bool:
        """Whether the target may have something in a directory that has not been told yet."""
        surveying = self._surveying
        return bool(surveying) and any(path in surveying for path in (directory, *ancestors(directory)))

    def _differences(self, listed: ListingRows) -> tuple[Listing, Mapping[str, Record]]:
        if listed.problem is not None:
            return Listing(listed.directory), {}
        return self.journal.differences(listed if self.fingerprinted is None else self.fingerprinted(listed))

    async def _absorb_listing(
        self, listed: ListingRows, rest: Listing, records: Mapping[str, Record], facts: trio.MemorySendChannel[Fact]
    ) -> None:
        """Plan one directory, by what of it is not as recorded."""
        if listed.problem is not None:
            # Unknown: nothing is sent, and nothing below is removed. What was there may be anything by now.
            self._unseen.add(listed.directory)
            if not listed.problem.vanished:
                self._unsent[listed.directory] = Entry(listed.directory, Kind.DIRECTORY)
            return
        self._seen += len(listed.rows)
        if not rest.entries and not records:
            return
        decisions = list(reconcile(rest, records, self.selection.hides, by_content=self.by_content))
        held = await self._renamed(decisions)
        to_be_read: list[Decision] = []
        for decision in decisions:
            if decision.now is not None and decision.now.path in held:
                self._held.append(decision)
            elif decision.action is Action.VERIFY:
                to_be_read.append(decision)
            else:
                await self._act_on(decision, facts)
        await _each(to_be_read, lambda decision: self._act_on(decision, facts))
        self._wake()

    async def _act_on(self, decision: Decision, facts: trio.MemorySendChannel[Fact]) -> None:
        now, record = decision.now, decision.record
        is_compared = decision.action is Action.ADOPT or decision.action is Action.VERIFY
        if now is not None and not is_compared and await self._is_parked(now, facts):
            return
        match decision.action:
            case Action.COPY | Action.MAKE:
                assert now is not None
                await self._add(now, facts, replaces=record is not None)
            case Action.ADOPT | Action.VERIFY:
                assert now is not None
                assert record is not None
                await self._compare(now, record, facts)
            case Action.REMOVE:
                assert record is not None
                if self.delete:
                    self._missing[record.target.path] = record.source or record.target
                    await self._doom(record, facts)
            case Action.REPLACE:
                assert now is not None
                assert record is not None
                # A file may make way for a directory of the same name: that is overwriting it. A directory may
                # hold anything: emptying it is removing, which the profile must allow. Where it does not, the file is
                # sent all the same: the directory may be gone by now, and if not, no server lets a file replace it.
                makes_way = record.target.kind is Kind.FILE or self.delete
                self._replaced.add(now.path)
                if makes_way:
                    await self._doom(record, facts)
                await self._add(now, facts, replaces=not makes_way)
            case Action.BLOCKED:
                assert now is not None
                await self._fail(now, "something that is not ours is in its way on the target", facts)
                # The next run asks the server, not our memory: by then somebody may have cleared the way. Neither a
                # rename onto a directory nor making one where a file is can do harm.
                await facts.send(Forgotten(now.path))

    async def _compare(self, now: Entry, record: Record, facts: trio.MemorySendChannel[Fact]) -> None:
        """Settle a file whose times are not enough, without the wire: by what it holds."""
        if now.kind is Kind.DIRECTORY or (record.source is None and not is_racy(now, self.wall_clock_ns())):
            await self._note_equal(Adopted(now, record.target), facts)
            return
        if now.ctime_ns is None:
            # It looked like this before the run began: what changes it from now on gives it another time.
            await trio.sleep_until(self._began + _SETTLING)
        read = await self.digest(now.path)
        # What was sent is told by its digest. What is foreign was compared as the scan saw it: only that is equal.
        if read is None or (read[0] != now if record.source is None else read[1] != record.content):
            if not await self._is_parked(now, facts):
                await self._add(now, facts, replaces=True)
            return
        entry, digest = read
        is_settled = entry.ctime_ns is None and entry.mtime_ns is not None and entry == record.source
        is_kept = not is_settled and is_racy(entry, self.wall_clock_ns())
        kept = digest if is_kept else None
        if record.source is None:
            await self._note_equal(Adopted(entry, record.target, kept), facts)
        else:
            checksum = digest if self.by_content and not is_kept else record.checksum
            await self._note_equal(Confirmed(entry, record.target, kept, checksum), facts)

    async def _note_equal(self, event: Adopted | Confirmed, facts: trio.MemorySendChannel[Fact]) -> None:
        self._equal.append(event)
        if len(self._equal) >= GROUP:
            await self._tell_equal(facts)

    async def _tell_equal(self, facts: trio.MemorySendChannel[Fact]) -> None:
        """Tell what was found to be equal, all that has come together: a target may be full of it."""
        if self._equal:
            several, self._equal = Several(self._equal), []
            await facts.send(several)

    # Renames.

    async def _renamed(self, decisions: Sequence[Decision]) -> Collection[str]:
        """Give the new files that may be old ones by another name: they wait for the scan to say what is gone."""
        if not self.delete or self._is_fresh or self.is_gone is not None or len(self._held) >= _MOST_HELD:
            return ()
        new = moves.candidates(decisions)
        return await self.blocking(self.journal.familiar, new) if new else ()

    async def _settle_held(self, complete: ScanComplete | None, facts: trio.MemorySendChannel[Fact]) -> list[Move]:
        """Give the moves among the files that were held back, and have the others sent."""
        held, self._held = self._held, []
        renamed: list[Move] = []
        for decision, was in moves.pair(held, await self._movable(complete) if held else {}, self._replaced):
            move = None
            if was is not None and decision.now is not None and not self.draining.is_set():
                move = await self._as_move(decision.now, was)
            if move is None:
                await self._act_on(decision, facts)
            else:
                renamed.append(move)
        self._wake()
        return renamed

    async def _movable(self, complete: ScanComplete | None) -> Mapping[str, Record]:
        """Give what is gone from the source and may be moved; nothing makes way for it, or waits for it."""
        then = await self.blocking(self.journal.root)
        if complete is None or then is None or then.device is None or then.device != complete.device:
            return {}  # an inode says something on one disk only
        known = {removal.path for removal in self.schedule.removals}  # a stage may have kept some back
        return {
            path: gone.record
            for path, gone in self._gone.items()
            if gone.top in self._missing and path not in self._parked and path in known
        }

    async def _as_move(self, now: Entry, was: Record) -> Move | None:
        """See that a new file is an old one; None when that cannot be known, or when it is left alone for now."""
        if (
            not moves.may_be(now, was, self._gone[was.target.path].top)
            or self._quarantine.why_not(now.path, now) is not None
        ):
            return None
        digest = None
        if moves.has_to_be_read(now, was, self._began_ns):
            read = await self.digest(now.path)
            if read is None or read[0] != now or was.content not in {None, read[1]}:
                return None
            digest = read[1] if is_racy(now, self.wall_clock_ns()) else None
        return Move(now, was.target, digest, was.content)

    async def _send_unmoved(self, facts: trio.MemorySendChannel[Fact]) -> None:
        """Do otherwise what could not be moved."""
        while self._unmoved:
            move = self._unmoved.pop()
            self.schedule.add(Remove(move.target))
            await self._take(facts, Copy(move.source))  # the stages have agreed to as much

    async def _remove(self, complete: ScanComplete, facts: trio.MemorySendChannel[Fact]) -> None:
        """Ask the guards, once, about everything that would go; then let it go."""
        removals = self.schedule.removals
        ours = await self.blocking(self.journal.owned_count)
        root_then = await self.blocking(self.journal.root)
        reason = objection(Removals(len(removals), ours, self._seen, root_then, complete), self.max_delete)
        if reason is not None:
            await facts.send(RemovalsRefused(reason, len(removals)))
            await self._send_all(self.schedule.drop_removals("a guard refused"), facts)
        else:
            await facts.send(complete)
            await self._doubt(facts)
            await self._withhold(facts)
            self.schedule.release_removals()
            self._wake()
        await self._until_idle()

    async def _doubt(self, facts: trio.MemorySendChannel[Fact]) -> None:
        """Ask for what the listings have not shown, by name: one that was cut short on its way looks whole."""
        if self.is_gone is None or not self._missing:
            return
        there: set[str] = set()
        is_gone = self.is_gone

        async def ask(entry: Entry) -> None:
            if not await is_gone(entry):
                there.add(entry.path)

        await _each(self._missing.values(), ask)
        reason = "not removed: the source has it, though a listing did not show it"
        doubtful = {it.path: reason for it in self.schedule.removals if self._gone[it.path].top in there}
        await self._send_all(self.schedule.park_removals(doubtful, Fault.OTHER), facts)
        self._parked |= doubtful

    async def _withhold(self, facts: trio.MemorySendChannel[Fact]) -> None:
        """Take back what must not be removed in this run, and say so in one event."""
        await self._send_all(self.schedule.park_removals(self._parked), facts)
        count, kept = 0, self._parked.keys() | self._spared
        while True:
            removals = {removal.path: self._gone[removal.path] for removal in self.schedule.removals}
            near = withheld(removals, self._unsent.values(), kept=kept, unsurveyed=self._unsurveyed)
            if not near:
                break
            count += len(near)
            # What waited for a removal that is withheld fails with it, and may withhold more.
            await self._send_all(self.schedule.drop_removals("something near it failed", near), facts)
        if count:
            reason = why_withheld(count, self._unsent.keys() | kept | self._unsurveyed)
            await facts.send(RemovalsWithheld(count, reason))

    # Small steps.

    async def _add(self, now: Entry, facts: trio.MemorySendChannel[Fact], *, replaces: bool = False) -> None:
        operation: Copy | MakeDirectory
        operation = MakeDirectory(now) if now.kind is Kind.DIRECTORY else Copy(now, replaces)
        await self._offer(operation, facts)

    async def _offer(self, operation: Change, facts: trio.MemorySendChannel[Fact]) -> None:
        """Hand on what is to be done: to the caller's stages, where there are any."""
        if self._staging is None:
            await self._take(facts, operation)
        else:
            await self._staging.put(operation)

    async def _take(self, facts: trio.MemorySendChannel[Fact], verdict: Verdict) -> None:
        """Schedule what shall be done."""
        if isinstance(verdict, Failed):
            operation = verdict.operation
            if isinstance(operation, MakeDirectory | Copy):
                await self._send_all(self.schedule.refuse(operation, verdict.reason), facts)
            else:
                self._spare(operation)
                await self._send_all([verdict], facts)
            return
        if isinstance(verdict, Move):
            self._moves.append(verdict)
            self._moves_planned += 1
            return
        if isinstance(verdict, MakeDirectory):
            self.statistics.directories_planned += 1
        elif isinstance(verdict, Copy):
            self.statistics.files_planned += 1
            self.statistics.bytes_planned += verdict.source.size
        await self._send_all(self.schedule.add(verdict), facts)
        self._wake()
        while self._staging is not None and self.schedule.is_full:
            await self._changed.park()

    async def _leave_out(self, facts: trio.MemorySendChannel[Fact], operation: Change) -> None:
        """Leave undone what a stage has not sent on; what it would not have removed stays, with what it is in."""
        self._spare(operation)
        await self._send_all([self.schedule.leave_out(operation)], facts)

    def _spare(self, operation: Operation) -> None:
        """Take note of what is not to go from the target, for all that the stages say."""
        if isinstance(operation, Remove):
            self._spared.add(operation.path)
        elif isinstance(operation, Move):
            self._spared.add(operation.target.path)
            self.schedule.spare(operation.target.path)

    async def _doom(self, record: Record, facts: trio.MemorySendChannel[Fact]) -> None:
        below: Collection[Record] = ()
        if record.target.kind is Kind.DIRECTORY:
            below = [*await self.blocking(self.journal.subtree, record.target.path)]
        records = {it.target.path: it for it in (record, *below)}
        for entry in removals_below(record, below, self.selection.hides):
            self._gone[entry.path] = Gone(records[entry.path], record.target.path)
            if (why := self._quarantine.why_not(entry.path, None)) is not None:
                self._parked[entry.path] = why
            await self._offer(Remove(entry), facts)

    async def _is_parked(self, now: Entry, facts: trio.MemorySendChannel[Fact]) -> bool:
        """Tell whether something is left alone because it failed in the last runs; it is a failure of this one, too."""
        why = self._quarantine.why_not(now.path, now)
        if why is not None:
            await self._fail(now, why, facts, Fault.PARKED)
        return why is not None

    async def _fail(
        self, now: Entry, reason: str, facts: trio.MemorySendChannel[Fact], fault: Fault = Fault.PATH
    ) -> None:
        operation = MakeDirectory(now) if now.kind is Kind.DIRECTORY else Copy(now)
        await self._send_all(self.schedule.refuse(operation, reason, fault), facts)

    async def _send_all(self, outcomes: Iterable[Outcome], facts: trio.MemorySendChannel[Fact]) -> None:
        """Announce outcomes of operations that were never given out."""
        for outcome in outcomes:
            self._take_note(outcome)
            await facts.send(Unissued(outcome))

    def _take_note(self, outcome: Outcome) -> None:
        """Remember what a failure means for what comes later in this run, and for the next ones."""
        self._quarantine.settle(outcome)
        if isinstance(outcome, Skipped) and isinstance(outcome.operation, Move):
            self._unmoved.append(outcome.operation)
        if isinstance(outcome.operation, Survey) and not isinstance(outcome, Returned):
            self._surveying.discard(outcome.operation.path)
        if isinstance(outcome, Failed):
            match outcome.operation:
                case Copy(source) | MakeDirectory(source):
                    self._unsent[source.path] = source
                    if not source.path:
                        self._root_refused = outcome.reason
                case Survey(path):
                    self._unsurveyed.add(path)

    def _add_survey(self, directory: str) -> None:
        self._surveying.add(directory)
        self.schedule.add(Survey(directory))

    def _now(self) -> float:
        return self.wall_clock_ns() / 1e9

    async def _announce(self, facts: trio.MemorySendChannel[Fact]) -> None:
        levels, moved = self.statistics, {move.target.path for move in self._moves}
        removals = sum(removal.path not in moved for removal in self.schedule.removals)  # after a drain there are none
        levels.is_total_known = True
        planned = levels.files_planned, levels.bytes_planned, levels.directories_planned
        await facts.send(Planned(*planned, removals, self._moves_planned))

    async def _start_moves(self, facts: trio.MemorySendChannel[Fact]) -> None:
        """Have done what is a rename on the target, in place of the removals of the old names."""
        started, self._moves = self._moves, []
        await self._send_all(self.schedule.move(started), facts)
        self._wake()

    async def _until_done(self, facts: trio.MemorySendChannel[Fact]) -> None:
        """Wait until all is done that the stages have sent so far."""
        await self._start_moves(facts)
        await self._until_idle()

    async def _until_idle(self) -> None:
        while self._announcing or not self.schedule.is_idle:
            await self._changed.park()

    def _wake(self) -> None:
        self._changed.unpark_all()

    # The three that run beside the story.

    async def _give_out(self, operations: trio.MemorySendChannel[Batch]) -> None:
        with operations:
            while not self._finished:
                batch = self.schedule.next_batch()
                self.statistics.operations_ready = self.schedule.ready
                if batch is None:
                    await self._changed.park()
                else:
                    await operations.send(batch)

    async def _take_back(
        self, settled: trio.MemoryReceiveChannel[Settlement], facts: trio.MemorySendChannel[Fact]
    ) -> None:
        async for outcome in settled:
            self._take_note(outcome)
            if isinstance(outcome, Done) and outcome.listing is not None:
                # In the order in which the scanner comes to them, so that what it finds need not wait for long.
                directories = [entry.path for entry in outcome.listing.entries if entry.kind is Kind.DIRECTORY]
                for directory in sorted(directories, key=encode):
                    self._add_survey(directory)
            consequences = self.schedule.settle(outcome)
            if consequences or self._unmoved:
                self._announcing = True  # nothing may end before these are told, and followed by what they call for
                await self._send_all(consequences, facts)
                await self._send_unmoved(facts)
                self._announcing = False
            self._wake()

    async def _watch_for_drain(self) -> None:
        await self.draining.wait()
        self.schedule.drain()
        if self._staging is not None:
            for operation in self._staging.stop():
                self.schedule.add(operation)  # counts it as left
        self._absorbing.cancel()
        self._wake()


async def _each(items: Collection[T], do: Callable[[T], Awaitable[None]]) -> None:
    """Do something about each, some at a time."""
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            await do(item)

    async with trio.open_nursery() as nursery:
        for _ in range(min(len(items), _AT_ONCE)):
            nursery.start_soon(work)
