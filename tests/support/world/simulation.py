"""A whole mirror in memory, on virtual time: one seed, one story of runs, changes, faults, stops and crashes.

Every story ends in peace: the faults stop, the source does not change any more, and then the mirror has to be exact
after one run, and to have nothing to do after that. On the way there, an `Oracle` checks the invariants at every step
of the target. The same seed tells the same story, as long as neither the engine nor this file changes.

What a story is made of comes from streams of chance that know nothing of each other: the first weather from
``Random(seed)``, each kind of `tests.support.world.climate` from one of its own. So a new kind leaves what the others
say as it was, and a seed that once found something goes on telling what it told.
"""

from __future__ import annotations

import random
from typing import Final

import attrs
import trio

from actorsync.actors.backoff import Backoff
from actorsync.endpoints.contract import Capabilities
from actorsync.endpoints.memory.tree import Directory, File
from actorsync.journal import Journal
from actorsync.model.entry import join
from actorsync.planning.selection import Selection
from actorsync.policy import Policy
from actorsync.profile.values.units import MaxDelete
from tests.support import virtual_time as simulation
from tests.support.world.climate import Climate
from tests.support.world.world import ALIEN, EPOCH_NS, NAMES, SECOND_NS, Stop, Weather, World

__all__ = ["Story", "simulate"]

SIZES: Final = (0, 1, 2, 7, 100, 4_097)
LIMITS: Final = ("100%", "100%", "50%", "10%", 0, 2)
SELECTIONS: Final = (Selection(), Selection(), Selection(exclude=["*.tmp"]), Selection(exclude=["b/", ".h"]))


def simulate(story: Story) -> Story:
    """Tell a story, and give it back. Raises ``AssertionError`` when anything in it is not as promised."""
    with story.climate.over(story):
        simulation.simulate(story.tell, seed=story.seed)
    assert not story.oracle.violations
    return story


