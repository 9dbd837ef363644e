"""Runs in processes that start fast: forked from a process that has imported everything, and killed on request.

As a program it is that process. It reads requests as lines of JSON and answers each with one line.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self

import attrs

from actorsync.endpoints.sftp import endpoint as sftp  # noqa: F401 - so that no child has to import it
from tests.support.mirror import run_with_settings
from tests.support.root import ROOT
from tests.support.system import seccomp
from tests.support.system.wire_steps import wire_steps
from tests.support.two_sides.sudden_user import Saved, SuddenUser

__all__ = ["Forked", "Forks"]


@attrs.frozen
class Forked:
    """The result of a run. ``report`` is None if the run did not end by itself.

    ``saved`` is what the sudden user has saved, and ``steps`` how many steps the run made on the wire.
    """

    exit_code: int
    calls: dict[str, int]
    done: list[str]
    report: dict[str, Any] | None
    saved: Saved | None = None
    steps: int = 0

    @property
    def is_killed(self) -> bool:
        return self.exit_code == -signal.SIGKILL


@attrs.define(eq=False)
class Forks:
    """The process that forks; use it in a ``with`` block. Only its children are killed."""

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
        kill_on: Path | None = None,
        is_wire: bool = False,
        user: SuddenUser | None = None,
    ) -> Forked:
        """Run once, with ``settings`` from `mirror.settings_for`.

        ``kill_at``: kill it at its n-th system call that changes something. ``kill_after``: kill it that many seconds
        after it began. ``kill_on``: kill it as soon as there is a file with this path. ``counts``: count its system
        calls. With ``is_wire``, the steps on the wire are counted, and not the system calls. ``user`` saves a file at
        one of the steps.
        """
        kill = {"kill_at": kill_at, "kill_after": kill_after, "kill_on": kill_on}
        more = {"is_wire": is_wire, "user": None if user is None else user.settings()}
        request = {"settings": settings, "counts": counts, **kill, **more}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request, default=os.fspath), file=self._process.stdin, flush=True)
        exit_code, calls, lines = json.loads(self._process.stdout.readline())
        done = [line.removeprefix("done ") for line in lines if line.startswith("done ")]
        report = next((json.loads(line) for line in lines if line[:1] == "{"), None)
        saved = next((Saved(**json.loads(line[6:])) for line in lines if line.startswith("saved ")), None)
        steps = next((int(line[6:]) for line in lines if line.startswith("steps ")), 0)
        return Forked(exit_code, calls, done, report, saved, steps)


def _fork_run(request: dict[str, Any]) -> tuple[int, dict[str, int], list[str]]:
    is_wire = request["is_wire"]
    is_supervised = not is_wire and (request["counts"] or request["kill_at"] is not None)
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        _run_child(request, write_end, is_supervised=is_supervised)
    os.close(write_end)
    calls: dict[str, int] = {}
    with open(read_end, encoding="utf-8") as output:
        if is_supervised:
            user = None if request["user"] is None else SuddenUser(**request["user"])
            status, calls = seccomp.supervise(pid, request["kill_at"], None if user is None else user.note)
            lines = output.readlines()
            if user is not None and user.saved is not None:
                lines.append(_line_for(user.saved))
        else:
            lines = [output.readline()]
            if request["kill_after"] is not None:
                time.sleep(request["kill_after"])
                os.kill(pid, signal.SIGKILL)  # a child that was not waited for, so its pid is not reused
            ended = None if request["kill_on"] is None else _kill_on(pid, request["kill_on"])
            lines += output.readlines()
            status = os.waitpid(pid, 0)[1] if ended is None else ended
    return os.waitstatus_to_exitcode(status), calls, [line[:-1] for line in lines if line.endswith("\n")]


def _kill_on(pid: int, path: str) -> int:
    """Kill a child as soon as there is a file with this path. Return its status, also when it has ended by itself."""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        if os.path.exists(path):
            os.kill(pid, signal.SIGKILL)  # a child that was not waited for, so its pid is not reused
            return os.waitpid(pid, 0)[1]
        time.sleep(0.001)


def _run_child(request: dict[str, Any], descriptor: int, *, is_supervised: bool) -> None:
    code = 99

    def write_line(line: str) -> None:
        os.write(descriptor, f"{line}\n".encode())

    try:
        random.seed()  # otherwise the jitter is the same in all children
        if is_supervised:
            seccomp.install()
        with _Wire(request, write_line).applied() if request["is_wire"] else nullcontext():
            run_with_settings(request["settings"], write_line)
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


@attrs.define(eq=False)
class _Wire:
    """What happens at the steps of a child on the wire."""

    request: dict[str, Any]
    write_line: Callable[[str], None]
    user: SuddenUser | None = None
    steps: int = 0

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Act at the steps within the block, and tell their number after it."""
        if self.request["user"] is not None:
            self.user = SuddenUser(**self.request["user"])
        with wire_steps(self._act):
            yield
        self.write_line(f"steps {self.steps}")

    def _act(self, step: int, path: str, send_those_before: Callable[[], object]) -> None:
        self.steps = step
        is_end = step == self.request["kill_at"]
        if is_end:
            send_those_before()
        if self.user is not None:
            was_saved = self.user.saved
            self.user.note(step, path)
            if self.user.saved is not was_saved and self.user.saved is not None:
                self.write_line(_line_for(self.user.saved)[:-1])
        if is_end:
            os.kill(os.getpid(), signal.SIGKILL)


def _line_for(saved: Saved) -> str:
    return f"saved {json.dumps(attrs.asdict(saved))}\n"


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(_fork_run(json.loads(line))), flush=True)
