"""An FTP session under the contract: directories listed and made, files removed.

Uploads are in ``ftp_upload``, moves in ``ftp_move``, and reading is in ``ftp_read``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import attrs

from actorsync.endpoints.contract import nothing_ahead
from actorsync.endpoints.ftp.connection import UNKNOWN, Knowledge
from actorsync.endpoints.ftp.move import FtpMoves, is_changed
from actorsync.endpoints.ftp.read import FtpReads
from actorsync.endpoints.ftp.upload import FtpUploads, misnamed
from actorsync.endpoints.shared.symlink_guard import astray
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, Listing, join, name_of, parent_of
from actorsync.model.text import display
from actorsync.planning.temporary_names import oddness
from actorsync.protocols.ftp import dialogues as ask
from actorsync.protocols.ftp.listing import ListedEntry
from actorsync.protocols.ftp.replies import (
    TimeSetter,
    checked,
    parse_working_directory,
)
from actorsync.protocols.ftp.wire import Dialogue, Reply, command_line
from actorsync.protocols.upload_diagnosis import full

__all__ = ["FtpSession", "Knowledge"]


class FtpSession(FtpUploads, FtpMoves, FtpReads):
    """One logged-in connection, with every verb of the contract."""

    # Reading.

    async def list_directory(self, directory: str) -> Listing:
        """List a directory with MLSD, or with CWD and LIST where there is no MLSD."""
        return await self.list_directory_ahead(directory, nothing_ahead)

    async def list_directory_ahead(self, directory: str, ahead: Callable[[], bool]) -> Listing:
        """List a directory; with MLSD, the port of the listing that follows is asked for in the same flight."""
        await self._get_in_step()
        parsed, problem = await self._list(directory, ahead)
        if parsed is None or problem is not None:
            return Listing(directory, problem=problem)
        above = self._identities_above(directory)
        entries = [
            Entry(join(directory, found.name), self._kind(found, directory, above), found.size or 0, found.mtime_ns)
            for found in parsed.entries
        ]
        if not self._known.has_mlsd:
            entries = await self._with_times(entries)
        return Listing(directory, tuple(entries))

    def _identities_above(self, directory: str) -> set[str]:
        """Give what tells a directory and those above it from all others, as far as their listings have told."""
        parts = directory.split("/")
        paths = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
        return {self._known.identities[path] for path in paths if path in self._known.identities}

    def _kind(self, found: ListedEntry, directory: str, above: set[str]) -> Kind:
        """Say what an entry is. One that leads back up is a link, whatever a server that follows links calls it.

        pyftpdlib is one: a tree with such a link in it has no end.
        """
        if found.kind is not Kind.DIRECTORY or found.unique is None:
            return found.kind
        if found.unique in above:
            return Kind.LINK
        self._known.identities[join(directory, found.name)] = found.unique
        return found.kind

    async def _with_times(self, entries: Sequence[Entry]) -> list[Entry]:
        """Ask for the times that LIST does not give (see `parse_list` for why)."""
        askable = [e for e in entries if e.kind is Kind.FILE and not self._fault(e.path)]
        answers = await self._control.play(ask.facts([self._at(entry.path) for entry in askable]))
        known = {e.path: answer for e, answer in zip(askable, answers, strict=True) if answer is not None}
        return [
            attrs.evolve(entry, size=known[entry.path][0], mtime_ns=known[entry.path][1])
            if entry.path in known
            else entry
            for entry in entries
        ]

    # Directories and removals.

    async def make_directories(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        """Make directories in bursts; a refusal is looked into, because "it exists" is refused like "you may not"."""
        await self._get_in_step()
        if "" in paths:
            parts = self._root.split("/")[1:]
            await self._control.play(self._make(["/" + "/".join(parts[:n]) for n in range(1, len(parts))]))
        links = await self._through_links(sorted({parent_of(path) for path in paths if path} - set(paths)))
        made: list[Entry | OperationRefused] = []
        for (link, is_suspect), group in itertools.groupby(
            paths, lambda path: (links.get(parent_of(path)) if path else None, self._is_suspect(path))
        ):
            if link is not None:
                made += [astray(link) for _ in group]
            elif is_suspect:
                made += [await self._make_odd(path) for path in group]
            else:
                run = list(group)
                results = await self._each_directory(run, self._make)
                made += [
                    await self._unmade(path, result)
                    if isinstance(result, OperationRefused)
                    else Entry(path, Kind.DIRECTORY)
                    for path, result in zip(run, results, strict=True)
                ]
        return made

    async def _unmade(self, path: str, refusal: OperationRefused) -> OperationRefused:
        """Say why a directory could not be made, as far as looking tells: there is no name here to try things under."""
        if not path or self._fault(path) or not self._known.trials.may_try():
            return refusal
        directory = self._at(parent_of(path))
        own, above = await self._control.play(ask.sizes([self._at(path), directory]))
        if own is not None:
            return OperationRefused("a file is in its place")
        if above is not None:
            return OperationRefused("a file is where the directory above it should be")
        if not await self._is_directory(directory):
            return OperationRefused("the directory above it is not there, or closed")
        if self._known.trials.is_full:
            return full(f"the server does not make it ({refusal})")
        return OperationRefused(
            f"the server does not make it ({refusal}); see who may write there, whether there is room, and whether the "
            "server takes such a name"
        )

    def _is_suspect(self, path: str) -> bool:
        """Whether the server has not shown yet that it keeps such a name."""
        return not oddness(name_of(path)) <= self._known.stores and not self._fault(path)

    async def _make_odd(self, path: str) -> Entry | OperationRefused:
        """Make one directory, and see under which name it is stored. One under another name is removed again."""
        parent, name = parent_of(path), name_of(path)
        before, refusal = await self._names(parent)
        if refusal is not None:
            return refusal
        (reply,) = await self._control.exchange([command_line("MKD", self._at(path))])
        if checked("MKD", reply).is_refusal:
            (result,) = await self._each_directory([path], self._make)
            if isinstance(result, OperationRefused):
                return await self._unmade(path, result)
        names, refusal = await self._names(parent)
        if name in names:
            self._known.stores |= oddness(name)
            return Entry(path, Kind.DIRECTORY)
        became = name_of((parse_working_directory(reply) if reply.is_positive else None) or "")
        if became in names - before:
            await self._control.play(self._unmake([self._at(join(parent, became))]))
        return refusal or misnamed(oddness(name))

    async def _each_directory(
        self, paths: Sequence[str], dialogue: Callable[[Sequence[str]], Dialogue[list[Reply | None]]]
    ) -> list[bool | OperationRefused]:
        """Play a dialogue about directories; once more without MLST if the server only said that it has it."""
        used_mlst = self._known.has_mlsd  # which is shared, and may change while we wait
        results = await self._each(paths, dialogue)
        if used_mlst and any(isinstance(result, OperationRefused) for result in results):
            (looked,) = await self._control.exchange([command_line("MLST", self._root or "/")])
            if looked.code in UNKNOWN:
                self._known.has_mlsd = False
                results = await self._each(paths, dialogue)
        return results

    def _make(self, paths: Sequence[str]) -> Dialogue[list[Reply | None]]:
        return ask.make_directories(paths, mlst=bool(self._known.has_mlsd), made=self._note_made)

    def _note_made(self, path: str) -> None:
        """Remember a directory that was made just now: it is no link."""
        if path.startswith(f"{self._root}/"):
            self._known.straight.add(path[len(self._root) + 1 :])

    def _unmake(self, paths: Sequence[str]) -> Dialogue[list[Reply | None]]:
        return ask.remove_directories(paths, mlst=bool(self._known.has_mlsd))

    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        """Remove files whose size and time are still as recorded, then directories, each kind in bursts."""
        await self._get_in_step()
        results: dict[Entry, bool | OperationRefused] = {}
        usable: list[Entry] = []
        links = await self._through_links([parent_of(entry.path) for entry in entries])
        for entry in dict.fromkeys(entries):
            why = self._fault(entry.path) or (None if entry.path else "it is the root")
            if parent_of(entry.path) in links:
                results[entry] = astray(links[parent_of(entry.path)])
            elif why:
                results[entry] = OperationRefused(why)
            else:
                usable.append(entry)
        files = [entry for entry in usable if entry.kind is not Kind.DIRECTORY]
        folders = [entry for entry in usable if entry.kind is Kind.DIRECTORY]
        # Without MLST, a file looks like a directory that is gone.
        look_at = files if self._known.has_mlsd else usable
        found = await self._control.play(ask.facts([self._at(entry.path) for entry in look_at]))
        doomed = []
        for entry, now in zip(look_at, found, strict=True):
            if now is None:
                results[entry] = True
            elif entry.kind is Kind.DIRECTORY or is_changed(entry, *now):
                results[entry] = OperationRefused("not removed: it was changed on the server")
            else:
                doomed.append(entry)
        doomed_folders = [entry for entry in folders if not isinstance(results.get(entry), OperationRefused)]
        removed = await self._each([entry.path for entry in doomed], ask.remove_files)
        results |= dict(zip(doomed, removed, strict=True))
        for entry, result in results.items():
            if result is True:
                self._known.folding.give_up(entry.path)
        unmade = await self._each_directory([entry.path for entry in doomed_folders], self._unmake)
        for entry, result in zip(doomed_folders, unmade, strict=True):
            refused = isinstance(result, OperationRefused)
            results[entry] = await self._holds_something(entry.path) if refused else result
        return [results[entry] for entry in entries]

    async def _holds_something(self, directory: str) -> bool | OperationRefused:
        """Say why a directory could not be removed: False when it is not empty."""
        parsed, problem = await self._list(directory)
        if parsed is not None and parsed.entries:
            return False
        return OperationRefused(problem.reason if problem else "the server does not remove it")

    async def abandon(self, temporary: str) -> bool:
        """Cut the transfer off, hear the server out, and remove what it kept."""
        return (await self.sweep([temporary]))[0] is True

    def describe(self) -> Sequence[tuple[str, str]]:
        """Say what the server is and can do."""
        known = self._known
        setter = known.setter or TimeSetter.NONE
        return (
            ("server", display(known.greeting)),
            ("security", self._control.security),
            ("root", display(self._root or "/")),
            ("listing", "MLSD" if known.has_mlsd else "CWD, LIST and MDTM"),
            ("data", "PASV" if known.uses_pasv else "EPSV"),
            (
                "times",
                {"MFMT": "set with MFMT", "MDTM": "set with MDTM, if allowed"}.get(setter.value, "cannot be set"),
            ),
            ("features", display(" ".join(sorted(known.features.names))) or "none told"),
        )

    def warnings(self) -> Sequence[str]:
        """Say what others may read, where this connection leaves the user's own network without TLS."""
        return self.concerns
