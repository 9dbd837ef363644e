"""Hints: which directories of a source have changed, as far as the system tells.

A hint names directories and never says what happened in them: the next pass lists them and compares. So a wrong or a
doubled hint costs one listing. Nothing may be removed because of a hint, and nothing may rely on one: the system drops
hints, and another machine that writes to a network drive causes none. A pass over the whole source repairs that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, TypeAlias, runtime_checkable

import attrs
import trio

from actorsync.classes import define, frozen
from actorsync.planning.selection import Selection
from actorsync.planning.watching.agenda import MOST_DIRECTORIES

__all__ = ["MOST_DIRECTORIES", "Dirty", "Hint", "HintQueue", "Hints", "Lost", "Watching", "alongside"]


@frozen
class Dirty:
    """These directories may have changed. ``""`` is the root; the paths are those of ``Listing.directory``."""

    directories: frozenset[str]


@frozen
class Lost:
    """Anything may have changed. ``reason`` says why in a few words, for a line of the log."""

    reason: str


Hint: TypeAlias = Dirty | Lost


class Hints(Protocol):
    """The hints of one source while it is watched. One task receives them.

    The values of the properties change if one way of watching fails and another one takes its place. A `Lost` hint then
    says so.
    """

    @property
    def how(self) -> str:
        """Where the hints come from: "inotify", "watchfiles", "polling", or a name that a plug-in gives."""

    @property
    def directories(self) -> int:
        """The number of directories that are watched. It changes with the source."""

    @property
    def why(self) -> str:
        """The reason why a better way of watching is not in use, on one line; ``""`` if there is no better one."""

    async def receive(self) -> Hint:
        """Wait for a hint, and return all that came since the last call as one.

        Hints are collected at all times, also while nobody waits here. A cancelled call loses none.
        """


@runtime_checkable
class Watching(Protocol):
    """Optional for a source: it tells which directories have changed."""

    def watch(self, selection: Selection) -> AbstractAsyncContextManager[Hints]:
        """Watch the directories that ``selection`` includes, inside the block.

        A change after the block was entered is hinted, so a pass that begins there misses none. Entering never fails
        because the source cannot be watched: a missing root or a limit of the system makes a `Lost` hint, or another
        way of watching.
        """


@define(eq=False)
class HintQueue:
    """Hints on their way from those who notice changes to the one task that receives them, merged into one.

    It holds at most `MOST_DIRECTORIES` directories. More of them become one `Lost`.
    """

    _dirty: set[str] = attrs.field(factory=set, init=False)
    _lost: Lost | None = attrs.field(default=None, init=False)
    _filled: trio.Event = attrs.field(factory=trio.Event, init=False)

    def add(self, directories: Iterable[str]) -> None:
        """Add directories that may have changed. A pass over the whole source that is due already covers them."""
        if self._lost is not None:
            return
        self._dirty.update(directories)
        if len(self._dirty) > MOST_DIRECTORIES:
            self.lose(f"more than {MOST_DIRECTORIES:,} directories have changed")
        elif self._dirty:
            self._filled.set()

    def lose(self, reason: str) -> None:
        """Note that anything may have changed. The first of several reasons is kept."""
        self._lost = self._lost or Lost(reason)
        self._dirty.clear()
        self._filled.set()

    async def receive(self) -> Hint:
        """Wait until there is a hint, and take all that there are."""
        await self._filled.wait()
        hint = self._lost or Dirty(frozenset(self._dirty))
        self._lost, self._dirty, self._filled = None, set(), trio.Event()
        return hint


@asynccontextmanager
async def alongside(run: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Run a task during the block, and cancel it at the end. One error leaves as it is, and not in a group."""
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            yield
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        raise group.exceptions[0] from None
