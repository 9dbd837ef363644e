"""When a pass over a watched source begins, and what it lists."""

from __future__ import annotations

import math

import pytest

from actorsync.planning.watching.agenda import LONGEST_DELAY, MOST_DIRECTORIES, Agenda, Left, Turn

SETTLE, SETTLE_MAX, HOUR = 0.2, 2.0, 3_600.0


def begun(now: float = 0.0) -> Agenda:
    """Return an agenda whose first pass has ended well."""
    agenda = Agenda(SETTLE, SETTLE_MAX, HOUR, lambda: 0.5)
    agenda.end(agenda.begin(now), Left(), now)
    return agenda


def test_the_first_pass_covers_everything_and_begins_at_once() -> None:
    agenda = Agenda(SETTLE, SETTLE_MAX, HOUR)
    assert agenda.due() == -math.inf
    assert agenda.begin(5.0) == Turn("start")


def test_a_hint_is_listed_after_a_rest() -> None:
    agenda = begun()
    agenda.hint({"a"}, 10.0)
    agenda.hint({"b"}, 10.1)
    assert agenda.due() == pytest.approx(10.3)
    assert agenda.begin(10.3) == Turn("changes", frozenset({"a", "b"}))
    assert agenda.due() == HOUR


def test_a_source_that_never_rests_is_listed_after_the_limit() -> None:
    agenda = begun()
    for tenth in range(100):
        agenda.hint({"log"}, 10.0 + tenth / 10)
    assert agenda.due() == pytest.approx(12.0)


def test_a_hint_during_a_pass_is_for_the_next_one() -> None:
    agenda = begun()
    agenda.hint({"a"}, 10.0)
    turn = agenda.begin(11.0)
    agenda.hint({"a"}, 11.5)
    agenda.end(turn, Left(), 13.0)
    assert agenda.due() == pytest.approx(11.7)
    assert agenda.begin(13.0) == Turn("changes", frozenset({"a"}))


def test_lost_hints_make_the_next_pass_a_full_one() -> None:
    agenda = begun()
    agenda.hint({"a"}, 10.0)
    agenda.lose("the queue has overflowed", 10.1)
    agenda.hint({"b"}, 10.2)
    assert agenda.due() == pytest.approx(10.4)
    assert agenda.begin(10.4) == Turn("the queue has overflowed")
    assert agenda.due() == pytest.approx(10.4 + HOUR)


def test_too_many_directories_make_the_next_pass_a_full_one() -> None:
    agenda = begun()
    agenda.hint([f"d{number}" for number in range(MOST_DIRECTORIES + 1)], 10.0)
    assert agenda.begin(11.0).within is None


def test_too_many_directories_given_back_make_the_next_pass_a_full_one_in_time() -> None:
    agenda = begun()
    agenda.hint([f"d{number}" for number in range(MOST_DIRECTORIES)], 10.0)
    turn = agenda.begin(11.0)
    agenda.hint({"another"}, 11.0)
    agenda.begin(12.0)
    agenda.hint({"more"}, 12.5)
    agenda.end(turn, Left(is_unreachable=True), 13.0)
    assert agenda.due() == pytest.approx(14.0)
    assert agenda.begin(14.0).within is None


@pytest.mark.parametrize(("spread", "period"), [(0.0, 0.75), (0.5, 1.0), (1.0, 1.25)])
def test_full_passes_are_spread_by_a_quarter(spread: float, period: float) -> None:
    agenda = Agenda(SETTLE, SETTLE_MAX, HOUR, lambda: spread)
    agenda.begin(100.0)
    assert agenda.due() == pytest.approx(100.0 + period * HOUR)
    assert agenda.begin(agenda.due()) == Turn("reconcile")


def test_a_rescan_begins_at_once() -> None:
    agenda = begun()
    agenda.rescan(10.0)
    assert agenda.due() == 10.0
    assert agenda.begin(10.0) == Turn("rescan")


def test_an_unreachable_target_gets_everything_back_after_growing_delays() -> None:
    agenda = begun()
    agenda.hint({"a"}, 10.0)
    now, delays = 10.2, []
    for _ in range(9):
        turn = agenda.begin(now)
        assert turn.within == frozenset({"a"})
        agenda.end(turn, Left(is_unreachable=True), now)
        delays.append(agenda.due() - now)
        now = agenda.due()
    assert delays == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60])
    agenda.hint({"b"}, now)
    assert agenda.due() == pytest.approx(now + SETTLE)  # as the delay is over
    assert agenda.begin(now + SETTLE).within == frozenset({"a", "b"})


