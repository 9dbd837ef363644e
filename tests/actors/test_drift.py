"""Targets that other programs change between runs, by the thousand: one seed is one story of runs and changes.

The promise: a difference that an audit can see is mended, or said (exit code 9 or 1), within one round of the audits.
"In sync" is never said over an older one, and nothing is said to have drifted that has not.

``ACTORSYNC_DRIFT_SEEDS=N`` sets how many seeds there are, ``ACTORSYNC_SEED=k`` tells one story alone.
"""

from __future__ import annotations

import os
import random
from collections import Counter

import attrs
import pytest
import trio

from actorsync.actors.shutdown import Shutdown
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.memory.tree import Directory, File
from actorsync.errors import ConnectionLost
from actorsync.model.entry import Entry, Kind, ancestors, join
from actorsync.model.event import Drifted, Event, MemoryVoided
from actorsync.model.operation import Audit, Done
from actorsync.planning.drift import AuditRule
from actorsync.policy import Policy
from actorsync.testing.faulty_endpoint import Faulty, When
from tests.support import virtual_time
from tests.support.tiers import amount
from tests.support.world.memory_mirror import ONE, PATIENT, Mirror

SEEDS = amount("DRIFT_SEEDS", short=200, full=300)
BLOCK = 100
CHANGES = ("edit", "edit", "delete", "delete a directory", "empty", "remove", "replace", "restore", "add", "swap kinds")


