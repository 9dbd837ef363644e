"""How often a source is looked at that tells nothing of its changes."""

from __future__ import annotations

from typing import Final

__all__ = ["LONGEST_REST", "rest_after_failures", "rest_after_round"]

#: Seconds between two rounds, at least. A round over a server costs it a listing for each directory.
_LOCAL_REST, _REMOTE_REST = 2.0, 30.0
#: How many times as long as a round the rest after it is: a local round keeps the processor busy, and may take 5 % of
#: it. A remote one keeps one connection busy, for a quarter of the time.
_LOCAL_SHARE, _REMOTE_SHARE = 19.0, 3.0
#: Seconds between two rounds, at most.
LONGEST_REST: Final = 3_600.0
#: The rest after this many failures in a row is not doubled again.
_DOUBLED: Final = 6


def rest_after_round(seconds: float, *, is_remote: bool) -> float:
    """Return the seconds to rest after a round that took ``seconds``."""
    least, share = (_REMOTE_REST, _REMOTE_SHARE) if is_remote else (_LOCAL_REST, _LOCAL_SHARE)
    return min(max(least, seconds * share), LONGEST_REST)


def rest_after_failures(failures: int, *, is_remote: bool) -> float:
    """Return the seconds to rest after so many rounds in a row that could not begin: twice as long each time."""
    least = _REMOTE_REST if is_remote else _LOCAL_REST
    return min(least * 2.0 ** min(failures - 1, _DOUBLED), LONGEST_REST)
