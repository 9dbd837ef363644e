"""What a plan says of the order of files, of old versions, and of the length of a burst.

Pure: the outcomes of a plan in, figures out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import attrs

from actorsync.classes import define, frozen
from actorsync.model.event import Event
from actorsync.model.operation import Copy, Done, Remove
from actorsync.planning.publishing.rules import PublishRule

__all__ = ["FLIGHT", "ROUND_TRIP", "InRank", "Outline", "Outliner", "burst_seconds"]

#: Renames that share one round trip.
FLIGHT: Final = 64
#: Seconds of a round trip, as long as none was measured.
ROUND_TRIP: Final = 0.05
#: Seconds that a server needs for one rename: pyftpdlib makes 1,100 to 1,300 of them a second.
_RENAME: Final = 0.0009
#: Round trips of one flight: the renames, and a look at what they have come to.
_TRIPS: Final = 2


def burst_seconds(files: Sequence[int], connections: int, *, aside: int = 0, round_trip: float = ROUND_TRIP) -> float:
    """Return about how many seconds pass from the first visible change of a burst to the last.

    ``files`` are how many there are in each rank: a rank begins when the one before it is complete. ``aside`` old files
    are renamed as well.
    """
    flights = sum(math.ceil(count / (FLIGHT * max(1, connections))) for count in files)
    return flights * _TRIPS * round_trip + (sum(files) + aside) * _RENAME


@frozen
class InRank:
    """What is to be sent in one rank: ``size`` is in bytes."""

    name: str
    files: int
    size: int


@frozen
class Outline:
    """A plan in figures: its ranks that have files, in their order.

    ``aside`` is how many old files a release would set aside until it is complete, ``trashed`` how many entries would
    go to the trash. ``seconds`` is the forecast of the burst at ``round_trip`` seconds; None if files are published one
    by one.
    """

    ranks: tuple[InRank, ...] = ()
    aside: int = 0
    trashed: int = 0
    seconds: float | None = None
    round_trip: float = ROUND_TRIP


@define(eq=False)
class Outliner:
    """Makes the outline of a plan from its events. ``connections`` is how many a run would have."""

    rule: PublishRule
    connections: int
    _files: dict[int, int] = attrs.Factory(dict)
    _sizes: dict[int, int] = attrs.Factory(dict)
    _replaced: int = 0
    _removed: int = 0

    def note(self, event: Event) -> None:
        """Count what an event of the plan would change."""
        match event:
            case Done(Copy(source, replaces)):
                rank = self.rule.ranks.of(source.path)
                self._files[rank] = self._files.get(rank, 0) + 1
                self._sizes[rank] = self._sizes.get(rank, 0) + source.size
                self._replaced += replaces
            case Done(Remove()):
                self._removed += 1

    def outline(self) -> Outline:
        """Return the outline of what was noted."""
        rule, names = self.rule, self.rule.ranks.names
        ranks = tuple(InRank(names[rank], self._files[rank], self._sizes[rank]) for rank in sorted(self._files))
        aside = self._replaced if rule.is_burst and rule.keeps_old else 0
        counts = [it.files for it in ranks]
        return Outline(
            ranks,
            aside=aside,
            trashed=0 if rule.trash is None else self._replaced + self._removed,
            seconds=burst_seconds(counts, self.connections, aside=aside) if rule.is_burst and counts else None,
        )
