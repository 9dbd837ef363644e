"""The content of one file of a local directory, open for reading."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol, TypeVar, TypeVarTuple, Unpack

from actorsync.endpoints.contract import Content
from actorsync.endpoints.local.openat import entry_of, is_same, refusal
from actorsync.endpoints.local.tree import Opened
from actorsync.model.entry import Entry

__all__ = ["LocalContent"]

_ArgsT = TypeVarTuple("_ArgsT")
_ResultT = TypeVar("_ResultT")


class Transfer(Protocol):
    """Runs a function that moves file content, in a thread."""

    async def __call__(self, function: Callable[[Unpack[_ArgsT]], _ResultT], *args: *_ArgsT) -> _ResultT:
        """Call ``function`` and return its result."""


class LocalContent(Content):
    """One open file. A small file was read when it was opened, and has no descriptor any more."""

    def __init__(self, opened: Opened, transfer: Transfer, start: int = 0) -> None:
        self._opened, self._transfer = opened, transfer
        self._entry = entry_of(opened.path, opened.status)
        self._start = self._offset = start
        if start and opened.fd >= 0:
            os.lseek(opened.fd, start, os.SEEK_SET)

    @property
    def entry(self) -> Entry:
        return self._entry

    @property
    def start(self) -> int:
        return self._start

    def fileno(self) -> int | None:
        """Return the descriptor of a file that is not small."""
        return self._opened.fd if self._opened.fd >= 0 else None

    async def read(self, max_bytes: int) -> bytes:
        """Return the next piece, from memory or through a thread."""
        if self._opened.fd >= 0:
            return await self._in_thread(os.read, self._opened.fd, max_bytes)
        piece = self._opened.data[self._offset : self._offset + max_bytes]
        self._offset += len(piece)
        return piece

    async def is_unchanged(self) -> bool:
        """Return whether device, inode, size and times are those at the opening.

        A small file was compared right after it was read; later changes do not affect the bytes in memory.
        """
        if self._opened.fd >= 0:
            return is_same(self._opened.status, await self._in_thread(os.fstat, self._opened.fd))
        return self._opened.unchanged

    def close(self) -> None:
        """Close the descriptor."""
        if self._opened.fd >= 0:
            os.close(self._opened.fd)

    async def _in_thread(self, function: Callable[[Unpack[_ArgsT]], _ResultT], *args: *_ArgsT) -> _ResultT:
        try:
            return await self._transfer(function, *args)
        except OSError as error:
            raise refusal("read", self._opened.path, error) from error
