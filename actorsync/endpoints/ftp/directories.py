"""Directories made and removed on an FTP server, in bursts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence

from actorsync.classes import frozen
from actorsync.endpoints.ftp.looks.listing import Lister, stored_differently
from actorsync.endpoints.ftp.looks.names import NameCheck
from actorsync.endpoints.ftp.looks.presence import Presence
from actorsync.endpoints.ftp.looks.spelling import FtpSpellings
from actorsync.endpoints.ftp.looks.symlinks import SymlinkFinder
from actorsync.endpoints.ftp.wire.connection import FtpConnection
from actorsync.endpoints.shared.symlink_guard import link_refusal
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.entry import Entry, Kind, ancestors, join, name_of, parent_of
from actorsync.planning.temporary_names import oddness
from actorsync.protocols.ftp import dialogues
from actorsync.protocols.ftp.listing import mlst_kind
from actorsync.protocols.ftp.replies import checked, parse_working_directory
from actorsync.protocols.ftp.wire import Dialogue, Reply, command_line
from actorsync.protocols.upload_diagnosis import full

__all__ = ["Directories"]

#: What `Commands` calls entering the root.
_ROOT = "the root"


@frozen
class Directories:
    """Makes and removes directories."""

    _connection: FtpConnection
    _lister: Lister
    _symlinks: SymlinkFinder
    _presence: Presence
    _spellings: FtpSpellings

    async def make(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        """Make directories in bursts. A refusal is looked into: servers give the same one for "exists" and "denied"."""
        connection = self._connection
        await connection.resync()
        if "" in paths:
            parts = connection.root.split("/")[1:]
            await connection.control.play(self._mkd(["/" + "/".join(parts[:n]) for n in range(1, len(parts))]))
        links = await self._symlinks.find(sorted({parent_of(path) for path in paths if path} - set(paths)))
        made: list[Entry | OperationRefused] = []
        for (link, is_suspect), group in itertools.groupby(
            paths, lambda path: (links.get(parent_of(path)) if path else None, self._is_suspect(path))
        ):
            if link is not None:
                made += [link for _ in group]
            elif is_suspect:
                made += [await self._make_odd(path) for path in group]
            else:
                made += await self._make_plain(list(group))
        return made

    async def _make_plain(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        fresh: set[str] = set()
        results = await self._each(paths, lambda batch: self._mkd(batch, fresh))
        if not self._connection.known.has_cwd:
            refused = [
                path for path, result in zip(paths, results, strict=True) if isinstance(result, OperationRefused)
            ]
            found = await self._presence.look(refused)
            there = {path for path, listed in found.items() if listed is not None and listed.kind is Kind.DIRECTORY}
            results = [path in there or result for path, result in zip(paths, results, strict=True)]
        existing = [path for path, result in zip(paths, results, strict=True) if result is True and path not in fresh]
        taken = await self._spellings.taken_places(path for path in existing if path)
        if taken:
            return await self._without_taken(paths, taken, fresh)
        return [
            await self._explain(path, result) if isinstance(result, OperationRefused) else Entry(path, Kind.DIRECTORY)
            for path, result in zip(paths, results, strict=True)
        ]

    async def _without_taken(
        self, paths: Sequence[str], taken: Mapping[str, OperationRefused], fresh: Collection[str]
    ) -> list[Entry | OperationRefused]:
        """Refuse directories whose places are taken, and make the others.

        What was made below a refused directory is now in the other one, which has its place. It is removed again.
        """
        below = {path: above for path in paths if (above := next((it for it in ancestors(path) if it in taken), None))}
        misplaced = sorted((path for path in below if path in fresh), key=lambda path: -path.count("/"))
        await self.remove(misplaced)
        for path in misplaced:
            self._connection.known.case_folding.give_up(path)
        rest = [path for path in paths if path not in taken and path not in below]
        made = dict(zip(rest, await self._make_plain(rest), strict=True)) if rest else {}
        refusal = OperationRefused("its parent directory could not be made")
        return [made.get(path) or taken.get(path) or refusal for path in paths]

    async def _enter_root(self, refusal: OperationRefused) -> Entry | OperationRefused:
        """Enter the root that could not be made: it may be a link to a directory, and no other path may.

        Raises:
            ConnectionLost: This is the first connection over which it can be neither made nor entered. Without a root
                a run ends, so another connection has to confirm it.
        """
        connection, commands = self._connection, self._connection.known.commands
        if await connection.can_enter(connection.root or "/") or await self._shows_root():
            commands.note(_ROOT)
            return Entry("", Kind.DIRECTORY)
        why = f"{refusal}, and it cannot be entered; check the path and the permissions of the account"
        if not commands.is_confirmed(_ROOT, connection.number):
            raise ConnectionLost(f"the root can be neither made nor entered ({why})")
        return OperationRefused(why)

    async def _shows_root(self) -> bool:
        """Return whether a server without CWD shows the root in another way: it lists it, or would rename it."""
        if self._connection.known.has_cwd:
            return False
        parsed, _ = await self._lister.parse_directory("")
        return parsed is not None or (bool(self._connection.root) and (await self._presence.are_there([""]))[0])

    async def _explain(self, path: str, refusal: OperationRefused) -> Entry | OperationRefused:
        """Return why a directory could not be made, as far as looking shows. There is no name for a probe here."""
        connection = self._connection
        if not path and not connection.fault(path):
            return await self._enter_root(refusal)
        if connection.fault(path) or not connection.known.probes.may_try():
            return refusal
        parent = connection.at(parent_of(path))
        own, above = await connection.control.play(dialogues.sizes([connection.at(path), parent]))
        if own is not None:
            return OperationRefused("a file is in its place")
        if connection.known.has_mlsd:
            (looked,) = await connection.control.play(
                dialogues.exchange([(command_line("MLST", connection.at(path)),)])
            )
            if mlst_kind(looked) is Kind.LINK:
                return link_refusal(path)
        if not await connection.is_directory(parent):
            is_file = above is not None  # some servers show a size for a directory, too
            return OperationRefused(
                "its parent directory is a file" if is_file else "parent directory missing or inaccessible"
            )
        if connection.known.probes.is_full:
            return full(f"the server did not make the directory ({refusal})")
        return OperationRefused(
            f"the server did not make the directory ({refusal}); check write permissions, free space, and whether the "
            "server allows this name"
        )

    def _is_suspect(self, path: str) -> bool:
        """Return whether the server has not been seen to store such a name unchanged."""
        return not oddness(name_of(path)) <= self._connection.known.kept_traits and not self._connection.fault(path)

    async def _make_odd(self, path: str) -> Entry | OperationRefused:
        """Make one directory, and check the name that it is stored under. One with another name is removed again."""
        connection, parent, name = self._connection, parent_of(path), name_of(path)
        before, refusal = await self._lister.names(parent)
        if refusal is not None:
            return refusal
        (reply,) = await connection.control.exchange([command_line("MKD", connection.at(path))])
        if checked("MKD", reply).is_refusal:
            (result,) = await self._each([path], self._mkd)
            if isinstance(result, OperationRefused):
                return await self._explain(path, result)
        names, refusal = await self._lister.names(parent)
        if name in names:
            connection.known.kept_traits |= oddness(name)
            return Entry(path, Kind.DIRECTORY)
        new = names - before
        if refusal is None and await NameCheck(connection).keeps(path, new, is_directory=True):
            connection.known.kept_traits |= oddness(name)
            return Entry(path, Kind.DIRECTORY)
        became = name_of((parse_working_directory(reply) if reply.is_positive else None) or "")
        if became in new:
            await connection.control.play(self._rmd([connection.at(join(parent, became))]))
        return refusal or stored_differently(oddness(name))

    async def remove(self, paths: Sequence[str]) -> list[bool | OperationRefused]:
        """Remove empty directories, in order. False for one that is not empty."""
        removed = await self._each(paths, self._rmd)
        return [
            await self._why_not_removed(path) if isinstance(result, OperationRefused) else result
            for path, result in zip(paths, removed, strict=True)
        ]

    async def _why_not_removed(self, directory: str) -> bool | OperationRefused:
        """Return why a directory could not be removed: False when it is not empty, True when it does not exist."""
        if self._connection.fault(directory):
            return OperationRefused("the server did not remove it")
        parsed, problem = await self._lister.parse_directory(directory)
        if parsed is not None and parsed.entries:
            return False
        found = await self._presence.look([directory])
        if directory in found and found[directory] is None:
            return True
        return OperationRefused(problem.reason if problem else "the server did not remove it")

    async def _each(
        self, paths: Sequence[str], dialogue: Callable[[Sequence[str]], Dialogue[list[Reply | None]]]
    ) -> list[bool | OperationRefused]:
        """Play a dialogue about directories. When MLST turns out to be missing, play it again without."""
        connection = self._connection
        used_mlst = connection.known.has_mlsd  # shared, and may change during the wait
        results = await connection.each(paths, dialogue)
        if used_mlst and any(isinstance(result, OperationRefused) for result in results):
            (looked,) = await connection.control.exchange([command_line("MLST", connection.root or "/")])
            if connection.known.commands.lacks("MLST", looked):
                connection.known.has_mlsd = False
                results = await connection.each(paths, dialogue)
        return results

    def _mkd(self, paths: Sequence[str], fresh: set[str] | None = None) -> Dialogue[list[Reply | None]]:
        """Make directories. Those that did not exist before are added to ``fresh``, by their paths below the root."""

        def note_made(path: str) -> None:
            root = self._connection.root
            if path.startswith(f"{root}/"):
                made = path[len(root) + 1 :]
                self._connection.known.symlink_guard.add(made)  # it is no link
                self._connection.known.case_folding.add(made)
                if fresh is not None:
                    fresh.add(made)

        return dialogues.make_directories(paths, mlst=bool(self._connection.known.has_mlsd), made=note_made)

    def _rmd(self, paths: Sequence[str]) -> Dialogue[list[Reply | None]]:
        # Without MLST, a directory that may not be entered looks like one that does not exist.
        mlst = bool(self._connection.known.has_mlsd)
        return dialogues.remove_directories(paths, mlst=mlst, trusts_looks=mlst)
