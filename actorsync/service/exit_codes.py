"""The exit code of a process with several mirrors: that of the worst of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["CANCELLED", "worst"]

#: Exit codes from here on say that a signal has cancelled a command: the number of the signal is added.
CANCELLED: Final = 128

#: Exit codes from the best to the worst, and why each is worse than the one before it.
_ORDER: Final = (
    0,  # in sync
    9,  # other programs have changed the target: the run has done all it may
    3,  # stopped early: somebody wanted it, and the next run continues
    1,  # some files failed: the others are up to date
    4,  # a guard refused the removals: a person has to look, and the copies were made
    5,  # the server could not be reached: nothing is up to date, but the next run may succeed by itself
    6,  # the login was rejected: no run succeeds until somebody acts
    8,  # another run holds the journal: this mirror was not tried at all
    2,  # the profile cannot be used: this mirror never runs until it is corrected
    7,  # a fatal error or a bug
)


def worst(codes: Iterable[int]) -> int:
    """Return the worst exit code, 0 without any. A cancellation by a signal (130 and the like) is the worst of all.

    A code that the table does not have counts like a fatal error.
    """
    return max(codes, key=_rank, default=0)


def _rank(code: int) -> int:
    if code >= CANCELLED:
        return len(_ORDER)
    return _ORDER.index(code if code in _ORDER else _ORDER[-1])
