"""The spellings of names in a directory of this machine, where the file system takes different names for one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

import attrs

from actorsync.classes import define
from actorsync.endpoints.local.openat import Walk, entry_of, refusal
from actorsync.endpoints.shared.paths import aside_of
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, ancestors, name_of, parent_of
from actorsync.planning.name_folding import ListNames, Look, NewSpelling, Rename, change_spelling, loosest_key

__all__ = ["Spellings", "put_back"]


@define(eq=False)
class Spellings:
    """The names in the directories of one batch. Every method blocks."""

    root: str
    _names: dict[str, frozenset[str]] = attrs.Factory(dict)

    def has(self, walk: Walk, path: str) -> bool:
        """Return whether ``path`` is spelled like this at every level. What no name resembles counts as such."""
        for level in (*ancestors(path)[1:], path):
            directory, name = parent_of(level), name_of(level)
            try:
                if directory not in self._names:
                    self._names[directory] = frozenset(os.listdir(walk.directory(directory)))
            except FileNotFoundError:
                return True
            names = self._names[directory]
            if name not in names and any(loosest_key(other) == loosest_key(name) for other in names):
                return False
        return True

    def change(self, items: Sequence[NewSpelling]) -> list[Entry | OperationRefused]:
        """Change the spelling of names; see `change_spelling`."""
        dialogue = change_spelling(items)
        answer: object = None
        while True:
            try:
                step = dialogue.send(answer)
            except StopIteration as end:
                return [*end.value]
            with Walk(self.root) as walk:
                answer = _carry_out(walk, step)


def _carry_out(walk: Walk, step: ListNames | Look | Rename) -> object:
    try:
        match step:
            case ListNames(directory):
                return os.listdir(walk.directory(directory))
            case Look(path):
                return entry_of(path, walk.status(path))
            case Rename(old, new):
                opened, name = walk.parent(old)
                os.rename(name, name_of(new), src_dir_fd=opened, dst_dir_fd=opened)
                with contextlib.suppress(OSError):  # some file systems cannot; after a power loss, the name may be old
                    os.fsync(opened)
                return None
    except FileNotFoundError:
        return None if isinstance(step, Look) else OperationRefused("it no longer exists")
    except OSError as error:
        path = step.directory if isinstance(step, ListNames) else step.path if isinstance(step, Look) else step.old
        return None if isinstance(step, Look) else refusal("rename", path, error)


def put_back(walk: Walk, temporary: str, final: str) -> None:
    """Rename an entry to ``final`` that a change of spelling has left under the name beside ``temporary``.

    Raises ``OSError`` or `OperationRefused`. Nothing is replaced: where the final name is taken, the entry stays.
    """
    try:
        directory, aside = walk.parent(aside_of(temporary))
        os.stat(aside, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    try:
        os.stat(name_of(final), dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(aside, name_of(final), src_dir_fd=directory, dst_dir_fd=directory)
