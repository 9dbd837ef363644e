"""Events: frozen facts, named in the past tense, published in the order in which they became durable.

The recorder is the only source of events. Outcomes (``actorsync.model.operation``) are events too. The last event
of a run is always `Stopped`.

It is one file because a reader of events looks for all of them here.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import attrs

from actorsync.classes import frozen
from actorsync.model.entry import Entry, Listing, Problem, Root, ScanComplete
from actorsync.model.kept import Kept
from actorsync.model.left_out import NOTHING, LeftOut
from actorsync.model.operation import Audit, Done, Look, Move, Outcome, Publish, Remove, Side, Skipped
from actorsync.model.pair import Agreement, Conflict
from actorsync.model.report import Report
from actorsync.model.text import display
from actorsync.model.trash import Trashed

__all__ = [
    "Adopted",
    "Agreed",
    "Audited",
    "BreakerOpened",
    "Changed",
    "Confirmed",
    "ConflictEnded",
    "Conflicted",
    "Connected",
    "DriftEnded",
    "Drifted",
    "Event",
    "Forgotten",
    "FromTarget",
    "Intended",
    "Learned",
    "LoginDeferred",
    "MemoryVoided",
    "MovesIntended",
    "NotPublished",
    "Noticed",
    "PairScanned",
    "Parked",
    "PartSent",
    "PassBegan",
    "Planned",
    "Reconnecting",
    "Recovered",
    "ReleaseEnded",
    "Released",
    "Relisted",
    "RemovalIntended",
    "RemovalsDelayed",
    "RemovalsRefused",
    "RemovalsWithheld",
    "Resized",
    "Resumed",
    "Retired",
    "Scanned",
    "Started",
    "Stopped",
    "SurveyComplete",
    "Swept",
    "TargetSeen",
    "TrashOpened",
    "Warned",
    "WatchLost",
    "WatchStarted",
    "is_durable",
]


@frozen
class Started:
    """A run began. ``source`` and ``target`` are for display, without secrets.

    ``connections`` is the highest number of connections; with ``automatic`` the run finds out how many are useful.
    """

    source: str
    target: str
    connections: int
    automatic: bool = False
    is_two_way: bool = False
    """Whether changes of both sides are carried over."""

    def text(self, verb: str = "mirroring") -> str:
        """Return what the run does with its two sides, as in ``mirroring a to b``."""
        source, target = display(self.source), display(self.target)
        return f"keeping {source} and {target} in step" if self.is_two_way else f"{verb} {source} to {target}"


@frozen
class WatchStarted:
    """Changes of the source are followed from now on. ``how`` is ``inotify``, ``watchfiles`` or ``polling``.

    ``directories`` are watched; 0 where their number is not known. ``why`` is one line on why it is not the best way.
    """

    how: str
    directories: int
    why: str = ""


@frozen
class WatchLost:
    """Changes of the source may have gone unnoticed, for ``reason``: the next pass looks at the whole source."""

    reason: str


@frozen
class Noticed:
    """Changes of the source were noticed, and wait for a pass. Not published again before that pass has begun."""


@frozen
class PassBegan:
    """A pass of a run that repeats begins, for ``reason``, in a word or two. It comes before `Started`.

    ``directories`` are the directories of the source that it looks at; None for all of them.
    """

    reason: str
    directories: tuple[str, ...] | None = None


@frozen
class Changed:
    """A user has changed something about a run that goes on: ``text`` is one line, as in "paused"."""

    text: str


@frozen
class Scanned:
    """One directory of the source was listed. ``hidden`` entries are not mirrored; ``left_out`` has the reasons."""

    directory: str
    files: int
    directories: int
    hidden: int
    problems: tuple[Problem, ...] = ()
    left_out: LeftOut = NOTHING


@frozen
class Planned:
    """The scan is complete: this is all that the run will do. A rename that fails becomes an upload and a removal."""

    files: int
    size: int
    directories: int
    removals: int
    moves: int = 0
    modes: int = 0


@frozen
class Adopted:
    """An entry that was already on the target equals the source, and belongs to the mirror from now on."""

    source: Entry
    target: Entry
    digest: bytes | None = None


@frozen
class Confirmed:
    """The target has what the source has, so nothing is to be done, and the journal records the source as it is now.

    A file whose times prove nothing was read again, or a mode was seen that the target is not to get.
    """

    source: Entry
    target: Entry
    digest: bytes | None = None
    checksum: bytes | None = None


@frozen
class Agreed:
    """Both sides of a two-way mirror were found to have the same content, without a transfer.

    ``is_new``: they had not agreed on the path before.
    """

    agreement: Agreement
    is_new: bool = True


@frozen
class Conflicted:
    """Both sides of a two-way mirror have changed a path, and differ: nothing is done to it for now."""

    conflict: Conflict


@frozen
class ConflictEnded:
    """A path is in conflict no more."""

    path: str


@frozen
class PairScanned:
    """All of both sides of a two-way mirror was listed: these are their roots."""

    source: Root
    target: Root


@frozen
class SurveyComplete:
    """Everything on the target was listed and recorded."""


@frozen
class TargetSeen:
    """The root of the target was listed at ``at``, in seconds since the epoch, and is the one that the journal knows.

    ``root`` is its identity, where the target tells it.
    """

    at: float
    root: Root | None = None


@frozen
class MemoryVoided:
    """What the journal knew of the target does not hold any more, and was dropped: the target is listed anew.

    ``reason`` says in a few words what has become of its root.
    """

    reason: str


@frozen
class Audited:
    """Directories of the target were listed, and compared with the journal.

    ``directories`` is how many, of the ``known`` ones. The next audit begins after ``last``, in the order of the
    journal. ``began`` is when the current round through the target began, in seconds since the epoch; ``whole`` is when
    the last complete round began: everything on the target was seen since then. None when there was none.
    """

    directories: int
    known: int
    last: str
    began: float
    whole: float | None = None


@frozen
class Drifted:
    """An entry of the mirror is not on the target as it was put there: another program has changed it.

    ``then`` is what the target had, ``now`` what it has; None for what is missing, and what was below it is missing as
    well. ``since`` is when this was found first, in seconds since the epoch; ``is_new`` is True in the run that found
    it. With ``is_mended`` the run treats the path like any other that the target has not got, or has not got from
    actorsync. Otherwise nothing is done, and the event comes again in each run.
    """

    path: str
    then: Entry
    now: Entry | None
    since: float
    is_new: bool = True
    is_mended: bool = False


@frozen
class DriftEnded:
    """What had drifted is again as it was put there, or is no part of the mirror any more."""

    path: str


@frozen
class Relisted:
    """What others have put into a directory of the target differs from what was known, and is recorded anew."""

    listing: Listing


@frozen
class Intended:
    """These temporaries may exist on the target from now on. Recorded before their names are sent.

    ``source`` is the file that they are for: if the process dies between a rename and its record, the next run can
    recognise the file. The size of content that a transform makes is known only at its end: then the event comes a
    second time, with that size. A ``source`` that is no file says that nothing is sent: the temporary is a name in
    between, while the entry gets another spelling of its name. ``trashed`` is where an old file of that name may be
    from now on. ``over`` is what a two-way run sets aside, under the last of the names: the next run can recognise it
    there. It has no time if the time does not tell one version from another.
    """

    temporaries: tuple[str, ...]
    source: Entry | None = None
    trashed: Trashed | None = None
    over: Entry | None = attrs.field(default=None, kw_only=True)
    side: Side = attrs.field(default=Side.TARGET, kw_only=True)


@frozen
class TrashOpened:
    """The run keeps what it changes, and is about to make this directory for it. Recorded before that."""

    run: int
    directory: str
    at: float


@frozen
class PartSent:
    """A part of a big file is on the target under its temporary name, and a later attempt may continue it."""

    kept: Kept


@frozen
class Released:
    """The commit point of a release: everything is staged, and from now on it is published, whatever happens.

    If the run ends before `ReleaseEnded`, the next run finishes the release, or takes it back as a whole.
    """

    items: tuple[Publish, ...]


@frozen
class ReleaseEnded:
    """A release is published as a whole, or taken back as a whole because of ``rolled_back``, one line for the user.

    Published, the target has the new files, and what was set aside is no longer needed. Taken back, it has what it had
    before, and the new files are kept under their temporary names. ``refused`` are the paths of parts that the target
    refused, in a release that was published all the same because the old files were not kept.
    """

    rolled_back: str | None = None
    refused: tuple[str, ...] = ()


@frozen
class NotPublished:
    """What is staged is not published in this run, for ``reason``, one line. The ``staged`` files are kept."""

    reason: str
    staged: int


@frozen
class RemovalIntended:
    """These entries may be gone from the target from now on. Recorded before the removal is sent.

    If the source has one of them again by the next run, that run sends it, and does not take it to be on the target.
    ``trashed`` is where those of them may be that are not removed for good.
    """

    paths: tuple[str, ...]
    trashed: tuple[Trashed, ...] = ()
    side: Side = attrs.field(default=Side.TARGET, kw_only=True)


@frozen
class MovesIntended:
    """These files may have either of their two names on the target from now on. Recorded before the rename is sent.

    If the source has a file under one of these names by the next run, that run sends or renames it again.
    """

    moves: tuple[Move, ...]


@frozen
class Forgotten:
    """The record of a path was dropped, with the foreign records below it. The next survey lists it again."""

    path: str


@frozen
class RemovalsRefused:
    """A guard refused all removals before the first one. ``reason`` names the guard, and what to do."""

    reason: str
    removals: int


@frozen
class RemovalsDelayed:
    """What is gone from the source stays on the target for a while, because the profile asks for it.

    ``paths`` is all that stays. The first of it goes at ``first``, and the last at ``last``. ``found`` are those paths
    that this run was the first to find gone, ``at`` this time. ``returned`` are paths that earlier runs found gone and
    that are there again. Times are in seconds since the epoch. Recorded, so that the time counts from the first run.
    """

    paths: tuple[str, ...]
    first: float
    last: float
    at: float
    found: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()


@frozen
class RemovalsWithheld:
    """Removals were postponed to a later run, because of failures in this one. ``reason`` is one line about them."""

    removals: int
    reason: str


@frozen
class Parked:
    """A path has failed in ``failures`` runs in a row. Published at the end of a run.

    ``source`` is the entry to be sent, or None for a removal. ``since`` is the time of the first of these failures,
    ``failed_at`` the time of the last, in seconds since the epoch. With ``retry_at`` the path is parked until then, or
    until it changes.
    """

    path: str
    source: Entry | None
    failures: int
    since: float
    failed_at: float
    reason: str
    retry_at: float | None = None


@frozen
class Recovered:
    """A path that had failed before succeeded, or needs no change any more."""

    path: str
    was_parked: bool


@frozen
class Connected:
    """Connection number ``connection`` is open and logged in."""

    connection: int
    description: str


@frozen
class Reconnecting:
    """A connection was lost, or could not be opened. The next attempt is after ``delay`` seconds."""

    connection: int
    reason: str
    delay: float


@frozen
class Resized:
    """The run keeps up to ``connections`` connections from now on, where it kept up to ``before``.

    ``ceiling`` is how many the server accepts, once it has refused one; None while it has refused none.
    """

    connections: int
    ceiling: int | None
    reason: str
    before: int


@frozen
class LoginDeferred:
    """A login was rejected while other logins were in progress. Logins are retried one at a time."""

    connection: int
    reason: str


@frozen
class BreakerOpened:
    """A circuit breaker opened: one connection probes, and the others wait.

    ``cause`` is ``down`` when the server cannot be reached, or accepts no connection. It is ``full`` when the target
    has no space: uploads fail without being sent, except for a probe after ``delay`` seconds at most. ``reason`` is the
    first failure.
    """

    cause: Literal["down", "full"]
    reason: str
    delay: float


@frozen
class Resumed:
    """The circuit breaker closed: the probe succeeded."""

    cause: Literal["down", "full"]


@frozen
class Warned:
    """A non-fatal notice for the user, mostly about a connection."""

    text: str


@frozen
class Learned:
    """A trait of a server became known, which later runs make use of. An empty ``text``: it no longer holds.

    ``name`` and ``text`` are for the endpoint of that ``side``, and may change with any version. One is not learned of
    the server: ``sync.modes`` is the rule for modes that everything on the target follows.
    """

    side: Side
    name: str
    text: str


@frozen
class Retired:
    """A connection gave up. The run continues with the others, if there are any."""

    connection: int
    reason: str


@frozen
class Swept:
    """Temporaries no longer exist on the target, or are not tried again after a warning.

    ``trashed`` are old files that a two-way run had set aside under such names, and that are in the trash now.
    """

    temporaries: tuple[str, ...]
    trashed: tuple[Trashed, ...] = attrs.field(default=(), kw_only=True)
    side: Side = attrs.field(default=Side.TARGET, kw_only=True)


@frozen
class Stopped:
    """The run is over; always the last event."""

    report: Report


Event: TypeAlias = (
    Started
    | WatchStarted
    | WatchLost
    | Noticed
    | PassBegan
    | Changed
    | Scanned
    | Planned
    | ScanComplete
    | SurveyComplete
    | Agreed
    | Conflicted
    | ConflictEnded
    | PairScanned
    | TargetSeen
    | MemoryVoided
    | Audited
    | Drifted
    | DriftEnded
    | Relisted
    | Adopted
    | Confirmed
    | RemovalIntended
    | Intended
    | TrashOpened
    | PartSent
    | Released
    | ReleaseEnded
    | NotPublished
    | MovesIntended
    | Forgotten
    | RemovalsRefused
    | RemovalsDelayed
    | RemovalsWithheld
    | Parked
    | Recovered
    | Connected
    | Reconnecting
    | Resized
    | LoginDeferred
    | BreakerOpened
    | Resumed
    | Learned
    | Retired
    | Warned
    | Swept
    | Stopped
    | Outcome
)


@frozen
class FromTarget:
    """An event of one of several targets, for a reader of all of them. ``target`` is the name of the target."""

    target: str
    event: Event


#: Events that the journal records. The others only tell what goes on.
_DURABLE: Final = (
    Done,
    ScanComplete,
    SurveyComplete,
    Agreed,
    Conflicted,
    ConflictEnded,
    PairScanned,
    TargetSeen,
    MemoryVoided,
    Audited,
    Drifted,
    DriftEnded,
    Relisted,
    Adopted,
    Confirmed,
    Intended,
    TrashOpened,
    PartSent,
    Released,
    ReleaseEnded,
    RemovalIntended,
    RemovalsDelayed,
    MovesIntended,
    Forgotten,
    Swept,
    Parked,
    Recovered,
    Learned,
)


def is_durable(event: Event) -> bool:
    """Return whether the journal records ``event``.

    The recorder commits such an event before it publishes it, and publishes any other at once: a run with nothing to do
    does not wait for the disk. A skipped move or removal is recorded because the target no longer has the file. A
    connection limit is recorded once the server has shown one.
    """
    match event:
        case Done(Audit() | Look()):
            return False  # what follows from it comes as an event of its own
        case Skipped(operation):
            return isinstance(operation, Move | Remove)
        case Resized(ceiling=ceiling):
            return ceiling is not None
        case _:
            return isinstance(event, _DURABLE)
