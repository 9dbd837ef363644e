"""The meaning of FTP replies: the codes that each command may get, and the texts whose form an RFC defines."""

from __future__ import annotations

import enum
import re
import time
from collections.abc import Mapping
from datetime import date
from functools import lru_cache

from actorsync.classes import frozen
from actorsync.errors import ConnectionLost, LoginRefused, OperationRefused
from actorsync.protocols.ftp.flights import OutOfStep
from actorsync.protocols.ftp.wire import ProtocolError, Reply, command_line

__all__ = [
    "EXPECTED",
    "Features",
    "TimeSetter",
    "accept_tls",
    "available_of",
    "can_set_mode",
    "checked",
    "ends_session",
    "epsv_port",
    "format_time",
    "greet",
    "parse_features",
    "parse_mdtm_time",
    "parse_working_directory",
    "pasv_port",
    "set_mode_line",
    "set_time_line",
    "size_of",
    "was_time_set",
]

_TRANSFER = frozenset({125, 150, 226, 250})
_DONE = frozenset({200, 250})
_TIME = frozenset({213, 200, 250, 253})

#: The codes that a server may answer each command with. A refusal (4xx, 5xx) is always possible as well. Any other code
#: means that the reply belongs to another command. Replies are matched by position, so all that follow are wrong too.
EXPECTED: Mapping[str, frozenset[int]] = {
    "CWD": _DONE,
    "DELE": _DONE,
    "EPSV": frozenset({229, 227}),  # 227 is not of RFC 2428, and some servers send it
    "FEAT": frozenset({211}),
    "LIST": _TRANSFER,
    "MDTM": _TIME,
    "MFMT": _TIME,
    "MKD": frozenset({257, 250}),
    "MLSD": _TRANSFER,
    "MLST": frozenset({250}),
    "OPTS": frozenset({200, 202, 211, 220, 250}),
    "PASS": frozenset({230, 202, 332}),
    "PASV": frozenset({227}),
    "PROT": frozenset({200}),
    "PWD": frozenset({257}),
    "REST": frozenset({350}),
    "RETR": _TRANSFER,
    "RMD": _DONE,
    "RNFR": frozenset({350}),
    "RNTO": _DONE,
    "SITE": frozenset({200, 202, 250}),
    "SIZE": frozenset({213}),
    "AVBL": frozenset({213}),
    "STOR": _TRANSFER,
    "SYST": frozenset({215}),
    "TYPE": frozenset({200}),
    "USER": frozenset({230, 232, 331, 332}),
}


def ends_session(reply: Reply) -> bool:
    """Return whether the server ends the session with this reply, whatever the command was.

    421 says so (RFC 959). vsftpd sends ``500 OOPS:`` when one of its own processes has failed, and then exits: the
    reply says nothing about the command.
    """
    return reply.code == 421 or (reply.code == 500 and reply.lines[0].startswith("OOPS: "))


def checked(verb: str, reply: Reply) -> Reply:
    """Return ``reply`` when it can be the answer to ``verb``. Every reply is checked here before it is used.

    Raises:
        ConnectionLost: The server ends the session with it (see `ends_session`).
        OutOfStep: It is no possible answer to this command.
    """
    if ends_session(reply):
        raise ConnectionLost(f"the server closes the connection: {reply}")
    if reply.is_refusal or reply.code in EXPECTED[verb]:
        return reply
    raise OutOfStep(f'answers out of step: {verb} was answered with "{reply}"')


def greet(reply: Reply) -> bool:
    """Return whether the first reply of a connection is the greeting; False when another reply follows (120).

    Raises:
        ConnectionLost: The server offers no service now.
        ProtocolError: It is not a greeting. Only 220 is one: 230 or 331 would make the client skip the steps before
            the login, such as TLS (CVE-2021-22946).
    """
    if reply.code in {120, 220}:
        return reply.code == 220
    if reply.is_transient or ends_session(reply):
        raise ConnectionLost(f"the server offers no service now: {reply}")
    raise ProtocolError(f'the server greets with "{reply}"')


def accept_tls(reply: Reply) -> None:
    """Check that the reply to ``AUTH TLS`` allows the handshake.

    Raises:
        ConnectionLost: The server ends the session with it (see `ends_session`).
        LoginRefused: It is anything else but 234. The server has no TLS, or an attacker has suppressed it. Going on in
            clear is never an option.
    """
    if ends_session(reply):
        raise ConnectionLost(f"the server closes the connection: {reply}")
    if reply.code != 234:
        raise LoginRefused(f'the server refused TLS: AUTH TLS was answered with "{reply}"')


