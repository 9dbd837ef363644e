"""The fixed lists of cases: the claims about actorsync, the matrix for the plots, and the deploys of a site."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, Final, Literal, Self

import attrs

from bench.cases import Case, Outcome, Round, keep, kept
from bench.link import Unusable, inside
from bench.measure import Measurement, measure, measure_waiting
from bench.peers import PEERS
from bench.report import BURST, OURS, Row, figure, ratio, render_deploys, summarise, table
from bench.rounds import conditions_of, open_stage, prepared_job, run_case, versions
from bench.servers import SERVERS
from bench.serving import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bench.rounds import Stage

__all__ = ["CLAIMS", "DEPLOYS", "MATRIX", "SUITES", "Claim", "Claims", "Deploys", "Matrix", "run_suite"]

FTP_SERVERS: Final = ("proftpd", "pure-ftpd", "pyftpdlib", "vsftpd")
MB: Final = (1 << 20) / 1e6
WAITED: Final = 60.0
"""Seconds between two passes in which processor time is measured; a scale below 1 shortens it."""

Figure = Literal["time", "peak, MB", "processor, s", "share of a core", "half the files"]


@attrs.frozen
class Claim:
    case: Case
    figure: Figure
    at_most: float
    peer: str = ""
    """The peer to compare with, for the figure ``time``; other figures need no peer."""
    half: Case | None = None
    """The case with half the files, for the figure ``half the files``."""

    def value(self, outcomes: Mapping[Case, Outcome]) -> float | None:
        """Return the measured value; None when it was not measured, or a run failed."""
        if (ours := _row(outcomes, self.case, OURS)) is None:
            return None
        if self.figure == "time":
            theirs = _row(outcomes, self.case, self.peer)
            return ratio(ours.timed, theirs.timed) if theirs else None
        if self.figure == "half the files":
            half = _row(outcomes, self.half, OURS) if self.half else None
            return ours.first / half.first if ours.first and half and half.first else None
        if self.figure == "share of a core":
            return ours.cpu / ours.again if ours.cpu is not None and ours.again else None
        return ours.cpu if self.figure == "processor, s" else ours.peak_mib and ours.peak_mib * MB

    def held(self, outcomes: Mapping[Case, Outcome]) -> str:
        """Return whether the claim is true: ``yes``, ``NO``, ``FAILED`` or ``not run``."""
        if self.case not in outcomes:
            return "not run"
        if (value := self.value(outcomes)) is None:
            return "FAILED"
        return "yes" if value <= self.at_most else "NO"


def _row(outcomes: Mapping[Case, Outcome], case: Case, peer: str) -> Row | None:
    rows = summarise(outcomes[case].rounds) if case in outcomes else []
    return next((row for row in rows if row.peer == peer), None)


def _claims() -> list[Claim]:
    both = (OURS, "lftp")
    far = [Case("small", server, 50, 8, (*both, "rclone")) for server in FTP_SERVERS]
    near = [Case("small", server, None, 8, both) for server in FTP_SERVERS]
    sftp = Case("small", "openssh", 50, 8, (*both, "rsync"))
    nothing = Case("nothing-to-do", "openssh", 50, 8, (OURS, "rsync"))
    adopt = Case("adopt", "proftpd", 50, 8, (OURS, "rclone"))
    doubled = [attrs.evolve(near[0], peers=(OURS,), scale=scale) for scale in (1.0, 2.0, 4.0)]
    return [
        *(Claim(case, "time", 0.48, "lftp") for case in far),
        *(Claim(case, "time", 0.25, "rclone") for case in far),
        Claim(Case("archive", "proftpd", 50, 8, both), "time", 0.60, "lftp"),
        *(Claim(case, "time", 1.0, "lftp") for case in near),
        *(Claim(Case("big", server, None, 1, both), "time", 1.0, "lftp") for server in FTP_SERVERS),
        Claim(sftp, "time", 0.08, "lftp"),
        Claim(sftp, "time", 2.0, "rsync"),
        Claim(Case("small", "openssh", None, 8, both), "time", 1.1, "lftp"),
        Claim(Case("big", "openssh", None, 1, both), "time", 1.0, "lftp"),
        Claim(nothing, "time", 0.20, "rsync"),
        Claim(adopt, "time", 0.6, "rclone"),
        Claim(Case("changed", "proftpd", 50, 8, both), "time", 0.35, "lftp"),
        Claim(Case("many", "proftpd", None, 8, (OURS,)), "peak, MB", 120),
        Claim(nothing, "peak, MB", 120),
        Claim(adopt, "peak, MB", 120),
        Claim(Case("million", "proftpd", None, 8, (OURS,)), "peak, MB", 200),
        Claim(Case("small", "proftpd", None, 8, (OURS,), what="version"), "processor, s", 0.25),
        *(Claim(twice, "half the files", 2.1, half=once) for once, twice in itertools.pairwise(doubled)),
        Claim(Case("small", "proftpd", None, 8, (OURS,), what="waiting"), "share of a core", 0.001),
    ]


def _version(case: Case, stage: Stage, runs: int, timeout: float) -> Outcome:
    stage.state.mkdir()
    command = [sys.executable, "-m", "actorsync", "--version"]
    rounds = [Round("-", OURS, measure(command, stage.state, timeout), None, None) for _ in range(runs)]
    return Outcome(case, conditions_of(case, stage), {}, rounds)


def _waiting(case: Case, stage: Stage, runs: int, timeout: float) -> Outcome:
    make = PEERS[OURS].command_for(SERVERS[case.server].speaks)
    assert make is not None

    def wait(home: Path) -> Measurement:
        with prepared_job(case, stage, home, OURS) as job:
            command = inside(stage.link.near, *make(job), "--set", "sync.every=1h")
            return measure_waiting(command, job.state, timeout, WAITED * min(case.scale, 1))

    with serve(case.server, stage.link, stage.credentials, stage.scratch) as home:
        rounds = [Round(case.server, OURS, None, wait(home), None) for _ in range(runs)]
    return Outcome(case, conditions_of(case, stage), {}, rounds)


RUN: Final[dict[str, Callable[[Case, Stage, int, float], Outcome]]] = {
    "runs": run_case,
    "version": _version,
    "waiting": _waiting,
}


def run_suite(cases: Sequence[Case], path: Path, runs: int, timeout: float, *, again: bool) -> None:
    """Run the cases that have no outcome in the file, with ``again`` all cases, and append each outcome at once."""
    known = kept(path)
    for number, case in enumerate(cases, 1):
        print(f"[{number}/{len(cases)}] {case.title}, {case.server}", file=sys.stderr)
        if case in known and not again:
            continue
        try:
            if absent := [name for name, version in versions(case).items() if not version]:
                raise Unusable(f"not installed: {', '.join(absent)}")
            with open_stage(case.tree, case.link) as stage:
                keep(path, RUN[case.what](case, stage, runs, timeout))
        except Unusable as error:
            print(f"left out: {error}", file=sys.stderr)


def _around(outcomes: Sequence[Outcome]) -> str:
    """Return the number of rounds, the machines and the versions as text."""
    versions: dict[str, str] = {}
    machines = dict[str, None]()
    for outcome in outcomes:
        now = outcome.conditions
        versions |= now["versions"]
        machines[f"{now['cpus']} CPUs ({now['processor']}), {now['memory_gib']} GiB, Linux {now['kernel']}"] = None
    if not outcomes:
        return ""
    rounds = sorted({len(one.rounds) // len(one.case.peers) for one in outcomes})
    return (
        f"\n\nRounds of a case: {' or '.join(map(str, rounds))}. Machine: {'; '.join(machines)}."
        f"\nVersions: {', '.join(f'{name} {version}' for name, version in sorted(versions.items()))}."
    )


def _claim_cells(claim: Claim, outcomes: Mapping[Case, Outcome]) -> list[str]:
    value, ours = claim.value(outcomes), _row(outcomes, claim.case, OURS)
    other = (claim.half, OURS) if claim.half else (claim.case, claim.peer)
    theirs, limit = _row(outcomes, *other), claim.case in outcomes and outcomes[claim.case].limit
    return [
        claim.case.title,
        "-" if claim.case.what == "version" else claim.case.server,
        claim.peer or claim.figure,
        figure(value, 4 if claim.at_most < 0.01 else 3),
        *(f"{claim.at_most:g}", claim.held(outcomes)),
        *(figure(ours.seconds if ours else None), figure(theirs.seconds if theirs else None)),
        f"{limit.seconds:.3g}" if limit else "-",
    ]


def _in_line(case: Case, text: str) -> bool:
    return text.lower() in f"{case.title}, {case.server}".lower()


def _scaled(case: Case, scale: float) -> Case:
    return attrs.evolve(case, scale=case.scale * scale)


@attrs.frozen
class Claims:
    """The claims about actorsync."""

    claims: Sequence[Claim]
    runs: int = 3

    @property
    def cases(self) -> list[Case]:
        """The cases that the claims need, each once, in the order of the claims."""
        return list(dict.fromkeys(case for claim in self.claims for case in (claim.half, claim.case) if case))

    def scaled(self, scale: float) -> Claims:
        return Claims(
            [
                attrs.evolve(one, case=_scaled(one.case, scale), half=one.half and _scaled(one.half, scale))
                for one in self.claims
            ]
        )

    def only(self, text: str) -> Claims:
        return Claims([one for one in self.claims if _in_line(one.case, text)])

    def show(self, outcomes: Mapping[Case, Outcome]) -> str:
        """Format each claim with its measured value. Seconds are medians; a ratio is the median of all rounds."""
        headings = ["work", "server", "against", "ratio", "at most", "held", "actorsync s", "peer s", "limit s"]
        lines = table([headings, *(_claim_cells(claim, outcomes) for claim in self.claims)])
        return lines + _around([outcomes[case] for case in self.cases if case in outcomes])

    def ended_well(self, outcomes: Mapping[Case, Outcome]) -> bool:
        return all(claim.held(outcomes) == "yes" for claim in self.claims)


@attrs.frozen
class Listed:
    """A list of cases without claims."""

    cases: Sequence[Case]
    runs: int = 1

    def scaled(self, scale: float) -> Self:
        return attrs.evolve(self, cases=[_scaled(case, scale) for case in self.cases])

    def only(self, text: str) -> Self:
        return attrs.evolve(self, cases=[case for case in self.cases if _in_line(case, text)])

    def ended_well(self, outcomes: Mapping[Case, Outcome]) -> bool:
        ran = [outcomes[case] for case in self.cases if case in outcomes]
        return len(ran) == len(self.cases) and not any(one.failure for outcome in ran for one in outcome.rounds)


@attrs.frozen
class Matrix(Listed):
    """First runs by round trip and connections, for the plots."""

    def show(self, outcomes: Mapping[Case, Outcome]) -> str:
        ran, lines = [outcomes[case] for case in self.cases if case in outcomes], list[list[str]]()
        for outcome in ran:
            limit = f"{outcome.limit.seconds:.3g} {outcome.limit.by}" if outcome.limit else "-"
            lines += [
                [outcome.case.title, row.server, row.peer, row.failure or figure(row.first), limit]
                for row in summarise(outcome.rounds)
            ]
        return table([["work", "server", "peer", "first s", "limit s"], *lines]) + _around(ran)


@attrs.frozen
class Deploys(Listed):
    """Deploys of a site, and what a visitor sees of each."""

    def show(self, outcomes: Mapping[Case, Outcome]) -> str:
        ran = [outcomes[case] for case in self.cases if case in outcomes]
        return render_deploys(ran) + _around(ran)


def _matrix() -> list[Case]:
    """Return cases with a tenth of the files: all files over one connection at 200 ms take lftp and rclone two hours.

    rclone is left out with one connection, where it would take most of the time.
    """
    return [
        Case("small", "proftpd", link, connections, peers, scale=0.1)
        for link in (None, 10, 50, 200)
        for connections, peers in ((1, (OURS, "lftp")), *((more, (OURS, "lftp", "rclone")) for more in (4, 8, 16)))
    ]


def _deploys() -> list[Case]:
    """Return a case for each server. Peers with one connection take minutes, so they run with one server only."""
    ours = (BURST, OURS, "lftp")
    peers = {
        "proftpd": (*ours, "rclone"),
        "openssh": (*ours, "rclone", "rsync"),
        "pyftpdlib": ours,
        "vsftpd": ours,
        "pure-ftpd": (*ours, "rclone", "ftp-deploy", "ftp-deployment"),
    }
    return [Case("deploy", server, 50, 4, taking_part) for server, taking_part in peers.items()]


CLAIMS: Final = Claims(_claims())
MATRIX: Final = Matrix(_matrix())
DEPLOYS: Final = Deploys(_deploys())
SUITES: Final[dict[str, Claims | Matrix | Deploys]] = {"claims": CLAIMS, "matrix": MATRIX, "deploy": DEPLOYS}
