"""From the results of a session to outcomes of operations. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actorsync.errors import OperationRefused, TargetFull
from actorsync.model.entry import Entry, parent_of
from actorsync.model.operation import Batch, Done, Failed, Fault, Move, Operation, Outcome, Skipped

__all__ = ["all_made", "all_removed", "failed", "given_up", "moved", "removed"]


def failed(operation: Operation, refusal: OperationRefused) -> Failed:
    """Return the failure of an operation that was refused. A full target is no fault of the path."""
    return Failed(operation, str(refusal), Fault.TARGET if isinstance(refusal, TargetFull) else Fault.PATH)


def given_up(operation: Operation, reason: str) -> Outcome:
    """Return the outcome of an operation that lost too many connections. A move is skipped: it is done otherwise."""
    return Skipped(operation, reason) if isinstance(operation, Move) else Failed(operation, reason)


def moved(move: Move, result: Entry | OperationRefused) -> Outcome:
    """Return the outcome of a move. A refused move is skipped: the file is sent and the old name removed instead."""
    if isinstance(result, OperationRefused):
        return Skipped(move, str(result))
    return Done(move, result, move.source, move.digest, checksum=move.checksum)


def all_made(batch: Batch, made: Mapping[str, Entry | OperationRefused]) -> list[Outcome]:
    """Return the outcomes of a batch of new directories, parents before children.

    A directory below one that was refused fails as well. If the refused name exists, actorsync did not create it, so
    nothing below it belongs to actorsync either.
    """
    outcomes: list[Outcome] = []
    refused: set[str] = set()
    for operation in batch:
        result = made[operation.path]
        if isinstance(result, OperationRefused):
            outcomes.append(failed(operation, result))
        elif parent_of(operation.path) in refused:
            outcomes.append(Failed(operation, "its directory was refused", Fault.OTHER))
        else:
            outcomes.append(Done(operation, result))
            continue
        refused.add(operation.path)
    return outcomes


def all_removed(batch: Batch, results: Sequence[bool | OperationRefused]) -> list[Outcome]:
    """Return the outcomes of a batch of removals, leaves first.

    A directory that is not empty is kept without a failure, unless one of its own entries failed to be removed.
    """
    outcomes: list[Outcome] = []
    failures: dict[str, str] = {}
    for operation, result in zip(batch, results, strict=True):
        outcome = removed(operation, result)
        if isinstance(outcome, Skipped) and operation.path in failures:
            outcome = Failed(operation, f"it still holds {failures[operation.path]!r}", Fault.OTHER)
        if isinstance(outcome, Failed):
            failures[parent_of(operation.path)] = operation.path
        outcomes.append(outcome)
    return outcomes


def removed(operation: Operation, result: bool | OperationRefused) -> Outcome:
    """Return the outcome of one removal or sweep; False means that a directory is not empty."""
    if isinstance(result, OperationRefused):
        return failed(operation, result)
    return Done(operation) if result else Skipped(operation, "kept: it contains files that actorsync did not create")
