"""The three ways to stop a run before its end: drain, cancel, now."""

from __future__ import annotations

import attrs
import trio

__all__ = ["Shutdown"]


@attrs.define(eq=False)
class Shutdown:
    """The stop contract of one run, or of a whole loop of runs.

    *drain*: what is in flight is finished, nothing new is begun; after ``drain_seconds`` it becomes a cancel.
    *cancel*: transfers are aborted, and up to ``cleanup_seconds`` go into removing temporaries. *now* is not here: it
    is leaving the process, and the next run sweeps. Call from the thread of trio only.
    """

    drain_seconds: float = 30.0
    cancel_seconds: float = 5.0
    draining: trio.Event = attrs.Factory(trio.Event)
    cancelling: trio.Event = attrs.Factory(trio.Event)
    cleanup_seconds: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.cleanup_seconds = self.cancel_seconds

    def drain(self) -> None:
        """Finish what is in flight, begin nothing."""
        self.draining.set()

    def cancel(self, *, within: float | None = None) -> None:
        """Abort what is in flight. ``within`` bounds the tidying up, in seconds."""
        if within is not None:
            self.cleanup_seconds = min(self.cleanup_seconds, within)
        self.draining.set()
        self.cancelling.set()

    async def enforce(self, scope: trio.CancelScope) -> None:
        """Cancel ``scope`` when a cancel is asked for, or when a drain has taken too long."""
        await self.draining.wait()
        with trio.move_on_after(self.drain_seconds):
            await self.cancelling.wait()
        scope.cancel()
