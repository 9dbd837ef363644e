"""The report of a run, and a run as the journal remembers it."""

from __future__ import annotations

from typing import Final

from actorsync.classes import frozen
from actorsync.errors import RunFailed
from actorsync.model.left_out import NOTHING, LeftOut
from actorsync.model.text import counted, display

__all__ = ["Report", "Run"]

#: How many failures an error names.
_NAMED: Final = 3


@frozen
class Report:
    """What a run did. Counts are of files unless they say otherwise; sizes are in bytes, times in seconds.

    ``started_at`` is in seconds since the epoch. ``failures`` holds the first thousand failures as (path, reason);
    ``failed`` counts all of them, including files that were not tried because they are ``parked``. ``left`` counts the
    operations that were planned and not done, including the removals that were ``withheld``. With ``left_is_minimum``
    the run ended before it had planned everything, and more may be left. ``left_out`` counts what the run does not
    mirror, by the reason; ``hidden`` is the number of all those entries in the source. ``not_published`` is why files
    that were sent to be published together are not: see ``[publish] mode``. ``refused``, ``drained``,
    ``cancelled`` and ``error`` say why a run ended early. ``audited`` is how many directories of the target were
    compared with the journal; ``drifted`` is how many entries differ there and were only reported. ``delayed``
    entries are gone from the source and stay on the target, the last of them until ``delayed_until``, like
    ``started_at``; they are not ``left``. ``looked_at`` is
    when the target was last looked at, like ``started_at``; None if it is not known. ``is_audit``: the run only
    compared the target with the journal. ``held`` counts the paths that were undone, and stay so until their source
    changes. ``conflicts`` counts the paths that both sides of a two-way mirror have changed, and for which nothing was
    done; ``to_source`` is how many of the copied files went to the source.
    ``is_partial``: the run listed only the directories of the source in which something had changed.
    ``resumed_bytes`` is how many bytes of what was copied were on the target already, from an earlier attempt
    that was broken off, and were not sent again. ``exit_code`` is the exit code of the command line.

    More than 20 fields: this is public API, and a flat record is what users and the JSON output read.
    """

    exit_code: int
    started_at: float
    seconds: float
    copied: int = 0
    copied_bytes: int = 0
    directories_made: int = 0
    removed: int = 0
    adopted: int = 0
    files_seen: int = 0
    hidden: int = 0
    failed: int = 0
    skipped: int = 0
    left: int = 0
    reconnects: int = 0
    parked: int = 0
    withheld: int = 0
    moved: int = 0
    failures: tuple[tuple[str, str], ...] = ()
    refused: str | None = None
    drained: bool = False
    cancelled: bool = False
    error: str | None = None
    modes_set: int = 0
    audited: int = 0
    drifted: int = 0
    looked_at: float | None = None
    is_audit: bool = False
    left_is_minimum: bool = False
    left_out: LeftOut = NOTHING
    resumed_bytes: int = 0
    delayed: int = 0
    delayed_until: float | None = None
    held: int = 0
    not_published: str | None = None
    is_partial: bool = False
    conflicts: int = 0
    to_source: int = 0

    def raise_for_failures(self) -> None:
        """Raise `RunFailed`, with the reason in one line, unless the run left the target in sync (exit code 0)."""
        if self.exit_code == 0:
            return
        named = "; ".join(
            f"{display(path) or 'the root'}: {display(reason)}" for path, reason in self.failures[:_NAMED]
        )
        more = f"; and {self.failed - _NAMED} more" if self.failed > _NAMED else ""
        of_files = f"{counted(self.failed, 'path')} failed: {named}{more}" if self.failed else "the run was stopped"
        if self.conflicts and not self.failed:
            of_files = f"{counted(self.conflicts, 'path')} in conflict: see actorsync status"
        raise RunFailed(self.error or self.refused or self.not_published or of_files, self.exit_code)


@frozen
class Run:
    """One run of a profile. ``report`` is None while the run goes on, and stays None if the process was killed."""

    id: int
    started_at: float
    report: Report | None
