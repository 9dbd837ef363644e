"""The report of a run, as a script uses it."""

from __future__ import annotations

import pytest

from actorsync import Report
from actorsync.errors import RunFailed


def test_report_of_a_run_in_sync_raises_nothing() -> None:
    Report(0, 0.0, 1.0, copied=3).raise_for_failures()


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (
            Report(1, 0.0, 1.0, failed=1, failures=(("a\t", "550 no"),)),
            "1 path failed: a\\x09: 550 no",
        ),
        (
            Report(1, 0.0, 1.0, failed=1004, failures=tuple((f"{n}", "no") for n in range(1000))),
            "1004 paths failed: 0: no; 1: no; 2: no; and 1001 more",
        ),
        (Report(1, 0.0, 1.0, failed=1, failures=(("", "closed"),)), "1 path failed: the root: closed"),
        (Report(3, 0.0, 1.0, drained=True), "the run was stopped"),
        (Report(4, 0.0, 1.0, refused="too many removals"), "too many removals"),
        (Report(5, 0.0, 1.0, failed=1, error="ftp://h/ could not be reached"), "ftp://h/ could not be reached"),
    ],
    ids=["one", "many", "root", "stopped", "refused", "error"],
)
def test_report_of_any_other_run_raises_its_reason(report: Report, text: str) -> None:
    with pytest.raises(RunFailed) as raised:
        report.raise_for_failures()
    assert (str(raised.value), raised.value.exit_code) == (text, report.exit_code)
