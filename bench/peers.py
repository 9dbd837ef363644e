"""The programs that are compared, and one timed run of one of them."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from bench.link import inside
from bench.servers import PASSWORD, PORT, USER

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PEERS", "Job", "Measurement", "Peer", "measure"]

PASSWORD_VARIABLE: Final = "ACTORSYNC_BENCH_PASSWORD"
LOOK_AT_MEMORY: Final = 0.02


@attrs.frozen
class Job:
    """One tree to one folder of the server. The same job may be run again."""

    source: Path
    address: str
    folder: str
    """Relative to the root of the server's user."""
    connections: int
    state: Path
    """What the peer remembers, and its home directory."""


@attrs.frozen
class Measurement:
    seconds: float
    cpu: float
    """Seconds of processor time, user and system."""
    peak_mib: float
    failure: str | None = None
    """What it said last, when it did not end well."""


@attrs.frozen
class Peer:
    """How a program is asked for its version, and told to make a folder of a server an exact mirror."""

    install: str
    version: tuple[str, ...]
    command: Callable[[Job], list[str]]

    def find_version(self) -> str | None:
        """The version, None when the program is not here or does not run."""
        try:
            answer = subprocess.run(
                self.version, check=False, capture_output=True, text=True, env=_environment(Path("/nonexistent"))
            )
        except FileNotFoundError:
            return None
        found = re.search(r"\d+(\.\d+)+\S*", answer.stdout)
        return found[0] if found and answer.returncode == 0 else None


def _actorsync(job: Job) -> list[str]:
    profile = job.state / "profile.toml"
    profile.write_text(
        f'[source]\npath = "{job.source}"\n\n'
        f'[target]\nurl = "ftp://{USER}@{job.address}:{PORT}/{job.folder}"\n'
        f'password = {{ env = "{PASSWORD_VARIABLE}" }}\n\n'
        f"[sync]\nconnections = {job.connections}\ndelete = true\n"
    )
    profile.chmod(0o600)
    return [sys.executable, "-m", "actorsync", "run", str(profile)]


def _lftp(job: Job) -> list[str]:
    script = (
        "set cmd:interactive no; set ftp:ssl-allow no; set net:max-retries 3; "
        f"mirror -R --delete --parallel={job.connections} {job.source} {job.folder}; bye"
    )
    return ["lftp", "--norc", "-u", f"{USER},{PASSWORD}", "-e", script, f"ftp://{job.address}:{PORT}"]


def _rclone(job: Job) -> list[str]:
    hidden = subprocess.run(["rclone", "obscure", PASSWORD], check=True, capture_output=True, text=True)
    remote = f":ftp,host={job.address},port={PORT},user={USER},pass={hidden.stdout.strip()}:{job.folder}"
    together = str(job.connections)
    return [
        *("rclone", "sync", str(job.source), remote, "--config", os.devnull, "--quiet"),
        *("--transfers", together, "--checkers", together),
    ]


def _pyftpsync(job: Job) -> list[str]:
    """It has one connection only."""
    url = f"ftp://{USER}:{PASSWORD}@{job.address}:{PORT}/{job.folder}"
    options = ("--force", "--delete", "--no-prompt", "--no-netrc", "-q")
    return ["pyftpsync", "upload", str(job.source), url, *options]


_RUNNABLE: Final = "import actorsync, actorsync.__main__ as _; print(actorsync.__version__)"

PEERS: Final[dict[str, Peer]] = {
    "actorsync": Peer("pip install -e .", (sys.executable, "-c", _RUNNABLE), _actorsync),
    "lftp": Peer("apt install lftp", ("lftp", "--version"), _lftp),
    "rclone": Peer("apt install rclone", ("rclone", "version"), _rclone),
    "pyftpsync": Peer("pip install pyftpsync", ("pyftpsync", "--version"), _pyftpsync),
}


def _environment(state: Path) -> dict[str, str]:
    """The same for every peer, and nothing of the user's own settings in it."""
    kept = {name: value for name in ("PYTHONPATH", "TMPDIR") if (value := os.environ.get(name))}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        "HOME": str(state),
        "LFTP_HOME": str(state),
        "XDG_STATE_HOME": str(state),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        PASSWORD_VARIABLE: PASSWORD,
    }


def _peak_mib(pid: int) -> float:
    """The high-water mark of the program alone: ru_maxrss also counts the process that it was forked from."""
    with contextlib.suppress(OSError):
        if found := re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text()):
            return int(found[1]) / 1024
    return 0.0


def measure(peer: Peer, job: Job, namespace: str, timeout: float) -> Measurement:
    """Run the peer once, to its end or the timeout."""
    job.state.mkdir(parents=True, exist_ok=True)
    command, log, peak = inside(namespace, *peer.command(job)), job.state / "output.log", 0.0
    start = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(job.state),
            start_new_session=True,
        )
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
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    failure = None
    if process.returncode:
        said = log.read_text(errors="replace").strip().splitlines() or ["nothing"]
        ending = f"exit {process.returncode}" if in_time else f"stopped after {timeout:.0f} s"
        failure = f"{ending}: {said[-1][:200]}"
    return Measurement(seconds, usage.ru_utime + usage.ru_stime, peak, failure)
