"""How many connections a run keeps, as decisions without a clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actorsync.planning.admission.ceiling import FIRST_PATIENCE, LONGEST_PATIENCE
from actorsync.planning.admission.pool_size import LEARNT_PATIENCE, Sizing


def test_fixed_size_begins_with_all_that_are_allowed() -> None:
    assert Sizing(8).size == 8
    assert Sizing(8, ceiling=3).size == 3
    assert Sizing(2, ceiling=3).size == 2


def test_m014_rejection_shrinks_the_pool_and_growth_is_tried_at_growing_intervals() -> None:
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


def test_m014_pool_grows_when_the_server_accepts_more() -> None:
    sizing = Sizing(8, ceiling=2)
    now = 0.0
    for connected in range(2, 8):
        while not sizing.look(now, connected, 0.0):
            now += 1
        sizing.accepted(connected + 1)
    assert (sizing.size, sizing.ceiling) == (8, 8)
    assert now <= LEARNT_PATIENCE + 6 * FIRST_PATIENCE
    assert not sizing.look(now + 10_000, 8, 0.0), "there is nothing above the cap"


def test_pool_never_shrinks_below_one() -> None:
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


def test_automatic_size_grows_while_the_rate_grows() -> None:
    assert grown({size: float(size) for size in range(1, 17)}) == 16
    assert grown({size: min(float(size), 6.0) for size in range(1, 17)}) in range(6, 10)
    assert grown(dict.fromkeys(range(1, 17), 1.0)) == 6, "one step is needed to see that it does not help"
    assert grown({size: float(size) for size in range(1, 17)}, cap=5) == 5


def test_automatic_size_begins_within_the_ceiling() -> None:
    assert Sizing(16, ceiling=1, is_automatic=True).size == 1


@given(
    cap=st.integers(1, 20),
    is_automatic=st.booleans(),
    story=st.lists(st.tuples(st.sampled_from(["refused", "accepted", "look"]), st.integers(1, 25), st.floats(0, 50))),
)
def test_size_stays_in_bounds_after_any_events(
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


def test_m014_rejection_during_growth_keeps_the_connected_size() -> None:
    """A refusal that comes while few are in is followed by others who are let in: they stay, and it goes on growing."""
    sizing = Sizing(8)
    sizing.refused(1, 0.0)
    for connected in (2, 3, 4):
        sizing.accepted(connected)
    assert (sizing.size, sizing.ceiling) == (4, 4)
    now = 0.0
    while sizing.size < 8 and now < 1_000:
        now += 1
        if sizing.look(now, sizing.size, 0.0):
            sizing.accepted(sizing.size)
    assert now <= 4 * FIRST_PATIENCE


def test_m129_local_limit_does_not_change_the_ceiling() -> None:
    sizing = Sizing(8)
    sizing.refused(5, 0.0, by_server=False)
    assert (sizing.size, sizing.ceiling) == (5, None)
    assert not sizing.look(FIRST_PATIENCE - 1, 5, 0.0)
    assert sizing.look(FIRST_PATIENCE, 5, 0.0)
    sizing.accepted(6)
    assert (sizing.size, sizing.ceiling) == (6, None)
    sizing = Sizing(8, ceiling=6)
    sizing.refused(3, 0.0, by_server=False)
    assert (sizing.size, sizing.ceiling) == (3, 6)


def test_m014_ceiling_of_an_earlier_run_is_kept_for_a_minute() -> None:
    sizing = Sizing(8, ceiling=3)
    moments = [now for now in range(200) if sizing.look(float(now), sizing.size, 0.0)]
    assert moments[0] == LEARNT_PATIENCE == 60


def test_automatic_size_after_a_rejection_may_still_grow() -> None:
    """It was the server that ended the growing; a minute later there may be room."""
    sizing, done, now, limit = Sizing(16, is_automatic=True), 0.0, 0.0, 5
    while now < 500:
        now += 1
        done += min(sizing.size, limit) * (1 - now / 10_000)  # nothing is ever quite as quick as before
        if sizing.look(now, min(sizing.size, limit), done) and sizing.size > limit:
            sizing.refused(limit, now)
        limit = 5 if now < 100 else 16
        sizing.accepted(min(sizing.size, limit))
    assert (sizing.size, sizing.ceiling) == (16, 16)


def test_automatic_size_at_the_ceiling_grows_only_if_that_helps() -> None:
    sizing, now, tried = Sizing(16, ceiling=6, is_automatic=True), 0.0, 0
    while now < 1_000:
        now += 1
        if sizing.look(now, sizing.size, 4.0 * now) and sizing.size > 6:
            tried += 1
    assert (sizing.size, tried) == (6, 0), "four are as quick as six"
