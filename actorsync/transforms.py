"""Stream functions for the ``wrap`` of a `Transform`. Public: the names in ``__all__``."""

from __future__ import annotations

import zlib
from typing import Final

import trio

__all__ = ["gzip_stream"]

_PIECE: Final = 64 * 1024
#: A piece up to this size is compressed without a thread: a thread switch would take longer.
_LITTLE: Final = 8 * 1024
_GZIP: Final = 16 + zlib.MAX_WBITS


def gzip_stream(stream: trio.abc.ReceiveStream, level: int = 9) -> trio.abc.ReceiveStream:
    """Return a stream that compresses ``stream`` in gzip format, piece by piece, in worker threads.

    The same input gives the same output: the header holds neither a name nor a time.
    """
    return _Gzip(stream, level)


class _Gzip(trio.abc.ReceiveStream):
    def __init__(self, stream: trio.abc.ReceiveStream, level: int) -> None:
        self._stream = stream
        self._compressor = zlib.compressobj(level, zlib.DEFLATED, _GZIP)
        self._ready = b""
        self._has_ended = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return the next compressed piece; empty at the end."""
        await trio.lowlevel.checkpoint()
        while not self._ready and not self._has_ended:
            piece = await self._stream.receive_some(_PIECE)
            if len(piece) > _LITTLE:
                self._ready = await trio.to_thread.run_sync(self._compressor.compress, piece)
            elif piece:
                self._ready = self._compressor.compress(piece)
            else:
                self._ready, self._has_ended = self._compressor.flush(), True
        most = len(self._ready) if max_bytes is None else max_bytes
        piece, self._ready = self._ready[:most], self._ready[most:]
        return piece

    async def aclose(self) -> None:
        """Close the stream that is compressed."""
        await self._stream.aclose()
