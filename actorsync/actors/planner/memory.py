"""What the planner is given: the journal it reads, the rules of the run, and questions to the source."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

import attrs

from actorsync.actors.control import Control
from actorsync.actors.pipeline import Approval
from actorsync.classes import frozen
from actorsync.model.entry import Entry, Listing, Record, Root
from actorsync.model.event import Parked
from actorsync.model.kept import Kept
from actorsync.model.operation import Publish, Side
from actorsync.model.row import ListingRows
from actorsync.model.trash import Trashed
from actorsync.planning.drift import AuditRule, Drift, Round
from actorsync.planning.modes import ALONE, Modes
from actorsync.planning.publishing.rules import FILE_BY_FILE, PublishRule
from actorsync.planning.removal_guard import DeleteLimit, Protected
from actorsync.planning.selection import Selection
from actorsync.planning.walk import KnownDirectories
from actorsync.planning.watching.shrinking import Shrinking

__all__ = ["AuditMemory", "Digest", "Memory", "Rules", "SourceQueries", "TrashMemory"]

#: Reads a source file. Returns the entry that was read and a digest of its content, or None when the file changed
#: meanwhile or could not be read.
Digest: TypeAlias = Callable[[str], Awaitable[tuple[Entry, bytes] | None]]


class AuditMemory(Protocol):
    """What the planner needs of what a journal knows of its target beside the records."""

    def target_root(self) -> Root | None: ...

    def seen(self) -> float | None: ...

    def round(self) -> Round | None: ...

    def directories_after(self, directory: str, limit: int) -> list[str]: ...

    def directory_count(self) -> int: ...

    def drifts(self) -> Iterable[Drift]: ...

    def leaving(self) -> Mapping[str, float]: ...


class TrashMemory(Protocol):
    """What the planner needs of what a journal knows of changes that can be undone."""

    def next_run(self) -> int: ...

    def open(self) -> Sequence[Trashed]: ...

    def held(self) -> Mapping[str, Entry | None]: ...

    def held_count(self) -> int: ...


class Memory(Protocol):
    """What the planner needs of a journal."""

    @property
    def is_fresh(self) -> bool: ...

    def differences(
        self, listed: ListingRows, *, is_complete: bool = False, by_size_time: bool = False
    ) -> tuple[Listing, Mapping[str, Record]]: ...

    def traits(self, side: Side) -> Mapping[str, str]: ...

    def familiar(self, entries: Sequence[Entry]) -> set[str]: ...

    def subtree(self, directory: str) -> Iterable[Record]: ...

    def kept_names(self, directory: str) -> Iterable[str]: ...

    def children(self, directory: str, limit: int = ...) -> Mapping[str, Record]: ...

    def record(self, path: str) -> Record | None: ...

    @property
    def directories(self) -> KnownDirectories: ...

    @property
    def audits(self) -> AuditMemory: ...

    @property
    def trash(self) -> TrashMemory: ...

    def owned_count(self) -> int: ...

    def foreign_count(self) -> int: ...

    def pending(self) -> Iterable[tuple[str, Entry | None]]: ...

    def kept(self) -> Iterable[Kept]: ...

    def release(self) -> Sequence[tuple[Publish, Entry | None]]: ...

    def root(self) -> Root | None: ...

    def troubles(self) -> Iterable[Parked]: ...


@frozen
class Rules:
    """What one run may do.

    ``delete`` allows removals, at most ``max_delete`` of them; with ``any_device`` also from a source that is on
    another device than in the last run. ``protects`` allows those of foreign entries, too, and tells which of these
    stay; None where all do. ``is_patient`` postpones parked paths. With ``by_content`` a file that only has another
    time is compared by its checksum, where that of what was sent is known. With ``by_size_time`` inodes, and the times
    of inodes, are not compared. ``modes`` is the rule for permissions; where the profile has none, it is that of the
    target. ``audit`` says how the target is looked at; None for not at all. ``publish`` says how files get their names,
    and ``approval`` what a burst waits for, see `Pipeline`. What is gone is removed by a run that still finds it gone,
    ``settle`` seconds after another one has. ``is_partial`` says that the scan lists a part of the source, and
    ``control`` has what the user wants meanwhile. ``shrinking`` has what earlier passes of the process have removed.
    """

    selection: Selection
    max_delete: DeleteLimit
    delete: bool = False
    any_device: bool = False
    is_patient: bool = False
    by_content: bool = False
    by_size_time: bool = False
    modes: Modes = ALONE
    audit: AuditRule | None = None
    counts_drift: bool = True
    protects: Protected | None = None
    publish: PublishRule = FILE_BY_FILE
    approval: Approval | None = None
    settle: float = 0.0
    is_partial: bool = False
    control: Control = attrs.Factory(Control)
    shrinking: Shrinking | None = None

    @property
    def stays(self) -> float:
        """For how many seconds what is gone stays on the target, from when a run has found it gone."""
        return max(self.publish.remove_after, self.settle)


@frozen
class SourceQueries:
    """What the planner asks of the source beside the listings.

    ``is_gone`` tells whether an entry that no listing showed is really gone; None where a listing cannot be cut short.
    ``fingerprinted`` returns a directory with the fingerprints of transformed files; None where nothing is transformed.
    """

    digest: Digest
    is_gone: Callable[[Entry], Awaitable[bool]] | None = None
    fingerprinted: Callable[[ListingRows], ListingRows] | None = None
