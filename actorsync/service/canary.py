"""The canary among the targets of a file: the others wait for it before they publish."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from actorsync.model.event import Event, Started, Stopped
from actorsync.planning.publishing.canary import why_closed

__all__ = ["Canary"]


@attrs.define(eq=False)
class Canary:
    """How the passes of the canary ``name`` end, for the targets that wait for it.

    A target may publish what it has scanned once a pass of the canary has passed that began no earlier than the
    target's own: so the canary has shown that, or something newer. Where passes repeat, ``ask`` requests such a pass.
    """

    name: str
    ask: Callable[[], object] | None = None
    _began: float | None = None
    """When the pass of the canary began that is going on."""
    _ended: tuple[float, str | None] | None = None
    """When the last pass that has ended began, and why it has not passed, if so."""
    _is_over: str | None = None
    """Why there will be no further pass."""
    _changed: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)

    def observe(self, event: Event) -> None:
        """Take note of an event of the canary."""
        if isinstance(event, Started):
            self._began = trio.current_time()
        elif isinstance(event, Stopped) and self._began is not None:
            self._ended, self._began = (self._began, why_closed(self.name, event.report)), None
            self._changed.unpark_all()
        elif isinstance(event, Stopped):
            self._ended = (trio.current_time(), why_closed(self.name, event.report))
            self._changed.unpark_all()

    def over(self, reason: str) -> None:
        """Take note that the canary makes no further pass."""
        self._is_over = reason
        self._changed.unpark_all()

    async def approval(self, since: float) -> str | None:
        """Wait for a pass of the canary that began at ``since`` or later; return why nothing may be published, or None.

        ``since`` is when the waiting target's own pass began, on trio's clock.
        """
        is_coming = self._began is not None and self._began >= since
        has_come = self._ended is not None and self._ended[0] >= since
        if self.ask is not None and not (is_coming or has_come):
            self.ask()
        while True:
            if self._ended is not None and self._ended[0] >= since:
                return self._ended[1]
            if self._is_over is not None:
                return self._is_over
            await self._changed.park()
