"""Async observers of a run, and the logger ``actorsync``: what is beside a run from its beginning to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from actorsync.actors.observers import Listener, is_async
from actorsync.ending import the_cause
from actorsync.policy import RunOptions
from actorsync.runs.log_events import log_observer

__all__ = ["observing"]


@asynccontextmanager
async def observing(options: RunOptions, *, is_logged: bool = True) -> AsyncIterator[RunOptions]:
    """Call the async observers of a run in tasks of their own; yield the options with listeners in their place.

    With ``is_logged``, the events go to the logger ``actorsync`` as well, if the program has set logging up.

    At its end the block waits until they have taken every event, `Stopped` included. When a stop is requested, it
    waits no longer than the drain may take. Raises what the block raises, or else `StageFailed` if an observer raised.
    """
    log = log_observer(options.name) if is_logged else None
    if log is not None:
        options = attrs.evolve(options, observers=[*options.observers, log])
    listeners = [Listener(observer) for observer in options.observers if is_async(observer)]
    if not listeners:
        yield options
        return
    plain = [observer for observer in options.observers if not is_async(observer)]
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(listener.run)
            try:
                yield attrs.evolve(options, observers=plain, listeners=listeners)
            except Exception as error:  # noqa: BLE001 - raised again when the observers have taken every event
                failure = error
            nursery.start_soon(options.shutdown.enforce, nursery.cancel_scope)
            for listener in listeners:
                listener.feed.close()
            for listener in listeners:
                await listener.finished.wait()
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        failure = failure or the_cause(group)
    for listener in listeners:
        failure = failure or listener.failure.error
    if failure is not None:
        raise failure
