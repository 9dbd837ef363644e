"""``kill -9`` at each system call that changes something in a two-way run: no version is lost, the next run recovers.

CI takes a sample of the calls; ``ACTORSYNC_SWEEP=all`` takes every call.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import attrs
import pytest

from actorsync.planning.temporary_names import is_own
from tests.crash.test_kill_sweep import LOCAL, PROFTPD, serving
from tests.support import FtpTarget
from tests.support.mirror import contents, settings_for
from tests.support.scenarios import write
from tests.support.servers.ssh_target import OPENSSH, SshTarget
from tests.support.system import seccomp
from tests.support.system.forks import Forked, Forks
from tests.support.tiers import IS_FULL

#: Number of system calls to try in CI.
SAMPLE = {LOCAL: 16, PROFTPD: 8, OPENSSH: 8}


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    if (reason := seccomp.why_not()) is not None:
        assert "CI" not in os.environ, reason
        pytest.skip(reason)
    with Forks() as forks:
        yield forks


@attrs.define(eq=False)
class TwoSides:
    """Both sides after changes of their users, and the journal of the run before."""

    forks: Forks
    server: FtpTarget | SshTarget | None
    folder: Path
    #: The digests of what may go: what both sides had agreed on, and a user has replaced or removed on one of them.
    may_go: set[str | None] = attrs.field(init=False)
    before: set[str | None] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        rng = random.Random("two sides")
        for number in range(12):
            write(self.source / f"d{number % 3}" / f"{number}", rng.randbytes(rng.randrange(100, 9_000)))
        self.target.mkdir(parents=True)
        self.adopt()
        assert self.run().exit_code == 0
        agreed = contents(self.source)
        for number in range(12):
            path, data = Path(f"d{number % 3}") / f"{number}", rng.randbytes(5_000 + number)
            match number // 2:
                case 0:
                    write(self.source / path, data)
                case 1:
                    write(self.target / path, data)
                case 2:
                    (self.source / path).unlink()
                case 3:
                    (self.target / path).unlink()
                case 4:
                    write(self.source / path, data)
                    write(self.target / path, data + b"of the target")
        write(self.source / "e/f/new", rng.randbytes(3_000))
        write(self.target / "g/h/new", rng.randbytes(3_000))
        for name, root in (("source", self.source), ("target", self.target), ("journal", self.journal)):
            shutil.copytree(root, self.folder / f"{name} before")
        now = contents(self.source), contents(self.target)
        self.before = {digest for tree in now for digest in tree.values()}
        self.may_go = {digest for path, digest in agreed.items() if any(tree.get(path) != digest for tree in now)}

    @property
    def source(self) -> Path:
        return self.folder / "source"

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    @property
    def target(self) -> Path:
        return self.folder / "target" if self.server is None else self.server.root / "pair"

    def adopt(self) -> None:
        if self.server is not None:
            self.server.adopt()

    def reset(self) -> None:
        """Restore both sides and the journal to their state before the run."""
        for here, name in ((self.source, "source"), (self.target, "target"), (self.journal, "journal")):
            shutil.rmtree(here)
            shutil.copytree(self.folder / f"{name} before", here)
        self.adopt()

    def run(self, **how: int) -> Forked:
        place = "pair" if self.server else ""
        settings = settings_for(
            *(self.source, self.server or self.target, self.journal), path=place, settled=True, is_two_way=True
        )
        return self.forks.run(settings, **how)  # type: ignore[arg-type]

    def there(self) -> set[str | None]:
        """Return the digests of all that is on either side, once a server has done the last commands."""
        last: set[str | None] | None = None
        while True:
            with suppress(FileNotFoundError):
                now = {*contents(self.source).values(), *contents(self.target).values()}
                if self.server is None or now == last:
                    return now
                last = now
            time.sleep(0.02)

    def trees(self) -> tuple[dict[str, str | None], dict[str, str | None]]:
        """Return both trees, without what belongs to actorsync itself."""
        return self._tree(self.source), self._tree(self.target)

    @staticmethod
    def _tree(root: Path) -> dict[str, str | None]:
        return {path: digest for path, digest in contents(root).items() if not is_own(path)}

    def kill_at(self, call: int) -> bool:
        """Kill a run at a system call, and check the next runs. Return False when the run ended before that call."""
        self.reset()
        killed = self.run(kill_at=call)
        assert self.before - self.may_go <= self.there(), "a version is lost"
        for _ in range(2):
            again = self.run()
            assert (again.exit_code, again.report and again.report["exit_code"]) == (0, 0), again.report
        assert self.before - self.may_go <= self.there(), "a version is lost by the run after it"
        source, target = self.trees()
        assert source == target
        assert set(source.values()) <= self.before
        asides = [path for root in (self.source, self.target) for path in root.rglob(".actorsync+*")]
        assert asides == []
        return killed.is_killed


@pytest.mark.scaled
@pytest.mark.parametrize("name", [LOCAL, PROFTPD, OPENSSH])
def test_kill_at_each_system_call_of_a_two_way_run_loses_no_version(
    name: str, forks: Forks, server_folder: Path, tmp_path: Path
) -> None:
    with serving(name, server_folder) as server:
        sides = TwoSides(forks, server, tmp_path)
        sides.reset()
        recorded = sides.run(counts=True)
        count = sum(recorded.calls.values())
        assert recorded.report is not None
        assert recorded.report["exit_code"] == 0
        calls = list(range(1, count + 5))
        if os.environ.get("ACTORSYNC_SWEEP") != "all":
            calls = random.Random(f"two-way {name}").sample(calls, SAMPLE[name] // (1 if IS_FULL else 4))
        killed = sum(sides.kill_at(call) for call in calls)
    print(f"{name}: {count} calls ({recorded.calls}), {killed} kills")
    assert killed >= len(calls) // 2
