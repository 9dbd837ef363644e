"""The whole engine, told by the thousand: one seed is one story of runs, changes, faults, stops and crashes.

``ACTORSYNC_SEEDS=N`` sets how many seeds there are, ``ACTORSYNC_SEED=k`` tells one story alone.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.support.simulation import Story, simulate

SEEDS = int(os.environ.get("ACTORSYNC_SEEDS", "2000"))
BLOCK = 100

#: Every seed that ever found something. Told first, and for ever.
REGRESSIONS: list[int] = []


def tell(seed: int) -> Story:
    try:
        return simulate(seed)
    except BaseException as error:
        error.add_note(f"to tell this story again: ACTORSYNC_SEED={seed} pytest tests/test_simulation.py -k one")
        raise


@pytest.mark.skipif("ACTORSYNC_SEED" not in os.environ, reason="set ACTORSYNC_SEED to tell one story")
def test_one_story() -> None:
    story = Story(0)
    try:
        story = simulate(int(os.environ["ACTORSYNC_SEED"]))
    finally:
        print("\n".join(story.trace))


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_story_that_once_went_wrong(seed: int) -> None:
    tell(seed)


@pytest.mark.skipif("ACTORSYNC_SEED" in os.environ, reason="one story is told alone")
@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_stories(first: int) -> None:
    ends: Counter[int | None] = Counter()
    for seed in range(first, min(first + BLOCK, SEEDS)):
        ends.update(tell(seed).told)
    # Every way to end a run comes up: a block in which all went well would have tested nothing.
    assert ends[0] > BLOCK
    assert {1, 3, 130, None} <= ends.keys()


def test_the_same_seed_tells_the_same_story() -> None:
    first, second = simulate(7), simulate(7)
    assert first.told == second.told
    assert first.target.log == second.target.log
    assert first.oracle.events == second.oracle.events
