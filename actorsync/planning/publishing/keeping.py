"""Which temporaries stay on the target, because a later attempt can take them up. Pure: the caller supplies the time.

A temporary is taken up only for exactly the version of the source file that it was made from: the same size, times and
inode, and times that prove that the content is the same. In every other case the file is sent from its beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from actorsync.classes import define
from actorsync.model.entry import Entry
from actorsync.model.event import Event
from actorsync.model.kept import Kept
from actorsync.model.operation import Copy, Done, Prepare, Publish, PutBack, Sending, Skipped, Sweep
from actorsync.planning.fingerprint import is_fingerprinted
from actorsync.planning.publishing.rules import ResumeRule

__all__ = ["Keeping", "can_go_on"]


def can_go_on(source: Entry, rule: ResumeRule) -> bool:
    """Return whether a part of a file is worth keeping: it is big enough, and its bytes are those of the source.

    A transform may make other bytes each time. A file without a time cannot be told from a later version.
    """
    is_big = rule.smallest is not None and source.size >= rule.smallest
    return is_big and source.size > 0 and source.mtime_ns is not None and not is_fingerprinted(source)


@define(eq=False)
class Keeping:
    """What is on the target under temporary names, of this run and of earlier ones, and what of it stays there.

    Planner and lanes share it: the planner brings in what the journal has, and asks at the end what is to be swept; a
    lane asks what it can take up, and reports what it leaves. Of several temporaries for one path the best counts.
    """

    rule: ResumeRule = attrs.field(factory=ResumeRule)
    _kept: dict[str, Kept] = attrs.field(factory=dict, init=False)  # by temporary
    _best: dict[str, Kept] = attrs.field(factory=dict, init=False)  # by path
    _told: set[str] = attrs.field(factory=set, init=False)  # temporaries that the journal has told of
    _ours: set[str] = attrs.field(factory=set, init=False)  # temporaries of this run
    _planned: dict[str, Entry] = attrs.field(factory=dict, init=False)  # what the scan has shown, by path

    # What the planner asks.

    def begin(self, kept: Iterable[Kept], now: float) -> None:
        """Bring in what earlier runs have left, as far as it may be taken up at ``now``. Each temporary once."""
        for item in kept:
            if item.temporary not in self._told and self._is_worth_it(item, now):
                self._add(item)
            self._told.add(item.temporary)

    def spared(self, temporary: str) -> Kept | None:
        """Return what an earlier run has kept under a temporary name; None if it is to be swept."""
        kept = self._kept.get(temporary)
        return kept if kept is not None and self._best.get(kept.path) is kept else None

    def plan(self, source: Entry) -> Kept | None:
        """Return what is kept of a file that is to be sent, if the scan shows the version that it was made from."""
        kept = self._best.get(source.path)
        if kept is not None:
            self._planned[source.path] = source
        return kept if kept is not None and kept.source == source else None

    def stays(self, temporary: str, now: float, is_unseen: Callable[[str], bool]) -> bool:
        """Return whether a temporary stays on the target at the end of a run, for a later one.

        ``is_unseen`` tells of a path whether the scan has not shown what the source has there.
        """
        kept = self.spared(temporary)
        if kept is None or not self._is_worth_it(kept, now):
            return False
        planned = self._planned.get(kept.path)
        if temporary in self._ours or planned is None:
            return temporary in self._ours or is_unseen(kept.path)
        return planned == kept.source

    def settle(self, outcome: Event) -> None:
        """Take note of what has become of a file: what is kept of one that has arrived, or is gone, is not needed."""
        match outcome:
            case Done(Prepare(), kept=Kept() as kept) | Done(PutBack(Publish(kept))):
                self.note(kept)
            case Done(Sweep(path), kept=None):
                self.drop(path)
            case Done(Copy() | Publish() as operation) | Skipped(Copy() | Prepare() as operation):
                self._drop_all(operation.path)

    # What a lane asks.

    def of(self, copy: Sending) -> Kept | None:
        """Return what is on the target of the file that is to be sent: of this run, or as it was planned."""
        kept = self._best.get(copy.path)
        if kept is None or (kept.temporary not in self._ours and copy.kept != kept):
            return None
        return kept

    def note(self, kept: Kept) -> None:
        """Take note of what this run leaves under a temporary name."""
        self._ours.add(kept.temporary)
        self._add(kept)

    def drop(self, temporary: str) -> None:
        """Take note that what is under a temporary name cannot be used: it is swept at the end."""
        kept = self._kept.pop(temporary, None)
        if kept is not None and self._best.get(kept.path) is kept:
            del self._best[kept.path]

    def _drop_all(self, path: str) -> None:
        for temporary in [kept.temporary for kept in self._kept.values() if kept.path == path]:
            self.drop(temporary)

    def _add(self, kept: Kept) -> None:
        self._kept[kept.temporary] = kept
        others = [self._best[kept.path]] if kept.path in self._best else []
        self._best[kept.path] = max(
            (it for it in (*others, kept) if self._kept.get(it.temporary) is it),
            key=lambda it: (it.is_complete, it.temporary in self._ours, it.sent, it.at),
        )

    def _is_worth_it(self, kept: Kept, now: float) -> bool:
        is_young = abs(now - kept.at) < self.rule.keep
        return is_young and (kept.is_complete or can_go_on(kept.source, self.rule))
