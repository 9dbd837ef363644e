"""The scanner: walks the source and says what is there, one directory at a time."""

from __future__ import annotations

from collections import deque

import attrs
import trio

from actorsync.actors.channels import Fact, Finding, holding
from actorsync.endpoints.contract import Endpoint, Session
from actorsync.model.entry import Entry, Kind, Listing, Problem, name_of
from actorsync.model.event import Scanned
from actorsync.planning.selection import Selection

__all__ = ["WALKERS", "Scanner"]

#: Directories that are looked at side by side: a cold disk answers two at once; more threads only fight over the
#: interpreter, which a warm one makes the limit.
WALKERS = 2


@attrs.define
class Scanner:
    """Walk ``source`` from its root, breadth first, and send one `Listing` for each directory, then `ScanComplete`.

    Directories come before what is in them. ``links_are_errors``: a symbolic link is reported as a problem instead of
    being passed over.
    """

    source: Endpoint
    selection: Selection
    links_are_errors: bool = False
    walkers: int = WALKERS

    async def run(self, listings: trio.MemorySendChannel[Finding], facts: trio.MemorySendChannel[Fact]) -> None:
        """Scan once. Raises `GuardRefused` when the root is not a directory that can be read."""
        with holding(listings, facts):
            complete = await self.source.identify()
            await self._walk(listings, facts)
            await listings.send(complete)

    async def _walk(self, listings: trio.MemorySendChannel[Finding], facts: trio.MemorySendChannel[Fact]) -> None:
        frontier: deque[str] = deque([""])
        changed = trio.Condition()
        busy = 0

        async def walker() -> None:
            nonlocal busy
            async with self.source.open_session() as session:
                while True:
                    async with changed:
                        while not frontier and busy:
                            await changed.wait()
                        if not frontier:
                            return
                        directory = frontier.popleft()
                        busy += 1
                    listing, scanned = await self._look(session, directory)
                    await facts.send(scanned)
                    await listings.send(listing)
                    async with changed:
                        frontier.extend(entry.path for entry in listing.entries if entry.kind is Kind.DIRECTORY)
                        busy -= 1
                        changed.notify_all()

        async with trio.open_nursery() as nursery:
            for _ in range(self.walkers):
                nursery.start_soon(walker)

    async def _look(self, session: Session, directory: str) -> tuple[Listing, Scanned]:
        found = await session.list_directory(directory)
        if found.problem is not None:
            return found, Scanned(directory, 0, 0, 0, (found.problem,))
        listing, problems = select(found, self.selection, links_are_errors=self.links_are_errors)
        files = sum(entry.kind is Kind.FILE for entry in listing.entries)
        return listing, Scanned(directory, files, len(listing.entries) - files, len(listing.hidden), problems)


def select(
    found: Listing, selection: Selection, *, links_are_errors: bool = False
) -> tuple[Listing, tuple[Problem, ...]]:
    """Split what was found into what is mirrored and what is hidden; links are problems where they are errors."""
    entries: list[Entry] = []
    hidden: set[str] = set(found.hidden)
    problems: list[Problem] = []
    is_everything = selection.is_everything
    for entry in found.entries:
        if not (is_everything or selection.is_included(entry.path, entry.kind is Kind.DIRECTORY)):
            hidden.add(name_of(entry.path))
        elif entry.kind is Kind.FILE or entry.kind is Kind.DIRECTORY:
            entries.append(entry)
        else:
            hidden.add(name_of(entry.path))
            if links_are_errors and entry.kind is Kind.LINK:
                problems.append(Problem(entry.path, 'is a symbolic link, and links = "error"'))
    return Listing(found.directory, tuple(entries), frozenset(hidden)), tuple(problems)