def test_a_full_pass_follows_when_a_partial_one_was_cut_short() -> None:
    agenda = begun()
    agenda.hint({""}, 10.0)
    agenda.end(agenda.begin(10.2), Left(is_unreachable=True, is_cut_short=True), 11.0)
    agenda.end(agenda.begin(12.0), Left(is_unreachable=True), 13.0)
    again = agenda.begin(15.0)
    assert again.within == frozenset({""})  # the server may be away for hours: not everything is listed each time
    agenda.end(again, Left(), 16.0)
    assert agenda.due() <= 16.0
    full = agenda.begin(16.0)
    assert full == Turn("a pass was cut short")
    agenda.end(full, Left(), 17.0)
    assert agenda.due() == pytest.approx(16.0 + HOUR)


def test_a_full_pass_that_could_not_do_its_work_is_repeated_as_a_full_one() -> None:
    agenda = Agenda(SETTLE, SETTLE_MAX, HOUR)
    turn = agenda.begin(0.0)
    agenda.hint({"a"}, 0.5)
    agenda.end(turn, Left(is_unreachable=True), 1.0)
    assert agenda.due() == pytest.approx(2.0)
    assert agenda.begin(2.0) == Turn("start")


def test_what_failed_is_listed_again_after_growing_delays_and_keeps_nothing_else_waiting() -> None:
    agenda = begun()
    agenda.hint({"bad"}, 0.0)
    now, delays = 1.0, []
    for _ in range(9):
        turn = agenda.begin(now)
        assert turn.within == frozenset({"bad"})
        agenda.end(turn, Left({"bad"}), now)
        delays.append(agenda.due() - now)
        now = agenda.due()
    assert delays[-1] == LONGEST_DELAY
    now -= 30
    agenda.hint({"good"}, now)
    assert agenda.due() == pytest.approx(now + SETTLE)
    turn = agenda.begin(now + SETTLE)
    assert turn == Turn("changes", frozenset({"good"}))
    agenda.end(turn, Left(), now + 1)
    assert agenda.due() == pytest.approx(now + 30)
    assert agenda.begin(now + 30) == Turn("again", frozenset({"bad"}))


def test_a_success_lets_the_next_delay_begin_small() -> None:
    agenda = begun()
    for _ in range(4):
        agenda.hint({"a"}, 0.0)
        agenda.end(agenda.begin(1.0), Left({"a"}), 1.0)
    agenda.hint({"a"}, 20.0)
    agenda.end(agenda.begin(21.0), Left(), 21.0)
    agenda.hint({"a"}, 30.0)
    agenda.end(agenda.begin(31.0), Left({"a"}), 31.0)
    assert agenda.due() == pytest.approx(32.0)


def test_a_delayed_removal_is_looked_at_when_it_is_due() -> None:
    agenda = begun()
    agenda.hint({"a"}, 10.0)
    agenda.end(agenda.begin(10.2), Left(delayed={"a": 15.2}), 10.4)
    assert agenda.due() == pytest.approx(15.2)
    agenda.hint({"b"}, 12.0)
    agenda.end(agenda.begin(12.2), Left(), 12.3)
    assert agenda.begin(15.2) == Turn("again", frozenset({"a"}))


def test_a_removal_that_is_due_after_the_next_full_pass_is_left_to_that() -> None:
    agenda = begun()
    agenda.hint({"a"}, 10.0)
    agenda.end(agenda.begin(10.2), Left(delayed={"a": 30 * 24 * HOUR}), 10.4)
    assert agenda.begin(agenda.due()) == Turn("reconcile")


def test_very_many_directories_to_look_at_again_become_a_full_pass() -> None:
    agenda = begun()
    agenda.hint({"a"}, 10.0)
    delayed = {f"d{number}": 100.0 + number / 10 for number in range(MOST_DIRECTORIES + 1)}
    agenda.end(agenda.begin(10.2), Left(delayed=delayed), 10.4)
    assert agenda.due() == pytest.approx(100.0)
    assert agenda.begin(100.0) == Turn("reconcile")


def test_a_path_to_retry_is_listed_at_once() -> None:
    agenda = begun()
    agenda.look_again({"a"}, 10.0)
    assert agenda.due() == 10.0
    assert agenda.begin(10.0) == Turn("again", frozenset({"a"}))


def test_the_oldest_hint_that_is_not_live_is_known() -> None:
    agenda = begun()
    assert agenda.behind_since is None
    agenda.hint({"a"}, 10.0)
    agenda.hint({"a"}, 11.0)
    turn = agenda.begin(12.0)
    agenda.hint({"b"}, 13.0)
    assert agenda.behind_since == 10.0
    agenda.end(turn, Left(is_unreachable=True), 14.0)
    assert agenda.behind_since == 10.0
    agenda.end(agenda.begin(16.0), Left(), 17.0)
    assert agenda.behind_since is None
