"""One rename in a store of fsspec, where the answer may be that to a repeated request."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeAlias

from actorsync.classes import define
from actorsync.endpoints.fsspec.errors import is_missing, may_be_done
from actorsync.endpoints.fsspec.tree import Tree

__all__ = ["Move", "Renames"]

#: How often a rename is tried that is refused though nothing shows why.
_TRIES = 3

Move: TypeAlias = Callable[[str, str, bool], object]
"""Renames a file, from a path to another. If the flag is False, an existing file is not to be replaced.

Not every store has the choice. Raises `OSError` with ``EEXIST`` if the store does not replace the file.
"""


@define(eq=False)
class Renames:
    """Renames in ``tree``. Every method blocks, and may be called in any thread.

    ``move`` renames one file; None if the store copies.
    """

    tree: Tree
    move: Move | None

    def carry(self, old: str, new: str) -> None:
        """Rename a file to a free name. A store that cannot rename copies it."""
        if self.move is None:
            self.tree.fs.cp_file(self.tree.at(old), self.tree.at(new))
            self.tree.remove_file(old)
        else:
            self.move(self.tree.at(old), self.tree.at(new), False)

    def settle(self, old: str, new: str) -> None:
        """Rename a temporary to another name that only this upload uses. An earlier request may have done so.

        A refusal is believed only if the temporary still has its old name after several tries. Raises `OSError` with
        ``ENOENT`` if the temporary has neither name.
        """
        for left in reversed(range(_TRIES)):
            try:
                self.carry(old, new)
            except OSError as error:
                if not may_be_done(error):
                    raise
                if self.was_done(old, new):
                    return
                if self.tree.look(old) is None:
                    raise FileNotFoundError(errno.ENOENT, self.tree.at(old)) from error
                if not left:
                    raise
                if self.tree.look(new) is not None:  # what an interrupted copy has left
                    self.tree.remove_file(new)
            else:
                return

    def was_done(self, old: str, new: str) -> bool:
        """Return whether a refused rename was done before, by a request whose answer was lost."""
        return self.tree.look(old) is None and self.tree.look(new) is not None

    def restore(self, old: str, new: str) -> None:
        """Restore the name of a file that was set aside. An earlier request may have done so."""
        assert self.move is not None, "a store that copies sets nothing aside"
        try:
            self.carry(old, new)
        except OSError as error:
            if not (is_missing(error) or error.errno == errno.EEXIST) or self.tree.look(old) is not None:
                raise
