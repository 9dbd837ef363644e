"""Which directories of a target are reached without a symbolic link: they were made here, or were looked at.

Each is looked at once, before something in it is first changed. What is replaced by a link after that goes unnoticed:
no server offers more.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from actorsync.errors import OperationRefused
from actorsync.model.text import display

__all__ = ["Straight", "above", "astray"]

_MOST = 20_000  # paths; beyond that, all are looked at once more


def above(directory: str) -> list[str]:
    """Give a directory with those above it, but the root, from the top."""
    parts = directory.split("/") if directory else []
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]


def astray(directory: str) -> OperationRefused:
    """Say that a directory is none."""
    return OperationRefused(
        f"a symbolic link is where its directory {display(directory)!r} should be: nothing is changed through it; "
        "put a directory there, or exclude it"
    )


@attrs.define(eq=False)
class Straight:
    """Directories that need not be looked at any more; shared by all connections to a target."""

    _known: set[str] = attrs.Factory(set)

    def add(self, directory: str) -> None:
        """Remember a directory, and with it those above it."""
        if len(self._known) > _MOST:
            self._known.clear()
        self._known.update(above(directory))

    def unknown(self, directories: Iterable[str]) -> list[str]:
        """Give those, without repeats, of which nothing is known."""
        return [directory for directory in dict.fromkeys(directories) if directory and directory not in self._known]
