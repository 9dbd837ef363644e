"""The requests of an SFTP client, and the dialogues that are made of them.

Version 3 (draft-ietf-secsh-filexfer-02), with OpenSSH's extensions.

A *flight* is a list of requests that are sent in one write. Each request has an id, and the server may reply in any
order; it keeps the order only for requests about the same file. A *dialogue* is a generator: it yields flights,
receives the replies to each flight in the order of the requests, and returns a result.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from typing import Final, TypeAlias, TypeVar

import attrs

from actorsync.classes import frozen
from actorsync.errors import OperationRefused
from actorsync.model.text import display, shorten
from actorsync.protocols.sftp.replies import Attributes, Data, Extended, Handle, Names, Reply, Status

__all__ = [
    "Dialogue",
    "Request",
    "close",
    "close_unchecked",
    "file_system",
    "flush",
    "fsetstat",
    "fstat",
    "hard_link",
    "is_utf8",
    "limits",
    "lstat",
    "make_directory",
    "open_directory",
    "open_existing",
    "open_new",
    "open_to_continue",
    "read",
    "read_directory",
    "real_path",
    "remove",
    "remove_directory",
    "rename",
    "rename_over",
    "seconds",
    "setstat",
    "stat_path",
    "why_unsendable",
    "write",
]

T = TypeVar("T")

#: Bytes of the longest path that Linux accepts.
_MAX_PATH: Final = 4_095
#: Characters of a path that are shown to a user.
_MAX_SHOWN: Final = 300


@frozen
class Request:
    """One request without its id: its type, its body, and the type of its reply when it succeeds.

    ``content`` is sent after the body: bytes of a file, kept apart so that they are copied only once.
    The reply to a request with ``is_unchecked`` is not waited for; `OK` stands for it among the replies.
    """

    kind: int
    body: bytes = attrs.field(repr=False)
    answer: type[Reply] = Status
    is_unchecked: bool = False
    content: bytes = attrs.field(default=b"", repr=False)


# 3.11 has no `type` statement yet.
Dialogue: TypeAlias = Generator[list[Request], list[Reply], T]


def why_unsendable(path: str) -> str | None:
    """Return the reason why ``path`` cannot be sent, or None when it can.

    A NUL is refused because OpenSSH closes the whole session over it, with everything that is in flight.
    """
    if path.isascii() and "\0" not in path and len(path) <= _MAX_PATH:  # most paths
        return None
    try:
        data = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return "the path cannot be encoded as UTF-8"
    if b"\0" in data:
        return "the path contains a NUL"
    return f"the path is {len(data)} bytes long, over the limit of {_MAX_PATH}" if len(data) > _MAX_PATH else None


#: The types of the requests that begin with a path.
_WITH_PATH: Final = frozenset([3, 7, 9, 11, 13, 14, 15, 16, 17, 18])


def is_utf8(request: Request) -> bool:
    """Return whether the path of a request is UTF-8; True for a request without a path."""
    if request.kind not in _WITH_PATH or request.body.isascii():
        return True
    (length,) = struct.unpack_from(">I", request.body)
    try:
        request.body[4 : 4 + length].decode()
    except UnicodeDecodeError:
        return False
    return True


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _path(path: str) -> bytes:
    """Encode a path. Every path that is sent passes through here."""
    if why := why_unsendable(path):
        raise OperationRefused(f'"{shorten(display(path), _MAX_SHOWN)}" cannot be sent over SFTP: {why}')
    return _string(path.encode("utf-8", "surrogateescape"))


def open_new(path: str, *, exclusive: bool = True, mode: int | None = None) -> Request:
    """Create a file, and open it for writing; refused when the path exists, unless ``exclusive`` is False.

    TRUNC is sent as well. It means nothing for a new file, but many servers translate the flags as a whole, into the
    mode "w" or "wx" of their language, and know no other combination.

    The file gets ``mode``, without the bits that the server's umask takes away, or the server's default.
    """
    flags = 0x02 | 0x08 | 0x10 | (0x20 if exclusive else 0)  # WRITE, CREAT, TRUNC, EXCL
    return Request(3, _path(path) + struct.pack(">I", flags) + _attributes(None, mode), Handle)


def open_existing(path: str) -> Request:
    """Open a file for reading."""
    return Request(3, _path(path) + struct.pack(">II", 0x01, 0), Handle)


def open_to_continue(path: str) -> Request:
    """Open an existing file for writing, and keep what it has: without TRUNC, and without APPEND.

    With APPEND, servers ignore the offsets of writes.
    """
    return Request(3, _path(path) + struct.pack(">II", 0x02, 0), Handle)


def close(handle: bytes) -> Request:
    """Close a file or directory."""
    return Request(4, _string(handle))


def close_unchecked(handle: bytes) -> Request:
    """Close a file or directory, and ignore the reply: it means nothing for a handle that was only read from."""
    return Request(4, _string(handle), is_unchecked=True)


def read(handle: bytes, offset: int, length: int) -> Request:
    """Read up to ``length`` bytes; a server may return fewer, also before the end of the file."""
    return Request(5, _string(handle) + struct.pack(">QI", offset, length), Data)


def write(handle: bytes, offset: int, data: bytes) -> Request:
    """Write all of ``data`` at ``offset``."""
    return Request(6, _string(handle) + struct.pack(">QI", offset, len(data)), content=data)


def lstat(path: str) -> Request:
    """Read the attributes of a path, without following a symbolic link."""
    return Request(7, _path(path), Attributes)


def fstat(handle: bytes) -> Request:
    """Read the attributes of an open file."""
    return Request(8, _string(handle), Attributes)


def fsetstat(handle: bytes, *, mtime: int | None, mode: int | None) -> Request:
    """Set the time and permissions of an open file. The protocol sets the time of access together with the time."""
    return Request(10, _string(handle) + _attributes(mtime, mode))


def setstat(path: str, *, mtime: int | None, mode: int | None) -> Request:
    """Set the time and permissions of the file with this path, as `fsetstat` does."""
    return Request(9, _path(path) + _attributes(mtime, mode))


def _attributes(mtime: int | None, mode: int | None) -> bytes:
    body = struct.pack(">I", (0x04 if mode is not None else 0) | (0x08 if mtime is not None else 0))
    if mode is not None:
        body += struct.pack(">I", mode)
    return body if mtime is None else body + struct.pack(">II", mtime, mtime)


def open_directory(path: str) -> Request:
    """Open a directory to read its names. The server follows a symbolic link."""
    return Request(11, _path(path), Handle)


def read_directory(handle: bytes) -> Request:
    """Read the next names of a directory."""
    return Request(12, _string(handle), Names)


def remove(path: str) -> Request:
    """Remove a file or link."""
    return Request(13, _path(path))


def make_directory(path: str) -> Request:
    """Make a directory with the server's default permissions."""
    return Request(14, _path(path) + struct.pack(">I", 0))


