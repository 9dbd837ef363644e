"""The board: the state of every mirror of a process, kept from its events. Readers never change it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Final, Literal

import attrs

from actorsync.actors.control import Control
from actorsync.actors.statistics import Statistics
from actorsync.classes import define, frozen
from actorsync.errors import DRIFTED
from actorsync.model.event import (
    Adopted,
    Confirmed,
    Event,
    Intended,
    Learned,
    Noticed,
    PartSent,
    PassBegan,
    Relisted,
    RemovalIntended,
    Started,
    Stopped,
    Swept,
    WatchStarted,
)
from actorsync.model.report import Report
from actorsync.observe.counters import Counters
from actorsync.observe.freshness import Freshness
from actorsync.observe.history import History
from actorsync.observe.rates import Rates
from actorsync.observe.troubles import Troubles

__all__ = ["Board", "Condition", "MirrorState", "Pace", "Readers"]

Condition = Literal["running", "waiting", "idle", "paused", "failed"]

#: Exit codes of passes that have not failed: in sync, stopped early by the user, drifted.
_NOT_FAILED: Final = frozenset({0, 3, DRIFTED, 130})

#: Events that change nothing here. They are the most frequent ones, and a run must not wait for its board.
_QUIET: Final = frozenset({Adopted, Confirmed, Intended, Learned, PartSent, Relisted, RemovalIntended, Swept})


@frozen
class Pace:
    """How often a mirror is to be in sync, in seconds. ``every`` is the time between two passes over everything.

    ``stale_after`` is the greatest age of the last success with which the mirror is ready; None for no limit.
    """

    every: float | None = None
    stale_after: float | None = None


@define(eq=False)
class Readers:
    """What is called with each event of a mirror, after its state was brought up to date.

    A reader that raises is not called again: it must not end the run.
    """

    revision: int = 0
    """Grows with each event, so that a reader that polls knows whether anything has happened."""
    _readers: list[Callable[[Event], None]] = attrs.Factory(list)

    def add(self, reader: Callable[[Event], None]) -> None:
        """Add a reader. It must not wait."""
        self._readers.append(reader)

    def tell(self, event: Event) -> None:
        """Call each reader with an event."""
        self.revision += 1
        for reader in tuple(self._readers):
            try:
                reader(event)
            except Exception:
                self._readers.remove(reader)
                logging.getLogger("actorsync").exception("an observer of [observe] failed, and is not called again")


@define(eq=False)
class MirrorState:
    """The state of one mirror: one target of one profile. Times are in seconds since the epoch.

    ``name`` names it among the mirrors of the process. `observe` is an observer of its run, and of all its passes.
    """

    name: str
    source: str
    target: str
    statistics: Statistics
    control: Control = attrs.Factory(Control)
    profile: str = ""
    """The name of the profile."""
    pace: Pace = attrs.Factory(Pace)
    is_running: bool = False
    """Whether a pass is going on."""
    began_at: float | None = None
    """When the pass began that is going on, or the last one."""
    reason: str = ""
    """Why that pass began, in a word or two."""
    directories: tuple[str, ...] | None = None
    """The directories of the source that the pass looks at; None for all."""
    next_at: float | None = None
    """When the next pass over everything is due; None if none is planned."""
    watching: WatchStarted | None = None
    freshness: Freshness = attrs.Factory(Freshness)
    history: History = attrs.Factory(History)
    troubles: Troubles = attrs.Factory(Troubles)
    counters: Counters = attrs.Factory(Counters)
    rates: Rates = attrs.Factory(Rates)
    readers: Readers = attrs.Factory(Readers)
    clock: Callable[[], float] = time.time

    @property
    def is_paused(self) -> bool:
        """Whether the user has paused it."""
        return self.control.is_paused

    @property
    def hinted_at(self) -> float | None:
        """When the oldest change was noticed that is not on the target yet; None if there is none."""
        return self.freshness.hinted_at

    @property
    def last(self) -> Report | None:
        """The report of the last pass; None if none has ended."""
        return self.history.last

    @property
    def last_success_at(self) -> float | None:
        """When the last pass ended after which the target was in sync."""
        return self.history.last_success_at

    @property
    def condition(self) -> Condition:
        """What it does, in a word. It is ``waiting`` between two passes, and ``idle`` if no pass follows."""
        if self.is_paused:
            return "paused"
        if self.is_running:
            return "running"
        if self.last is not None and self.last.exit_code not in _NOT_FAILED:
            return "failed"
        return "idle" if self.next_at is None and self.watching is None else "waiting"

    def observe(self, event: Event) -> None:
        """Take note of an event, and pass it on to the readers."""
        if type(event) not in _QUIET:
            self._fold(event)
        self.readers.tell(event)
        if isinstance(event, Stopped):
            self.directories = None  # a run that does not repeat has no `PassBegan`, and looks at everything

    def _fold(self, event: Event) -> None:
        self.counters.observe(event)
        self.troubles.observe(event)
        match event:
            case PassBegan(reason, directories):
                self.reason, self.directories = reason, directories
                self.freshness.begin()
            case Noticed():
                self.freshness.notice(self.clock())
            case Started():
                self.is_running, self.began_at = True, self.clock()
                self.troubles.begin()
                self.rates.begin()
            case WatchStarted():
                self.watching = event
            case Stopped(report):
                self._end(report)

    def _end(self, report: Report) -> None:
        now = self.clock()
        self.is_running = False
        self.history.add(report, self.directories, now)
        self.freshness.end(is_in_sync=self.history.is_good)
        if self.pace.every is not None and self.directories is None:
            began_at = now if self.began_at is None else self.began_at
            self.next_at = max(now, began_at + self.pace.every)

    def why_not_ready(self) -> str | None:
        """Return in one line why what depends on the mirror cannot rely on it; None if it can."""
        if self.last is None:
            return "no pass has ended yet"
        if not self.history.is_good:
            return f"the last pass ended with exit code {self.last.exit_code}"
        limit, success = self.pace.stale_after, self.last_success_at
        if limit is not None and success is not None and (age := self.clock() - success) > limit:
            return f"the last success was {age:.0f} s ago, and observe.stale-after is {limit:.0f} s"
        return None


@define(eq=False)
class Board:
    """The mirrors of a process, by name, in the order in which they were added."""

    mirrors: dict[str, MirrorState] = attrs.Factory(dict)
    started_at: float = attrs.Factory(time.time)

    def add(self, state: MirrorState) -> MirrorState:
        """Add a mirror."""
        self.mirrors[state.name] = state
        return state

    def of(self, states: Iterable[MirrorState]) -> Board:
        """Return a board of some of the mirrors only."""
        return Board({state.name: state for state in states}, self.started_at)

    @property
    def revision(self) -> int:
        """Grows with each event of a mirror."""
        return sum(state.readers.revision for state in self.mirrors.values())

    @property
    def is_busy(self) -> bool:
        """Whether a pass is going on."""
        return any(state.is_running for state in self.mirrors.values())
