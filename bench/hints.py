"""``python -m bench.hints``: what it costs to watch a big tree with inotify, in an own process on this machine.

It makes a tree of empty directories, watches it, and prints the time until all is watched, the memory of the process
and of the kernel for each directory, the processor time of a watch at rest, and the time from a change to its hint. It
polls the same tree as well.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trio

from actorsync.endpoints.hints import Dirty
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.endpoints.local.watching.local_hints import System, watch_directory
from actorsync.planning.selection import Selection

#: The number of directories in each directory of the tree.
_WIDTH: Final = 100
#: The number of a file system that is polled.
_NFS: Final = 0x6969


@contextmanager
def big_tree(count: int) -> Iterator[Path]:
    """Make a tree of ``count`` directories, not counting its root."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for number in range(count):
            if number % _WIDTH == 0:
                above = root / f"{number // _WIDTH}"
                above.mkdir()
            else:
                (above / f"directory-{number}").mkdir()
        yield root


def resident() -> int:
    """Return the memory of this process in bytes."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def slab() -> int:
    """Return the memory of the kernel for its objects, in bytes. All processes change it."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("SUnreclaim:"))


async def measure(root: Path, count: int, rest: float, saves: int, *, is_polled: bool) -> None:
    """Watch a tree and print the figures."""
    memory, kernel, began = resident(), slab(), time.monotonic()
    system = System(filesystem_of=lambda _: _NFS) if is_polled else System()
    async with watch_directory(root, lambda: LocalEndpoint(root), Selection(), system) as hints:
        if is_polled:
            await hints.receive()
        took = time.monotonic() - began
        print(f"{hints.how}: {hints.directories:,} directories are watched after {took:.2f} s")
        print(f"  {(resident() - memory) / count:,.0f} bytes of the process for each directory")
        print(f"  {(slab() - kernel) / count:,.0f} bytes of the kernel for each directory")
        spent, since = time.process_time(), time.monotonic()
        await trio.sleep(rest)
        share = (time.process_time() - spent) / (time.monotonic() - since)
        print(f"  {share:.4%} of a core at rest, in {rest:.0f} s")
        times: list[float] = []
        for number in range(0 if is_polled else saves):
            await trio.sleep(0.05)
            path = root / f"{number % (count // _WIDTH)}"
            began = time.monotonic()
            os.close(os.open(path / "file", os.O_WRONLY | os.O_CREAT))
            while not (isinstance(hint := await hints.receive(), Dirty) and path.name in hint.directories):
                pass
            times.append(time.monotonic() - began)
        if times:
            times.sort()
            late = times[int(len(times) * 0.95)]
            print(f"  {statistics.median(times) * 1e3:.2f} ms from a change to its hint, p95 {late * 1e3:.2f} ms")
        began = time.monotonic()
    print(f"  {(time.monotonic() - began) * 1e3:.1f} ms to stop")


def main() -> None:
    """Make the tree and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.hints", description=__doc__)
    parser.add_argument("--directories", type=int, default=100_000)
    parser.add_argument("--rest", type=float, default=60.0, help="seconds at rest (default: 60)")
    parser.add_argument("--saves", type=int, default=200, help="changes that are timed (default: 200)")
    parser.add_argument("--polled", action="store_true", help="poll the tree, as a network drive")
    given = parser.parse_args()
    with big_tree(given.directories) as root:
        trio.run(lambda: measure(root, given.directories, given.rest, given.saves, is_polled=given.polled))


if __name__ == "__main__":
    main()
