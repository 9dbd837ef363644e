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

#: Every seed that ever found something. Told first, and for ever; a change of the stories themselves starts it anew.
# fmt: off
REGRESSIONS = [
    7, 59, 116, 127, 167, 200, 201, 260, 262, 271, 317, 331, 333, 334, 351, 396, 399, 429, 437, 449, 478, 502,
    518, 551, 579, 583, 605, 637, 663, 681, 689, 727, 738, 739, 742, 773, 778, 812, 860, 886, 903, 940, 955,
    971, 993, 1033, 1078, 1096, 1117, 1174, 1175, 1177, 1192, 1218, 1264, 1266, 1310, 1349, 1388, 1405, 1407,
    1446, 1484, 1496, 1509, 1542, 1544, 1560, 1565, 1590, 1594, 1604, 1675, 1717, 1786, 1791, 1802, 1834, 1929,
    1966, 2059, 2101, 2113, 2115, 2137, 2142, 2148, 2168, 2204, 2229, 2237, 2267, 2320, 2431, 2437, 2454, 2459,
    2486, 2509, 2511, 2519, 2527, 2578, 2635, 2662, 2671, 2672, 2690, 2696, 2704, 2707, 2747, 2749, 2786, 2802,
    2815, 2817, 2828, 2831, 2866, 2871, 2880, 2890, 2905, 2914, 9929,
]
# fmt: on


def tell(seed: int, lanes: int | None = None) -> Story:
    try:
        return simulate(Story(seed, lanes))
    except BaseException as error:
        error.add_note(f"to tell this story again: ACTORSYNC_SEED={seed} pytest tests/test_simulation.py")
        raise


if "ACTORSYNC_SEED" in os.environ:  # one story is told alone, in full

    def test_one_story() -> None:
        story = Story(int(os.environ["ACTORSYNC_SEED"]))
        try:
            simulate(story)
        finally:
            print("\n".join(story.trace))

else:

    @pytest.mark.parametrize("lanes", [1, 4])
    @pytest.mark.parametrize("seed", REGRESSIONS)
    def test_story_that_once_went_wrong(seed: int, lanes: int) -> None:
        tell(seed, lanes)

    @pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
    def test_stories(first: int) -> None:
        ends: Counter[int | None] = Counter()
        for seed in range(first, min(first + BLOCK, SEEDS)):
            ends.update(tell(seed).told)
        # Every way to end a run comes up: a block in which all went well would have tested nothing.
        assert first + BLOCK > SEEDS or {0, 1, 3, 130, None} <= ends.keys()

    def test_the_same_seed_tells_the_same_story() -> None:
        first, second = tell(7), tell(7)
        assert first.told == second.told
        assert first.target.log == second.target.log
        assert first.oracle.events == second.oracle.events
