"""How many connections a run keeps, as decisions without a clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actorsync.planning.sizing import FIRST_PATIENCE, LEARNT_PATIENCE, LONGEST_PATIENCE, Sizing


def test_a_fixed_size_is_all_that_is_allowed() -> None:
    assert Sizing(8).size == 8
    assert Sizing(8, ceiling=3).size == 3
    assert Sizing(2, ceiling=3).size == 2


def test_m014_a_refusal_shrinks_and_is_tried_again_later_and_later() -> None:
    sizing, now, tried = Sizing(8), 0.0, []
    sizing.refused(3, now)
    assert (sizing.size, sizing.ceiling) == (3, 3)
    while now < 2000:
        now += 1
        if sizing.look(now, 3, 0.0):
            assert sizing.size == 4
            tried.append(now)
            sizing.refused(3, now)
    gaps = [later - earlier for earlier, later in zip([0.0, *tried], tried, strict=False)]
    assert gaps[:2] == [FIRST_PATIENCE, 2 * FIRST_PATIENCE]
    assert gaps == sorted(gaps)
    assert gaps[-1] == LONGEST_PATIENCE


def test_m014_a_server_that_lets_in_more_again_is_believed() -> None:
    sizing = Sizing(8, ceiling=2)
    now = 0.0
    for connected in range(2, 8):
        while not sizing.look(now, connected, 0.0):
            now += 1
        sizing.accepted(connected + 1)
    assert (sizing.size, sizing.ceiling) == (8, 8)
    assert now <= LEARNT_PATIENCE + 6 * FIRST_PATIENCE
    assert not sizing.look(now + 10_000, 8, 0.0), "there is nothing above the cap"


def test_one_is_always_kept() -> None:
    sizing = Sizing(1)
    sizing.refused(0, 0.0)
    assert sizing.size == 1


def grown(speed: dict[int, float], cap: int = 16) -> int:
    """Let an automatic size grow on a server that does ``speed[size]`` of work in a second."""
    sizing, done = Sizing(cap, is_automatic=True), 0.0
    for second in range(120):
        done += speed[sizing.size]
        sizing.look(float(second), sizing.size, done)
    return sizing.size


def test_an_automatic_size_grows_while_that_helps() -> None:
    assert grown({size: float(size) for size in range(1, 17)}) == 16
    assert grown({size: min(float(size), 6.0) for size in range(1, 17)}) in range(6, 10)
    assert grown(dict.fromkeys(range(1, 17), 1.0)) == 6, "one step is needed to see that it does not help"
    assert grown({size: float(size) for size in range(1, 17)}, cap=5) == 5


def test_an_automatic_size_begins_within_the_ceiling() -> None:
    assert Sizing(16, ceiling=1, is_automatic=True).size == 1


@given(
    cap=st.integers(1, 20),
    is_automatic=st.booleans(),
    story=st.lists(st.tuples(st.sampled_from(["refused", "accepted", "look"]), st.integers(1, 25), st.floats(0, 50))),
)
def test_whatever_happens_the_size_stays_in_bounds(
    cap: int, is_automatic: bool, story: list[tuple[str, int, float]]
) -> None:
    sizing, now, done = Sizing(cap, is_automatic=is_automatic), 0.0, 0.0
    for what, connected, wait in story:
        now, done = now + wait, done + connected
        before = sizing.size
        if what == "refused":
            sizing.refused(connected, now)
            assert sizing.size <= before
        elif what == "accepted":
            sizing.accepted(connected)
        elif sizing.look(now, connected, done):
            assert sizing.size > before
        assert 1 <= sizing.size <= cap
