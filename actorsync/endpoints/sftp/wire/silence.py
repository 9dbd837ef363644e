"""How long the tasks of a connection wait for a server that is silent.

One task watches all waits: each small file has three, and a cancel scope for each of them was a twentieth of the
processor time of a run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
import trio

from actorsync.classes import define

__all__ = ["Silence"]

#: How many timeouts a single wait may take while the server answers others. More than that breaks the protocol.
_MAX_STALLS: Final = 10


@define(eq=False)
class _Wait:
    """One wait: when its current limit began, how many times bytes had arrived then, and how many limits it had."""

    since: float
    feeds: int
    stalls: int = 0


@define(eq=False)
class Silence:
    """The waits of one connection, and the limit in ``seconds`` for each of them.

    ``lose`` is called when a wait has got no byte within the limit, or only bytes for others within ten limits. It has
    to set the events that are waited for.
    """

    seconds: float
    lose: Callable[[], None]
    _feeds: int = 0
    _waits: set[_Wait] = attrs.Factory(set)
    _watching: trio.CancelScope | None = None

    def note_bytes(self) -> None:
        """Take note that bytes have arrived."""
        self._feeds += 1

    async def wait(self, event: trio.Event) -> None:
        """Wait for an event."""
        if event.is_set():
            return
        wait = _Wait(trio.current_time(), self._feeds)
        self._waits.add(wait)
        if self._watching is None:
            self._watching = trio.CancelScope()
            trio.lowlevel.spawn_system_task(self._watch, self._watching)
        try:
            await event.wait()
        finally:
            self._waits.discard(wait)

    def end(self) -> None:
        """Watch no longer, because the connection is lost."""
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self, scope: trio.CancelScope) -> None:
        """Look at each wait when its limit is over, until none is left."""
        with scope:
            while self._waits:
                await trio.sleep_until(min(wait.since for wait in self._waits) + self.seconds)
                now = trio.current_time()
                if any(self._is_over(wait, now) for wait in self._waits):
                    self.lose()
                    break
        self._watching = None

    def _is_over(self, wait: _Wait, now: float) -> bool:
        """Return whether a wait has lasted too long; else begin its next limit if the last one is over."""
        if now < wait.since + self.seconds:
            return False
        wait.stalls += 1
        if wait.feeds == self._feeds or wait.stalls >= _MAX_STALLS:
            return True
        wait.since, wait.feeds = now, self._feeds
        return False
