"""The logins that several runs share at one account: never too many, and each run gets its own."""

from __future__ import annotations

import random

import pytest

from actorsync.planning.admission.ceiling import FIRST_PATIENCE, Ceiling, Share


def sharing(limit: int, runs: int) -> tuple[Ceiling, list[Share]]:
    ceiling = Ceiling(limit)
    shares = [Share(ceiling, object()) for _ in range(runs)]
    for share in shares:
        share.join()
    return ceiling, shares


def grab(share: Share, now: float = 0.0) -> int:
    """Log in as often as is allowed, and return how many logins there are then."""
    while share.wait(now) == 0:
        share.took(share.held)
        share.opened(share.held - 1, now)
        assert share.ceiling is not None
        assert share.ceiling.total <= max(share.ceiling.limit, 2)
    return share.held


def test_run_without_others_has_all_that_it_wants() -> None:
    share = Share()
    share.join()
    for number in range(100):
        assert share.wait(0.0) == 0
        share.took(number)
    assert not share.others_are_open
    share.leave()


def test_each_run_gets_one_whoever_comes_first() -> None:
    _, shares = sharing(4, 3)
    assert [grab(share) for share in shares] == [2, 1, 1]
    shares[1].leave()
    assert [grab(share) for share in shares] == [3, 0, 1]


def test_run_that_is_over_gives_everything_back() -> None:
    ceiling, (one, other) = sharing(4, 2)
    told: list[float] = []
    other.tell_changes(lambda: told.append(other.most(0.0)))
    assert (grab(one), grab(other)) == (3, 1)
    one.leave()
    assert told == [4]
    assert grab(other) == 4
    one.join()  # the next pass
    assert one.wait(0.0) > 0
    other.gave(0)
    assert grab(one) == 1
    assert ceiling.total == 4


def test_more_runs_than_logins_get_them_in_turn() -> None:
    _, shares = sharing(2, 4)
    assert [grab(share) for share in shares] == [1, 1, 0, 0]
    shares[1].leave()
    assert [grab(share) for share in shares] == [1, 0, 1, 0]
    shares[0].leave()
    assert [grab(share) for share in shares] == [0, 0, 1, 1]


def test_both_sides_of_a_run_get_their_seats_together() -> None:
    ceiling = Ceiling(2)
    runs = [(Share(ceiling, run), Share(ceiling, run)) for run in ("a", "b")]
    for sides in runs:
        for side in sides:
            side.join()
    (target, source), (later_target, later_source) = runs
    assert grab(later_source) == 0  # a run with one of two logins would wait for the other for ever
    assert (grab(source), grab(target)) == (1, 1)
    source.leave()
    target.leave()
    assert (grab(later_source), grab(later_target)) == (1, 1)


def test_one_login_is_enough_for_a_run_with_both_sides_and_a_limit_of_one() -> None:
    ceiling = Ceiling(1)
    sides = Share(ceiling, "a"), Share(ceiling, "a")
    for side in sides:
        side.join()
    assert [grab(side) for side in sides] == [1, 1]


def test_limit_that_the_server_has_shown_is_that_of_all() -> None:
    ceiling, (one, other) = sharing(8, 2)
    for number in range(3):
        one.took(number)
        one.opened(number, 0.0)
    one.refused(0.0)
    assert ceiling.learned == 3
    assert one.wait(1.0) == other.wait(1.0) == FIRST_PATIENCE - 1.0
    one.gave(0)
    assert grab(other, 1.0) == 1
    assert grab(one, 1.0) == 2
    assert one.wait(FIRST_PATIENCE) == 0  # tried again
    one.refused(FIRST_PATIENCE)
    assert one.wait(FIRST_PATIENCE) == 2 * FIRST_PATIENCE
    one.took("more")
    one.opened("more", 100.0)
    assert ceiling.learned == 4


@pytest.mark.parametrize("seed", range(200))
def test_nobody_starves_and_there_are_never_too_many(seed: int) -> None:
    rng = random.Random(seed)
    ceiling = Ceiling(rng.randrange(1, 6))
    allows = rng.randrange(1, ceiling.limit + 1)
    waiting, now, names = [*range(rng.randrange(2, 8))], 0.0, iter(range(10**6))
    done: list[int] = []
    shares = {run: Share(ceiling, run) for run in waiting}
    left = {run: rng.randrange(1, 30) for run in waiting}
    held: dict[int, list[int]] = {run: [] for run in waiting}
    for share in shares.values():
        if rng.random() < 0.7:
            share.join()
    for _ in range(20_000):
        if len(done) == len(shares):
            break
        now += 0.1
        run = rng.choice([it for it in shares if it not in done])
        share = shares[run]
        share.join()
        if share.wait(now) == 0:
            name = next(names)
            share.took(name)
            if ceiling.total > allows:
                share.gave(name)
                share.refused(now)
            else:
                share.opened(name, now)
                held[run].append(name)
        elif held[run] and rng.random() < 0.05:
            share.gave(held[run].pop())
        left[run] -= len(held[run])
        if left[run] <= 0:
            share.leave()
            done.append(run)
        assert ceiling.total <= allows
        assert ceiling.total <= ceiling.limit
    assert len(done) == len(shares)
    assert ceiling.total == 0
