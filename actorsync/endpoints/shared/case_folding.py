"""Targets that take different names for one: neither of two such entries may replace the other.

A temporary shows it: it can also be found by its name in the other case, or in the other Unicode form. Only on such a
target, each directory that receives files is listed once, and every final name is claimed here before it is used. Two
names with one key (see `loosest_key`) are only possibly one. The target is asked by name before one of them is refused.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from actorsync.classes import define
from actorsync.model.entry import ancestors, join, name_of, parent_of
from actorsync.model.traits import Traits
from actorsync.planning.name_folding import NAMES, is_folding, loosest_key, other_case, other_form, seen_folding

__all__ = ["CaseFolding"]

_MOST = 200_000  # names


@define(eq=False)
class CaseFolding:
    """The spellings of names on a target. All connections to the target share them."""

    traits: Traits = attrs.Factory(Traits)
    folds_case: bool | None = None
    """Whether the target folds case; None until a temporary of this run shows it. The other form likewise."""
    folds_form: bool | None = None
    _listed: set[str] = attrs.Factory(set)
    _names: dict[str, set[str]] = attrs.Factory(dict)  # paths by key
    _claimed: set[str] = attrs.Factory(set)  # paths that may not be on the target yet
    _count: int = 0

    @property
    def is_on(self) -> bool:
        """Whether the target takes different names for one, as far as this run or an earlier one has seen."""
        return is_folding(self.traits.get(NAMES))

    # What the target does.

    def to_ask(self, path: str) -> list[str]:
        """Return the other spellings by which a new entry may be found; none when there is nothing more to learn.

        All are to be asked before the entry gets its final name. Otherwise the first two names that the target takes
        for one would teach it too late.
        """
        name = name_of(path)
        others = [other_case(name)] if self.folds_case is None else []
        others += [other_form(name)] if self.folds_form is None and not self.folds_case else []
        return [join(parent_of(path), other) for other in others if other != name]

    def learn(self, path: str, other: str, *, is_found: bool) -> None:
        """Record whether an entry was found by another spelling of its name, one that `to_ask` returned."""
        if name_of(other) == other_case(name_of(path)):
            self.folds_case = is_found
        else:
            self.folds_form = is_found
        trait = seen_folding(self.traits.get(NAMES), case=self.folds_case, form=self.folds_form)
        self.traits.learn(NAMES, trait)

    # What is there.

    def unlisted(self, path: str) -> list[str]:
        """Return the directories that have to be listed before the spelling of ``path`` is known, at every level."""
        return [directory for directory in ancestors(path) if directory not in self._listed]

    def lacks(self, directory: str) -> bool:
        """Return whether a directory has to be listed before a name in it can be claimed."""
        return self.is_on and directory not in self._listed

    def load(self, directory: str, names: Iterable[str]) -> None:
        """Record the names in a directory."""
        if self._count > _MOST:
            self.forget()
        self._listed.add(directory)
        for name in names:
            self.add(path := join(directory, name))
            self._claimed.discard(path)

    def add(self, path: str) -> None:
        """Record that an entry has this path, or is about to have it."""
        self._names.setdefault(loosest_key(path), set()).add(path)
        self._count += 1

    def has(self, path: str) -> bool:
        """Return whether this path is known to exist, or to be claimed."""
        return path in self._names.get(loosest_key(path), ())

    def claim(self, path: str) -> str | None:
        """Claim a path; return another path that the target may take for it, instead.

        Then the target has to be asked for ``path`` by name, unless `is_claimed` says that the other entry is only on
        its way. If the target finds nothing, call `add`.
        """
        if not self.is_on:
            return None
        if (other := self.other(path)) is None and not self.has(path):
            self.add(path)
            self._claimed.add(path)
        return other

    def is_claimed(self, path: str) -> bool:
        """Return whether a path was claimed in this run, and no listing has shown it."""
        return path in self._claimed

    def other(self, path: str) -> str | None:
        """Return another path with the key of ``path``, if this one is not known to exist. None if none is known."""
        paths = self._names.get(loosest_key(path), ())
        return None if path in paths else min(paths, default=None)

    def is_elsewhere(self, path: str) -> bool:
        """Return whether the target has this entry, or a directory above it, under another spelling only."""
        return any(self.other(it) is not None for it in (*ancestors(path)[1:], path))

    def give_up(self, path: str) -> None:
        """Release a path that is not used after all, or is free again."""
        self._names.get(loosest_key(path), set()).discard(path)
        self._claimed.discard(path)

    def forget(self) -> None:
        """Forget all names. They are listed again when they are needed."""
        self._names.clear()
        self._claimed.clear()
        self._listed.clear()
        self._count = 0
