"""A case to measure, its rounds, and the file with the outcomes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import attrs
import cattrs

from bench.limits import Limit
from bench.measure import Measurement
from bench.peers import PEERS
from bench.servers import SERVERS
from bench.trees import WORKLOADS, Workload
from bench.visible import Seen

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Case", "Outcome", "Round", "can_run", "keep", "kept"]

LANGUAGES = {"ftp": "FTP", "ftpes": "FTPS", "sftp": "SFTP"}


@attrs.frozen
class Case:
    """A combination to measure. Equal cases have comparable outcomes."""

    workload: str
    server: str
    link: int | None
    """The round trip in milliseconds; None for loopback."""
    connections: int
    peers: tuple[str, ...]
    scale: float = 1.0
    what: Literal["runs", "waiting", "version"] = "runs"
    """Whole runs; the time between two passes of ``sync.every``; or only the start of the program."""

    @property
    def tree(self) -> Workload:
        return WORKLOADS[self.workload].scaled(self.scale)

    @property
    def title(self) -> str:
        if self.what == "version":
            return "actorsync --version"
        language = LANGUAGES[SERVERS[self.server].speaks[0]]
        share = f" x {self.scale:g}" if self.scale != 1 else ""
        line = "loopback" if self.link is None else f"{self.link} ms"
        waiting = " waiting," if self.what == "waiting" else ""
        plural = "s" * (self.connections > 1)
        return f"{language}{waiting} {self.workload}{share}, {line}, {self.connections} connection{plural}"


@attrs.frozen
class Round:
    """One peer with one server, once: the first timed run, and the run after it with nothing to do."""

    server: str
    peer: str
    first: Measurement | None
    """None when only a run with nothing to do is timed."""
    again: Measurement | None
    """None when the first run failed, when it is the only one, or when the peer does not work with the server."""
    difference: str | None
    """The first difference between source and target after the last run."""
    other_times: int = 0
    """Number of files whose time differs from the source, in a target without a difference."""
    seen: Seen | None = None
    """What a visitor saw during the run ``first``; None where the tree is no site."""

    @property
    def timed(self) -> Measurement | None:
        """The run that the workload is about."""
        return self.first or self.again

    @property
    def target(self) -> str:
        """The state of the target in one to three words."""
        if not self.timed:
            return "-"
        if self.failure:
            return "FAILED"
        return "equal but times" if self.other_times else "equal"

    @property
    def failure(self) -> str | None:
        ran = (self.first, self.again)
        return next((run.failure for run in ran if run and run.failure), None) or self.difference


@attrs.frozen
class Outcome:
    """All rounds of a case, from one call of the benchmark."""

    case: Case
    conditions: dict[str, Any]
    """Machine, versions, command, line and tree."""
    limits: dict[str, Limit]
    """The limits of the run ``first`` and of the run ``again``, where they are timed."""
    rounds: list[Round]

    @property
    def limit(self) -> Limit | None:
        """The limit of the run that the workload is about."""
        return self.limits.get("first") or self.limits.get("again")


def can_run(server: str, peer: str) -> bool:
    return PEERS[peer].command_for(SERVERS[server].speaks) is not None


def keep(path: Path, outcome: Outcome) -> None:
    """Append an outcome to the file. Earlier lines stay, also when this call fails."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(attrs.asdict(outcome)) + "\n")


def kept(path: Path) -> dict[Case, Outcome]:
    """Return the last outcome of every case in the file."""
    lines: Sequence[str] = path.read_text().splitlines() if path.exists() else ()
    outcomes = [cattrs.structure(json.loads(line), Outcome) for line in lines]
    return {outcome.case: outcome for outcome in outcomes}
