"""Times of an FTP server that have all moved by the same amount, as after a change to daylight saving time.

FTP's times are UTC, but some servers send the local time (vsftpd with ``use_localtime``, servers on FAT). When the
clock of such a server changes, every file shows another time, and none was changed.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import attrs

from actorsync.classes import define

__all__ = ["TimeShift"]

_SECOND: Final = 1_000_000_000
#: Time zones differ by multiples of a quarter of an hour, and by at most 26 hours.
_STEP: Final = 15 * 60 * _SECOND
_LONGEST: Final = 26 * 3_600 * _SECOND
#: So many files must have moved by the same amount, and at least nine of ten.
_FEWEST: Final = 3
_REMEMBERED: Final = 10_000


@define(eq=False)
class TimeShift:
    """The differences between recorded and shown times that a run has seen, and what follows from them.

    A single file that shows another time was changed. Only when all or almost all files show the same difference, was
    it the clock.
    """

    _seen: Counter[int] = attrs.Factory(Counter)

    def note(self, recorded_ns: int | None, shown_ns: int | None) -> None:
        """Note the time of one file that has its recorded size."""
        if recorded_ns is not None and shown_ns is not None and self._seen.total() < _REMEMBERED:
            self._seen[shown_ns - recorded_ns] += 1

    @property
    def ns(self) -> int:
        """How much later all times are shown than they were recorded, in nanoseconds; 0 if they have not moved."""
        if not self._seen:
            return 0
        ((shift, count),) = self._seen.most_common(1)
        is_of_a_clock = shift % _STEP == 0 and 0 < abs(shift) <= _LONGEST
        return shift if is_of_a_clock and count >= _FEWEST and count * 10 >= self._seen.total() * 9 else 0

    @property
    def warning(self) -> str:
        """A sentence for the user; empty if the times have not moved."""
        if not (shift := self.ns):
            return ""
        hours = f"{shift / (3_600 * _SECOND):+g}"
        return (
            f"the server shows the times of all files moved by {hours} h, as after a change of its clock to or from "
            "daylight saving time; they count as unchanged. Set the server to UTC to avoid this"
        )

    def corrected(self, shown_ns: int | None) -> int | None:
        """Return a time that the server shows as it was before the shift."""
        return None if shown_ns is None else shown_ns - self.ns
