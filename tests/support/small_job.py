"""A small job with every kind of operation on a server, and the checks after it.

* Directories to make: three.
* Files to upload: an empty one, a small one, one larger than the limit for uploads without a reply, and a new version
  of an existing file.
* Entries to remove: a file, and a directory with a file in it.
* Temporary files of an earlier run to sweep: one that exists, and one whose rename succeeded just before the run was
  killed. That file is recognized by the journal's intent, and removed because its source does not exist any more.
* To survey: the whole target, which contains a file that actorsync did not create.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import attrs
import trio

from actorsync.actors.backoff import Backoff
from actorsync.endpoints.contract import Endpoint
from actorsync.journal import Journal, open_memory_journal
from actorsync.model.entry import Entry, Kind
from actorsync.model.event import Event, Intended
from actorsync.model.operation import Copy, Done, MakeDirectory
from actorsync.planning.selection import Selection
from actorsync.policy import Clock, Policy, RunOptions
from actorsync.profile.values.units import MaxDelete
from actorsync.supervisor import supervise
from actorsync.testing.servers.command_log import Command
from tests.support.mirror import QUICK, CountingEndpoint, Run, contents, temporaries, times
from tests.support.observer import forbidden_commands
from tests.support.system.disk_log import DiskChanges

__all__ = ["SmallJob", "faults_in_log", "faults_on_disk", "write_source"]

_SECONDS = 1_700_000_000
_BLIND = 64 * 1024
_NEW: Mapping[str, bytes] = {
    "a/empty": b"",
    "b/small": b"small" * 60,
    "b/c/big": bytes(range(256)) * ((_BLIND + 10_000) // 256),
    "replaced": b"new" * 500,
}
_OURS: Mapping[str, bytes] = {"replaced": b"old" * 700, "gone": b"gone", "old/inside": b"inside"}
_ARRIVED: Mapping[str, bytes] = {"arrived": b"arrived" * 30}
_FOREIGN: Mapping[str, bytes] = {"foreign": b"not ours"}
#: Temporary files of an earlier run: one that exists, and one that was renamed to ``arrived``.
LEFTOVERS = (".actorsync-0123456789abcdef.tmp", ".actorsync-fedcba9876543210.tmp")

#: All paths that may be removed, besides temporary files.
RECORDED = ("gone", "old", "old/inside", "arrived")
SENT = frozenset(_NEW)


def write_source(root: Path) -> Path:
    """Write the source of the job, which any number of jobs can share, and return its path."""
    for path, content in _NEW.items():
        _write(root / path, content)
    return root


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (_SECONDS, _SECONDS))


@attrs.define(eq=False)
class SmallJob:
    """The job in a new folder on a server, with a new journal.

    ``root`` is that folder on the disk. Its files are made to belong to ``uid``.
    """

    source: Path
    root: Path
    uid: int | None = None
    journal: Journal = attrs.field(init=False)
    opened: Mapping[str, int] = attrs.field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        for path, content in {**_OURS, **_FOREIGN, **_ARRIVED, LEFTOVERS[0]: b"half"}.items():
            _write(self.root / path, content)
        if self.uid is not None:
            for folder, _, names in os.walk(self.root):
                for path in [folder, *(os.path.join(folder, name) for name in names)]:
                    os.chown(path, self.uid, self.uid)
        self.journal = open_memory_journal()
        self.journal.apply(self._known())

    def _known(self) -> list[Event]:
        """Return the records of an earlier run. It ended before it had listed all of the target."""
        facts: list[Event] = []
        for path, content in _OURS.items():
            entry = Entry(path, Kind.FILE, len(content), _SECONDS * 10**9)
            facts.append(Done(Copy(entry), target=entry, source=attrs.evolve(entry, inode=1)))
        folder = Entry("old", Kind.DIRECTORY)
        facts.append(Done(MakeDirectory(folder), target=folder))
        arrived = Entry("arrived", Kind.FILE, len(_ARRIVED["arrived"]), _SECONDS * 10**9)
        return [*facts, Intended(LEFTOVERS[:1]), Intended(LEFTOVERS[1:], arrived)]

    async def run(
        self, target: Endpoint, *, connections: int = 1, seconds: float = 30, backoff: Backoff = QUICK
    ) -> Run:
        """Run once; raise `trio.TooSlowError` after ``seconds``."""
        source = CountingEndpoint(self.source)
        self.opened = source.opened
        events: list[Event] = []
        policy = Policy(Selection(), MaxDelete.parse("100%"), delete=True, connections=connections, backoff=backoff)
        clock = Clock(wall_ns=lambda: time.time_ns() + 10**10)  # so that no file counts as just changed
        with trio.fail_after(seconds):
            options = RunOptions(policy, observers=[events.append], clock=clock)
            report = await supervise(source, target, self.journal, options)
        return Run(report, events)

    def faults(self, run: Run, *, in_hand: int = 1) -> list[str]:
        """Return what is wrong after a run whose connection was lost, as text; an empty list when all is right.

        ``in_hand`` is how many files a connection works on at once: that many may be sent again for each lost one.
        """
        expected = contents(self.source) | {path: _digest(content) for path, content in _FOREIGN.items()}
        found = contents(self.root)
        wrong = [f"{path} is {'missing' if path not in found else 'wrong'}" for path in _differing(expected, found)]
        if (run.report.exit_code, run.failures) != (0, {}):
            wrong.append(f"exit code {run.report.exit_code}: {run.failures} {run.report.error}")
        stale = {path for path, seconds in times(self.root).items() if seconds != _SECONDS}
        wrong += [f"{path} has another time" for path in sorted(stale)]
        wrong += [f"{path} was left" for path in temporaries(self.root)]
        if sum(self.opened.values()) - len(SENT) > in_hand * max(1, run.report.reconnects):
            wrong.append(f"sent again: {dict(self.opened)}")
        if pending := self.journal.pending():
            wrong.append(f"still in the journal: {[path for path, _ in pending]}")
        return wrong


def _differing(expected: Mapping[str, str | None], found: Mapping[str, str | None]) -> list[str]:
    missing = object()
    return sorted(path for path in {*expected, *found} if expected.get(path, missing) != found.get(path, missing))


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content).hexdigest()


def faults_on_disk(changes: DiskChanges, sets_aside: bool = False) -> list[str]:
    """Return what happened on the server's disk and must not happen, as text.

    ``sets_aside``: the server cannot replace a file, so the old version is renamed before the new one gets its name.
    After a lost connection, the old version is renamed back first.
    """
    if sets_aside:
        changes = attrs.evolve(
            changes, arrived=changes.arrived - Counter(["replaced"] * (changes.arrived["replaced"] - 1))
        )
        changes.removed.pop("replaced", None)
    wrong = [f"{path} was renamed {times} times" for path, times in changes.arrived.items() if times > 1]
    wrong += [f"{path} was written under its final name" for path in sorted(changes.written)]
    wrong += [f"{path} is not in the source" for path in sorted(changes.arrived.keys() - SENT)]
    wrong += [f"{path} was never renamed to its final name" for path in sorted(SENT - changes.arrived.keys())]
    wrong += [f"{path} was removed" for path in sorted(changes.removed.keys() - set(RECORDED))]
    wrong += [f"{path} was not removed" for path in sorted(set(RECORDED) - changes.removed.keys())]
    return wrong


def faults_in_log(mutating: list[Command], root: str) -> list[str]:
    """Return the commands that no mirror of ``root`` may send, as text."""
    return [f"forbidden command: {command}" for command in forbidden_commands(mutating, root, recorded=RECORDED)]
