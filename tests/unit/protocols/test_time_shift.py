"""The times of a server that all move by the same amount: told from files that were changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsync.protocols.ftp.time_shift import TimeShift

SECOND = 10**9
HOUR = 3_600 * SECOND


def shift_of(*differences: int) -> int:
    shift = TimeShift()
    for number, difference in enumerate(differences):
        recorded = 1_700_000_000 * SECOND + number * 1_234 * SECOND
        shift.note(recorded, recorded + difference)
    return shift.ns


@pytest.mark.parametrize("difference", [HOUR, -HOUR, HOUR // 2, HOUR // 4 * 23, 26 * HOUR])
def test_times_that_all_move_by_a_zone_are_a_shift(difference: int) -> None:
    assert shift_of(*[difference] * 3) == difference
    assert shift_of(*[difference] * 9, 17 * SECOND) == difference


@pytest.mark.parametrize(
    "differences",
    [
        [],
        [HOUR],  # a single file was changed
        [HOUR] * 2,
        [0] * 40,
        [HOUR] * 3 + [0],
        [HOUR] * 8 + [0] * 2,
        [HOUR, 2 * HOUR, 3 * HOUR],
        [HOUR + SECOND] * 40,
        [27 * HOUR] * 40,
    ],
)
def test_other_differences_are_no_shift(differences: list[int]) -> None:
    assert shift_of(*differences) == 0


@given(st.lists(st.sampled_from([0, HOUR, -HOUR, SECOND, HOUR // 4, 30 * HOUR]), max_size=40))
def test_shift_is_the_difference_of_nine_files_of_ten(differences: list[int]) -> None:
    shift = shift_of(*differences)
    assert shift == 0 or differences.count(shift) * 10 >= len(differences) * 9
    assert shift == 0 or differences.count(shift) >= 3


def test_file_without_a_time_says_nothing() -> None:
    shift = TimeShift()
    for _ in range(5):
        shift.note(None, HOUR)
        shift.note(HOUR, None)
    assert (shift.ns, shift.warning, shift.corrected(None)) == (0, "", None)


def test_warning_names_the_shift() -> None:
    shift = TimeShift()
    for _ in range(3):
        shift.note(HOUR, HOUR // 2)
    assert "moved by -0.5 h" in shift.warning
    assert shift.corrected(HOUR) == HOUR + HOUR // 2
