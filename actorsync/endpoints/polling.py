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

from actorsync.endpoints.contract import BulkListing, ReadSession, Source
from actorsync.endpoints.hints import Hint, HintQueue, Hints, Watching, alongside
from actorsync.errors import ActorsyncError, LoginRefused
from actorsync.model.entry import Kind, ancestors, join, parent_of
from actorsync.model.row import CODES, ListingRows, Row, decode, rows_of
from actorsync.planning.selection import Selection
from actorsync.planning.watching.pace import LONGEST_REST, rest_after_failures, rest_after_round

__all__ = ["Poller", "PollingHints", "watch"]

_DIRECTORY: Final = CODES[Kind.DIRECTORY]
#: Directories that a session is asked for at once.
_BATCH: Final = 64


def watch(source: Source, selection: Selection) -> AbstractAsyncContextManager[Hints]:
    """Watch a source as `Watching.watch` does; poll one that does not tell what has changed."""
    return source.watch(selection) if isinstance(source, Watching) else _polled(source, selection)


@asynccontextmanager
async def _polled(source: Source, selection: Selection) -> AsyncIterator[Hints]:
    queue = HintQueue()
    poller = Poller(source, selection, queue)
    async with alongside(poller.run):
        yield PollingHints(poller, queue)


@attrs.frozen
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


@attrs.define(eq=False)
class Poller:
    """Lists every directory of ``source`` that ``selection`` includes, in rounds, and puts what differs into ``queue``.

    Rounds are so far apart that they cost little; see `rest_after_round`. The first round only remembers. A change
    during it may be missed, so a `Lost` hint follows. A source that cannot be reached is tried again later: the next
    round compares with the last good one, so nothing is missed.
    """

    source: Source
    selection: Selection
    queue: HintQueue
    _known: dict[str, int] = attrs.field(factory=dict, init=False)
    _is_complete: bool = attrs.field(default=False, init=False)
    _failures: int = attrs.field(default=0, init=False)

    @property
    def directories(self) -> int:
        """The number of directories that the last round has found."""
        return len(self._known)

    async def run(self) -> None:
        """Make rounds until cancelled."""
        is_remote = self.source.capabilities.is_remote
        while True:
            began = trio.current_time()
            try:
                await self._round()
            except LoginRefused as refused:  # a server may lock out who tries again; the next pass decides what follows
                self.queue.lose(str(refused))
                rest = LONGEST_REST
            except ActorsyncError:  # the passes report a source that cannot be reached
                self._failures += 1
                rest = rest_after_failures(self._failures, is_remote=is_remote)
            else:
                self._failures = 0
                rest = rest_after_round(trio.current_time() - began, is_remote=is_remote)
            await trio.sleep(rest)

    async def _round(self) -> None:
        found: set[str] = set()
        unknown: set[str] = set()
        waiting = deque([""])
        async with self.source.open_session() as session:
            while waiting:
                batch = [waiting.popleft() for _ in range(min(_BATCH, len(waiting)))]
                listings = await _list(session, batch)
                waiting.extendleft(reversed(batch[len(listings) :]))
                for listing in listings:
                    found.add(listing.directory)
                    if listing.problem is not None and not listing.problem.vanished:
                        unknown.add(listing.directory)
                    waiting += self._compare(listing)
        # What has gone is missing from the listing of its directory, which has been hinted.
        for path in self._known.keys() - found:
            if unknown.isdisjoint(ancestors(path)):
                del self._known[path]
        if not self._is_complete:
            self._is_complete = True
            self.queue.lose("the first look at all directories is done")

    def _compare(self, listing: ListingRows) -> list[str]:
        """Hint at a directory that is not as it was, and return the directories in it."""
        path = listing.directory
        rows = [row for row in listing.rows if self._is_included(path, row)]
        now = hash(tuple(map(_compared, rows))) if listing.problem is None else hash(listing.problem)
        before, self._known[path] = self._known.get(path), now
        if self._is_complete and before != now:
            self.queue.add([path] if before is not None else [path, parent_of(path)])
        return [join(path, decode(row[0])) for row in rows if row[1] == _DIRECTORY]

    def _is_included(self, directory: str, row: Row) -> bool:
        return self.selection.is_included(join(directory, decode(row[0])), row[1] == _DIRECTORY)


def _compared(row: Row) -> object:
    """Return what is compared of a row. The times of a directory change with what is in it, which it is listed for."""
    return (row[0], row[1], row[5], row[6]) if row[1] == _DIRECTORY else row


async def _list(session: ReadSession, directories: Sequence[str]) -> Sequence[ListingRows]:
    if isinstance(session, BulkListing):
        return await session.list_many(directories)
    return [rows_of(await session.list_directory(directories[0]))]
