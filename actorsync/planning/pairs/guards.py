"""Whether the removals of a two-way run may begin: asked once, for each side, before the first change on either."""

from __future__ import annotations

from collections.abc import Sequence

from actorsync.classes import frozen
from actorsync.model.entry import Root
from actorsync.model.operation import Remove, Side
from actorsync.model.pair import other
from actorsync.model.text import counted
from actorsync.planning.removal_guard import FEW_ENTRIES, DeleteLimit

__all__ = ["SideSeen", "objection"]


@frozen
class SideSeen:
    """What a run has seen of one side.

    ``entries`` counts what its root shows, without what is left out; None if a partial run has not listed it.
    """

    entries: int | None
    then: Root | None
    now: Root


def objection(
    removals: Sequence[Remove],
    seen: dict[Side, SideSeen],
    agreed: int,
    limit: DeleteLimit,
    *,
    any_device: bool = False,
    most: int = 0,
) -> str | None:
    """Return why nothing may be changed, in one line that says what to do; None if the run may go on.

    ``agreed`` is how many entries both sides are known to have. What is gone from one side is removed on the other one,
    so an emptied or replaced root would empty both. An unlimited ``limit`` allows everything. ``most`` is how many
    entries there were lately, in earlier passes of the same process: a slow ``rm -r`` counts as a whole.
    """
    if limit.is_unlimited:
        return None
    way_out = "if this is intended, run once with --set sync.max-delete=100%"
    for side in Side:
        of_side = [it for it in removals if it.side is other(side)]
        if seen[side].entries == 0 and agreed >= FEW_ENTRIES:
            return (
                f"the {side.value} is empty, and both sides had {counted(agreed, 'entry', 'entries')}: nothing changed "
                f"on either side; {way_out}"
            )
        if of_side and not any_device and _is_replaced(seen[side].then, seen[side].now):
            return (
                f"the root of the {side.value} is another directory than in the last run (is it mounted?), and "
                f"{counted(len(of_side), 'entry', 'entries')} would be removed on the other side: nothing changed on "
                "either side; if this is intended, run once with --set sync.any-device=true"
            )
        before = max(most, agreed)
        if of_side and len(of_side) + before - agreed > (allowed := limit.limit(before)):
            lately = f", {before - agreed} were removed within the last hour" if before > agreed else ""
            return (
                f"{len(of_side)} of {before} entries would be removed on the {other(side).value}{lately}, more than "
                f"max-delete allows ({allowed}): nothing changed on either side; {way_out}"
            )
    return None


def _is_replaced(then: Root | None, now: Root) -> bool:
    """Return whether a root is another directory than it was, as far as the side tells who it is."""
    if then is None:
        return False
    pairs = ((then.device, now.device), (then.entry.inode, now.entry.inode))
    return any(None not in pair and pair[0] != pair[1] for pair in pairs)
