"""What stays on the target for a while after it is gone from the source: pages that are open may still load it.

Pure: paths and times in, a decision out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from actorsync.classes import frozen
from actorsync.planning.removal_guard import with_directories

__all__ = ["Lingering", "lingering"]


@frozen
class Lingering:
    """Removals that are for a later run: ``paths``, and ``found``, those of them that no earlier run has found gone.

    The first of them may go at ``first`` and the last at ``last``, in seconds since the epoch.
    """

    paths: frozenset[str] = frozenset()
    found: frozenset[str] = frozenset()
    first: float = 0.0
    last: float = 0.0


def lingering(
    removals: Collection[str], making_way: Collection[str], since: Mapping[str, float], now: float, seconds: float
) -> Lingering:
    """Choose the removals that wait, of all ``removals`` of a run: each stays ``seconds`` from when it was found gone.

    ``since`` says when earlier runs found it gone; a time that is still to come was measured by a clock that has been
    set back, and counts from now. What is ``making_way`` for a new entry does not wait. A directory stays as long as
    something in it.
    """
    first_found = {path: since[path] if path in since and since[path] <= now else now for path in removals}
    waiting = {path for path, at in first_found.items() if at + seconds > now and path not in making_way}
    if not waiting:
        return Lingering()
    times = [first_found[path] + seconds for path in waiting]
    paths = with_directories(waiting, removals)
    found = frozenset(path for path in paths if since.get(path, now + 1) > now)
    return Lingering(paths, found, min(times), max(times))
