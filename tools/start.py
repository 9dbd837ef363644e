"""Compare the start of this checkout with that of another: ``python -m tools.start OTHER [ROUNDS]``.

Prints the processor time of each command, user and system, as a ratio to that of the other checkout: the median of the
ratios of the rounds. Both checkouts take turns, so they meet the same load on the machine. Each run has one file and
nothing to do. The servers are the embedded ones, and their time does not count.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from actorsync.testing import EmbeddedFtpServer, EmbeddedSftpServer

_HERE: Final = Path(__file__).parent.parent
_ROUNDS: Final = 21


def seconds(checkout: Path, state: Path, command: Sequence[str]) -> float:
    """Run a command of a checkout, and return its processor time with that of its children."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "XDG_STATE_HOME": str(state / checkout.name)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # or the modules are compiled each time
    process = subprocess.Popen(  # noqa: S603 - commands of this file
        [sys.executable, *command], env=environment, cwd=checkout, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} in {checkout}: exit code {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def commands(folder: Path, stack: ExitStack) -> Mapping[str, Sequence[str]]:
    """Start the servers, and return the commands to compare by their names."""
    source = folder / "source"
    for name in ("source", "local", "ftp", "sftp"):
        (folder / name).mkdir()
    (source / "a.txt").write_text("a")
    (folder / "local.toml").write_text(f'[source]\npath = "{source}"\n[target]\nurl = "file://{folder}/local"\n')
    stack.enter_context(EmbeddedFtpServer(folder / "ftp")).write_profile(folder / "ftp.toml", source)
    stack.enter_context(EmbeddedSftpServer(folder / "sftp")).write_profile(folder / "sftp.toml", source)
    found: dict[str, Sequence[str]] = {
        "python -I -c pass": ["-I", "-c", "pass"],
        "--version": ["-m", "actorsync", "--version"],
    }
    for name in ("local", "ftp", "sftp"):
        run = ["-m", "actorsync", "run", "-q", str(folder / f"{name}.toml")]
        found[f"run, {name}"] = run
        found[f"run, {name}, audit.listings = 0"] = [*run, "--set", "audit.listings=0"]
    return found


def main(other: Path, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        for what, command in commands(folder, stack).items():
            pairs: list[tuple[float, float]] = []
            for number in range(rounds + 1):
                order = (_HERE, other) if number % 2 else (other, _HERE)
                times = {checkout: seconds(checkout, folder / "state", command) for checkout in order}
                pairs.append((times[_HERE], times[other]))
            ratio = statistics.median(ours / its for ours, its in pairs[1:])  # the first run is not like the others
            print(f"{what:32} {ratio:.2f}  ({statistics.median(ours for ours, _ in pairs[1:]):.3f} s)")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else _ROUNDS)
