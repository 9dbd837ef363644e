"""Stories of exact mirrors: what others put on the target goes, except for what is excluded; and then peace."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import trio

from actorsync.endpoints.memory.tree import Directory, Special
from actorsync.model.entry import Kind, join
from actorsync.model.operation import Done, Remove
from actorsync.model.report import Report
from actorsync.planning.temporary_names import is_own
from actorsync.policy import Policy
from actorsync.profile.values.units import MaxDelete
from tests.support.world.climate import NO_CLIMATE
from tests.support.world.oracle import below
from tests.support.world.simulation import Story
from tests.support.world.world import ALIEN, EPOCH_NS, NAMES, Weather

__all__ = ["ExactStory"]


class ExactStory(Story):
    """One seed of an exact mirror. ``foreign`` counts the removals of what others had put there."""

    def __init__(self, seed: int) -> None:
        self.foreign = 0
        super().__init__(seed, climate=NO_CLIMATE)

    def _any_policy(self) -> Policy:
        return attrs.evolve(super()._any_policy(), delete="everything")

    def _prepare_target(self) -> None:
        super()._prepare_target()
        self._add_strangers()

    def _between_runs(self) -> None:
        super()._between_runs()
        if self.rng.random() < 0.3:
            self.policy = attrs.evolve(self.policy, delete=self.rng.choice((True, False, "everything")))
        if self.rng.random() < 0.3:
            self._add_strangers()

    def _add_strangers(self) -> None:
        """Put links, files and folders of others on the target, where nothing is."""
        if self.target.find("") is None:
            return
        for _ in range(self.rng.randrange(4)):
            folder = self.rng.choice(["", *sorted(self.target.directories())])
            path = join(folder, self.rng.choice((*NAMES, "foreign/deep/x", "link", "other/x.tmp")))
            if not self.free_for(path) or self.target.find(path) is not None:
                continue
            with self.unwatched():
                if path.endswith("link"):
                    self.target.put_special(path, Kind.LINK)
                else:
                    self.put_foreign(path, ALIEN, EPOCH_NS - 7)

    async def run(self, weather: Weather) -> Report | None:
        report = await super().run(weather)
        for event in self.oracle.events:
            if isinstance(event, Done) and isinstance(event.operation, Remove):
                self.foreign += event.operation.is_foreign
        return report

    async def converge(self) -> None:
        """Turn the key on after a time under another rule: then the target equals the source."""
        self.calm()
        await self._grow_old()
        self.policy = attrs.evolve(self.policy, delete=True, max_delete=MaxDelete.parse("100%"))
        await self.run(Weather())
        hidden = dict(self._hidden())
        self.policy = attrs.evolve(self.policy, delete="everything")
        if self.oracle.strange:
            self.lose_journal()
        report = await self.run(Weather())
        assert report is not None
        assert dict(self._hidden()) == hidden, "what is excluded was changed"
        if report.exit_code == 1:
            self._clear_excluded(report)
            report = await self.run(Weather())
        assert report is not None
        assert report.exit_code == 0, report
        self._check_exact()
        await trio.sleep(10)
        commands = len(self.target.log)
        report = await self.run(Weather())
        assert report is not None
        assert report.exit_code == 0, report
        assert self.target.log[commands:] == []

    def _clear_excluded(self, report: Report) -> None:
        """Do what the failures say: a directory with something excluded in it is in the way of a file."""
        for path, reason in report.failures:
            if reason.startswith("blocked by") or "is a directory" in reason:
                with self.unwatched():
                    self.target.delete(path)
                self.oracle.unrecorded.add(path)
                self.oracle.strange.clear()
                self.lose_journal()

    def _entries(self) -> dict[str, object]:
        """Return everything on the target, links included; files with their content."""
        found: dict[str, object] = {**self.target.files()}
        for folder in ("", *self.target.directories()):
            found.setdefault(folder, None)
            node = self.target.find(folder)
            assert isinstance(node, Directory)
            found |= {
                join(folder, name): child.kind for name, child in node.children.items() if isinstance(child, Special)
            }
        del found[""]
        return found

    def _is_hidden(self, path: str) -> bool:
        """Return whether an entry of the target stays. What the source hides under its name may be of another kind."""
        nodes = (node for node in (self.target.find(path), self.source.find(path)) if node is not None)
        hides = self.policy.selection.hides
        return is_own(path) or any(hides(path, isinstance(node, Directory)) for node in nodes)

    def _hidden(self) -> Iterator[tuple[str, object]]:
        return ((path, data) for path, data in self._entries().items() if self._is_hidden(path))

    def _check_exact(self) -> None:
        entries = self._entries()
        kept = [path for path in entries if self._is_hidden(path)]
        source: dict[str, object] = {**self.source.files(), **dict.fromkeys(self.source.directories())}
        wanted = {path for path in source if not self.policy.selection.hides(path, source[path] is None)}
        for path in entries.keys() - kept - wanted:
            holds = entries[path] is None and any(below(it, path) for it in kept)
            assert holds, f"{path!r} should be gone"
        for path in wanted:
            is_equal = path in entries and (entries[path] == source[path] or path in self.oracle.believed)
            assert is_equal or self._is_ambiguous(path), f"{path!r} is {entries.get(path)!r}, and not {source[path]!r}"
