"""Memory of a process that runs for a long time."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_COUNT_HEAPS = """
import sys, threading, time
from actorsync.cli.process.malloc import share_one_heap

if sys.argv[1] == "one":
    share_one_heap()

def work():
    kept.extend(bytes(5_000) for _ in range(50))
    time.sleep(0.1)  # so that all threads exist at the same time

kept = []
threads = [threading.Thread(target=work) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()

# Each further arena reserves 64 MiB of addresses.
def is_reserved(line):
    (begin, end), mode = (int(part, 16) for part in line.split()[0].split("-")), line.split()[1]
    return mode == "---p" and end - begin > 32 << 20

print(sum(map(is_reserved, open("/proc/self/maps"))))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has a heap for each thread")
def test_threads_share_one_malloc_arena() -> None:
    counts = {
        heaps: int(subprocess.run([sys.executable, "-c", _COUNT_HEAPS, heaps], capture_output=True, check=True).stdout)
        for heaps in ("many", "one")
    }
    assert counts["one"] == 0
    assert counts["many"] > 1, "or there was nothing to do"
