"""Hints that a test gives by hand, and a source that is watched by them.

::

    source = HintedSource(memory_endpoint)
    async with source.watch(Selection()) as hints:
        source.hints.add("a", "b/c")
        assert await hints.receive() == Dirty(frozenset({"a", "b/c"}))
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import attrs
import trio

from actorsync.endpoints.contract import ReadSession, Source
from actorsync.endpoints.hints import Hint, HintQueue
from actorsync.endpoints.wrappers.base import EndpointWrapper
from actorsync.planning.selection import Selection

__all__ = ["FakeHints", "HintedSource"]


@attrs.define(eq=False)
class FakeHints:
    """`Hints` that a test gives with `add` and `lose`."""

    how: str = "inotify"
    directories: int = 1
    why: str = ""
    _queue: HintQueue = attrs.field(factory=HintQueue, init=False)

    def add(self, *directories: str) -> None:
        """Hint at directories."""
        self._queue.add(directories)

    def lose(self, reason: str) -> None:
        """Hint that anything may have changed."""
        self._queue.lose(reason)

    async def receive(self) -> Hint:
        """Wait for the next hint."""
        return await self._queue.receive()


@attrs.define(eq=False)
class HintedSource(EndpointWrapper[Source]):
    """The source ``real``, watched by ``hints``. ``is_watched`` tells whether a block of `watch` is entered."""

    hints: FakeHints = attrs.Factory(FakeHints)
    is_watched: bool = False

    def open_session(self) -> AbstractAsyncContextManager[ReadSession]:
        """Open a session of the real source."""
        return self.real.open_session()

    @asynccontextmanager
    async def watch(self, selection: Selection) -> AsyncIterator[FakeHints]:
        """Return the hints of the test."""
        await trio.lowlevel.checkpoint()
        self.is_watched = True
        try:
            yield self.hints
        finally:
            self.is_watched = False
