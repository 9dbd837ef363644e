"""SFTP as bytes: requests out, replies in (version 3: draft-ietf-secsh-filexfer-02, and OpenSSH's extensions).

A *flight* is a list of requests that go out in one write. Each carries an id, and the server may answer in any order:
only requests about one file are taken in the order in which they were sent. A *dialogue* is a generator that yields
flights, is sent the replies to each, in the order of the requests, and returns what was learnt.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Generator, Iterator
from typing import Final, TypeAlias, TypeVar

import attrs

from actorsync.errors import OperationRefused, ProtocolError
from actorsync.model.entry import Entry, Kind
from actorsync.model.text import display, shorten

__all__ = [
    "INIT",
    "MAX_PACKET",
    "OK",
    "Attributes",
    "Data",
    "Dialogue",
    "Extended",
    "Handle",
    "Names",
    "PacketParser",
    "Reply",
    "Request",
    "Status",
    "entry_of",
    "packet",
    "parse_reply",
    "parse_version",
    "seconds",
    "why_unsendable",
]

T = TypeVar("T")

#: What we send first: "I speak version 3", which is what everybody speaks.
INIT: Final = struct.pack(">IBI", 5, 1, 3)

#: No honest server sends a longer packet: the longest that we ask for hold 256 KiB of a file.
MAX_PACKET: Final = 1024 * 1024

#: Linux takes no longer path, and no server should have to find out.
_MAX_PATH: Final = 4_095
_SHOWN: Final = 300


# Replies.


@attrs.frozen
class Status:
    """The outcome of a request: ``code`` 0 for done, 1 for "there is no more", anything else for a refusal.

    ``message`` is the server's own text, for people; nothing is decided by it.
    """

    code: int
    message: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether it was done."""
        return self.code == 0

    @property
    def is_end(self) -> bool:
        """Whether there is no more: the end of a file, or of a listing."""
        return self.code == 1

    @property
    def is_missing(self) -> bool:
        """Whether there is no such file."""
        return self.code in {2, 10}

    @property
    def is_vague(self) -> bool:
        """Whether it says no more than "failure": it is there already, the disk is full, it is not empty, ..."""
        return self.code == 4

    @property
    def is_unsupported(self) -> bool:
        """Whether the server does not know the request."""
        return self.code == 8

    def __str__(self) -> str:
        """Give one line fit to be shown: the code's name, and what the server adds to it."""
        name = _CODES.get(self.code, f"status {self.code}")
        text = shorten(display(self.message.strip()), _SHOWN)
        return name if not text or text.casefold().rstrip(".") == name else f"{name} ({text})"


_CODES: Final = {
    0: "ok",
    1: "end of file",
    2: "no such file",
    3: "permission denied",
    4: "failure",
    5: "bad message",
    6: "no connection",
    7: "connection lost",
    8: "operation unsupported",
}

#: Done, and nothing to say about it: most replies are this one.
OK: Final = Status(0)


@attrs.frozen
class Handle:
    """An open file or directory."""

    handle: bytes


@attrs.frozen
class Data:
    """Bytes of a file."""

    data: bytes


@attrs.frozen
class Attributes:
    """What a server tells of a file. What it does not tell is ``None``; ``mtime`` is in seconds since the epoch."""

    size: int | None = None
    permissions: int | None = None
    mtime: int | None = None

    @property
    def kind(self) -> Kind | None:
        """What it is; None when the server does not say."""
        if self.permissions is None or not stat.S_IFMT(self.permissions):
            return None
        match stat.S_IFMT(self.permissions):
            case stat.S_IFREG:
                return Kind.FILE
            case stat.S_IFDIR:
                return Kind.DIRECTORY
            case stat.S_IFLNK:
                return Kind.LINK
            case _:
                return Kind.OTHER


@attrs.frozen
class Names:
    """Some of the names of a directory, each with its attributes; or the one name that REALPATH answers with."""

    names: tuple[tuple[str, Attributes], ...]


@attrs.frozen
class Extended:
    """The answer to an extension."""

    body: bytes


Reply: TypeAlias = Status | Handle | Data | Attributes | Names | Extended


# Requests.


@attrs.frozen
class Request:
    """One request without its id: its type, its body, and what it is answered with when it is not a `Status`.

    ``content`` follows the body: bytes of a file, which are worth not being copied.
    Nobody waits for the answer to one that ``is_parting``; its place among the replies is taken by `OK`.
    """

    kind: int
    body: bytes = attrs.field(repr=False)
    answer: type[Reply] = Status
    is_parting: bool = False
    content: bytes = attrs.field(default=b"", repr=False)


# 3.11 has no `type` statement yet.
Dialogue: TypeAlias = Generator[list[Request], list[Reply], T]


def packet(identity: int, request: Request) -> bytes:
    """Give the bytes of a request."""
    body, content = request.body, request.content
    return b"".join((struct.pack(">IBI", len(body) + len(content) + 5, request.kind, identity), body, content))


