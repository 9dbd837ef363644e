"""Content that checks and tests upload: in memory, stalling, failing, of unknown size, rate-limited."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from actorsync.endpoints.contract import Admit, Content
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind

__all__ = [
    "MTIME_NS",
    "SECOND_NS",
    "FailingContent",
    "MemoryContent",
    "RateLimitedContent",
    "StallingContent",
    "UnsizedContent",
    "content_with_descriptor",
]

#: 2024-02-29 12:34:56 UTC and a fraction that many servers cannot hold.
MTIME_NS: Final = 1_709_210_096_123_456_789


SECOND_NS: Final = 10**9


class MemoryContent(Content):
    """A source file in memory. With a descriptor (see `content_with_descriptor`) it is on disk as well."""

    def __init__(
        self, data: bytes, *, entry: Entry | None = None, descriptor: int | None = None, start: int = 0
    ) -> None:
        self._entry = Entry("source", Kind.FILE, len(data), MTIME_NS) if entry is None else entry
        self.at_end = not data
        self._data, self._offset, self._start, self._descriptor = data, start, start, descriptor

    @property
    def entry(self) -> Entry:
        """The entry that was given, or that of a file of this size."""
        return self._entry

    @property
    def start(self) -> int:
        """The offset that was given."""
        return self._start

    def fileno(self) -> int | None:
        """Return the descriptor, if there is one."""
        return self._descriptor

    async def read(self, max_bytes: int) -> bytes:
        """Read the next piece; ``at_end`` is True after the last byte."""
        await trio.lowlevel.checkpoint()
        piece = self._data[self._offset : self._offset + max_bytes]
        self._offset += len(piece)
        self.at_end = self._offset == len(self._data)
        return piece

    async def is_unchanged(self) -> bool:
        """Return True: the content never changes."""
        await trio.lowlevel.checkpoint()
        return True


class StallingContent(MemoryContent):
    """Content that stops for good in the middle, and then sets ``stalled``."""

    def __init__(self, size: int) -> None:
        super().__init__(bytes(size))
        self.stalled = trio.Event()

    async def read(self, max_bytes: int) -> bytes:
        """Read from the first half."""
        rest = self.entry.size // 2 - self._offset
        if rest <= 0:
            self.stalled.set()
            await trio.sleep_forever()
        return await super().read(min(max_bytes, rest))


class FailingContent(MemoryContent):
    """Content that cannot be read beyond its middle."""

    def __init__(self, size: int) -> None:
        super().__init__(bytes(size))

    async def read(self, max_bytes: int) -> bytes:
        """Read from the first half."""
        rest = self.entry.size // 2 - self._offset
        if rest <= 0:
            raise OperationRefused("cannot read 'source': Input/output error")
        return await super().read(min(max_bytes, rest))


class UnsizedContent(MemoryContent):
    """Content of unknown size, whose file has another size. With ``fails``, reading its end is refused."""

    def __init__(self, data: bytes, *, fails: bool = False) -> None:
        super().__init__(data, entry=Entry("source", Kind.FILE, len(data) * 3 + 7, MTIME_NS))
        self._fails = fails

    @property
    def size(self) -> None:
        """None: only the end of the content tells."""
        return None

    async def read(self, max_bytes: int) -> bytes:
        """Read the next piece; the end may be refused."""
        piece = await super().read(max_bytes)
        if self._fails and not piece:
            raise OperationRefused("it cannot be transformed")
        return piece


class RateLimitedContent(MemoryContent):
    """Content with a rate limit of 10,000 bytes a piece, which counts the bytes read and the bytes admitted."""

    admitted = 0

    async def read(self, max_bytes: int) -> bytes:
        """Read at most 10,000 bytes."""
        piece = await super().read(min(max_bytes, 10_000))
        self.admitted += len(piece)
        return piece

    @property
    def admit(self) -> Admit:
        """Rate-limit hook: lets at most 10,000 bytes pass."""
        return self._admit

    async def _admit(self, max_bytes: int) -> int:
        await trio.lowlevel.checkpoint()
        self.admitted += (count := min(max_bytes, 10_000))
        return count


@contextmanager
def content_with_descriptor(data: bytes) -> Iterator[MemoryContent]:
    """Yield content that can be sent by ``os.sendfile``."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        yield MemoryContent(data, descriptor=file.fileno())
