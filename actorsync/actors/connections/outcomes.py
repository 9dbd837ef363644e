"""Outcomes: what the results of a session's verbs mean for the operations of a batch. No I/O, no state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs

from actorsync.classes import frozen
from actorsync.endpoints.contract import Staged
from actorsync.errors import OperationRefused, TargetFull
from actorsync.model.entry import Entry, Kind, Listing, Root, parent_of
from actorsync.model.kept import Kept
from actorsync.model.operation import (
    Audit,
    Batch,
    Compare,
    Done,
    Failed,
    Fault,
    Look,
    Maintain,
    Move,
    Operation,
    Outcome,
    Publish,
    PutBack,
    Recall,
    Respell,
    Returned,
    Sending,
    SetMode,
    Side,
    Skipped,
)
from actorsync.model.trash import Trashed
from actorsync.planning.temporary_names import is_own

__all__ = [
    "StagedCopy",
    "all_made",
    "all_modes_set",
    "all_moved",
    "all_recalled",
    "all_removed",
    "all_respelled",
    "all_swept",
    "audited",
    "committed",
    "failed",
    "given_up",
    "looked_at",
    "not_sent",
    "staged",
    "surveyed",
    "unlisted",
]


_MIRRORED: Final = (Kind.FILE, Kind.DIRECTORY)
_HOLDS_UNKNOWN: Final = (
    "kept: it contains entries that are newer than the last listing of it; the next run knows them, and removes them"
)


@frozen
class StagedCopy:
    """A file whose content is whole on the target under a temporary name, and only has to be renamed."""

    copy: Sending
    staged: Staged
    source: Entry
    """The source file as it was read."""
    digest: bytes | None
    """The digest of its content, if its times are too recent to show a later change."""
    checksum: bytes | None
    """The digest of its content, if checksums are recorded."""
    trashed: Trashed | None = None
    """Where the old file goes, where the profile has a trash."""
    resumed: int = 0
    """How many of its bytes an earlier attempt had sent."""
    aside: str | None = None
    """In a two-way run: where the old file is set aside."""


def failed(operation: Operation, refusal: OperationRefused) -> Failed:
    """Return the failure of a refused operation. A full target is not the fault of the path."""
    return Failed(operation, str(refusal), Fault.TARGET if isinstance(refusal, TargetFull) else Fault.PATH)


def not_sent(copy: Sending, reason: str) -> Failed:
    """Return the failure of a copy that is not tried, because an earlier one found the target full for ``reason``."""
    return Failed(copy, f"not sent: the target is full ({reason})", Fault.UNSENT)


def given_up(operation: Operation, reason: str) -> Outcome:
    """Return the outcome of an operation that is not tried again. A skipped move is replaced by other operations."""
    if isinstance(operation, Maintain | Publish | PutBack):
        return Returned(operation, reason, tried=True)  # the publisher decides what follows
    is_skipped = isinstance(operation, Compare | Move | Respell | Audit | Look)
    return Skipped(operation, reason) if is_skipped else Failed(operation, reason)


def committed(
    upload: StagedCopy,
    result: Entry | OperationRefused,
    doubts: Callable[[Entry, Entry], tuple[Side, ...]] | None = None,
) -> Outcome:
    """Return the outcome of a rename to the final name. A refusal with ``retry`` gives the whole copy back.

    ``doubts`` tells, of what was read and what was written, on which sides the times prove nothing.
    """
    if isinstance(result, Entry):
        temporary, trashed = upload.staged.temporary, upload.trashed
        if trashed is not None:
            trashed = attrs.evolve(trashed, now=result)
        return Done(
            upload.copy,
            result,
            upload.source,
            upload.digest,
            temporary,
            checksum=upload.checksum,
            trashed=trashed,
            resumed=upload.resumed,
            doubts=() if doubts is None else doubts(upload.source, result),
        )
    return Returned(upload.copy, str(result), tried=True) if result.retry else failed(upload.copy, result)


def staged(upload: StagedCopy, at: float) -> Done:
    """Return the outcome of a file that waits for its release under its temporary name, since ``at``."""
    it = upload.staged
    kept = Kept(
        it.temporary, upload.source, it.size, at, True, it.size, it.mtime_ns, it.mode, upload.digest, upload.checksum
    )
    return Done(upload.copy, source=upload.source, kept=kept, resumed=upload.resumed)


def all_moved(moves: Sequence[Move], results: Sequence[Entry | OperationRefused]) -> list[Outcome]:
    """Return the outcomes of moves. A refused move is skipped: it becomes a copy and a removal."""
    return [
        Skipped(move, str(result))
        if isinstance(result, OperationRefused)
        else Done(move, result, move.source, move.digest, checksum=move.checksum)
        for move, result in zip(moves, results, strict=True)
    ]


def all_modes_set(batch: Batch, results: Sequence[Entry | OperationRefused]) -> list[Outcome]:
    """Return the outcomes of setting modes. What the target then reports is recorded, also if it is another mode."""
    return [
        _mode_set(operation, result)
        for operation, result in zip(batch, results, strict=True)
        if isinstance(operation, SetMode)
    ]


def _mode_set(operation: SetMode, result: Entry | OperationRefused) -> Outcome:
    if isinstance(result, OperationRefused):
        return failed(operation, result)
    now = attrs.evolve(operation.target, mode=result.mode)  # everything else is as it was when it was sent
    return Done(operation, now, operation.source, operation.digest, checksum=operation.checksum)


def all_respelled(batch: Sequence[Respell], results: Sequence[Entry | OperationRefused]) -> list[Outcome]:
    """Return the outcomes of changes of spelling. A refused one is skipped: the entry is planned like any other."""
    return [
        Skipped(operation, str(result))
        if isinstance(result, OperationRefused)
        else Done(
            operation, result, operation.source, operation.digest, operation.temporary, checksum=operation.checksum
        )
        for operation, result in zip(batch, results, strict=True)
    ]


def all_made(batch: Batch, made: Mapping[str, Entry | OperationRefused]) -> list[Outcome]:
    """Return the outcomes of making directories, which stand in the batch parents first.

    A directory below a refused one fails even if it exists: the run has not made it, and does not look into it.
    """
    outcomes: list[Outcome] = []
    refused: set[str] = set()
    for operation in batch:
        result = made[operation.path]
        if isinstance(result, OperationRefused):
            outcomes.append(failed(operation, result))
        elif parent_of(operation.path) in refused:
            outcomes.append(Failed(operation, "its parent directory could not be made", Fault.OTHER))
        else:
            outcomes.append(Done(operation, result))
            continue
        refused.add(operation.path)
    return outcomes


def all_removed(batch: Batch, results: Sequence[bool | OperationRefused], *, is_exact: bool = False) -> list[Outcome]:
    """Return the outcomes of removals, which stand in the batch children first.

    A directory that is not empty because the removal of a child failed has failed as well. ``is_exact``: so has one
    that holds entries which nobody knew of.
    """
    outcomes: list[Outcome] = []
    remaining: dict[str, str] = {}
    for operation, result in zip(batch, results, strict=True):
        outcome = _removed(operation, result)
        if isinstance(outcome, Skipped) and operation.path in remaining:
            outcome = Failed(operation, f"it still holds {remaining[operation.path]!r}", Fault.OTHER)
        elif isinstance(outcome, Skipped) and is_exact:
            outcome = Failed(operation, _HOLDS_UNKNOWN, Fault.OTHER)
        if isinstance(outcome, Failed):
            remaining[parent_of(operation.path)] = operation.path
        outcomes.append(outcome)
    return outcomes


def all_recalled(batch: Sequence[Recall], results: Sequence[Trashed | OperationRefused | None]) -> list[Outcome]:
    """Return the outcomes of finding out what is in the trash."""
    return [
        failed(recall, result) if isinstance(result, OperationRefused) else Done(recall, trashed=result)
        for recall, result in zip(batch, results, strict=True)
    ]


def all_swept(batch: Batch, results: Sequence[bool | OperationRefused]) -> list[Outcome]:
    """Return the outcomes of sweeping temporaries."""
    return [_removed(operation, result) for operation, result in zip(batch, results, strict=True)]


def _removed(operation: Operation, result: bool | OperationRefused) -> Outcome:
    if isinstance(result, OperationRefused):
        return failed(operation, result)
    return Done(operation) if result else Skipped(operation, "kept: it contains files that actorsync did not create")


def unlisted(survey: Operation, reason: str, protects: Callable[[str, bool], bool] | None = None) -> Outcome:
    """Return the outcome of a directory of the target that cannot be listed.

    An exact mirror (``protects``, see `reconcile`) has to know what is in it, unless it is protected.
    """
    if protects is None or protects(survey.path, True):
        return Skipped(survey, reason)
    way_out = "what is in it stays: let the account list it, or exclude it"
    return Failed(survey, f"{reason}; {way_out}", Fault.OTHER)


def surveyed(
    survey: Operation,
    listing: Listing,
    root: Root | None,
    *,
    keeps_times: bool,
    protects: Callable[[str, bool], bool] | None = None,
) -> Outcome:
    """Return the outcome of listing a directory of the target. A directory that is missing counts as empty.

    If the target does not keep times, the entries have none: an equal time there proves nothing. Links and special
    files are of interest to an exact mirror alone, which removes them; so are temporaries, which it has to leave alone.
    ``protects`` is as for `unlisted`.
    """
    if listing.problem is not None and not listing.problem.vanished:
        return unlisted(survey, f"cannot be listed on the target: {listing.problem.reason}", protects)
    entries = listing.entries
    if protects is None:
        entries = tuple(entry for entry in entries if entry.kind in _MIRRORED and not is_own(entry.path))
    return Done(survey, listing=Listing(survey.path, _timed(entries, keeps_times=keeps_times)), root=root)


def audited(
    audit: Audit,
    listing: Listing,
    root: Root | None,
    *,
    keeps_times: bool,
    protects: Callable[[str, bool], bool] | None = None,
) -> Outcome:
    """Return the outcome of listing a directory that is known. Of one that is missing, the listing has a problem.

    Only an exact mirror (``protects``, see `reconcile`) needs to know of temporaries.
    """
    if listing.problem is not None and not listing.problem.is_missing:
        return Skipped(audit, listing.problem.reason)
    entries = listing.entries
    if protects is None:
        entries = tuple(entry for entry in entries if not is_own(entry.path))
    listing = attrs.evolve(listing, entries=_timed(entries, keeps_times=keeps_times))
    return Done(audit, listing=listing, root=root)


def looked_at(batch: Batch, results: Sequence[Entry | OperationRefused | None]) -> list[Outcome]:
    """Return the outcomes of asking for entries by name."""
    return [
        Skipped(look, str(result)) if isinstance(result, OperationRefused) else Done(look, result)
        for look, result in zip(batch, results, strict=True)
    ]


def _timed(entries: tuple[Entry, ...], *, keeps_times: bool) -> tuple[Entry, ...]:
    return entries if keeps_times else tuple(attrs.evolve(entry, mtime_ns=None) for entry in entries)