def why_unsendable(path: str) -> str | None:
    """Say why ``path`` cannot be sent, or ``None`` when it can.

    OpenSSH ends the whole session over a NUL, with everything that is in flight.
    """
    try:
        data = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return "it is not text that can be encoded"
    if b"\0" in data:
        return "it holds a NUL"
    return f"it is {len(data)} bytes long, over {_MAX_PATH}" if len(data) > _MAX_PATH else None


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _path(path: str) -> bytes:
    """Build a path. This is the only place where one gets onto the wire."""
    if why := why_unsendable(path):
        raise OperationRefused(f'"{shorten(display(path), _SHOWN)}" cannot be sent over SFTP: {why}')
    return _string(path.encode("utf-8", "surrogateescape"))


def open_new(path: str) -> Request:
    """Make a file, which may not be there yet, and open it for writing."""
    return Request(3, _path(path) + struct.pack(">II", 0x02 | 0x08 | 0x20, 0), Handle)  # WRITE, CREAT, EXCL


def open_existing(path: str) -> Request:
    """Open a file for reading."""
    return Request(3, _path(path) + struct.pack(">II", 0x01, 0), Handle)


def close(handle: bytes) -> Request:
    """Close a file or directory."""
    return Request(4, _string(handle))


def part(handle: bytes) -> Request:
    """Close what was only read: there is nothing to learn from the answer."""
    return Request(4, _string(handle), is_parting=True)


def read(handle: bytes, offset: int, length: int) -> Request:
    """Read up to ``length`` bytes; a server may give fewer, also before the end of the file."""
    return Request(5, _string(handle) + struct.pack(">QI", offset, length), Data)


def write(handle: bytes, offset: int, data: bytes) -> Request:
    """Write all of ``data`` at ``offset``."""
    return Request(6, _string(handle) + struct.pack(">QI", offset, len(data)), content=data)


def lstat(path: str) -> Request:
    """Look at a name itself, also when it is a link."""
    return Request(7, _path(path), Attributes)


def fstat(handle: bytes) -> Request:
    """Look at an open file."""
    return Request(8, _string(handle), Attributes)


def fsetstat(handle: bytes, *, mtime: int | None, mode: int | None) -> Request:
    """Set an open file's time (and time of access, which the protocol has only together with it) and permissions."""
    flags = (0x04 if mode is not None else 0) | (0x08 if mtime is not None else 0)
    body = struct.pack(">I", flags)
    if mode is not None:
        body += struct.pack(">I", mode)
    if mtime is not None:
        body += struct.pack(">II", mtime, mtime)
    return Request(10, _string(handle) + body)


def open_directory(path: str) -> Request:
    """Open a directory, following a link, to read its names."""
    return Request(11, _path(path), Handle)


def read_directory(handle: bytes) -> Request:
    """Read some more names."""
    return Request(12, _string(handle), Names)


def remove(path: str) -> Request:
    """Remove a file or link."""
    return Request(13, _path(path))


def make_directory(path: str) -> Request:
    """Make a directory with the permissions that the server gives."""
    return Request(14, _path(path) + struct.pack(">I", 0))


def remove_directory(path: str) -> Request:
    """Remove an empty directory."""
    return Request(15, _path(path))


def real_path(path: str) -> Request:
    """Ask what a path is when all its links are followed; "." is where the login leads."""
    return Request(16, _path(path), Names)


def stat_path(path: str) -> Request:
    """Look at what a name leads to."""
    return Request(17, _path(path), Attributes)


def rename(path: str, new: str) -> Request:
    """Rename; refused when ``new`` is there."""
    return Request(18, _path(path) + _path(new))


def rename_over(path: str, new: str) -> Request:
    """Rename, replacing what is there in one stroke (``posix-rename@openssh.com``)."""
    return Request(200, _string(b"posix-rename@openssh.com") + _path(path) + _path(new))


def flush(handle: bytes) -> Request:
    """Have an open file written to the server's disk (``fsync@openssh.com``)."""
    return Request(200, _string(b"fsync@openssh.com") + _string(handle))


def file_system(path: str) -> Request:
    """Ask about the file system that ``path`` is on (``statvfs@openssh.com``); see `has_room`."""
    return Request(200, _string(b"statvfs@openssh.com") + _path(path), Extended)


def has_room(answer: Reply) -> bool | None:
    """Say whether a file system has room for an ordinary user; None when the answer does not tell."""
    if not isinstance(answer, Extended) or len(answer.body) < 11 * 8:
        return None
    numbers = struct.unpack_from(">11Q", answer.body)
    blocks, available_blocks, files, available_files = numbers[2], numbers[4], numbers[5], numbers[7]
    return not ((blocks and not available_blocks) or (files and not available_files))


# Reading.


