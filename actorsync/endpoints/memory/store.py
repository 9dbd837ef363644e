"""A tree in memory with what a test may set: a full disk, errors, and how files are written."""

from __future__ import annotations

from collections.abc import Callable

from actorsync.endpoints.memory.tree import MemoryTree
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.planning.name_folding import taken

__all__ = ["MemoryStore", "require_itself"]


class MemoryStore(MemoryTree):
    """A tree in memory, and what a session finds there.

    A test may set at any time: ``capacity``, the size of the disk in bytes; ``trouble``, the error that a session gets
    when it stores, makes, removes or opens a path; ``can_resume``, whether uploads can be continued, from ``overlap``
    bytes before their end, and after ``block`` bytes that are compared; ``pieces``, how many pieces a file is written
    in. ``log`` has every command that changes the tree.
    """

    def __init__(
        self,
        *,
        now: Callable[[], int],
        precision_ns: int,
        inodes: bool,
        exists: bool,
        fold: Callable[[str], str] | None = None,
    ) -> None:
        super().__init__(now=now, precision_ns=precision_ns, inodes=inodes, exists=exists, fold=fold)
        self.capacity: int | None = None
        self.trouble: dict[str, ConnectionLost | OperationRefused] = {}
        self.can_resume = True
        self.overlap, self.block = 1 << 20, 1 << 16
        self.pieces = 3
        self.log: list[tuple[str, str]] = []

    def has_room(self, more: int) -> bool:
        """Return whether ``more`` bytes would fit."""
        return self.capacity is None or sum(map(len, self.files().values())) + more <= self.capacity

    def check_trouble(self, path: str) -> None:
        """Raise the error that the test has set for ``path``, if any."""
        if path in self.trouble:
            raise self.trouble[path]


def require_itself(tree: MemoryTree, path: str) -> None:
    """Raise `OperationRefused` if another spelling of the name has the entry at ``path``."""
    if (other := tree.shown_as(path)) != path:
        raise taken(other)
