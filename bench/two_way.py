"""Two sides that both change: actorsync beside rclone bisync and unison, over a line with a round trip of 50 ms.

Each program has a tree on this machine and one on the server. Four things are timed: a first run with half of the files
on each side; a first run with equal trees; nothing to do; and 1 % of the files changed on each side. After each run the
trees are compared byte for byte. Medians are compared.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import attrs

from bench.cases import Case
from bench.credentials import OWNER, PASSWORD, PORT, USER
from bench.link import inside
from bench.measure import Measurement, measure
from bench.peers import PEERS, ssh_command
from bench.report import table
from bench.rounds import open_stage, prepared_job
from bench.serving import serve
from bench.trees import difference, put_in_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from bench.peers import Job
    from bench.rounds import Stage
    from bench.servers import Language

__all__ = ["TwoWay", "render_two_way", "run_two_way"]

#: The round trip of the line, in milliseconds.
ROUND_TRIP: Final = 50
CONNECTIONS: Final = 8
#: How often each thing is timed.
_RUNS: Final = 3
_LONGEST: Final = 900.0
_OURS: Final = "actorsync"
#: What is wanted: at most this much of the time of the other program.
_WANTED: Final = {"rclone bisync": 0.5, "unison": 1.2}


@attrs.frozen
class TwoWay:
    """One program, one thing, once."""

    server: str
    program: str
    what: str
    files: int
    result: Measurement
    difference: str | None


def _actorsync(job: Job, language: Language) -> list[str]:
    command = PEERS[_OURS].commands[language](job)
    with (job.state / "profile.toml").open("a") as profile:
        profile.write('mode = "two-way"\n')
    return command


def _bisync(job: Job, remote: str) -> list[str]:
    """Return the command of every run; the first one is told to begin anew."""
    work = job.state / "bisync"
    first = [] if work.exists() else ["--resync"]
    work.mkdir(exist_ok=True)
    together = str(job.connections)
    return [
        *("rclone", "bisync", str(job.source), remote, "--config", os.devnull, "--workdir", str(work), "--quiet"),
        *("--transfers", together, "--checkers", together, *first),
    ]


def _bisync_sftp(job: Job) -> list[str]:
    keys = f"key_file={job.credentials.key_file},known_hosts_file={job.credentials.known_hosts}"
    return _bisync(job, f":sftp,shell_type=none,host={job.address},port={PORT},user={USER},{keys}:{job.folder}")


def _bisync_ftp(job: Job) -> list[str]:
    hidden = subprocess.run(["rclone", "obscure", PASSWORD], check=True, capture_output=True, text=True)
    secret = hidden.stdout.strip()
    return _bisync(job, f":ftp,host={job.address},port={PORT},user={USER},pass={secret}:{job.folder}")


def _unison(job: Job) -> list[str]:
    """Use the program on both sides. The machine of the server has the same one."""
    words = ssh_command(job.credentials).split()
    state = job.state / "unison"
    state.mkdir(exist_ok=True)
    return [
        *("env", f"UNISON={state}", "unison", str(job.source)),
        f"ssh://{USER}@{job.address}:{PORT}/{job.folder}",
        *("-batch", "-auto", "-silent", "-times", "-fastcheck", "true", "-sshcmd", words[0]),
        *("-sshargs", " ".join(words[1:])),
    ]


PROGRAMS: Final[Mapping[str, Mapping[str, Callable[[Job], list[str]]]]] = {
    "openssh": {_OURS: lambda job: _actorsync(job, "sftp"), "rclone bisync": _bisync_sftp, "unison": _unison},
    "proftpd": {_OURS: lambda job: _actorsync(job, "ftp"), "rclone bisync": _bisync_ftp},
}


@attrs.define
class _Sides:
    """The two trees of one program, and how it is run."""

    case: Case
    stage: Stage
    job: Job
    target: Path
    program: str
    _changes: int = 0

    def run(self, what: str) -> TwoWay:
        """Run the program once, and compare the trees."""
        command = PROGRAMS[self.case.server][self.program](self.job)
        result = measure(inside(self.stage.link.near, *command), self.job.state, _LONGEST)
        for own in self.target.glob(".actorsync-*"):
            own.unlink()
        unlike = None if result.failure else difference(self.job.source, self.target)
        found = TwoWay(self.case.server, self.program, what, self.case.tree.file_count, result, unlike)
        print(f"  {self.program}, {what}: {result.seconds:.2f} s {result.failure or unlike or ''}", file=sys.stderr)
        return found

    def change(self) -> None:
        """Change 1 % of the files on each side, others on each."""
        self._changes += 1
        names = sorted(path.relative_to(self.job.source) for path in self.job.source.rglob("*") if path.is_file())
        some = names[self._changes :: 50]
        for number, name in enumerate(some):
            root = self.job.source if number % 2 else self.target
            (root / name).write_bytes(b"changed %d" % self._changes + os.urandom(200))
            if root is self.target:
                os.chown(root / name, OWNER, OWNER)


@contextlib.contextmanager
def _sides(case: Case, stage: Stage, home: Path, program: str, *, is_split: bool) -> Iterator[_Sides]:
    """Make both trees of a program: equal ones, or half of the folders on each side."""
    shutil.rmtree(home / ".unison", ignore_errors=True)
    mine = stage.scratch / "mine"
    with prepared_job(case, stage, home, "two-way") as job:
        target = home / "two-way"
        mine.mkdir()
        put_in_place(case.tree, stage.source, mine, os.getuid())
        put_in_place(case.tree, stage.source, target, OWNER)
        if is_split:
            for number, folder in enumerate(sorted(path for path in mine.iterdir() if path.is_dir())):
                shutil.rmtree((mine if number % 2 else target) / folder.name)
        try:
            yield _Sides(case, stage, attrs.evolve(job, source=mine), target, program)
        finally:
            shutil.rmtree(mine)


def _first_runs(case: Case, stage: Stage, home: Path, programs: Sequence[str]) -> Iterator[TwoWay]:
    for _ in range(_RUNS):
        for program in programs:
            with _sides(case, stage, home, program, is_split=True) as sides:
                yield sides.run("first run, half on each side")


def _later_runs(case: Case, stage: Stage, home: Path, programs: Sequence[str]) -> Iterator[TwoWay]:
    for program in programs:
        with _sides(case, stage, home, program, is_split=False) as sides:
            yield sides.run("first run, equal trees")
            sides.run("(once more)")
            for _ in range(_RUNS):
                yield sides.run("nothing to do")
            for _ in range(_RUNS):
                sides.change()
                yield sides.run("1 % changed on each side")


def run_two_way(only: str = "", scale: float = 1.0) -> list[TwoWay]:
    """Run every program on every server whose line has ``only`` in it."""
    found: list[TwoWay] = []
    for server, programs in PROGRAMS.items():
        chosen = [name for name in programs if only in f"{server} {name}"]
        for workload, runs in (("small", _first_runs), ("many", _later_runs)):
            if not chosen:
                continue
            case = Case(workload, server, ROUND_TRIP, CONNECTIONS, (_OURS,), scale=scale)
            with (
                open_stage(case.tree, case.link) as stage,
                serve(server, stage.link, stage.credentials, stage.scratch) as home,
            ):
                found += runs(case, stage, home, chosen)
    return found


def render_two_way(found: Sequence[TwoWay]) -> str:
    """Return a table of the medians, and of the share that actorsync takes of the time of each other program."""
    lines = [["server", "what", "files", "program", "s", "cpu s", "actorsync takes of it", "wanted"]]
    groups: dict[tuple[str, str, str], list[TwoWay]] = {}
    for one in found:
        groups.setdefault((one.server, one.what, one.program), []).append(one)
    for (server, what, program), ones in groups.items():
        wrong = next((it.result.failure or it.difference for it in ones if it.result.failure or it.difference), None)
        if wrong is not None:
            lines.append([server, what, str(ones[0].files), program, "FAILED", wrong[:60], "-", "-"])
            continue
        seconds, cpu = _median(ones)
        ours = groups.get((server, what, _OURS), [])
        share = _median(ours)[0] / seconds if ours else None
        shown = "-" if share is None or program == _OURS else f"{share:.2f}"
        wanted = f"{_WANTED[program]:g}" if program in _WANTED else "-"
        lines.append([server, what, str(ones[0].files), program, f"{seconds:.2f}", f"{cpu:.2f}", shown, wanted])
    return table(lines)


def _median(ones: Sequence[TwoWay]) -> tuple[float, float]:
    return (
        statistics.median(it.result.seconds for it in ones),
        statistics.median(it.result.cpu for it in ones),
    )
