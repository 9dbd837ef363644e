"""One whole run from a directory to a server, and functions to compare the trees afterwards.

As a program (``python -m tests.support.mirror``) it makes one run in a process of its own, with settings as JSON on
standard input. It prints ``started`` when the run begins, ``done <path>`` for each file recorded as sent, and at the
end the report as JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from actorsync.actors.backoff import Backoff
from actorsync.actors.pipeline import Pipeline
from actorsync.endpoints.contract import Content, Endpoint
from actorsync.endpoints.ftp.endpoint import FtpEndpoint
from actorsync.endpoints.ftp.wire.certificates import TlsPolicy
from actorsync.endpoints.local.endpoint import LocalEndpoint, LocalSession
from actorsync.endpoints.wrappers.transform import Transform
from actorsync.journal import open_journal, open_memory_journal
from actorsync.model.event import Event, Started
from actorsync.model.operation import Copy, Done
from actorsync.model.report import Report
from actorsync.pair_supervisor import supervise_pair
from actorsync.planning.pairs.rules import ConflictRule, PairRule
from actorsync.planning.publishing.rules import PublishRule, ResumeRule
from actorsync.planning.removal_guard import Deletion
from actorsync.planning.selection import Selection
from actorsync.policy import Clock, Policy, RunOptions
from actorsync.profile.values.units import MaxDelete
from actorsync.supervisor import supervise
from actorsync.transforms import gzip_stream
from tests.support import FtpTarget
from tests.support.docs.matrix import note_server
from tests.support.root import ROOT
from tests.support.servers.ssh_target import SshTarget
from tests.support.servers.ssh_target import endpoint_for as sftp_endpoint_for

__all__ = [
    "QUICK",
    "CountingEndpoint",
    "Run",
    "contents",
    "mirror",
    "mirror_process",
    "run_with_settings",
    "settings_for",
    "temporaries",
    "times",
]

#: Short retries: tests cause errors on purpose, and these end at once.
QUICK = Backoff(initial=0.01, cap=0.1, tries=8)


@attrs.frozen
class Run:
    """The report and the events of one run."""

    report: Report
    events: list[Event]

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def failures(self) -> dict[str, str]:
        return dict(self.report.failures)


class CountingEndpoint(LocalEndpoint):
    """A source that counts how often each file was opened, which is how often it was sent."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.opened: Counter[str] = Counter()

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[LocalSession]:
        async with super().open_session():
            yield _CountingSession(self)


class _CountingSession(LocalSession):
    def __init__(self, endpoint: CountingEndpoint) -> None:
        super().__init__(endpoint)
        self._opened = endpoint.opened

    @asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[Content]:
        self._opened[path] += 1
        async with super().open(path) as content:
            yield content


async def mirror(
    source: Path | Endpoint,
    target: Endpoint,
    journal: Path | None,
    *,
    delete: Deletion = True,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    connections: int = 2,
    backoff: Backoff = QUICK,
    observer: Callable[[Event], None] | None = None,
    seconds: float = 60,
    settled: bool = False,
    pipeline: Pipeline = Pipeline(),  # noqa: B008 - frozen
    **policies: Any,
) -> Run:
    """Run once; raise `trio.TooSlowError` after ``seconds``. Without a ``journal``, use one in memory.

    ``settled`` moves the clock, so that no file counts as just changed: a file just changed is read for a digest while
    it is sent. ``policies`` are further arguments of `Policy`.
    """
    events: list[Event] = []
    policy = Policy(
        selection=selection,
        max_delete=MaxDelete.parse("100%"),
        delete=delete,
        connections=connections,
        backoff=backoff,
        **policies,
    )
    observers = [events.append, *([observer] if observer else [])]
    clock = Clock(wall_ns=lambda: time.time_ns() + (10**10 if settled else 0))
    root = LocalEndpoint(source) if isinstance(source, Path) else source
    remembered = closing(open_memory_journal()) if journal is None else open_journal(journal, "test")
    with remembered as opened, trio.fail_after(seconds):
        options = RunOptions(policy, observers=observers, clock=clock, pipeline=pipeline)
        if policy.pair is None:
            report = await supervise(root, target, opened, options)
        else:
            report = await supervise_pair(root, target, opened.pairs, options)
    return Run(report, events)


def contents(root: Path) -> dict[str, str | None]:
    """Return every path below ``root`` with a digest of its content, or None for a directory."""
    found: dict[str, str | None] = {}
    for folder, folders, files in os.walk(root):
        for name in folders:
            found[os.path.relpath(os.path.join(folder, name), root)] = None
        for name in files:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, root)] = hashlib.file_digest(file, "blake2b").hexdigest()
    return found


