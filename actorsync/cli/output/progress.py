"""The progress of a run in words: what is done, how fast, and how long the rest takes."""

from __future__ import annotations

import math

from actorsync.actors.statistics import Statistics
from actorsync.model.text import duration_text, size_text

__all__ = ["progress_parts", "progress_text"]


def progress_text(statistics: Statistics, rate: float | None, *, is_stopping: bool = False) -> str:
    """Return the progress of a run as one line; ``rate`` is in bytes per second."""
    counts, speed = progress_parts(statistics, rate, is_stopping=is_stopping)
    return ", ".join([*counts, *speed])


def progress_parts(
    statistics: Statistics, rate: float | None, *, is_stopping: bool = False
) -> tuple[list[str], list[str]]:
    """Return the parts of `progress_text`: what is done, and how fast.

    There is no time left to tell while more may be planned, in a run that stops before it has done all, and when no
    bytes are left: empty files and removals have no rate.
    """
    known = "" if statistics.is_total_known else "+"
    files = f"{statistics.files_done} of {statistics.files_planned}{known} files"
    sizes = f"{size_text(statistics.bytes_sent)} of {size_text(statistics.bytes_expected)}{known}"
    counts = [files, sizes]
    if statistics.comparisons_planned:
        counts.append(f"{statistics.comparisons_done} of {statistics.comparisons_planned}{known} compared")
    return counts, _speed(statistics, rate, has_end=statistics.is_total_known and not is_stopping)


def _speed(statistics: Statistics, rate: float | None, *, has_end: bool) -> list[str]:
    if not rate:
        return []
    limit = None if statistics.bandwidth is None else statistics.bandwidth.limit
    parts = [f"{size_text(rate)}/s" + (f" (limit {size_text(limit)}/s)" if limit is not None else "")]
    if has_end and (left := statistics.bytes_left):
        parts.append(f"{duration_text(math.ceil(left / rate)).replace('.0 s', ' s')} left")
    return parts
