"""What a scan of both sides has found: what the pair scanner sends to the planner."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from actorsync.classes import define
from actorsync.model.entry import Entry, Root
from actorsync.model.operation import Side
from actorsync.model.pair import Agreement, other
from actorsync.model.row import ListingRows
from actorsync.planning.pairs.guards import SideSeen
from actorsync.planning.pairs.verdicts import Verdict

__all__ = ["NothingAgreed", "PairScan"]


class NothingAgreed:
    """What a journal knows before the first run."""

    def children(self, directory: str) -> dict[str, Agreement]:  # noqa: ARG002 - as in `ScanMemory`
        return {}

    def rows(self, directory: str) -> list[tuple[object, ...]]:  # noqa: ARG002
        return []


@define(eq=False)
class PairScan:
    """What a scan of both sides has found."""

    will_change: Callable[[Side], object] = bool
    """Is called with a side each time that something is found which may lead to a change of it."""
    verdicts: list[Verdict] = attrs.Factory(list)
    names: dict[str, frozenset[str]] = attrs.Factory(dict)
    """All names on both sides of each directory in which there is a conflict."""
    copies: dict[str, dict[Side, dict[str, Entry]]] = attrs.Factory(dict)
    """By the path of a conflict: the copies that earlier conflicts of it have left on each side, by their paths."""
    kept: dict[str, set[Side]] = attrs.Factory(dict)
    """By the path of a conflict: the sides whose version is in one of these copies, on both sides."""
    proofs: dict[tuple[Side, str], bytes] = attrs.Factory(dict)
    """The digests of files in conflict that were changed so lately that their times prove nothing, by side and path."""
    staying: set[str] = attrs.Factory(set)
    """Paths of what stays for a reason that no verdict has."""
    began_ns: int = 0
    """When the scan began, on our clock."""
    problems: int = 0
    """How many directories could not be listed, or files not compared."""
    roots: dict[Side, Root] = attrs.Factory(dict)
    listed: dict[Side, ListingRows] = attrs.Factory(dict)
    """The listings by which roots are known, until the scan takes them."""
    seen: dict[Side, int] = attrs.Factory(dict)
    """How many entries each root shows, without what is left out, if it was listed."""
    own: dict[Side, list[Entry]] = attrs.Factory(lambda: {side: [] for side in Side})
    """What belongs to actorsync itself, by its name."""

    def add(self, verdict: Verdict) -> None:
        """Note what is to be done about a path."""
        self.verdicts.append(verdict)
        self.will_change(other(verdict.side))

    def of_side(self, side: Side, then: Root | None) -> SideSeen:
        """Return what was seen of the root of a side."""
        return SideSeen(self.seen.get(side), then, self.roots[side])
