"""Whether removals may begin, and which of them have to wait. Asked once, when all removals of a run are known.

A mirror can destroy data in three ways in which each single removal looks right: the source was emptied, the source is
another one (a disk that is not mounted), or far more is missing than the user meant to delete.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from typing import Literal, Protocol, TypeAlias

from actorsync.classes import frozen
from actorsync.model.entry import Entry, Kind, Record, Root, parent_of
from actorsync.planning.selection import Selection
from actorsync.planning.temporary_names import is_own

__all__ = [
    "DeleteLimit",
    "Deletion",
    "Gone",
    "Protected",
    "RemovalRequest",
    "may_go_early",
    "objection",
    "to_postpone",
    "why_postponed",
    "with_directories",
]

#: Which removals a profile allows: none, those of what actorsync has put there, or those of everything else as well.
Deletion: TypeAlias = bool | Literal["everything"]

#: A source that had fewer entries than this may be emptied (mutagen has the same limit).
FEW_ENTRIES = 2


@frozen
class Protected:
    """What is never removed although it is foreign: what is excluded, and what belongs to actorsync itself.

    ``selection`` is that of the source, with the private files of this machine as they are named on the target.
    """

    selection: Selection

    def __call__(self, path: str, is_directory: bool) -> bool:
        """Return whether an entry of the target stays."""
        return is_own(path) or self.selection.hides(path, is_directory)


class DeleteLimit(Protocol):
    """How many of ``total`` entries one run may remove."""

    @property
    def is_unlimited(self) -> bool: ...

    def limit(self, total: int) -> int: ...


@frozen
class RemovalRequest:
    """How much a run is about to remove, of how many entries, and what it saw of the source.

    ``ours`` counts the entries that the target has from the source, ``seen`` those that the scan showed. ``foreign`` is
    how many of the ``count`` removals are of entries that are not ours. Then ``known`` counts all entries that the
    target had before the run and that are not protected. ``most`` is how many entries the target had from the source
    lately, in earlier passes of the same process; see `Shrinking`. It counts only if it is more than ``ours``.
    """

    count: int
    ours: int
    seen: int
    root_then: Root | None
    root_now: Root
    foreign: int = 0
    known: int = 0
    most: int = 0


def objection(removals: RemovalRequest, limit: DeleteLimit, *, any_device: bool = False) -> str | None:
    """Return why the removals must not begin, in one line that says what to do; None when they may.

    An unlimited ``limit`` (``max-delete = "100%"``) allows every removal: there is no objection. ``any_device`` allows
    removals from a source that is on another device than before, and nothing else. Removals of foreign entries do not
    widen what may be removed of ours: the limit holds for ours alone, and for all together.
    """
    if not removals.count or limit.is_unlimited:
        return None
    way_out = "if this is intended, run once with --set sync.max-delete=100%"
    if removals.seen == 0 and removals.foreign >= FEW_ENTRIES:
        return (
            f"the source is empty, and {removals.count} entries of the target would be removed, "
            f"{removals.foreign} of them not put there by actorsync: nothing removed; {way_out}"
        )
    most = max(removals.most, removals.ours)
    if removals.seen == 0 and most >= FEW_ENTRIES:
        return f"the source is empty, and the target has {removals.ours} entries from it: nothing removed; {way_out}"
    if not any_device and _is_elsewhere(removals.root_then, removals.root_now):
        return (
            "the source is on another device than in the last run (is it mounted?): nothing removed; "
            "if this is intended, run once with --set sync.any-device=true"
        )
    allowed = limit.limit(removals.ours)
    if (count := removals.count - removals.foreign) > allowed:
        return (
            f"{count} of {removals.ours} entries would be removed, more than max-delete allows ({allowed}): "
            f"nothing removed; {way_out}"
        )
    gone, allowed = most - removals.ours, limit.limit(most)
    if gone and gone + count > allowed:
        return (
            f"{count} more of {most} entries would be removed, {gone} were removed within the last hour, together more "
            f"than max-delete allows ({allowed}): nothing removed; {way_out}"
        )
    allowed = limit.limit(removals.known)
    if removals.foreign and removals.count > allowed:
        return (
            f"{removals.count} of {removals.known} entries on the target would be removed, {removals.foreign} of them "
            f"not put there by actorsync, more than max-delete allows ({allowed}): nothing removed; see them with "
            f"actorsync plan; {way_out}"
        )
    return None


def _is_elsewhere(then: Root | None, now: Root) -> bool:
    return then is not None and then.device is not None and now.device is not None and then.device != now.device


@frozen
class Gone:
    """What is known of an entry that is to be removed. ``top`` is what is missing: itself, or a directory above it."""

    record: Record
    top: str

    @property
    def source(self) -> Entry | None:
        """What the source had under this path."""
        return self.record.source

    @property
    def is_foreign(self) -> bool:
        """Whether actorsync has not put the entry there."""
        return self.record.source is None


def to_postpone(
    removals: Mapping[str, Gone],
    failed: Iterable[Entry],
    *,
    kept: Collection[str] = (),
    unlisted: Collection[str] = (),
) -> frozenset[str]:
    """Choose the removals that must wait for a run in which nothing near them fails.

    ``removals`` are by path; ``failed`` is what the source has and the target has not got: files and directories that
    could not be sent, and directories that could not be read. What failed may be the new name of what would be removed.
    So these removals wait:

    * an entry in the same directory as one that failed; if a whole directory is missing, everything in it;
    * anywhere, a file of the size, or with the inode, of a file that failed: a renamed file looks like this;
    * an entry below a directory of the target that could not be listed (``unlisted``);
    * a directory that holds an entry which waits, or which is ``kept`` for another reason.
    """
    failed = list(failed)
    if not (failed or kept or unlisted):
        return frozenset()
    beside = {parent_of(entry.path) for entry in failed}
    resembling = {gone.record.target.path for gone in _resembling(removals.values(), failed)}

    def waits(path: str, gone: Gone) -> bool:
        return path in resembling or parent_of(gone.top) in beside or any(above in unlisted for above in _line(path))

    chosen = {path for path, gone in removals.items() if path not in kept and waits(path, gone)}
    return with_directories({*chosen, *kept}, removals) - (frozenset(kept) - chosen)


def may_go_early(removals: Mapping[str, Gone], making_way: Collection[str], unsent: Iterable[Entry]) -> frozenset[str]:
    """Choose the removals that may be done before everything is sent, of those that make way for something.

    A file that looks like one which is still to be sent stays until that has arrived: the mirror may have its content
    under no other name. So do the directories above it.
    """
    looking_like = _resembling([removals[path] for path in making_way], unsent) if making_way else ()
    stays = with_directories({gone.record.target.path for gone in looking_like}, removals)
    return frozenset(making_way) - stays


def with_directories(paths: Collection[str], removals: Container[str]) -> frozenset[str]:
    """Return ``paths`` and the directories above them that are among the removals: these cannot go before them."""
    above = (it for path in paths for it in _line(parent_of(path)) if it in removals)
    return frozenset({*paths, *above})


def _resembling(removals: Iterable[Gone], entries: Iterable[Entry]) -> list[Gone]:
    """Return the removals of files that have the size or the inode of a file among ``entries``."""
    files = [entry for entry in entries if entry.kind is Kind.FILE]
    sizes = {entry.size for entry in files}
    inodes = {entry.inode for entry in files if entry.inode is not None}

    def is_like(gone: Gone) -> bool:
        was = gone.source or gone.record.target
        has_inode = gone.source is not None and was.inode in inodes
        return was.kind is Kind.FILE and (was.size in sizes or has_inode)

    return [gone for gone in removals if is_like(gone)]


def why_postponed(removals: int, failed: Collection[str]) -> str:
    """Return one line that says how many removals wait, and for what."""
    more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    they = "they" if removals != 1 else "it"
    return (
        f"{removals} removal{'s' if removals != 1 else ''} postponed: {they} may be half of a rename that failed "
        f"({min(failed, default='')!r}{more})"
    )


def _line(path: str) -> Iterator[str]:
    """Yield a path and the directories above it, without the root."""
    while path:
        yield path
        path = parent_of(path)
