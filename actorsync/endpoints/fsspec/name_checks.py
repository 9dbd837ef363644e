"""What a store does to names: in an upload, in a rename, and by ignoring upper and lower case.

Each trait of a name is tried once, with a temporary, before a final name is touched.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeAlias

import attrs

from actorsync.classes import define
from actorsync.endpoints.fsspec.errors import is_missing
from actorsync.endpoints.fsspec.spelling import StoreSpellings
from actorsync.endpoints.fsspec.tree import Tree
from actorsync.endpoints.shared.odd_names import stored_differently
from actorsync.endpoints.shared.paths import aside_of
from actorsync.errors import OperationRefused
from actorsync.model.entry import Kind, join, name_of, parent_of
from actorsync.model.text import display
from actorsync.planning.temporary_names import aside_name, oddness, signature, temporary_name

__all__ = ["Move", "NameChecks", "odd_directories"]

Move: TypeAlias = Callable[[str, str, bool], object]
"""Renames a file, from a path to another. If the flag is False, an existing file is not to be replaced.

Not every store has the choice. Raises `OSError` with ``EEXIST`` if the store does not replace the file.
"""


@define(eq=False)
class NameChecks:
    """The checks of one store. Every method blocks, and may be called in any thread.

    ``move`` renames one file; None if the store copies. ``discard`` removes a temporary, whatever became of its name.
    """

    tree: Tree
    move: Move | None
    discard: Callable[[str], None]
    _kept: set[str] = attrs.Factory(set)
    _renamed: set[str] = attrs.Factory(set)
    spellings: StoreSpellings = attrs.field(init=False)

    @spellings.default
    def _open_spellings(self) -> StoreSpellings:
        return StoreSpellings(self.tree)

    def learn(self, path: str) -> None:
        """Learn from a new entry how the store treats names. Raises `OperationRefused` if its name was changed."""
        # In a flat store, a directory comes into being with its first file, and is checked with it.
        for one in [*(odd_directories(path) if self.tree.is_flat else ()), path]:
            if unproven := oddness(name_of(one)) - self._kept:
                self._check_name(one)
                self._kept |= unproven
        self.spellings.learn(path)

    def _check_name(self, path: str) -> None:
        """Raise `OperationRefused` if a listing does not show a new entry under its name."""
        listing = self.tree.list_directory(parent_of(path))
        if listing.problem is not None:
            raise OperationRefused(f"cannot check how its name is stored: {listing.problem.reason}", retry=True)
        if path not in (entry.path for entry in listing.entries):
            raise stored_differently(oddness(name_of(path)) or _traits(self.tree.root.strip("/")))

    def learn_rename(self, temporary: str) -> None:
        """Learn from a verified temporary whether the store keeps names in a rename. Afterwards it has its old name.

        A server may read the new name of a rename in another way than the name in an upload (WsgiDAV cuts it at ``?``).
        A rename could then replace another file, or a directory with all its contents. So an odd name is first tried
        with a name of its kind, which is free.
        """
        trial = aside_of(temporary)
        below = temporary if self.tree.is_flat else name_of(temporary)
        unproven = _traits(below) | _traits(self.tree.root.strip("/"))
        unproven -= self._renamed
        if not unproven or trial == temporary:
            return
        try:
            self.carry(temporary, trial)
            self._check_name(trial)
        except Exception as error:
            if isinstance(error, OSError) and is_missing(error):
                raise  # an earlier call has renamed it
            self.discard(temporary)
            if isinstance(error, OSError) and error.errno == errno.EEXIST:
                raise stored_differently(unproven) from error
            raise
        self.carry(trial, temporary)
        self._renamed |= unproven

    def prove_directories(self, temporary: str) -> None:
        """Try a rename beside each directory above a temporary that has an odd name: see `learn_rename`."""
        mark = signature(name_of(temporary))
        for directory in odd_directories(temporary) if mark else ():
            if not oddness(name_of(directory)) - self._renamed:
                continue
            token = mark.removeprefix(".actorsync-").rstrip("-")
            trial = join(parent_of(directory), temporary_name(name_of(directory), token))
            try:
                self.tree.fs.pipe_file(self.tree.at(trial), b"")
                self.learn_rename(trial)
            except OperationRefused as refused:
                raise OperationRefused(f"the directory {display(directory)!r}: {refused}") from None
            finally:
                self.discard(trial)

    def carry(self, old: str, new: str) -> None:
        """Rename a file to a free name. A store that cannot rename copies it."""
        if self.move is None:
            self.tree.fs.cp_file(self.tree.at(old), self.tree.at(new))
            self.tree.remove_file(old)
        else:
            self.move(self.tree.at(old), self.tree.at(new), False)

    def claim(self, path: str) -> None:
        """Claim a name. Raises `OperationRefused` if the store takes it for the name of another entry."""
        self.spellings.claim(path)

    def survives_rename(self, path: str) -> bool:
        """Return whether every name in a path is of a kind that the store was seen to keep in a rename."""
        return not _traits(path) - self._renamed

    def remove_marked(self, directory: str, mark: str) -> None:
        """Remove what a temporary became if the store changed its name. The random part of the name identifies it."""
        for entry in self.tree.list_directory(directory).entries if mark and not self.tree.is_flat else ():
            if entry.kind is Kind.FILE and (mark in name_of(entry.path) or aside_name(mark) in name_of(entry.path)):
                self.tree.remove_file(entry.path)


def _traits(path: str) -> frozenset[str]:
    """Return the traits of all names in a path. The ``..`` of a path that leads out of the root is no name."""
    return frozenset[str]().union(*(oddness(name) for name in path.split("/") if name != ".."))


def odd_directories(path: str) -> list[str]:
    """Return the directories above ``path`` that have odd names, outermost first."""
    names = path.split("/")[:-1]
    return ["/".join(names[: depth + 1]) for depth, name in enumerate(names) if _traits(name)]
