"""File systems that treat two names as one: neither of two such files may replace the other.

A temporary shows it: it can also be opened by its name in the other case, or in the other Unicode form. Only on such a
file system is a directory listed before a file in it gets its name.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from actorsync.classes import define
from actorsync.model.entry import join, name_of, parent_of
from actorsync.model.traits import Traits
from actorsync.planning.name_folding import (
    NAMES,
    is_folding,
    is_short_name,
    loosest_key,
    other_case,
    other_form,
    seen_folding,
    taken,
)

__all__ = ["Names", "require_itself"]


@define(eq=False)
class Names:
    """What is known of the names of a tree. All threads share it."""

    folds_case: bool | None = None
    """None until a temporary shows it."""
    folds_form: bool | None = None
    traits: Traits = attrs.Factory(Traits)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def learn(self, directory: int, name: str) -> None:
        """Test whether the new file ``name`` in an open directory can be opened by other names as well."""
        if self.folds_case is None:
            self.folds_case = _answers(directory, name, other_case(name))
        if self.folds_form is None and (other := other_form(name)) != name:
            self.folds_form = _answers(directory, name, other)
        trait = seen_folding(self.traits.get(NAMES), case=self.folds_case, form=self.folds_form)
        self.traits.learn(NAMES, trait)

    @property
    def are_folded(self) -> bool:
        """Whether the file system takes different names for one, as far as this run or an earlier one has seen."""
        return is_folding(self.traits.get(NAMES))

    @contextmanager
    def claimed(self, directory: int, path: str) -> Iterator[None]:
        """Reserve ``path``, which is in an open directory, for a rename in the block.

        Raises `OperationRefused` if another file has a name that the file system treats as the same.
        """
        if not self.are_folded:
            yield
            return
        with self._lock:  # two threads may want the same name
            require_itself(directory, path)
            yield


def require_itself(directory: int, path: str) -> None:
    """Raise `OperationRefused` if ``path``, which is in an open directory, exists there under another name only."""
    name = name_of(path)
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    names = os.listdir(directory)
    if name in names:
        return
    other = next((one for one in names if loosest_key(one) == loosest_key(name)), None)
    if other is not None:
        raise taken(join(parent_of(path), other))
    if is_short_name(name):
        raise taken(None)


def _answers(directory: int, name: str, other: str) -> bool:
    try:
        return os.path.samestat(
            os.stat(name, dir_fd=directory, follow_symlinks=False),
            os.stat(other, dir_fd=directory, follow_symlinks=False),
        )
    except (OSError, UnicodeEncodeError):
        return False
