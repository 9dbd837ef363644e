"""What has happened: frozen facts, named in the past tense, in the order in which they became durable.

The recorder is the only source of events. Outcomes (``actorsync.model.operation``) are events too. The last event
of a run is always `Stopped`.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import attrs

from actorsync.model.entry import Entry, Problem, ScanComplete
from actorsync.model.operation import Done, Move, Outcome, Remove, Skipped
from actorsync.model.report import Report

__all__ = [
    "Adopted",
    "BreakerOpened",
    "Confirmed",
    "Connected",
    "Event",
    "Forgotten",
    "Intended",
    "LoginDeferred",
    "MovesIntended",
    "Parked",
    "Planned",
    "Reconnecting",
    "Recovered",
    "RemovalIntended",
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
    "Warned",
    "is_durable",
]


@attrs.frozen
class Started:
    """A run began. ``source`` and ``target`` are for display, without secrets.

    ``connections`` is the most that it takes; with ``automatic`` it finds out how many are of use.
    """

    source: str
    target: str
    connections: int
    automatic: bool = False


@attrs.frozen
class Scanned:
    """One directory of the source was looked at."""

    directory: str
    files: int
    directories: int
    hidden: int
    problems: tuple[Problem, ...] = ()


@attrs.frozen
class Planned:
    """The scan is complete: this is all that this run will do. A move that cannot be done is a file and a removal."""

    files: int
    size: int
    directories: int
    removals: int
    moves: int = 0


@attrs.frozen
class Adopted:
    """An entry that was already on the target is equal to the source's, and is ours from now on."""

    source: Entry
    target: Entry
    digest: bytes | None = None


@attrs.frozen
class Confirmed:
    """A file whose times could not be trusted was read again, and its content is what was sent: nothing to do."""

    source: Entry
    target: Entry
    digest: bytes | None = None
    checksum: bytes | None = None


@attrs.frozen
class SurveyComplete:
    """Everything on the target was listed; the journal knows it now."""


@attrs.frozen
class Intended:
    """These temporaries may exist on the target from now on. Durable before the wire sees their names.

    ``source`` is the file that they are for: a run that dies between a rename and writing it down leaves the next one
    a way to know the file again. Where the content is made on the way, that is known only when it is whole: then it is
    told again, with the size that it has come to.
    """

    temporaries: tuple[str, ...]
    source: Entry | None = None


@attrs.frozen
class RemovalIntended:
    """These entries may be gone from the target from now on. Durable before the wire is told to remove them.

    What the source has there again by the next run is then sent, and not believed to be on the target.
    """

    paths: tuple[str, ...]


@attrs.frozen
class MovesIntended:
    """These files may have either of their two names on the target from now on. Durable before the wire is told.

    What the source has under one of them by the next run is then sent, or moved again, and not believed to be there.
    """

    moves: tuple[Move, ...]


@attrs.frozen
class Forgotten:
    """The journal's memory of a path was dropped, with what is foreign below it: it is to be looked at anew."""

    path: str


@attrs.frozen
class RemovalsRefused:
    """A guard refused, before the first removal. ``reason`` names the guard and the way out."""

    reason: str
    removals: int


@attrs.frozen
class RemovalsWithheld:
    """So many removals wait for a later run, because of what failed in this one; ``reason`` is one line about them."""

    removals: int
    reason: str


@attrs.frozen
class Parked:
    """A path has failed, for the ``failures``-th time in a row of runs; told at the end of a run.

    ``source`` is what was to be sent, None for what was to be removed; ``since`` is the time of the first of these
    failures, ``failed_at`` that of the last. With ``retry_at`` the path is parked until then (or until it changes).
    """

    path: str
    source: Entry | None
    failures: int
    since: float
    failed_at: float
    reason: str
    retry_at: float | None = None


@attrs.frozen
class Recovered:
    """A path that had failed before was done, or there is nothing to be done about it any more."""

    path: str
    was_parked: bool


@attrs.frozen
class Connected:
    """Connection number ``connection`` is open and logged in."""

    connection: int
    description: str


@attrs.frozen
class Reconnecting:
    """A connection was lost, or could not be made; it is tried again after ``delay`` seconds."""

    connection: int
    reason: str
    delay: float


@attrs.frozen
class Resized:
    """The run keeps up to ``connections`` from now on, and kept up to ``before``.

    ``ceiling`` is what the server lets in, once it refused; None when it never did.
    """

    connections: int
    ceiling: int | None
    reason: str
    before: int


@attrs.frozen
class LoginDeferred:
    """A connection came to the door with others, and was turned away. It comes again; one at a time they do, now."""

    connection: int
    reason: str


@attrs.frozen
class BreakerOpened:
    """Something that all need does not work, and is left to one that tries it now and then.

    ``cause`` is ``down`` when the server is away, or will have none of our connections: one of them asks for it. It is
    ``full`` when the target has no room: copies fail unsent, but for one that is tried after ``delay`` seconds at the
    latest. ``reason`` is what happened first.
    """

    cause: Literal["down", "full"]
    reason: str
    delay: float


@attrs.frozen
class Resumed:
    """It works again."""

    cause: Literal["down", "full"]


@attrs.frozen
class Warned:
    """Something that the user should know of a connection, and that does not keep the run from going on."""

    text: str


@attrs.frozen
class Retired:
    """A connection gave up; the run goes on with the others, if there are any."""

    connection: int
    reason: str


@attrs.frozen
class Swept:
    """Temporaries that existed no longer do."""

    temporaries: tuple[str, ...]


@attrs.frozen
class Stopped:
    """The run is over; always the last event."""

    report: Report


Event: TypeAlias = (
    Started
    | Scanned
    | Planned
    | ScanComplete
    | SurveyComplete
    | Adopted
    | Confirmed
    | RemovalIntended
    | Intended
    | MovesIntended
    | Forgotten
    | RemovalsRefused
    | RemovalsWithheld
    | Parked
    | Recovered
    | Connected
    | Reconnecting
    | Resized
    | LoginDeferred
    | BreakerOpened
    | Resumed
    | Retired
    | Warned
    | Swept
    | Stopped
    | Outcome
)

#: Events that the journal records. The others only tell what goes on.
_DURABLE: Final = (
    Done,
    ScanComplete,
    SurveyComplete,
    Adopted,
    Confirmed,
    Intended,
    RemovalIntended,
    MovesIntended,
    Forgotten,
    Swept,
    Parked,
    Recovered,
)


def is_durable(event: Event) -> bool:
    """Return whether the journal records ``event``.

    The recorder commits such an event before it publishes it, and publishes any other at once: a run with nothing to do
    does not wait for the disk. A skipped move or removal is recorded because the target no longer has the file. A
    connection limit is recorded once the server has shown one.
    """
    match event:
        case Skipped(operation):
            return isinstance(operation, Move | Remove)
        case Resized(ceiling=ceiling):
            return ceiling is not None
        case _:
            return isinstance(event, _DURABLE)
