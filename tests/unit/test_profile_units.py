"""Durations, rates and removal limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsync.profile import (
    MaxDelete,
    format_duration,
    parse_duration,
    parse_rate,
)

durations = st.floats(0, 36_500 * 86_400, allow_nan=False)


class TestUnits:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("30s", 30), ("5m", 300), ("1h30m", 5400), ("0.5s", 0.5), ("1d2h3m4.5s", 93784.5), ("0s", 0), ("1.5h", 5400)],
    )
    def test_durations(self, text: str, seconds: float) -> None:
        assert parse_duration(text) == seconds

    @pytest.mark.parametrize(
        "text", ["", "5", "s", "1m1h", "1s1s", "-1s", "1 s", "1S", "1e3s", ".5s", "1.s", "٣s", "1s\n"]
    )
    def test_invalid_duration_is_an_error(self, text: str) -> None:
        with pytest.raises(ValueError, match="is not a duration"):
            parse_duration(text)

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0, "0s"),
            (5400, "1h30m"),
            (0.5, "0.5s"),
            (90.25, "1m30.25s"),
            (86400, "1d"),
            (100, "1m40s"),
            (1e-7, "0.0000001s"),
        ],
    )
    def test_formatted(self, seconds: float, text: str) -> None:
        assert format_duration(seconds) == text

    @given(durations)
    def test_a_formatted_duration_reads_back_the_same(self, seconds: float) -> None:
        assert parse_duration(format_duration(seconds)) == seconds

    @pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan")])
    def test_format_duration_rejects_invalid_seconds(self, seconds: float) -> None:
        with pytest.raises(ValueError, match="cannot be written as a duration"):
            format_duration(seconds)

    @given(st.integers(0, 100), st.integers(0, 10**12))
    def test_percentage_is_rounded_down(self, percent: int, total: int) -> None:
        share = MaxDelete.parse(f"{percent}%")
        assert share.limit(total) <= total * percent / 100 < share.limit(total) + 1
        assert share.is_unlimited is (percent == 100)
        assert MaxDelete.parse(str(share)) == share

    @given(st.integers(0), st.integers(0))
    def test_count_is_the_limit(self, count: int, total: int) -> None:
        assert MaxDelete.parse(count).limit(total) == count
        assert not MaxDelete.parse(count).is_unlimited


@pytest.mark.parametrize(
    ("text", "rate"),
    [("512K", 524_288), ("2M", 2_097_152), ("1.5M", 1_572_864), ("1G", 1 << 30), ("20000B", 20_000), ("1k", 1024)],
)
def test_rates(text: str, rate: float) -> None:
    assert parse_rate(text) == rate
    assert parse_rate("off") is None