class Story:
    """One seed. ``met`` counts what came up."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = rng = random.Random(f"drift {seed}")
        self.met: Counter[str] = Counter()
        self.mirror = Mirror(
            target=MemoryEndpoint("target", inodes=rng.random() < 0.3, lanes=rng.choice((1, 3))),
        )
        self.mirror.wall_ns = lambda: 1_700_000_000 * 10**9 + int(trio.current_time() * 1e9)
        self.rule = AuditRule(rng.choice((1, 2, 5, 50)), mends=rng.random() < 0.5, large_root=rng.choice((2, 2_000)))
        self.policy: Policy = attrs.evolve(
            ONE,
            audit=self.rule,
            delete=rng.random() < 0.7,
            connections=rng.choice((1, 3)),
            backoff=PATIENT,
        )
        self.ages: dict[str, int] = {}
        self.others: set[str] = set()
        """What others have ever changed on the target."""

    async def tell(self) -> None:
        rng, mirror = self.rng, self.mirror
        for number in range(rng.randrange(2, 14)):
            folder = rng.choice(["", *sorted(mirror.source.directories()), f"d{number}", f"d{number}/e"])
            mirror.source.write(join(folder, f"f{number}"), b"%d " % number * rng.randrange(1, 9))
        assert (await mirror.run(policy=self.policy)).exit_code == 0
        for _ in range(rng.randrange(1, 5)):
            await trio.sleep(10)
            backup = self.backup()
            then = self.described()
            for _ in range(rng.choice((0, 1, 1, 2, 4))):
                self.change_target(backup)
            now = self.described()
            self.others |= {path for path in then.keys() | now.keys() if then.get(path) != now.get(path)}
            if rng.random() < 0.4:
                self.change_source()
            for _ in range(rng.choice((1, 1, 2, self.bound))):
                await trio.sleep(10)
                await self.run()
        for _ in range(self.bound + 1):
            await trio.sleep(10)
            await self.run()
        self.check_end()

    @property
    def bound(self) -> int:
        """How many runs a round of the audits takes, with the root that has its turn if it is large."""
        return -(-len(self.mirror.source.directories()) // self.rule.listings) + 1

    def differences(self) -> set[str]:
        """The paths of the source that the target has not, or has otherwise, as the size and the time show."""
        source, target, found = self.mirror.source, self.mirror.target, set[str]()
        for path in [*source.files(), *source.directories()]:
            node, there = source.find(path), target.find(path)
            if isinstance(node, File):
                same = isinstance(there, File) and there.data == node.data
            else:
                same = isinstance(there, Directory)
            if not same:
                found.add(path)
        return found

    async def run(self) -> None:
        """Run once, with faults and stops, and check what was said."""
        rng, mirror = self.rng, self.mirror
        before = self.differences()
        self.ages = {path: self.ages.get(path, 0) for path in before}
        ends, faults = rng.random(), rng.choice((0.0, 0.0, 0.05))
        mirror.shutdown = Shutdown(5.0, 1.0)

        def decide(verb: str, when: When) -> float | None:
            if rng.random() < faults:
                raise ConnectionLost(f"the server hung up {when} {verb}")
            return rng.random()

        def stop(event: Event) -> None:
            if ends < 0.1 and isinstance(event, Done) and isinstance(event.operation, Audit):
                mirror.shutdown.drain()

        report = await mirror.run(Faulty(mirror.target, decide), policy=self.policy, observe=stop)
        self.met[f"exit code {report.exit_code}"] += 1
        after = self.differences()
        for drifted in mirror.seen(Drifted):
            self.met["mended" if drifted.is_mended else "reported" if drifted.is_new else "reported again"] += 1
            assert drifted.path in self.others, f"{drifted.path} was not changed by others"
        self.met["voided"] += len(mirror.seen(MemoryVoided))
        if report.drained:
            return  # its audit was cut short, and it said so
        if report.exit_code == 0:
            too_old = {path for path in after if self.ages.get(path, 0) >= self.bound}
            assert not too_old, f"in sync, and {too_old} differ for {self.bound} runs"
            assert not self.rule.mends or not {it.path for it in mirror.seen(Drifted)} & after
        # What the run has mended may differ again: that is another difference, and a new one.
        self.ages = {path: age + 1 for path, age in self.ages.items() if path in after}

    def check_end(self) -> None:
        """Everything that differs has been said, and nothing else is."""
        left, said = self.differences(), {drift.path for drift in self.mirror.journal.audits.drifts()}
        unsaid = {it for it in left if it not in said and said.isdisjoint(ancestors(it))}
        if self.rule.mends:
            # What is of another kind is in the way; it fails by name in each run.
            kinds = {it for it in left if self.mirror.target.find(it) is not None}
            assert {it for it in left if it not in kinds and kinds.isdisjoint(ancestors(it))} == set()
        else:
            failed = {path for path, _ in self.failures()}
            assert {it for it in unsaid if it not in failed and failed.isdisjoint(ancestors(it))} == set()

    def failures(self) -> list[tuple[str, str]]:
        return [(parked.path, parked.reason) for parked in self.mirror.journal.troubles()]

    # What others do.

    def described(self) -> dict[str, Entry]:
        target = self.mirror.target
        found = {path: target.find(path) for path in [*target.files(), *target.directories()]}
        entries = {path: target.entry(path, node) for path, node in found.items() if node is not None}
        kinds = {path: Entry(path, entry.kind) for path, entry in entries.items()}
        return {path: it if it.kind is Kind.FILE else kinds[path] for path, it in entries.items()}

    def backup(self) -> dict[str, bytes]:
        return dict(self.mirror.target.files())

    def change_target(self, backup: dict[str, bytes]) -> None:
        rng, target = self.rng, self.mirror.target
        if target.find("") is None:
            target.make("")
        files, folders = sorted(target.files()), sorted(target.directories())
        kind = rng.choice(CHANGES)
        self.met[kind] += 1
        match kind:
            case "edit" if files:
                target.write(rng.choice(files), b"edited by hand %d" % rng.randrange(1000))
            case "delete" if files:
                target.delete(rng.choice(files))
            case "delete a directory" if folders:
                target.delete(rng.choice(folders))
            case "empty" | "remove":
                for path in [*files, *folders]:
                    if target.find(path) is not None:
                        target.delete(path)
                if kind == "remove":
                    target.delete("")
            case "replace":
                for path in [*files, *folders]:
                    if target.find(path) is not None:
                        target.delete(path)
                target.write("of another site", b"")
            case "restore":
                for path in rng.sample(sorted(backup), rng.randrange(len(backup) + 1)):
                    if self.is_free(path):
                        target.write(path, backup[path][: rng.randrange(1, 20)] or b"x")
            case "add":
                folder = rng.choice(["", *folders])
                if self.is_free(join(folder, "theirs")):
                    target.write(join(folder, "theirs"), b"theirs")
            case "swap kinds" if files:
                path = rng.choice(files)
                target.delete(path)
                target.write(join(path, "inside"), b"theirs")

    def is_free(self, path: str) -> bool:
        target = self.mirror.target
        is_file_above = any(isinstance(target.find(above), File) for above in ancestors(path) if above)
        return not is_file_above and not isinstance(target.find(path), Directory)

    def change_source(self) -> None:
        rng, source = self.rng, self.mirror.source
        files = sorted(source.files())
        match rng.choice(("write", "new", "delete")):
            case "write":
                source.write(rng.choice(files), b"changed in the source %d" % rng.randrange(1000))
            case "new":
                source.write(join(rng.choice(["", *sorted(source.directories())]), "new"), b"new")
            case _ if len(files) > 2:
                source.delete(rng.choice(files))


def tell(seed: int) -> Story:
    story = Story(seed)
    try:
        virtual_time.simulate(story.tell, seed=seed)
    except BaseException as error:
        error.add_note(f"to tell this story again: ACTORSYNC_SEED={seed} pytest {__file__}")
        raise
    return story


if "ACTORSYNC_SEED" in os.environ:

    def test_one_story() -> None:
        print(tell(int(os.environ["ACTORSYNC_SEED"])).met)

else:

    @pytest.mark.scaled
    @pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
    def test_no_run_says_in_sync_over_a_difference_that_is_older_than_a_round(first: int) -> None:
        met: Counter[str] = Counter()
        for seed in range(first, min(first + BLOCK, SEEDS)):
            met += tell(seed).met
        ends = {"exit code 0", "exit code 1", "exit code 3", "exit code 9"}
        assert {*CHANGES, *ends, "mended", "reported", "reported again", "voided"} <= met.keys(), met
