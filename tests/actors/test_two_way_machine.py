"""A state machine of two trees after "Mysteries of Dropbox": users, runs, and kills at any verb, in any order.

Hypothesis looks for a shortest story after which a version is lost, or the trees do not come to rest.
"""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from tests.support.tiers import amount
from tests.support.two_way_story import TwoWayStory
from tests.support.virtual_time import simulate

EXAMPLES: Final = amount("TWO_WAY_MACHINE", short=20, full=100)

_NAMES = st.sampled_from(("a", "b", "d/a", "d/b"))
_SIDES = st.sampled_from(("source", "target"))


class TwoSides(RuleBasedStateMachine):
    """Two sides, each with a user, and runs between them."""

    @initialize(seed=st.integers(0, 7), by_content=st.booleans())
    def begin(self, seed: int, *, by_content: bool) -> None:
        self.story = TwoWayStory(seed)  # the seed decides which of the sides are servers
        self.story.by_content = by_content

    def _side(self, name: str) -> MemoryEndpoint:
        side: Any = getattr(self.story.trees, name)
        assert isinstance(side, MemoryEndpoint)
        return side

    @rule(side=_SIDES, path=_NAMES)
    def user_writes(self, side: str, path: str) -> None:
        self.story.write(self._side(side), path)

    @rule(side=_SIDES, path=_NAMES)
    def user_deletes(self, side: str, path: str) -> None:
        if path in self._side(side).files():
            self.story.delete(self._side(side), path)

    @rule(side=_SIDES, old=_NAMES, new=_NAMES)
    def user_renames(self, side: str, old: str, new: str) -> None:
        there = self._side(side)
        if old in there.files() and (there.find("d") is not None or "/" not in new):
            self.story.rename(there, old, new)

    @rule(side=_SIDES)
    def user_removes_a_directory(self, side: str) -> None:
        if self._side(side).find("d") is not None:
            self.story.rmtree(self._side(side), "d")

    @rule(seconds=st.sampled_from((0.5, 3.0, 100.0)))
    def time_passes(self, seconds: float) -> None:
        self.story.trees.wait(seconds)

    @rule()
    def run(self) -> None:
        self.story.kill_at = None
        simulate(self.story.run, seed=0)

    @rule(verb=st.integers(1, 90))
    def run_that_is_killed(self, verb: int) -> None:
        self.story.kill_at = verb
        simulate(self.story.run, seed=0)
        self.story.kill_at = None

    @invariant()
    def no_version_is_lost(self) -> None:
        if hasattr(self, "story"):
            self.story.check_nothing_is_lost(in_both=False)

    def teardown(self) -> None:
        if hasattr(self, "story"):
            simulate(self.story.peace, seed=0)


TwoSides.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestTwoSides = pytest.mark.scaled(TwoSides.TestCase)