def remove_directory(path: str) -> Request:
    """Remove an empty directory."""
    return Request(15, _path(path))


def real_path(path: str) -> Request:
    """Ask for the absolute path with all links followed; "." is the login directory."""
    return Request(16, _path(path), Names)


def stat_path(path: str) -> Request:
    """Read the attributes of a path, following symbolic links."""
    return Request(17, _path(path), Attributes)


def rename(path: str, new: str) -> Request:
    """Rename; refused when ``new`` exists."""
    return Request(18, _path(path) + _path(new))


def rename_over(path: str, new: str) -> Request:
    """Rename, and replace an existing ``new`` atomically (``posix-rename@openssh.com``)."""
    return Request(200, _string(b"posix-rename@openssh.com") + _path(path) + _path(new))


def hard_link(path: str, new: str) -> Request:
    """Add a second name to a file; refused when ``new`` exists (``hardlink@openssh.com``)."""
    return Request(200, _string(b"hardlink@openssh.com") + _path(path) + _path(new))


def flush(handle: bytes) -> Request:
    """Flush an open file to the server's disk (``fsync@openssh.com``)."""
    return Request(200, _string(b"fsync@openssh.com") + _string(handle))


def file_system(path: str) -> Request:
    """Ask about the file system of ``path`` (``statvfs@openssh.com``); `replies.has_room` reads the reply."""
    return Request(200, _string(b"statvfs@openssh.com") + _path(path), Extended)


def limits() -> Request:
    """Ask what the server accepts (``limits@openssh.com``); `replies.limits_of` reads the reply."""
    return Request(200, _string(b"limits@openssh.com"), Extended)


def seconds(time_ns: int | None) -> int | None:
    """Convert nanoseconds to the protocol's times: whole seconds, unsigned, 32 bits. Other times are clamped."""
    return None if time_ns is None else min(max(time_ns // 10**9, 0), 2**32 - 1)
