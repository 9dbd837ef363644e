"""Whether removing may begin. Asked once, before the first removal, when everything that would be removed is known.

Mirrors destroy data in three ways that no single removal looks wrong in: the source was emptied, the source is not the
source any more (a disk that is not mounted), or far more is gone than anybody meant to delete.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol

import attrs

from actorsync.model.entry import ScanComplete, parent_of

__all__ = ["DeleteLimit", "Removals", "objection", "withheld"]

#: A source that had fewer entries than this may be emptied without asking (mutagen draws the same line).
FEW_ENTRIES = 2


class DeleteLimit(Protocol):
    """How many of ``total`` entries one run may remove."""

    @property
    def is_unlimited(self) -> bool: ...

    def limit(self, total: int) -> int: ...


@attrs.frozen
class Removals:
    """What a run is about to remove, of how much, and what it saw of the source."""

    count: int
    ours: int
    seen: int
    root_then: ScanComplete | None
    root_now: ScanComplete


def objection(removals: Removals, limit: DeleteLimit) -> str | None:
    """Say why the removals must not begin, in one line with the way out; None when they may.

    An unlimited ``limit`` (``max-delete = "100%"``) is the user's word that anything may go, and silences all guards.
    """
    if not removals.count or limit.is_unlimited:
        return None
    way_out = "if that is meant, run once with --set sync.max-delete=100%"
    if removals.seen == 0 and removals.ours >= FEW_ENTRIES:
        return f"the source is empty, and the target has {removals.ours} entries from it: nothing removed; {way_out}"
    then, now = removals.root_then, removals.root_now
    if then is not None and then.device is not None and now.device is not None and then.device != now.device:
        return (
            "the source is on another device than in the last run (is it mounted?): "
            f"{removals.count} removals withheld; {way_out}"
        )
    allowed = limit.limit(removals.ours)
    if removals.count > allowed:
        return (
            f"{removals.count} of {removals.ours} entries would be removed, more than max-delete allows ({allowed}): "
            f"nothing removed; {way_out}"
        )
    return None


def withheld(removals: Iterable[str], failures: Collection[str]) -> frozenset[str]:
    """Choose the removals that must wait for a run without failures near them.

    A failure in a directory withholds every removal below that directory: what failed may be the new name of what
    would be removed. Directories that hold something withheld are withheld too.
    """
    if not failures:
        return frozenset()
    affected = {parent_of(path) for path in failures}
    paths = set(removals)
    chosen: set[str] = set()
    for path in paths:
        ancestor = parent_of(path)
        while ancestor not in affected and ancestor:
            ancestor = parent_of(ancestor)
        if ancestor in affected:
            chosen.add(path)
    for path in tuple(chosen):
        ancestor = parent_of(path)
        while ancestor in paths and ancestor not in chosen:
            chosen.add(ancestor)
            ancestor = parent_of(ancestor)
    return frozenset(chosen)
