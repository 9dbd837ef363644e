"""From save to live: how long a change of the source takes until the server has it, while a program watches.

Each program watches one tree of small files over a line with a round trip of 50 ms. Files are written anew, one or 32
at a time. A file is live when the server's disk has exactly its new content under its final name. The time counts from
the end of the write of each file.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from bench.cases import Case
from bench.credentials import OWNER, PASSWORD, PORT, USER
from bench.link import Unusable, inside
from bench.measure import started
from bench.peers import PEERS, ssh_command
from bench.report import table
from bench.rounds import open_stage, prepared_job
from bench.serving import round_trip, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bench.peers import Job
    from bench.rounds import Stage
    from bench.servers import Language

__all__ = ["SAVES", "WATCHERS", "Latencies", "percentile", "render_latencies", "run_latencies"]

#: How many files are saved at once, and how often.
SAVES: Final[Mapping[int, int]] = {1: 20, 32: 8}
#: The round trip of the line, in milliseconds.
ROUND_TRIP: Final = 50
#: Seconds between two saves: from, to.
_PAUSE: Final = (1.0, 2.5)
#: Seconds after which a file counts as never live.
_LATEST: Final = 30.0
#: Connections of each program. Over FTP a connection sends one file after the other, at two round trips a file.
CONNECTIONS: Final = 16
_POLL: Final = 0.002
_SIZE: Final = 2_000
#: What is promised for actorsync: seconds at the 95th percentile.
PROMISED: Final = {"actorsync, warm": 0.7, "actorsync, cold": 1.5}


@attrs.frozen
class Latencies:
    """The seconds from save to live of every file that one program has mirrored. A missing file has infinity."""

    server: str
    program: str
    files: int
    """How many files are saved at once."""
    seconds: tuple[float, ...]
    round_trip_ms: float


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def render_latencies(found: Sequence[Latencies]) -> str:
    """Return a table of the median and the 95th percentile, and whether what is promised is kept."""
    lines = [["server", "program", "files", "saves", "p50 s", "p95 s", "promised"]]
    for one in found:
        most = PROMISED.get(one.program)
        p50, p95 = percentile(one.seconds, 0.5), percentile(one.seconds, 0.95)
        kept = "-" if most is None else f"{most:g} {'kept' if p95 <= most else 'NOT KEPT'}"
        count = len(one.seconds) // one.files
        lines.append([one.server, one.program, str(one.files), str(count), f"{p50:.2f}", f"{p95:.2f}", kept])
    return table(lines)


def _actorsync(job: Job, language: Language, idle: str) -> list[str]:
    command = PEERS["actorsync"].commands[language](job)
    with (job.state / "profile.toml").open("a") as profile:
        profile.write(f'watch = true\n\n[watch]\nidle = "{idle}"\n')
    return command


def _lsyncd(job: Job) -> list[str]:
    """Write the configuration with the shortest delay that lsyncd has for rsync."""
    config = job.state / "lsyncd.lua"
    config.write_text(
        "settings { nodaemon = true, inotifyMode = 'CloseWrite' }\n"
        f"sync {{ default.rsync, source = '{job.source}', target = '{USER}@{job.address}:{job.folder}/', delay = 1,\n"
        f"  rsync = {{ archive = true, rsh = '{ssh_command(job.credentials)} -p {PORT}' }} }}\n"
    )
    return ["lsyncd", str(config)]


def _lftp(job: Job, url: str, settings: str) -> list[str]:
    """Mirror again and again in one process, which keeps its connections."""
    mirror = f"mirror -R --delete --parallel={job.connections} {job.source} {job.folder}"
    script = f'set cmd:interactive no; {settings}; repeat --delay 0.2 "{mirror}"'
    return ["lftp", "--norc", "-u", f"{USER},{PASSWORD}", "-e", script, f"{url}://{job.address}:{PORT}"]


WATCHERS: Final[Mapping[str, Mapping[str, Callable[[Job], list[str]]]]] = {
    "proftpd": {
        "actorsync, warm": lambda job: _actorsync(job, "ftp", "60s"),
        "actorsync, cold": lambda job: _actorsync(job, "ftp", "0s"),
        "lftp mirror in a loop": lambda job: _lftp(job, "ftp", "set ftp:ssl-allow no"),
    },
    "openssh": {
        "actorsync, warm": lambda job: _actorsync(job, "sftp", "60s"),
        "actorsync, cold": lambda job: _actorsync(job, "sftp", "0s"),
        "lsyncd with rsync": _lsyncd,
        "lftp mirror in a loop": lambda job: _lftp(
            job, "sftp", f'set sftp:connect-program "{ssh_command(job.credentials)}"'
        ),
    },
}


@contextlib.contextmanager
def _saved(files: Sequence[Path]) -> Iterator[dict[Path, tuple[bytes, float]]]:
    """Write the files anew; yield the new content of each, and when it was written."""
    saved: dict[Path, tuple[bytes, float]] = {}
    for file in files:
        content = os.urandom(_SIZE)
        file.write_bytes(content)
        saved[file] = content, time.monotonic()
    yield saved


def _times_of(files: Sequence[Path], source: Path, target: Path) -> list[float]:
    """Save files, and return the seconds until each is live."""
    with _saved(files) as waiting:
        end = time.monotonic() + _LATEST
        seconds: list[float] = []
        while waiting and time.monotonic() < end:
            for file, (content, written) in [*waiting.items()]:
                live = target / file.relative_to(source)
                with contextlib.suppress(OSError):
                    if live.stat().st_size == _SIZE and live.read_bytes() == content:
                        seconds.append(time.monotonic() - written)
                        del waiting[file]
            time.sleep(_POLL)
        return [*seconds, *([math.inf] * len(waiting))]


def _latencies(case: Case, stage: Stage, home: Path, program: str) -> Iterator[Latencies]:
    command = WATCHERS[case.server][program]
    trip = round(1000 * (round_trip(stage.link) or math.inf), 1)
    chance = random.Random(program)
    with prepared_job(case, stage, home, "watched") as job:
        target, names = home / "watched", sorted(path for path in stage.source.rglob("*") if path.is_file())
        with started(inside(stage.link.near, *command(job)), job.state) as process:
            end = time.monotonic() + 120
            while not all((target / path.relative_to(stage.source)).exists() for path in names):
                if process.poll() is not None or time.monotonic() > end:
                    raise Unusable(f"{program}: no first mirror: {(job.state / 'output.log').read_text()[-300:]}")
                time.sleep(0.1)
            time.sleep(3)
            for count, times in SAVES.items():
                seconds: list[float] = []
                for _ in range(times):
                    seconds += _times_of(names[:count], stage.source, target)
                    time.sleep(chance.uniform(*_PAUSE))
                yield Latencies(case.server, program, count, tuple(seconds), trip)


def run_latencies(path: Path, only: str = "") -> list[Latencies]:
    """Run every program on every server whose line has ``only`` in it; append what was found to ``path``."""
    found: list[Latencies] = []
    for server, programs in WATCHERS.items():
        chosen = [name for name in programs if only in f"{server} {name}"]
        if not chosen:
            continue
        case = Case("small", server, ROUND_TRIP, CONNECTIONS, ("actorsync",), scale=0.5)
        with (
            open_stage(case.tree, case.link) as stage,
            serve(server, stage.link, stage.credentials, stage.scratch) as home,
        ):
            os.chown(home, OWNER, OWNER)
            for name in chosen:
                for one in _latencies(case, stage, home, name):
                    found.append(one)
                    print(render_latencies([one]).splitlines()[-1], file=sys.stderr)
                    with path.open("a") as file:
                        file.write(json.dumps(attrs.asdict(one)) + "\n")
    return found
