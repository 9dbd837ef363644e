"""A limit on the file data that a run moves in a second. All connections share it, and it can change at any time.

`Limited` wraps the source. A reader of a file waits for permission before each piece, whether it reads or uses the
descriptor. Readers take turns, so all files progress at once. A piece is a twentieth of a second's worth: no connection
is silent for so long that a server closes it.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from actorsync.classes import define, frozen
from actorsync.endpoints.contract import Admit, Content, ReadSession, Source
from actorsync.endpoints.resuming import open_at
from actorsync.endpoints.wrappers.base import ContentWrapper, EndpointWrapper, ReadSessionWrapper

__all__ = ["Bandwidth", "Bucket", "Limited"]

#: The length of one piece in seconds, and its bounds in bytes.
_SPAN: Final = 0.05
_LEAST, _MOST = 1024, 256 * 1024


@define
class Bucket:
    """A token bucket: ``rate`` bytes flow in per second, and at most one piece is kept.

    A piece passes when the level is not negative, and may make it negative. The caller supplies the time.
    """

    rate: float
    _level: float = attrs.field(default=0.0, init=False)
    _at: float = attrs.field(default=-math.inf, init=False)

    @property
    def piece(self) -> int:
        """The largest number of bytes that passes at once."""
        return max(_LEAST, min(_MOST, int(self.rate * _SPAN)))

    def wait(self, now: float) -> float:
        """Return the seconds until the next piece may pass; 0 for now."""
        if now > self._at:
            self._level = min(self.piece, self._level + (now - self._at) * self.rate)
        self._at = now
        return -self._level / self.rate if self._level < -0.5 else 0.0

    def take(self, most: int) -> int:
        """Let a piece of at most ``most`` bytes pass, and return its size."""
        count = min(most, self.piece)
        self._level -= count
        return count

    def give_back(self, count: int) -> None:
        """Return the bytes of a piece that did not pass after all."""
        self._level = min(self.piece, self._level + count)


class Bandwidth:
    """The bytes of file data that a run may move in a second, over all its connections.

    Set ``limit`` at any time, from the trio thread; it takes effect at once. None is no limit. Uploaded bytes count.
    Where the source is a server, bytes that are read for a comparison count too.
    """

    def __init__(self, limit: float | None = None) -> None:
        self._bucket: Bucket | None = None
        self._changed = trio.Event()
        self._turn = trio.StrictFIFOLock()
        self.limit = limit

    @property
    def limit(self) -> float | None:
        """Bytes a second; None if there is no limit."""
        return None if self._bucket is None else self._bucket.rate

    @limit.setter
    def limit(self, limit: float | None) -> None:
        if limit is not None and not (limit > 0 and math.isfinite(limit)):
            raise ValueError(f"{limit!r} is not a number of bytes a second; use None for no limit")
        self._bucket = None if limit is None else Bucket(float(limit))
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def admit(self, most: int) -> int:
        """Wait until some of ``most`` bytes may pass, and return how many. Without a limit, return ``most`` at once."""
        if self._bucket is None:
            return most
        async with self._turn:
            while (bucket := self._bucket) is not None:
                wait = bucket.wait(trio.current_time())
                if not wait:
                    return bucket.take(most)
                with trio.move_on_after(wait):
                    await self._changed.wait()
        return most

    def give_back(self, count: int) -> None:
        """Return admitted bytes that were not read."""
        if count and self._bucket is not None:
            self._bucket.give_back(count)


@frozen
class Limited(EndpointWrapper[Source]):
    """The source ``real``, whose files are read no faster than ``bandwidth`` allows."""

    bandwidth: Bandwidth

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[ReadSession]:
        """Open a session of the real place."""
        async with self.real.open_session() as session:
            yield _LimitedSession(session, self.bandwidth)


class _LimitedSession(ReadSessionWrapper):
    """A session of `Limited`. Listings do not count towards the limit."""

    def __init__(self, real: ReadSession, bandwidth: Bandwidth) -> None:
        super().__init__(real)
        self._bandwidth = bandwidth

    @asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[Content]:
        """Open a file."""
        async with self._real.open(path) as content:
            yield _LimitedContent(content, self._bandwidth)

    @asynccontextmanager
    async def open_at(self, path: str, start: int) -> AsyncIterator[Content]:
        """Open a file in the middle, where the real session can."""
        async with open_at(self._real, path, start) as content:
            yield _LimitedContent(content, self._bandwidth)


class _LimitedContent(ContentWrapper):
    """A file of the source, read no faster than the limit allows."""

    __slots__ = ("_bandwidth",)

    def __init__(self, real: Content, bandwidth: Bandwidth) -> None:
        super().__init__(real)
        self._bandwidth = bandwidth

    @property
    def admit(self) -> Admit | None:
        """Rate-limit hook: waits for this limit, then for the limit of the real content, if there is one."""
        return self._admit

    async def _admit(self, max_bytes: int) -> int:
        count = await self._bandwidth.admit(max_bytes)
        inner = self._real.admit
        return count if inner is None else await inner(count)

    async def read(self, max_bytes: int) -> bytes:
        """Wait until some bytes may pass, and read them."""
        count = await self._bandwidth.admit(max_bytes)
        piece = await self._real.read(count)
        self._bandwidth.give_back(count - len(piece))
        return piece
