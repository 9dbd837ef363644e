"""Runs in processes that cost no start: forked from one that has everything imported, and killed as ordered.

As a program it is that process: it takes orders as lines of JSON, one after the other, and answers each with one.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import Any, Self

import attrs

from actorsync.endpoints.sftp import endpoint as sftp  # noqa: F401 - so that no child has to import it
from tests.support.mirror import run_as_told
from tests.support.root import ROOT
from tests.support.system import seccomp

__all__ = ["Forked", "Forks"]


@attrs.frozen
class Forked:
    """What became of a run. ``report`` is None if it did not come to its end."""

    exit_code: int
    calls: dict[str, int]
    done: list[str]
    report: dict[str, Any] | None

    @property
    def is_killed(self) -> bool:
        return self.exit_code == -signal.SIGKILL


@attrs.define(eq=False)
class Forks:
    """The process that forks; use it in a ``with`` block. Never killed itself."""

    _process: subprocess.Popen[str] = attrs.field(init=False)

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        command = [sys.executable, "-m", "tests.support.system.forks"]
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def run(
        self,
        settings: dict[str, Any],
        *,
        counts: bool = False,
        kill_at: int | None = None,
        kill_after: float | None = None,
    ) -> Forked:
        """Make one run; ``settings`` come from `mirror.settings_for`.

        ``kill_at``: it is killed at its n-th system call that changes something. ``kill_after``: so many seconds after
        it has begun. ``counts``: its calls are counted.
        """
        order = {"settings": settings, "counts": counts, "kill_at": kill_at, "kill_after": kill_after}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(order, default=os.fspath), file=self._process.stdin, flush=True)
        exit_code, calls, lines = json.loads(self._process.stdout.readline())
        done = [line.removeprefix("done ") for line in lines if line.startswith("done ")]
        return Forked(exit_code, calls, done, json.loads(lines[-1]) if lines and lines[-1][:1] == "{" else None)


def _obey(order: dict[str, Any]) -> tuple[int, dict[str, int], list[str]]:
    is_asked = order["counts"] or order["kill_at"] is not None
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        _be_a_run(order["settings"], write_end, is_asked=is_asked)
    os.close(write_end)
    calls: dict[str, int] = {}
    with open(read_end, encoding="utf-8") as output:
        if is_asked:
            status, calls = seccomp.supervise(pid, order["kill_at"])
            lines = output.readlines()
        else:
            lines = [output.readline()]
            if order["kill_after"] is not None:
                time.sleep(order["kill_after"])
                os.kill(pid, signal.SIGKILL)  # it is ours, and nobody has waited for it
            lines += output.readlines()
            status = os.waitpid(pid, 0)[1]
    return os.waitstatus_to_exitcode(status), calls, [line[:-1] for line in lines if line.endswith("\n")]


def _be_a_run(settings: dict[str, Any], descriptor: int, *, is_asked: bool) -> None:
    code = 99
    try:
        random.seed()  # or all children would be jittered alike
        if is_asked:
            seccomp.install()
        run_as_told(settings, lambda line: os.write(descriptor, f"{line}\n".encode()))
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    for order in sys.stdin:
        print(json.dumps(_obey(json.loads(order))), flush=True)
