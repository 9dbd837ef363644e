"""The way of an operation from a decision into the schedule: through the stages of the caller, if there are any."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from actorsync.actors.pipeline import Change, OperationStage
from actorsync.actors.planner.announcer import Announcer
from actorsync.actors.planner.progress import Progress
from actorsync.actors.planner.releases import Releases
from actorsync.actors.planner.removals import Removals
from actorsync.actors.planner.renames import Renames
from actorsync.actors.stages import OperationStages, Verdict
from actorsync.actors.statistics import Statistics
from actorsync.classes import define
from actorsync.model.entry import Entry, Kind
from actorsync.model.operation import Copy, Failed, Fault, MakeDirectory, Move, Prepare, SetMode
from actorsync.planning.publishing.keeping import Keeping
from actorsync.planning.schedule import Schedule

__all__ = ["Dispatch"]


@define(eq=False)
class Dispatch:
    """Hand operations to the stages of the caller, and schedule what these send on."""

    schedule: Schedule
    progress: Progress
    announcer: Announcer
    statistics: Statistics
    renames: Renames
    removals: Removals
    keeping: Keeping
    releases: Releases
    stages: Sequence[OperationStage] = ()
    modes_planned: int = 0
    """How many modes were planned to be set."""
    _staging: OperationStages | None = attrs.field(init=False)

    @_staging.default
    def _open_stages(self) -> OperationStages | None:
        return OperationStages(self.stages, self.take, self._until_done, self._leave_out) if self.stages else None

    async def run(self) -> None:
        """Run the stages. What one raises is raised as `StageFailed`."""
        if self._staging is not None:
            await self._staging.run()

    async def finish(self) -> None:
        """Tell the stages that there are no more operations, and wait for what they still send."""
        if self._staging is not None:
            await self._staging.finish()

    def stop(self) -> None:
        """Cancel the stages; the schedule counts what they were given as left."""
        if self._staging is not None:
            for operation in self._staging.stop():
                self.schedule.add(operation)

    @property
    def in_hand(self) -> int:
        """How many operations have not reached the schedule: the stages of the caller have them, or a release."""
        return self.releases.held + (0 if self._staging is None else self._staging.in_hand)

    async def send(self, now: Entry, *, replaces: bool = False) -> None:
        """Offer the copy of a file or the making of a directory."""
        is_directory = now.kind is Kind.DIRECTORY
        await self.offer(MakeDirectory(now) if is_directory else Copy(now, replaces, kept=self.keeping.plan(now)))

    async def offer(self, operation: Change) -> None:
        """Hand an operation to the first stage; schedule it where there are no stages."""
        if self._staging is None:
            await self.take(operation)
        else:
            await self._staging.put(operation)

    async def take(self, verdict: Verdict) -> None:
        """Schedule an operation, or settle one that a stage has failed."""
        if isinstance(verdict, Failed):
            await self._fail(verdict)
        elif isinstance(verdict, Move):
            self.renames.add(verdict)
        else:
            if isinstance(verdict, MakeDirectory):
                self.statistics.directories_planned += 1
            elif isinstance(verdict, Copy):
                self.statistics.files_planned += 1
                self.statistics.bytes_planned += verdict.source.size
            elif isinstance(verdict, SetMode):
                self.modes_planned += 1
            if self.releases.rule.is_burst and isinstance(verdict, SetMode):
                self.releases.hold(verdict)
            else:
                await self.announcer.settle(self.schedule.add(self._staged(verdict)))
            self.progress.notify()
            while self._staging is not None and self.schedule.is_full:
                await self.progress.wait()

    def _staged(self, change: Change) -> Change | Prepare:
        """Return the operation that is given out for a change: before a release, a file is only staged."""
        if self.releases.rule.is_burst and isinstance(change, Copy):
            self.releases.expect(change)
            return Prepare(change.source, change.replaces, kept=change.kept, side=change.side)
        return change

    async def refuse(self, now: Entry, reason: str, fault: Fault = Fault.PATH) -> None:
        """Fail what would be sent, without trying it."""
        operation = MakeDirectory(now) if now.kind is Kind.DIRECTORY else Copy(now, kept=self.keeping.plan(now))
        await self.announcer.settle(self.schedule.refuse(operation, reason, fault), were_planned=False)

    async def _fail(self, failed: Failed) -> None:
        operation = failed.operation
        if isinstance(operation, MakeDirectory | Copy):
            await self.announcer.settle(self.schedule.refuse(operation, failed.reason), were_planned=False)
        else:
            self.removals.keep(operation)
            await self.announcer.settle(self.schedule.refuse(operation, failed.reason, failed.fault))

    async def _leave_out(self, operation: Change) -> None:
        """Settle what no stage has sent on; the target keeps what would have been removed."""
        self.removals.keep(operation)
        await self.announcer.settle([self.schedule.leave_out(operation)])

    async def _until_done(self) -> None:
        """Wait until everything is done that the stages have sent so far."""
        await self.renames.start()
        self.schedule.arrivals.note_whole()  # the scan is complete: what a stage sends late goes behind all of it
        self.progress.notify()
        await self.progress.until_idle()
