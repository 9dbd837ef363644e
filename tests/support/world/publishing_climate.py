"""Kinds of trouble with how files get their names: in a burst, in ranks, by the parts that are left of a transfer.

They are no trouble of their own: each is a rule of a profile, for every run of a story. What goes wrong comes from the
weather and from the other kinds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import attrs

from actorsync.endpoints.memory.tree import Directory
from actorsync.errors import ActorsyncError
from actorsync.model.entry import join
from actorsync.model.operation import Side
from actorsync.planning.publishing.ranks import DEFAULT, NONE, Ranks
from actorsync.planning.publishing.rules import PublishRule, ResumeRule, TrashRule
from actorsync.planning.publishing.trash import expired
from actorsync.runs.past.trash import purge
from actorsync.runs.undo import perform, prepare_undo
from tests.support.world.trash_oracle import INSIDE, OUTSIDE, is_in_trash, site_of
from tests.support.world.trouble import Trouble, at
from tests.support.world.world import SECOND_NS

if TYPE_CHECKING:
    from tests.support.world.simulation import Story

__all__ = ["Burst", "Ranking", "Resume", "Rule", "Trash"]

#: Files that are worth continuing.
_BIG = ("big", "bigger", "x.bin")
#: Names of every built-in rank.
_SITE = ("s.css", "data", "p.html", "index.html")


class Rule(Trouble):
    """A kind that changes the rule of a story."""

    def changed(self, rule: PublishRule) -> PublishRule:
        """Return the rule with what this kind says of it."""
        raise NotImplementedError


class Burst(Rule):
    """Everything is staged, and then gets its names together. Some runs of such a story are file by file."""

    chance: ClassVar[float] = 0.3

    def settle(self, story: Story) -> None:
        story.target.has_links = self.rng.random() < 0.5
        story.saw("burst")

    def changed(self, rule: PublishRule) -> PublishRule:
        return attrs.evolve(rule, is_burst=self.rng.random() < 0.9, keeps_old=self.rng.random() < 0.8)


class Ranking(Rule):
    """Files that have ranks: a small site in the source, or ranks by chance."""

    def settle(self, story: Story) -> None:
        self._write(story)
        story.saw("ranks")

    def during(self, story: Story) -> None:
        at(story, self.step(), lambda: self._write(story))

    def between(self, story: Story) -> None:
        self._write(story)

    def changed(self, rule: PublishRule) -> PublishRule:
        patterns = self.rng.choice(([["a", "b/"], ["c", "d"]], [["*"], ["a"]], [["x.*"]]))
        return attrs.evolve(rule, ranks=self.rng.choice((DEFAULT, DEFAULT, NONE, Ranks.of_patterns(patterns))))

    def _write(self, story: Story) -> None:
        """Write a new version of a site into some directory of the source."""
        directory = self.rng.choice(["", *sorted(story.source.directories())])
        for name in self.rng.sample(_SITE, 3):
            path = join(directory, name)
            if not isinstance(story.source.find(path), Directory):
                data = self.rng.randbytes(self.rng.choice((0, 3, 200, 2_000)))
                story.source.put(path, story.source.new_file(data))
        story.oracle.see_source(story.source)


class Trash(Rule):
    """Old versions go to a trash, beside the target or in it. Now and then a run is undone, and old runs are purged."""

    chance: ClassVar[float] = 0.4

    def afterwards(self, story: Story) -> Callable[[], Awaitable[None]] | None:
        if self.rng.random() < 0.5:
            return partial(self._undo, story)
        return partial(self._purge, story) if self.rng.random() < 0.5 else None

    def changed(self, rule: PublishRule) -> PublishRule:
        if self.rng.random() < 0.1:
            return rule
        keep, size = self.rng.choice((1.0, 100.0, 7 * 86_400.0)), self.rng.choice((None, None, 0, 3_000))
        return attrs.evolve(rule, trash=TrashRule(self.rng.choice((OUTSIDE, OUTSIDE, INSIDE)), keep, size))

    async def _purge(self, story: Story) -> None:
        """Delete what is too old, as every command does after its run."""
        rule, memory = story.policy.publish.trash, story.oracle.journal.trash
        if rule is not None and story.target.find("") is not None:
            with story.unwatched(), suppress(ActorsyncError):
                await purge(
                    {Side.TARGET: story.target},
                    story.oracle.journal,
                    expired(memory.runs(), story.wall_ns() / SECOND_NS, rule.keep, rule.max_size),
                )

    async def _undo(self, story: Story) -> None:
        """Undo the last run that has changed anything. In a calm place it is exact, and the next run leaves it so."""
        journal, target = story.oracle.journal, story.target
        if target.find("") is None or not journal.trash.runs():
            return
        before = site_of(target)
        with story.unwatched():
            try:
                undoing = await prepare_undo(target, journal, None, ())
            except ActorsyncError as refused:
                story.trace.append(f"  not undone: {refused}")
                return
            changes = [change.trashed for change in journal.trash.changes(undoing.run.run)]
            run = journal.trash.next_run()
            try:
                report = await perform(target, journal, undoing, run, story.wall_ns() / SECOND_NS, "0")
            except ActorsyncError as broken:
                story.trace.append(f"  broken off: {broken}")
                return
        story.trace.append(f"  undone: {undoing.run.run}, {report}")
        then = story.snapshots.get(undoing.run.run)
        if then is None or undoing.plan.refused or report.exit_code != 0:
            return
        paths = {path for it in changes for path in (it.path, it.place or it.path) if not is_in_trash(path)}
        expected = {path: data for path, data in before.items() if path not in paths}
        expected |= {path: then[path] for path in paths if path in then}
        now = site_of(target)
        for path in now.keys() | expected.keys():
            if now.get(path) != expected.get(path) and not story.oracle.is_strange(path):
                story.oracle.blame(f"17: {path!r} was undone, and holds {now.get(path)!r}, not {expected.get(path)!r}")


class Resume(Rule):
    """Files that go on where they broke off: nearly all of them are big enough for that here."""

    chance: ClassVar[float] = 0.4

    def settle(self, story: Story) -> None:
        """Write a file that is worth it. What is not trusted of a broken transfer is a few bytes here."""
        target = story.target
        target.can_resume = self.rng.random() < 0.85
        target.overlap, target.block = self.rng.choice((0, 1, 100)), self.rng.choice((1, 50))
        target.pieces = self.rng.choice((5, 10))
        self._write_old(story)
        story.saw("resume")

    def during(self, story: Story) -> None:
        story.cuts = set(range(self.rng.randrange(3, 12), 90, self.rng.choice((7, 13))))

    def between(self, story: Story) -> None:
        self._write_old(story)

    def _write_old(self, story: Story) -> None:
        """Write files that are so old that their times prove what they are."""
        story.began_ns -= 100 * SECOND_NS
        for name in self.rng.sample(_BIG, 2):
            if not isinstance(story.source.find(name), Directory):
                data = self.rng.randbytes(self.rng.choice((300, 4_000, 4_000)))
                story.source.put(name, story.source.new_file(data))
        story.began_ns += 100 * SECOND_NS
        story.oracle.see_source(story.source)

    def changed(self, rule: PublishRule) -> PublishRule:
        smallest, keep = (
            self.rng.choice((1, 50, 50, 50, 1_000, None)),
            self.rng.choice((1.0, 60.0, *[3 * 86_400.0] * 4)),
        )
        return attrs.evolve(rule, resume=ResumeRule(smallest, keep))
