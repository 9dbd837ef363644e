"""Run the program as users do: ``python -m actorsync run profile.toml``, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from actorsync.cli.commands import run_command
from actorsync.journal import journal_path, open_journal, state_directory
from actorsync.profile import load_profile
from tests.support import FtpTarget
from tests.support.root import ROOT
from tests.support.servers.ssh_target import SshTarget

__all__ = ["Ended", "Program", "intents_of", "program", "run_again", "write_profile"]


def write_profile(
    path: Path,
    source: Path,
    target: FtpTarget | SshTarget | Path,
    folder: str = "",
    *sections: str,
    host: str | None = None,
) -> Path:
    """Write a profile and return its path. ``host`` may be that of a proxy; ``sections`` are further lines."""
    lines = ["[source]", f'path = "{source}"', "[target]"]
    if isinstance(target, Path):
        lines.append(f'url = "{target}"')
    else:
        kind = "sftp" if isinstance(target, SshTarget) else "ftp"
        login = "~/" if kind == "sftp" and folder else ""
        lines.append(f'url = "{kind}://{target.user}@{host or target.host}:{target.port}/{login}{folder}"')
    if isinstance(target, SshTarget):
        lines += [f'key-file = "{target.client_key}"', f'known-hosts = "{target.known_hosts}"']
    elif isinstance(target, FtpTarget):
        secret = path.with_name("password")
        secret.write_text(target.password)
        secret.chmod(0o600)
        lines.append('password = { file = "password" }')
    path.write_text("\n".join([*lines, *sections]))
    return path


@attrs.frozen
class Ended:
    """How a process ended."""

    code: int
    out: str
    err: str
    seconds: float
    """Time since the last signal; 0 when no signal was sent."""


@attrs.define(eq=False)
class Program:
    """A running process."""

    process: subprocess.Popen[bytes]
    _pressed_at: float | None = None

    def wait_begun(self) -> str:
        """Wait for the first line on standard error, and return it."""
        assert self.process.stderr is not None
        return self.process.stderr.readline().decode()

    def press(self, number: int = signal.SIGINT) -> bool:
        """Send a signal; return False when the process has ended."""
        if self.process.poll() is not None:
            return False
        self._pressed_at = time.monotonic()
        self.process.send_signal(number)
        return True

    def end(self, timeout: float = 60) -> Ended:
        """Wait for the end."""
        out, err = self.process.communicate(timeout=timeout)
        took = 0.0 if self._pressed_at is None else time.monotonic() - self._pressed_at
        return Ended(self.process.returncode, (out or b"").decode(), (err or b"").decode(), took)


@contextmanager
def program(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    under: Sequence[str] = (),
) -> Iterator[Program]:
    """Start ``python -m actorsync`` with ``arguments``. ``under`` is a command that runs it, such as strace."""
    process = subprocess.Popen(
        [*under, sys.executable, "-m", "actorsync", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
    )
    with process:
        try:
            yield Program(process)
        finally:
            process.kill()


def run_again(profile: Path, *more: str) -> int:
    """Run the profile once more, in this process and with ``--quiet``, and return the exit code."""
    return run_command(["run", os.fspath(profile), "--quiet", *more])


def intents_of(profile: Path) -> list[str]:
    """Return the temporary files that the profile's journal lists. Raises an error when it cannot be opened."""
    identity = load_profile(profile).identity
    if not journal_path(state_directory(), identity).exists():
        return []
    with open_journal(state_directory(), identity) as journal:
        return [path for path, _ in journal.pending()]
