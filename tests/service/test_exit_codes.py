"""The exit code of several mirrors."""

from __future__ import annotations

import itertools

import pytest

from actorsync.service.exit_codes import worst


def test_order_of_exit_codes_is_that_of_the_documentation() -> None:
    order = [0, 9, 3, 1, 4, 5, 6, 8, 2, 7, 130]
    assert [worst([better, worse]) for better, worse in itertools.pairwise(order)] == order[1:]
    assert worst(reversed(order)) == 130


@pytest.mark.parametrize(("codes", "code"), [([], 0), ([0, 0], 0), ([7, 143], 143), ([5, 77], 77), ([130, 77], 130)])
def test_codes_that_the_table_lacks_are_fatal_and_none_is_success(codes: list[int], code: int) -> None:
    assert worst(codes) == code
