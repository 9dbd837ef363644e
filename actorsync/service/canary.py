"""The canary among the targets of a file: the others wait for it before they publish."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from actorsync.classes import define, frozen
from actorsync.model.event import Event, PassBegan, Started, Stopped
from actorsync.planning.publishing.canary import why_closed

__all__ = ["Canary", "directories_of"]


@frozen
class _Pass:
    """A pass of the canary: when it began, and which directories it looks at; None for all of them."""

    began: float
    directories: frozenset[str] | None = None

    def shows(self, since: float, directories: frozenset[str] | None) -> bool:
        """Return whether it sees all that a pass over ``directories`` that began at ``since`` has seen, or newer."""
        covers = self.directories is None or (directories is not None and directories <= self.directories)
        return self.began >= since and covers


@define(eq=False)
class Canary:
    """How the passes of the canary ``name`` end, for the targets that wait for it.

    A target may publish what it has scanned once a pass of the canary has passed that began no earlier than the
    target's own, and looked at all the directories that the target's own did: so the canary has shown that, or
    something newer. Where passes repeat, ``ask`` requests a pass over directories, or over all of them with None.
    """

    name: str
    ask: Callable[[frozenset[str] | None], object] | None = None
    _next: frozenset[str] | None = None
    """The directories of the pass that is about to begin."""
    _running: _Pass | None = None
    _ended: tuple[_Pass, str | None] | None = None
    """The last pass that has ended, and why it has not passed, if so."""
    _is_over: str | None = None
    """Why there will be no further pass."""
    _changed: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)

    def observe(self, event: Event) -> None:
        """Take note of an event of the canary."""
        if isinstance(event, PassBegan):
            self._next = directories_of(event)
        elif isinstance(event, Started):
            self._running, self._next = _Pass(trio.current_time(), self._next), None
        elif isinstance(event, Stopped):
            which = self._running or _Pass(trio.current_time())
            self._ended, self._running = (which, why_closed(self.name, event.report)), None
            self._changed.unpark_all()

    def over(self, reason: str) -> None:
        """Take note that the canary makes no further pass."""
        self._is_over = reason
        self._changed.unpark_all()

    async def approval(self, since: float, directories: frozenset[str] | None = None) -> str | None:
        """Wait for a pass of the canary that shows enough; return why nothing may be published, or None.

        ``since`` is when the waiting target's own pass began, on trio's clock, and ``directories`` are those that it
        looks at; None for all.
        """
        while True:
            if self._ended is not None:
                which, why = self._ended
                if which.shows(since, directories) or (why is not None and which.began >= since):
                    return why
            if self._is_over is not None:
                return self._is_over
            is_coming = self._running is not None and self._running.shows(since, directories)
            if self.ask is not None and not is_coming:
                self.ask(directories)
            await self._changed.park()


def directories_of(event: PassBegan) -> frozenset[str] | None:
    """Return the directories that a pass looks at; None for all of them."""
    return None if event.directories is None else frozenset(event.directories)
