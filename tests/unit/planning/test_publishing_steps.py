"""What is still to be done to publish a file, and to take that back."""

from __future__ import annotations

import pytest

from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind
from actorsync.planning.publishing.steps import BackStep, Seen, Step, is_alike, step_back, step_to_publish

SECOND_NS = 10**9
NEW, OLD = Entry("f", Kind.FILE, 3, 100 * SECOND_NS), Entry("f", Kind.FILE, 5, 50 * SECOND_NS)
DIRECTORY = Entry("f", Kind.DIRECTORY)


@pytest.mark.parametrize(
    ("seen", "step"),
    [
        (Seen(NEW, None, None), Step.RENAME),
        (Seen(NEW, OLD, None), Step.SET_ASIDE),
        (Seen(NEW, None, OLD), Step.RENAME),
        (Seen(NEW, OLD, OLD, is_linked=True), Step.RENAME),
        (Seen(None, NEW, OLD, is_new=True), Step.NONE),
        (Seen(NEW, OLD, OLD), None),
        (Seen(NEW, DIRECTORY, None), None),
        (Seen(None, OLD, None), None),
        (Seen(None, None, OLD), None),
        (Seen(OLD, None, None), None),
    ],
)
def test_publication_continues_where_it_was_broken_off(seen: Seen, step: Step | None) -> None:
    if step is None:
        with pytest.raises(OperationRefused):
            step_to_publish(seen, 3, sets_aside=True)
    else:
        assert step_to_publish(seen, 3, sets_aside=True) is step


def test_old_file_is_replaced_when_it_is_not_to_be_kept() -> None:
    assert step_to_publish(Seen(NEW, OLD, None), 3, sets_aside=False) is Step.RENAME


@pytest.mark.parametrize(
    ("seen", "step"),
    [
        (Seen(None, NEW, OLD, is_new=True), BackStep.TAKE_BACK),
        (Seen(None, NEW, None, is_new=True), BackStep.TAKE_BACK),
        (Seen(NEW, None, OLD), BackStep.RESTORE),
        (Seen(None, None, OLD), BackStep.RESTORE),
        (Seen(NEW, NEW, OLD, is_new=True), BackStep.RESTORE),
        (Seen(NEW, OLD, OLD, is_linked=True), BackStep.DROP),
        (Seen(NEW, OLD, OLD), BackStep.DROP),
        (Seen(NEW, OLD, None), BackStep.NONE),
        (Seen(NEW, None, None), BackStep.NONE),
        (Seen(None, OLD, None), BackStep.NONE),
        (Seen(None, Entry("f", Kind.FILE, 9), OLD), None),
        (Seen(NEW, Entry("f", Kind.FILE, 9), OLD), None),
        (Seen(None, NEW, DIRECTORY, is_new=True), None),
    ],
)
def test_taking_back_continues_where_it_was_broken_off(seen: Seen, step: BackStep | None) -> None:
    if step is None:
        with pytest.raises(OperationRefused):
            step_back(seen, 3)
    else:
        assert step_back(seen, 3) is step


def test_time_counts_as_precisely_as_the_coarsest_file_system_keeps_it() -> None:
    assert is_alike(NEW, 3, 101 * SECOND_NS)
    assert is_alike(NEW, 3, None)
    assert not is_alike(NEW, 3, 103 * SECOND_NS)
    assert not is_alike(NEW, 4, 100 * SECOND_NS)
    assert not is_alike(DIRECTORY, 0, None)
    assert not is_alike(None, 0, None)