def times(root: Path) -> dict[str, int]:
    """Return the modification time of every file below ``root``, in whole seconds."""
    return {
        os.path.relpath(os.path.join(folder, name), root): os.stat(os.path.join(folder, name)).st_mtime_ns // 10**9
        for folder, _, files in os.walk(root)
        for name in files
    }


def temporaries(root: Path) -> list[str]:
    """Return the paths below ``root`` that contain a temporary name of actorsync's."""
    return [path for path in contents(root) if re.search(r"actorsync[-+][0-9a-f]", path)]


def settings_for(
    source: Path | tuple[FtpTarget | SshTarget, str],
    target: FtpTarget | SshTarget | Path,
    journal: Path,
    *,
    path: str = "",
    host: str | None = None,
    connections: int = 2,
    settled: bool = False,
    resume: int = ResumeRule().smallest or 0,
    is_burst: bool = False,
    stall_seconds: float = 60.0,
    is_two_way: bool = False,
    conflict: ConflictRule = "both",
) -> dict[str, Any]:
    """Return the settings of a run in another process, for JSON.

    The source is a directory, or a server and a path on it. The target is a server or a directory. ``resume`` is the
    size from which on files are continued. With ``is_burst`` all of them are published together.
    A server that says nothing for ``stall_seconds`` counts as lost. With ``is_two_way``, both sides may change, and
    ``conflict`` is the rule for what both have changed.
    """
    settings: dict[str, Any] = {
        "source": os.fspath(source) if isinstance(source, Path) else _on_server(source[0], source[1], None),
        "journal": os.fspath(journal),
        "path": path,
        "connections": connections,
        "settled": settled,
        "resume": resume,
        "is_burst": is_burst,
        "stall_seconds": stall_seconds,
        "is_two_way": is_two_way,
        "conflict": conflict,
    }
    if isinstance(target, Path):
        return {**settings, "kind": "local", "root": os.fspath(target)}
    return {**settings, **_on_server(target, path, host)}


def _on_server(server: FtpTarget | SshTarget, path: str, host: str | None) -> dict[str, Any]:
    note_server(server.name)
    kind = "sftp" if isinstance(server, SshTarget) else "ftp"
    return {"kind": kind, "server": attrs.asdict(server), "host": host or server.host, "path": path}


def mirror_process(
    source: Path,
    server: FtpTarget | SshTarget,
    journal: Path,
    *,
    path: str = "",
    host: str | None = None,
    connections: int = 2,
    environment: Mapping[str, str] | None = None,
    stderr: int | None = None,
    **more: Any,
) -> subprocess.Popen[str]:
    """Start a run in a process of its own; see the module for its output. ``more`` is passed to `settings_for`."""
    settings = settings_for(source, server, journal, path=path, host=host, connections=connections, **more)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.mirror"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(settings, default=os.fspath))
    process.stdin.close()
    process.stdin = None
    return process


def _target(settings: dict[str, Any]) -> Endpoint:
    if settings["kind"] == "local":
        return LocalEndpoint(Path(settings["root"]))
    server, host, path = settings["server"], settings["host"], settings["path"]
    stall = settings.get("stall_seconds", 60.0)
    if settings["kind"] == "sftp":
        paths = {name: Path(server[name]) for name in ("client_key", "known_hosts", "root")}
        return sftp_endpoint_for(SshTarget(**{**server, **paths}), path, host=host, stall_seconds=stall)
    password = server["password"]
    tls = None if server["tls"] is None else TlsPolicy(**{**server["tls"], "ca_file": Path(server["tls"]["ca_file"])})
    return FtpEndpoint(host, server["port"], server["user"], lambda: password, path, tls=tls, stall_seconds=stall)


def run_with_settings(settings: dict[str, Any], write_line: Callable[[str], object]) -> None:
    """Run once with settings from `settings_for`, and write the lines that the module describes."""
    target, source = _target(settings), settings["source"]

    def show(event: Event) -> None:
        match event:
            case Started():
                write_line("started")
            case Done(Copy(source)):
                write_line(f"done {source.path}")

    async def run() -> Run:
        return await mirror(
            _target(source) if isinstance(source, dict) else Path(source),
            target,
            Path(settings["journal"]),
            connections=settings["connections"],
            observer=show,
            settled=settings["settled"],
            publish=PublishRule(is_burst=settings["is_burst"], resume=ResumeRule(smallest=settings["resume"])),
            pair=PairRule(settings["conflict"]) if settings["is_two_way"] else None,
            by_size_time=settings["is_two_way"],
            transforms=(Transform("gzip", settings["gzip"], gzip_stream),) if settings.get("gzip") else (),
        )

    write_line(json.dumps(attrs.asdict(trio.run(run).report)))


if __name__ == "__main__":
    run_with_settings(json.load(sys.stdin), partial(print, flush=True))
