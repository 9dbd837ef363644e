"""A task beside a block, which never changes how the block ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVarTuple, Unpack

import trio

from actorsync.ending import the_cause

__all__ = ["beside"]

T = TypeVarTuple("T")


@asynccontextmanager
async def beside(task: Callable[[Unpack[T]], Awaitable[object]], *arguments: *T) -> AsyncIterator[None]:
    """Run ``task`` in the block, and cancel it at the end. What the block raises is raised unchanged.

    What the task raises is a bug, and ends the block.
    """
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task, *arguments)
            try:
                yield
            except Exception as error:  # noqa: BLE001 - raised again below, in no group
                failure = error
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        failure = failure or the_cause(group)
    if failure is not None:
        raise failure
