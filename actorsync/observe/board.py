"""The board: the state of every mirror of a process, kept from its events. Readers never change it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

import attrs

from actorsync.actors.statistics import Statistics
from actorsync.model.event import Event, PassBegan, Started, Stopped, WatchLost, WatchStarted
from actorsync.model.report import Report

__all__ = ["Board", "MirrorState"]

#: How many reports of passes are kept.
_KEPT: Final = 20


@attrs.define(eq=False)
class MirrorState:
    """The state of one mirror: one target of one profile. Times are in seconds since the epoch.

    ``name`` names it among the mirrors of the process. `observe` is an observer of its run, and of all its passes.
    """

    name: str
    source: str
    target: str
    statistics: Statistics
    is_running: bool = False
    """Whether a pass is going on."""
    is_paused: bool = False
    began_at: float | None = None
    """When the pass began that is going on, or the last one."""
    reason: str = ""
    """Why that pass began, in a word or two."""
    next_at: float | None = None
    """When the next pass over everything is due; None if none is planned."""
    last: Report | None = None
    last_success_at: float | None = None
    """When the last pass ended after which the target was in sync."""
    watching: WatchStarted | None = None
    hinted_at: float | None = None
    """When the oldest change was noticed that is not on the target yet; None if there is none."""
    reports: deque[Report] = attrs.Factory(lambda: deque(maxlen=_KEPT))
    clock: Callable[[], float] = time.time

    def observe(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case PassBegan(reason):
                self.reason = reason
            case Started():
                self.is_running, self.began_at = True, self.clock()
            case WatchStarted():
                self.watching = event
            case WatchLost():
                self.watching = None
            case Stopped(report):
                self.is_running, self.last = False, report
                self.reports.append(report)
                if report.exit_code == 0:
                    self.last_success_at = self.clock()


@attrs.define(eq=False)
class Board:
    """The mirrors of a process, by name, in the order in which they were added."""

    mirrors: dict[str, MirrorState] = attrs.Factory(dict)

    def add(self, state: MirrorState) -> MirrorState:
        """Add a mirror."""
        self.mirrors[state.name] = state
        return state
