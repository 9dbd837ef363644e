"""``kill -9`` at each system call that changes something, in a run that does everything: the next run makes it good.

The kernel holds the process at the call, and there it is killed, before the call is made. CI takes a sample of the
calls; with ``ACTORSYNC_SWEEP=all`` it is every one.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import attrs
import pytest

from actorsync.endpoints.sftp.endpoint import LANES
from actorsync.journal import open_journal
from tests.support import FtpTarget
from tests.support.mirror import contents, settings_for, temporaries, times
from tests.support.scenarios import write
from tests.support.servers import ftp, ssh_servers
from tests.support.servers.ssh_target import OPENSSH, SshTarget
from tests.support.system import seccomp
from tests.support.system.forks import Forked, Forks
from tests.support.world.changing_source import KIB

LOCAL, PROFTPD = "local", "proftpd"

#: Calls of a run that are tried in CI; all runs make some hundreds.
SAMPLE = {LOCAL: 60, PROFTPD: 40, OPENSSH: 30}

CONNECTIONS = 2
#: Not read whole, but sent from the disk. It has the same size and time before and after the change.
BIG = 3_000 * KIB
#: What one connection has in hand at once, at most: sending, and waiting for its rename.
IN_HAND = {LOCAL: 2, PROFTPD: 2, OPENSSH: LANES}


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    if (reason := seccomp.why_not()) is not None:
        assert "CI" not in os.environ, reason
        pytest.skip(reason)
    with Forks() as forks:
        yield forks


@attrs.define(eq=False)
class Field:
    """A source before and after a change, and a target and a journal that know it before."""

    forks: Forks
    server: FtpTarget | SshTarget | None
    folder: Path
    old: dict[str, str | None] = attrs.field(init=False)
    new: dict[str, str | None] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        rng = random.Random("sweep")
        source = self.source
        for number in range(20):
            size = BIG if number == 6 else rng.randrange(20 * KIB)
            write(source / f"d{number % 4}" / f"{number}", rng.randbytes(size))
        self.target.mkdir(parents=True)
        self.adopt()
        assert self.run().exit_code == 0
        shutil.copytree(self.target, self.folder / "target before")
        shutil.copytree(self.journal, self.folder / "journal before")
        self.old = contents(source)
        for number in range(8):
            write(source / f"d{number % 4}" / f"{number}", rng.randbytes(BIG if number == 6 else 5_000 + number))
        for number in range(8):
            write(source / "e" / ("f" if number % 2 else "g") / f"{number}", rng.randbytes(4_000))
        shutil.rmtree(source / "d3")
        (source / "d2").rename(source / "h")  # what has not changed in it is moved
        self.new = contents(source)

    @property
    def source(self) -> Path:
        return self.folder / "source"

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    @property
    def target(self) -> Path:
        return self.folder / "target" if self.server is None else self.server.root / "site"

    def adopt(self) -> None:
        if self.server is not None:
            self.server.adopt()

    def reset(self) -> None:
        """Have target and journal as they were before the run."""
        for here, name in ((self.target, "target before"), (self.journal, "journal before")):
            shutil.rmtree(here)
            shutil.copytree(self.folder / name, here)
        self.adopt()

    def run(self, **how: int) -> Forked:
        settings = settings_for(
            self.source,
            self.server or self.target,
            self.journal,
            path="site" if self.server else "",
            connections=CONNECTIONS,
            settled=True,
        )
        return self.forks.run(settings, **how)  # type: ignore[arg-type]

    def known(self) -> set[str]:
        """Give the files that the journal has as they are in the source now. It has to be in order for that."""
        with open_journal(self.journal, "test") as journal:
            now = {path: os.stat(self.source / path) for path, digest in self.new.items() if digest is not None}
            records = {path: journal.record(path) for path in now}
            assert set(temporaries(self.target)) <= set(journal.intents()), "a temporary that nobody knows of"
        return {
            path
            for path, record in records.items()
            if record is not None and not record.is_removal_intended
            if record.source is not None and record.source.ctime_ns == now[path].st_ctime_ns
        }

    def there(self) -> dict[str, str | None]:
        """Give what is on the target, when a server has done what a client that is gone had asked for."""
        last: dict[str, str | None] | None = None
        while True:
            with suppress(FileNotFoundError):
                now = contents(self.target)
                if self.server is None or now == last:
                    return now
                last = now
            time.sleep(0.02)

    def kill_at(self, call: int, in_hand: int) -> bool:
        """Have a run that is killed at a call, and the next one; False when there are not so many calls."""
        self.reset()
        killed = self.run(kill_at=call)
        if not killed.is_killed:
            assert (killed.exit_code, killed.report and killed.report["exit_code"]) == (0, 0)
            return False
        there = self.there()
        for path, digest in there.items():
            if ".actorsync-" not in path:
                assert digest in {self.old.get(path, ""), self.new.get(path, "")}, f"{path} is no version of it"
        renamed = {path for path, digest in there.items() if digest and digest == self.new.get(path)}
        known = self.known()
        assert known <= renamed, "written down, and not there"
        again = self.run()
        assert (again.exit_code, again.report and again.report["exit_code"]) == (0, 0), again.report
        assert known.isdisjoint(again.done), "written down, and sent again"
        # In flight, or told to the recorder, which on a busy machine is a file or two behind each connection.
        assert len(renamed & set(again.done)) <= CONNECTIONS * (in_hand + 2), "more than was in flight was sent again"
        assert contents(self.target) == self.new
        assert times(self.target) == times(self.source)
        assert temporaries(self.target) == []
        with open_journal(self.journal, "test") as journal:
            assert journal.intents() == []
        return True


@contextmanager
def serving(name: str, folder: Path) -> Iterator[FtpTarget | SshTarget | None]:
    with ExitStack() as stack:
        if name == PROFTPD:
            yield stack.enter_context(ftp.serving(name, folder))
        elif name == OPENSSH:
            yield stack.enter_context(ssh_servers.serving(OPENSSH, folder))
        else:
            yield None


@pytest.mark.parametrize("name", [LOCAL, PROFTPD, OPENSSH])
def test_m006_m111_killed_at_each_system_call(name: str, forks: Forks, server_folder: Path, tmp_path: Path) -> None:
    with serving(name, server_folder) as server:
        field = Field(forks, server, tmp_path)
        field.reset()
        recorded = field.run(counts=True)
        count = sum(recorded.calls.values())
        assert recorded.report is not None
        assert recorded.report["moved"] == 3
        # The order of threads is not the same in each run, so there may be a few calls more, or fewer.
        calls = list(range(1, count + 5))
        if os.environ.get("ACTORSYNC_SWEEP") != "all":
            calls = random.Random(f"sweep {name}").sample(calls, SAMPLE[name])
        killed = sum(field.kill_at(call, IN_HAND[name]) for call in calls)
    print(f"{name}: {count} calls ({recorded.calls}), {killed} kills")
    assert killed >= len(calls) // 2
