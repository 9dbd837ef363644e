"""The texts of faults: which names and places there are, and how ``cut@store:3`` is read. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final, Literal, cast, get_args

import attrs

from actorsync.classes import frozen

__all__ = [
    "FTP_STEPS",
    "NAMES",
    "PLACES",
    "SFTP_STEPS",
    "Name",
    "ServerFault",
    "Step",
    "ftp_places",
    "parse_fault",
    "step_names",
]

Name = Literal[
    "cut",
    "reset",
    "silence",
    "drop",
    "refuse",
    "forbid",
    "truncate",
    "zero-fill",
    "ignore-restart",
    "truncate-late",
    "kill",
    "full",
    "capacity",
    "slow",
]
Step = Literal["store", "rename", "mkdir", "remove", "list", "times", "size"]

#: The names, each with what happens.
NAMES: Final[Mapping[Name, str]] = {
    "cut": "the connection is closed",
    "reset": "the connection is reset",
    "silence": "the connection stays open, but the server sends nothing more",
    "drop": "the command is executed, but its reply and the connection are lost",
    "refuse": "the server rejects the command",
    "forbid": "the server rejects this rename until the run ends",
    "truncate": "the server keeps only the data received so far, and reports success",
    "zero-fill": "the server fills with zeros what it had of a file that is continued",
    "ignore-restart": "the server takes a continued transfer for one from the beginning, and does not say so",
    "truncate-late": "the earlier upload ends in the middle of the continued one, and cuts the file off there",
    "kill": "the client is killed (kill -9)",
    "full": "the server's disk is full until the run ends: full@5MB",
    "capacity": "the server accepts only this many connections: capacity@4",
    "slow": "each connection carries at most this much data a second: slow@200KB",
}

#: The places, each with when it comes up.
PLACES: Final[Mapping[str, str]] = {
    "connect": "a client connects",
    "login": "a client logs in",
    "line": "any command (FTP) or request (SFTP)",
    "store": "an upload starts (STOR; OPEN for writing)",
    "restart": "an upload is continued (STOR after REST; OPEN of an existing file for writing)",
    "part": "a file is read from its middle on (RETR after REST; FTP only)",
    "rename": "a file is renamed (RNTO; RENAME)",
    "rank": "the first file of a later rank gets its name, or its old file is set aside (rehearse only)",
    "mkdir": "a directory is made (MKD; MKDIR)",
    "remove": "a file or directory is removed (DELE, RMD; REMOVE, RMDIR)",
    "list": "a directory is listed (MLSD, LIST, NLST; OPENDIR)",
    "times": "the time of a file is set (MFMT, MDTM; SETSTAT, FSETSTAT)",
    "size": "the size of a file is read (SIZE; STAT, LSTAT)",
    "data": "this much data of files was received: data:100KB",
    "1.5s": "this long after the first connection of the run",
}

#: The commands of each step.
FTP_STEPS: Final[Mapping[Step, Collection[str]]] = {
    "store": ("STOR", "STOU", "APPE"),
    "rename": ("RNTO",),
    "mkdir": ("MKD", "XMKD"),
    "remove": ("DELE", "RMD", "XRMD"),
    "list": ("MLSD", "LIST", "NLST"),
    "times": ("MFMT", "MDTM"),
    "size": ("SIZE",),
}
SFTP_STEPS: Final[Mapping[Step, Collection[str]]] = {
    "store": ("CREATE",),
    "rename": ("POSIX-RENAME", "RENAME"),
    "mkdir": ("MKDIR",),
    "remove": ("REMOVE", "RMDIR"),
    "list": ("OPENDIR",),
    "times": ("SETSTAT", "FSETSTAT"),
    "size": ("STAT", "LSTAT"),
}

_COMMANDS: Final = frozenset({"line", "rank", *get_args(Step)})
_EVERYWHERE: Final = frozenset({"connect", "login", "data", "time"}) | _COMMANDS
_WHERE: Final[Mapping[Name, frozenset[str]]] = {
    "cut": _EVERYWHERE,
    "reset": _EVERYWHERE,
    "silence": _EVERYWHERE,
    "kill": _EVERYWHERE,
    "drop": _COMMANDS,
    "refuse": _COMMANDS | {"connect", "login", "restart", "part"},
    "forbid": frozenset({"rename"}),
    "truncate": frozenset({"data"}),
    "zero-fill": frozenset({"restart"}),
    "ignore-restart": frozenset({"restart", "part"}),
    "truncate-late": frozenset({"restart"}),
}
#: Faults that last, instead of happening at one moment.
_STATES: Final = frozenset({"full", "capacity", "slow"})

_SECONDS = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)s")
_SIZE = re.compile(r"(\d{1,15})(?:([KMG])(i?)B|B)?")
_NUMBER = re.compile(r"[1-9]\d{0,8}")


@frozen
class ServerFault:
    """One fault: ``name`` happens at every ``count``-th ``place``, ``times`` times in all.

    ``place`` is one of `PLACES`, ``"time"`` for seconds, or ``""`` for a fault without a place. ``count`` is in bytes
    for ``data`` and in seconds for ``time``. For ``full``, ``slow`` and ``capacity`` it is the number after the ``@``.
    ``str()`` returns the text that the fault was parsed from.
    """

    name: Name
    place: str
    count: float
    times: int = 1
    text: str = attrs.field(default="", eq=False, repr=False)

    def __str__(self) -> str:
        return self.text


def parse_fault(text: str) -> ServerFault:
    """Parse a text such as ``"cut@store:3"``. The message of a ``ValueError`` names the part that is wrong."""
    written, at, rest = text.partition("@")
    if written not in NAMES:
        raise ValueError(f"there is no fault {written!r}{_did_you_mean(written, NAMES)}")
    name = cast("Name", written)
    if not at:
        raise ValueError(f"{name!r} has no place; write it like {_example(name)}")
    where, star, times = rest.partition("*")
    if star and not _NUMBER.fullmatch(times):
        raise ValueError(f"{times!r} is not a number of times; write it like {name}@{where}*2")
    repeated = int(times) if star else 1
    if name in _STATES:
        if star:
            raise ValueError(f"{name!r} lasts and cannot happen several times; leave *{times} out")
        return ServerFault(name, "", _amount(name, where), text=text)
    place, count = _read_place(name, where)
    if place not in _WHERE[name]:
        known = ", ".join(one for one in PLACES if one in _WHERE[name])
        raise ValueError(f"{name!r} cannot happen at {where!r}; it can at: {known}")
    return ServerFault(name, place, count, repeated, text)


def _amount(name: str, where: str) -> float:
    if name == "capacity":
        if not _NUMBER.fullmatch(where):
            raise ValueError(f"{where!r} is not a number of connections; write it like capacity@4")
        return int(where)
    size = _read_size(where)
    if not size:
        raise ValueError(f"{where!r} is not a size; write it like {_example(name)}")
    return size


def _read_place(name: str, where: str) -> tuple[str, float]:
    if found := _SECONDS.fullmatch(where):
        return "time", float(found[1])
    place, colon, count = where.partition(":")
    if place not in PLACES or place == "1.5s":
        raise ValueError(f"there is no place {place!r}{_did_you_mean(place, PLACES)}")
    if place == "data":
        size = _read_size(count)
        if not size:
            raise ValueError(f"{count!r} is not a size; write it like {name}@data:100KB")
        return place, size
    if colon and not _NUMBER.fullmatch(count):
        raise ValueError(f"{count!r} is not a number; write it like {name}@{place}:3")
    return place, int(count) if colon else 1


def _read_size(text: str) -> int | None:
    found = _SIZE.fullmatch(text)
    if found is None:
        return None
    base = 1024 if found[3] else 1000
    return int(found[1]) * int(base ** (" KMG".index(found[2]) if found[2] else 0))


def _example(name: str) -> str:
    examples = {"full": "5MB", "capacity": "4", "slow": "200KB", "truncate": "data:100KB"}
    examples |= dict.fromkeys(("zero-fill", "ignore-restart", "truncate-late"), "restart:2") | {"forbid": "rename:3"}
    return f"{name}@{examples.get(name, 'store:3')}"


def _did_you_mean(wrong: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.6)
    return f"; did you mean {nearest[0]}?" if nearest else f"; known: {', '.join(known)}"


def step_names(verb: str, steps: Mapping[Step, Collection[str]]) -> list[str]:
    """Return the places that a command counts for: ``["line", "store"]`` for a STOR."""
    return ["line", *(step for step, verbs in steps.items() if verb in verbs)]


def ftp_places(verb: str) -> list[str]:
    """Return the places that a command of FTP counts for."""
    return ["line", "login"] if verb == "PASS" else step_names(verb, FTP_STEPS)
