"""What must happen to one path: a table over (what the source has now, what the target has).

"Now" comes from the scan. What the target has, and what the source had then, come from the journal, never from a
comparison of the clocks of the two sides: a source file is unchanged when it is what it was when it was last sent.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping

import attrs

from actorsync.classes import frozen
from actorsync.model.entry import Entry, Kind, Listing, Record, name_of, parent_of
from actorsync.planning.fingerprint import is_fingerprinted
from actorsync.planning.modes import ALONE, Modes, mode_to_set

__all__ = [
    "EXACT_TABLE",
    "TABLE",
    "Action",
    "Decision",
    "Source",
    "Target",
    "decide",
    "has_same_time",
    "is_kept",
    "is_racy",
    "is_same_version",
    "looks_equal",
    "reconcile",
    "removals_below",
]

#: A file whose inode changed less than this before it was read may change again without any of its times
#: changing: the coarsest clocks in use (FAT) tick every two seconds. In nanoseconds.
CLOCK_GRANULARITY = 2_000_000_000

_SECOND = 1_000_000_000

#: How far the clock of a server may be from ours, in nanoseconds: a server that reports local time as UTC is up to 14
#: hours off, and an error of more than a day is found and corrected.
CLOCK_SKEW = 26 * 3600 * 1_000_000_000


class Source(enum.Enum):
    """What the source has now, compared with what it had when both sides last agreed."""

    GONE = "gone"
    HIDDEN = "hidden"  # there, but excluded, or not a file or directory
    UNCHANGED = "unchanged file"
    RACY = "file with the same times, which prove nothing"
    TOUCHED = "file with other times, of the same size and a known checksum"
    CHMODDED = "unchanged file with another mode"
    CHANGED = "new or changed file"
    DIRECTORY = "directory"

    __hash__ = object.__hash__  # quicker, as for `Kind`


class Target(enum.Enum):
    """What the target has, as far as the journal knows."""

    NOTHING = "nothing"
    FILE = "our file"
    DIRECTORY = "our directory"
    FOREIGN_EQUAL = "foreign file, equal"
    FOREIGN_ALIKE = "foreign file, equal if its content is"
    FOREIGN_FILE = "foreign file"
    FOREIGN_DIRECTORY = "foreign directory"

    __hash__ = object.__hash__


class Action(enum.Enum):
    """What must be done."""

    NOTHING = "nothing"
    COPY = "copy"
    VERIFY = "compare contents"
    MAKE = "make directory"
    ADOPT = "adopt"
    COMPARE = "adopt, or else copy"
    SET_MODE = "set the mode"
    NOTE = "record the mode that the source has now"
    REMOVE = "remove"
    REPLACE = "remove, then copy or make"
    BLOCKED = "fail: in the way, and not ours"


#: The whole policy of a one-way mirror, without modes: where there is nothing to do, a mode may have to be set. A pair
#: that is missing here cannot occur.
TABLE: Mapping[tuple[Source, Target], Action] = {
    (Source.GONE, Target.FILE): Action.REMOVE,
    (Source.GONE, Target.DIRECTORY): Action.REMOVE,
    (Source.GONE, Target.FOREIGN_FILE): Action.NOTHING,
    (Source.GONE, Target.FOREIGN_DIRECTORY): Action.NOTHING,
    (Source.HIDDEN, Target.FILE): Action.NOTHING,
    (Source.HIDDEN, Target.DIRECTORY): Action.NOTHING,
    (Source.HIDDEN, Target.FOREIGN_FILE): Action.NOTHING,
    (Source.HIDDEN, Target.FOREIGN_DIRECTORY): Action.NOTHING,
    (Source.UNCHANGED, Target.FILE): Action.NOTHING,
    (Source.RACY, Target.FILE): Action.VERIFY,
    (Source.TOUCHED, Target.FILE): Action.VERIFY,
    (Source.CHMODDED, Target.FILE): Action.NOTHING,
    (Source.CHANGED, Target.NOTHING): Action.COPY,
    (Source.CHANGED, Target.FILE): Action.COPY,
    (Source.CHANGED, Target.DIRECTORY): Action.REPLACE,
    (Source.CHANGED, Target.FOREIGN_EQUAL): Action.ADOPT,
    (Source.CHANGED, Target.FOREIGN_ALIKE): Action.COMPARE,
    (Source.CHANGED, Target.FOREIGN_FILE): Action.COPY,
    (Source.CHANGED, Target.FOREIGN_DIRECTORY): Action.BLOCKED,
    (Source.DIRECTORY, Target.NOTHING): Action.MAKE,
    (Source.DIRECTORY, Target.FILE): Action.REPLACE,
    (Source.DIRECTORY, Target.DIRECTORY): Action.NOTHING,
    (Source.DIRECTORY, Target.FOREIGN_FILE): Action.BLOCKED,
    (Source.DIRECTORY, Target.FOREIGN_DIRECTORY): Action.ADOPT,
}

#: The policy of an exact mirror: what the target has, and the source has not, is removed, no matter who put it there.
EXACT_TABLE: Mapping[tuple[Source, Target], Action] = {
    **TABLE,
    (Source.GONE, Target.FOREIGN_FILE): Action.REMOVE,
    (Source.GONE, Target.FOREIGN_DIRECTORY): Action.REMOVE,
    (Source.CHANGED, Target.FOREIGN_DIRECTORY): Action.REPLACE,
    (Source.DIRECTORY, Target.FOREIGN_FILE): Action.REPLACE,
}


@frozen
class Decision:
    """What must happen to one path, and from what that was decided."""

    action: Action
    now: Entry | None
    record: Record | None


def is_racy(entry: Entry, now_ns: int) -> bool:
    """Tell whether ``entry``, read at ``now_ns``, could still change without a change of its times.

    The time of the inode decides where there is one, because it cannot be set. A server does not report it, and its
    times are those of its own clock: a file that is hours old by our clock may be written in this second by that one.
    """
    if entry.ctime_ns is not None:
        return entry.ctime_ns >= now_ns - CLOCK_GRANULARITY
    return entry.mtime_ns is None or entry.mtime_ns >= now_ns - CLOCK_SKEW


def decide(
    now: Entry | None,
    record: Record | None,
    *,
    hidden: bool = False,
    by_content: bool = False,
    by_size_time: bool = False,
    modes: Modes = ALONE,
    is_new_rule: bool = False,
    is_exact: bool = False,
) -> Action:
    """Look one path up in the table. ``hidden``: the source has it, or may have it, but it is not to be mirrored.

    ``by_content``: other times do not make another file where the checksum of what was sent is known, and equal times
    do not make an equal one where the target has a file that is not ours. ``by_size_time``: another inode, or another
    time of the inode, does not make another file. ``modes`` is the rule for modes; with ``is_new_rule`` the last
    complete run followed another one. ``is_exact``: a foreign entry of this path may be removed.
    """
    if record is None and (now is None or hidden):
        return Action.NOTHING
    table = EXACT_TABLE if is_exact else TABLE
    action = table[_source(now, record, hidden, by_content, by_size_time), _target(now, record, by_content)]
    if action is Action.NOTHING and now is not None and record is not None and record.source is not None and not hidden:
        if mode_to_set(now, record, modes, is_new_rule=is_new_rule) is not None:
            return Action.SET_MODE
        is_new_time = by_size_time and now.kind is Kind.FILE and now.mtime_ns != record.source.mtime_ns
        if is_new_time or now.mode != record.source.mode:
            return Action.NOTE
    return action


def reconcile(
    listing: Listing,
    records: Mapping[str, Record],
    hides: Callable[[str, bool], bool],
    *,
    by_content: bool = False,
    by_size_time: bool = False,
    modes: Modes = ALONE,
    is_new_rule: bool = False,
    protects: Callable[[str, bool], bool] | None = None,
) -> Iterator[Decision]:
    """Yield a decision for each entry that is or was in one directory of the source, without those for NOTHING.

    ``records`` are those of the journal, by name. What is exactly as recorded may be missing from both. ``hides(path,
    is_directory)`` tells whether the selection excludes a path: what is newly excluded stays as it is on the target.
    ``protects`` tells the same of foreign entries, which are removed otherwise; None where none is ever removed.
    """
    present = set()
    for entry in listing.entries:
        name = name_of(entry.path)
        present.add(name)
        record = records.get(name)
        is_exact = record is not None and not is_kept(record, protects)
        action = decide(
            entry,
            record,
            by_content=by_content,
            by_size_time=by_size_time,
            modes=modes,
            is_new_rule=is_new_rule,
            is_exact=is_exact,
        )
        if action is not Action.NOTHING:
            yield Decision(action, entry, record)
    for name, record in records.items():
        if name in present:
            continue
        target = record.target
        hidden = name in listing.hidden or hides(target.path, target.kind is Kind.DIRECTORY)
        action = decide(None, record, hidden=hidden, is_exact=not is_kept(record, protects))
        if action is not Action.NOTHING:
            yield Decision(action, None, record)


def is_kept(record: Record, protects: Callable[[str, bool], bool] | None) -> bool:
    """Return whether an entry is foreign and must not be removed. ``protects`` is as for `reconcile`."""
    target = record.target
    return record.source is None and (protects is None or protects(target.path, target.kind is Kind.DIRECTORY))


def removals_below(
    top: Record,
    below: Iterable[Record],
    hides: Callable[[str, bool], bool],
    protects: Callable[[str, bool], bool] | None = None,
) -> list[Entry]:
    """Return what must be removed so that ``top`` is gone, leaves first. ``below``: its subtree, parents first.

    Hidden entries stay, and foreign ones of which ``protects`` says so, as for `reconcile`; and so do the directories
    that hold them.
    """
    kept: set[str] = set()
    doomed: list[Entry] = []
    for record in [top, *below]:
        target = record.target
        if is_kept(record, protects) or (
            target.path != top.target.path and hides(target.path, target.kind is Kind.DIRECTORY)
        ):
            ancestor = target.path
            while ancestor not in kept and len(ancestor) >= len(top.target.path):
                kept.add(ancestor)
                ancestor = parent_of(ancestor)
        else:
            doomed.append(target)
    return [entry for entry in reversed(doomed) if entry.path not in kept]


def _source(now: Entry | None, record: Record | None, hidden: bool, by_content: bool, by_size_time: bool) -> Source:
    if hidden:
        return Source.HIDDEN
    if now is None:
        return Source.GONE
    if now.kind is Kind.DIRECTORY:
        return Source.DIRECTORY
    if record is None or record.source is None or record.is_removal_intended:
        return Source.CHANGED
    if not (is_same_version(now, record.source) if by_size_time else now == record.source):
        is_chmod = _is_chmod(now, record.source)
        is_alike = now.size == record.source.size and record.source.kind is Kind.FILE
        if (by_content or is_chmod) and is_alike and record.content is not None:
            return Source.TOUCHED
        is_proved = is_chmod and (now.mtime_ns or 0) % 1_000_000_000 != 0
        return Source.CHMODDED if is_proved else Source.CHANGED
    return Source.RACY if record.digest is not None else Source.UNCHANGED


def _is_chmod(now: Entry, then: Entry) -> bool:
    """Tell whether a change of the mode explains everything that is different: it changes the time of the inode, too.

    It is proved to be all if the time of the content has a fraction of a second: such a time comes from a clock, and
    the times that users and tools give back to a file after they have written it are mostly whole seconds.
    """
    return (
        None not in {now.mode, then.mode}
        and now.mode != then.mode
        and attrs.evolve(now, ctime_ns=then.ctime_ns) == then
        and now.mtime_ns is not None
    )


def _target(now: Entry | None, record: Record | None, by_content: bool) -> Target:
    if record is None:
        return Target.NOTHING
    is_directory = record.target.kind is Kind.DIRECTORY
    if record.is_removal_intended and is_directory and now is not None and now.kind is Kind.DIRECTORY:
        return Target.NOTHING  # it may be missing, and making it again does no harm
    if record.source is not None:
        return Target.DIRECTORY if is_directory else Target.FILE
    if is_directory:
        return Target.FOREIGN_DIRECTORY
    is_there = record.target.kind is Kind.FILE and not record.is_removal_intended
    if is_there and now is not None and now.kind is Kind.FILE:
        if by_content and (now.size == record.target.size or is_fingerprinted(now)):
            return Target.FOREIGN_ALIKE
        if not by_content and looks_equal(now, record.target):
            return Target.FOREIGN_EQUAL
    return Target.FOREIGN_FILE


def looks_equal(source: Entry, target: Entry) -> bool:
    """Tell whether a file that was found on the target is what the source would send: same size, same time.

    This is the only comparison of times across the two sides: such a time was set to that of the source. Servers keep
    whole seconds. A target that does not report a time proves nothing; nor does the size of a file whose content a
    transform makes.
    """
    return not is_fingerprinted(source) and source.size == target.size and has_same_time(source, target)


def is_same_version(now: Entry, then: Entry) -> bool:
    """Return whether a file of the source has the size and time that it had, whatever its inode.

    A restored file may have lost the fraction of a second of its time: archives and many tools keep whole seconds. A
    fingerprint is not an inode: what other transforms make is another content.
    """
    if now.kind is not then.kind or now.size != then.size or None in {now.mtime_ns, then.mtime_ns}:
        return now == then
    if (is_fingerprinted(now) or is_fingerprinted(then)) and now.inode != then.inode:
        return False
    assert now.mtime_ns is not None
    assert then.mtime_ns is not None
    is_rounded = 0 in {now.mtime_ns % _SECOND, then.mtime_ns % _SECOND}
    return now.mtime_ns == then.mtime_ns or (is_rounded and now.mtime_ns // _SECOND == then.mtime_ns // _SECOND)


def has_same_time(source: Entry, target: Entry) -> bool:
    """Return whether a file on the target has the time of the source, as precisely as the target keeps times."""
    if source.mtime_ns is None or target.mtime_ns is None:
        return False
    if target.mtime_ns % 1_000_000_000:
        return source.mtime_ns == target.mtime_ns
    return source.mtime_ns // 1_000_000_000 == target.mtime_ns // 1_000_000_000
