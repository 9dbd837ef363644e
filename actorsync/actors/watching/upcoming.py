"""What comes next in a run whose source is watched, for displays."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from actorsync.classes import define

if TYPE_CHECKING:
    from actorsync.planning.watching.agenda import Agenda

__all__ = ["Upcoming"]


@define(eq=False)
class Upcoming:
    """The times of what comes next, in seconds since the epoch. Read them in trio's thread.

    The loop of passes sets ``agenda``. Without it, the source is not watched.
    """

    agenda: Agenda | None = None
    wall_clock: Callable[[], float] = time.time

    @property
    def behind_since(self) -> float | None:
        """When the oldest change was noticed that is not on the target yet; None if there is none."""
        return None if self.agenda is None else self._on_the_wall(self.agenda.behind_since)

    @property
    def full_at(self) -> float | None:
        """When the next pass over the whole source is due; None if that is not known."""
        return None if self.agenda is None else self._on_the_wall(self.agenda.full_at)

    def _on_the_wall(self, moment: float | None) -> float | None:
        if moment is None or math.isinf(moment):
            return None
        return self.wall_clock() + moment - trio.current_time()
