"""What a status page and its readers cost a run: the time of passes with and without them, and memory over time.

    python -m tests.observe.soak --minutes 10

One process mirrors a directory to another one, over and over: by turns without ``[observe]`` and with a server, a page
that is open, a scraper of ``/metrics``, a client that never reads ``/events`` and one that never reads its answers. The
clients are processes of their own. Both directories are on this machine, so that nothing but the processor is waited
for: a share that is small here is smaller over a network.

The exit code is 1 when passes with clients took more than a tenth more of the processor, or when memory, descriptors
or threads grew.
"""

from __future__ import annotations

import argparse
import gc
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import trio

from actorsync.cli.malloc import share_one_heap
from actorsync.profile import Profile, load_profile
from actorsync.runs.options import options_for
from actorsync.runs.runner import run_once
from actorsync.service.attending import run_attended

#: The clients, each with what it sends once, and whether it reads. A scraper asks anew each second.
CLIENTS = {
    "page": ("/events", True),
    "scraper": ("/metrics", True),
    "never reads events": ("/events", False),
    "never reads its answers": ("/status.json", False),
}

_CLIENT = """
import socket, sys, time
port, path, reads = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "True"
request = f"GET {path} HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n".encode()
while True:
    try:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(request if path != "/status.json" else request * 1000)
            while reads and client.recv(65536):
                if path == "/metrics":
                    time.sleep(1)
                    client.sendall(request)
            while not reads:
                time.sleep(1)
                client.send(b"")
    except OSError:
        pass
    time.sleep(0.1)
"""


@attrs.frozen
class Sample:
    """What the process uses after a pass."""

    memory: int
    descriptors: int
    threads: int


@attrs.frozen
class Cost:
    """Seconds: of a pass itself, of what is before and after it, and of the processor for both."""

    of_pass: float
    around: float
    processor: float


def sample() -> Sample:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Sample(pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd")), threading.active_count())


@contextmanager
def clients(port: int) -> Iterator[None]:
    """Keep the clients running during the block."""
    children = [
        subprocess.Popen([sys.executable, "-c", _CLIENT, str(port), path, str(reads)])
        for path, reads in CLIENTS.values()
    ]
    try:
        yield
    finally:
        for child in children:
            child.kill()
        for child in children:
            child.wait()


def profiles(top: Path, port: int) -> tuple[Profile, Profile]:
    """Return the same mirror without ``[observe]`` and with it."""
    (top / "a.toml").write_text(f'[source]\npath = "{top}/source"\n[target]\nurl = "{top}/target"\n')
    keys = (f'observe.listen="127.0.0.1:{port}"', f'observe.metrics-file="{top}/a.prom"')
    return load_profile(top / "a.toml"), load_profile(top / "a.toml", keys)


def change(source: Path, files: int) -> None:
    content = os.urandom(512).hex()
    for number in range(files):
        path = source / f"{number % 50}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number} {content}")


async def timed_pass(profile: Profile, is_observed: bool) -> Cost:
    """Mirror once, and return what it took."""
    began, used = time.perf_counter(), time.process_time()
    options = options_for(profile)
    report = await (run_attended(profile, options) if is_observed else run_once(profile, options))
    assert report.exit_code == 0, report
    return Cost(report.seconds, time.perf_counter() - began - report.seconds, time.process_time() - used)


def soak(minutes: float, files: int) -> int:
    share_one_heap()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    plain_times, observed_times, samples = list[Cost](), list[Cost](), list[Sample]()
    with tempfile.TemporaryDirectory() as name:
        os.environ["XDG_STATE_HOME"] = name
        plain, observed = profiles(Path(name), port)
        end = time.monotonic() + 60 * minutes
        with clients(port):
            while time.monotonic() < end or len(samples) < 8:
                for profile, times in ((plain, plain_times), (observed, observed_times)):
                    change(Path(name) / "source", files)
                    times.append(trio.run(timed_pass, profile, profile is observed))
                samples.append(sample())
    return verdict(plain_times, observed_times, samples)


def verdict(plain: list[Cost], observed: list[Cost], samples: list[Sample]) -> int:
    quarter = max(len(samples) // 4, 2)
    early, late = samples[1 : quarter + 1], samples[-quarter:]
    print(f"{len(plain)} passes each, medians in seconds, alone and with {len(CLIENTS)} clients:")
    ratios = {}
    for field in ("of_pass", "around", "processor"):
        pairs = [(getattr(one, field), getattr(other, field)) for one, other in zip(plain, observed, strict=True)][1:]
        without, with_them = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratios[field] = statistics.median(other / one for one, other in pairs)
        print(f"{field}: {without:.3f}, {with_them:.3f}, median of the ratios {ratios[field]:.3f}")
    grown = False
    for field, unit, allowed in (("memory", 1 << 20, 8.0), ("descriptors", 1, 0.0), ("threads", 1, 4.0)):
        before, after = (statistics.median(getattr(it, field) for it in some) / unit for some in (early, late))
        grown = grown or after - before > allowed
        print(f"{field}: {before:.1f} in the first quarter, {after:.1f} in the last")
    return int(grown or ratios["processor"] > 1.1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--files", type=int, default=3_000)
    given = parser.parse_args()
    return soak(given.minutes, given.files)


if __name__ == "__main__":
    sys.exit(main())
