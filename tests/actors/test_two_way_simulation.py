"""Random stories of two trees that both change: no version is lost, and both come to rest."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.tiers import amount
from tests.support.two_way_story import tell
from tests.support.virtual_time import simulate

SEEDS = amount("TWO_WAY_SEEDS", short=100, full=2000)
BLOCK = 50
#: Every seed that ever found something. Told first, and for ever.
FOUND: tuple[int, ...] = ()


@pytest.mark.scaled
@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_no_version_is_lost_and_both_sides_come_to_rest(first: int) -> None:
    met: Counter[str] = Counter()
    for seed in range(first, min(SEEDS, first + BLOCK)):
        met += simulate(tell, seed, seed=seed).met
    assert {"exit 0", "busy", "lost", "killed"} <= met.keys()
