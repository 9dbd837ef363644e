"""Sending facts from a lane to the recorder."""

from __future__ import annotations

from typing import TypeAlias

import trio

from actorsync.actors.messages import Fact, Registration
from actorsync.model.event import Event, Intended, MovesIntended, RemovalIntended, TrashOpened

__all__ = ["FactChannel", "make_durable", "send_facts"]

FactChannel: TypeAlias = trio.MemorySendChannel[Fact]


async def send_facts(facts: FactChannel, *events: Event) -> None:
    """Send events to the recorder, even from a task that is being cancelled.

    An outcome that the journal does not get makes the next run misjudge the target. The wait is short, because the
    recorder receives until the last sender is closed.
    """
    for event in events:
        try:
            facts.send_nowait(event)
        except trio.WouldBlock:
            with trio.CancelScope(shield=True):
                await facts.send(event)


async def make_durable(facts: FactChannel, intended: Intended | MovesIntended | RemovalIntended | TrashOpened) -> None:
    """Record what is about to be done, and return once a crash cannot lose the record."""
    registration = Registration(intended, trio.Event())
    await facts.send(registration)
    await registration.durable.wait()
