"""How far a file has come that gets its final name by way of a name aside: found out by looking."""

from __future__ import annotations

import enum

from actorsync.classes import frozen

__all__ = ["Place", "Seen", "next_place"]


class Place(enum.Enum):
    """What is to be done next with a file that is to get its name."""

    BEGIN = "set aside what has its name, if it replaces something"
    RENAME = "rename it"
    DONE = "it has its name"


@frozen
class Seen:
    """What is under the three names of a file: the temporary, the final one, and the one aside.

    ``is_placed``: under the final name is what was under the temporary one.
    """

    has_temporary: bool
    has_final: bool
    is_placed: bool
    has_aside: bool


def next_place(seen: Seen) -> Place:
    """Return what is to be done next.

    While the temporary is there, the file does not have its name. What has the name then is the old file, or that of
    another program if the old one is aside: the rename will be refused, because it replaces nothing.
    """
    if seen.has_temporary:
        return Place.RENAME if seen.has_aside else Place.BEGIN
    return Place.DONE if seen.is_placed else Place.RENAME
