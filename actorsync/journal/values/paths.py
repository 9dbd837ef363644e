"""Paths as keys of a table: (directory, name), as BLOBs."""

from __future__ import annotations

from typing import Final

from actorsync.model.row import encode

__all__ = ["MANY", "bounds", "split"]

#: More rows than a directory can have.
MANY: Final = (1 << 63) - 1


def split(path: str) -> tuple[bytes, bytes]:
    """Return the key of a path: its directory and its name."""
    directory, _, name = encode(path).rpartition(b"/")
    return directory, name


def bounds(directory: str) -> tuple[bytes, bytes, bytes, bytes]:
    """Return the four values of a condition that selects ``directory``, which is not the root, and all below it.

    "0" follows "/", so a path between "a/" and "a0" begins with "a/". Of the paths that sort between "a" and "a/", only
    "a" itself is selected, and not "a-b".
    """
    start = encode(directory)
    return start, start + b"0", start, start + b"/"
