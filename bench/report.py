"""What was measured, as a table to read and as JSON to keep."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from bench.measure import Measurement

__all__ = ["TRIPS_PER_FILE", "Round", "render", "wire_limit", "write_results"]

TRIPS_PER_FILE: Final = 3
OURS: Final = "actorsync"
HEADINGS: Final = (
    *("server", "peer", "first s", "again s", "cpu s", "peak MiB", "target"),
    *("first: actorsync/peer", "again: actorsync/peer"),
)


@attrs.frozen
class Round:
    """One peer against one server, once: the first run, and the run after it with nothing to do."""

    server: str
    peer: str
    first: Measurement | None
    """None when the target was equal before."""
    again: Measurement | None
    """None when the first run failed, or when there was no run: the peer does not speak with such a server."""
    difference: str | None
    """The first difference between source and target after the last run."""
    other_times: int = 0
    """Files whose time is not the source's, of a target without a difference."""

    @property
    def target(self) -> str:
        """What became of the target, in a word or two."""
        if not (self.first or self.again):
            return "-"
        if self.failure:
            return "FAILED"
        return "equal but times" if self.other_times else "equal"

    @property
    def failure(self) -> str | None:
        ran = (self.first, self.again)
        return next((run.failure for run in ran if run and run.failure), None) or self.difference


@attrs.frozen
class Row:
    """All rounds of one peer against one server: medians. A failed round leaves no figures to compare."""

    server: str
    peer: str
    first: float | None
    again: float | None
    cpu: float | None
    peak_mib: float | None
    target: str
    failure: str | None


def _median(figures: Iterable[float]) -> float | None:
    values = list(figures)
    return statistics.median(values) if values else None


def summarise(rounds: Sequence[Round]) -> list[Row]:
    """One row for each server and peer, in the order they ran."""
    grouped: dict[tuple[str, str], list[Round]] = {}
    for one in rounds:
        grouped.setdefault((one.server, one.peer), []).append(one)
    rows = []
    for (server, peer), several in grouped.items():
        worst = max(several, key=lambda one: (bool(one.failure), one.other_times))
        good = [] if worst.failure else several
        longest = [run for one in good if (run := one.first or one.again)]
        rows.append(
            Row(
                server,
                peer,
                _median(one.first.seconds for one in good if one.first),
                _median(one.again.seconds for one in good if one.again),
                _median(run.cpu for run in longest),
                _median(run.peak_mib for run in longest),
                worst.target,
                worst.failure,
            )
        )
    return rows


def _figure(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _ratio(ours: float | None, theirs: float | None) -> str:
    return "-" if ours is None or not theirs else f"{ours / theirs:.3f}"


def render(rounds: Sequence[Round]) -> str:
    """The table. A ratio below 1 says that actorsync was faster; both figures of it are from this one call."""
    rows = summarise(rounds)
    ours = {row.server: row for row in rows if row.peer == OURS}
    lines = [list(HEADINGS)]
    for row in rows:
        mine = ours.get(row.server) if row.peer != OURS else None
        lines.append(
            [
                *(row.server, row.peer, _figure(row.first), _figure(row.again)),
                *(_figure(row.cpu), _figure(row.peak_mib, 0), row.target),
                _ratio(mine.first if mine else None, row.first),
                _ratio(mine.again if mine else None, row.again),
            ]
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    lines.insert(1, ["-" * width for width in widths])
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    text += [f"{row.peer} against {row.server} failed: {row.failure}" for row in rows if row.failure]
    return "\n".join(text)


def wire_limit(files: int, seconds: float, connections: int) -> float:
    """The least seconds that so many files take by plain FTP over a link with this round trip."""
    return files * TRIPS_PER_FILE * seconds / connections


def write_results(folder: Path, stamp: str, conditions: dict[str, object], rounds: Sequence[Round]) -> Path:
    """Keep every single figure of this call."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{stamp}.json"
    content = {"conditions": conditions, "rounds": [attrs.asdict(one) for one in rounds]}
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path
