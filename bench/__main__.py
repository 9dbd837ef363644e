"""``python -m bench``: actorsync beside its peers, on one tree, against real servers, over one slow line."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import os
import platform
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import attrs

from bench.credentials import OWNER, Credentials, make_credentials
from bench.link import Link, Unusable, inside, open_link
from bench.measure import Measurement, measure
from bench.peers import PEERS, Job
from bench.report import Round, render, wire_limit, write_results
from bench.servers import SERVERS, USUAL
from bench.serving import round_trip, serve
from bench.trees import WORKLOADS, difference, make_tree, other_times, put_in_place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

RESULTS: Final = Path(__file__).with_name("results")
TOOLS: Final = {"ip": "iproute2", "unshare": "util-linux", "mount": "mount", "ssh-keygen": "openssh-client"}
BLOCKS_PER_FILE: Final = 4096


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    def one_to(most: int, *words: str) -> Callable[[str], int | str]:
        def number(text: str) -> int | str:
            if text in words:
                return text
            if not text.isdecimal() or not 1 <= int(text) <= most:
                allowed = " or ".join([*words, f"a number from 1 to {most}"])
                raise argparse.ArgumentTypeError(f"{text!r} is not {allowed}")
            return int(text)

        return number

    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = parser.add_argument
    add("--workload", choices=WORKLOADS, default="small", help="the tree to mirror (default: small)")
    add("--server", choices=SERVERS, nargs="+", help=f"default: those installed of {' '.join(USUAL)}")
    add("--peer", choices=PEERS, nargs="+", help="default: all that are installed")
    add("--link", type=one_to(2000, "loopback"), default=50, help="loopback, or a round trip in ms (default: 50)")
    add("--connections", type=one_to(100), default=8, help="for every peer (default: 8)")
    add("--runs", type=one_to(100), default=1, help="rounds; the table shows medians (default: 1)")
    add("--timeout", type=one_to(1_000_000), default=7200, help="seconds for one run of one peer (default: 7200)")
    return parser.parse_args(arguments)


def check_machine() -> None:
    if sys.platform != "linux":
        raise Unusable("network namespaces are needed: this runs on Linux only")
    if os.geteuid() != 0:
        raise Unusable(f"root is needed to make network namespaces: sudo {sys.executable} -m bench")
    if missing := sorted(package for tool, package in TOOLS.items() if not shutil.which(tool)):
        raise Unusable(f"missing tools: apt install {' '.join(missing)}")


def present(
    kind: str, wanted: Sequence[str] | None, known: dict[str, str], found: dict[str, str | None]
) -> dict[str, str]:
    """The versions of those to use; who was asked for by name must be there."""
    absent = [name for name in wanted or known if not found[name]]
    how = "; ".join(
        "actorsync: not runnable yet" if name == "actorsync" else f"{name}: {known[name]}" for name in absent
    )
    here = {name: version for name in wanted or known if (version := found[name])}
    if (absent and wanted) or not here:
        raise Unusable(f"{kind} not here: {how}")
    if absent:
        print(f"left out: {how}", file=sys.stderr)
    return here


def choose(options: argparse.Namespace) -> tuple[dict[str, str], dict[str, str]]:
    """The servers and the peers that take part, each with its version."""
    unpack = "apt install {} (or run .ci/install-servers)"
    installs = {name: SERVERS[name].install for name in options.server or USUAL}
    servers = {name: how if " " in how else unpack.format(how) for name, how in installs.items()}
    peers = {name: PEERS[name].install for name in options.peer or PEERS}
    chosen = (
        present("servers", options.server, servers, {name: SERVERS[name].find_version() for name in servers}),
        present("peers", options.peer, peers, {name: PEERS[name].find_version() for name in peers}),
    )
    if not any(can_run(server, peer) for server in chosen[0] for peer in chosen[1]):
        raise Unusable(f"no server here that {' or '.join(chosen[1])} can work with: {', '.join(chosen[0])}")
    return chosen


def can_run(server: str, peer: str) -> bool:
    return PEERS[peer].command_for(SERVERS[server].speaks) is not None


def scratch_folder(room: int) -> Path:
    """On a tmpfs when that has room, to keep the disk's noise out."""
    for parent in ("/dev/shm", tempfile.gettempdir()):
        if os.path.isdir(parent) and shutil.disk_usage(parent).free > room:
            folder = Path(tempfile.mkdtemp(prefix="actorsync-bench-", dir=parent))
            folder.chmod(0o755)  # the servers' user goes through it
            return folder
    raise Unusable(f"no room: {room >> 20} MiB are needed in /dev/shm or {tempfile.gettempdir()} (or set TMPDIR)")


