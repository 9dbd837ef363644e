"""What is rehearsed, what happens meanwhile, and the result. Pure: no I/O, no clock."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from actorsync.classes import frozen
from actorsync.profile import Profile
from actorsync.profile.release import HooksTable
from actorsync.testing.servers.faults import FaultPlan, ServerFault
from actorsync.testing.visitor import Seen

__all__ = ["Began", "Rehearsal", "Result", "Run", "Said", "Shown"]

_CHILD: Final = (sys.executable, "-m", "actorsync.cli.rehearsal_child")

#: Which version is on the target: one of the two, or files of both.
Shown = Literal["old", "new", "mixed"]


@frozen
class Rehearsal:
    """What to rehearse, and how.

    The temporary folder is made in ``into``, by default in the system's. With ``from_nothing``, the server is empty at
    the start; otherwise it holds an old version of each file. ``child`` is the command of a run; the file with the
    profile is added as its last argument.
    """

    profile: Profile
    faults: tuple[ServerFault, ...] = ()
    into: Path | None = None
    from_nothing: bool = False
    child: Sequence[str] = _CHILD

    @property
    def is_burst(self) -> bool:
        """Whether all files get their names together."""
        return self.profile.publish.mode == "burst"

    @property
    def leaves_programs_out(self) -> bool:
        """Whether the profile names programs that are not run: they may change a real site."""
        return self.profile.hooks != HooksTable() or bool(self.profile.publish.check)

    @property
    def sets_aside(self) -> bool:
        """Whether an old file is renamed before its name is taken. FTP has no links, so the name is missing then."""
        keeps_old = (self.is_burst and self.profile.publish.keep_old) or self.profile.trash.path is not None
        return keeps_old and self.profile.target.scheme != "sftp"


@frozen
class Began:
    """The files of the source are known, and the first run is about to begin."""

    files: int
    size: int
    folder: Path
    room: int
    """The largest size that the folder may reach, in bytes."""


@frozen
class Said:
    """A line that a run printed."""

    run: int
    line: str


@frozen
class Run:
    """One run: how it ended, and what it printed."""

    number: int
    exit_code: int
    seconds: float
    lines: tuple[str, ...]
    faults: tuple[ServerFault, ...]
    """The faults that happened during the run."""
    shows: Shown
    """What was on the target after the run."""


@frozen
class Result:
    """The result of a rehearsal."""

    runs: tuple[Run, ...]
    plan: FaultPlan
    seen: Seen
    files: int
    """Number of files to mirror."""
    size: int
    """Their size in bytes."""
    rehearsal: Rehearsal

    @property
    def is_whole(self) -> bool:
        """Whether every file was complete at every check of the visitor, and no run of a burst left a mixture.

        A file may be missing for a moment if old files are set aside by renaming them.
        """
        is_missing = bool(self.seen.missing) and not self.rehearsal.sets_aside
        return not (self.seen.broken or is_missing or self.mixtures)

    @property
    def mixtures(self) -> tuple[int, ...]:
        """The numbers of the runs that were to publish all files or none, reached their end, and left a mixture."""
        is_burst = self.rehearsal.is_burst
        return tuple(run.number for run in self.runs if is_burst and run.exit_code in {0, 1} and run.shows == "mixed")

    @property
    def has_converged(self) -> bool:
        """Whether the last run succeeded, and the target equals the source with nothing left over."""
        is_source = self.seen.complete[-1] and not (self.seen.left or self.seen.strangers)
        return self.runs[-1].exit_code == 0 and is_source

    @property
    def exit_code(self) -> int:
        """0 when every file was complete and the target converged, else 1."""
        return 0 if self.is_whole and self.has_converged else 1
