"""One timed run of one program, including its child processes, such as ``ssh``."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from bench.peers import peer_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Measurement", "measure", "measure_waiting", "started"]

LOOK_AT_MEMORY: Final = 0.02
PR_SET_CHILD_SUBREAPER: Final = 36


@attrs.frozen
class Measurement:
    seconds: float
    cpu: float
    """Seconds of processor time, user and system, including child processes."""
    peak_mib: float
    """Peak of resident memory, including child processes."""
    failure: str | None = None
    """The exit code or timeout and the last line of output, when the run failed."""


@contextlib.contextmanager
def _adopting_orphans() -> Iterator[None]:
    """Become the parent of child processes that outlive their program: only a parent gets their resource usage."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _children(pid: int) -> set[int]:
    found: set[int] = set()
    with contextlib.suppress(OSError):  # it may end at any moment
        for thread in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found.update(int(child) for child in thread.read_text().split())
    return found


def _peak_mib(pid: int) -> float:
    """Return the peak memory of a process and its descendants. ru_maxrss would include the memory before exec."""
    total = sum(_peak_mib(child) for child in _children(pid))
    with contextlib.suppress(OSError):
        if found := re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text()):
            total += int(found[1]) / 1024
    return total


def _end(pid: int) -> tuple[int, float]:
    """Kill a child if it still runs. Return its wait status, and its processor time including its own children."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    return status, usage.ru_utime + usage.ru_stime


def _start(command: Sequence[str], state: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=peer_environment(state),
            start_new_session=True,
        )


def _last_line(log: Path) -> str:
    return (log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1][:200]


def measure(command: Sequence[str], state: Path, timeout: float) -> Measurement:
    """Run the program once, until it ends or the timeout. Kill all child processes that are left."""
    log, peak, before = state / "output.log", 0.0, _children(os.getpid())
    with _adopting_orphans():
        start = time.monotonic()
        process = _start(command, state, log)
        ended = select.poll()
        watch = os.pidfd_open(process.pid)
        ended.register(watch, select.POLLIN)
        in_time = True
        try:
            while in_time and not ended.poll(LOOK_AT_MEMORY * 1000):
                peak = max(peak, _peak_mib(process.pid))
                in_time = time.monotonic() - start < timeout
        finally:
            os.close(watch)
            seconds = time.monotonic() - start
            status, cpu = _end(process.pid)
            process.returncode = os.waitstatus_to_exitcode(status)
            while orphans := _children(os.getpid()) - before:
                cpu += sum(_end(orphan)[1] for orphan in orphans)
    failure = None
    if process.returncode:
        ending = f"exit {process.returncode}" if in_time else f"stopped after {timeout:.0f} s"
        failure = f"{ending}: {_last_line(log)}"
    return Measurement(seconds, cpu, peak, failure)


def _processor_seconds(pid: int) -> float:
    """Return the user and system time of a process so far."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def started(command: Sequence[str], state: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the end of the block, with its output in ``output.log``."""
    process = _start(command, state, state / "output.log")
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def measure_waiting(command: Sequence[str], state: Path, timeout: float, seconds: float) -> Measurement:
    """Measure ``seconds`` of waiting of a program that mirrors repeatedly, after its first pass."""
    log, end = state / "output.log", time.monotonic() + timeout
    process = _start(command, state, log)
    try:
        while b"in sync" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > end:
                return Measurement(0, 0, 0, f"no first pass: {_last_line(log)}")
            time.sleep(0.1)
        time.sleep(1)  # the clean-up after the pass does not count as waiting
        start, before = time.monotonic(), _processor_seconds(process.pid)
        time.sleep(seconds)
        cpu = _processor_seconds(process.pid) - before
        return Measurement(time.monotonic() - start, cpu, _peak_mib(process.pid))
    finally:
        process.kill()
        process.wait()
