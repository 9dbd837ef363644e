"""Which new files of the source are old ones by another name: what a rename in the source leaves to be seen.

A rename keeps a file's inode, its size and the time of its content. The inode's own time changes when the file itself
is renamed, and not when a directory above it is. Where that is the same, too, a file is as unchanged as one that has
kept its path. Where it is not, a file may have been written anew with its old time, or be another one that was given
the inode of one that is gone: so its checksum has to tell, or a time that has a fraction of a second. Those are read
off a clock, while the times that people and tools set (of an archive, of a build) are whole seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from actorsync.model.entry import Entry, Kind, Record, ancestors, name_of
from actorsync.planning.reconcile import Action, Decision, is_racy

__all__ = ["candidates", "has_to_be_read", "may_be", "pair"]


def candidates(decisions: Iterable[Decision]) -> list[Entry]:
    """Give the new files among what was decided: nothing of ours has their name on the target.

    Unless it was to be moved there in a run that was broken off. That is tried again.
    """
    return [
        it.now
        for it in decisions
        if it.action is Action.COPY and it.now is not None and it.now.inode is not None and _is_new(it.now, it.record)
    ]


def _is_new(now: Entry, record: Record | None) -> bool:
    return record is None or (record.is_doomed and record.source == now)


def pair(
    held: Sequence[Decision], gone: Mapping[str, Record], replaced: AbstractSet[str]
) -> Iterator[tuple[Decision, Record | None]]:
    """Give each of the new files with what it may have been: one that is gone, and no two the same.

    What is to be in a directory that takes the place of a file is none: it waits for removals, and they for moves.
    """
    keys = {_key(it.now) for it in held if it.now is not None}
    known: dict[tuple[object, ...], list[Record]] = {}
    for record in gone.values():
        if record.source is not None and record.source.kind is Kind.FILE and (key := _key(record.source)) in keys:
            known.setdefault(key, []).append(record)
    for records in known.values():
        records.sort(key=lambda record: (record.is_doomed, record.target.path), reverse=True)
    for decision in held:
        assert decision.now is not None
        records = known.get(_key(decision.now), [])
        is_free = records and replaced.isdisjoint(ancestors(decision.now.path))
        yield decision, records.pop() if is_free else None


def _key(entry: Entry) -> tuple[object, ...]:
    return entry.inode, entry.size, entry.mtime_ns


def may_be(now: Entry, was: Record, top: str) -> bool:
    """Tell whether a new file of the same inode, size and time can be known to be an old one.

    ``top`` is what it is gone with: itself, or a directory above it. One that has kept its name in a directory that was
    renamed was not renamed itself, and so its inode has no other time, unless it was written.
    """
    assert was.source is not None
    if now.ctime_ns == was.source.ctime_ns or was.content is not None:
        return True
    old = was.target.path
    went_along = top != old and name_of(old) == name_of(now.path)
    return not went_along and (now.mtime_ns or 0) % 1_000_000_000 != 0


def has_to_be_read(now: Entry, was: Record, since_ns: int) -> bool:
    """Tell whether only the content of a file says that it is the old one, or will say that it has changed since.

    ``since_ns`` is the time before the scan.
    """
    assert was.source is not None
    is_untouched = was.digest is None and now.ctime_ns == was.source.ctime_ns
    return (was.content is not None and not is_untouched) or is_racy(now, since_ns)
