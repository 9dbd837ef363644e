"""The spellings of names in a store that takes different names for one: they are claimed, checked and changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence

import attrs

from actorsync.classes import frozen
from actorsync.endpoints.fsspec.errors import outcome_of
from actorsync.endpoints.fsspec.tree import Tree
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

__all__ = ["StoreSpellings"]


@frozen
class StoreSpellings:
    """What is known of the spellings in a store. Every method blocks, and may be called in any thread.

    A store without directories compares names byte by byte, so nothing is asked there.
    """

    tree: Tree
    folding: CaseFolding = attrs.Factory(CaseFolding)
    _lock: threading.RLock = attrs.Factory(threading.RLock)

    def learn(self, path: str) -> None:
        """Learn from a new entry whether the store finds it by another spelling of its name."""
        for other in () if self.tree.is_flat else self.folding.to_ask(path):
            self.folding.learn(path, other, is_found=self.tree.look(other) is not None)

    def claim(self, path: str) -> None:
        """Claim a name. Raises `OperationRefused` if the store takes it for the name of another entry."""
        with self._lock:
            if self.folding.lacks(parent_of(path)):
                self._load(parent_of(path))
            is_new = self.folding.is_on and not self.folding.has(path)
            other = self.folding.claim(path)
            if other is None and not (is_new and is_short_name(path)):
                return
            # Two entries that are both on their way are not told apart by asking.
            if (other is None or not self.folding.is_claimed(other)) and self.tree.look(path) is None:
                self.folding.add(path)
                return
            if other is None:
                self.folding.give_up(path)
            raise taken(other)

    def is_elsewhere(self, path: str) -> bool:
        """Return whether the store has an entry under another spelling of its path only."""
        if not self.folding.is_on or self.tree.is_flat:
            return False
        with self._lock:
            for directory in self.folding.unlisted(path):
                self._load(directory)
            return self.folding.is_elsewhere(path)

    def require_own_spelling(self, directory: str) -> None:
        """Raise `OperationRefused` if the store has a directory that exists only under another spelling of its name."""
        if self.tree.is_flat:
            return
        listing = self.tree.list_directory(parent_of(directory))
        names = [name_of(entry.path) for entry in listing.entries]
        others = [name for name in names if loosest_key(name) == loosest_key(name_of(directory))]
        if others and name_of(directory) not in others:
            raise taken(join(parent_of(directory), min(others)))

    def _load(self, directory: str) -> None:
        names = self._names(directory)
        if isinstance(names, OperationRefused):
            raise names
        self.folding.load(directory, names)

    def _names(self, directory: str) -> Collection[str] | OperationRefused:
        listing = self.tree.list_directory(directory)
        if listing.problem is not None:
            return OperationRefused(f"cannot compare the spelling of names in its directory: {listing.problem.reason}")
        return [name_of(entry.path) for entry in listing.entries]

    def respell(
        self, items: Sequence[NewSpelling], move: Callable[[str, str, bool], object] | None
    ) -> list[Entry | OperationRefused]:
        """Change the spelling of names; see `change_spelling`. A store that copies cannot do it: ``move`` is None."""
        if move is None or self.tree.is_flat:
            return [OperationRefused("this kind of store cannot change the spelling of a name") for _ in items]
        dialogue = change_spelling(items)
        answer: object = None
        with self._lock:
            while True:
                try:
                    step = dialogue.send(answer)
                except StopIteration as end:
                    self.folding.forget()
                    return [*end.value]
                try:
                    if isinstance(step, ListNames):
                        answer = self._names(step.directory)
                    elif isinstance(step, Look):
                        answer = self.tree.entry(step.path)
                    else:
                        answer = None
                        move(self.tree.at(step.old), self.tree.at(step.new), True)
                except Exception as error:  # noqa: BLE001 - any library may raise anything
                    refused = outcome_of("rename", items[0].path, error, self.tree.hide)
                    answer = None if isinstance(step, Look) else refused
