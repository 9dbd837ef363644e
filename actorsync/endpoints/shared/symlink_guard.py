"""Directories of a target that are reached without a symbolic link: this run made them, or checked them.

Each directory is checked once, before the first change in it. If a link replaces the directory later, that goes
unnoticed: no server offers a stronger check.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from actorsync.classes import define
from actorsync.endpoints.shared.paths import is_above, leads_out
from actorsync.errors import OperationRefused
from actorsync.model.text import display

__all__ = ["SymlinkGuard", "above", "link_refusal"]

_MOST = 20_000  # paths; beyond that, all are checked once more


def above(directory: str) -> list[str]:
    """Return a directory and its parents without the root and those above it, from the top.

    The root itself may be reached through links, and so may the directory above it.
    """
    parts = directory.split("/") if directory else []
    paths = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
    return [path for path in paths if not is_above(path)] if leads_out(directory) else paths


def link_refusal(directory: str) -> OperationRefused:
    """Return the refusal for a directory that is a symbolic link."""
    return OperationRefused(
        f"a symbolic link is where its directory {display(directory)!r} should be: nothing is changed through it; "
        "put a directory there, or exclude it"
    )


@define(eq=False)
class SymlinkGuard:
    """Directories that need no further check. All connections to a target share them."""

    _known: set[str] = attrs.Factory(set)

    def add(self, directory: str) -> None:
        """Record a directory and its parents as checked."""
        if len(self._known) > _MOST:
            self._known.clear()
        self._known.update(above(directory))

    def forget(self) -> None:
        """Check every directory again."""
        self._known.clear()

    def unknown(self, directories: Iterable[str]) -> list[str]:
        """Return the directories that are not checked yet, without duplicates."""
        return [it for it in dict.fromkeys(directories) if it not in self._known and not is_above(it)]
