"""Targets that know no difference between upper and lower case: neither of two such files may take the other's place.

Whether a target is one shows by a temporary that also answers to its name in the other case. On such a target, and only
there, each directory that files are put into is listed once, and from then on every final name is claimed here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

import attrs

from actorsync.errors import OperationRefused
from actorsync.model.entry import join, name_of, parent_of
from actorsync.model.text import display

__all__ = ["Folding", "other_case"]

_MOST = 200_000  # names


def other_case(path: str) -> str:
    """Give ``path`` with the letters of its name in the other case."""
    return join(parent_of(path), name_of(path).swapcase())


def _fold(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


@attrs.define(eq=False)
class Folding:
    """Who has which name; shared by all connections to a target."""

    is_on: bool | None = None
    """Whether the target folds case; None until the first temporary has shown it."""
    _listed: set[str] = attrs.Factory(set)
    _owners: dict[str, str] = attrs.Factory(dict)

    def lacks(self, directory: str) -> bool:
        """Whether a directory has to be listed before a name in it can be claimed."""
        return bool(self.is_on) and directory not in self._listed

    def load(self, directory: str, names: Iterable[str]) -> None:
        """Take note of what is in a directory."""
        if len(self._owners) > _MOST:
            self._owners.clear()
            self._listed.clear()
        self._listed.add(directory)
        for name in names:
            path = join(directory, name)
            self._owners.setdefault(_fold(path), path)

    def claim(self, path: str) -> OperationRefused | None:
        """Take a name, or say who has it."""
        if not self.is_on:
            return None
        owner = self._owners.setdefault(_fold(path), path)
        if owner == path:
            return None
        return OperationRefused(
            f"{display(owner)!r} is in its place: the target knows no difference between upper and lower case; "
            "rename one of them, or exclude it"
        )

    def give_up(self, path: str) -> None:
        """Let go of a name that was not taken after all, or is free again."""
        if self._owners.get(_fold(path)) == path:
            del self._owners[_fold(path)]
