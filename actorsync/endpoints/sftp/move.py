"""Moving files over SFTP: only those that are still as their entries say."""

from __future__ import annotations

from collections.abc import Sequence

from actorsync.endpoints.contract import Relocation
from actorsync.endpoints.sftp.spelling import SftpSpellings
from actorsync.endpoints.sftp.wire.connection import SftpConnection
from actorsync.endpoints.shared.symlink_guard import link_refusal
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, name_of, parent_of
from actorsync.planning.temporary_names import oddness
from actorsync.protocols.sftp import dialogues as ask
from actorsync.protocols.sftp.replies import Attributes, Status, entry_of

__all__ = ["Mover", "is_unchanged"]


class Mover:
    """Moves files to new names."""

    def __init__(self, connection: SftpConnection, spellings: SftpSpellings) -> None:
        self._connection = connection
        self._spellings = spellings

    async def move(self, relocations: Sequence[Relocation]) -> list[Entry | OperationRefused]:
        """Rename files in two flights: the first checks both names of each, the second renames without replacing."""
        results: dict[int, Entry | OperationRefused] = dict(await self._refusals(relocations))
        absolute, run = self._connection.absolute, self._connection.requests.run
        pairs = {
            index: (absolute(item.entry.path), absolute(item.path))
            for index, item in enumerate(relocations)
            if index not in results
        }
        found = await run(ask.lstat_all([path for pair in pairs.values() for path in pair]))
        for index, old, new in zip(list(pairs), found[::2], found[1::2], strict=True):
            result = _result_without_a_move(relocations[index], old, new)
            if result is not None:
                results[index] = result
                del pairs[index]
        renamed = await run(ask.move_files(list(pairs.values())))
        for index, (status, shown) in zip(pairs, renamed, strict=True):
            entry = _moved_entry(relocations[index], shown) if status.is_ok or status.is_missing else None
            results[index] = entry or OperationRefused(f"the server did not move it: {status}")
        for index, result in results.items():
            if isinstance(result, Entry):
                self._connection.knowledge.folding.give_up(relocations[index].entry.path)
        return [results[index] for index in range(len(relocations))]

    async def _refusals(self, relocations: Sequence[Relocation]) -> dict[int, OperationRefused]:
        """Return the files that must not be moved, by index: names that are unusable, behind a link, or taken."""
        connection = self._connection
        directories = [parent_of(path) for item in relocations for path in (item.entry.path, item.path)]
        links = await connection.find_links(directories)
        refusals: dict[int, OperationRefused] = {}
        for index, item in enumerate(relocations):
            link = links.get(parent_of(item.path)) or links.get(parent_of(item.entry.path))
            why = connection.why_unusable(item.entry.path) or connection.why_unusable(item.path)
            kept = connection.knowledge.kept_traits | oddness(name_of(item.entry.path))
            if not (item.is_back or oddness(name_of(item.path)) <= kept):
                why = why or "not moved: it is not known yet whether the server stores its new name unchanged"
            refusal = (
                link_refusal(link) if link else OperationRefused(why) if why else await self._spellings.claim(item.path)
            )
            if refusal is not None:
                refusals[index] = refusal
        return refusals


def is_unchanged(entry: Entry, found: Attributes) -> bool:
    """Return whether a file or directory is as ``entry`` says. Times are compared where both are known."""
    now = entry_of(entry.path, found)
    if now is None or now.kind is not entry.kind:
        return False
    if entry.kind is not Kind.FILE:
        return True
    return now.size == entry.size and (None in {now.mtime_ns, entry.mtime_ns} or now.mtime_ns == entry.mtime_ns)


def _result_without_a_move(
    item: Relocation, old: Attributes | Status, new: Attributes | Status
) -> Entry | OperationRefused | None:
    """Return the result for a file that must not be moved or was moved before; None for a file to move."""
    if isinstance(old, Status):
        moved_before = _moved_entry(item, new) if old.is_missing else None
        return moved_before or OperationRefused(f"not moved: the server did not find it: {old}")
    if not is_unchanged(item.entry, old):
        return OperationRefused("not moved: it was changed on the server")
    if isinstance(new, Attributes):
        return OperationRefused("not moved: another entry has the new name on the server")
    return (
        None
        if new.is_missing
        else OperationRefused(f"not moved: the server does not say if its new name is free: {new}")
    )


def _moved_entry(item: Relocation, found: Attributes | Status) -> Entry | None:
    """Return the entry under the new name, if it is the file that was to be moved."""
    if isinstance(found, Status) or not is_unchanged(item.entry, found):
        return None
    return entry_of(item.path, found)
