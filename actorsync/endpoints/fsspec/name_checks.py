"""What a store does to names: in an upload, in a rename, and by ignoring upper and lower case.

Each trait of a name is tried once, with a temporary, before a final name is touched.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final

import attrs

from actorsync.classes import define
from actorsync.endpoints.fsspec.errors import is_lost, is_missing
from actorsync.endpoints.fsspec.renames import Renames
from actorsync.endpoints.fsspec.spelling import StoreSpellings
from actorsync.endpoints.fsspec.tree import Tree
from actorsync.endpoints.shared.odd_names import stored_differently
from actorsync.endpoints.shared.paths import aside_of
from actorsync.errors import OperationRefused
from actorsync.model.entry import Kind, join, name_of, parent_of
from actorsync.model.text import display
from actorsync.planning.temporary_names import aside_name, oddness, signature, temporary_name

__all__ = ["NameChecks", "odd_directories"]

#: How many listings have to lack a name before it is refused.
_LOOKS: Final = 2


@define(eq=False)
class NameChecks:
    """The checks of one store. Every method blocks, and may be called in any thread.

    ``discard`` removes a temporary, whatever became of its name.
    """

    tree: Tree
    renames: Renames
    discard: Callable[[str], None]
    _kept: set[str] = attrs.Factory(set)
    _renamed: set[str] = attrs.Factory(set)
    _tried: set[str] = attrs.Factory(set)
    """The temporaries that may have the name of their trial, because the connection was lost over it."""
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
        """Raise `OperationRefused` if a listing does not show a new entry under its name.

        A single listing proves nothing, nor does one that lacks an entry which is gone: then the refusal has ``retry``.
        """
        mark = signature(name_of(path).replace(".actorsync+", ".actorsync-"))
        for _ in range(_LOOKS):
            listing = self.tree.list_directory(parent_of(path))
            if listing.problem is not None:
                raise OperationRefused(f"cannot check how its name is stored: {listing.problem.reason}", retry=True)
            if path in (entry.path for entry in listing.entries):
                return
        others = [entry for entry in listing.entries if _has_mark(name_of(entry.path), mark)]
        if not others and self.tree.look(path) is None:
            raise OperationRefused("cannot check how its name is stored: it is gone from the store", retry=True)
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
        if trial == temporary or not (unproven or temporary in self._tried):
            return
        self._tried.add(temporary)
        try:
            self.renames.settle(temporary, trial)
            self._check_name(trial)
            self.renames.settle(trial, temporary)
        except Exception as error:
            if is_lost(error):
                raise  # the call is repeated, and finds the temporary under either name
            self._tried.discard(temporary)
            if is_missing(error):
                raise  # an earlier call has given it its final name
            self.discard(temporary)
            if isinstance(error, OSError) and error.errno == errno.EEXIST:
                raise stored_differently(unproven) from error
            raise
        self._tried.discard(temporary)
        self._renamed |= unproven

    def forget(self, temporary: str) -> None:
        """Forget a temporary that is removed."""
        self._tried.discard(temporary)

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
                text = f"the directory {display(directory)!r}: {refused}"
                raise OperationRefused(text, retry=refused.retry) from None
            except OSError as error:
                if not is_missing(error):
                    raise
                text = f"the directory {display(directory)!r}: the file for a trial beside it is gone"
                raise OperationRefused(text, retry=True) from error
            finally:
                self.discard(trial)

    def claim(self, path: str) -> None:
        """Claim a name. Raises `OperationRefused` if the store takes it for the name of another entry."""
        self.spellings.claim(path)

    def survives_rename(self, path: str) -> bool:
        """Return whether every name in a path is of a kind that the store was seen to keep in a rename."""
        return not _traits(path) - self._renamed

    def remove_marked(self, directory: str, mark: str) -> None:
        """Remove what a temporary became if the store changed its name. The random part of the name identifies it."""
        for entry in self.tree.list_directory(directory).entries if mark and not self.tree.is_flat else ():
            if entry.kind is Kind.FILE and _has_mark(name_of(entry.path), mark):
                self.tree.remove_file(entry.path)


def _has_mark(name: str, mark: str) -> bool:
    return bool(mark) and (mark in name or aside_name(mark) in name)


def _traits(path: str) -> frozenset[str]:
    """Return the traits of all names in a path. The ``..`` of a path that leads out of the root is no name."""
    return frozenset[str]().union(*(oddness(name) for name in path.split("/") if name != ".."))


def odd_directories(path: str) -> list[str]:
    """Return the directories above ``path`` that have odd names, outermost first."""
    names = path.split("/")[:-1]
    return ["/".join(names[: depth + 1]) for depth, name in enumerate(names) if _traits(name)]
