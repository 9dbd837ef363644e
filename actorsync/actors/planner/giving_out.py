"""Work is given out to the connections, unless the user has paused the run."""

from __future__ import annotations

import trio

from actorsync.actors.control import Control
from actorsync.actors.planner.progress import Progress
from actorsync.actors.statistics import Statistics
from actorsync.classes import define
from actorsync.model.operation import Batch

__all__ = ["GivingOut"]


@define(eq=False)
class GivingOut:
    """The way from the schedule to the connections, which ends when the run is finished."""

    progress: Progress
    statistics: Statistics
    control: Control
    draining: trio.Event
    is_finished: bool = False

    async def run(self, operations: trio.MemorySendChannel[Batch]) -> None:
        """Send what may be done next to the connections, until the run is finished."""
        schedule = self.progress.schedule
        with operations:
            while not self.is_finished:
                batch = None if self.is_paused else schedule.next_batch()
                # What is held back by its rank will need connections soon: they log in meanwhile.
                self.statistics.operations_ready = schedule.ready + schedule.arrivals.held
                if batch is None:
                    await self.progress.wait()
                else:
                    await operations.send(batch)

    async def follow(self) -> None:
        """Look again at what may be given out whenever the user wants something else, for ever."""
        while True:
            await self.control.changed()
            self.progress.notify()

    @property
    def is_paused(self) -> bool:
        """Whether nothing may begin. A run that drains only cleans up: it does not wait for its user."""
        return self.control.is_paused and not self.draining.is_set()

    async def until_resumed(self) -> None:
        """Return when something may begin."""
        while self.is_paused:
            await self.progress.wait()