@frozen
class Features:
    """What a server reports about itself.

    ``names`` are its extensions in upper case (``MLST``, ``MFMT``, ``REST``). ``working_directory`` is the directory
    after the login, None when the server does not report it. ``hashes`` are the algorithms of HASH.
    """

    names: frozenset[str] = frozenset()
    working_directory: str | None = None
    hashes: frozenset[str] = frozenset()

    @property
    def has_mlst(self) -> bool:
        """Whether the server has MLST and MLSD. A server that has one has both (RFC 3659 section 7.8)."""
        return not self.names.isdisjoint({"MLST", "MLSD"})

    @property
    def time_setter(self) -> TimeSetter:
        """The command that may set times. Only a try shows whether MDTM does (vsftpd) or is refused (all others)."""
        return next((setter for setter in TimeSetter if setter.value in self.names), TimeSetter.NONE)


def parse_features(reply: Reply) -> Features:
    """Read the reply to FEAT (RFC 2389). After a refusal there are no features."""
    if not reply.is_positive:
        return Features()
    # Some servers repeat the code on each line, as they do in other replies.
    lines = [line.removeprefix(f"{reply.code}-").split() for line in reply.lines[1:-1]]
    names = frozenset(words[0].upper() for words in lines if words)
    listed = next((words[1] for words in lines if len(words) == 2 and words[0].upper() == "HASH"), "")
    hashes = frozenset(name.removesuffix("*").upper() for name in listed.split(";") if name)
    return Features(names=names, hashes=hashes)


_QUOTED = re.compile(r'"((?:[^"]|"")*)"(?: |$)', re.DOTALL)


def parse_working_directory(reply: Reply) -> str | None:
    r"""Read the directory from a 257 (RFC 959 appendix II): ``"/a""b" is current`` is ``/a"b``.

    Pure-FTPd does not double the quotes. The name then ends at the last one. None: the reply has no directory.
    """
    if reply.code != 257:
        return None
    if match := _QUOTED.match(reply.text):
        return match[1].replace('""', '"')
    start, end = reply.text.find('"'), reply.text.rfind('"')
    return reply.text[start + 1 : end] if start < end else None


_SIZE = re.compile(r"[0-9]{1,19}")


def available_of(reply: Reply) -> int | None:
    """Read the free bytes from a checked reply to AVBL; None if the server does not tell them."""
    text = reply.text.strip()
    return int(text) if reply.code == 213 and _SIZE.fullmatch(text) else None


# The text of 213 in RFC 959. The npm package ftp-srv sends it for an empty file, as it takes the number 0 for no text.
_NO_NUMBER = re.compile(r"File status\.?", re.IGNORECASE)


def size_of(reply: Reply) -> int | None:
    """Read the size from a checked reply to SIZE (RFC 3659 section 4). None: refused, so there is no file.

    Raises:
        ProtocolError: The text of a 213 is not a number.
    """
    if reply.is_refusal:
        return None
    if not _SIZE.fullmatch(text := reply.text.strip(" ")):
        if _NO_NUMBER.fullmatch(text):
            return 0
        raise ProtocolError(f'the server sent an invalid size: "{reply}"')
    return int(text)


_EPSV = re.compile(r"\(([!-/:-~])\1\1([0-9]{1,5})\1\)")
_PASV = re.compile(r"(?<![0-9])" + r" *, *".join([r"([0-9]{1,3})"] * 6) + r"(?![0-9])")


def _usable(port: int, reply: Reply) -> int:
    # A port below 1024 is another service: our data would be sent to it (CVE-2021-4189 and its kind).
    if 1024 <= port <= 65535:
        return port
    raise ProtocolError(f'the server named a data port outside of 1024 to 65535: "{reply}"')


def epsv_port(reply: Reply) -> int | None:
    """Read the port from the reply to EPSV (RFC 2428).

    None: the server refuses EPSV, or its answer has another form (a bar is missing, an address is inside, 227 instead
    of 229). PASV may then work.

    Raises:
        ConnectionLost: The server closes the connection.
        ProtocolError: It is not an answer to EPSV, or the port is below 1024.
    """
    match = None if checked("EPSV", reply).code != 229 else _EPSV.search(reply.text)
    return None if match is None else _usable(int(match[2]), reply)


