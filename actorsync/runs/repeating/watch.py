"""The loop of passes over a source that is watched.

The watch begins before the first pass, and goes on during every pass: a change that comes while a pass goes on is for
the next one. Which pass comes when is decided in `actorsync.planning.watching`.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import attrs
import trio

from actorsync.actors.control import Control
from actorsync.actors.shutdown import Shutdown
from actorsync.classes import define
from actorsync.ending import the_cause
from actorsync.model.entry import parent_of
from actorsync.model.report import Report
from actorsync.planning.watching.agenda import Agenda, Left, Turn
from actorsync.runs.repeating.endings import GOES_ON

__all__ = ["WatchLoop", "WatchTask"]

#: Watches the source, in a task of its own, for `trio.Nursery.start`: it has started once it misses no change.
WatchTask = Callable[..., Awaitable[None]]


@define(eq=False)
class WatchLoop:
    """Makes passes as the agenda says, until stopped. The watch puts changes on the agenda and calls `wake`."""

    agenda: Agenda
    shutdown: Shutdown
    control: Control
    _woken: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    def wake(self) -> None:
        """Look at the agenda again."""
        self._woken.unpark_all()

    async def run(self, watch: WatchTask, one_pass: Callable[[Turn], Awaitable[tuple[Report, Left]]]) -> int | None:
        """Start ``watch``, then make passes until stopped; return the exit code, or None if there was no pass.

        A pass that failed is followed by another, unless the failure is permanent: a refused login, or a fatal error.
        Then the exit code is that of the pass. A drain during a pass ends with that pass and its exit code. A drain
        between two passes ends at once, with 0. Raises what the watch or a pass raises.
        """
        code: int | None = None
        try:
            async with trio.open_nursery() as nursery:
                starting = trio.CancelScope()
                nursery.start_soon(self._follow_shutdown, starting)
                nursery.start_soon(self._follow_control)
                with starting:
                    await nursery.start(watch)
                code = await self._passes(one_pass)
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise the_cause(group) from None
        return code

    async def _follow_shutdown(self, starting: trio.CancelScope) -> None:
        await self.shutdown.draining.wait()
        starting.cancel()
        self.wake()

    async def _follow_control(self) -> None:
        while True:
            now = trio.current_time()
            if self.control.take_rescan():
                self.agenda.rescan(now)
            if self.control.retries:
                self.agenda.look_again({parent_of(path) for path in self.control.retries}, now)
            if directories := self.control.take_directories():
                self.agenda.look_again(directories, now)
            self.wake()
            await self.control.changed()

    async def _passes(self, one_pass: Callable[[Turn], Awaitable[tuple[Report, Left]]]) -> int | None:
        code: int | None = None
        while await self._is_due():
            code, turn = 0, self.agenda.begin(trio.current_time())
            report, left = await one_pass(turn)
            if self.shutdown.draining.is_set() or report.exit_code not in GOES_ON:
                return report.exit_code
            self.agenda.end(turn, left, trio.current_time())
        return code

    async def _is_due(self) -> bool:
        """Wait until the next pass may begin, and return True; or until a drain is requested, and return False."""
        while not self.shutdown.draining.is_set():
            due = math.inf if self.control.is_paused else self.agenda.due()
            if trio.current_time() >= due:
                return True
            with trio.move_on_at(due):
                await self._woken.park()
        return False
