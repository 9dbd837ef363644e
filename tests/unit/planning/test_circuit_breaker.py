"""The circuit breaker, and how many log in at once: decisions without a clock."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from actorsync.planning.admission.circuit_breaker import Breaker, State
from actorsync.planning.admission.login_rate import GAP, PAUSE, WIDTH, Logins

MIB = 1 << 20


# A breaker.


def test_m031_breaker_opens_probes_after_doubling_waits_and_closes() -> None:
    breaker, now, waits = Breaker(first_wait=10.0, longest_wait=60.0), 0.0, []
    assert breaker.state(now) is State.CLOSED
    assert breaker.admits("a", now, 5)
    assert breaker.admits("b", now, 5), "closed, everything passes"
    assert breaker.failed("a", "the disk is full", now, 5), "and this is news"
    assert breaker.state(now) is State.OPEN
    for _ in range(5):
        began = now
        while not breaker.admits("c", now, 5):
            now += 1
        waits.append(now - began)
        assert breaker.state(now) is State.HALF_OPEN
        assert not breaker.admits("d", now, 5), "one at a time"
        assert not breaker.failed("c", "still full", now, 5)
    assert waits == [10, 20, 40, 60, 60]
    assert (breaker.failures, breaker.reason) == (6, "the disk is full"), "since the last success, and the first"
    assert breaker.admits("c", now + 60, 5)
    assert breaker.succeeded("c")
    assert (breaker.state(now), breaker.failures) == (State.CLOSED, 0)
    assert breaker.failed("a", "full again", now, 5)
    assert breaker.seconds_left(now) == 10.0, "the count began anew"


def test_m031_results_of_operations_begun_before_the_breaker_opened_are_ignored() -> None:
    breaker = Breaker(first_wait=10.0)
    assert all(breaker.admits(who, 0.0, 7) for who in "abc")
    assert breaker.failed("a", "full", 0.0, 7)
    assert not breaker.failed("b", "full", 1.0, 7)
    assert breaker.failures == 1
    assert breaker.seconds_left(1.0) == 9.0, "it does not wait any longer for that"
    assert not breaker.succeeded("c"), "it was sent when there still was room"
    assert breaker.state(1.0) is State.OPEN


def test_m031_smaller_operation_may_probe_at_once() -> None:
    """A file that is too big for the target is no reason not to send the others, in this run and in all to come."""
    breaker = Breaker(first_wait=10.0)
    assert breaker.failed("a", "full", 0.0, 10 * MIB)
    assert not breaker.admits("b", 0.0, 10 * MIB)
    assert breaker.admits("b", 0.0, 10 * MIB - 1)
    assert not breaker.admits("c", 0.0, 1), "one at a time"
    assert breaker.succeeded("b")
    assert breaker.admits("c", 0.0, 11 * MIB)


def test_m031_biggest_of_several_failures_sets_the_size() -> None:
    breaker = Breaker(first_wait=10.0)
    assert breaker.failed("small", "full", 0.0, 5)
    assert not breaker.failed("big", "full", 0.0, 10 * MIB)
    assert breaker.admits("c", 0.0, 5), "it was the big one that had taken its room"


@given(sizes=st.lists(st.integers(0, 1 << 40), min_size=1, max_size=300))
def test_m031_full_disk_is_probed_a_few_times_and_not_once_per_file(sizes: list[int]) -> None:
    breaker, tried = Breaker(first_wait=10.0), 0
    for size in sorted(sizes, reverse=True):
        if breaker.admits("x", 0.0, size):
            tried += 1
            breaker.failed("x", "full", 0.0, size)
    assert 1 <= tried <= 11


def test_probe_that_withdraws_is_replaced() -> None:
    breaker = Breaker(first_wait=10.0)
    breaker.failed("a", "full", 0.0, 100)
    assert breaker.admits("b", 0.0, 5)
    breaker.withdrew("a")
    assert not breaker.admits("c", 0.0, 5)
    breaker.withdrew("b")
    assert breaker.admits("c", 0.0, 5)


def test_m001_probe_without_a_wait_stays_the_probe() -> None:
    """A host that is down: one connection probes, with its back-off, and no other."""
    breaker = Breaker()
    assert breaker.admits(1, 0.0)
    assert breaker.admits(2, 0.0)
    breaker.trip()
    assert breaker.admits(1, 0.0)
    for moment in range(3):
        assert breaker.failed(1, "refused", float(moment)) is (moment == 0)
        assert not breaker.admits(2, float(moment))
        assert breaker.admits(1, float(moment))
    assert breaker.close()
    assert not breaker.close(), "no news"
    assert breaker.admits(2, 3.0)


def test_success_after_a_trip_without_failures_is_no_news() -> None:
    breaker = Breaker(is_open=True)
    assert breaker.state(0.0) is State.HALF_OPEN
    assert breaker.admits(1, 0.0)
    assert not breaker.admits(2, 0.0)
    assert not breaker.close()


# Logins.


def test_m015_logins_are_concurrent_until_one_is_rejected() -> None:
    logins = Logins()
    for number in range(WIDTH):
        assert logins.wait(0.0) == 0
        logins.began(number)
    assert logins.wait(0.0) is None
    logins.ended(3, 0.5, 1.0)
    assert logins.wait(0.5) == 0, "no gap, as long as no login was rejected"


def test_m015_login_rejected_beside_others_is_retried_alone() -> None:
    logins = Logins()
    for number in (1, 2, 3):
        logins.began(number)
    logins.ended(2, 1.0, 1.0)
    assert logins.is_too_early(2, 1.0, jitter=1.0)
    assert logins.wait(1.0) is None, "two are still under way"
    logins.ended(1, 1.1, 1.0)
    logins.ended(3, 1.1, 1.0)
    assert logins.wait(1.1) == 1.0 + PAUSE - 1.1
    logins.began(2)
    assert logins.wait(9.0) is None, "one at a time, from now on"
    logins.ended(2, 9.0, 1.0)
    assert not logins.is_too_early(2, 9.0, jitter=1.0), "it was alone: it is one too many"


def test_m015_login_joined_by_a_later_one_was_not_alone() -> None:
    logins = Logins()
    logins.began(1)
    logins.began(2)
    logins.ended(2, 1.0, 0.0)
    logins.ended(1, 1.0, 0.0)
    assert logins.is_too_early(1, 1.0, jitter=0.0)


def test_m015_single_logins_pause_with_jitter() -> None:
    logins = Logins(width=1)
    for jitter, gap in ((0.0, GAP / 2), (0.5, 0.75 * GAP), (1.0, GAP)):
        logins.began(1)
        logins.ended(1, 10.0 * gap, jitter)
        wait = logins.wait(10.0 * gap)
        assert wait is not None
        assert math.isclose(wait, gap)
