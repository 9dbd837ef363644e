"""What was undone, and is not sent again as long as the source is the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import attrs

from actorsync.classes import define
from actorsync.model.entry import Entry, Kind, ancestors
from actorsync.planning.reconcile import Action, Decision, is_same_version

__all__ = ["Held"]


@define(eq=False)
class Held:
    """Leave out what stays undone. ``sources`` has the source that is not sent, by path; None where there was none."""

    sources: Mapping[str, Entry | None]
    by_size_time: bool = False
    _left: dict[str, Entry] = attrs.field(init=False)
    _seen: set[str] = attrs.field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self._left = {path: source for path, source in self.sources.items() if source is not None}

    def without(self, decisions: list[Decision]) -> list[Decision]:
        """Return the decisions without those about what stays undone.

        What is sent into a directory that stays undone comes after the decision to make that directory.
        """
        return [it for decision in decisions for it in self._of(decision)] if self._left else decisions

    def _of(self, decision: Decision) -> Iterator[Decision]:
        now, record = decision.now, decision.record
        if now is None:
            yield decision
            return
        source = self._left.get(now.path)
        if source is not None:
            self._seen.add(now.path)
            if (record is None or record.source is None) and self._is_same(now, source):
                return
        for above in ancestors(now.path):
            directory = self._left.pop(above, None)
            if directory is not None and directory.kind is Kind.DIRECTORY:
                yield Decision(Action.MAKE, directory, None)
        yield decision

    def _is_same(self, now: Entry, source: Entry) -> bool:
        if Kind.DIRECTORY in {now.kind, source.kind}:
            return now.kind is source.kind
        return is_same_version(now, source) if self.by_size_time else now == source

    def unseen(self) -> Iterable[str]:
        """Return the paths that stay undone and that no decision was about: the source may have lost them."""
        return [path for path in self._left if path not in self._seen]
