"""What may be done to a target, and what became of it.

An operation has exactly one outcome. Operations travel in batches of one kind, because the wire is a pipeline:
a hundred small verbs share one round trip.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import attrs

from actorsync.model.entry import Entry, Listing

__all__ = [
    "Batch",
    "Copy",
    "Done",
    "Failed",
    "Fault",
    "MakeDirectory",
    "Move",
    "Operation",
    "Outcome",
    "Remove",
    "Returned",
    "Skipped",
    "Survey",
    "Sweep",
]


@attrs.frozen
class Copy:
    """Send one file. ``source`` is as scanned; what is recorded is what was read.

    ``replaces`` says that the target has something under this name already, as far as the journal knows.
    """

    source: Entry
    replaces: bool = False

    @property
    def path(self) -> str:
        return self.source.path


@attrs.frozen
class MakeDirectory:
    """Make one directory; its parent exists, or stands before it in the same batch."""

    source: Entry

    @property
    def path(self) -> str:
        return self.source.path


@attrs.frozen
class Move:
    """Give a file that is on the target already the name that it has in the source now.

    ``source`` is as scanned under the new name, ``target`` is what the target last had under the old one. ``digest``
    and ``checksum`` are those of its content, as in `Record`, and go along. One that cannot be done is `Skipped`: the
    file is then sent in the same run, and removed under its old name.
    """

    source: Entry
    target: Entry
    digest: bytes | None = None
    checksum: bytes | None = None

    @property
    def path(self) -> str:
        return self.source.path


@attrs.frozen
class Remove:
    """Remove one entry that we put there, if the target still describes it as ``target`` does."""

    target: Entry

    @property
    def path(self) -> str:
        return self.target.path


@attrs.frozen
class Survey:
    """List one directory of the target, because the journal does not know it."""

    path: str


@attrs.frozen
class Sweep:
    """Remove one temporary that an earlier attempt left behind.

    ``source`` is the file that it was for, where that is known. One that ``recovers`` is of an earlier run, which died
    over that file: if the target has it whole under its final name, it is ours. Its temporary is swept again at the
    end: what a process had handed over when it died goes on travelling, and a slow way can be seconds long.
    """

    path: str
    source: Entry | None = None
    recovers: bool = True


Operation: TypeAlias = Copy | MakeDirectory | Move | Remove | Survey | Sweep

#: Operations of one kind, to be done in this order. A batch of copies holds exactly one.
Batch: TypeAlias = tuple[Operation, ...]


@attrs.frozen
class Done:
    """The operation was done and verified.

    ``target`` is what the target reported afterwards, ``source`` what was read, ``digest`` its content where the
    times alone would not tell a later change, ``checksum`` that of what was sent, where it is to be remembered. For a
    survey, ``listing`` is what was found.
    """

    operation: Operation
    target: Entry | None = None
    source: Entry | None = None
    digest: bytes | None = None
    temporary: str | None = None
    listing: Listing | None = None
    checksum: bytes | None = None


class Fault(enum.Enum):
    """Whose fault a failure is: what decides whether it counts against the path."""

    PATH = "path"
    TARGET = "target"  # it has no room, for this one or for any other
    UNSENT = "unsent"  # it was not even tried, because another has shown that there is no room
    OTHER = "other"  # something that had to be done first was not
    PARKED = "parked"  # it was not tried: it has failed in the last runs, and its time has not come


@attrs.frozen
class Failed:
    """The operation could not be done; ``reason`` is one line for the user. The run goes on."""

    operation: Operation
    reason: str
    fault: Fault = Fault.PATH


@attrs.frozen
class Skipped:
    """The operation was rightly not done (a directory that holds entries which are not ours), or is done otherwise."""

    operation: Operation
    reason: str


@attrs.frozen
class Returned:
    """The operation was not done and is given back whole: another connection may take it, or the next run.

    ``tried`` says that it was tried and may be at fault itself; an operation that fails too often this way has failed.
    """

    operation: Operation
    reason: str
    tried: bool = False


Outcome: TypeAlias = Done | Failed | Skipped | Returned
