"""A limit on how much file data a run moves in a second, shared by all its connections, which may change any time.

`Limited` stands before the source. Whoever reads a file through it, or takes bytes by its descriptor, asks first, and
is let on piece by piece, in turn: so files share what there is, and none waits for the end of another. Pieces are
small, a twentieth of a second's worth: no connection is silent for so long that anybody takes it for lost.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from actorsync.endpoints.contract import Admit, Content, ReadSession, Source
from actorsync.endpoints.wrappers.base import ContentWrapper, EndpointWrapper, ReadSessionWrapper

__all__ = ["Bandwidth", "Bucket", "Limited"]

#: What one piece is worth, in seconds, and its bounds in bytes.
_SPAN: Final = 0.05
_LEAST, _MOST = 1024, 256 * 1024


@attrs.define
class Bucket:
    """The bytes that may pass: ``rate`` a second flow in, and as much as one piece is kept.

    A piece passes when nothing is owed, and what has not flowed in by then is owed. Takes the time as it is told.
    """

    rate: float
    _level: float = attrs.field(default=0.0, init=False)
    _at: float = attrs.field(default=-math.inf, init=False)

    @property
    def piece(self) -> int:
        """How much passes at once, at most."""
        return max(_LEAST, min(_MOST, int(self.rate * _SPAN)))

    def wait(self, now: float) -> float:
        """Tell in how many seconds the next piece may pass: 0 for now."""
        if now > self._at:
            self._level = min(self.piece, self._level + (now - self._at) * self.rate)
        self._at = now
        return -self._level / self.rate if self._level < -0.5 else 0.0

    def take(self, most: int) -> int:
        """Let a piece pass, of ``most`` bytes at most; give its size."""
        count = min(most, self.piece)
        self._level -= count
        return count

    def give_back(self, count: int) -> None:
        """Take note that so many bytes of a piece did not pass after all."""
        self._level = min(self.piece, self._level + count)


class Bandwidth:
    """How many bytes of files a run may move in a second, over all its connections.

    Set ``limit`` any time, from the thread of trio: who waits is told at once. None is no limit. What counts is what
    the target gets, or, where the source is a server, also what is read to be compared.
    """

    def __init__(self, limit: float | None = None) -> None:
        self._bucket: Bucket | None = None
        self._changed = trio.Event()
        self._turn = trio.StrictFIFOLock()
        self.limit = limit

    @property
    def limit(self) -> float | None:
        """Bytes a second; None when there is no limit."""
        return None if self._bucket is None else self._bucket.rate

    @limit.setter
    def limit(self, limit: float | None) -> None:
        if limit is not None and not (limit > 0 and math.isfinite(limit)):
            raise ValueError(f"{limit!r} is no number of bytes a second; None is no limit")
        self._bucket = None if limit is None else Bucket(float(limit))
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def admit(self, most: int) -> int:
        """Wait until some of ``most`` bytes may pass; give how many. Without a limit it is all, at once."""
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
        """Say that so many of the bytes that were admitted did not come."""
        if count and self._bucket is not None:
            self._bucket.give_back(count)


@attrs.frozen
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