class PacketParser:
    """Turns the bytes of a channel into packets, however they were cut.

    ``feed`` takes what was received and gives the packets that are whole by now, as type and body.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, memoryview]]:
        """Take bytes as they came; use up what it gives before the next call.

        Raises:
            ProtocolError: this is not SFTP, or a packet is longer than any server has reason to send.
        """
        if self._buffer:
            self._buffer += data
            data = bytes(self._buffer)
            self._buffer.clear()
        view, start = memoryview(data), 0
        while len(view) - start >= 4:
            (length,) = struct.unpack_from(">I", view, start)
            if not 1 <= length <= MAX_PACKET:
                raise ProtocolError(f"the server sends a packet of {length} bytes, which is not SFTP")
            if len(view) - start - 4 < length:
                break
            yield view[start + 4], view[start + 5 : start + 4 + length]
            start += 4 + length
        self._buffer += view[start:]


class _Reader:
    """Takes a packet apart; too short a packet is a `ProtocolError`."""

    def __init__(self, body: memoryview) -> None:
        self._body, self._at = body, 0

    def number(self) -> int:
        (value,) = self._take(">I", 4)
        return int(value)

    def long(self) -> int:
        (value,) = self._take(">Q", 8)
        return int(value)

    def string(self) -> bytes:
        length = self.number()
        if self._at + length > len(self._body):
            raise ProtocolError("the server sends a packet that is shorter than it says")
        self._at += length
        return bytes(self._body[self._at - length : self._at])

    def text(self) -> str:
        return self.string().decode("utf-8", "surrogateescape")

    def attributes(self) -> Attributes:
        flags = self.number()
        size = self.long() if flags & 0x01 else None
        if flags & 0x02:
            self.long()  # user and group
        permissions = self.number() if flags & 0x04 else None
        mtime = None
        if flags & 0x08:
            self.number()  # time of access
            mtime = self.number()
        if flags & 0x80000000:
            for _ in range(self.number()):
                self.string()
                self.string()
        return Attributes(size, permissions, mtime)

    @property
    def is_empty(self) -> bool:
        return self._at >= len(self._body)

    def rest(self) -> bytes:
        return bytes(self._body[self._at :])

    def _take(self, form: str, size: int) -> tuple[int, ...]:
        if self._at + size > len(self._body):
            raise ProtocolError("the server sends a packet that is shorter than it says")
        self._at += size
        return struct.unpack_from(form, self._body, self._at - size)


def parse_version(kind: int, body: memoryview) -> dict[str, str]:
    """Read the first packet of a server; give its extensions.

    Raises:
        ProtocolError: it is not version 3, or no SFTP at all.
    """
    reader = _Reader(body)
    if kind != 2 or (version := reader.number()) < 3:
        raise ProtocolError("the server does not speak SFTP version 3")
    extensions: dict[str, str] = {}
    while not reader.is_empty and version == 3:
        name = reader.text()
        extensions[name] = reader.text()
    if version != 3:
        raise ProtocolError(f"the server speaks SFTP version {version}, and was asked for 3")
    return extensions


_TWO_NUMBERS: Final = struct.Struct(">II")
_FULL_ATTRIBUTES: Final = struct.Struct(">IIQIIIII")  # id, flags, size, user, group, permissions, two times


def parse_reply(kind: int, body: memoryview) -> tuple[int, Reply]:
    """Read a packet; give the id of the request that it answers, and the answer.

    Raises:
        ProtocolError: it is no answer.
    """
    # The two that most replies are, without taking them apart piece by piece.
    if kind == 101 and len(body) >= 8:
        identity, code = _TWO_NUMBERS.unpack_from(body)
        if not code:
            return identity, OK
    elif kind == 105 and len(body) == _FULL_ATTRIBUTES.size:
        identity, flags, size, _, _, permissions, _, mtime = _FULL_ATTRIBUTES.unpack(body)
        if flags == 0x0F:
            return identity, Attributes(size, permissions, mtime)
    reader = _Reader(body)
    identity = reader.number()
    match kind:
        case 101:  # STATUS
            code = reader.number()
            return identity, OK if not code else Status(code, "" if reader.is_empty else reader.text())
        case 105:  # ATTRS
            return identity, reader.attributes()
        case 102:  # HANDLE
            return identity, Handle(reader.string())
        case 103:  # DATA
            return identity, Data(reader.string())
        case 104:  # NAME
            return identity, Names(tuple(_name(reader) for _ in range(reader.number())))
        case 201:  # EXTENDED_REPLY
            return identity, Extended(reader.rest())
        case _:
            raise ProtocolError(f"the server sends a packet of type {kind}, which answers nothing")


def _name(reader: _Reader) -> tuple[str, Attributes]:
    name = reader.text()
    reader.string()  # "-rw-r--r-- 1 ...": for people
    return name, reader.attributes()


# What it means.


def seconds(time_ns: int | None) -> int | None:
    """Give a time as the protocol has it: whole seconds, unsigned, 32 bits. What does not fit becomes the nearest."""
    return None if time_ns is None else min(max(time_ns // 10**9, 0), 2**32 - 1)


def entry_of(path: str, found: Attributes) -> Entry | None:
    """Give the entry that a server describes; None when it does not say what it is."""
    if (kind := found.kind) is None:
        return None
    mtime_ns = None if found.mtime is None else found.mtime * 10**9
    return Entry(path, kind, found.size or 0 if kind is Kind.FILE else 0, mtime_ns if kind is Kind.FILE else None)
