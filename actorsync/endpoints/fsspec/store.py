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
from actorsync.endpoints.fsspec.errors import is_missing, outcome_of
from actorsync.endpoints.fsspec.name_checks import Move, NameChecks, odd_directories
from actorsync.endpoints.fsspec.tree import Tree
from actorsync.endpoints.shared.paths import aside_of, is_above
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.entry import Entry, Kind, name_of, parent_of
from actorsync.model.text import display
from actorsync.planning.name_folding import NewSpelling
from actorsync.planning.temporary_names import oddness, signature

__all__ = ["Store"]

#: The number of paths that each memory of a store keeps.
_MOST: Final = 20_000

_ItemT = TypeVar("_ItemT")
_ResultT = TypeVar("_ResultT")


@define(eq=False)
class Store:
    """All that changes ``tree``. Every method blocks, and may be called in any thread.

    ``move`` renames one file to another name; None if the store copies.
    """

    tree: Tree
    move: Move | None = None
    _replaces: bool = True
    _whole: OrderedDict[str, None] = attrs.Factory(OrderedDict)
    _moved: OrderedDict[str, None] = attrs.Factory(OrderedDict)
    _there: OrderedDict[str, None] = attrs.Factory(OrderedDict)
    _lock: threading.RLock = attrs.Factory(threading.RLock)
    names: NameChecks = attrs.field(init=False)

    @names.default
    def _names(self) -> NameChecks:
        return NameChecks(self.tree, self.move, self.discard)

    # Writing.

    def check_place(self, path: str, temporary: str) -> None:
        """Raise `OperationRefused` if a file cannot be staged: a store with directories must have its directory."""
        if parent_of(temporary) != parent_of(path):
            raise ValueError(f"{temporary!r} is not in the directory of {path!r}")
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
        self._remember(self._whole, temporary)
        return Staged(path, temporary, size, found.mtime_ns)

    def _of_size(self, path: str, temporary: str, size: int) -> Entry:
        found = self.tree.entry(temporary)
        if found is None or (found.kind, found.size) != (Kind.FILE, size):
            arrived = 0 if found is None else found.size
            raise OperationRefused(f"cannot write {display(path)!r}: {arrived} of {size} bytes arrived", retry=True)
        return found

    def discard(self, temporary: str) -> None:
        """Remove a temporary if possible; otherwise a later sweep removes it."""
        with contextlib.suppress(Exception):
            self.sweep_one(temporary, None)

    def commit_one(self, staged: Staged) -> Entry:
        """Rename a temporary to its final name."""
        if parent_of(staged.temporary) != parent_of(staged.path):
            raise ValueError(f"{staged.temporary!r} is not in the directory of {staged.path!r}")
        temporary, final = self.tree.at(staged.temporary), self.tree.at(staged.path)
        before = self.tree.entry(staged.path)
        if before is not None and before.kind is not Kind.FILE:
            raise OperationRefused(f"cannot put {display(staged.path)!r} in place: a {before.kind.value} has its name")
        self.names.claim(staged.path)
        try:
            self.names.learn_rename(staged.temporary)
            if self.move is None:
                self.tree.fs.cp_file(temporary, final)
                self.tree.remove_file(staged.temporary)
            else:
                self._rename(self.move, staged, is_new=before is None)
        except OSError as error:
            if not is_missing(error):
                raise
            return self._committed_before(staged, before)
        now = self.tree.entry(staged.path)
        if now is None or (now.kind, now.size) != (Kind.FILE, staged.size):
            raise OperationRefused(f"{display(staged.path)!r} has the wrong size after the rename", retry=True)
        return now

    def _rename(self, move: Move, staged: Staged, *, is_new: bool) -> None:
        """Rename a temporary. If a rename cannot replace a file, set the old file aside meanwhile."""
        paths = (staged.temporary, staged.path, aside_of(staged.temporary))
        temporary, final, aside = (self.tree.at(path) for path in paths)
        if is_new or self._replaces:
            try:
                move(temporary, final, not is_new)
            except OSError as error:
                if error.errno != errno.EEXIST:
                    raise
                if is_new:
                    taken = f"another program has just made {display(staged.path)!r}"
                    raise OperationRefused(taken, retry=True) from None
                self._replaces = False
            else:
                if not self._replaces:
                    self.tree.remove_file(aside_of(staged.temporary))  # left by an attempt that was interrupted
                return
        if self.tree.look(staged.temporary) is None:  # an earlier call renamed it: do not set its file aside
            raise FileNotFoundError(errno.ENOENT, temporary)
        move(final, aside, False)
        try:
            move(temporary, final, False)
        except BaseException:
            with contextlib.suppress(Exception):
                move(aside, final, False)
            raise
        self.tree.remove_file(aside_of(staged.temporary))

    def _committed_before(self, staged: Staged, found: Entry | None) -> Entry:
        """Return the final entry if an earlier call committed the temporary, which is gone.

        That is so if this process saw the temporary whole and the final file has its size: only a commit removes such a
        temporary. The time cannot prove it, because it is not the time of the source.
        """
        found = self.tree.entry(staged.path) or found
        if staged.temporary in self._whole and found is not None and found.size == staged.size:
            return found
        raise OperationRefused(f"cannot put {display(staged.path)!r} in place: its temporary is gone", retry=True)

    def move_one(self, item: Relocation) -> Entry:
        """Rename an unchanged file to a free name."""
        was, path = item.entry, item.path
        found, there = self.tree.entry(was.path), self.tree.entry(path)
        if found is None and there is not None and there.size == was.size and f"{was.path}\0{path}" in self._moved:
            return there  # by an earlier call
        if found is None or found.kind is not Kind.FILE or _is_changed(was, found):
            raise OperationRefused(f"{display(was.path)!r} was changed by another program: not moved")
        if there is not None or not (self.tree.is_flat or self._is_there(parent_of(path))):
            raise OperationRefused(f"cannot move to {display(path)!r}: the name is taken, or has no directory")
        if not self.names.survives_rename(path):
            raise OperationRefused(f"the store may change the name {display(name_of(path))!r}: not moved")
        self.names.claim(path)
        self.names.carry(was.path, path)
        self._remember(self._moved, f"{was.path}\0{path}")
        self.names.spellings.folding.give_up(was.path)
        now = self.tree.entry(path)
        if now is None or (now.kind, now.size) != (Kind.FILE, was.size):
            raise OperationRefused(f"{display(path)!r} has the wrong size after the move", retry=True)
        return now

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
        self._remember(self._there, path)
        return Entry(path, Kind.DIRECTORY)

    def _make(self, path: str, at: str) -> None:
        if self.tree.is_flat:
            return
        if not self._is_there(parent_of(path)):
            raise OperationRefused(f"the directory of {display(path)!r} does not exist")
        with self._lock:
            try:
                self.tree.fs.mkdir(at, create_parents=False)
            except OSError as error:
                if error.errno not in {errno.EEXIST, None}:
                    raise
                if (found := self.tree.entry(path)) is None or found.kind is not Kind.DIRECTORY:
                    raise
        if self.tree.look(path) is None:
            self.tree.is_flat = True  # the store accepted the directory, and does not have it
            return
        try:
            self._learn_directory(path)
        except OperationRefused:
            with contextlib.suppress(Exception):
                self.tree.fs.rmdir(at)
            raise

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
        self._remember(self._there, directory)
        return True

    def respell(self, items: Sequence[NewSpelling]) -> list[Entry | OperationRefused]:
        """Change the spelling of names."""
        return self.names.spellings.respell(items, self.move)

    def remove_one(self, entry: Entry) -> bool:
        """Remove an unchanged file or an empty directory."""
        if is_above(entry.path):
            raise OperationRefused("the root is never removed")
        found = self._seen(entry)
        if found is None:
            if not self.tree.is_flat and self.tree.look("") is None:
                raise OperationRefused("the root does not exist")
            return True
        if self.names.spellings.is_elsewhere(entry.path):
            return True
        if found.kind is not entry.kind or (entry.kind is Kind.FILE and _is_changed(entry, found)):
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
        self._whole.pop(temporary, None)
        is_odd = bool(oddness(name_of(temporary)))
        aside = aside_of(temporary)
        if (self.move is not None or is_odd) and self._leftover(aside) is not None:
            if final is not None and self.move is not None and self.tree.entry(final) is None:
                self.move(self.tree.at(aside), self.tree.at(final), False)
            else:
                self.tree.remove_file(aside)
        mark = signature(name_of(temporary))
        if is_odd and found is None:
            self.names.remove_marked(parent_of(temporary), mark)
        for directory in odd_directories(temporary):
            self.names.remove_marked(parent_of(directory), mark)
        return True

    def _leftover(self, path: str) -> Entry | None:
        """Return the entry at ``path``, or None. If the store rejects the name, a listing tells whether it is there."""
        try:
            return self.tree.entry(path)
        except Exception as error:
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
        results: list[_ResultT | OperationRefused] = []
        for item in items:
            if stop.is_set():
                raise ConnectionLost("the call was cancelled")
            try:
                results.append(do(item))
            except Exception as error:  # noqa: BLE001 - any library may raise anything
                results.append(outcome_of(doing, path_of(item), error, self.tree.hide))
        return results

    def sweep(
        self, temporaries: Sequence[str], finals: Mapping[str, str], stop: threading.Event
    ) -> list[bool | OperationRefused]:
        """Remove temporaries, one after the other."""
        return self.each("remove", temporaries, lambda it: it, lambda it: self.sweep_one(it, finals.get(it)), stop)

    def _remember(self, known: OrderedDict[str, None], path: str) -> None:
        with self._lock:
            known[path] = None
            known.move_to_end(path)
            if len(known) > _MOST:
                known.popitem(last=False)


def _is_changed(entry: Entry, found: Entry) -> bool:
    """Return whether a file differs from its entry, as far as both have facts."""
    pairs = ((entry.mtime_ns, found.mtime_ns), (entry.inode, found.inode))
    return entry.size != found.size or any(None not in pair and pair[0] != pair[1] for pair in pairs)
