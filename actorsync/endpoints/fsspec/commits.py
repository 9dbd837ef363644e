"""Final names in a store of fsspec: a temporary gets its own, or a file gets another. All functions block.

A call may be repeated after its connection was lost, and a request by a library or a proxy. So what another look does
not confirm is neither done nor refused.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections import OrderedDict
from typing import Final, TypeVar

import attrs

from actorsync.classes import define
from actorsync.endpoints.contract import Relocation, Staged
from actorsync.endpoints.fsspec.errors import has_failed, is_lost, is_missing
from actorsync.endpoints.fsspec.name_checks import NameChecks
from actorsync.endpoints.fsspec.renames import Move, Renames
from actorsync.endpoints.fsspec.tree import Tree
from actorsync.endpoints.shared.paths import aside_of
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, name_of, parent_of
from actorsync.model.text import display

__all__ = ["Commits", "is_changed", "remember"]

#: The number of paths that each memory keeps.
_MOST: Final = 20_000

_ValueT = TypeVar("_ValueT")


@define(eq=False)
class Commits:
    """The renames to final names. Every method blocks, and may be called in any thread."""

    tree: Tree
    renames: Renames
    names: NameChecks
    _replaces: bool = True
    _whole: OrderedDict[str, None] = attrs.Factory(OrderedDict)
    """Temporaries that this process has seen whole."""
    _before: OrderedDict[str, Entry | None] = attrs.Factory(OrderedDict)
    """What had the final name when the commit of a temporary was first called."""
    _moved: OrderedDict[tuple[str, str], None] = attrs.Factory(OrderedDict)
    """Moves that were begun: their files may have the new name already."""
    _lock: threading.Lock = attrs.Factory(threading.Lock)

    def note_whole(self, temporary: str) -> None:
        """Note that a temporary was seen whole."""
        self._remember(self._whole, temporary, None)

    def forget(self, temporary: str) -> None:
        """Forget a temporary that is removed."""
        self._whole.pop(temporary, None)
        self._before.pop(temporary, None)
        self.names.forget(temporary)

    def commit_one(self, staged: Staged) -> Entry:
        """Rename a temporary to its final name."""
        if parent_of(staged.temporary) != parent_of(staged.path):
            raise ValueError(f"{staged.temporary!r} is not in the directory of {staged.path!r}")
        before = self.tree.entry(staged.path)
        if before is not None and before.kind is not Kind.FILE:
            raise OperationRefused(f"cannot put {display(staged.path)!r} in place: a {before.kind.value} has its name")
        first = self._before.get(staged.temporary, before)
        self._remember(self._before, staged.temporary, first)
        self.names.claim(staged.path)
        try:
            self.names.learn_rename(staged.temporary)
            if self.renames.move is not None:
                self._rename(self.renames.move, staged, is_new=before is None or first is None)
                return self._in_place(staged.path, staged.size)
            self.tree.fs.cp_file(self.tree.at(staged.temporary), self.tree.at(staged.path))
        except OSError as error:
            if not is_missing(error):
                raise
            return self._committed_before(staged)
        now = self._in_place(staged.path, staged.size)
        self.tree.remove_file(staged.temporary)
        return now

    def _in_place(self, path: str, size: int) -> Entry:
        """Return the entry of a file that has just got its name."""
        now = self.tree.settled(path, size)
        if now is None or (now.kind, now.size) != (Kind.FILE, size):
            raise OperationRefused(f"{display(path)!r} has the wrong size after the rename", retry=True)
        return now

    def _rename(self, move: Move, staged: Staged, *, is_new: bool) -> None:
        """Rename a temporary. If a rename cannot replace a file, set the old file aside meanwhile."""
        temporary, final, aside = staged.temporary, staged.path, aside_of(staged.temporary)
        # A store is said to replace no files if it refuses twice.
        for is_again in (False, True) if is_new or self._replaces else ():
            try:
                move(self.tree.at(temporary), self.tree.at(final), not is_new)
            except OSError as error:
                if error.errno != errno.EEXIST:
                    raise
                self._require(temporary)
                if is_new:
                    raise _taken(final) from None
                self._replaces = not is_again
            else:
                if not self._replaces:
                    self.tree.remove_file(aside)  # left by an attempt that was interrupted
                return
        self._require(temporary)  # an earlier call may have renamed it: then do not set its file aside
        self._set_aside(final, aside)
        try:
            move(self.tree.at(temporary), self.tree.at(final), False)
        except BaseException as error:
            with contextlib.suppress(Exception):
                move(self.tree.at(aside), self.tree.at(final), False)
            if isinstance(error, OSError) and error.errno == errno.EEXIST:
                self._require(temporary)
                raise _taken(final) from None
            raise
        self.tree.remove_file(aside)

    def _require(self, temporary: str) -> None:
        """Raise `OSError` with ``ENOENT`` if a temporary is gone: an earlier request has given it its final name."""
        if self.tree.look(temporary) is None:
            raise FileNotFoundError(errno.ENOENT, self.tree.at(temporary))

    def _set_aside(self, final: str, aside: str) -> None:
        try:
            self.renames.carry(final, aside)
        except OSError as error:
            if not (is_missing(error) or error.errno == errno.EEXIST):
                raise
            if self.tree.look(final) is not None:
                raise OperationRefused(f"the old {display(final)!r} could not be set aside", retry=True) from error

    def _committed_before(self, staged: Staged) -> Entry:
        """Return the final entry if an earlier request gave the temporary, which is gone, its final name.

        That is so if this process saw the temporary whole, and the final file has its size and is not the one that was
        to be replaced. The time cannot prove it, because it is not the time of the source. `move_one` may have done it.
        """
        found = self.tree.entry(staged.path)
        is_new = found != self._before.get(staged.temporary) or (staged.temporary, staged.path) in self._moved
        if staged.temporary in self._whole and found is not None and is_new and found.size == staged.size:
            if not self._replaces:
                self.tree.remove_file(aside_of(staged.temporary))
            return found
        raise OperationRefused(f"cannot put {display(staged.path)!r} in place: its temporary is gone", retry=True)

    def move_one(self, item: Relocation) -> Entry:
        """Rename an unchanged file to a free name."""
        was, path = item.entry, item.path
        found, there = self.tree.entry(was.path), self.tree.entry(path)
        if (was.path, path) in self._moved and there is not None and there.size == was.size:
            if found is None:
                return there  # by an earlier call
            if self.renames.move is None:
                there = None  # the copy that an earlier call has made: it is made again
        if found is None or found.kind is not Kind.FILE or is_changed(was, found):
            raise OperationRefused(f"{display(was.path)!r} was changed by another program: not moved")
        if there is not None:
            raise OperationRefused(f"cannot move to {display(path)!r}: the name is taken")
        if not self.names.survives_rename(path):
            raise OperationRefused(f"the store may change the name {display(name_of(path))!r}: not moved")
        self.names.claim(path)
        self._remember(self._moved, (was.path, path), None)
        try:
            now = self._carried(was, path)
        except Exception as error:
            if not (is_lost(error) or has_failed(error)):
                self._moved.pop((was.path, path), None)
            raise
        self.names.spellings.folding.give_up(was.path)
        return now

    def _carried(self, was: Entry, path: str) -> Entry:
        if self.renames.move is None:
            self.tree.fs.cp_file(self.tree.at(was.path), self.tree.at(path))
            now = self._in_place(path, was.size)
            self.tree.remove_file(was.path)
            return now
        try:
            self.renames.carry(was.path, path)
        except OSError as error:
            is_doubtful = is_missing(error) or error.errno == errno.EEXIST
            if not (is_doubtful and self.renames.was_done(was.path, path)):
                raise
        return self._in_place(path, was.size)

    def _remember(self, known: OrderedDict[_KeyT, _ValueT], key: _KeyT, value: _ValueT) -> None:
        with self._lock:
            remember(known, key, value)


_KeyT = TypeVar("_KeyT")


def remember(known: OrderedDict[_KeyT, _ValueT], key: _KeyT, value: _ValueT) -> None:
    """Note a value in a memory that forgets its oldest one when it is full."""
    known[key] = value
    known.move_to_end(key)
    if len(known) > _MOST:
        known.popitem(last=False)


def _taken(final: str) -> OperationRefused:
    return OperationRefused(f"another program has just made {display(final)!r}", retry=True)


def is_changed(entry: Entry, found: Entry) -> bool:
    """Return whether a file differs from its entry, as far as both have facts."""
    pairs = ((entry.mtime_ns, found.mtime_ns), (entry.inode, found.inode))
    return entry.size != found.size or any(None not in pair and pair[0] != pair[1] for pair in pairs)
