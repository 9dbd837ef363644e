"""What all kinds of trouble have in common: a stream of chance of their own, and the moments at which they act."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from tests.support.world.simulation import Story

__all__ = ["Trouble", "at"]


class Trouble:
    """One kind of trouble in one story: with what chance it is there at all, and what it does then."""

    chance: ClassVar[float] = 0.2

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def settle(self, story: Story) -> None:
        """Set what is so from the beginning."""

    def during(self, story: Story) -> None:
        """Write into the story's agenda what happens in the run that begins."""

    def between(self, story: Story) -> None:
        """Do something before the next run."""

    def afterwards(self, story: Story) -> Callable[[], Awaitable[None]] | None:
        """Return what is to be done right after a run, before anything else changes; None for nothing."""
        return None

    def step(self) -> int:
        """Return a step of a run at which something may happen."""
        return self.rng.choice((5, 15, 40, 100)) + self.rng.randrange(30)

    def steps(self, count: int = 3) -> list[int]:
        """Return several."""
        return sorted(self.step() for _ in range(count))


def at(story: Story, step: int, happen: Callable[[], None]) -> None:
    """Have something happen at a step of the run that begins."""
    story.agenda.setdefault(step, []).append(happen)
