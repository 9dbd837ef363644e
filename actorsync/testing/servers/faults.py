"""Faults of an embedded server, written as short texts such as ``cut@store:3``.

A fault is a name and the place where it happens::

    NAME@PLACE[:COUNT][*TIMES]

`EmbeddedFtpServer` and `EmbeddedSftpServer` take such texts as ``faults``, and ``actorsync rehearse`` as ``--fault``.
They are the same for both protocols, also under TLS, because the server itself carries them out. For other servers,
`actorsync.testing.network.ftp_proxy` and `actorsync.testing.network.proxy` simulate a bad network.

`NAMES` and `PLACES` list all names and places.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import cast

import attrs

from actorsync.classes import define, frozen
from actorsync.testing.servers.fault_texts import (
    FTP_STEPS,
    NAMES,
    PLACES,
    SFTP_STEPS,
    Name,
    ServerFault,
    Step,
    parse_fault,
    step_names,
)

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


@frozen
class Happened:
    """A fault that happened: in which run (see `FaultPlan.begin`), and at which command or event."""

    fault: ServerFault
    run: int
    where: str


def _parsed(faults: Iterable[ServerFault | str]) -> tuple[ServerFault, ...]:
    return tuple(parse_fault(fault) if isinstance(fault, str) else fault for fault in faults)


@define(eq=False)
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
    rank_of: Callable[[str], int | None] | None = None
    """Returns the rank of a file by its path on the server, None for other names; required for the place ``rank``."""

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
    _rank: int | None = attrs.field(default=None, init=False, repr=False)
    """The highest rank of a file that was renamed in this run."""
    _forbidden: set[tuple[str, str]] = attrs.field(factory=set, init=False, repr=False)
    """The renames that are rejected until the run ends."""

    def __attrs_post_init__(self) -> None:
        self._check()

    def _check(self) -> None:
        if self.kill is None and any(fault.name == "kill" for fault in self.faults):
            raise ValueError("'kill' needs a process to kill; write FaultPlan(faults, kill=process.kill)")
        if self.rank_of is None and any(fault.place == "rank" for fault in self.faults):
            raise ValueError("'rank' needs the ranks of files; write FaultPlan(faults, rank_of=ranks.of)")

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
        self.run, self._began, self._is_full, self._rank = run, math.inf, False, None
        self._forbidden.clear()

    # For servers.

    def at(self, places: Iterable[str], where: str, paths: tuple[str, str] = ("", "")) -> Name | None:
        """Count one more of each of the ``places`` and return the fault that is due, if any.

        ``paths`` are the old and the new name of a rename. What is renamed to ``/`` counts as no rename: a client of
        FTP takes back a rename that was begun in this way.
        """
        found: Name | None = None
        names = self._places_of(places, paths)
        for place in names:
            if place == "connect" and self._began == math.inf:
                self._began = time.monotonic()
            self.seen[place] = self.seen.get(place, 0) + 1
            for fault in self.faults:
                is_due = fault.place == place and self.seen[place] % fault.count == 0
                if is_due and self.count_of(fault) < fault.times:
                    found = self._record(fault, where) or found
                    if fault.name == "forbid":
                        self._forbidden.add(paths)
                    elif fault.name == "kill" and place == "rank":
                        found = "cut"  # nothing of the new rank is carried out any more
        return "refuse" if found == "forbid" or ("rename" in names and paths in self._forbidden) else found

    def _places_of(self, places: Iterable[str], paths: tuple[str, str]) -> list[str]:
        """Return what a command counts for, given what it renames."""
        names = list(places)
        if "rename" not in names:
            return names
        if paths[1] == "/":
            return [name for name in names if name != "rename"]
        ranks = [] if self.rank_of is None else [rank for path in paths if (rank := self.rank_of(path)) is not None]
        before = self._rank
        self._rank = max(ranks if before is None else [*ranks, before], default=None)
        is_later = before is not None and self._rank is not None and self._rank > before
        return [*names, "rank"] if is_later else names

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
