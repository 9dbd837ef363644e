"""Whether the runs of a process get on, for a watchdog. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from actorsync.classes import define

__all__ = ["LONGEST_SILENCE", "Pulse"]

#: Seconds in which a pass must change something that can be seen: an event, a count, a byte, the state of a connection.
#: Every wait for a server ends much earlier, with an event. A disk that hangs has no such limit.
LONGEST_SILENCE: Final = 600.0


@define
class Pulse:
    """Decides, from samples of what was done, whether a process still gets on."""

    limit: float = LONGEST_SILENCE
    _last: Hashable = None
    _changed_at: float = 0.0

    def beats(self, now: float, sample: Hashable, *, is_excused: bool) -> bool:
        """Return whether something has changed within the limit, or has no reason to change."""
        if is_excused or sample != self._last:
            self._last, self._changed_at = sample, now
        return now - self._changed_at <= self.limit
