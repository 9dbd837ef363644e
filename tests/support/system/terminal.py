"""A terminal for tests. A program on it asks its questions there, while its standard streams are pipes."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import attrs

from tests.support.root import ROOT

__all__ = ["OnTerminal", "on_terminal", "without_terminal"]


# Takes control of a terminal, and executes the program. A shell starts background jobs with SIGINT ignored, and their
# children inherit that, so restore the default: the tests may run in a background job.
_TAKE_TERMINAL = (
    "import fcntl, os, signal, sys, termios; fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0); "
    "signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
)


@attrs.define(eq=False)
class OnTerminal:
    """A program whose controlling terminal belongs to the test; its standard streams are pipes."""

    process: subprocess.Popen[bytes]
    master: int
    shown: str = ""

    def expect(self, text: str) -> Self:
        """Wait until the terminal shows ``text``."""
        deadline = time.monotonic() + 20
        while text not in self.shown:
            left = deadline - time.monotonic()
            assert left > 0, f"the terminal did not show {text!r} within 20 s; it shows {self.shown!r}"
            if select.select([self.master], [], [], left)[0]:
                self.shown += os.read(self.master, 4096).decode()
        return self

    def type(self, text: str) -> Self:
        """Type text."""
        os.write(self.master, text.encode())
        return self

    @property
    def has_echo(self) -> bool:
        """Whether the terminal shows typed text."""
        return bool(termios.tcgetattr(self.master)[3] & termios.ECHO)

    def end(self) -> tuple[int, str, str]:
        """Wait for the end; return the exit code, standard output and standard error."""
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out.decode(), err.decode()


@contextmanager
def on_terminal(*arguments: str) -> Iterator[OnTerminal]:
    """Run Python with ``arguments`` on a new terminal."""
    master, slave = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _TAKE_TERMINAL, str(slave), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[slave],
            start_new_session=True,
            cwd=ROOT,
        )
        with process:
            try:
                yield OnTerminal(process, master)
            finally:
                process.kill()
    finally:
        os.close(master)
        os.close(slave)


def without_terminal(*arguments: str) -> tuple[int, str, str]:
    """Run Python without a controlling terminal; return the exit code, standard output and standard error."""
    done = subprocess.run(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        start_new_session=True,
        cwd=ROOT,
        timeout=20,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()
