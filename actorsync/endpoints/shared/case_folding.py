"""Targets that ignore upper and lower case: neither of two such files may replace the other.

A temporary shows it: it can also be found by its name in the other case. Only on such a target, each directory that
receives files is listed once, and every final name is claimed here before it is used.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

import attrs

from actorsync.errors import OperationRefused
from actorsync.model.entry import join, name_of, parent_of
from actorsync.model.text import display

__all__ = ["CaseFolding", "other_case"]

_MOST = 200_000  # names


def other_case(path: str) -> str:
    """Return ``path`` with the letters of its name in the other case."""
    return join(parent_of(path), name_of(path).swapcase())


def _fold(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


@attrs.define(eq=False)
class CaseFolding:
    """The owner of each name. All connections to a target share it."""

    is_on: bool | None = None
    """Whether the target folds case; None until the first temporary shows it."""
    _listed: set[str] = attrs.Factory(set)
    _owners: dict[str, str] = attrs.Factory(dict)

    def lacks(self, directory: str) -> bool:
        """Return whether a directory has to be listed before a name in it can be claimed."""
        return bool(self.is_on) and directory not in self._listed

    def load(self, directory: str, names: Iterable[str]) -> None:
        """Record the names in a directory."""
        if len(self._owners) > _MOST:
            self._owners.clear()
            self._listed.clear()
        self._listed.add(directory)
        for name in names:
            path = join(directory, name)
            self._owners.setdefault(_fold(path), path)

    def claim(self, path: str) -> OperationRefused | None:
        """Claim a name; return a refusal if another file has it."""
        if not self.is_on:
            return None
        owner = self._owners.setdefault(_fold(path), path)
        if owner == path:
            return None
        return OperationRefused(
            f"{display(owner)!r} is in its place: the target ignores upper and lower case; "
            "rename one of them, or exclude it"
        )

    def give_up(self, path: str) -> None:
        """Release a name that is not used after all, or is free again."""
        if self._owners.get(_fold(path)) == path:
            del self._owners[_fold(path)]
