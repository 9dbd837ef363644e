"""The three ways to stop a run before its end: drain, cancel, now."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import attrs
import trio

__all__ = ["GOODBYE", "Shutdown"]

#: What may come behind the tidying up, in seconds: connections are closed, the journal and the last lines are written.
GOODBYE: Final = 2.0


@attrs.define(eq=False)
class Shutdown:
    """The stop contract of one run, or of a whole loop of runs. Each verb has a deadline, and then the next one comes.

    *drain*: what is in flight is finished, nothing new is begun; after ``drain_seconds`` it becomes a cancel.
    *cancel*: transfers are aborted, and up to ``cleanup_seconds`` go into removing temporaries.
    *now*: nothing is tidied up any more; the next run sweeps.

    So no peer, not even a silent one, holds a run up for longer than ``longest`` after the first of them. What a run
    does wait for in any case are its own disks: a write that was begun is not left behind in a program that goes on.
    Who cannot wait even for those leaves the process, as the command line does; that is safe at any moment.

    Call from the thread of trio only.
    """

    drain_seconds: float = 30.0
    cancel_seconds: float = 5.0
    draining: trio.Event = attrs.Factory(trio.Event)
    cancelling: trio.Event = attrs.Factory(trio.Event)
    cleanup_seconds: float = attrs.field(init=False)
    _drain_by: float = attrs.field(default=math.inf, init=False, repr=False)
    _waiting: set[trio.CancelScope] = attrs.field(factory=set, init=False, repr=False)
    _tidying: set[trio.CancelScope] = attrs.field(factory=set, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.cleanup_seconds = self.cancel_seconds

    def allow(self, drain_seconds: float, cancel_seconds: float) -> None:
        """Set the deadlines, before the first of the verbs."""
        self.drain_seconds, self.cancel_seconds = drain_seconds, cancel_seconds
        self.cleanup_seconds = min(self.cleanup_seconds, cancel_seconds)

    @property
    def longest(self) -> float:
        """How long a run goes on after the first stop at most, whatever the other side does, in seconds."""
        return self.drain_seconds + self.cancel_seconds + GOODBYE

    def drain(self, deadline: float = math.inf) -> None:
        """Finish what is in flight, begin nothing. ``deadline`` (of trio's clock) may only be sooner than it was."""
        if not self.draining.is_set():
            self._drain_by = trio.current_time() + self.drain_seconds
        self._drain_by = min(self._drain_by, deadline)
        for scope in self._waiting:
            scope.deadline = self._drain_by
        self.draining.set()

    def cancel(self, *, within: float | None = None) -> None:
        """Abort what is in flight. ``within`` bounds the tidying up, in seconds, also what is going on already."""
        if within is not None:
            self.cleanup_seconds = min(self.cleanup_seconds, within)
            for scope in self._tidying:
                scope.deadline = min(scope.deadline, trio.current_time() + within)
        self.drain()
        self.cancelling.set()

    def now(self) -> None:
        """Abort what is in flight, and leave everything as it is."""
        self.cancel(within=0.0)

    @contextmanager
    def tidying(self) -> Iterator[None]:
        """Tidy up in the block, out of reach of the cancellation that led there, for as long as there is time."""
        with trio.move_on_after(self.cleanup_seconds, shield=True) as scope:
            self._tidying.add(scope)
            try:
                yield
            finally:
                self._tidying.discard(scope)

    async def enforce(self, scope: trio.CancelScope) -> None:
        """Cancel ``scope`` when a cancel is asked for, or when a drain has taken too long."""
        await self.draining.wait()
        with trio.CancelScope(deadline=self._drain_by) as waiting:
            self._waiting.add(waiting)
            try:
                await self.cancelling.wait()
            finally:
                self._waiting.discard(waiting)
        scope.cancel()
