"""Files that the target has, and that are ours only if their content is: compared over a connection, then planned."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import attrs
import trio

from actorsync.actors.planner.progress import Progress
from actorsync.actors.statistics import Statistics
from actorsync.classes import define
from actorsync.model.entry import Entry, Record
from actorsync.model.operation import Compare, Done, Outcome, Returned, Skipped
from actorsync.planning.reconcile import Action, Decision
from actorsync.planning.schedule import Schedule

__all__ = ["ContentChecks"]


@define(eq=False)
class ContentChecks:
    """Have the contents of foreign files compared, and keep what follows from each comparison until it is planned.

    A comparison changes nothing, so it is not offered to the stages of the caller. What follows from it is.
    """

    schedule: Schedule
    progress: Progress
    draining: trio.Event
    statistics: Statistics
    _pending: set[str] = attrs.Factory(set)
    _following: deque[Decision] = attrs.Factory(deque)

    def begin(self, now: Entry, target: Entry) -> None:
        """Schedule the comparison of a file with what the target has under its name."""
        self._pending.add(now.path)
        self.statistics.comparisons_planned += 1
        self.schedule.add(Compare(now, target))
        self.progress.notify()

    def settle(self, outcome: Outcome) -> None:
        """Take note of the outcome of a comparison."""
        operation = outcome.operation
        if not isinstance(operation, Compare) or isinstance(outcome, Returned):
            return
        self._pending.discard(operation.path)
        self.statistics.comparisons_done += 1
        if isinstance(outcome, Skipped):
            self._following.append(Decision(Action.COPY, operation.source, Record(None, operation.target)))
        elif isinstance(outcome, Done) and outcome.source is not None:
            if outcome.source.mode is not None or operation.source.mode is None:
                return
            # The mode is still to be set: see `Comparisons`.
            now = attrs.evolve(outcome.source, mode=operation.source.mode)
            record = Record(None, operation.target, outcome.digest, outcome.checksum)
            self._following.append(Decision(Action.SET_MODE, now, record))

    async def follow_up(self, act: Callable[[Decision], Awaitable[None]]) -> None:
        """Await ``act`` for what follows from the comparisons made so far."""
        while self._following:
            await act(self._following.popleft())

    async def finish(self, act: Callable[[Decision], Awaitable[None]]) -> None:
        """Wait until every comparison is made, and await ``act`` for what follows. Returns early when draining."""
        await self.follow_up(act)
        while self._pending and not self.draining.is_set():
            await self.progress.wait()
            await self.follow_up(act)
