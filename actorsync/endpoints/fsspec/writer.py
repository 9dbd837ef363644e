"""Write a big file to a file system of fsspec in pieces, through one open file."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from actorsync.endpoints.fsspec.errors import is_missing, outcome_of
from actorsync.endpoints.fsspec.store import Store

__all__ = ["Writer"]


class Writer:
    """A big file that is written piece by piece, each in any thread. End it with `finish` or `discard`."""

    def __init__(self, store: Store, path: str, temporary: str, block_size: int) -> None:
        self._store, self._path, self._temporary, self._block_size = store, path, temporary, block_size
        self._lock = threading.Lock()
        self._file: Any = None
        self._written = self._flushed = 0

    @property
    def stored(self) -> int:
        """How many bytes are known to have left the buffers of the library. Any thread may ask."""
        file = self._file
        return file.sent if hasattr(file, "drop") else self._flushed

    def put(self, piece: bytes) -> None:
        """Write the next piece."""
        try:
            with self._lock:
                if self._file is None:
                    self._store.check_place(self._path, self._temporary)
                    at = self._store.tree.at(self._temporary)
                    self._file = self._store.tree.fs.open(at, "wb", block_size=self._block_size)
                rest = memoryview(piece)
                while rest:  # an unbuffered file may write less than it gets
                    rest = rest[self._file.write(rest) or len(rest) :]
                self._written += len(piece)
                self._flushed = self._written - self._buffered()
        except Exception as error:
            raise outcome_of("write", self._path, error, self._store.tree.hide) from error

    def finish(self) -> None:
        """Write the buffered rest, and close the file."""
        try:
            with self._lock:
                self._complete()
                self._file, self._flushed = None, self._written
        except Exception as error:
            raise outcome_of("write", self._path, error, self._store.tree.hide) from error

    def _complete(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            if not is_missing(error):
                raise
            # A library repeats the request that completes an upload. If the first one did it, the upload is unknown to
            # the second. Whether the file is whole is seen when its size is read back.

    def _buffered(self) -> int:
        """Return how many bytes a buffered file of fsspec keeps for the next part. Other files do not tell."""
        return self._file.buffer.tell() if hasattr(self._file, "forced") and self._file.buffer is not None else 0

    def discard(self) -> None:
        """Cancel the write, and remove the temporary if possible."""
        with self._lock:
            file, self._file = self._file, None
        if file is None:
            return
        with contextlib.suppress(Exception):
            if hasattr(file, "forced"):  # a buffered file of fsspec would be completed by its destructor, half written
                file.discard()
                file.closed = True
            elif hasattr(file, "drop"):  # nothing was sent yet
                file.drop()
            else:
                file.close()
        self._store.discard(self._temporary)
