"""Operations on a tree, and their outcomes.

An operation has exactly one outcome. Operations travel in batches of one kind, because the wire is a pipeline: a
hundred small commands share one round trip.

It is one file because a reader of operations looks for all of them here.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import attrs

from actorsync.classes import frozen
from actorsync.model.entry import Entry, Listing, Root
from actorsync.model.kept import Kept
from actorsync.model.trash import Trashed

__all__ = [
    "Audit",
    "Batch",
    "Compare",
    "Copy",
    "Done",
    "Failed",
    "Fault",
    "Look",
    "Maintain",
    "MakeDirectory",
    "Move",
    "Operation",
    "Outcome",
    "Prepare",
    "Publish",
    "PutBack",
    "Recall",
    "Remove",
    "Respell",
    "Returned",
    "Sending",
    "SetMode",
    "Side",
    "Skipped",
    "Survey",
    "Sweep",
    "Tidying",
]


class Side(enum.Enum):
    """One of the two trees of a run."""

    SOURCE = "source"
    TARGET = "target"

    __hash__ = object.__hash__  # quicker, as for `Kind`


@frozen
class Copy:
    """Send one file. ``source`` is as scanned; the journal records what was read.

    ``replaces`` says that the target has an entry with this name already, as far as the journal knows. ``kept`` is what
    an earlier attempt left of the same file on the target, whole or in part. ``side``, here and in all operations, is
    the side that the operation changes. In a two-way run, ``over`` is the entry that is to be there and is replaced;
    None if nothing is to be there. Another one is never replaced. ``proof`` is the digest that it has to have where its
    times do not tell: it was changed in the moment in which it was listed. ``b""``: no digest is known.
    """

    source: Entry
    replaces: bool = False
    kept: Kept | None = attrs.field(default=None, kw_only=True, repr=False, eq=False)
    over: Entry | None = attrs.field(default=None, kw_only=True, repr=False)
    proof: bytes | None = attrs.field(default=None, kw_only=True, repr=False)
    side: Side = attrs.field(default=Side.TARGET, kw_only=True, repr=False)

    @property
    def path(self) -> str:
        return self.source.path


@frozen
class Prepare:
    """Send one file, and leave it under its temporary name: nothing of it can be seen. Otherwise like `Copy`.

    `Publish` gives it its name, together with everything else of a release.
    """

    source: Entry
    replaces: bool = False
    kept: Kept | None = attrs.field(default=None, kw_only=True, repr=False, eq=False)
    side: Side = attrs.field(default=Side.TARGET, kw_only=True, repr=False)

    @property
    def path(self) -> str:
        return self.source.path


@frozen
class Publish:
    """Rename a file that is whole under its temporary name to its final name, as a part of a release.

    Ranks are published one after the other. ``aside`` is the path that an old file of this name gets first, so that the
    release can be rolled back; None to replace the old file for good. ``replaced`` is what the target has under the
    final name, as far as the journal knows. The journal has all of a release before its first operation is given out.
    """

    kept: Kept
    rank: int = 0
    aside: str | None = None
    replaced: Entry | None = None
    side: Side = attrs.field(default=Side.TARGET, kw_only=True, repr=False)

    @property
    def path(self) -> str:
        return self.kept.source.path


@frozen
class PutBack:
    """Take back one part of a release: the file gets its temporary name again, and the old file its final name.

    Whether it was published at all is found out by looking, so it may be done at any time, and again.
    """

    published: Publish
    side: Side = attrs.field(default=Side.TARGET, kw_only=True, repr=False)

    @property
    def path(self) -> str:
        return self.published.path


@frozen
class Maintain:
    """Put an empty file on the target while a release is published, or remove it again if not ``begins``."""

    path: str
    begins: bool = True
    side: Side = attrs.field(default=Side.TARGET, kw_only=True, repr=False)


@frozen
class Compare:
    """Compare the content of a file that the target has with what would be sent. Changes nothing.

    ``source`` is as scanned, ``target`` as listed: a file that no run of this profile has put there. If both have the
    same content, the file belongs to the mirror from now on. A comparison that finds a difference, or cannot be made,
    is `Skipped`: the file is then sent in the same run.
    """

    source: Entry
    target: Entry
    side: Side = attrs.field(default=Side.TARGET, kw_only=True, repr=False)

    @property
    def path(self) -> str:
        return self.source.path


@frozen
class MakeDirectory:
    """Make one directory. Its parent exists, or stands before it in the same batch."""

    source: Entry
    side: Side = attrs.field(default=Side.TARGET, kw_only=True, repr=False)

    @property
    def path(self) -> str:
        return self.source.path


@frozen
class Move:
    """Rename a file that the target already has to the name that it has in the source now.

    ``source`` is as scanned under the new name, ``target`` is what the target last had under the old one. ``digest``
    and ``checksum`` are those of its content, as in `Record`, and are recorded for the new name. A move that cannot be
    done is `Skipped`: the file is then sent in the same run, and removed under its old name. ``is_aside``: the sides of
    a two-way mirror are in conflict, and the file makes way for the other version.
    """

    source: Entry
    target: Entry
    digest: bytes | None = None
    checksum: bytes | None = None
    is_aside: bool = attrs.field(default=False, kw_only=True, repr=False)
    side: Side = attrs.field(default=Side.TARGET, kw_only=True, repr=False)

    @property
    def path(self) -> str:
        return self.source.path


@frozen
class Respell:
    """Change the spelling of one name, where the target takes the old and the new spelling for one name.

    ``target`` is what the target last had under the old spelling: a file, or a directory with all its contents.
    ``source`` has the new spelling, and is what the source had when both sides last agreed. ``digest`` and ``checksum``
    are as in `Move`. ``temporary`` is the name that the journal knows of meanwhile. A change that cannot be made, or is
    none because the target tells the two apart, is `Skipped`: the entry is then planned like any other.
    """

    source: Entry
    target: Entry
    temporary: str
    digest: bytes | None = None
    checksum: bytes | None = None
    side: Side = attrs.field(default=Side.TARGET, kw_only=True, repr=False)

    @property
    def path(self) -> str:
        return self.source.path


@frozen
class Remove:
    """Remove one entry of the target, if it still looks like ``target``.

    ``twin`` is another path that the mirror keeps, and that the target may take for this one. The entry is removed only
    if a listing of the target shows both. ``is_foreign``: no run has put the entry there. ``proof`` is as in `Copy`.
    """

    target: Entry
    twin: str | None = None
    is_foreign: bool = False
    proof: bytes | None = attrs.field(default=None, kw_only=True, repr=False)
    side: Side = attrs.field(default=Side.TARGET, kw_only=True, repr=False)

    @property
    def path(self) -> str:
        return self.target.path


@frozen
class SetMode:
    """Set the permissions of a file or directory that the target has already, with the right content.

    ``source`` is as scanned or read, ``target`` is what the target last had. ``digest`` and ``checksum`` are those of
    the content, as in `Record`, and are recorded again. What a server does not set is reported as a warning.
    """

    source: Entry
    target: Entry
    mode: int
    digest: bytes | None = None
    checksum: bytes | None = None
    side: Side = attrs.field(default=Side.TARGET, kw_only=True, repr=False)

    @property
    def path(self) -> str:
        return self.source.path


@frozen
class Survey:
    """List one directory that the journal does not know. ``side`` is the side that has it."""

    path: str
    side: Side = attrs.field(default=Side.TARGET, kw_only=True, repr=False)


@frozen
class Sweep:
    """Remove one temporary that an earlier attempt left behind.

    ``source`` is the file that it was made for, where that is known. With ``recovers`` the temporary is of an earlier
    run, which died while it sent that file: if the target has the whole file under its final name, the journal adopts
    it. Such a temporary is swept again at the end of the run: what a process sent before it died is still on its way,
    and a slow connection can take seconds.

    A temporary that is ``kept`` stays: it is only found out whether the file has its final name meanwhile. ``replaces``
    says that the target had an old file of that name. If that is missing, the rename was broken off in the middle, on a
    target that replaces a file in several steps: then the temporary is swept all the same, and the old file restored.
    """

    path: str
    source: Entry | None = None
    recovers: bool = True
    kept: Kept | None = attrs.field(default=None, kw_only=True, repr=False)
    replaces: bool = attrs.field(default=False, kw_only=True)
    side: Side = attrs.field(default=Side.TARGET, kw_only=True, repr=False)


@frozen
class Recall:
    """Find out whether a file reached the trash, if the attempt to move it there ended without an outcome.

    If its name is free, the file gets it back. Otherwise it stays in the trash, and counts as a change of its run.
    """

    trashed: Trashed
    side: Side = attrs.field(default=Side.TARGET, kw_only=True, repr=False)

    @property
    def path(self) -> str:
        return self.trashed.path


@frozen
class Audit:
    """List one directory that the journal knows, to find out whether it is still so. Nothing is changed.

    Of the root, where the target tells them, device and inode are asked for as well.
    """

    path: str
    side: Side = attrs.field(default=Side.TARGET, kw_only=True, repr=False)


@frozen
class Look:
    """Ask for one entry by its name. Nothing is changed.

    ``target`` is what the target last had. With ``is_fresh`` another connection is opened for it, where the limit of
    connections leaves room and the target lets one more in: what one connection shows may be wrong about all entries.
    """

    target: Entry
    is_fresh: bool = False
    side: Side = attrs.field(default=Side.TARGET, kw_only=True, repr=False)

    @property
    def path(self) -> str:
        return self.target.path


Operation: TypeAlias = (
    Audit
    | Compare
    | Copy
    | Look
    | Maintain
    | MakeDirectory
    | Move
    | Publish
    | PutBack
    | Recall
    | Remove
    | Respell
    | SetMode
    | Prepare
    | Survey
    | Sweep
)

#: Operations that send a file.
Sending: TypeAlias = Copy | Prepare

#: Operations on what attempts have left behind: they are carried out while a run stops as well.
Tidying: TypeAlias = Recall | Sweep

#: Operations of one kind, to be done in this order. A batch of `Copy` or `Prepare` holds exactly one.
Batch: TypeAlias = tuple[Operation, ...]


@frozen
class Done:
    """The operation was done and verified.

    ``target`` is what the target reported afterwards, ``source`` what was read. ``digest`` is that of the content where
    the times alone would not show a later change, ``checksum`` that of what was sent, where it is to be remembered. Of
    a survey or an audit, ``listing`` is what was found; of the root, ``root`` is its identity, where the target
    tells it. Of a look, ``target`` is what is there now: the entry as recorded, another one, or None. Of a stage,
    ``kept`` is what waits under the temporary name; of a sweep, what it has left there. ``resumed`` is how many bytes
    of a file were there already, from an earlier attempt, and were not sent again. ``trashed`` is the change as it can
    be undone, where the profile has a trash; of a `Recall` it is None if no file is in the trash.
    """

    operation: Operation
    target: Entry | None = None
    source: Entry | None = None
    digest: bytes | None = None
    temporary: str | None = None
    listing: Listing | None = None
    checksum: bytes | None = None
    root: Root | None = None
    kept: Kept | None = None
    resumed: int = 0
    trashed: Trashed | None = None
    doubts: tuple[Side, ...] = ()
    """In a two-way run: the sides on which the times do not show a later change."""


class Fault(enum.Enum):
    """The cause of a failure. Only ``PATH`` counts against the path."""

    PATH = "path"
    TARGET = "target"  # it has no room, for this file or for any other
    UNSENT = "unsent"  # not tried, because another file has shown that there is no room
    OTHER = "other"  # an operation that had to be done first was not done
    PARKED = "parked"  # not tried: it has failed in the last runs, and it is too early for the next try


@frozen
class Failed:
    """The operation could not be done; ``reason`` is one line for the user. The run goes on."""

    operation: Operation
    reason: str
    fault: Fault = Fault.PATH


@frozen
class Skipped:
    """Intentionally skipped (a directory that holds entries of others), or replaced by other operations."""

    operation: Operation
    reason: str


@frozen
class Returned:
    """The operation was not done: another connection may take it, or the next run.

    ``tried`` says that it was tried and may be the cause itself; an operation that is returned too often this way has
    failed.
    """

    operation: Operation
    reason: str
    tried: bool = False


Outcome: TypeAlias = Done | Failed | Skipped | Returned
