"""``kill -9`` at each system call that changes something, in a run with every kind of operation: the next run recovers.

The kernel holds the process at the call, and it is killed before the call is made. CI takes a sample of the calls;
``ACTORSYNC_SWEEP=all`` takes every call.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from contextlib import suppress
from pathlib import Path

import attrs
import pytest

from actorsync.endpoints.sftp.endpoint import LANES
from actorsync.journal import open_journal
from tests.support import FtpTarget
from tests.support.mirror import contents, settings_for, temporaries, times
from tests.support.scenarios import write
from tests.support.servers.ssh_target import OPENSSH, SshTarget
from tests.support.system.forks import Forked, Forks
from tests.support.system.kills import LOCAL, PROFTPD, serving
from tests.support.tiers import IS_FULL
from tests.support.world.changing_source import KIB

#: Number of system calls to try in CI. A run makes some hundreds.
SAMPLE = {LOCAL: 30, PROFTPD: 18, OPENSSH: 14}

CONNECTIONS = 2
#: Size of a file that is sent by sendfile. Its size and time are the same before and after the change.
BIG = 3_000 * KIB
#: The most files that one connection works on at once: uploads, and renames that are not confirmed.
IN_HAND = {LOCAL: 2, PROFTPD: 2, OPENSSH: LANES}


@attrs.define(eq=False)
class Scenario:
    """A changed source, and a target and a journal in the state before the change."""

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
        (source / "d2").rename(source / "h")  # unchanged files in it are renamed on the target
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
        """Restore the target and the journal to their state before the run."""
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
        """Return the files whose record equals the file in the source. Fails when the journal cannot be opened."""
        with open_journal(self.journal, "test") as journal:
            now = {path: os.stat(self.source / path) for path, digest in self.new.items() if digest is not None}
            records = {path: journal.record(path) for path in now}
            unknown = set(temporaries(self.target)) - dict(journal.pending()).keys()
            assert not unknown, "temporaries that the journal does not know"
        return {
            path
            for path, record in records.items()
            if record is not None and not record.is_removal_intended
            if record.source is not None and record.source.ctime_ns == now[path].st_ctime_ns
        }

    def there(self) -> dict[str, str | None]:
        """Return the contents of the target, once a server has executed the last commands of the killed client."""
        last: dict[str, str | None] | None = None
        while True:
            with suppress(FileNotFoundError):
                now = contents(self.target)
                if self.server is None or now == last:
                    return now
                last = now
            time.sleep(0.02)

    def kill_at(self, call: int, in_hand: int) -> bool:
        """Kill a run at a system call, and check the next run. Return False when the run ended before that call."""
        self.reset()
        killed = self.run(kill_at=call)
        if not killed.is_killed:
            assert (killed.exit_code, killed.report and killed.report["exit_code"]) == (0, 0)
            return False
        there = self.there()
        for path, digest in there.items():
            if ".actorsync-" not in path:
                assert digest in {self.old.get(path, ""), self.new.get(path, "")}, f"{path} is neither old nor new"
        renamed = {path for path, digest in there.items() if digest and digest == self.new.get(path)}
        known = self.known()
        assert known <= renamed, "recorded, and not on the target"
        again = self.run()
        assert (again.exit_code, again.report and again.report["exit_code"]) == (0, 0), again.report
        assert known.isdisjoint(again.done), "recorded, and sent again"
        # Files in flight, and files not recorded yet: on a busy machine the recorder is behind by one or two files for
        # each connection.
        assert len(renamed & set(again.done)) <= CONNECTIONS * (in_hand + 2), (
            "more files were sent again than in flight"
        )
        assert contents(self.target) == self.new
        assert times(self.target) == times(self.source)
        assert temporaries(self.target) == []
        with open_journal(self.journal, "test") as journal:
            assert journal.pending() == []
        return True


@pytest.mark.scaled
@pytest.mark.parametrize("name", [LOCAL, PROFTPD, OPENSSH])
def test_m006_m111_kill_at_each_system_call_is_recovered_by_the_next_run(
    name: str, forks: Forks, server_folder: Path, tmp_path: Path
) -> None:
    with serving(name, server_folder) as server:
        scenario = Scenario(forks, server, tmp_path)
        scenario.reset()
        recorded = scenario.run(counts=True)
        count = sum(recorded.calls.values())
        assert recorded.report is not None
        assert recorded.report["moved"] == 3
        # Threads run in a different order each time, so a run may make a few calls more or fewer.
        calls = list(range(1, count + 5))
        if os.environ.get("ACTORSYNC_SWEEP") != "all":
            calls = random.Random(f"sweep {name}").sample(calls, SAMPLE[name] // (1 if IS_FULL else 4))
        killed = sum(scenario.kill_at(call, IN_HAND[name]) for call in calls)
    print(f"{name}: {count} calls ({recorded.calls}), {killed} kills")
    assert killed >= len(calls) // 2
