"""Run one case: the peers in turn, in several rounds, with one tree and one server."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from bench.cases import Outcome, Round
from bench.credentials import OWNER, Credentials, make_credentials
from bench.limits import Conditions, Limit, bytes_per_second, limit_of_again, limit_of_first, walk_seconds
from bench.link import Link, Unusable, inside, open_link
from bench.measure import Measurement, measure
from bench.peers import PEERS, Job
from bench.servers import SERVERS
from bench.serving import round_trip, serve
from bench.trees import change, difference, make_tree, other_times, put_in_place, written_since
from bench.visible import Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.cases import Case
    from bench.trees import Workload

__all__ = ["Stage", "conditions_of", "open_stage", "prepared_job", "run_case", "versions"]

BLOCK: Final = 4096
"""Bytes that the shortest file takes on a tmpfs."""
SETTLING: Final = 3.0
"""Seconds to wait before the first run: actorsync reads files younger than two seconds for a digest."""
REMEMBERED: Final = 1024
"""The most bytes of a journal for each file."""


@attrs.frozen
class Stage:
    """The tree and the line that several cases share."""

    link: Link
    scratch: Path
    credentials: Credentials
    size: int
    """Bytes of the tree."""
    walk: float
    """Seconds to read every entry of the tree."""

    @property
    def source(self) -> Path:
        return self.scratch / "tree"

    @property
    def state(self) -> Path:
        return self.scratch / "state"


def _machine() -> dict[str, Any]:
    """Return the machine, the command and the time of this call."""
    processors = Path("/proc/cpuinfo").read_text().splitlines()
    return {
        "when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m bench", *sys.argv[1:]]),
        "cpus": os.cpu_count(),
        "processor": next((line.partition(": ")[2] for line in processors if line.startswith("model name")), "?"),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30), 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _scratch_folder(workload: Workload) -> Path:
    """Make a folder on a tmpfs if it has room for source and target: a disk would make times less even."""
    files, entries = workload.file_count, 2 * (workload.file_count + workload.folders)
    copies = 1 if workload.linked else 2
    room = copies * (workload.most_bytes + BLOCK * files) + REMEMBERED * files + (128 << 20)
    for parent in ("/dev/shm", tempfile.gettempdir()):
        if not os.path.isdir(parent) or shutil.disk_usage(parent).free < room:
            continue
        names = os.statvfs(parent)
        if not names.f_files or names.f_favail > entries:  # some file systems do not count them
            folder = Path(tempfile.mkdtemp(prefix="actorsync-bench-", dir=parent))
            folder.chmod(0o755)  # the servers' user must reach folders below it
            return folder
    raise Unusable(f"no room: the trees need {room >> 20} MiB in /dev/shm or {tempfile.gettempdir()}; set TMPDIR")


@contextlib.contextmanager
def open_stage(workload: Workload, link: int | None) -> Iterator[Stage]:
    """Make the tree and the line, and remove both at the end of the block."""
    with contextlib.ExitStack() as stack:
        scratch = _scratch_folder(workload)
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        size = make_tree(workload, scratch / "tree")
        time.sleep(SETTLING)
        line = stack.enter_context(open_link(link, scratch))
        credentials = make_credentials(scratch / "credentials", line.address)
        yield Stage(line, scratch, credentials, size, walk_seconds(scratch / "tree"))


@contextlib.contextmanager
def prepared_job(case: Case, stage: Stage, home: Path, peer: str) -> Iterator[Job]:
    """Make an empty folder on the server and an empty state for the peer; remove both at the end of the block."""
    target = home / peer
    target.mkdir()
    os.chown(target, OWNER, OWNER)
    stage.state.mkdir()
    try:
        yield Job(
            *(stage.source, stage.link.address, peer, case.connections, stage.state, stage.credentials),
            is_deploy=case.tree.is_site,
        )
    finally:
        shutil.rmtree(target)
        shutil.rmtree(stage.state)


def _forget_notes(peer: str, *roots: Path) -> None:
    """Remove the files that a peer stores for itself in the trees; they belong neither to the source nor the mirror."""
    if pattern := PEERS[peer].notes:
        for note in [path for root in roots for path in root.rglob(pattern)]:
            note.unlink()


def one_round(case: Case, stage: Stage, home: Path, peer: str, timeout: float) -> Round:
    """Run one peer once, from an empty folder, or from an equal one, to the last timed run."""
    server, source, target = case.server, stage.source, home / peer
    if (command := PEERS[peer].command_for(SERVERS[server].speaks)) is None:
        return Round(server, peer, None, None, None)
    with prepared_job(case, stage, home, peer) as job, contextlib.ExitStack() as changes:
        changes.callback(_forget_notes, peer, source)

        def run(place: str = stage.link.near) -> Measurement:
            return measure(inside(place, *command(job)), job.state, timeout)

        if case.tree.in_place:
            put_in_place(case.tree, source, target, OWNER)
        # A site is also sent whole by peers that cannot adopt it: beside the server, where this takes seconds.
        before = stage.link.far if case.tree.is_site else stage.link.near
        if case.tree.known and PEERS[peer].remembers and (adopted := run(before)).failure:
            return Round(server, peer, None, adopted, None)
        old = changes.enter_context(_copied(stage)) if case.tree.is_site else None
        start = time.time()
        changed = changes.enter_context(change(case.tree, source)) if case.tree.changed else []
        site = old and Site(target, old, source, [str(path.relative_to(source)) for path in changed])
        with site.watching_from_now() if site else contextlib.nullcontext():
            first = None if case.tree.only_again else run()
        again = run() if case.tree.only_again or not (case.tree.in_place or (first and first.failure)) else None
        _forget_notes(peer, source, target)
        unlike = difference(source, target) or _too_much(case.tree, target, start)
        times = 0 if unlike else other_times(source, target)
        return Round(server, peer, first, again, unlike, times, site.seen() if site else None)


@contextlib.contextmanager
def _copied(stage: Stage) -> Iterator[Path]:
    """Copy the source to a folder of its own, which is there until the block ends."""
    copy = stage.scratch / "old"
    shutil.copytree(stage.source, copy)
    try:
        yield copy
    finally:
        shutil.rmtree(copy)


def _too_much(tree: Workload, target: Path, start: float) -> str | None:
    """Return an error when a run wrote more files than differed: copying equal files is not the work to measure."""
    written = written_since(target, start) if tree.in_place else 0
    return f"{written} files were written, but only {tree.changed} differed" if written > tree.changed else None


def versions(case: Case) -> dict[str, str | None]:
    """Return the versions of the server and the peers; None for those not installed."""
    peers = {peer: PEERS[peer].find_version() for peer in case.peers}
    return {case.server: SERVERS[case.server].find_version()} | peers


def conditions_of(case: Case, stage: Stage) -> dict[str, Any]:
    """Return the machine, the tree and the versions with which a case runs."""
    return _machine() | {"tree": attrs.asdict(case.tree) | {"bytes": stage.size}, "versions": versions(case)}


def show(one: Round) -> None:
    if one.timed:
        parts = [f"{word} {run.seconds:.2f} s" for word, run in (("first", one.first), ("again", one.again)) if run]
        if one.seen and one.seen.window is not None:
            parts.append(f"visible {one.seen.window:.2f} s")
        print(f"{one.server} {one.peer}: {', '.join(parts)}, {one.failure or one.target}", file=sys.stderr)


def _limits(case: Case, stage: Stage, here: Conditions) -> dict[str, Limit]:
    language = SERVERS[case.server].speaks[0]
    limits = {"again": limit_of_again(here)}
    if not case.tree.only_again:
        limits["first"] = limit_of_first(case.tree, stage.size, language, case.connections, here)
    return limits


def run_case(case: Case, stage: Stage, runs: int, timeout: float) -> Outcome:
    """Run every round of a case. The line is measured just before."""
    rounds = list[Round]()
    with serve(case.server, stage.link, stage.credentials, stage.scratch) as home:
        trip = 0.0 if case.link is None else round_trip(stage.link) or 0.0
        sockets = max(1, min(case.connections, case.tree.file_count))
        carried = bytes_per_second(stage.link, stage.size, sockets, stage.scratch)
        here = Conditions(trip, carried, stage.walk)
        for _ in range(runs):
            for peer in case.peers:
                rounds.append(one_round(case, stage, home, peer, timeout))
                show(rounds[-1])
    measured = {
        "link": {"kind": stage.link.kind, "round_trip_ms": round(trip * 1000, 2)},
        "bytes_per_second": round(here.bytes_per_second),
        "walk_seconds": here.walk,
    }
    return Outcome(case, conditions_of(case, stage) | measured, _limits(case, stage, here), rounds)
