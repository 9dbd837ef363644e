"""The planner's end of the channel to the recorder."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs
import trio

from actorsync.actors.messages import Fact, Mark, Registration, Unissued
from actorsync.actors.statistics import Statistics
from actorsync.classes import define
from actorsync.model.event import Event
from actorsync.model.operation import Outcome

__all__ = ["Announcer"]


@define(eq=False)
class Announcer:
    """Send facts to the recorder, and tell ``listeners`` about every outcome."""

    facts: trio.MemorySendChannel[Fact]
    statistics: Statistics
    listeners: list[Callable[[Outcome], None]] = attrs.Factory(list)

    async def send(self, fact: Fact) -> None:
        """Send one fact. Waits while the recorder is busy."""
        await self.facts.send(fact)

    async def record(self, event: Event) -> None:
        """Send an event, and return once the journal has it."""
        registration = Registration(event, trio.Event())
        await self.facts.send(registration)
        await registration.durable.wait()

    async def until_recorded(self) -> None:
        """Wait until the journal has everything that was sent before."""
        mark = Mark(trio.Event())
        await self.facts.send(mark)
        await mark.durable.wait()

    async def settle(self, outcomes: Iterable[Outcome], *, were_planned: bool = True) -> None:
        """Announce outcomes of operations that no connection was given.

        ``were_planned`` is whether the figures of the plan contain them.
        """
        for outcome in outcomes:
            self.note(outcome, was_planned=were_planned)
            await self.facts.send(Unissued(outcome))

    def note(self, outcome: Outcome, *, was_planned: bool = True) -> None:
        """Tell the listeners about an outcome that the recorder knows already."""
        if was_planned:
            self.statistics.note_outcome(outcome)
        for listener in self.listeners:
            listener(outcome)
