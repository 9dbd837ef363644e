"""Changes in a file system of fsspec: uploads, moves, directories and removals. All functions block.

There are three kinds of stores, by how a temporary gets its final name:

* **flat**: object stores. They have no directories, only names with slashes in them, and no rename. The store copies,
  which is atomic, and the temporary is removed.
* **renaming**: stores with a rename of their own. Where a rename cannot replace a file, the old file is set aside
  meanwhile.
* **others**: copied as well. Whether a half-written copy is visible depends on the store.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

import attrs

from actorsync.classes import define
from actorsync.endpoints.contract import Relocation, Staged
from actorsync.endpoints.fsspec.commits import Commits, is_changed, remember
from actorsync.endpoints.fsspec.errors import has_failed, is_missing, outcome_of
from actorsync.endpoints.fsspec.name_checks import NameChecks, odd_directories
from actorsync.endpoints.fsspec.renames import Renames
from actorsync.endpoints.fsspec.tree import Tree
from actorsync.endpoints.shared.paths import aside_of, is_above
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.entry import Entry, Kind, ancestors, name_of, parent_of
from actorsync.model.text import display
from actorsync.planning.name_folding import NewSpelling
from actorsync.planning.temporary_names import oddness, signature

__all__ = ["Store"]

#: How often an item is tried that the store fails in.
_TRIES: Final = 3

_ItemT = TypeVar("_ItemT")
_ResultT = TypeVar("_ResultT")


@define(eq=False)
class Store:
    """All that changes ``tree``. Every method blocks, and may be called in any thread.

    ``renames.move`` renames one file to another name; None if the store copies. ``may_be_flat``: the store may turn out
    to have no directories.
    """

    tree: Tree
    renames: Renames
    may_be_flat: bool = True
    _there: OrderedDict[str, None] = attrs.Factory(OrderedDict)
    _lock: threading.RLock = attrs.Factory(threading.RLock)
    names: NameChecks = attrs.field(init=False)
    commits: Commits = attrs.field(init=False)

    @names.default
    def _names(self) -> NameChecks:
        return NameChecks(self.tree, self.renames, self.discard)

    @commits.default
    def _commits(self) -> Commits:
        return Commits(self.tree, self.renames, self.names)

    # Writing.

    def check_place(self, path: str, temporary: str) -> None:
        """Raise `OperationRefused` if a file cannot be staged: a store with directories must have its directory."""
        if parent_of(temporary) != parent_of(path):
            raise ValueError(f"{temporary!r} is not in the directory of {path!r}")
        try:
            self._check_place(path, temporary)
        except Exception as error:
            raise outcome_of("write", path, error, self.tree.hide) from error

    def _check_place(self, path: str, temporary: str) -> None:
        self.tree.at(path)
        if self.tree.is_flat:
            return
        if not self._is_there(parent_of(path)):
            raise OperationRefused(f"the directory of {display(path)!r} does not exist")
        self.names.prove_directories(temporary)

    def put(self, path: str, temporary: str, data: bytes) -> None:
        """Write a small file in one call."""
        try:
            self.check_place(path, temporary)
            self.tree.fs.pipe_file(self.tree.at(temporary), data)
        except Exception as error:
            raise outcome_of("write", path, error, self.tree.hide) from error

    def verified(self, path: str, temporary: str, size: int) -> Staged:
        """Verify the size and the name of a temporary. If one is wrong, remove it and refuse the upload."""
        try:
            found = self._of_size(path, temporary, size)
            self.names.learn(temporary)
        except Exception as error:
            self.discard(temporary)
            raise outcome_of("write", path, error, self.tree.hide) from error
        self.commits.note_whole(temporary)
        return Staged(path, temporary, size, found.mtime_ns)

    def _of_size(self, path: str, temporary: str, size: int) -> Entry:
        found = self.tree.settled(temporary, size)
        if found is None or (found.kind, found.size) != (Kind.FILE, size):
            arrived = 0 if found is None else found.size
            raise OperationRefused(f"cannot write {display(path)!r}: {arrived} of {size} bytes arrived", retry=True)
        return found

    def discard(self, temporary: str) -> None:
        """Remove a temporary if possible; otherwise a later sweep removes it."""
        with contextlib.suppress(Exception):
            self.sweep_one(temporary, None)

    def move_one(self, item: Relocation) -> Entry:
        """Rename an unchanged file to a free name."""
        if not (self.tree.is_flat or self._is_there(parent_of(item.path))):
            raise OperationRefused(f"cannot move to {display(item.path)!r}: it has no directory")
        return self.commits.move_one(item)

    # Directories, and removals.

    def make_one(self, path: str) -> Entry:
        """Make a directory, unless it exists. A flat store has no directories: then do nothing."""
        at = self.tree.at(path)
        found = self.tree.entry(path)
        if found is None and path:
            self._make(path, at)
        elif found is None:
            self._make_root(at)
        elif found.kind is not Kind.DIRECTORY:
            raise OperationRefused(f"{display(path)!r} is not a directory, but a {found.kind.value}")
        elif path:
            self.names.spellings.require_own_spelling(path)
        self._note_there(path)
        return Entry(path, Kind.DIRECTORY)

    def _make(self, path: str, at: str) -> None:
        if self.tree.is_flat:
            return
        if not self._is_there(parent_of(path)):
            raise OperationRefused(f"the directory of {display(path)!r} does not exist")
        is_ours = self._mkdir(path, at)
        if self.tree.look(path) is None:
            # The store accepted the directory, and does not show it. It has none if that happens twice.
            self._mkdir(path, at)
            if not oddness(name_of(path)) and self.tree.look(path) is None:
                if not self.may_be_flat:
                    raise OperationRefused(f"{display(path)!r} was made, and is gone again", retry=True)
                self.tree.is_flat = True
                return
        try:
            self._learn_directory(path)
        except OperationRefused as refused:
            if is_ours and not refused.retry:
                with contextlib.suppress(Exception):
                    self.tree.fs.rmdir(at)
            raise

    def _mkdir(self, path: str, at: str) -> bool:
        """Make a directory. Return False if it is there already, which an earlier request may have done."""
        with self._lock:
            try:
                self.tree.fs.mkdir(at, create_parents=False)
            except OSError as error:
                if error.errno not in {errno.EEXIST, None}:
                    raise
                if (found := self.tree.entry(path)) is None or found.kind is not Kind.DIRECTORY:
                    raise
                return False
        return True

    def _learn_directory(self, path: str) -> None:
        self.names.learn(path)
        if oddness(name_of(path)) and (problem := self.tree.list_directory(path).problem) is not None:
            raise OperationRefused(f"{display(path)!r} was made, and cannot be listed: {problem.reason}")

    def _make_root(self, at: str) -> None:
        if not self.tree.is_flat:
            self.tree.fs.makedirs(at, exist_ok=True)
        elif "/" not in at.strip("/") or self.tree.fs.info(at.strip("/").partition("/")[0]) is None:
            raise OperationRefused(f"{display(at)!r} does not exist; make the bucket first")

    def _is_there(self, directory: str) -> bool:
        if directory in self._there:
            return True
        found = self.tree.entry(directory)
        if found is None or found.kind is not Kind.DIRECTORY:
            return False
        self._note_there(directory)
        return True

    def respell(self, items: Sequence[NewSpelling]) -> list[Entry | OperationRefused]:
        """Change the spelling of names."""
        return self.names.spellings.respell(items, self.renames.move)

    def remove_one(self, entry: Entry) -> bool:
        """Remove an unchanged file or an empty directory."""
        if is_above(entry.path):
            raise OperationRefused("the root is never removed")
        found = self._seen(entry) or self._seen(entry)  # one answer does not prove that it is gone
        if found is None:
            if not self.tree.is_flat and self.tree.look("") is None:
                raise OperationRefused("the root does not exist")
            return True
        if self.names.spellings.is_elsewhere(entry.path):
            return True
        if found.kind is not entry.kind or (entry.kind is Kind.FILE and is_changed(entry, found)):
            raise OperationRefused(f"{display(entry.path)!r} was changed by another program: not removed")
        if entry.kind is not Kind.DIRECTORY:
            self.tree.remove_file(entry.path)
            if entry.kind is not Kind.FILE and self._seen(entry) is not None:
                raise OperationRefused(f"{display(entry.path)!r} is still there after it was removed")
            self.names.spellings.folding.give_up(entry.path)
            return True
        return self._remove_directory(entry.path)

    def _seen(self, entry: Entry) -> Entry | None:
        """Return the entry that has the path now. A link is looked for in a listing: a look by name may follow it."""
        if entry.kind in (Kind.FILE, Kind.DIRECTORY):
            return self.tree.entry(entry.path)
        listing = self.tree.list_directory(parent_of(entry.path))
        if listing.problem is not None and not listing.problem.vanished:
            raise OperationRefused(f"{display(entry.path)!r} cannot be looked for: {listing.problem.reason}")
        return next((found for found in listing.entries if found.path == entry.path), None)

    def _remove_directory(self, path: str) -> bool:
        listing = self.tree.list_directory(path)
        if listing.problem is not None:
            if listing.problem.vanished:
                return True
            raise OperationRefused(f"{display(path)!r} cannot be listed: {listing.problem.reason}")
        if listing.entries:
            return False
        self._there.pop(path, None)
        if self.tree.is_flat:
            return self.tree.look(path) is None
        try:
            self.tree.fs.rmdir(self.tree.at(path))
        except OSError as error:
            if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
                return False
            if not is_missing(error):
                raise
        return True

    def sweep_one(self, temporary: str, final: str | None) -> bool:
        """Remove a temporary, and restore the file that was set aside for it, if its final name is free."""
        found = self._leftover(temporary)
        if found is not None and found.kind is Kind.DIRECTORY:
            raise OperationRefused(f"{display(temporary)!r} is a directory")
        if found is not None:
            self.tree.remove_file(temporary)
        self.commits.forget(temporary)
        is_odd = bool(oddness(name_of(temporary)))
        aside = aside_of(temporary)
        if (self.renames.move is not None or is_odd) and self._leftover(aside) is not None:
            if final is not None and self.renames.move is not None and self.tree.entry(final) is None:
                self.renames.restore(aside, final)
            else:
                self.tree.remove_file(aside)
        mark = signature(name_of(temporary))
        if is_odd and found is None:
            self.names.remove_marked(parent_of(temporary), mark)
        for directory in odd_directories(temporary):
            self.names.remove_marked(parent_of(directory), mark)
        return True

    def _leftover(self, path: str) -> Entry | None:
        """Return the entry at ``path``, or None. If the store rejects the path, a listing tells whether it is there.

        Apache rejects a path below a file (400), where nothing can be.
        """
        try:
            return self.tree.entry(path)
        except Exception as error:
            if _is_below_file(self.tree, path):
                return None
            refused = outcome_of("find", path, error, self.tree.hide)
            listing = self.tree.list_directory(parent_of(path))
            is_complete = listing.problem is None or listing.problem.vanished
            if not is_complete or path in (entry.path for entry in listing.entries):
                raise refused from error
            return None

    # Batches.

    def each(
        self,
        doing: str,
        items: Sequence[_ItemT],
        path_of: Callable[[_ItemT], str],
        do: Callable[[_ItemT], _ResultT],
        stop: threading.Event,
    ) -> list[_ResultT | OperationRefused]:
        """Apply ``do`` to one item after the other. Raises `ConnectionLost` once ``stop`` is set."""
        return [self._one(doing, item, path_of, do, stop) for item in items]

    def _one(
        self,
        doing: str,
        item: _ItemT,
        path_of: Callable[[_ItemT], str],
        do: Callable[[_ItemT], _ResultT],
        stop: threading.Event,
    ) -> _ResultT | OperationRefused:
        """Apply ``do`` to an item. If the store fails in it, begin again: each verb looks first at what was done."""
        for left in reversed(range(_TRIES)):
            if stop.is_set():
                raise ConnectionLost("the call was cancelled")
            try:
                return do(item)
            except Exception as error:  # noqa: BLE001 - any library may raise anything
                if not (left and has_failed(error)):
                    return outcome_of(doing, path_of(item), error, self.tree.hide)
        raise AssertionError("unreachable: the last try returns")

    def sweep(
        self, temporaries: Sequence[str], finals: Mapping[str, str], stop: threading.Event
    ) -> list[bool | OperationRefused]:
        """Remove temporaries, one after the other."""
        return self.each("remove", temporaries, lambda it: it, lambda it: self.sweep_one(it, finals.get(it)), stop)

    def _note_there(self, directory: str) -> None:
        with self._lock:
            remember(self._there, directory, None)


def _is_below_file(tree: Tree, path: str) -> bool:
    for above in ancestors(path):
        found = tree.entry(above)
        if found is None or found.kind is not Kind.DIRECTORY:
            return found is not None and found.kind is Kind.FILE
    return False
