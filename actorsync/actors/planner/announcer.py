"""The planner's end of the channel to the recorder."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs
import trio

from actorsync.actors.messages import Fact, Registration, Unissued
from actorsync.model.event import Event
from actorsync.model.operation import Outcome

__all__ = ["Announcer"]


@attrs.define(eq=False)
class Announcer:
    """Send facts to the recorder, and tell ``listeners`` about every outcome."""

    facts: trio.MemorySendChannel[Fact]
    listeners: list[Callable[[Outcome], None]] = attrs.Factory(list)

    async def send(self, fact: Fact) -> None:
        """Send one fact. Waits while the recorder is busy."""
        await self.facts.send(fact)

    async def record(self, event: Event) -> None:
        """Send an event, and return once the journal has it."""
        registration = Registration(event, trio.Event())
        await self.facts.send(registration)
        await registration.durable.wait()

    async def settle(self, outcomes: Iterable[Outcome]) -> None:
        """Announce outcomes of operations that no connection was given."""
        for outcome in outcomes:
            self.note(outcome)
            await self.facts.send(Unissued(outcome))

    def note(self, outcome: Outcome) -> None:
        """Tell the listeners about an outcome that the recorder knows already."""
        for listener in self.listeners:
            listener(outcome)
