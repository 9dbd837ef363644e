"""Hints for a source that does not tell what has changed: its directories are listed again and again, and compared.

Only a hash of each listing is kept, so that a big tree fits into memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import attrs
import trio

from actorsync.classes import define, frozen
from actorsync.endpoints.contract import ReadSession, Source, list_first
from actorsync.endpoints.hints import Hint, HintQueue, Hints, Watching, alongside
from actorsync.errors import ActorsyncError, LoginRefused
from actorsync.model.entry import Kind, ancestors, join, parent_of
from actorsync.model.row import CODES, ListingRows, Row, decode
from actorsync.planning.selection import Selection
from actorsync.planning.watching.pace import LONGEST_REST, rest_after_failures, rest_after_round

__all__ = ["Poller", "PollingHints", "polled", "watch"]

_DIRECTORY: Final = CODES[Kind.DIRECTORY]
#: Directories that a session is asked for at once.
_BATCH: Final = 64
#: Seconds of rest during which a session is kept open: no server ends one that soon.
_KEPT: Final = 60.0


def watch(source: Source, selection: Selection, side: str = "source") -> AbstractAsyncContextManager[Hints]:
    """Watch a source as `Watching.watch` does; poll one that does not tell what has changed.

    ``side`` is what it is to a user: with two-way, the target is watched as well.
    """
    return source.watch(selection) if isinstance(source, Watching) else polled(source, selection, side)


@asynccontextmanager
async def polled(source: Source, selection: Selection, side: str = "source") -> AsyncIterator[Hints]:
    """Poll a source. The contract is `Watching.watch`."""
    queue = HintQueue()
    poller = Poller(source, selection, queue)
    async with alongside(poller.run):
        yield PollingHints(poller, queue, why=f"the {side} does not report changes")


@frozen
class PollingHints:
    """The hints of a `Poller`."""

    _poller: Poller
    _queue: HintQueue
    how: str = "polling"
    why: str = "the source does not report changes"

    @property
    def directories(self) -> int:
        """The number of directories that the last round has found."""
        return self._poller.directories

    async def receive(self) -> Hint:
        """Wait for the next hint."""
        return await self._queue.receive()


@define(eq=False)
class Poller:
    """Lists every directory of ``source`` that ``selection`` includes, in rounds, and puts what differs into ``queue``.

    ``begin_at`` are the directories at which a round begins.
    Rounds are so far apart that they cost little; see `rest_after_round`. The first round only remembers. A change
    during it may be missed, so a `Lost` hint follows. A source that cannot be reached is tried again later: the next
    round compares with the last good one, so nothing is missed.
    """

    source: Source
    selection: Selection
    queue: HintQueue
    begin_at: Sequence[str] = ("",)
    _known: dict[str, int] = attrs.field(factory=dict, init=False)
    _changed: set[str] = attrs.field(factory=set, init=False)
    _is_complete: bool = attrs.field(default=False, init=False)

    @property
    def directories(self) -> int:
        """The number of directories that the last round has found."""
        return len(self._known)

    async def run(self) -> None:
        """Make rounds until cancelled. A session is kept during short rests: each login costs the server something."""
        is_remote = self.source.capabilities.is_remote
        failures = 0
        while True:
            try:
                async with self.source.open_session() as session:
                    while (rest := rest_after_round(await self._round(session), is_remote=is_remote)) <= _KEPT:
                        failures = 0
                        await trio.sleep(rest)
                failures = 0
            except LoginRefused as refused:  # a server may lock out who tries again; the next pass decides what follows
                self.queue.lose(str(refused))
                rest = LONGEST_REST
            except ActorsyncError:  # the passes report a source that cannot be reached
                failures += 1
                rest = rest_after_failures(failures, is_remote=is_remote)
            await trio.sleep(rest)

    async def _round(self, session: ReadSession) -> float:
        """Compare all directories, and return how long that has taken, in seconds."""
        began = trio.current_time()
        try:
            await self._walk(session)
        finally:
            # All at once: a rename is found when both directories are listed in one pass.
            self.queue.add(self._changed)
            self._changed.clear()
        if not self._is_complete:
            self._is_complete = True
            self.queue.lose("polling has only just begun")
        return trio.current_time() - began

    async def _walk(self, session: ReadSession) -> None:
        found: set[str] = set()
        unknown: set[str] = set()
        waiting = deque(self.begin_at)
        while waiting:
            batch = [waiting.popleft() for _ in range(min(_BATCH, len(waiting)))]
            listings = await list_first(session, batch)
            waiting.extendleft(reversed(batch[len(listings) :]))
            for listing in listings:
                found.add(listing.directory)
                if listing.problem is not None and not listing.problem.vanished:
                    unknown.add(listing.directory)
                waiting += self._compare(listing)
        # What has gone is missing from the listing of its directory, which is hinted.
        for path in self._known.keys() - found:
            if unknown.isdisjoint(ancestors(path)):
                del self._known[path]

    def _compare(self, listing: ListingRows) -> list[str]:
        """Hint at a directory that is not as it was, and return the directories in it."""
        path = listing.directory
        rows = [row for row in listing.rows if self._is_included(path, row)]
        now = hash(tuple(map(_compared, rows))) if listing.problem is None else hash(listing.problem)
        before, self._known[path] = self._known.get(path), now
        if self._is_complete and before != now:
            self._changed.update([path] if before is not None else [path, parent_of(path)])
        return [join(path, decode(row[0])) for row in rows if row[1] == _DIRECTORY]

    def _is_included(self, directory: str, row: Row) -> bool:
        return self.selection.is_included(join(directory, decode(row[0])), row[1] == _DIRECTORY)


def _compared(row: Row) -> object:
    """Return what is compared of a row. The times of a directory change with what is in it, which it is listed for."""
    return (row[0], row[1], row[5], row[6]) if row[1] == _DIRECTORY else row
