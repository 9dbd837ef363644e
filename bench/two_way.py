"""Two-way runs beside rclone bisync and unison: both sides may change, and each change goes to the other side."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from bench.cases import Case
from bench.credentials import OWNER, PASSWORD, PORT, USER
from bench.link import inside
from bench.measure import Measurement, measure
from bench.peers import PASSWORD_VARIABLE, Job, ssh_command
from bench.report import figure, ratio, table
from bench.rounds import open_stage
from bench.serving import round_trip, serve
from bench.trees import CHANGED_MTIME, difference, files_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bench.rounds import Stage

__all__ = ["TWO_WAY", "TwoWayRound", "ended_well", "render_two_way", "run_two_way"]

TWO_WAY: Final = "two-way"
OURS: Final = "actorsync"
CONNECTIONS: Final = 8
STAMP: Final = f".actorsync-{'[0-9a-f]' * 16}"
EVERY: Final = 100
"""One file in so many changes on each side."""
ROUND_TRIPS: Final = (50, None)

#: What each workload is: the tree, and a line about the two sides before the run that is timed.
WORKS: Final[Mapping[str, tuple[str, str]]] = {
    "send": ("small", "first run, the target is empty"),
    "merge": ("small", "first run, each side has the half that the other one has not"),
    "equal": ("adopt", "first run, both sides are equal"),
    "nothing": ("nothing-to-do", "nothing has changed"),
    "changed": ("nothing-to-do", "1 % has changed on each side, no file on both"),
}


@attrs.frozen
class TwoWayRound:
    """One program, once, from two prepared sides to the end of the timed run."""

    work: str
    server: str
    peer: str
    link: int | None
    files: int
    trip_ms: float
    """The round trip as it was measured, in milliseconds."""
    timed: Measurement
    difference: str | None
    """What is wrong with the two sides after the run; such a run has no time in the table."""

    @property
    def failure(self) -> str | None:
        return self.timed.failure or self.difference

    @property
    def group(self) -> tuple[str, str, int | None, int]:
        """What rounds have in common that may be compared."""
        return self.work, self.server, self.link, self.files


def _actorsync(job: Job, url: str, access: str) -> list[str]:
    profile = job.state / "profile.toml"
    profile.write_text(
        f'[source]\npath = "{job.source}"\n\n[target]\nurl = "{url}{job.folder}"\n{access}\n\n'
        f'[sync]\nmode = "two-way"\nconnections = {job.connections}\n'
    )
    profile.chmod(0o600)
    return [sys.executable, "-m", "actorsync", "run", str(profile)]


def _actorsync_ftp(job: Job, _: bool) -> list[str]:
    access = f'password = {{ env = "{PASSWORD_VARIABLE}" }}'
    return _actorsync(job, f"ftp://{USER}@{job.address}:{PORT}/", access)


def _actorsync_sftp(job: Job, _: bool) -> list[str]:
    keys = {"key-file": job.credentials.key_file, "known-hosts": job.credentials.known_hosts}
    access = "\n".join(f'{key} = "{path}"' for key, path in keys.items())
    return _actorsync(job, f"sftp://{USER}@{job.address}:{PORT}/~/", access)


def _bisync(job: Job, backend: str, access: str, is_first: bool) -> list[str]:
    """Use ``--resync`` for the first run, without which it refuses one."""
    remote = f":{backend},host={job.address},port={PORT},user={USER},{access}:{job.folder}"
    together = str(job.connections)
    return [
        *("rclone", "bisync", str(job.source), remote, "--config", os.devnull, "--quiet"),
        *("--workdir", str(job.state / "bisync"), "--transfers", together, "--checkers", together),
        *(["--resync"] if is_first else []),
    ]


@functools.cache
def _hidden_password() -> str:
    """Return the password as rclone takes it: another text each time, and bisync needs the same in each run."""
    return subprocess.run(["rclone", "obscure", PASSWORD], check=True, capture_output=True, text=True).stdout.strip()


def _bisync_ftp(job: Job, is_first: bool) -> list[str]:
    return _bisync(job, "ftp", f"pass={_hidden_password()}", is_first)


def _bisync_sftp(job: Job, is_first: bool) -> list[str]:
    """Use no shell, like actorsync."""
    keys = f"key_file={job.credentials.key_file},known_hosts_file={job.credentials.known_hosts}"
    return _bisync(job, "sftp,shell_type=none", keys, is_first)


def _unison(job: Job, _: bool) -> list[str]:
    """Use one connection, as it always does. Its server is the same program on the other side."""
    ssh, *arguments = ssh_command(job.credentials).split()
    return [
        *("unison", str(job.source), f"ssh://{USER}@{job.address}:{PORT}/{job.folder}"),
        *("-sshcmd", ssh, "-sshargs", " ".join(arguments)),
        *("-batch", "-auto", "-silent", "-times", "-fastcheck", "true"),
    ]


_Commands = dict[str, dict[str, "Callable[[Job, bool], list[str]]"]]

#: For each server the programs, and what makes the command of each for a job, and for a first or a later run.
PROGRAMS: Final[_Commands] = {
    "openssh": {OURS: _actorsync_sftp, "bisync": _bisync_sftp, "unison": _unison},
    "proftpd": {OURS: _actorsync_ftp, "bisync": _bisync_ftp},
}


def _owned(root: Path) -> None:
    subprocess.run(["chown", "-R", f"{OWNER}:{OWNER}", str(root)], check=True)


def _lay(work: str, tree: Path, source: Path, target: Path) -> None:
    """Put both sides into the state before the first run of the work."""
    subprocess.run(["cp", "-a", str(tree), str(source)], check=True)
    if work == "send":
        target.mkdir()
    else:
        subprocess.run(["cp", "-a", str(tree), str(target)], check=True)
    if work == "merge":
        for number, file in enumerate(files_of(tree)):
            (source, target)[number % 2].joinpath(file.relative_to(tree)).unlink()
    _owned(target)


def _change(tree: Path, source: Path, target: Path) -> dict[Path, bytes]:
    """Change other files on each side; return what both sides then have to have."""
    wanted = dict[Path, bytes]()
    for number, file in enumerate(files_of(tree)):
        for side, turn in ((source, 0), (target, EVERY // 2)):
            if number % EVERY == turn:
                name = file.relative_to(tree)
                wanted[name] = b"changed %d\n" % number + file.read_bytes()
                (side / name).write_bytes(wanted[name])
                os.utime(side / name, (CHANGED_MTIME + number, CHANGED_MTIME + number))
    return wanted


def _wrong(source: Path, target: Path, tree: Path, changed: Mapping[Path, bytes]) -> str | None:
    """Return what is wrong with the two sides, read byte for byte; None when both have what they have to have."""
    if unlike := difference(source, target):
        return f"the sides differ: {unlike}"
    for name, content in changed.items():
        if (source / name).read_bytes() != content:
            return f"a change is lost: {name}"
    if not changed:
        return difference(tree, source)
    if len(files_of(source)) != len(files_of(tree)):
        return "files are lost or too many"
    return None


def _without_stamp(target: Path) -> None:
    """Remove the one empty file by which actorsync knows the target again; more of them count as too many."""
    if len(stamps := [*target.glob(STAMP)]) == 1:
        stamps[0].unlink()


@contextlib.contextmanager
def _two_sides(stage: Stage, home: Path) -> Iterator[Job]:
    """Name two sides that are not there yet, and an empty state; remove all at the end of the block."""
    source, folder = stage.scratch / "side", "side"
    stage.state.mkdir()
    try:
        yield Job(source, stage.link.address, folder, CONNECTIONS, stage.state, stage.credentials)
    finally:
        for path in (source, home / folder, stage.state, home / ".unison"):
            shutil.rmtree(path, ignore_errors=True)


def _round(case: Case, stage: Stage, home: Path, work: str, peer: str, timeout: float) -> TwoWayRound:
    with _two_sides(stage, home) as job:
        command, target = PROGRAMS[case.server][peer], home / job.folder

        def run(place: str, *, is_first: bool) -> Measurement:
            return measure(inside(place, *command(job, is_first)), job.state, timeout)

        _lay(work, stage.source, job.source, target)
        is_first, changed, timed = work not in {"nothing", "changed"}, dict[Path, bytes](), None
        if not is_first:  # what each side had is learnt beside the server, where this takes seconds
            known = run(stage.link.far, is_first=True)
            timed = known if known.failure else None
        if work == "changed":
            changed = _change(stage.source, job.source, target)
            _owned(target)
        timed = timed or run(stage.link.near, is_first=is_first)
        trip = 0.0 if case.link is None else round_trip(stage.link) or 0.0
        _without_stamp(target)
        wrong = None if timed.failure else _wrong(job.source, target, stage.source, changed)
        return TwoWayRound(
            *(work, case.server, peer, case.link, case.tree.file_count, round(trip * 1000, 1)), timed, wrong
        )


def _titled(work: str, server: str, link: int | None, files: int) -> str:
    return f"{work}, {files:,} files: {WORKS[work][1]}, {server}, {'loopback' if link is None else f'{link} ms'}"


def run_two_way(
    path: Path, only: str = "", *, scale: float = 1.0, runs: int = 1, timeout: float = 7200
) -> list[TwoWayRound]:
    """Run every work whose line has ``only`` in it, the programs in turn; append each round to ``path``."""
    found: list[TwoWayRound] = []
    for link in ROUND_TRIPS:
        for work, (tree, _) in WORKS.items():
            cases = [Case(tree, server, link, CONNECTIONS, tuple(PROGRAMS[server]), scale) for server in PROGRAMS]
            cases = [case for case in cases if only in _titled(work, case.server, link, case.tree.file_count)]
            if not cases:
                continue
            with open_stage(cases[0].tree, link) as stage:
                for case in cases:
                    found += _rounds(case, stage, work, path, runs, timeout)
    return found


def _rounds(case: Case, stage: Stage, work: str, path: Path, runs: int, timeout: float) -> Iterator[TwoWayRound]:
    with serve(case.server, stage.link, stage.credentials, stage.scratch) as home:
        for peer in [*case.peers] * runs:
            one = _round(case, stage, home, work, peer, timeout)
            with path.open("a") as file:
                file.write(json.dumps(attrs.asdict(one)) + "\n")
            print(
                f"{_titled(*one.group)}: {peer} {one.timed.seconds:.2f} s, {one.timed.cpu:.2f} s of processor, "
                f"{one.failure or 'equal'}",
                file=sys.stderr,
            )
            yield one


def _middle(values: Sequence[float]) -> float | None:
    return sorted(values)[len(values) // 2] if values else None


def render_two_way(rounds: Sequence[TwoWayRound]) -> str:
    """Return a table with the medians of each program, and ours as a share of each of the others."""
    lines = [["work", "program", "s", "processor s", "peak, MiB", "ours / theirs", "result"]]
    for group in dict.fromkeys(one.group for one in rounds):
        of_group = [one for one in rounds if one.group == group]
        programs = {
            peer: [one for one in of_group if one.peer == peer] for peer in dict.fromkeys(x.peer for x in of_group)
        }
        ours = _seconds(programs.get(OURS, []))
        for peer, these in programs.items():
            theirs, timed = _seconds(these), [one.timed for one in these if not one.failure]
            lines.append(
                [
                    _titled(*group),
                    peer,
                    figure(_middle(theirs)),
                    figure(_middle([one.cpu for one in timed])),
                    figure(_middle([one.peak_mib for one in timed]), 0),
                    "" if peer == OURS else figure(ratio(ours, theirs)),
                    next((one.failure for one in these if one.failure), "equal"),
                ]
            )
    return table(lines)


def _seconds(rounds: Sequence[TwoWayRound]) -> list[float]:
    return [one.timed.seconds for one in rounds if not one.failure]


def ended_well(rounds: Sequence[TwoWayRound]) -> bool:
    """Return whether every run ended well, with two sides as they have to be."""
    return not any(one.failure for one in rounds)
