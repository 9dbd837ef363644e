"""The framing of SFTP: requests to packets, and a stream of bytes to packets."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from actorsync.errors import ProtocolError
from actorsync.model.text import display, shorten
from actorsync.protocols.sftp.requests import Request

__all__ = ["INIT", "MAX_PACKET", "PacketParser", "packet", "text_in"]

#: The first packet of the client. It offers version 3, which every server supports.
INIT: Final = struct.pack(">IBI", 5, 1, 3)

#: Bytes in the longest packet that is accepted. The longest replies that the client asks for hold 256 KiB of a file.
MAX_PACKET: Final = 1024 * 1024


def packet(identity: int, request: Request) -> bytes:
    """Return the packet of a request with the id ``identity``."""
    body, content = request.body, request.content
    return b"".join((struct.pack(">IBI", len(body) + len(content) + 5, request.kind, identity), body, content))


def text_in(data: bytes) -> str:
    """Return the text that ``data`` begins with, as one printable line; ``""`` if it does not begin with text.

    The first packet of SFTP begins with a zero byte, as every packet of less than 16 MiB does.
    """
    text = data.partition(b"\0")[0].decode("utf-8", "replace").strip()
    return shorten(display(" ".join(text.split())), 100) if text[:1].isprintable() else ""


class PacketParser:
    """Splits the bytes of a channel into packets, in whatever pieces they arrive."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, memoryview]]:
        """Take received bytes, and yield the type and body of each packet that is complete.

        Use up the iterator before the next call.

        Raises:
            ProtocolError: the bytes are not SFTP, or a packet is longer than `MAX_PACKET`.
        """
        if self._buffer:
            self._buffer += data
            data = bytes(self._buffer)
            self._buffer.clear()
        view, start = memoryview(data), 0
        while len(view) - start >= 4:
            (length,) = struct.unpack_from(">I", view, start)
            if not 1 <= length <= MAX_PACKET:
                raise ProtocolError(f"the server sent a packet of {length} bytes, which is not SFTP")
            if len(view) - start - 4 < length:
                break
            yield view[start + 4], view[start + 5 : start + 4 + length]
            start += 4 + length
        self._buffer += view[start:]