@attrs.frozen
class Stage:
    """Where a round happens."""

    link: Link
    scratch: Path
    home: Path
    """The folder of the server in which each peer has its own."""
    credentials: Credentials


def one_round(options: argparse.Namespace, stage: Stage, names: tuple[str, str]) -> Round:
    """One peer, from an empty folder (or one already equal) to the run with nothing to do."""
    server, peer = names
    if (command := PEERS[peer].command_for(SERVERS[server].speaks)) is None:
        return Round(server, peer, None, None, None)
    source, in_place = stage.scratch / "tree", WORKLOADS[options.workload].in_place
    target, state = stage.home / peer, stage.scratch / "state"
    target.mkdir()
    os.chown(target, OWNER, OWNER)
    job = Job(source, stage.link.address, peer, options.connections, state, stage.credentials)

    def run() -> Measurement:
        state.mkdir(exist_ok=True)
        return measure(inside(stage.link.near, *command(job)), state, options.timeout)

    try:
        first = again = None
        if in_place:
            put_in_place(source, target, OWNER)
            if peer == "actorsync" and (adopted := run()).failure:  # not timed: it fills the journal
                return Round(server, peer, None, adopted, None)
        else:
            first = run()
        if first is None or not first.failure:
            again = run()
        unlike = difference(source, target)
        return Round(server, peer, first, again, unlike, 0 if unlike else other_times(source, target))
    finally:
        shutil.rmtree(target)
        shutil.rmtree(state, ignore_errors=True)


def show(one: Round) -> None:
    if not (one.first or one.again):
        return
    parts = [f"{word} {run.seconds:.2f} s" for word, run in (("first", one.first), ("again", one.again)) if run]
    print(f"{one.server} {one.peer}: {', '.join(parts)}, {one.failure or one.target}", file=sys.stderr)


def compare(options: argparse.Namespace) -> int:
    check_machine()
    servers, peers = choose(options)
    workload, rounds, trips = WORKLOADS[options.workload], list[Round](), list[float]()
    with contextlib.ExitStack() as stack:
        scratch = scratch_folder(2 * (workload.most_bytes + BLOCKS_PER_FILE * workload.file_count) + (64 << 20))
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        size = make_tree(workload, scratch / "tree")
        milliseconds = None if options.link == "loopback" else options.link
        link = stack.enter_context(open_link(milliseconds, scratch))
        credentials = make_credentials(scratch / "credentials", link.address)
        for server in servers:
            with serve(server, link, credentials, scratch) as home:
                trips.append(round_trip(link) or 0.0)
                for _ in range(options.runs):
                    for peer in peers:
                        stage = Stage(link, scratch, home, credentials)
                        rounds.append(one_round(options, stage, (server, peer)))
                        show(rounds[-1])
    trip = max(trips)
    now = dt.datetime.now(dt.UTC)
    conditions: dict[str, object] = {
        "workload": options.workload,
        "tree": attrs.asdict(workload) | {"bytes": size},
        "link": {"asked": options.link, "kind": link.kind, "round_trip_ms": round(trip * 1000, 2)},
        "connections": options.connections,
        "runs": options.runs,
        "servers": servers,
        "peers": peers,
        "machine": {
            "cpus": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
        },
    }
    path = write_results(RESULTS, f"{now:%Y-%m-%dT%H%M%SZ}", conditions, rounds)
    print(f"{options.workload}: {workload.about}; {options.connections} connections; {options.runs} run(s)")
    print(f"link: {link.kind}, round trip {trip * 1000:.1f} ms measured; {os.cpu_count()} CPUs")
    print("versions:", ", ".join(f"{name} {version}" for name, version in (servers | peers).items()))
    uses_ftp = any("ftp" in SERVERS[name].speaks for name in servers)
    if uses_ftp and milliseconds and not workload.in_place and workload.file_count >= options.connections:
        limit = wire_limit(workload.file_count, trip, options.connections)
        print(f"plain FTP, three round trips a file, shared by the connections: at least {limit:.1f} s")
    print(f"\n{render(rounds)}\n\nevery figure: {os.path.relpath(path)}")
    return 1 if any(one.failure for one in rounds) else 0


def _leave(number: int, _: FrameType | None) -> NoReturn:
    """The first signal ends the benchmark; what cleans up after it is not disturbed by a second."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    print("\nbench: stopped; cleaning up", file=sys.stderr)
    raise SystemExit(128 + number)


def main() -> int:
    options = parse()
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, _leave)
    try:
        return compare(options)
    except Unusable as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
