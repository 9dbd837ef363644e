"""Listing and making directories over SFTP."""

from __future__ import annotations

from collections.abc import Sequence

from actorsync.endpoints.sftp.connection import SftpConnection
from actorsync.endpoints.sftp.probe import Prober
from actorsync.endpoints.sftp.spelling import SftpSpellings
from actorsync.endpoints.shared.symlink_guard import link_refusal
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, Listing, Problem, ancestors, join, parent_of
from actorsync.model.text import display, shorten
from actorsync.protocols.sftp import dialogues as ask
from actorsync.protocols.sftp.replies import Attributes, Status, entry_of

__all__ = ["Directories", "invalid_name"]


class Directories:
    """Lists and makes the directories of a connection."""

    def __init__(self, connection: SftpConnection, prober: Prober, spellings: SftpSpellings) -> None:
        self._connection = connection
        self._spellings = spellings
        self._prober = prober

    async def list_directory(self, directory: str) -> Listing:
        """List a directory. A single invalid name makes the whole listing a problem."""
        if why := self._connection.why_unusable(directory):
            return Listing(directory, problem=Problem(directory, why))
        found = await self._connection.requests.run(ask.list_directory(self._connection.absolute(directory)))
        if isinstance(found, Status):
            return Listing(directory, problem=await self._problem(directory, found))
        if (why := invalid_name([name for name, _ in found])) is not None:
            return Listing(directory, problem=Problem(directory, why))
        known = {join(directory, name): attributes for name, attributes in found}
        await self._complete(known)
        entries = [entry_of(path, attributes) for path, attributes in known.items()]
        complete = tuple(entry for entry in entries if entry is not None)
        if len(complete) < len(entries):
            return Listing(
                directory, problem=Problem(directory, "the server does not report what kind its entries are")
            )
        return Listing(directory, complete)

    async def _complete(self, known: dict[str, Attributes]) -> None:
        """Look up the attributes that the listing left out."""
        lacking = [path for path, attributes in known.items() if attributes.kind is None]
        if not lacking:
            return
        found = await self._connection.requests.run(
            ask.lstat_all([self._connection.absolute(path) for path in lacking])
        )
        known.update({path: of for path, of in zip(lacking, found, strict=True) if isinstance(of, Attributes)})

    async def _problem(self, directory: str, status: Status) -> Problem:
        if not status.is_missing:
            return Problem(directory, f"the server does not list it: {status}")
        (found,) = await self._connection.requests.run(ask.lstat_all([self._connection.absolute(directory)]))
        if isinstance(found, Attributes):
            return Problem(directory, "it is not a directory")
        return Problem(directory, "it is not there", vanished=True)

    async def make_directories(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        """Make directories level by level. The root's parents may be symbolic links; directories below it may not."""
        connection = self._connection
        if "" in paths:
            refusal = await connection.requests.run(ask.make_root(connection.server.root))
            if refusal is not None:
                return [refusal for _ in paths]
        results: dict[str, OperationRefused | None] = dict(await self._refusals(paths))
        usable = [path for path in paths if path and path not in results]
        existing: set[str] = set()
        made = await connection.requests.run(
            ask.make_directories([connection.absolute(path) for path in usable], existed=existing.add)
        )
        taken = await self._spellings.taken_places(path for path in usable if connection.absolute(path) in existing)
        misplaced: list[str] = []
        for path, refusal in zip(usable, made, strict=True):
            is_below_taken = not taken.keys().isdisjoint(ancestors(path))
            if is_below_taken and refusal is None:
                results[path] = OperationRefused("its parent directory could not be made")
                if connection.absolute(path) not in existing:
                    misplaced.append(path)
            elif refusal is not None:
                results[path] = await self._prober.explain_name(refusal, path)
            else:
                results[path] = taken.get(path)
                if path not in taken:
                    connection.knowledge.symlink_guard.add(path)
                    connection.knowledge.folding.add(path)
        # What was made below such a place is now in the directory that has it, and is removed again.
        await connection.requests.run(ask.remove_directories([connection.absolute(path) for path in misplaced]))
        return [results.get(path) or Entry(path, Kind.DIRECTORY) for path in paths]

    async def _refusals(self, paths: Sequence[str]) -> dict[str, OperationRefused]:
        """Return the directories that must not be made: those with unusable paths, and those behind a link."""
        refusals = {path: OperationRefused(why) for path in paths if (why := self._connection.why_unusable(path))}
        links = await self._connection.find_links(sorted({parent_of(path) for path in paths if path} - set(paths)))
        return refusals | {
            path: link_refusal(links[parent_of(path)]) for path in paths if path and parent_of(path) in links
        }


def invalid_name(names: Sequence[str]) -> str | None:
    """Return what is wrong with the names in a directory, or None. No path is made from names that are refused here."""
    for name in names:
        if not name or "/" in name or "\0" in name:
            return f'the server lists an invalid name: "{shorten(display(name), 100)}"'
    return "the server lists the same name twice" if len(set(names)) < len(names) else None
