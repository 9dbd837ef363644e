"""What FTP replies mean: which codes answer which command, and the few texts that an RFC gives a form."""

from __future__ import annotations

import enum
import re
import time
from collections.abc import Mapping
from datetime import date
from functools import lru_cache

import attrs

from actorsync.errors import ConnectionLost, LoginRefused, OperationRefused
from actorsync.protocols.ftp.wire import ProtocolError, Reply, command_line

__all__ = [
    "EXPECTED",
    "Features",
    "TimeSetter",
    "accept_tls",
    "checked",
    "epsv_port",
    "format_time",
    "greet",
    "parse_features",
    "parse_mdtm_time",
    "parse_working_directory",
    "pasv_port",
    "set_time_line",
    "size_of",
    "was_time_set",
]

_TRANSFER = frozenset({125, 150, 226, 250})
_DONE = frozenset({200, 250})
_TIME = frozenset({213, 200, 250, 253})

# The codes that each command may be answered with, besides a refusal (4xx, 5xx), which is always possible. Anything
# else means that the reply belongs to another command: replies are matched by position, so from there on all are wrong.
EXPECTED: Mapping[str, frozenset[int]] = {
    "ABOR": frozenset({225, 226}),
    "APPE": _TRANSFER,
    "AUTH": frozenset({234}),
    "CWD": _DONE,
    "DELE": _DONE,
    "EPSV": frozenset({229}),
    "FEAT": frozenset({211}),
    "LIST": _TRANSFER,
    "MDTM": _TIME,
    "MFMT": _TIME,
    "MKD": frozenset({257, 250}),
    "MLSD": _TRANSFER,
    "MLST": frozenset({250}),
    "NOOP": _DONE,
    "OPTS": frozenset({200, 202, 211, 220, 250}),
    "PASS": frozenset({230, 202, 332}),
    "PASV": frozenset({227}),
    "PBSZ": frozenset({200}),
    "PROT": frozenset({200}),
    "PWD": frozenset({257}),
    "QUIT": frozenset({221}),
    "REST": frozenset({350}),
    "RETR": _TRANSFER,
    "RMD": _DONE,
    "RNFR": frozenset({350}),
    "RNTO": _DONE,
    "SITE": frozenset({200, 202, 250}),
    "SIZE": frozenset({213}),
    "STOR": _TRANSFER,
    "SYST": frozenset({215}),
    "TYPE": frozenset({200}),
    "USER": frozenset({230, 232, 331, 332}),
}


def checked(verb: str, reply: Reply) -> Reply:
    """Give ``reply`` back when it can be the answer to ``verb``; every reply passes here before it is believed.

    Raises:
        ConnectionLost: it is 421, which says the same whatever the command was.
        ProtocolError: no server answers this command so: the answers are out of step.
    """
    if reply.code == 421:
        raise ConnectionLost(f"the server closes the connection: {reply}")
    if reply.is_refusal or reply.code in EXPECTED[verb]:
        return reply
    raise ProtocolError(f'answers out of step: {verb} was answered with "{reply}"')


def greet(reply: Reply) -> bool:
    """Judge the first reply of a connection: ``True`` means go on, ``False`` that another reply follows (120).

    Raises:
        ConnectionLost: there is no service now.
        ProtocolError: this is no greeting. Only 220 is one: with 230 or 331 a server would have us skip what
            comes before the login, such as TLS (CVE-2021-22946).
    """
    if reply.code in {120, 220}:
        return reply.code == 220
    if reply.is_transient:
        raise ConnectionLost(f"the server has no service for us now: {reply}")
    raise ProtocolError(f'the server greets with "{reply}"')


def accept_tls(reply: Reply) -> None:
    """See that the reply to ``AUTH TLS`` lets TLS begin.

    Raises:
        ConnectionLost: the server closes the connection.
        LoginRefused: any other answer but 234. The server has no TLS, or somebody between us has taken it away;
            whatever it is, going on in clear is not for us to decide.
    """
    if reply.code == 421:
        raise ConnectionLost(f"the server closes the connection: {reply}")
    if reply.code != 234:
        raise LoginRefused(f'the server does not begin TLS: AUTH TLS was answered with "{reply}"')


@attrs.frozen
class Features:
    """What a server says of itself.

    ``names`` are its extensions in upper case (``MLST``, ``MFMT``, ``REST``). ``mlst_facts`` are the facts, in
    lower case, that its listings hold unless it is asked for others. ``working_directory`` is where the login
    has put us.
    """

    names: frozenset[str] = frozenset()
    mlst_facts: frozenset[str] = frozenset()
    working_directory: str | None = None

    @property
    def has_mlst(self) -> bool:
        """Whether there are MLST and MLSD: a server that has one has both (RFC 3659 section 7.8)."""
        return not self.names.isdisjoint({"MLST", "MLSD"})

    @property
    def time_setter(self) -> TimeSetter:
        """How times may be set, as far as can be told without trying.

        Nothing tells that MDTM can (vsftpd) or cannot (all others, which then refuse).
        """
        return next((setter for setter in TimeSetter if setter.value in self.names), TimeSetter.NONE)


