"""File systems that treat two names as one: neither of two such files may replace the other.

A temporary shows it: it can also be opened by its name in the other case, or in the other Unicode form. Only on such a
file system is a directory listed before a file in it gets its name.
"""

from __future__ import annotations

import os
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from actorsync.endpoints.local.openat import shown
from actorsync.errors import OperationRefused
from actorsync.model.entry import join, name_of, parent_of

__all__ = ["Names", "require_itself"]


@attrs.define(eq=False)
class Names:
    """What is known of the names of a tree. All threads share it."""

    folds_case: bool | None = None
    """None until a temporary shows it."""
    folds_form: bool | None = None
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def learn(self, directory: int, name: str) -> None:
        """Test whether the new file ``name`` in an open directory can be opened by other names as well."""
        if self.folds_case is None:
            self.folds_case = _answers(directory, name, name.swapcase())
        if self.folds_form is None and (other := _other_form(name)) != name:
            self.folds_form = _answers(directory, name, other)

    @property
    def may_fold(self) -> bool:
        """Whether two names may be one, as far as is known."""
        return self.folds_case is not False or bool(self.folds_form)

    @contextmanager
    def claimed(self, directory: int, path: str) -> Iterator[None]:
        """Reserve ``path``, which is in an open directory, for a rename in the block.

        Raises `OperationRefused` if another file has a name that the file system treats as the same.
        """
        if not (self.folds_case or self.folds_form):
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
    other = next((one for one in names if _fold(one) == _fold(name)), None)
    if other is not None:
        raise OperationRefused(
            f"{shown(join(parent_of(path), other))} is in its place: the file system treats both names as one; "
            "rename one of them, or exclude it"
        )


def _answers(directory: int, name: str, other: str) -> bool:
    try:
        return os.path.samestat(
            os.stat(name, dir_fd=directory, follow_symlinks=False),
            os.stat(other, dir_fd=directory, follow_symlinks=False),
        )
    except (OSError, UnicodeEncodeError):
        return False


def _other_form(name: str) -> str:
    decomposed = unicodedata.normalize("NFD", name)
    return decomposed if decomposed != name else unicodedata.normalize("NFC", name)


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
