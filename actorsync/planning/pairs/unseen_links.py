"""Removals on a side whose server may show a symbolic link as the directory that it leads to.

What is removed below such a link is lost where the link leads to: outside the root, or in another directory of the same
tree. No reply of such a server tells the two apart, so nothing is removed there in directories, nor are directories.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from actorsync.model.entry import Kind, ancestors, parent_of
from actorsync.model.operation import Operation, Remove, Side

__all__ = ["WHY_HELD", "may_go_through_link", "without_held"]

WHY_HELD: Final = (
    "not removed: the server shows a symbolic link as a directory, or shows nothing of links, and removals go through "
    "them; if there are none below the root, set sync.no-links = true"
)


def may_go_through_link(removal: Remove) -> bool:
    """Return whether what is removed may be a link to a directory, or be reached through one."""
    return removal.target.kind is Kind.DIRECTORY or bool(parent_of(removal.path))


def without_held(
    steps: Sequence[Sequence[Operation]], hiding: Collection[Side]
) -> tuple[list[list[Operation]], list[Remove]]:
    """Return the steps without the removals that may go through a link, and the topmost of these.

    ``hiding`` are the sides that may show a link as a directory. A file in the root is reached through no link.
    """
    held = {
        (it.side, it.path): it
        for step in steps
        for it in step
        if isinstance(it, Remove) and it.side in hiding and may_go_through_link(it)
    }
    if not held:
        return [list(step) for step in steps], []
    left = [[it for it in step if not (isinstance(it, Remove) and (it.side, it.path) in held)] for step in steps]
    tops = [it for (side, path), it in held.items() if not any((side, above) in held for above in ancestors(path))]
    return [step for step in left if step], tops
