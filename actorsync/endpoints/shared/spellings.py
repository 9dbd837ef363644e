"""The spellings of names on a server that takes different names for one: they are claimed, checked and changed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence

from actorsync.endpoints.shared.case_folding import CaseFolding
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, join, name_of, parent_of
from actorsync.planning.name_folding import (
    ListNames,
    Look,
    NewSpelling,
    change_spelling,
    is_short_name,
    loosest_key,
    taken,
)

__all__ = ["Spellings"]


class Spellings(ABC):
    """Knows which entries are there under which spelling, by listings and by asking for names.

    A subclass says how its protocol lists, asks and renames. Paths are relative to the root.
    """

    def __init__(self, folding: CaseFolding) -> None:
        self._folding = folding

    @abstractmethod
    async def names(self, directory: str) -> Collection[str] | OperationRefused:
        """Return the names in a directory, or why they cannot be read completely."""

    @abstractmethod
    async def look(self, path: str) -> Entry | None:
        """Return what the server shows when it is asked for ``path`` by name; None if there is nothing."""

    @abstractmethod
    async def rename(self, old: str, new: str) -> OperationRefused | None:
        """Rename an entry, even if ``new`` finds the entry itself. Return the refusal, if there is one."""

    @abstractmethod
    def fault(self, path: str) -> str | None:
        """Return why a path cannot be sent to the server, or None."""

    async def claim(self, path: str) -> OperationRefused | None:
        """Claim a final name. Refused when the server takes it for that of another entry, which is there."""
        folding = self._folding
        if folding.lacks(directory := parent_of(path)) and (refusal := await self._load(directory)) is not None:
            return refusal
        is_new = folding.is_on and not folding.has(path)
        other = folding.claim(path)
        if other is None and not (is_new and is_short_name(path)):
            return None
        if other is not None and folding.is_claimed(other):
            return taken(other)  # both are on their way, so asking shows nothing
        if await self.look(path) is None:
            folding.add(path)
            return None
        if other is None:
            folding.give_up(path)
        return taken(other)

    async def _load(self, directory: str) -> OperationRefused | None:
        names = await self.names(directory)
        if isinstance(names, OperationRefused):
            return names
        self._folding.load(directory, names)
        return None

    async def elsewhere(self, entries: Iterable[Entry]) -> dict[Entry, bool | OperationRefused]:
        """Return the entries that the server has under another spelling only: under this one they are gone."""
        found: dict[Entry, bool | OperationRefused] = {}
        if not self._folding.is_on:
            return found
        for entry in entries:
            for directory in self._folding.unlisted(entry.path):
                if (refusal := await self._load(directory)) is not None:
                    found[entry] = refusal
            if entry not in found and self._folding.is_elsewhere(entry.path):
                found[entry] = True
        return found

    async def taken_places(self, existing: Iterable[str]) -> dict[str, OperationRefused]:
        """Return a refusal for each directory that the server only has under another spelling of its name.

        ``existing`` are directories that were to be made, and existed already.
        """
        refusals: dict[str, OperationRefused] = {}
        listed: dict[str, Collection[str]] = {}
        for path in existing:
            parent, name = parent_of(path), name_of(path)
            if parent not in listed:
                names = await self.names(parent)
                listed[parent] = () if isinstance(names, OperationRefused) else names
            others = [other for other in listed[parent] if loosest_key(other) == loosest_key(name)]
            if others and name not in others:
                refusals[path] = taken(join(parent, min(others)))
        return refusals

    async def respell(self, items: Sequence[NewSpelling]) -> list[Entry | OperationRefused]:
        """Change the spelling of names; see `change_spelling`."""
        faults = [self.fault(it.entry.path) or self.fault(it.path) or self.fault(it.aside) for it in items]
        dialogue = change_spelling([item for item, why in zip(items, faults, strict=True) if why is None])
        answer: object = None
        while True:
            try:
                step = dialogue.send(answer)
            except StopIteration as end:
                results = iter(end.value)
                break
            if isinstance(step, ListNames):
                answer = await self.names(step.directory)
            elif isinstance(step, Look):
                answer = await self.look(step.path)
            else:
                answer = await self.rename(step.old, step.new)
        self._folding.forget()
        return [next(results) if why is None else OperationRefused(why) for why in faults]
