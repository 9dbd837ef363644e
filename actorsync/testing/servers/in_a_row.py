"""How a server takes FTP commands that arrive together. Real ones of each kind exist.

The embedded server reads a stream. With one of these ways it is like a server that does not, so that a test shows how a
client gets along with it.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

__all__ = ["InARow", "rearranged"]

InARow: TypeAlias = Literal["stream", "packet", "first", "any order"]
"""``stream``: one command after the other. ``packet``: each packet is one command, line ends and all (uftpd, npm's
ftpd). ``first``: the first command of a packet, and the rest is lost. ``any order``: commands that need no disk are
answered first (servers on asyncio)."""

_QUICK: Final = frozenset({b"EPSV", b"FEAT", b"NOOP", b"OPTS", b"PASV", b"PWD", b"RNTO", b"TYPE"})


def rearranged(packet: bytes, way: InARow) -> bytes:
    """Return the command lines that a server of this kind makes of one packet."""
    if way == "stream" or not packet:
        return packet
    lines = packet.split(b"\r\n")
    if way == "any order":
        *whole, rest = lines
        return b"".join(line + b"\r\n" for line in sorted(whole, key=_is_slow)) + rest
    first = lines[0] if way == "first" else packet.removesuffix(b"\r\n").replace(b"\r\n", b"\\r\\n")
    return first + b"\r\n"


def _is_slow(line: bytes) -> bool:
    return line.split(b" ")[0].upper() not in _QUICK