def pasv_port(reply: Reply) -> int:
    """Read the port from the reply to PASV, with or without parentheses (RFC 1123 section 4.1.2.6).

    The address in it is ignored: data connections go to the address of the control connection. Behind NAT the address
    is often wrong, and a hostile server could use it to redirect the connection to another host (CVE-2020-8284).

    Raises:
        OperationRefused: The server refuses.
        ConnectionLost: The server closes the connection.
        ProtocolError: It is not an answer to PASV, or the port is below 1024.
    """
    if checked("PASV", reply).is_refusal:
        raise OperationRefused(f"the server refused a data connection: {reply}", retry=reply.is_transient)
    match = _PASV.search(reply.text)
    numbers = [int(number) for number in match.groups()] if match else [256]
    if max(numbers) > 255:
        raise ProtocolError(f'the server named no data port: "{reply}"')
    return _usable(numbers[4] * 256 + numbers[5], reply)


_EPOCH = date(1970, 1, 1).toordinal()
_LAST = (date.max.toordinal() - _EPOCH + 1) * 86_400 - 1  # the last second of the year 9999
# Some servers print tm_year after a fixed "19": their year 2000 is 19100.
_TIME_VAL = re.compile(r"(19[0-9]{3}|[0-9]{4})" + r"([0-9]{2})" * 5 + r"(?:\.([0-9]+))?")


@lru_cache(maxsize=256)  # a file's time is sent, and comes back twice
def parse_mdtm_time(text: str) -> int | None:
    """Read a time such as ``20260102030405.123`` (RFC 3659 section 2.3) as nanoseconds since the epoch, UTC.

    None when it is no time. The year 19126, from servers with a well-known bug, is read as 2026.
    """
    if (match := _TIME_VAL.fullmatch(text)) is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    days = _days(year - 17_100 if year > 9_999 else year, month, day)
    if days is None or hour > 23 or minute > 59 or second > 60:  # 60 is a leap second
        return None
    seconds, fraction = days * 86_400 + hour * 3_600 + minute * 60 + second, match[7]
    return seconds * 1_000_000_000 + (int(fraction[:9].ljust(9, "0")) if fraction else 0)


@lru_cache(maxsize=1024)
def _days(year: int, month: int, day: int) -> int | None:
    """Return the days since the epoch. Cached, as the files of a directory are often of few days."""
    try:
        return date(year, month, day).toordinal() - _EPOCH
    except ValueError:
        return None


@lru_cache(maxsize=256)
def format_time(ns: int) -> str:
    """Return a time as ``YYYYMMDDHHMMSS``, UTC. Times outside of 1970 to 9999 become the nearest that fits."""
    seconds = min(max(ns // 1_000_000_000, 0), _LAST)
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    return f"{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}"


class TimeSetter(enum.Enum):
    """The command that sets a file's time, in order of preference."""

    MFMT = "MFMT"
    MDTM = "MDTM"  # never standardized in this use; vsftpd has nothing else
    NONE = ""


def set_time_line(setter: TimeSetter, path: str, mtime_ns: int) -> bytes:
    """Build the line that sets the time of ``path``, to the second. ``setter`` is not ``NONE``.

    pyftpdlib refuses a time with a fraction, and no tested server stores one.

    Raises:
        OperationRefused: The path cannot be sent.
    """
    if setter is TimeSetter.NONE:
        raise ValueError("this server cannot set times")
    return command_line(f"{setter.value} {format_time(mtime_ns)}", path)


def can_set_mode(path: str) -> bool:
    """Return whether SITE CHMOD can name a path.

    ProFTPD takes the command apart at its spaces and joins the words with single ones: a path with two of them in a
    row, or with one at its end, would become the name of another file.
    """
    return not re.search(r"\s\s|\s$|[\t\v\f]", path)


def set_mode_line(path: str, mode: int) -> bytes:
    """Build the command that sets the permissions of a path."""
    if not can_set_mode(path):
        raise OperationRefused("SITE CHMOD cannot name a path with several spaces in a row, or one at its end")
    return command_line("SITE", f"CHMOD {mode:04o} {path}")


def was_time_set(reply: Reply) -> bool:
    """Return whether a checked reply to `set_time_line` means success."""
    return reply.code in _TIME
