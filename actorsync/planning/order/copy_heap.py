"""Copies that are ready, in the order in which they are sent: biggest first. Many of them take little memory.

A first mirror of a large site holds back all of its pages until the scan is complete. So beyond the first few thousand,
a copy is kept as one ``bytes`` object, about 150 bytes for a path of 40 characters, instead of about 500.
"""

from __future__ import annotations

import heapq
import marshal
from collections.abc import Iterator
from itertools import count
from typing import Final

from actorsync.model.entry import Entry, Kind
from actorsync.model.operation import Copy, Sending

__all__ = ["CopyHeap"]

#: How many copies are kept as they are. Making one compact and back takes some microseconds.
_PLAIN: Final = 2_000
#: The bytes that order an item: its size, biggest first, then the order in which items came.
_SIZE_BYTES: Final = 8
_KEY_BYTES: Final = 2 * _SIZE_BYTES
_BIGGEST: Final = (1 << 64) - 1


class CopyHeap:
    """Files that are ready to be sent. Two files of the same size are sent in the order in which they came.

    ``big`` is the size from which a file is a big one; None where no file counts as big.
    """

    def __init__(self, big: int | None = None, *, plain: int = _PLAIN) -> None:
        self._big = big
        self._plain = plain
        self._numbers = count()
        self._whole: dict[bytes, Sending] = {}  # by key; all others are in their item
        self._items: tuple[list[bytes], list[bytes]] = ([], [])  # small files, big files

    def __len__(self) -> int:
        return len(self._items[0]) + len(self._items[1])

    @property
    def has_small(self) -> bool:
        """Whether a file is ready that is not a big one."""
        return bool(self._items[0])

    def push(self, operation: Sending) -> None:
        """Add a copy."""
        size = operation.source.size
        key = (_BIGGEST - min(size, _BIGGEST)).to_bytes(_SIZE_BYTES) + next(self._numbers).to_bytes(_SIZE_BYTES)
        item = key
        if len(self._whole) >= self._plain and _is_plain(operation):
            item += _packed(operation)
        else:
            self._whole[key] = operation
        heapq.heappush(self._items[self.is_big(operation)], item)

    def pop(self, *, small: bool = False) -> Sending:
        """Return the biggest copy, or with ``small`` the biggest one of a file that is not a big one."""
        items = self._items[0] if small or not self._items[1] else self._items[1]
        item = heapq.heappop(items)
        return self._whole.pop(item) if len(item) == _KEY_BYTES else _unpacked(item[_KEY_BYTES:])

    def is_big(self, operation: Sending) -> bool:
        """Return whether the file is a big one."""
        return self._big is not None and operation.source.size >= self._big

    def clear(self) -> None:
        """Drop all copies."""
        self._whole.clear()
        for items in self._items:
            items.clear()

    def __iter__(self) -> Iterator[Sending]:
        """Yield all copies, in no particular order."""
        for items in self._items:
            for item in items:
                yield self._whole[item] if len(item) == _KEY_BYTES else _unpacked(item[_KEY_BYTES:])


def _is_plain(operation: Sending) -> bool:
    return isinstance(operation, Copy) and operation.kept is None and operation.source.kind is Kind.FILE


def _packed(operation: Sending) -> bytes:
    it = operation.source
    return marshal.dumps((it.path, it.size, it.mtime_ns, it.ctime_ns, it.inode, it.mode, operation.replaces))


def _unpacked(packed: bytes) -> Copy:
    path, size, mtime, ctime, inode, mode, replaces = marshal.loads(packed)  # noqa: S302 - made by this process
    return Copy(Entry(path, Kind.FILE, size, mtime, ctime, inode, mode), replaces)
