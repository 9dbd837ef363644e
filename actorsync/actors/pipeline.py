"""What a caller adds to a run: stages between the actors, and hooks.

A stage is an ``async def stage(receive, send)``. It receives from the one, sends to the other, and returns when its
input has ended. It runs in the nursery of the run, like every actor:

* the channels have no buffer, so a slow stage slows the run down, and nothing accumulates;
* a stage that raises an exception ends the run with `StageFailed`;
* a run that is stopped cancels its stages.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import attrs
from trio.abc import ReceiveChannel, SendChannel

from actorsync.classes import frozen
from actorsync.model.entry import Listing
from actorsync.model.operation import Copy, Failed, MakeDirectory, Move, Remove, SetMode
from actorsync.model.pair import Conflict, Take
from actorsync.model.report import Report

__all__ = [
    "AfterRun",
    "Approval",
    "Change",
    "Decide",
    "Hook",
    "ListingStage",
    "OperationStage",
    "Pipeline",
    "Stage",
    "listing_stage",
    "operation_stage",
]

#: What an operation stage receives: a planned change of the target.
Change: TypeAlias = Copy | MakeDirectory | Move | Remove | SetMode

#: Awaited once in a run, before the first of its changes can be seen on the target.
Hook: TypeAlias = Callable[[], Awaitable[None]]

#: Awaited with the report of a run that has changed something.
AfterRun: TypeAlias = Callable[[Report], Awaitable[None]]

#: Awaited before anything of a burst is published, or removed. Returns why that must not be; None if it may.
Approval: TypeAlias = Callable[[], Awaitable[str | None]]

#: Awaited for a conflict of a two-way mirror. Returns what becomes of it.
Decide: TypeAlias = Callable[[Conflict], Awaitable[Take]]


@frozen
class ListingStage:
    """A stage between the scanner and the planner; made by `listing_stage`."""

    run: Callable[[ReceiveChannel[Listing], SendChannel[Listing]], Awaitable[None]]
    name: str


@frozen
class OperationStage:
    """A stage between the planner and its schedule; made by `operation_stage`."""

    run: Callable[[ReceiveChannel[Change], SendChannel[Change | Failed]], Awaitable[None]]
    name: str


Stage: TypeAlias = ListingStage | OperationStage


def listing_stage(function: Callable[[ReceiveChannel[Listing], SendChannel[Listing]], Awaitable[None]]) -> ListingStage:
    """Return a stage that runs ``function`` on the listings of the source. It sends each one on, changed or not.

    Each directory that was read is one `Listing`, and comes before its subdirectories. An entry that the stage removes
    is *hidden*: it is not mirrored, nor is anything below it, and what the target has of it stays. If a listing is not
    sent on, all its entries stay on the target as they are.

    An entry that the stage adds must be a direct child with a name of its own; a `Transform` with an ``origin``
    supplies its content. Leave size, times, inode and mode unchanged: the journal compares them in the next run.
    """
    return ListingStage(function, getattr(function, "__qualname__", repr(function)))


def operation_stage(
    function: Callable[[ReceiveChannel[Change], SendChannel[Change | Failed]], Awaitable[None]],
) -> OperationStage:
    """Return a stage that runs ``function`` on the planned operations. It sends on those that the run is to do.

    An operation that it does not send on is not done in this run, and counts as ``left``; the next run plans it again.
    Sending ``Failed(operation, reason)`` makes it a failure. Sending anything that was not received ends the run.

    The order does not matter, because the run schedules operations itself, with one exception. An operation that is
    sent after the input has ended begins when everything sent before is done. Use this to publish something last.

    Removals pass through here before they are confirmed: they are done when the scan is complete and no guard refuses
    them. A removal that was passed on may turn out to be half of a rename. Then a `Move` follows and replaces it.
    """
    return OperationStage(function, getattr(function, "__qualname__", repr(function)))


@frozen
class Pipeline:
    """Everything that a caller adds to a run. Stages of one kind run in the order given.

    ``before_commit`` is awaited once, before the first change can be seen on the target. Until then, only temporaries
    have been written. If it raises an exception, the run ends without a change. A run that changes nothing does not
    await it.

    ``after_run`` is awaited with the report of a run that has changed something, no matter how the run ended. If the
    run was cancelled, the hook gets as much time as the cleanup (``[shutdown] cancel``).

    ``check`` is awaited when all files of a run are published that publishes them together (``[publish] mode =
    "burst"``). If it raises an exception, they are taken back, and the text of the exception is in the report. A run
    that publishes file by file does not await it.

    ``approval`` is awaited before a burst, when everything is staged. What it returns ends the run without a change
    that can be seen, and what is staged stays on the target for the next run. ``last_check`` is awaited at the end of a
    run after which the target is in sync, also if it has changed nothing. If it raises, the run has failed.

    ``decide`` is awaited for each conflict of a two-way mirror, and returns what becomes of it: ``"source"``,
    ``"target"``, ``"both"`` or ``"keep"``. It comes before ``sync.conflict``.

    Raises `TypeError` for a function that is not decorated as a stage: it would have no effect.
    """

    stages: tuple[Stage, ...] = ()
    before_commit: Hook | None = None
    after_run: AfterRun | None = None
    check: Hook | None = attrs.field(default=None, kw_only=True)
    approval: Approval | None = attrs.field(default=None, kw_only=True)
    last_check: Hook | None = attrs.field(default=None, kw_only=True)
    decide: Decide | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        for stage in self.stages:
            if not isinstance(stage, ListingStage | OperationStage):
                name = getattr(stage, "__qualname__", repr(stage))
                raise TypeError(
                    f"stages: {name} is not a stage; "
                    "put @actorsync.listing_stage or @actorsync.operation_stage above its definition"
                )

    @property
    def listing_stages(self) -> tuple[ListingStage, ...]:
        return tuple(stage for stage in self.stages if isinstance(stage, ListingStage))

    @property
    def operation_stages(self) -> tuple[OperationStage, ...]:
        return tuple(stage for stage in self.stages if isinstance(stage, OperationStage))
