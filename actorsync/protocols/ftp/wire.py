"""FTP's control connection as bytes: command lines out, replies in (RFC 959, RFC 2640, RFC 3659).

A *flight* is a list of command lines that go out in one write; the server answers each with one reply, in
order. A *dialogue* is a generator that yields flights, is sent the replies to each, and returns what was learnt.
Whoever drives one needs six lines, and a test needs no server at all::

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

import attrs

from actorsync.errors import OperationRefused, ProtocolError
from actorsync.model.text import display, shorten

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
    "verb_of",
    "why_unsendable",
]

# Servers read a command into a fixed buffer. Beyond it (2,048 bytes at the smallest, pyftpdlib) one answers 500 and
# is then one reply out of step for ever, one hangs up, and one never answers at all (ProFTPD, 4,096).
MAX_LINE = 2_000

# The servers at hand took 1,000 commands and 80 kB in one write. We stay far below: while we write nobody reads
# replies, so a server that blocks on writing them would block us; and everything in a burst has an unknown outcome
# when the connection is lost.
MAX_BURST_COMMANDS = 64
MAX_BURST_BYTES = 8_000

# No honest server comes near these; a hostile one may not fill our memory.
MAX_REPLY_LINE = 8 * 1024
MAX_REPLY_LINES = 1_000
MAX_REPLY_BYTES = 1024 * 1024

_SHOWN = 300  # characters of foreign text in one of our own lines

_T = TypeVar("_T")


@attrs.frozen
class Reply:
    """One reply of the server.

    ``lines`` holds the text: the first and the last line without their code, the lines between them raw and
    whole, as RFC 959 gives them no code (those of FEAT start with a space). A reply of one line has one.
    The text is for people. Nothing is decided by it, save where an RFC says what it holds.
    """

    code: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """The last line, which is the one that counts."""
        return self.lines[-1]

    @property
    def is_preliminary(self) -> bool:
        """1xx: another reply follows."""
        return self.code // 100 == 1

    @property
    def is_positive(self) -> bool:
        """2xx: done."""
        return self.code // 100 == 2

    @property
    def is_intermediate(self) -> bool:
        """3xx: the server waits for the rest of a sequence."""
        return self.code // 100 == 3

    @property
    def is_transient(self) -> bool:
        """4xx: refused for now."""
        return self.code // 100 == 4

    @property
    def is_permanent(self) -> bool:
        """5xx: refused."""
        return self.code // 100 == 5

    @property
    def is_refusal(self) -> bool:
        """4xx or 5xx."""
        return self.is_transient or self.is_permanent

    def __str__(self) -> str:
        """Give one line fit to be shown: ``550 No such file``."""
        return shorten(display(f"{self.code} {self.text}".rstrip()), _SHOWN)


# 3.11 has no `type` statement yet.
Dialogue: TypeAlias = Generator[list[bytes], list[Reply], _T]


# What may not be in a line. 0xFF is Telnet's IAC: ProFTPD eats it together with the byte behind it, and a name that
# arrives as another name is worse than one that does not arrive.
_FORBIDDEN = re.compile(rb"[\r\n\0\xff]")
_NAMES_OF_FORBIDDEN = {b"\r": "a carriage return", b"\n": "a line feed", b"\0": "a NUL", b"\xff": "the byte 0xFF"}


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _fault(text: str) -> str | None:
    try:
        found = _FORBIDDEN.search(_encoded(text))
    except UnicodeEncodeError:
        return "it is not text that can be encoded"
    return f"it holds {_NAMES_OF_FORBIDDEN[found[0]]}" if found else None


def why_unsendable(argument: str, *, verb: str = "MFMT 00000000000000") -> str | None:
    """Say why ``argument`` cannot stand on a command line, or ``None`` when it can.

    The answer does not hold the argument, so it may be asked about a password. The default for ``verb`` is the
    longest that a path ever comes behind: a path that passes here can be used in every dialogue.
    """
    if fault := _fault(argument):
        return fault
    length = len(_encoded(verb)) + len(_encoded(argument)) + 3  # a space, CR and LF
    return f"it makes a line of {length} bytes, over {MAX_LINE}" if length > MAX_LINE else None


_VERB = re.compile(r"[ -~]*[!-~][ -~]*")


def command_line(verb: str, argument: str | None = None) -> bytes:
    """Build the one line that says ``verb argument``, as UTF-8, with its CRLF.

    This is the only place where a command line is made. Whatever the argument (file names are strangers' text,
    CVE-2026-71311), what it returns holds exactly one CRLF, at its end, and at most ``MAX_LINE`` bytes.

    Raises:
        OperationRefused: such a line cannot be sent. Nothing was.
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


def bursts(units: Iterable[tuple[bytes, ...]]) -> Iterator[list[bytes]]:
    """Gather lines into flights that any server can take, in order.

    A unit (one line, or RNFR and RNTO) is never split between two flights.
    """
    burst: list[bytes] = []
    size = 0
    for unit in units:
        length = sum(map(len, unit))
        if burst and (len(burst) + len(unit) > MAX_BURST_COMMANDS or size + length > MAX_BURST_BYTES):
            yield burst
            burst, size = [], 0
        burst.extend(unit)
        size += length
    if burst:
        yield burst


_WHOLE_REPLY = re.compile(rb"([1-6][0-5][0-9]) (.*)", re.DOTALL)
_FIRST_LINE = re.compile(rb"([1-6][0-9]{2})(?:([ -])(.*))?", re.DOTALL)


class ReplyParser:
    """Turns the bytes of a control connection into replies, however the wire has cut them.

    ``feed`` takes what was received, ``next_reply`` gives the next whole reply or ``None`` when more bytes are
    needed. Once it has raised `ProtocolError` it does so for ever: the connection is to be dropped.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._code = b""
        self._lines: list[bytes] = []
        self._size = 0
        self._fault: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every byte fed was given back in a reply. Before a TLS handshake it has to be (CVE-2021-22947)."""
        return not self._buffer and not self._lines

    def feed(self, data: bytes | bytearray) -> None:
        """Take bytes as they came."""
        self._buffer += data

    def next_reply(self) -> Reply | None:
        """Give the next reply, or ``None`` when it is not whole yet.

        Raises:
            ProtocolError: this is not FTP, or a line or reply is longer than any server has reason to send.
        """
        if self._fault:
            raise ProtocolError(self._fault)
        while (line := self._next_line()) is not None:
            if not self._lines and (whole := _WHOLE_REPLY.fullmatch(line)):  # as most are
                return Reply(int(whole[1]), (whole[2].decode("utf-8", "surrogateescape"),))
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
        """Take one line; give the reply that it ends, if it ends one."""
        self._size += len(line)
        if self._size > MAX_REPLY_BYTES or len(self._lines) >= MAX_REPLY_LINES:
            raise self._fail("the server sends a reply without an end")
        if self._lines:
            is_last = line == self._code or line.startswith(self._code + b" ")
            self._lines.append(line[4:] if is_last else line)
            return self._finish() if is_last else None
        first = _FIRST_LINE.fullmatch(line)
        if first is None or int(first[1]) > 659:
            shown = shorten(display(line.decode("utf-8", "surrogateescape")), _SHOWN)
            raise self._fail(f'the server sends what is not an FTP reply: "{shown}"')
        self._code = first[1]
        self._lines.append(first[3] or b"")
        return None if first[2] == b"-" else self._finish()

    def _finish(self) -> Reply:
        text = tuple(line.decode("utf-8", "surrogateescape") for line in self._lines)
        self._lines.clear()
        self._size = 0
        return Reply(int(self._code), text)
