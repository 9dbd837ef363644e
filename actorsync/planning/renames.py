"""Which new files of the source are old ones under another name.

A rename keeps the inode of a file, its size and the time of its content. The time of the inode changes when the file
itself is renamed, and not when a directory above it is. Where that time is the same, too, the file is as unchanged as
one that has kept its path.

Where it differs, the file may have been written anew with its old time, or may be another file that got the inode of
one that is gone. Then its checksum decides, or a time with a fraction of a second: such a time comes from a clock,
while the times that users and tools set (of an archive, of a build) are whole seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from actorsync.model.entry import Entry, Kind, Record, ancestors, name_of
from actorsync.planning.reconcile import Action, Decision, is_racy

__all__ = ["candidates", "has_to_be_read", "is_same_file", "may_be", "pair"]


def candidates(decisions: Iterable[Decision]) -> list[Entry]:
    """Return the new files among decisions: those with names under which the target has nothing of ours.

    A file that an interrupted run was to move to its name counts as new: the move is tried again.
    """
    return [
        it.now
        for it in decisions
        if it.action is Action.COPY and it.now is not None and it.now.inode is not None and _is_new(it.now, it.record)
    ]


def _is_new(now: Entry, record: Record | None) -> bool:
    return record is None or (record.is_removal_intended and record.source == now)


def pair(
    held: Sequence[Decision], gone: Mapping[str, Record], replaced: AbstractSet[str]
) -> Iterator[tuple[Decision, Record | None]]:
    """Yield each new file with the record of a file that is gone and that it may have been, each at most once.

    A file in a directory that replaces a file gets None: it waits for removals, and these wait for moves.
    """
    keys = {_key(it.now) for it in held if it.now is not None}
    known: dict[tuple[object, ...], list[Record]] = {}
    for record in gone.values():
        if record.source is not None and record.source.kind is Kind.FILE and (key := _key(record.source)) in keys:
            known.setdefault(key, []).append(record)
    for records in known.values():
        records.sort(key=lambda record: (record.is_removal_intended, record.target.path), reverse=True)
    for decision in held:
        assert decision.now is not None
        records = known.get(_key(decision.now), [])
        is_free = records and replaced.isdisjoint(ancestors(decision.now.path))
        yield decision, records.pop() if is_free else None


def is_same_file(now: Entry, was: Entry) -> bool:
    """Return whether an entry may be the file that another was: same inode, size and time."""
    return now.kind is Kind.FILE and was.kind is Kind.FILE and _key(now) == _key(was)


def _key(entry: Entry) -> tuple[object, ...]:
    return entry.inode, entry.size, entry.mtime_ns


def may_be(now: Entry, was: Record, top: str) -> bool:
    """Tell whether a new file of the same inode, size and time can be proved to be an old one.

    ``top`` is what is missing: the old file, or a directory above it. A file that kept its name in a directory that was
    renamed was not renamed itself: if the time of its inode differs, it was written.
    """
    assert was.source is not None
    if now.ctime_ns == was.source.ctime_ns or was.content is not None:
        return True
    old = was.target.path
    went_along = top != old and name_of(old) == name_of(now.path)
    return not went_along and (now.mtime_ns or 0) % 1_000_000_000 != 0


def has_to_be_read(now: Entry, was: Record, since_ns: int) -> bool:
    """Tell whether the content of a file is needed: to prove that it is the old one, or to see later changes.

    ``since_ns`` is the time of day before the scan, in nanoseconds.
    """
    assert was.source is not None
    is_untouched = was.digest is None and now.ctime_ns == was.source.ctime_ns
    return (was.content is not None and not is_untouched) or is_racy(now, since_ns)
