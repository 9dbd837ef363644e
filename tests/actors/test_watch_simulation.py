"""A mirror that is watched, told by the thousand: partial runs whose hints are lost, doubled, late or wrong.

``ACTORSYNC_WATCH_SEEDS=N`` sets how many seeds there are, ``ACTORSYNC_WATCH_SEED=k`` tells one story alone.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.support.tiers import amount
from tests.support.world.climate import NO_CLIMATE, Climate
from tests.support.world.simulation import simulate
from tests.support.world.watching import WatchedStory

SEEDS = amount("WATCH_SEEDS", short=60, full=400)
BLOCK = 100

#: Every seed that ever found something.
REGRESSIONS = [260]

#: The same, of stories with more kinds of trouble. 114: an undo was broken off while it removed directories.
WITH_CLIMATE = [114]


def tell(seed: int, climate: Climate = NO_CLIMATE) -> WatchedStory:
    story = WatchedStory(seed, climate)
    try:
        simulate(story)
    except BaseException as error:
        again = f"ACTORSYNC_WATCH_SEED={seed} pytest tests/actors/test_watch_simulation.py"
        error.add_note(f"to tell this story again: {again}")
        raise
    return story


if "ACTORSYNC_WATCH_SEED" in os.environ:  # one story is told alone, in full

    def test_one_story() -> None:
        story = WatchedStory(int(os.environ["ACTORSYNC_WATCH_SEED"]))
        try:
            simulate(story)
        finally:
            print("\n".join(story.trace))

else:

    @pytest.mark.parametrize("seed", REGRESSIONS)
    def test_story_that_once_went_wrong(seed: int) -> None:
        tell(seed)

    @pytest.mark.parametrize("seed", WITH_CLIMATE)
    def test_story_with_more_trouble_that_once_went_wrong(seed: int) -> None:
        tell(seed, Climate.of(seed))

    @pytest.mark.scaled
    @pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
    def test_stories(first: int) -> None:
        ends: Counter[int | None] = Counter()
        partial = removed = 0
        for seed in range(first, min(first + BLOCK, SEEDS)):
            story = tell(seed)
            ends.update(story.told)
            partial += story.partial
            removed += story.removed
        if first + BLOCK <= SEEDS:
            assert {0, 1, 3, 130, None} <= ends.keys()
            assert partial > BLOCK
            assert removed > 0
