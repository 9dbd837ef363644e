"""Which times prove that a file was not changed since, on the clock of the side that has it.

The clocks of the two sides are never compared. But a file that was changed in the moment in which it was recorded can
change again without a change of its size and times, and when "now" is on a server only its own clock tells.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from actorsync.classes import frozen
from actorsync.model.entry import Entry, Kind
from actorsync.model.operation import Side
from actorsync.model.pair import Doubt, other

__all__ = ["Clocks", "grain_of", "tells_minutes"]

_SECOND: Final = 1_000_000_000
#: The coarsest clock of a file system in use, and the most that two readings of one clock are apart in a run.
_GRAIN: Final = 2 * _SECOND
#: Servers without MLSD and MDTM list times to the minute.
_MINUTE: Final = 60 * _SECOND
#: The clocks of both sides are known if each is within this of ours.
_KNOWN: Final = 2 * _SECOND


@frozen
class Clocks:
    """How far the clock of each side is ahead of ours, in nanoseconds; None if that is not known.

    A clock that is not known is taken to be right: almost all are, and a wrong one matters for the second in which it
    shows the time of a file.
    """

    source: int | None = 0
    target: int | None = None

    def ahead(self, side: Side) -> int | None:
        """Return how far the clock of a side is ahead of ours."""
        return self.source if side is Side.SOURCE else self.target

    @property
    def are_known(self) -> bool:
        """Whether the times of both sides can be compared with each other: both clocks are right to 2 seconds."""
        return all(ahead is not None and abs(ahead) <= _KNOWN for ahead in (self.source, self.target))

    def doubts(self, side: Side, entry: Entry, now_ns: int) -> bool:
        """Return whether a file of a side may change after ``now_ns``, on our clock, and keep its size and times."""
        if entry.mtime_ns is None:
            return True
        times = (entry.mtime_ns, entry.ctime_ns or entry.mtime_ns)
        return min(times) >= now_ns + (self.ahead(side) or 0) - grain_of(entry)

    def doubt(self, source: Entry, target: Entry, now_ns: int) -> Doubt:
        """Return the doubts about the times of both sides of a file."""
        found = Doubt.NONE
        for side, entry in ((Side.SOURCE, source), (Side.TARGET, target)):
            if self.doubts(side, entry, now_ns):
                found |= Doubt.time(side)
        return found

    def doubt_after_copy(self, changed: Side, read: Entry, written: Entry, now_ns: int) -> Doubt:
        """Return the doubts about the times of a file that was read on one side and written on the ``changed`` one."""
        halves = (written, read) if changed is Side.SOURCE else (read, written)
        assert other(changed) is not changed
        return self.doubt(*halves, now_ns)


def grain_of(entry: Entry) -> int:
    """Return how long a file may change without a change of its times, in nanoseconds.

    A time that is a whole minute is probably all that the server tells.
    """
    return _MINUTE + _GRAIN if entry.mtime_ns is not None and entry.mtime_ns % _MINUTE == 0 else _GRAIN


def tells_minutes(entries: Iterable[Entry]) -> bool:
    """Return whether a directory looks as if its server told times to the minute: all of its files have whole ones."""
    times = [entry.mtime_ns for entry in entries if entry.kind is Kind.FILE and entry.mtime_ns is not None]
    return bool(times) and not any(time % _MINUTE for time in times)
