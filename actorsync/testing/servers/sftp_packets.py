"""SFTP packets on the side of a test server: parsed requests, and replies written by hand.

Version 3 of the protocol (draft-ietf-secsh-filexfer-02). Nothing here is checked, so a test can build wrong replies.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from actorsync.classes import frozen

__all__ = ["LastWords", "SftpRequest", "attributes", "names", "number", "packet", "parse_request", "status", "string"]

#: Packet types of replies.
VERSION, STATUS, HANDLE, DATA, NAME, ATTRS = 2, 101, 102, 103, 104, 105
#: Status codes.
OK, EOF, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE, BAD_MESSAGE, UNSUPPORTED = 0, 1, 2, 3, 4, 5, 8

_WRITE_FLAG = 0x02  # SSH_FXF_WRITE in the flags of OPEN
_CREATE_FLAG = 0x08

_VERBS: Final = {
    1: "INIT",
    3: "OPEN",
    4: "CLOSE",
    5: "READ",
    6: "WRITE",
    7: "LSTAT",
    8: "FSTAT",
    9: "SETSTAT",
    10: "FSETSTAT",
    11: "OPENDIR",
    12: "READDIR",
    13: "REMOVE",
    14: "MKDIR",
    15: "RMDIR",
    16: "REALPATH",
    17: "STAT",
    18: "RENAME",
    19: "READLINK",
    20: "SYMLINK",
}
#: The packet type of a request of an extension.
EXTENDED = 200
#: The verbs of requests with a handle.
BY_HANDLE = frozenset(["CLOSE", "READ", "WRITE", "FSTAT", "FSETSTAT", "READDIR", "FSYNC", "FSTATVFS", "COPY-DATA"])
_WITH_TWO_PATHS = frozenset(["RENAME", "POSIX-RENAME", "SYMLINK", "HARDLINK"])
_WITHOUT_PATH = frozenset(["INIT", "LIMITS"])


class LastWords(bytes):
    """The last bytes that a server sends before it closes the channel."""


@frozen
class SftpRequest:
    """One request and its position.

    ``verb`` is the name of the packet without ``SSH_FXP_``. It is CREATE for an OPEN that may write, and for an
    extension the part of its name before the ``@`` (``POSIX-RENAME``). ``path`` is also set for a packet with a handle;
    ``new_path`` is the second path of a rename. ``session`` is the number of the connection, and ``index`` the number
    of the request on its channel, both from 1; INIT is request 1.
    """

    session: int
    index: int
    id: int
    verb: str
    path: str = ""
    new_path: str = ""
    offset: int = 0
    data: bytes = attrs.field(default=b"", repr=False)
    extension: str = ""
    creates: bool = False
    """Whether an OPEN makes the file if it does not exist."""

    @property
    def argument(self) -> str:
        """The paths in the form of the command log."""
        return f"{self.path} -> {self.new_path}" if self.verb in _WITH_TWO_PATHS else self.path


def parse_request(payload: bytes, session: int, index: int, paths: Mapping[bytes, str]) -> SftpRequest:
    """Parse a request. ``paths`` maps each open handle to its path."""
    reader = _Reader(payload)
    kind, request_id = reader.byte(), reader.number()
    extension = reader.string().decode(errors="replace") if kind == EXTENDED else ""
    verb = extension.partition("@")[0].upper() or _VERBS.get(kind, f"TYPE-{kind}")
    request = SftpRequest(session, index, request_id, verb, extension=extension)
    if verb in _WITHOUT_PATH or kind not in {*_VERBS, EXTENDED}:
        return request
    first = reader.string()
    if verb in BY_HANDLE:
        request = attrs.evolve(request, path=paths.get(first, f"handle {first.hex()}"))
    else:
        request = attrs.evolve(request, path=_text(first))
    if verb in _WITH_TWO_PATHS:
        request = attrs.evolve(request, new_path=_text(reader.string()))
    elif verb == "WRITE":
        offset = reader.number(8)
        request = attrs.evolve(request, offset=offset, data=reader.string())
    elif verb == "OPEN" and (flags := reader.number()) & _WRITE_FLAG:
        request = attrs.evolve(request, verb="CREATE", creates=bool(flags & _CREATE_FLAG))
    return request


class _Reader:
    def __init__(self, payload: bytes) -> None:
        self.rest = memoryview(payload)

    def take(self, size: int) -> bytes:
        taken, self.rest = bytes(self.rest[:size]), self.rest[size:]
        return taken

    def byte(self) -> int:
        return int.from_bytes(self.take(1), "big")

    def number(self, size: int = 4) -> int:
        return int.from_bytes(self.take(size), "big")

    def string(self) -> bytes:
        return self.take(self.number())


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


# Replies.


def number(value: int) -> bytes:
    """Encode an unsigned 32-bit number."""
    return struct.pack(">I", value)


def string(value: bytes | str) -> bytes:
    """Encode a string: its length, then its bytes."""
    encoded = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    return number(len(encoded)) + encoded


def packet(kind: int, body: bytes) -> bytes:
    """Encode a whole packet. ``body`` begins with the id of the request."""
    return number(len(body) + 1) + bytes([kind]) + body


def status(request_id: int, code: int = OK, message: str = "") -> bytes:
    """Encode a status: the reply to a request that returns no data, and to one that failed."""
    return packet(STATUS, number(request_id) + number(code) + string(message) + string("en"))


def attributes(size: int = 0, mtime: int = 1_700_000_000, mode: int = 0o100644) -> bytes:
    """Encode the attributes of a file, or of a directory with ``mode=0o40755``."""
    return number(0x0D) + struct.pack(">Q", size) + number(mode) + number(mtime) + number(mtime)


def names(request_id: int, listed: Iterable[bytes | str], attrs: bytes = attributes()) -> bytes:
    """Encode the reply to READDIR: these names, each with the same attributes."""
    entries = [string(name) + string(b"-rw-r--r-- 1 0 0 0 Jan 1 00:00 x") + attrs for name in listed]
    return packet(NAME, number(request_id) + number(len(entries)) + b"".join(entries))
