"""HASH (draft-bryan-ftpext-hash): the server reads a file itself, and returns its hash.

The reply names the algorithm, the range of bytes and the file, and all three are checked: a hash of another file, or of
its beginning, must not count. The older commands (XSHA256, XSHA512, XSHA1, XMD5, XCRC) are not used. Their replies have
the digits alone, and servers differ in how they take a name with a space in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from actorsync.errors import ConnectionLost
from actorsync.protocols.ftp.replies import ends_session
from actorsync.protocols.ftp.wire import Dialogue, Reply, command_line

__all__ = ["STRONG", "hash_of", "hashes"]

#: The algorithms that are used, the first that a server has, and the bytes of a hash. CRC32, MD5 and SHA-1 are not
#: enough: two files of one hash can be made.
STRONG: Final = {"SHA-256": 32, "SHA-512": 64}

_REPLY: Final = re.compile(
    r"(?P<algorithm>\S+) (?P<start>\d+)-(?P<end>\d+) (?P<digits>[0-9A-Fa-f]+) (?P<path>.*)", re.DOTALL
)


def hashes(algorithm: str, files: Sequence[tuple[str, int]]) -> Dialogue[list[bytes | None]]:
    """Return the hash of each file, given as path and size; None where the server returns none that can be trusted.

    The algorithm is chosen in the same flight: it is a setting of the connection.

    Raises:
        ConnectionLost: the server closes the connection.
    """
    lines = [command_line("OPTS", f"HASH {algorithm}"), *(command_line("HASH", path) for path, _ in files)]
    replies = yield lines
    _check(replies)
    return [hash_of(reply, algorithm, path, size) for reply, (path, size) in zip(replies[1:], files, strict=True)]


def _check(replies: Iterable[Reply]) -> None:
    for reply in replies:
        if ends_session(reply):
            raise ConnectionLost(f"the server closes the connection: {reply}")


def hash_of(reply: Reply, algorithm: str, path: str, size: int) -> bytes | None:
    """Return the hash in a reply to HASH: ``213 SHA-256 0-5 2cf24d /name``. None if it is not that of the whole file.

    The draft ends the range with the last byte, ProFTPD with the size.
    """
    found = _REPLY.fullmatch(reply.text) if reply.code == 213 else None
    if found is None or found["algorithm"].upper() != algorithm or found["path"] != path:
        return None
    if int(found["start"]) != 0 or int(found["end"]) not in {size, max(0, size - 1)}:
        return None
    return bytes.fromhex(found["digits"]) if len(found["digits"]) == 2 * STRONG[algorithm] else None
