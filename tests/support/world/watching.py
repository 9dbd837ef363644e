"""Stories of a mirror that is watched: partial runs by hints, and whole ones now and then.

The watcher of these stories drops hints, doubles and delays them, and hints at what has not changed. Whatever it does,
nothing that is there is removed, and the next whole run makes the mirror exact (invariants 4, 5 and 8).
"""

from __future__ import annotations

import random
from typing import Final

import attrs
import trio

from actorsync.model.entry import join, parent_of
from actorsync.model.report import Report
from actorsync.policy import Policy
from actorsync.profile.values.units import MaxDelete
from tests.support.world.climate import NO_CLIMATE, Climate
from tests.support.world.simulation import Story
from tests.support.world.world import NAMES, Weather

__all__ = ["WatchedStory"]

#: What the watcher does with a hint.
_FATES: Final = ("deliver", "deliver", "deliver", "deliver", "drop", "double", "delay")


class WatchedStory(Story):
    """One seed. ``partial`` counts the partial runs, ``removed`` the removals in them."""

    def __init__(self, seed: int, climate: Climate = NO_CLIMATE) -> None:
        self.chance = random.Random(f"hints of {seed}")
        self.hints: set[str] = set()
        self.late: set[str] = set()
        self.partial = self.removed = 0
        super().__init__(seed, climate=climate)

    # The story.

    async def tell(self) -> None:
        for _ in range(self.rng.randrange(16)):
            self.change_source()
        self._prepare_target()
        await self.run(Weather())  # from here on, the target is known
        for _ in range(self.chance.choice((1, 2, 4))):
            await trio.sleep(self.chance.choice((0.0, 0.5, 3.0, 6.0, 100.0)))
            self._between_runs()
            for _ in range(self.chance.choice((0, 1, 3))):
                self.change_source()
            self.within = None if self.chance.random() < 0.15 else self._take_hints()
            with self.climate.during(self):
                report = await self.run(self._any_weather())
            await self.climate.afterwards(self)
            is_done = report is not None and report.exit_code in {0, 1}
            if self.within is not None and not is_done and self.chance.random() < 0.5:
                self.hints |= self.within  # what was not done is wanted again, unless the watcher dies as well
        await trio.sleep(10)
        self.within = None
        await self.converge()
        await self._nothing_is_left()

    async def _nothing_is_left(self) -> None:
        """5: where both sides agree, no hint is a reason to do anything."""
        commands = len(self.target.log)
        self.within = self._take_hints() | {self._any_directory() for _ in range(3)}
        report = await self.run(Weather())
        assert report is not None
        assert report.exit_code == 0, report
        assert self.target.log[commands:] == [], f"5: {self.target.log[commands:]}"

    async def run(self, weather: Weather) -> Report | None:
        report = await super().run(weather)
        if self.within is not None:
            self.partial += 1
            self.removed += 0 if report is None else report.removed
        return report

    def calm(self) -> None:
        super().calm()
        self.policy = attrs.evolve(self.policy, delete_settle=0.0)

    def _any_policy(self) -> Policy:
        settle, is_careful = self.chance.choice((0.0, 5.0)), self.chance.random() < 0.3
        policy = attrs.evolve(super()._any_policy(), delete_settle=settle, delete=self.chance.random() < 0.9)
        return policy if is_careful else attrs.evolve(policy, max_delete=MaxDelete.parse("100%"))

    # The watcher.

    def change_source(self) -> None:
        before = self._looks()
        super().change_source()
        after = self._looks()
        for path in sorted(before.keys() | after.keys()):
            if before.get(path) != after.get(path):
                self._hint(parent_of(path))
                if path in self.source.directories():
                    self._hint(path)
        if self.chance.random() < 0.1:
            self._hint(self._any_directory())

    def _looks(self) -> dict[str, object]:
        """Return what a watcher sees of each path: directories as such, files with their times."""
        looks: dict[str, object] = {path: id(self.source.find(path)) for path in self.source.directories()}
        for path in self.source.files():
            node = self.source.find(path)
            assert node is not None
            looks[path] = (node.inode, node.mtime_ns, node.ctime_ns)
        return looks

    def _hint(self, directory: str) -> None:
        match self.chance.choice(_FATES):
            case "deliver":
                self.hints.add(directory)
            case "double":
                self.hints.add(directory)
                self.late.add(directory)
            case "delay":
                self.late.add(directory)
            case _:
                self.trace.append(f"  the hint of {directory!r} is lost")

    def _take_hints(self) -> frozenset[str]:
        hints = frozenset(self.hints)
        self.hints, self.late = self.late, set()
        return hints

    def _any_directory(self) -> str:
        """Return any directory, or what may be one, or was, or never will be."""
        folders = ["", *sorted(self.source.directories()), *sorted(self.target.directories())]
        folder = self.chance.choice(folders)
        return folder if self.chance.random() < 0.7 else join(folder, self.chance.choice(NAMES))