class Story(World):
    """One seed.

    ``lanes`` is how many operations each connection carries at once, ``climate`` what there is beside the first
    weather; without them, the seed says.
    """

    def __init__(self, seed: int, lanes: int | None = None, climate: Climate | None = None) -> None:
        self.seed = seed
        rng = random.Random(seed)
        super().__init__(
            rng,
            precision_ns=rng.choice((1, SECOND_NS)),
            source_precision_ns=rng.choice((1, SECOND_NS)),
            exists=rng.random() < 0.8,
        )
        # A server that lets in fewer than are wanted: what goes on then must not depend on the faults of the story.
        self.most_sessions = random.Random(f"sessions of {seed}").choice((None, None, 1, 2))
        self.target.max_sessions = self.most_sessions
        self.target.capabilities = Capabilities(lanes=lanes or random.Random(f"lanes of {seed}").choice((1, 1, 2, 5)))
        self.old_journals: list[Journal] = []
        self.is_calm = False
        self.climate = Climate.of(seed) if climate is None else climate
        self.policy = self._any_policy()
        self.climate.settle(self)

    # The story.

    async def tell(self) -> None:
        """Run, change, fail, crash; then, in peace, converge."""
        rng = self.rng
        for _ in range(rng.randrange(16)):
            self.change_source()
        self._prepare_target()
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            weather = self._any_weather()
            with self.climate.during(self):
                await self.run(weather)
            await self.climate.afterwards(self)
            await trio.sleep(rng.choice((0.0, 0.5, 3.0, 100.0)))
            self._between_runs()
        await trio.sleep(10)
        await self.converge()

    def calm(self) -> None:
        self.is_calm = True
        self.climate.calm(self)
        super().calm()
        self.target.max_sessions = self.most_sessions

    def any_drain_seconds(self) -> tuple[float, float]:
        drain, cancel = self.rng.choice((0.5, 5.0, 30.0)), self.rng.choice((0.0, 1.0, 5.0))
        # A burst that may take longer than a drain is refused. In peace it must not be.
        return (30.0 if self.policy.publish.is_burst and self.is_calm else drain), cancel

    # The rest of the world.

    def change_source(self) -> None:
        rng, source = self.rng, self.source
        files, folders = list(source.files()), ["", *sorted(source.directories())]
        path = join(rng.choice([folder for folder in folders if folder.count("/") < 3]), rng.choice(NAMES))
        kind = rng.choice(("write", "write", "write", "rewrite", "replace", "delete", "rename", "swap", "mkdir"))
        match kind:
            case "write" if not isinstance(source.find(path), Directory):
                self._write(path)
            case "rewrite" if files:
                self._write(rng.choice(files))
            case "replace" if files:
                old = rng.choice(files)
                source.put(old, source.new_file(self._data(), self._any_time()))
            case "delete" if source.find(path) is not None:
                source.delete(path)
            case "rename" if files or folders[1:]:
                self.rename_in_source(rng.choice([*files, *folders[1:]]), path)
            case "swap" if source.find(path) is not None:  # a file becomes a folder, a folder becomes a file
                was_directory = isinstance(source.find(path), Directory)
                source.delete(path)
                for name in () if was_directory else rng.sample(NAMES, rng.randrange(3)):
                    source.write(join(path, name), self._data())
                if was_directory:
                    source.write(path, self._data(), self._any_time())
            case "mkdir" if source.find(path) is None:
                source.mkdir(path)
            case _:
                return
        if self.steps:
            self.trace.append(f"  step {self.steps}: {kind} {path!r}")
        self.oracle.see_source(source)

    def _write(self, path: str) -> None:
        """Write a file in place. Where a tick may pass unseen, not while somebody reads: nobody could notice."""
        data, time = self._data(), self._any_time()
        node = self.source.find(path)
        in_place = isinstance(node, File) and not (self.is_running and self.tick_ns > 1)
        if node is None or in_place:
            self.source.write(path, data, time)
        else:
            self.source.put(path, self.source.new_file(data, time))

    def _data(self) -> bytes:
        size = self.rng.choice(SIZES)
        return (b"%d " % self.rng.randrange(1 << 30) * (size // 2 + 1))[:size]

    def _any_time(self) -> int | None:
        time = self.rng.choice((None, EPOCH_NS - 10**15, EPOCH_NS, EPOCH_NS - 123_456_789))
        return self.climate.age_of(time)

    def _prepare_target(self) -> None:
        """Put there what was there before us: equal files, other files, and things in the way."""
        rng = self.rng
        if self.target.find("") is None:
            return
        with self.unwatched():
            for path, data in self.source.files().items():
                node = self.source.find(path)
                assert isinstance(node, File)
                if rng.random() < 0.3 and self.free_for(path):
                    same = rng.random() < 0.6
                    self.put_foreign(path, data if same else ALIEN, node.mtime_ns if same else EPOCH_NS - 5)
            for _ in range(rng.randrange(4)):
                self._add_foreign()

    def _add_foreign(self) -> None:
        folders = ["", *sorted(self.target.directories())]
        path = join(self.rng.choice(folders), self.rng.choice((*NAMES, "foreign", "other")))
        if self.free_for(path) and self.target.find(path) is None:
            if self.rng.random() < 0.7:
                self.put_foreign(path, ALIEN, EPOCH_NS - 7)
            else:
                self.target.mkdir(path)

    def _between_runs(self) -> None:
        rng = self.rng
        for _ in range(rng.choice((0, 0, 1, 2, 5))):
            self.change_source()
        if rng.random() < 0.1:
            self.policy = self._any_policy()
        self.old_journals.append(self.oracle.journal.copy_to_memory())
        chance = rng.random()
        if chance < 0.1:
            self.lose_journal()
        elif chance < 0.15:
            self.restore_journal(rng.choice(self.old_journals))
        elif chance < 0.25 and self.target.find("") is not None:
            with self.unwatched():
                self._add_foreign()
        self.climate.between(self)

    # Chance.

    def _any_policy(self) -> Policy:
        rng = self.rng
        policy = Policy(
            selection=rng.choice(SELECTIONS),
            max_delete=MaxDelete.parse(rng.choice(LIMITS)),
            delete=rng.random() < 0.7,
            connections=rng.randrange(1, 5),
            backoff=Backoff(cap=10.0, jitter=rng.random),
        )
        has = self.climate.has
        rule = self.climate.audit_rule()
        return attrs.evolve(
            policy,
            is_automatic=has("automatic"),
            is_patient=has("patient"),
            audit=rule,
            publish=self.climate.publish_rule(),
        )

    def _any_weather(self) -> Weather:
        rng = self.rng
        stop: Stop | None = rng.choice((None, "drain", "cancel", "outside", "crash", "crash"))
        return Weather(
            target_faults=rng.choice((0.0, 0.0, 0.02, 0.1, 0.3)),
            source_faults=rng.choice((0.0, 0.0, 0.05)),
            changes=rng.choice((0.0, 0.0, 0.02, 0.1)),
            longest_wait=rng.choice((1.0, 5.0, 60.0)),
            stop=stop,
            stop_at=rng.choice((1, 10, 30, 60, 100, 200)) + rng.randrange(30),
        )
