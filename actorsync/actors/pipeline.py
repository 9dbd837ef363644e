"""What a caller adds to the pipeline: stages between the actors, and hooks.

A stage is an ``async def stage(receive, send)``: it takes from the one, sends to the other, and returns when its input
has ended. It runs in the nursery of the run like every actor: the channels have no buffer, so a stage that is slow
slows the run down and nothing piles up; a stage that raises ends the run with `StageFailed`; a run that is stopped
cancels it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import attrs
from trio.abc import ReceiveChannel, SendChannel

from actorsync.model.entry import Listing
from actorsync.model.operation import Copy, Failed, MakeDirectory, Move, Remove
from actorsync.model.report import Report

__all__ = [
    "AfterRun",
    "Change",
    "Hook",
    "ListingStage",
    "OperationStage",
    "Pipeline",
    "Stage",
    "listing_stage",
    "operation_stage",
]

#: What an operation stage is given: what is to be done to the target.
Change: TypeAlias = Copy | MakeDirectory | Move | Remove

#: Is awaited once in a run, before the first of its changes can be seen on the target.
Hook: TypeAlias = Callable[[], Awaitable[None]]


#: Is awaited with the report of a run that has changed something.
AfterRun: TypeAlias = Callable[[Report], Awaitable[None]]


@attrs.frozen
class ListingStage:
    """A stage between the scanner and the planner; made by `listing_stage`."""

    run: Callable[[ReceiveChannel[Listing], SendChannel[Listing]], Awaitable[None]]
    name: str


@attrs.frozen
class OperationStage:
    """A stage between the planner and its schedule; made by `operation_stage`."""

    run: Callable[[ReceiveChannel[Change], SendChannel[Change | Failed]], Awaitable[None]]
    name: str


Stage: TypeAlias = ListingStage | OperationStage


def listing_stage(function: Callable[[ReceiveChannel[Listing], SendChannel[Listing]], Awaitable[None]]) -> ListingStage:
    """Make a stage of a function that is given each directory of the source, and sends it on, changed or not.

    Each directory that was read comes as one `Listing`, before those in it. An entry that the stage takes out is
    *hidden*: it is not mirrored, with everything below it, and what the target has of it stays there. Of a listing that
    is not sent on, all entries stay as they are on the target.

    An entry that the stage puts in must be a direct child and have a name of its own; what is read for it is up to a
    `Transform` with an ``origin``. Leave size, times and inode as they are: the journal compares them the next time.
    """
    return ListingStage(function, getattr(function, "__qualname__", repr(function)))


def operation_stage(
    function: Callable[[ReceiveChannel[Change], SendChannel[Change | Failed]], Awaitable[None]],
) -> OperationStage:
    """Make a stage of a function that is given what is to be done, and sends on what shall be done.

    What it does not send on is not done in this run, and counts as ``left``; the next run comes to it again. To send
    ``Failed(operation, reason)`` makes a failure of it. Nothing may be sent that was not received.

    In which order it sends is of no account, as the schedule has one of its own, with one exception: what is sent after
    the input has ended is begun when everything that was sent before is done. That is how to publish something last.
    Removals are asked for here, and are done when the scan is complete and the guards agree. One that was passed on may
    still turn out to be half of a rename: then a `Move` is asked for, which takes its place.
    """
    return OperationStage(function, getattr(function, "__qualname__", repr(function)))


@attrs.frozen
class Pipeline:
    """All that a caller adds to a run. Stages of a kind follow each other in the order given.

    ``before_commit`` is awaited once, before the first change can be seen on the target: until then there are only
    temporaries on it. What it raises ends the run, and nothing has changed. It is not awaited in a run that changes
    nothing. ``after_run`` is awaited with the report of a run that has changed something, however that ended; when it
    was stopped, for as long as tidying up may take (``[shutdown] cancel``).
    """

    stages: tuple[Stage, ...] = ()
    before_commit: Hook | None = None
    after_run: AfterRun | None = None

    @property
    def listing_stages(self) -> tuple[ListingStage, ...]:
        return tuple(stage for stage in self.stages if isinstance(stage, ListingStage))

    @property
    def operation_stages(self) -> tuple[OperationStage, ...]:
        return tuple(stage for stage in self.stages if isinstance(stage, OperationStage))
