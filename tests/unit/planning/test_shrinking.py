"""How far a target has shrunk over passes that follow one another."""

from __future__ import annotations

from actorsync.planning.watching.shrinking import SPAN, Shrinking


def test_most_is_the_largest_count_within_the_span() -> None:
    shrinking = Shrinking()
    seen = [shrinking.most(ours, now) for now, ours in ((0, 50), (10, 100), (20, 80), (30, 90))]
    assert seen == [50, 100, 100, 100]
    assert shrinking.most(40, 11 + SPAN) == 90
    assert shrinking.most(40, 31 + SPAN) == 40


def test_a_target_that_grows_again_is_at_its_largest() -> None:
    shrinking = Shrinking()
    assert [shrinking.most(ours, 0) for ours in (100, 60, 120)] == [100, 100, 120]


def test_nothing_is_forgotten_while_the_guards_refuse() -> None:
    shrinking = Shrinking()
    shrinking.most(100, 0)
    shrinking.is_refused = True
    assert shrinking.most(50, 10 * SPAN) == 100
    shrinking.is_refused = False
    assert shrinking.most(50, 10 * SPAN) == 50


def test_counts_of_many_passes_take_no_memory_when_nothing_shrinks() -> None:
    shrinking = Shrinking()
    for now in range(1_000):
        shrinking.most(100, now)
    assert len(shrinking._counts) == 1
