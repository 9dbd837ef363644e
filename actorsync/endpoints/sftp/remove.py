"""Removing files, directories and temporaries over SFTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actorsync.endpoints.sftp.move import is_unchanged
from actorsync.endpoints.sftp.spelling import SftpSpellings
from actorsync.endpoints.sftp.wire.connection import SftpConnection, is_utf8
from actorsync.endpoints.shared.paths import aside_of, is_above, trial_beside
from actorsync.endpoints.shared.symlink_guard import link_refusal
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, parent_of
from actorsync.protocols.sftp import dialogues as ask
from actorsync.protocols.sftp.replies import Attributes, Status

__all__ = ["Remover"]


class Remover:
    """Removes entries that are still as recorded, and temporaries."""

    def __init__(self, connection: SftpConnection, spellings: SftpSpellings) -> None:
        self._connection = connection
        self._spellings = spellings

    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        """Remove entries that are unchanged: files in one flight, then directories from the deepest up."""
        absolute, run = self._connection.absolute, self._connection.requests.run
        results: dict[Entry, bool | OperationRefused] = dict(await self._refusals(entries))
        results |= await self._spellings.elsewhere(entry for entry in dict.fromkeys(entries) if entry not in results)
        usable = [entry for entry in dict.fromkeys(entries) if entry not in results]
        found = await run(ask.lstat_all([absolute(entry.path) for entry in usable]))
        unsure = [entry for entry, shown in zip(usable, found, strict=True) if isinstance(shown, Status)]
        gone = dict(zip(unsure, await run(ask.are_gone([absolute(entry.path) for entry in unsure])), strict=True))
        for entry, shown in zip(usable, found, strict=True):
            result = True if gone.get(entry) else _result_without_a_removal(entry, shown)
            if result is not None:
                results[entry] = result
        unchanged = [entry for entry in usable if entry not in results]
        files = [entry for entry in unchanged if entry.kind is not Kind.DIRECTORY]
        removed = await run(ask.remove_files([absolute(entry.path) for entry in files]))
        results |= {entry: refusal or True for entry, refusal in zip(files, removed, strict=True)}
        directories = [entry for entry in unchanged if entry.kind is Kind.DIRECTORY]
        outcomes = await run(ask.remove_directories([absolute(entry.path) for entry in directories]))
        results |= dict(zip(directories, outcomes, strict=True))
        for entry, result in results.items():
            if result is True:
                self._connection.knowledge.folding.give_up(entry.path)
        return [results[entry] for entry in entries]

    async def _refusals(self, entries: Sequence[Entry]) -> dict[Entry, OperationRefused]:
        """Return the entries that must not be removed: behind a link, with unusable paths, or the root."""
        links = await self._connection.find_links([parent_of(entry.path) for entry in entries])
        refusals: dict[Entry, OperationRefused] = {}
        for entry in entries:
            link = links.get(parent_of(entry.path))
            why = self._connection.why_unusable(entry.path) or ("it is the root" if is_above(entry.path) else None)
            if link is not None:
                refusals[entry] = link_refusal(link)
            elif why:
                refusals[entry] = OperationRefused(why)
        return refusals

    async def sweep(self, temporaries: Sequence[str], finals: Mapping[str, str]) -> list[bool | OperationRefused]:
        """Remove temporaries; an old file that was set aside for one gets its final name back.

        A temporary does not exist if its name is not UTF-8 and the server closes the connection over such names.
        """
        unusable = {path: why for path in temporaries if (why := self._connection.why_unusable(path))}
        dies = self._connection.requests.host.dies_of_bytes
        results: dict[str, OperationRefused | None] = {
            path: None if dies and not is_utf8(path) else OperationRefused(why) for path, why in unusable.items()
        }
        usable = [path for path in temporaries if path not in unusable]
        dialogue = ask.sweep([self._temporary(path, finals.get(path)) for path in usable])
        results |= dict(zip(usable, await self._connection.requests.run(dialogue), strict=True))
        return [results[path] or True for path in temporaries]

    def _temporary(self, path: str, final: str | None) -> ask.Temporary:
        absolute = self._connection.absolute
        return ask.Temporary(
            absolute(path),
            absolute(aside_of(path)),
            None if final is None else absolute(final),
            absolute(trial_beside(path)),
        )


def _result_without_a_removal(entry: Entry, found: Attributes | Status) -> bool | OperationRefused | None:
    """Return the result for an entry that is gone or must stay; None for an entry to remove."""
    if isinstance(found, Status):
        return OperationRefused(f"not removed: the server did not find it: {found}")
    return None if is_unchanged(entry, found) else OperationRefused("not removed: it was changed on the server")
