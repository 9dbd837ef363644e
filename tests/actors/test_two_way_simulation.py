"""Random stories of two trees that both change: no version is lost, and both come to rest."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest

from actorsync.planning.pairs.rules import ConflictRule
from tests.support.tiers import amount
from tests.support.two_way_story import TwoWayStory, tell
from tests.support.virtual_time import simulate

SEEDS = amount("TWO_WAY_SEEDS", short=100, full=1000)
BLOCK = 50
#: How many stories are told with the sides swapped.
SWAPPED = amount("TWO_WAY_SWAPPED", short=30, full=100)
RULES: tuple[ConflictRule, ...] = get_args(ConflictRule)
#: Every seed that ever found something. Told first, and for ever.
FOUND = (47, 48, 90, 189, 474)


@pytest.mark.scaled
@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_no_version_is_lost_and_both_sides_come_to_rest(first: int) -> None:
    met: Counter[str] = Counter()
    for seed in range(first, min(SEEDS, first + BLOCK)):
        rule = RULES[seed // 2 % 5] if seed % 2 else "both"
        met += simulate(tell, seed, rule, seed % 3 == 2, seed=seed).met
    assert {"exit 0", "busy", "busy inside a move", "lost", "killed", "in the trash"} <= met.keys()


@pytest.mark.parametrize("seed", FOUND)
def test_story_that_found_something(seed: int) -> None:
    simulate(tell, seed, seed=seed)


@pytest.mark.scaled
def test_swapped_sides_give_the_mirror_image() -> None:
    met: Counter[str] = Counter()
    for seed in range(SWAPPED):
        story = TwoWayStory(seed, "keep", is_calm=True)
        swapped = TwoWayStory(seed, "keep", is_calm=True, is_swapped=True)
        told = simulate(story.tell_calmly, seed=seed)
        image = simulate(swapped.tell_calmly, seed=seed)
        assert [trees[::-1] for trees in image] == told, f"seed {seed}"
        met += story.met
    assert {"exit 0", "exit 1"} <= met.keys()  # with conflicts and without