def parse_features(reply: Reply) -> Features:
    """Read the reply to FEAT (RFC 2389). A refusal means that there are none."""
    if not reply.is_positive:
        return Features()
    # Some servers repeat the code on each line, as they do in other replies.
    lines = [line.removeprefix(f"{reply.code}-").split() for line in reply.lines[1:-1]]
    facts = ";".join(words[1] for words in lines if len(words) > 1 and words[0].upper() == "MLST").split(";")
    return Features(
        names=frozenset(words[0].upper() for words in lines if words),
        mlst_facts=frozenset(fact[:-1].lower() for fact in facts if fact.endswith("*")),
    )


_QUOTED = re.compile(r'"((?:[^"]|"")*)"(?: |$)', re.DOTALL)


def parse_working_directory(reply: Reply) -> str | None:
    r"""Read the directory from a 257 (RFC 959 appendix II): ``"/a""b" is current`` is ``/a"b``.

    Pure-FTPd does not double the quotes, so the name is then taken to reach to the last one.
    """
    if reply.code != 257:
        return None
    if match := _QUOTED.match(reply.text):
        return match[1].replace('""', '"')
    start, end = reply.text.find('"'), reply.text.rfind('"')
    return reply.text[start + 1 : end] if start < end else None


_SIZE = re.compile(r"[0-9]{1,19}")


def size_of(reply: Reply) -> int | None:
    """Read the size from a checked reply to SIZE (RFC 3659 section 4). ``None``: refused, so no file is there.

    Raises:
        ProtocolError: 213, and no number.
    """
    if reply.is_refusal:
        return None
    if not _SIZE.fullmatch(text := reply.text.strip(" ")):
        raise ProtocolError(f'the server gives a size that is none: "{reply}"')
    return int(text)


_EPSV = re.compile(r"\(([!-/:-~])\1\1([0-9]{1,5})\1\)")
_PASV = re.compile(r"(?<![0-9])" + r" *, *".join([r"([0-9]{1,3})"] * 6) + r"(?![0-9])")


def _usable(port: int, reply: Reply) -> int:
    # A port below 1024 is another service: our data would be sent to it (CVE-2021-4189 and its kind).
    if 1024 <= port <= 65535:
        return port
    raise ProtocolError(f'the server names a data port that we do not connect to: "{reply}"')


def epsv_port(reply: Reply) -> int | None:
    """Read the port from the reply to EPSV (RFC 2428), or give ``None`` when the server will not have EPSV.

    Raises:
        ConnectionLost: the server closes the connection.
        ProtocolError: no answer to EPSV, or a port below 1024.
    """
    if checked("EPSV", reply).is_refusal:
        return None
    if match := _EPSV.search(reply.text):
        return _usable(int(match[2]), reply)
    raise ProtocolError(f'the server names no data port: "{reply}"')


def pasv_port(reply: Reply) -> int:
    """Read the port from the reply to PASV, with or without parentheses (RFC 1123 section 4.1.2.6).

    The address in it is never looked at: data connections go to where the control connection goes. Behind NAT it
    is often wrong, and a hostile server could use it to have us connect to someone else (CVE-2020-8284).

    Raises:
        OperationRefused: the server refuses.
        ConnectionLost: the server closes the connection.
        ProtocolError: no answer to PASV, or a port below 1024.
    """
    if checked("PASV", reply).is_refusal:
        raise OperationRefused(f"no data connection: {reply}", retry=reply.is_transient)
    match = _PASV.search(reply.text)
    numbers = [int(number) for number in match.groups()] if match else [256]
    if max(numbers) > 255:
        raise ProtocolError(f'the server names no data port: "{reply}"')
    return _usable(numbers[4] * 256 + numbers[5], reply)


_EPOCH = date(1970, 1, 1).toordinal()
_LAST = (date.max.toordinal() - _EPOCH + 1) * 86_400 - 1  # the last second of the year 9999
# Servers that print tm_year behind a fixed "19" have lived in the year 19100 since 2000.
_TIME_VAL = re.compile(r"(19[0-9]{3}|[0-9]{4})" + r"([0-9]{2})" * 5 + r"(?:\.([0-9]+))?")


def parse_mdtm_time(text: str) -> int | None:
    """Read a time such as ``20260102030405.123`` (RFC 3659 section 2.3) as nanoseconds since the epoch, UTC.

    ``None`` when it is no time. The year 19126 of servers with a well-known bug is read as 2026.
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
    """Give the days since the epoch. The files of a directory are often of few days, and need no second look."""
    try:
        return date(year, month, day).toordinal() - _EPOCH
    except ValueError:
        return None


def format_time(ns: int) -> str:
    """Give a time as ``YYYYMMDDHHMMSS``, UTC. Times outside 1970..9999 become the nearest that fits."""
    seconds = min(max(ns // 1_000_000_000, 0), _LAST)
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    return f"{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}"


class TimeSetter(enum.Enum):
    """The command that sets a file's time: the best first."""

    MFMT = "MFMT"
    MDTM = "MDTM"  # never standardized in this use; vsftpd has nothing else
    NONE = ""


def set_time_line(setter: TimeSetter, path: str, mtime_ns: int) -> bytes:
    """Build the line that sets the time of ``path``; ``setter`` is not ``NONE``. The fraction is not sent.

    pyftpdlib refuses a time with a fraction, and no server at hand keeps one.

    Raises:
        OperationRefused: such a path cannot be sent.
    """
    if setter is TimeSetter.NONE:
        raise ValueError("this server cannot set times")
    return command_line(f"{setter.value} {format_time(mtime_ns)}", path)


def was_time_set(reply: Reply) -> bool:
    """Say whether a checked reply to `set_time_line` means success."""
    return reply.code in _TIME
