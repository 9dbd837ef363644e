"""Transforms for tests: streams that change each piece."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import trio

from actorsync.endpoints.wrappers.transform import Transform

__all__ = ["BANG", "COPY", "LATER", "TWICE", "UPPER", "Mapped", "explode", "mapping"]

LATER = 10**18 * 3  # a wall clock for which every file is old


@attrs.define(eq=False)
class Mapped(trio.abc.ReceiveStream):
    """A stream that applies ``change`` to each piece, and adds ``tail`` at the end."""

    stream: trio.abc.ReceiveStream
    change: Callable[[bytes], Any] = bytes
    tail: bytes = b""
    is_closed: bool = False

    async def receive_some(self, max_bytes: int | None = None) -> Any:
        piece = await self.stream.receive_some(max_bytes)
        if not piece:
            tail, self.tail = self.tail, b""
            return tail
        return self.change(bytes(piece))

    async def aclose(self) -> None:
        self.is_closed = True
        await self.stream.aclose()


def mapping(change: Callable[[bytes], Any], tail: bytes = b"") -> Callable[[trio.abc.ReceiveStream], Mapped]:
    return lambda stream: Mapped(stream, change, tail)


UPPER = Transform("upper", ["*.txt"], mapping(bytes.upper))
BANG = Transform("bang", lambda path: path.endswith("t"), mapping(bytes, b"!"))
TWICE = Transform("twice", ["*.txt"], mapping(lambda piece: piece * 2))
COPY = Transform("copy", ["*.copy"], mapping(bytes, b" (copy)"), origin=lambda path: path.removesuffix(".copy"))


def explode(*_: Any) -> Any:
    raise ValueError("of no use\nat all\x1b[2J")
