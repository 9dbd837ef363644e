"""``python -m bench``: compare actorsync with other programs: one tree, real servers, a line with a chosen delay."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from bench.cases import Case, Outcome, can_run, keep, kept
from bench.latency import render_latencies, run_latencies
from bench.link import Unusable
from bench.peers import PEERS
from bench.plots import draw, draw_deploys
from bench.report import render, render_deploys
from bench.rounds import open_stage, run_case
from bench.servers import SERVERS, USUAL
from bench.suites import CLAIMS, DEPLOYS, MATRIX, SUITES, run_suite
from bench.trees import WORKLOADS
from bench.two_way import TWO_WAY, ended_well, render_two_way, run_two_way

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

RESULTS: Final = Path(__file__).with_name("results")
PLOTS: Final = Path(__file__).parents[1] / "docs/plots"
#: The suite that measures how long a change takes to be live.
WATCH: Final = "watch"
TOOLS: Final = {"ip": "iproute2", "unshare": "util-linux", "mount": "mount", "ssh-keygen": "openssh-client"}


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

    def factor(text: str) -> float:
        with contextlib.suppress(ValueError):
            if 0 < (number := float(text)) <= 10:
                return number
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, up to 10")

    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = parser.add_argument
    add("--runs", type=one_to(100), help="rounds; tables show medians (default: 1, for the claims 3)")
    add("--timeout", type=one_to(1_000_000), default=7200, help="seconds for one run of one peer (default: 7200)")
    add("--scale", type=factor, default=1.0, help="factor for the number of files, for a quick try (default: 1)")
    add = parser.add_argument_group("one comparison").add_argument
    add("--workload", choices=WORKLOADS, default="small", help="the tree to mirror (default: small)")
    add("--server", choices=SERVERS, nargs="+", help=f"default: those installed of {' '.join(USUAL)}")
    add("--peer", choices=PEERS, nargs="+", help="default: all that are installed")
    add("--link", type=one_to(2000, "loopback"), default=50, help="loopback, or the round trip in ms (default: 50)")
    add("--connections", type=one_to(100), default=8, help="for every peer (default: 8)")
    add = parser.add_argument_group("a list of comparisons").add_argument
    add(
        "--suite",
        choices=[*SUITES, WATCH, TWO_WAY],
        help="the claims about actorsync, the matrix, the deploys of a site, from save to live, or two-way runs",
    )
    add("--only", metavar="TEXT", default="", help="only cases with this text in their line, such as 'sftp small'")
    add("--again", action="store_true", help="also run cases that have results; the last result counts")
    add("--render", action="store_true", help="run nothing; show the results so far")
    add("--plots", action="store_true", help="run nothing; draw the results of the suites to docs/plots")
    return parser.parse_args(arguments)


def check_machine() -> None:
    if sys.platform != "linux":
        raise Unusable("the benchmark needs network namespaces, so it runs on Linux only")
    if os.geteuid() != 0:
        raise Unusable(f"the benchmark needs root for network namespaces: sudo {sys.executable} -m bench")
    if missing := sorted(package for tool, package in TOOLS.items() if not shutil.which(tool)):
        raise Unusable(f"missing tools: apt install {' '.join(missing)}")


def present(
    kind: str, wanted: Sequence[str] | None, known: dict[str, str], found: dict[str, str | None]
) -> dict[str, str]:
    """Return the versions of those to use. Raises `Unusable` when one that is named in ``wanted`` is not installed."""
    absent = [name for name in wanted or known if not found[name]]
    how = "; ".join(
        "actorsync: not runnable yet" if name == "actorsync" else f"{name}: {known[name]}" for name in absent
    )
    here = {name: version for name in wanted or known if (version := found[name])}
    if (absent and wanted) or not here:
        raise Unusable(f"{kind} not installed: {how}")
    if absent:
        print(f"left out: {how}", file=sys.stderr)
    return here


def choose(options: argparse.Namespace) -> tuple[dict[str, str], dict[str, str]]:
    """Return the servers and the peers that take part, each with its version."""
    unpack = "apt install {} (or run .ci/install-servers)"
    installs = {name: SERVERS[name].install for name in options.server or USUAL}
    servers = {name: how if " " in how else unpack.format(how) for name, how in installs.items()}
    takes_part = [name for name in PEERS if PEERS[name].is_usual or WORKLOADS[options.workload].is_site]
    peers = {name: PEERS[name].install for name in options.peer or takes_part}
    chosen = (
        present("servers", options.server, servers, {name: SERVERS[name].find_version() for name in servers}),
        present("peers", options.peer, peers, {name: PEERS[name].find_version() for name in peers}),
    )
    if not any(can_run(server, peer) for server in chosen[0] for peer in chosen[1]):
        raise Unusable(f"none of these servers works with {' or '.join(chosen[1])}: {', '.join(chosen[0])}")
    return chosen


def compare(options: argparse.Namespace) -> int:
    """Run one workload over one line, on every server that takes part; return the exit code."""
    check_machine()
    servers, peers = choose(options)
    link, outcomes = None if options.link == "loopback" else options.link, list[Outcome]()
    cases = [
        Case(options.workload, server, link, options.connections, tuple(peers), options.scale) for server in servers
    ]
    path = RESULTS / f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H%M%SZ}.jsonl"
    with open_stage(cases[0].tree, link) as stage:
        for case in cases:
            outcomes.append(run_case(case, stage, options.runs or 1, options.timeout))
            keep(path, outcomes[-1])
    line, tree = outcomes[0].conditions["link"], cases[0].tree
    print(f"{options.workload}: {tree.about}; {options.connections} connections; {options.runs or 1} run(s)")
    if options.scale != 1:
        print(f"scaled: {tree.file_count:,} files in {tree.folders:,} folders, {tree.changed:,} changed")
    print(f"link: {line['kind']}, round trip {line['round_trip_ms']} ms measured; {os.cpu_count()} CPUs")
    print("versions:", ", ".join(f"{name} {version}" for name, version in (servers | peers).items()))
    print(f"\n{render(outcomes)}")
    if tree.is_site:
        print(f"\n{render_deploys(outcomes)}")
    print(f"\nevery figure: {os.path.relpath(path)}")
    return 1 if any(one.failure for outcome in outcomes for one in outcome.rounds) else 0


def _results_of(name: str, scale: float) -> Path:
    """Return the file with the results of a suite. Each scale has its own file."""
    return RESULTS / (f"{name}.jsonl" if scale == 1 else f"{name}-x{scale:g}.jsonl")


def suite(options: argparse.Namespace) -> int:
    """Run the cases of a suite that have no result yet, and show all results; return the exit code."""
    path, chosen = _results_of(options.suite, options.scale), SUITES[options.suite].scaled(options.scale)
    picked = chosen.only(options.only)
    if not picked.cases:
        raise Unusable(f"no case has {options.only!r} in its line; use --render to see the lines")
    if not options.render:
        check_machine()
        run_suite(picked.cases, path, options.runs or chosen.runs, options.timeout, again=options.again)
    outcomes = kept(path)
    RESULTS.mkdir(exist_ok=True)
    path.with_suffix(".md").write_text(chosen.show(outcomes) + "\n")
    print(f"{picked.show(outcomes)}\n\nall of it: {os.path.relpath(path.with_suffix('.md'))}")
    return 0 if picked.ended_well(outcomes) else 1


def latencies(options: argparse.Namespace) -> int:
    """Measure from save to live, and show it; return the exit code."""
    check_machine()
    RESULTS.mkdir(exist_ok=True)
    found = run_latencies(RESULTS / f"{WATCH}.jsonl", options.only)
    if not found:
        raise Unusable(f"no program has {options.only!r} in its line")
    print(shown := render_latencies(found))
    if not options.only:
        (RESULTS / f"{WATCH}.md").write_text(shown + "\n")
    return 1 if "NOT KEPT" in shown else 0


def two_way(options: argparse.Namespace) -> int:
    """Compare two-way runs, and show them; return the exit code."""
    check_machine()
    present(
        "peers",
        ["rclone", "unison"],
        {name: f"apt install {name}" for name in ("rclone", "unison")},
        {name: shutil.which(name) for name in ("rclone", "unison")},
    )
    RESULTS.mkdir(exist_ok=True)
    path = _results_of(TWO_WAY, options.scale)
    found = run_two_way(path, options.only, scale=options.scale, runs=options.runs or 1, timeout=options.timeout)
    if not found:
        raise Unusable(f"no work has {options.only!r} in its line")
    print(shown := render_two_way(found))
    if not options.only:
        path.with_suffix(".md").write_text(shown + "\n")
    return 0 if ended_well(found) else 1


def plot(options: argparse.Namespace) -> int:
    """Draw the results of the suites so far; return the exit code."""
    scale, outcomes = options.scale, dict[Case, Outcome]()
    for name in SUITES:
        outcomes |= kept(_results_of(name, scale))
    plots = draw(CLAIMS.scaled(scale), MATRIX.scaled(scale), outcomes)
    if not (plots := plots | draw_deploys(DEPLOYS.scaled(scale), outcomes)):
        raise Unusable("nothing to draw yet: run --suite claims, matrix or deploy first")
    PLOTS.mkdir(exist_ok=True)
    for name, content in plots.items():
        (PLOTS / name).write_text(content)
        print(os.path.relpath(PLOTS / name))
    return 0


def _leave(number: int, _: FrameType | None) -> NoReturn:
    """End the benchmark at the first signal. Ignore further signals, so that they do not interrupt the clean-up."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    print("\nbench: stopped; cleaning up", file=sys.stderr)
    raise SystemExit(128 + number)


def main() -> int:
    options = parse()
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, _leave)
    try:
        if options.plots:
            return plot(options)
        if options.suite == WATCH:
            return latencies(options)
        if options.suite == TWO_WAY:
            return two_way(options)
        return suite(options) if options.suite else compare(options)
    except Unusable as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
