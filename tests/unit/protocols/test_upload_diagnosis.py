"""The diagnosis of refused uploads, without a server: every row of the decision, and its message."""

from __future__ import annotations

import os

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsync.errors import TargetFull
from actorsync.protocols.upload_diagnosis import Attempt, Finding, Hint, find, hint_of, judge

AT_ONCE = Attempt(60_000, "no", 553, is_begun=False)
BEGUN = Attempt(60_000, "no more", 451, is_begun=True, stored=5_000, may_pass=True)
SHORT = Attempt(60_000, "fine", 226, is_begun=True, is_accepted=True, stored=5_000)

UNSEEN = Attempt(60_000, "fine", 226, is_begun=True, is_accepted=True)

TAKEN = Attempt(16_384, "fine", 226, is_begun=True, is_accepted=True, stored=16_384)
NOT_OPENED = Attempt(16_384, "no", 553, is_begun=False)
NOTHING_KEPT = Attempt(16_384, "no more", 451, is_begun=True, stored=0)
SOME_KEPT = attrs.evolve(NOTHING_KEPT, stored=4_096)


def hinted(attempt: Attempt, hint: Hint) -> Attempt:
    return attrs.evolve(attempt, hint=hint)


@pytest.mark.parametrize(
    ("refused", "trial", "expected"),
    [
        (AT_ONCE, TAKEN, Finding.NAME),
        (hinted(AT_ONCE, "denied"), TAKEN, Finding.NAME),
        (hinted(AT_ONCE, "no room"), TAKEN, Finding.THIS_FILE),
        (hinted(AT_ONCE, "cut off"), TAKEN, Finding.THIS_FILE),
        (BEGUN, TAKEN, Finding.THIS_FILE),
        (SHORT, TAKEN, Finding.THIS_FILE),
        (AT_ONCE, NOT_OPENED, Finding.CLOSED),
        (hinted(AT_ONCE, "no room"), NOT_OPENED, Finding.CLOSED),
        (hinted(AT_ONCE, "no room"), hinted(NOT_OPENED, "no room"), Finding.FULL),
        (hinted(AT_ONCE, "cut off"), hinted(NOT_OPENED, "cut off"), Finding.CUT),
        (BEGUN, NOT_OPENED, Finding.FULL),
        (BEGUN, hinted(NOT_OPENED, "denied"), Finding.CLOSED),
        (BEGUN, NOTHING_KEPT, Finding.FULL),
        (SHORT, attrs.evolve(NOTHING_KEPT, is_accepted=True), Finding.FULL),
        (BEGUN, SOME_KEPT, Finding.FULL),
        (BEGUN, hinted(SOME_KEPT, "cut off"), Finding.CUT),
        (BEGUN, attrs.evolve(SOME_KEPT, code=426), Finding.CUT),
        (SHORT, attrs.evolve(SOME_KEPT, is_accepted=True), Finding.CUT),
        (AT_ONCE, NOTHING_KEPT, Finding.FULL),
        (UNSEEN, attrs.evolve(UNSEEN, size=1), Finding.UNSEEN),
        (UNSEEN, NOTHING_KEPT, Finding.FULL),
        (BEGUN, UNSEEN, Finding.THIS_FILE),
        (AT_ONCE, UNSEEN, Finding.NAME),
    ],
)
def test_m031_m032_m039_m082_refusal_and_probe_give_the_finding(
    refused: Attempt, trial: Attempt, expected: Finding
) -> None:
    assert find(refused, trial) is expected


def test_m031_several_closed_directories_mean_full_target() -> None:
    assert find(AT_ONCE, NOT_OPENED, nor_others=True) is Finding.FULL
    assert find(AT_ONCE, TAKEN, nor_others=True) is Finding.NAME


attempts = st.builds(
    Attempt,
    size=st.integers(0, 1 << 40),
    said=st.text(max_size=5),
    code=st.sampled_from([0, 3, 4, 226, 425, 426, 450, 451, 452, 550, 552, 553]),
    is_begun=st.booleans(),
    is_accepted=st.booleans(),
    stored=st.none() | st.integers(0, 1 << 40),
    may_pass=st.booleans(),
    hint=st.sampled_from(["", "no room", "cut off", "denied"]),
)


@given(refused=attempts, trial=attempts, others=st.booleans(), again=st.booleans(), dot=st.booleans())
def test_m031_target_is_never_full_when_the_probe_is_stored(
    refused: Attempt, trial: Attempt, others: bool, again: bool, dot: bool
) -> None:
    finding = find(refused, trial, nor_others=others)
    verdict = judge(refused, finding, again=again, only_dot=dot)
    assert isinstance(verdict, TargetFull) is (finding is Finding.FULL)
    if trial.is_whole:
        assert finding in {Finding.NAME, Finding.THIS_FILE}
    if finding is Finding.FULL:
        assert not verdict.retry


@given(refused=attempts, again=st.booleans())
def test_refusal_without_a_finding_repeats_the_server(refused: Attempt, again: bool) -> None:
    verdict = judge(refused, None, again=again)
    assert not isinstance(verdict, TargetFull)
    assert refused.is_accepted or str(verdict) == f"the server refused the file: {refused.said}"


def test_m032_second_stop_at_the_same_byte_is_not_retried() -> None:
    assert judge(BEGUN, Finding.THIS_FILE).retry
    again = judge(BEGUN, Finding.THIS_FILE, again=True)
    assert not again.retry
    assert str(again).startswith("the server stores only 5000 of 60000 bytes, and accepts small files (no more)")
    assert "no room for 60000 bytes, but for small files" in str(judge(hinted(BEGUN, "no room"), Finding.THIS_FILE))


def test_m082_rejected_leading_dot_is_reported_as_the_server_s_setting() -> None:
    assert "begin with a dot" in str(judge(AT_ONCE, Finding.NAME, only_dot=True))
    assert "rename or exclude it" in str(judge(AT_ONCE, Finding.NAME))


@pytest.mark.parametrize(
    ("error", "hint"),
    [(28, "no room"), (122, "no room"), (13, "denied"), (1, "denied"), (30, "denied"), (2, ""), (5, "")],
)
def test_m031_m039_system_error_in_a_reply_gives_the_hint(error: int, hint: Hint) -> None:
    assert hint_of(f"Can't open that file: {os.strerror(error)}.") == hint
