"""FTP's control connection as bytes: command lines out, replies in (RFC 959, RFC 2640, RFC 3659).

A *flight* is a list of command lines that are sent in one write. The server answers each line with one reply, in
order. A *dialogue* is a generator that yields flights, is sent the replies to each, and returns a result. Six lines
drive one, so that a test needs no server::

    flight = next(dialogue)
    try:
        while True:
            flight = dialogue.send(await exchange(flight))
    except StopIteration as done:
        return done.value
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from typing import TypeAlias, TypeVar

from actorsync.classes import frozen
from actorsync.errors import OperationRefused, ProtocolError
from actorsync.model.text import display, shorten
from actorsync.protocols.greetings import OtherService, instead_of_ftp

__all__ = [
    "MAX_BURST_BYTES",
    "MAX_BURST_COMMANDS",
    "MAX_LINE",
    "MAX_REPLY_BYTES",
    "MAX_REPLY_LINE",
    "MAX_REPLY_LINES",
    "Dialogue",
    "ProtocolError",
    "Reply",
    "ReplyParser",
    "bursts",
    "command_line",
    "is_utf8",
    "verb_of",
    "why_unsendable",
]

# Servers read a command into a fixed buffer, of 2,048 bytes at the smallest (pyftpdlib). After a longer line, one
# server answers 500 and stays one reply out of step, one closes the connection, and one never answers (ProFTPD, 4,096).
MAX_LINE = 2_000

# The tested servers took 1,000 commands and 80 kB in one write. The limits are far below: no reply is read during a
# write, so a server that blocks on writing replies would block the write; and the outcome of a whole burst is unknown
# when the connection is lost.
MAX_BURST_COMMANDS = 64
MAX_BURST_BYTES = 8_000

# No honest server comes near these limits. They keep a hostile one from filling the memory.
MAX_REPLY_LINE = 8 * 1024
MAX_REPLY_LINES = 1_000
MAX_REPLY_BYTES = 1024 * 1024

_SHOWN = 300  # characters of the server's text in one of our messages

_T = TypeVar("_T")


@frozen
class Reply:
    """One reply of the server.

    ``lines`` is the text: the first and the last line without their code, and the lines between them unchanged, as RFC
    959 gives them no code (those of FEAT start with a space). A reply of one line has one.
    The text is for people. It decides nothing, except where an RFC defines its form.
    """

    code: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """The last line, which has the result."""
        return self.lines[-1]

    @property
    def is_preliminary(self) -> bool:
        """Whether it is 1xx: another reply follows."""
        return self.code // 100 == 1

    @property
    def is_positive(self) -> bool:
        """Whether it is 2xx: done."""
        return self.code // 100 == 2

    @property
    def is_transient(self) -> bool:
        """Whether it is 4xx: refused for now."""
        return self.code // 100 == 4

    @property
    def is_permanent(self) -> bool:
        """Whether it is 5xx: refused."""
        return self.code // 100 == 5

    @property
    def is_refusal(self) -> bool:
        """Whether it is 4xx or 5xx."""
        return self.code // 100 in {4, 5}

    def __str__(self) -> str:
        """Return one line, escaped for display: ``550 No such file``."""
        return shorten(display(f"{self.code} {self.text}".rstrip()), _SHOWN)


# 3.11 has no `type` statement yet.
Dialogue: TypeAlias = Generator[list[bytes], list[Reply], _T]


# The bytes that may not be in a line. 0xFF is Telnet's IAC: ProFTPD drops it together with the next byte. A name that
# arrives as another name is worse than one that does not arrive.
_FORBIDDEN = re.compile(rb"[\r\n\0\xff]")
_NAMES_OF_FORBIDDEN = {b"\r": "a carriage return", b"\n": "a line feed", b"\0": "a NUL", b"\xff": "the byte 0xFF"}


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _fault(text: str) -> str | None:
    try:
        found = _FORBIDDEN.search(_encoded(text))
    except UnicodeEncodeError:
        return "it cannot be encoded as UTF-8"
    return f"it contains {_NAMES_OF_FORBIDDEN[found[0]]}" if found else None


def why_unsendable(argument: str, *, verb: str = "MFMT 00000000000000") -> str | None:
    """Return why ``argument`` cannot be part of a command line, or None when it can.

    The result does not contain the argument, which may be a password. The default for ``verb`` is the longest one that
    takes a path: a path that passes here can be used in every dialogue.
    """
    # Most paths are plain: as many bytes as characters, and none of them forbidden.
    if argument.isascii() and argument.isprintable() and verb.isascii() and len(verb) + len(argument) + 3 <= MAX_LINE:
        return None
    if fault := _fault(argument):
        return fault
    length = len(_encoded(verb)) + len(_encoded(argument)) + 3  # a space, CR and LF
    return f"its command line would have {length} bytes, and the limit is {MAX_LINE}" if length > MAX_LINE else None


_VERB = re.compile(r"[ -~]*[!-~][ -~]*")


def command_line(verb: str, argument: str | None = None) -> bytes:
    """Build the line ``verb argument``, as UTF-8, with its CRLF.

    This is the only place where a command line is made. For any argument (file names are untrusted, CVE-2026-71311),
    the result has exactly one CRLF, at its end, and at most ``MAX_LINE`` bytes.

    Raises:
        OperationRefused: The line cannot be sent.
    """
    if not _VERB.fullmatch(verb):
        raise OperationRefused(f"{shorten(display(verb), 40)!r} is not an FTP command")
    if why := why_unsendable(argument or "", verb=verb):
        shown = "the password" if verb == "PASS" else f'"{shorten(display(argument or verb), _SHOWN)}"'
        raise OperationRefused(f"{shown} cannot be sent over FTP: {why}")
    line = verb if argument is None else f"{verb} {argument}"
    return _encoded(f"{line}\r\n")


def verb_of(line: bytes) -> str:
    """Return the verb of a command line."""
    return line.split(maxsplit=1)[0].decode("ascii")


def is_utf8(line: bytes) -> bool:
    """Return whether a command line is UTF-8. Some servers never answer one that is not."""
    if line.isascii():
        return True
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def bursts(
    units: Iterable[tuple[bytes, ...]],
    most_commands: int = MAX_BURST_COMMANDS,
    most_bytes: int = MAX_BURST_BYTES,
) -> Iterator[list[bytes]]:
    """Group lines into flights, in order. With the default limits, any server can take them.

    A unit (one line, or RNFR and RNTO) is never split between two flights.
    """
    burst: list[bytes] = []
    size = 0
    for unit in units:
        length = sum(map(len, unit))
        if burst and (len(burst) + len(unit) > most_commands or size + length > most_bytes):
            yield burst
            burst, size = [], 0
        burst.extend(unit)
        size += length
    if burst:
        yield burst


_WHOLE_REPLY = re.compile(rb"([1-6][0-5][0-9]) ([^\n]*)\n")
_FIRST_LINE = re.compile(rb"([1-6][0-9]{2})(?:([ -])(.*))?", re.DOTALL)


class ReplyParser:
    """Turns the bytes of a control connection into replies, in pieces of any size.

    ``feed`` takes received bytes. ``next_reply`` returns the next whole reply, or None when more bytes are needed.
    After it has raised `ProtocolError` once, it always does: the connection has to be closed.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._code = b""
        self._lines: list[bytes] = []
        self._size = 0
        self._fault: str | None = None
        self._is_greeting = True

    @property
    def is_empty(self) -> bool:
        """Whether every byte was returned in a reply. Required before a TLS handshake (CVE-2021-22947)."""
        return not self._buffer and not self._lines

    def feed(self, data: bytes | bytearray) -> None:
        """Take received bytes."""
        self._buffer += data

    def next_reply(self) -> Reply | None:
        """Return the next reply, or None when it is not whole yet.

        Raises:
            OtherService: The first line is that of a server of another kind.
            ProtocolError: The bytes are not FTP, or a line or reply exceeds the limits of this module.
        """
        if self._fault:
            raise ProtocolError(self._fault)
        if not self._lines and (whole := _WHOLE_REPLY.match(self._buffer)) and whole.end() <= MAX_REPLY_LINE:
            code, text, end = whole[1], whole[2], whole.end()  # the usual case: one line
            self._is_greeting, self._searched = False, 0
            del self._buffer[:end]
            return Reply(int(code), (text.removesuffix(b"\r").decode("utf-8", "surrogateescape"),))
        while (line := self._next_line()) is not None:
            if reply := self._add(line):
                return reply
        return None

    def _fail(self, fault: str) -> ProtocolError:
        self._fault = fault
        return ProtocolError(fault)

    def _next_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._searched)
        if (len(self._buffer) if end < 0 else end) > MAX_REPLY_LINE:
            raise self._fail(f"the server sends a line of more than {MAX_REPLY_LINE} bytes")
        if end < 0:
            self._searched = len(self._buffer)
            return None
        line = bytes(self._buffer[:end]).removesuffix(b"\r")
        del self._buffer[: end + 1]
        self._searched = 0
        return line

    def _add(self, line: bytes) -> Reply | None:
        """Take one line. Returns the reply that it ends, if it ends one."""
        self._size += len(line)
        if self._size > MAX_REPLY_BYTES or len(self._lines) >= MAX_REPLY_LINES:
            raise self._fail("the server sends an endless reply")
        if self._lines:
            is_last = line == self._code or line.startswith(self._code + b" ")
            self._lines.append(line[4:] if is_last else line)
            return self._finish() if is_last else None
        first = _FIRST_LINE.fullmatch(line)
        if first is None or int(first[1]) > 659:
            text = line.decode("utf-8", "surrogateescape")
            if self._is_greeting and (other := instead_of_ftp(text)) is not None:
                self._fault = other
                raise OtherService(other)
            raise self._fail(f'the server sent no valid FTP reply: "{shorten(display(text), _SHOWN)}"')
        self._code, self._is_greeting = first[1], False
        self._lines.append(first[3] or b"")
        return None if first[2] == b"-" else self._finish()

    def _finish(self) -> Reply:
        text = tuple(line.decode("utf-8", "surrogateescape") for line in self._lines)
        self._lines.clear()
        self._size = 0
        return Reply(int(self._code), text)
