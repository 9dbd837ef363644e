"""Faults of an embedded server, written as short texts such as ``cut@store:3``.

A fault is a name and the place where it happens::

    NAME@PLACE[:COUNT][*TIMES]

`EmbeddedFtpServer` and `EmbeddedSftpServer` take such texts as ``faults``, and ``actorsync rehearse`` as ``--fault``.
They are the same for both protocols, also under TLS, because the server itself carries them out. For other servers,
`actorsync.testing.network.ftp_proxy` and `actorsync.testing.network.proxy` simulate a bad network.

`NAMES` and `PLACES` list all names and places.
"""

from __future__ import annotations

import difflib
import math
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, Literal, cast, get_args

import attrs

__all__ = [
    "FTP_STEPS",
    "NAMES",
    "PLACES",
    "SFTP_STEPS",
    "FaultPlan",
    "Happened",
    "Name",
    "ServerFault",
    "Step",
    "parse_fault",
    "plan_of",
    "step_names",
]

Name = Literal[
    "cut",
    "reset",
    "silence",
    "drop",
    "refuse",
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

_COMMANDS: Final = frozenset({"line", *get_args(Step)})
_EVERYWHERE: Final = frozenset({"connect", "login", "data", "time"}) | _COMMANDS
_WHERE: Final[Mapping[Name, frozenset[str]]] = {
    "cut": _EVERYWHERE,
    "reset": _EVERYWHERE,
    "silence": _EVERYWHERE,
    "kill": _EVERYWHERE,
    "drop": _COMMANDS,
    "refuse": _COMMANDS | {"connect", "login", "restart", "part"},
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


@attrs.frozen
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
    where = "restart:2" if name in {"zero-fill", "ignore-restart", "truncate-late"} else "store:3"
    return f"{name}@{examples.get(name, where)}"


def _did_you_mean(wrong: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.6)
    return f"; did you mean {nearest[0]}?" if nearest else f"; known: {', '.join(known)}"


def step_names(verb: str, steps: Mapping[Step, Collection[str]]) -> list[str]:
    """Return the places that a command counts for: ``["line", "store"]`` for a STOR."""
    return ["line", *(step for step, verbs in steps.items() if verb in verbs)]


@attrs.frozen
class Happened:
    """A fault that happened: in which run (see `FaultPlan.begin`), and at which command or event."""

    fault: ServerFault
    run: int
    where: str


def _parsed(faults: Iterable[ServerFault | str]) -> tuple[ServerFault, ...]:
    return tuple(parse_fault(fault) if isinstance(fault, str) else fault for fault in faults)


@attrs.define(eq=False)
class FaultPlan:
    """Faults and their counters. A server asks the plan at each step which fault is due.

    A server makes its own plan of the faults passed to it. Make a plan yourself to share it between servers, or for
    the fault ``kill``. Raises ``ValueError`` for a text that is not a fault. The server's thread updates the plan; any
    thread may read it.
    """

    faults: tuple[ServerFault, ...] = attrs.field(default=(), converter=_parsed)
    kill: Callable[[], object] | None = None
    """Called to kill the client; required for the fault ``kill``."""
    watch: Callable[[Happened], object] | None = None
    """Called with each fault as it happens, in the server's thread."""

    happened: list[Happened] = attrs.field(factory=list, init=False)
    """The faults that happened, in order. A test that relies on a fault should check that it happened."""
    run: int = attrs.field(default=1, init=False)
    """The number of the current run."""
    received: int = attrs.field(default=0, init=False)
    """Bytes of file content received so far."""
    seen: dict[str, int] = attrs.field(factory=dict, init=False)
    """How often each place has come up so far."""

    _began: float = attrs.field(default=math.inf, init=False, repr=False)
    _is_full: bool = attrs.field(default=False, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._check()

    def _check(self) -> None:
        if self.kill is None and any(fault.name == "kill" for fault in self.faults):
            raise ValueError("'kill' needs a process to kill; write FaultPlan(faults, kill=process.kill)")

    def arm(self, *faults: ServerFault | str) -> None:
        """Add faults, from any thread. Places are counted from the first connection, not from this call."""
        self.faults = (*self.faults, *_parsed(faults))
        self._check()

    @property
    def capacity(self) -> int | None:
        """The most connections to accept; None for no limit."""
        return min((int(fault.count) for fault in self.faults if fault.name == "capacity"), default=None)

    @property
    def rate(self) -> int | None:
        """The most bytes a second on a connection; None for no limit."""
        return min((int(fault.count) for fault in self.faults if fault.name == "slow"), default=None)

    @property
    def has_clock(self) -> bool:
        """Whether a fault happens at a time, so that the server must call `due` regularly."""
        return any(fault.place == "time" for fault in self.faults)

    def count_of(self, fault: ServerFault) -> int:
        """Return how often a fault happened."""
        return sum(one.fault is fault for one in self.happened)

    def never_happened(self) -> list[ServerFault]:
        """Return the faults that have not happened yet."""
        return [fault for fault in self.faults if not self.count_of(fault)]

    def begin(self, run: int) -> None:
        """Begin a run, from any thread: the disk has room again, and times count from the next connection."""
        self.run, self._began, self._is_full = run, math.inf, False

    # For servers.

    def at(self, places: Iterable[str], where: str) -> Name | None:
        """Count one more of each of the ``places`` and return the fault that is due, if any."""
        found: Name | None = None
        for place in places:
            if place == "connect" and self._began == math.inf:
                self._began = time.monotonic()
            self.seen[place] = self.seen.get(place, 0) + 1
            for fault in self.faults:
                is_due = fault.place == place and self.seen[place] % fault.count == 0
                if is_due and self.count_of(fault) < fault.times:
                    found = self._record(fault, where) or found
        return found

    def data(self, size: int, where: str) -> tuple[Name | None, int]:
        """Count received bytes. Return the fault that is due, if any, and how many of the bytes precede it."""
        before, self.received = self.received, self.received + size
        for fault in self.faults:
            if fault.name == "slow" and not self.count_of(fault):
                self._record(fault, where)
            elif fault.name == "full" and (self._is_full or self._fills(fault, where)):
                return "full", max(0, min(size, int(fault.count) - before))
            elif fault.place == "data" and self.count_of(fault) < fault.times:
                due = int(fault.count) * (before // int(fault.count) + 1)
                if self.received >= due and (found := self._record(fault, where)) is not None:
                    return found, due - before
        return None, size

    def due(self, *, is_connected: bool) -> list[Name]:
        """Return the faults whose time has come, to apply to all connections. Most wait until there is a connection."""
        passed = time.monotonic() - self._began
        timed = [fault for fault in self.faults if fault.place == "time" and self.count_of(fault) < fault.times]
        found = [
            self._record(fault, f"{fault.count:g} s after the first connection")
            for fault in timed
            # At most once in a run: the clock starts again with each run.
            if passed >= fault.count
            and not self._happened_in_this_run(fault)
            and (is_connected or fault.name == "kill")
        ]
        return [name for name in found if name is not None]

    def note_rejection(self) -> None:
        """Record that a connection was rejected because of ``capacity``."""
        for fault in self.faults:
            if fault.name == "capacity" and not self._happened_in_this_run(fault):
                self._record(fault, "a connection is rejected")

    def _happened_in_this_run(self, fault: ServerFault) -> bool:
        return any(one.fault is fault and one.run == self.run for one in self.happened)

    def _fills(self, fault: ServerFault, where: str) -> bool:
        # Only once: by the next run, the disk has room again.
        if self.received < fault.count or self.count_of(fault):
            return False
        self._record(fault, where)
        self._is_full = True
        return True

    def _record(self, fault: ServerFault, where: str) -> Name | None:
        happened = Happened(fault, self.run, where)
        self.happened.append(happened)
        if fault.name == "kill":
            cast("Callable[[], object]", self.kill)()
        if self.watch is not None:
            self.watch(happened)
        return None if fault.name == "kill" else fault.name


def plan_of(faults: FaultPlan | Iterable[ServerFault | str]) -> FaultPlan:
    """Return a plan as it is, or make one of faults."""
    return faults if isinstance(faults, FaultPlan) else FaultPlan(tuple(faults))
