"""The replies of an SFTP server: their types, how they are parsed, and what they mean for a tree.

Version 3 (draft-ietf-secsh-filexfer-02), with OpenSSH's extensions.
"""

from __future__ import annotations

import stat
import struct
from typing import Final, TypeAlias

from actorsync.classes import frozen
from actorsync.errors import ProtocolError
from actorsync.model.entry import Entry, Kind
from actorsync.model.text import display, shorten

__all__ = [
    "FAILURE",
    "OK",
    "Attributes",
    "Data",
    "Extended",
    "Handle",
    "Limits",
    "Names",
    "Reply",
    "Status",
    "as_status",
    "entry_of",
    "has_room",
    "limits_of",
    "parse_reply",
    "parse_version",
    "room_of",
]

#: Characters of a server's message that are shown to a user.
_MAX_SHOWN: Final = 300


# Types.


@frozen
class Status:
    """The outcome of a request: ``code`` 0 for success, 1 for the end of a file or listing, others for a refusal.

    ``message`` is the server's own text. It is only shown; no decision depends on it.
    """

    code: int
    message: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether the request succeeded."""
        return self.code == 0

    @property
    def is_end(self) -> bool:
        """Whether the file or the listing has ended."""
        return self.code == 1

    @property
    def is_missing(self) -> bool:
        """Whether the file does not exist."""
        return self.code in {2, 10}

    @property
    def is_denied(self) -> bool:
        """Whether the server allows or knows no such request."""
        return self.code in {3, 8}

    def __str__(self) -> str:
        """Return one printable line: the name of the code, and the server's message if that says more."""
        name = _CODES.get(self.code, f"status {self.code}")
        text = shorten(display(self.message.strip()), _MAX_SHOWN)
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

#: The code that servers send for any reason that has no code of its own.
FAILURE: Final = 4

#: Success without a message. Most replies are this one, so they share one object.
OK: Final = Status(0)


@frozen
class Handle:
    """An open file or directory."""

    handle: bytes


@frozen
class Data:
    """Bytes of a file."""

    data: bytes


@frozen
class Attributes:
    """The attributes of a file. Those that the server leaves out are ``None``; ``mtime`` is in seconds since 1970."""

    size: int | None = None
    permissions: int | None = None
    mtime: int | None = None

    @property
    def mode(self) -> int | None:
        """The nine permission bits; None when the server does not report them."""
        return None if self.permissions is None else self.permissions & 0o777

    @property
    def kind(self) -> Kind | None:
        """The kind of the file; None when the server does not report it."""
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


@frozen
class Names:
    """Some of the names in a directory, each with its attributes; or the single path in a reply to REALPATH."""

    names: tuple[tuple[str, Attributes], ...]


@frozen
class Extended:
    """The reply to an extension's request."""

    body: bytes


Reply: TypeAlias = Status | Handle | Data | Attributes | Names | Extended


# Parsing.


class _Reader:
    """Reads the fields of a packet in order; raises `ProtocolError` when the packet is too short."""

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
            raise ProtocolError("the server sent a packet that is shorter than its own length fields say")
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

    def name(self) -> tuple[str, Attributes]:
        name = self.text()
        self.string()  # "-rw-r--r-- 1 ...", for people
        return name, self.attributes()

    @property
    def is_empty(self) -> bool:
        return self._at >= len(self._body)

    def rest(self) -> bytes:
        return bytes(self._body[self._at :])

    def _take(self, form: str, size: int) -> tuple[int, ...]:
        if self._at + size > len(self._body):
            raise ProtocolError("the server sent a packet that is shorter than its own length fields say")
        self._at += size
        return struct.unpack_from(form, self._body, self._at - size)


def parse_version(kind: int, body: memoryview) -> dict[str, str]:
    """Parse the first packet of a server, and return its extensions by name.

    Raises:
        ProtocolError: the packet is not a VERSION packet of SFTP version 3.
    """
    reader = _Reader(body)
    if kind != 2 or (version := reader.number()) < 3:
        raise ProtocolError("the server does not support SFTP version 3")
    extensions: dict[str, str] = {}
    while not reader.is_empty and version == 3:
        name = reader.text()
        extensions[name] = reader.text()
    if version != 3:
        raise ProtocolError(f"the server chose SFTP version {version}, although the client offered version 3")
    return extensions


_TWO_NUMBERS: Final = struct.Struct(">II")
_FULL_ATTRIBUTES: Final = struct.Struct(">IIQIIIII")  # id, flags, size, user, group, permissions, two times


def parse_reply(kind: int, body: memoryview) -> tuple[int, Reply]:
    """Parse a packet, and return the id of the request that it answers, and the reply.

    Raises:
        ProtocolError: the packet is not a reply.
    """
    # Most replies have one of these two forms. They are unpacked in one call.
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
            return identity, Names(tuple(reader.name() for _ in range(reader.number())))
        case 201:  # EXTENDED_REPLY
            return identity, Extended(reader.rest())
        case _:
            raise ProtocolError(f"the server sent a packet of type {kind}, which is not a reply")


# Meaning.


def as_status(reply: Reply) -> Status:
    """Return a reply that is known to be a status."""
    assert isinstance(reply, Status)
    return reply


def has_room(reply: Reply) -> bool | None:
    """Tell from a reply to ``statvfs`` whether an ordinary user can store more; None when the reply does not say."""
    if not isinstance(reply, Extended) or len(reply.body) < 11 * 8:
        return None
    numbers = struct.unpack_from(">11Q", reply.body)
    blocks, available_blocks, files, available_files = numbers[2], numbers[4], numbers[5], numbers[7]
    return not ((blocks and not available_blocks) or (files and not available_files))


def room_of(reply: Reply) -> int | None:
    """Return the bytes that an ordinary user can store, from a reply to ``statvfs``; None when it does not say."""
    if not isinstance(reply, Extended) or len(reply.body) < 11 * 8:
        return None
    block, fragment, blocks, _, available_blocks = struct.unpack_from(">5Q", reply.body)
    return available_blocks * (fragment or block) if blocks else None


@frozen
class Limits:
    """What a server accepts: the bytes of one read and of one write, and the open handles. 0: it does not say."""

    read: int = 0
    write: int = 0
    handles: int = 0


def limits_of(reply: Reply) -> Limits:
    """Return the limits in a reply to ``limits@openssh.com``. A server that sends fewer fields does not say."""
    if not isinstance(reply, Extended) or len(reply.body) < 4 * 8:
        return Limits()
    _, read, write, handles = struct.unpack_from(">4Q", reply.body)
    return Limits(read, write, handles)


def entry_of(path: str, found: Attributes) -> Entry | None:
    """Return the entry that attributes describe; None when the server does not report its kind."""
    if (kind := found.kind) is None:
        return None
    if kind is not Kind.FILE:
        return Entry(path, kind, mode=found.mode)
    return Entry(path, kind, found.size or 0, None if found.mtime is None else found.mtime * 10**9, mode=found.mode)
