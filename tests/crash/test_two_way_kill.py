"""``kill -9`` of a two-way run at each system call that changes something, and at each step on the wire.

Both sides have every kind of change before the run. After the kill, two runs find rest, no version of a file is lost,
and both sides are as after a run that was not killed. In half of the cases a user saves a file at that moment or a few
steps before it: the one that the run is busy with.

A step on the wire is a command that is about to be sent, or a reply that has arrived.

CI takes a sample of the steps; ``ACTORSYNC_SWEEP=all`` takes every one.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Literal

import attrs
import pytest

from actorsync.planning.pairs.rules import ConflictRule
from tests.support import FtpTarget
from tests.support.mirror import settings_for
from tests.support.servers.ssh_target import OPENSSH, SshTarget
from tests.support.sweeps import IS_COMPLETE, some
from tests.support.system.forks import Forked, Forks
from tests.support.system.kills import LOCAL, PROFTPD, serving
from tests.support.two_sides.pair_case import PairCase, Tree, is_at_rest
from tests.support.two_sides.sudden_user import SideName, SuddenUser

#: The whole sweep takes hours.
pytestmark = [pytest.mark.timeout(0)] if IS_COMPLETE else []

Steps = Literal["calls", "wire"]

#: Number of kills in CI.
SAMPLE = {LOCAL: 5, PROFTPD: 2, OPENSSH: 2}
RULES: tuple[ConflictRule, ...] = ("both", "keep")
#: At most so many steps go on after a user has saved a file.
LASTS = 12


@attrs.define(eq=False)
class Kills:
    """The cases of one sweep."""

    forks: Forks
    server: FtpTarget | SshTarget | None
    steps: Steps
    case: PairCase
    #: What both sides have after a run that is not killed, by the rule for conflicts.
    expected: dict[ConflictRule, tuple[Tree, Tree]] = attrs.Factory(dict)

    @classmethod
    def of(cls, forks: Forks, server: FtpTarget | SshTarget | None, steps: Steps, folder: Path) -> Kills:
        target = folder / "target" if server is None else server.root / "target"
        roots: dict[SideName, Path] = {"source": folder / "source", "target": target}
        uids: dict[SideName, int | None] = {"target": None if server is None else server.uid}
        return cls(forks, server, steps, PairCase(roots, folder / "journal", uids=uids))

    def run(self, kill_at: int | None = None, user: SuddenUser | None = None, *, counts: bool = False) -> Forked:
        roots = self.case.roots
        settings = settings_for(
            *(roots["source"], self.server or roots["target"], self.case.journal),
            path="target" if self.server else "",
            settled=True,
            is_two_way=True,
            conflict=self.case.rule,
        )
        is_wire = self.steps == "wire" and (counts or kill_at is not None)
        return self.forks.run(settings, counts=counts, kill_at=kill_at, is_wire=is_wire, user=user)

    def prepare(self, rule: ConflictRule) -> None:
        """Make a new case."""
        self.case.rule = rule
        self.case.make()
        first = self.run()
        assert (first.exit_code, first.report and first.report["exit_code"]) == (0, 0), first.report
        self.case.change()

    def undisturbed(self, rule: ConflictRule) -> int:
        """Make a run that is not killed, to see what is to be expected. Return the number of its steps."""
        self.prepare(rule)
        run = self.run(counts=True)
        assert run.report is not None
        assert run.report["exit_code"] == (0 if rule == "both" else 1), run.report
        self.expected[rule] = self.case.trees()
        wrong = self.case.faults_at_rest(self.run().report, self.expected[rule])
        assert not wrong, "\n".join(wrong)
        return run.steps if self.steps == "wire" else sum(run.calls.values())

    def user_before(self, step: int) -> SuddenUser:
        """Return a user who saves a file at most `LASTS` steps before ``step``."""
        rng = random.Random(f"user {step} {self.steps}")
        lasts = min(step - 1, rng.choice([0, 0, rng.randrange(1, LASTS)]))
        return SuddenUser(
            {side: str(root) for side, root in self.case.roots.items()},
            step - lasts,
            f"saved {step}",
            lasts,
            side=rng.choice([None, None, None, "source", "target"]),
            only_there="target" if isinstance(self.server, FtpTarget) else None,
            uid=self.case.uids["target"],
        )

    def faults(self, step: int, rule: ConflictRule) -> list[str]:
        """Kill a run at a step, and return what is wrong then and after the next runs, as text."""
        if rule not in self.expected:
            self.undisturbed(rule)
        self.prepare(rule)
        has_user = (step + RULES.index(rule)) % 2 == 0
        killed = self.run(step, self.user_before(step) if has_user else None)
        self.case.note_saved(killed.saved)
        wrong = [f"{it} by the kill" for it in self.case.lost()]
        runs = [self.run()]
        while len(runs) < 3 and not is_at_rest(runs[-1].report):
            runs.append(self.run())
        good = {0} if rule == "both" else {1}
        wrong += [f"the run after it: {it}" for it in runs if it.report is None or it.report["exit_code"] not in good]
        wrong += self.case.faults_at_rest(runs[-1].report, self.expected[rule])
        return [f"step {step} {rule} {self.case.saved}: {it}" for it in wrong]


@pytest.mark.scaled
@pytest.mark.parametrize(
    ("name", "steps"),
    [(LOCAL, "calls"), (PROFTPD, "calls"), (OPENSSH, "calls"), (PROFTPD, "wire"), (OPENSSH, "wire")],
)
def test_kill_at_each_step_of_a_two_way_run_loses_no_version(
    name: str, steps: Steps, forks: Forks, server_folder: Path, tmp_path: Path
) -> None:
    """The system calls of a run over a network are tried with one rule: the wire has its own steps with both."""
    with serving(name, server_folder) as server:
        kills = Kills.of(forks, server, steps, tmp_path)
        count = kills.undisturbed("both")
        rules = RULES if name == LOCAL or steps == "wire" else RULES[:1]
        places = list(itertools.product(range(1, count + 1), rules))
        chosen = some(places, SAMPLE[name], f"two-way {name} {steps}")
        wrong = [text for step, rule in chosen for text in kills.faults(step, rule)]
    done = f"{name}, {steps}: {count} steps, {len(chosen)} kills, {len(wrong)} faults"
    print(done)
    if wrong:
        pytest.fail("\n".join([done, *wrong]), pytrace=False)
