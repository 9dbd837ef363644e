"""The observers that a caller adds: plain functions, async functions, and what follows when one of them raises.

A plain function is called by the recorder, which must not wait for it. An async function is called in a task of its
own, with a buffer in between: a `Listener`.

What an observer raises is not allowed to reach the recorder: what was done has to be recorded. The observer is not
called again, and the run ends with `StageFailed`, as it does when a stage fails.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import attrs
import trio

from actorsync.actors.feed import Feed
from actorsync.actors.stages import blamed
from actorsync.classes import define
from actorsync.errors import ActorsyncError
from actorsync.model.event import Event

__all__ = ["Failure", "Listener", "Observer", "is_async", "name_of", "require_observers"]

#: Is called with each event. A plain function must not wait: it would delay the run. An async function may.
Observer: TypeAlias = Callable[[Event], object]


def is_async(observer: Callable[..., object]) -> bool:
    """Return whether an observer is an async function, or an object that is called like one."""
    return inspect.iscoroutinefunction(observer) or inspect.iscoroutinefunction(type(observer).__call__)


def name_of(observer: Observer) -> str:
    """Return how messages name an observer."""
    return getattr(observer, "__qualname__", None) or type(observer).__qualname__


def require_observers(observers: Sequence[object]) -> None:
    """Raise `TypeError` for something that cannot be called with an event."""
    if callable(observers):
        raise TypeError(f"observers= takes a list: observers=[{name_of(observers)}]")
    for observer in observers:
        if not callable(observer):
            raise TypeError(f"observers: {observer!r} cannot be called; give functions that take an event")


@define(eq=False)
class Failure:
    """The first error of an observer, for the supervisor, which ends the run with it."""

    error: ActorsyncError | None = None
    _happened: trio.Event = attrs.Factory(trio.Event)

    def note(self, observer: Observer, error: Exception) -> None:
        """Take note of what an observer raised. Errors after the first one are dropped."""
        if self.error is None:
            try:
                with blamed(f"the observer {name_of(observer)}"):
                    raise error
            except ActorsyncError as blamed_error:
                self.error = blamed_error
            self._happened.set()

    async def watch(self) -> None:
        """Wait until an observer has failed, and raise its error."""
        await self._happened.wait()
        if self.error is not None:
            raise self.error


@define(eq=False)
class Listener:
    """An async observer and its buffer.

    The run waits for an observer that is a thousand events behind, until the run is stopped. Lasts for all passes of a
    run that is repeated.
    """

    observer: Callable[[Event], Any]
    feed: Feed = attrs.Factory(lambda: Feed(is_read=True, is_endless=True))
    failure: Failure = attrs.Factory(Failure)
    finished: trio.Event = attrs.Factory(trio.Event)

    async def run(self) -> None:
        """Call the observer with each event, until the feed is closed or the observer raises an exception."""
        try:
            async for event in self.feed:
                try:
                    await self.observer(event)
                except Exception as error:  # noqa: BLE001 - reported, and raised by the supervisor
                    self.failure.note(self.observer, error)
                    break
        finally:
            self.feed.abandon()
            self.finished.set()
