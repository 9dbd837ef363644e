"""Listing and making directories over SFTP."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from actorsync.endpoints.sftp.looks.names import Names
from actorsync.endpoints.sftp.looks.probe import Prober
from actorsync.endpoints.sftp.spelling import SftpSpellings
from actorsync.endpoints.sftp.wire.connection import SftpConnection
from actorsync.endpoints.shared.symlink_guard import link_refusal
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, Listing, Problem, ancestors, join, parent_of
from actorsync.model.text import display, shorten
from actorsync.protocols.sftp import dialogues as ask
from actorsync.protocols.sftp import requests as sftp
from actorsync.protocols.sftp.replies import Attributes, Reply, Status, as_status, entry_of

__all__ = ["Directories", "invalid_name"]


class Directories:
    """Lists and makes the directories of a connection."""

    def __init__(self, connection: SftpConnection, prober: Prober, spellings: SftpSpellings) -> None:
        self._connection = connection
        self._spellings = spellings
        self._prober = prober
        self._names = Names(connection)

    async def list_directory(self, directory: str) -> Listing:
        """List a directory. A single invalid name makes the whole listing a problem."""
        if why := self._connection.why_unusable(directory):
            return Listing(directory, problem=Problem(directory, why))
        found = await self._connection.list_names(directory)
        if isinstance(found, Status):
            return Listing(directory, problem=await self._problem(directory, found))
        if not found and not isinstance(looked := await self._look(directory), Attributes):
            # Some servers list a directory that does not exist as an empty one.
            return Listing(directory, problem=await self._problem(directory, as_status(looked)))
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

    async def look(self, entries: Sequence[Entry]) -> list[Entry | OperationRefused | None]:
        """Ask for entries by their names, in one flight. What the server does not find must be gone, or is refused."""
        absolute, run = self._connection.absolute, self._connection.requests.run
        usable = [entry for entry in entries if not self._connection.why_unusable(entry.path)]
        found = dict(zip(usable, await run(ask.lstat_all([absolute(it.path) for it in usable])), strict=True))
        unsure = [entry for entry, shown in found.items() if isinstance(shown, Status)]
        gone = dict(zip(unsure, await run(ask.are_gone([absolute(it.path) for it in unsure])), strict=True))
        results: list[Entry | OperationRefused | None] = []
        for entry in entries:
            shown = found.get(entry)
            if isinstance(shown, Attributes) and (now := entry_of(entry.path, shown)) is not None:
                results.append(now)
            elif gone.get(entry):
                results.append(None)
            else:
                results.append(OperationRefused("the server does not tell what it is"))
        return results

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
        """Return why a directory is not listed. Servers say "failure" also for one that does not exist."""
        found = await self._look(directory)
        if isinstance(found, Attributes):
            is_other = found.kind not in {Kind.DIRECTORY, None}
            return Problem(directory, "it is not a directory" if is_other else f"the server does not list it: {status}")
        (is_gone,) = await self._connection.requests.run(ask.are_gone([self._connection.absolute(directory) or "/"]))
        if is_gone:
            return Problem(directory, "it is not there", vanished=True)
        return Problem(directory, f"the server does not list it: {status}")

    async def _look(self, directory: str) -> Reply:
        """Return the attributes of a directory. Only the root may be a symbolic link, which is followed."""
        request = sftp.lstat if directory else sftp.stat_path
        (found,) = await self._connection.requests.exchange([request(self._connection.absolute(directory))])
        return found

    async def make_directories(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        """Make directories level by level. The root's parents may be symbolic links; directories below it may not."""
        connection, names = self._connection, self._names
        if "" in paths:
            refusal = await connection.requests.run(ask.make_root(connection.server.root))
            if refusal is not None:
                return [refusal for _ in paths]
        results: dict[str, OperationRefused | None] = dict(await self._refusals(paths))
        usable = [path for path in paths if path and path not in results]
        for is_suspect, group in groupby(usable, names.is_suspect):
            for batch in [[path] for path in group] if is_suspect else [list(group)]:
                lost = {path for path in batch if any(results.get(above) for above in ancestors(path)[1:])}
                results |= {path: OperationRefused("its parent directory could not be made") for path in lost}
                if rest := [path for path in batch if path not in lost]:
                    results |= await self._make(rest)
        return [results.get(path) or Entry(path, Kind.DIRECTORY) for path in paths]

    async def _make(self, paths: Sequence[str]) -> dict[str, OperationRefused | None]:
        """Make directories. One whose odd name the server stores in another form is removed again."""
        connection, results = self._connection, dict[str, OperationRefused | None]()
        before = await self._entries_beside(paths[0])
        existing: set[str] = set()
        made = await connection.requests.run(
            ask.make_directories([connection.absolute(path) for path in paths], existed=existing.add)
        )
        taken = await self._spellings.taken_places(path for path in paths if connection.absolute(path) in existing)
        misplaced: list[str] = []
        for path, refusal in zip(paths, made, strict=True):
            if refusal is not None:
                results[path] = await self._prober.explain_name(refusal, path)
            elif not taken.keys().isdisjoint(ancestors(path)):
                results[path] = OperationRefused("its parent directory could not be made")
                misplaced += [path] if connection.absolute(path) not in existing else []
            elif path in taken:
                results[path] = taken[path]
            elif (renamed := await self._names.check(path, path)) is not None:
                if len(await self._entries_beside(path) - before) == 1:  # it was not there before
                    await connection.requests.exchange([sftp.remove_directory(connection.absolute(path))])
                results[path] = renamed
            else:
                results[path] = None
                connection.knowledge.symlink_guard.add(path)
                connection.knowledge.folding.add(path)
        # What was made below a place that is taken is now in the directory that has it, and is removed again.
        await connection.requests.run(ask.remove_directories([connection.absolute(path) for path in misplaced]))
        return results

    async def _entries_beside(self, path: str) -> set[str]:
        """Return the names in the parent directory of a path with an odd name, as far as the server lists them."""
        if not self._names.is_suspect(path):
            return set()
        found = await self._connection.list_names(parent_of(path))
        return set() if isinstance(found, Status) else {name for name, _ in found}

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
