"""The three ways to stop a run before its end: drain, cancel, now."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import attrs
import trio

from actorsync.classes import define

__all__ = ["GOODBYE", "Shutdown"]

#: Seconds that a run may need after the cleanup: it closes connections, and writes the journal and the last lines.
GOODBYE: Final = 2.0


@define(eq=False)
class Shutdown:
    """The stop contract of one run, or of a whole loop of runs. Each step has a deadline, after which the next begins.

    *drain*: operations in flight finish, and no new ones begin. After ``drain_seconds`` this becomes a cancel.
    *cancel*: transfers are aborted, and up to ``cleanup_seconds`` are spent on removing temporaries.
    *now*: there is no cleanup; the next run sweeps.

    No peer, not even one that does not answer, delays the end of a run by more than ``longest`` after the first step.
    A run always waits for local disks: it does not leave a write behind in a program that goes on. A caller that cannot
    wait for disks exits the process, as the command line does. That is safe at any moment.

    Call the methods from trio's thread only.
    """

    drain_seconds: float = 30.0
    cancel_seconds: float = 5.0
    draining: trio.Event = attrs.Factory(trio.Event)
    cancelling: trio.Event = attrs.Factory(trio.Event)
    cleanup_seconds: float = attrs.field(init=False)
    _drain_by: float = attrs.field(default=math.inf, init=False, repr=False)
    _waiting: set[trio.CancelScope] = attrs.field(factory=set, init=False, repr=False)
    _cleanups: set[trio.CancelScope] = attrs.field(factory=set, init=False, repr=False)
    _followers: list[Shutdown] = attrs.field(factory=list, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.cleanup_seconds = self.cancel_seconds

    def allow(self, drain_seconds: float, cancel_seconds: float) -> None:
        """Set the deadlines. Call this before the first step."""
        self.drain_seconds, self.cancel_seconds = drain_seconds, cancel_seconds
        self.cleanup_seconds = min(self.cleanup_seconds, cancel_seconds)

    @property
    def longest(self) -> float:
        """The longest time that a run goes on after the first step, in seconds, whatever the peer does."""
        return self.drain_seconds + self.cancel_seconds + GOODBYE

    def drain(self, deadline: float = math.inf) -> None:
        """Finish what is in flight, and begin nothing. ``deadline``, on trio's clock, can only move the end forward."""
        if not self.draining.is_set():
            self._drain_by = trio.current_time() + self.drain_seconds
        self._drain_by = min(self._drain_by, deadline)
        for scope in self._waiting:
            scope.deadline = self._drain_by
        self.draining.set()
        for follower in self._followers:
            follower.drain(self._drain_by)

    def cancel(self, *, within: float | None = None) -> None:
        """Abort what is in flight. ``within`` limits the cleanup, in seconds, even one that is in progress."""
        if within is not None:
            self.cleanup_seconds = min(self.cleanup_seconds, within)
            for scope in self._cleanups:
                scope.deadline = min(scope.deadline, trio.current_time() + within)
        self.drain()
        self.cancelling.set()
        for follower in self._followers:
            follower.cancel(within=self.cleanup_seconds)

    def now(self) -> None:
        """Abort what is in flight, without any cleanup."""
        self.cancel(within=0.0)

    @contextmanager
    def follower(self) -> Iterator[Shutdown]:
        """Yield another shutdown, which in the block takes each step that this one takes, and may take steps alone."""
        follower = Shutdown(self.drain_seconds, self.cancel_seconds)
        self._followers.append(follower)
        try:
            if self.draining.is_set():
                follower.drain(self._drain_by)
            if self.cancelling.is_set():
                follower.cancel(within=self.cleanup_seconds)
            yield follower
        finally:
            self._followers.remove(follower)

    @contextmanager
    def cleanup(self) -> Iterator[None]:
        """Shield the block from cancellation for as long as the cleanup may take."""
        with trio.move_on_after(self.cleanup_seconds, shield=True) as scope:
            self._cleanups.add(scope)
            try:
                yield
            finally:
                self._cleanups.discard(scope)

    async def enforce(self, scope: trio.CancelScope) -> None:
        """Cancel ``scope`` on `cancel`, or when the deadline of a drain has passed."""
        await self.draining.wait()
        with trio.CancelScope(deadline=self._drain_by) as waiting:
            self._waiting.add(waiting)
            try:
                await self.cancelling.wait()
            finally:
                self._waiting.discard(waiting)
        scope.cancel()
