"""Kinds of trouble with how files get their names: in a burst, in ranks, by the parts that are left of a transfer.

They are no trouble of their own: each is a rule of a profile, for every run of a story. What goes wrong comes from the
weather and from the other kinds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from actorsync.endpoints.memory.tree import Directory
from actorsync.model.entry import join
from actorsync.planning.publishing.ranks import DEFAULT, NONE, Ranks
from actorsync.planning.publishing.rules import PublishRule, ResumeRule
from tests.support.world.trouble import Trouble, at
from tests.support.world.world import NAMES

if TYPE_CHECKING:
    from tests.support.world.simulation import Story

__all__ = ["Burst", "Ranking", "Resume", "Rule"]

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


class Resume(Rule):
    """Files that go on where they broke off: nearly all of them are big enough for that here."""

    chance: ClassVar[float] = 0.3

    def settle(self, story: Story) -> None:
        """Write a file that is worth it."""
        for name in self.rng.sample(NAMES, 2):
            if story.source.find(name) is None:
                story.source.write(name, self.rng.randbytes(4_000))
        story.oracle.see_source(story.source)

    def changed(self, rule: PublishRule) -> PublishRule:
        smallest, keep = self.rng.choice((1, 50, 50, None)), self.rng.choice((1.0, 60.0, 3 * 86_400.0))
        return attrs.evolve(rule, resume=ResumeRule(smallest, keep))
