"""Drift: what the target has, compared with what the journal says that it has.

The journal holds what the target showed when a file was committed. A listing may show less (times in whole minutes, no
hidden names), so a difference in a listing is a suspicion. It is drift if the entry, asked for by its name, differs.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs

from actorsync.classes import define, frozen
from actorsync.model.entry import Entry, Kind, Listing, Record, Root, name_of, parent_of
from actorsync.model.operation import Audit, Batch, Compare, Look, Move, Operation, Respell, SetMode, Survey, Sweep
from actorsync.planning.temporary_names import is_temporary

__all__ = [
    "EVERYTHING",
    "AuditQueue",
    "AuditRule",
    "Drift",
    "Examined",
    "Round",
    "examine",
    "foreign_root",
    "is_as_recorded",
    "next_round",
    "sample",
]

#: For `AuditRule.listings`: the whole target.
EVERYTHING: Final = sys.maxsize

#: How many entries of the root are asked for by name before it counts as another root.
_SAMPLE: Final = 16

_SECOND: Final = 1_000_000_000

#: What changes nothing that an audit compares. A sweep removes a temporary alone.
_HARMLESS: Final = Audit | Compare | Look | SetMode | Survey | Sweep


@frozen
class AuditRule:
    """How a run looks at a target that the journal knows.

    The root is always looked at: it is listed, or, if it has more than ``large_root`` entries, some of them are asked
    for by name, and it is listed when it is its turn. ``listings`` is how many other directories are, at most; those
    that were listed longest ago come first. With ``mends`` the run also restores what differs; otherwise it only
    reports it. ``is_alone``: the run does nothing else, and changes nothing.
    """

    listings: int = 50
    mends: bool = False
    is_alone: bool = False
    large_root: int = 2_000


@frozen
class Examined:
    """A directory of the target, compared with its records."""

    suspects: tuple[Entry, ...]
    """Entries of the mirror that the listing does not show as they are recorded, as they are recorded."""
    other_foreign: Listing | None
    """The listing without temporaries, if what others have put there differs from what the journal has."""
    new_directories: tuple[Entry, ...] = ()
    """Directories of others that the journal does not have."""


def examine(listing: Listing, records: Mapping[str, Record], *, is_exact: bool = False) -> Examined:
    """Compare a listing of the target with the records of the directory, by name.

    What is about to be removed, by an earlier run that was killed, may be missing. With ``is_exact``, links and special
    files of others count as well.
    """
    shown = {name_of(entry.path): entry for entry in listing.entries}
    suspects = tuple(
        record.target
        for name, record in records.items()
        if record.source is not None
        and not record.is_removal_intended
        and name not in listing.hidden
        and not is_as_recorded(record.target, shown.get(name))
    )
    foreign = {name: record.target for name, record in records.items() if record.source is None}
    kept = {
        name: entry
        for name, entry in shown.items()
        if not is_temporary(name) and (is_exact or entry.kind in {Kind.FILE, Kind.DIRECTORY})
    }
    found = {name: entry for name, entry in kept.items() if name not in records or name in foreign}
    is_known = found.keys() == foreign.keys() and all(is_as_recorded(foreign[it], found[it]) for it in found)
    listed = None if is_known else Listing(listing.directory, tuple(kept.values()), listing.hidden)
    new = tuple(
        entry
        for name, entry in found.items()
        if entry.kind is Kind.DIRECTORY and (name not in foreign or foreign[name].kind is not Kind.DIRECTORY)
    )
    return Examined(suspects, listed, new)


def is_as_recorded(then: Entry, now: Entry | None) -> bool:
    """Tell whether the target still has what was recorded, as far as both descriptions tell.

    Times are compared as precisely as both have them: some servers show whole seconds in one reply and more in another.
    """
    if now is None or now.kind is not then.kind:
        return False
    if then.kind is Kind.DIRECTORY:
        return True
    if now.size != then.size:
        return False
    if now.mtime_ns is None or then.mtime_ns is None or now.mtime_ns == then.mtime_ns:
        return True
    is_whole = not (now.mtime_ns % _SECOND and then.mtime_ns % _SECOND)
    return is_whole and now.mtime_ns // _SECOND == then.mtime_ns // _SECOND


def foreign_root(then: Root | None, now: Root | None) -> bool:
    """Tell whether a root is another directory than it was, as far as its inode and its device tell."""
    if then is None or now is None:
        return False
    was, found = (then.device, then.entry.inode), (now.device, now.entry.inode)
    return None not in {*was, *found} and was != found


def sample(entries: Iterable[Entry]) -> list[Entry]:
    """Return a few of the entries, evenly spread: enough to tell whether a root is the one that is known."""
    known = list(entries)
    step = max(1, len(known) // _SAMPLE)
    return known[::step][:_SAMPLE]


@frozen
class Round:
    """How far the audits have come in their current round through the target; times in seconds since the epoch.

    The next audit begins after ``last``, in the order of the journal. ``began`` is when the round began; ``whole`` is
    when the last complete round began, or None when there was none.
    """

    last: str
    began: float
    whole: float | None = None


@frozen
class Drift:
    """What has drifted and is not mended: ``now`` is what the target was last seen to have, None for nothing."""

    path: str
    since: float
    now: Entry | None


def next_round(then: Round, chosen: Sequence[str], *, is_end: bool, now: float) -> Round:
    """Return where the audits stand after ``chosen`` were listed, in the order of the journal.

    ``is_end``: the last of the known directories is among them, and the next audit begins at the first one.
    """
    return Round("", now, then.began) if is_end else Round(chosen[-1], then.began, then.whole)


@define(eq=False)
class AuditQueue:
    """Audits and looks that wait for an idle connection.

    ``touched`` is what operations of this run change in the directories that are watched: what an audit sees there may
    be the work of the run.
    """

    touched: set[str] = attrs.Factory(set)
    _watched: set[str] = attrs.Factory(set)
    _audits: deque[Audit] = attrs.Factory(deque)
    _looks: deque[Look] = attrs.Factory(deque)

    def watch(self, directories: Iterable[str]) -> None:
        """Remember in ``touched`` from now on what operations change in these directories."""
        self._watched.update(directories)

    def note(self, operation: Operation) -> None:
        """Take note of an operation that is planned."""
        if isinstance(operation, _HARMLESS) or not self._watched:
            return
        paths = {operation.path, operation.target.path if isinstance(operation, Move | Respell) else operation.path}
        # That the root is made changes nothing in it.
        self.touched.update(path for path in paths if path and parent_of(path) in self._watched)

    def add(self, operation: Audit | Look) -> None:
        """Let an operation wait."""
        if isinstance(operation, Audit):
            self._audits.append(operation)
        else:
            self._looks.append(operation)

    def ready(self, size: int) -> int:
        """Return how many batches there are, with up to ``size`` looks in each."""
        return len(self._audits) + -(-len(self._looks) // size)

    def next_batch(self, size: int) -> Batch:
        """Return what comes next; empty when there is nothing."""
        if self._looks:
            return tuple(self._looks.popleft() for _ in range(min(size, len(self._looks))))
        return (self._audits.popleft(),) if self._audits else ()

    def clear(self) -> None:
        """Drop everything that waits."""
        self._audits.clear()
        self._looks.clear()
