"""The measurements as a table."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.cases import Outcome, Round
    from bench.limits import Limit
    from bench.visible import Seen

__all__ = ["BURST", "OURS", "Row", "figure", "ratio", "render", "render_deploys", "summarise", "table"]

OURS: Final = "actorsync"
BURST: Final = "burst"
"""actorsync with ``[publish] mode = "burst"``."""
HEADINGS: Final = (
    *("server", "peer", "first s", "again s", "limit s", "run/limit", "cpu s", "peak MiB", "target"),
    *("first: actorsync/peer", "again: actorsync/peer"),
)
DEPLOY_HEADINGS: Final = (
    *("server", "peer", "whole run s", "visible s", "visible: burst/peer"),
    *("page before assets s", "files half written", "files away", "target"),
)


def _median(figures: Iterable[float]) -> float | None:
    values = list(figures)
    return statistics.median(values) if values else None


@attrs.frozen
class Row:
    """All rounds of one peer with one server. After a failed round, there are no figures to compare."""

    server: str
    peer: str
    firsts: list[float]
    """Seconds of the first run. This list and the next three have a figure for each round."""
    agains: list[float]
    cpus: list[float]
    peaks: list[float]
    seen: list[Seen]
    """What a visitor saw in each round; empty where the tree is no site."""
    target: str
    failure: str | None

    @property
    def first(self) -> float | None:
        return _median(self.firsts)

    @property
    def again(self) -> float | None:
        return _median(self.agains)

    @property
    def cpu(self) -> float | None:
        return _median(self.cpus)

    @property
    def peak_mib(self) -> float | None:
        return _median(self.peaks)

    @property
    def windows(self) -> list[float]:
        """Seconds from the first visible change to the last; an empty list if a visitor did not see both."""
        found = [one.window for one in self.seen if one.window is not None]
        return found if len(found) == len(self.seen) else []

    @property
    def timed(self) -> list[float]:
        """Seconds of the run that the workload is about."""
        return self.firsts or self.agains

    @property
    def seconds(self) -> float | None:
        return _median(self.timed)


def summarise(rounds: Sequence[Round]) -> list[Row]:
    """Return one row for each server and peer, in the order in which they ran."""
    grouped: dict[tuple[str, str], list[Round]] = {}
    for one in rounds:
        grouped.setdefault((one.server, one.peer), []).append(one)
    rows = []
    for (server, peer), several in grouped.items():
        worst = max(several, key=lambda one: (bool(one.failure), one.other_times))
        good = [] if worst.failure else several
        timed = [one.timed for one in good if one.timed]
        rows.append(
            Row(
                server,
                peer,
                [one.first.seconds for one in good if one.first],
                [one.again.seconds for one in good if one.again],
                [run.cpu for run in timed],
                [run.peak_mib for run in timed],
                [one.seen for one in good if one.seen],
                worst.target,
                worst.failure,
            )
        )
    return rows


def figure(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Return the median of the ratios of the rounds: a slow machine affects both peers of a round alike."""
    if not ours or len(ours) != len(theirs):
        return None
    return _median(mine / other for mine, other in zip(ours, theirs, strict=True))


def table(lines: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table with aligned columns. The first line is the headings."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    ruled = [lines[0], ["-" * width for width in widths], *lines[1:]]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in ruled
    )


def _cells(row: Row, mine: Row | None, limit: Limit | None) -> list[str]:
    return [
        *(row.server, row.peer, figure(row.first), figure(row.again)),
        f"{limit.seconds:.3g} {limit.by}" if limit else "-",
        "-" if limit is None or row.seconds is None else f"{row.seconds / limit.seconds:.2f}",
        *(figure(row.cpu), figure(row.peak_mib, 0), row.target),
        figure(ratio(mine.firsts, row.firsts) if mine else None, 3),
        figure(ratio(mine.agains, row.agains) if mine else None, 3),
    ]


def render(outcomes: Sequence[Outcome]) -> str:
    """Format the table. A ratio below 1 means that actorsync was faster; both of its figures are from the same call."""
    lines, failures = [list(HEADINGS)], list[str]()
    for outcome in outcomes:
        rows = summarise(outcome.rounds)
        ours = next((row for row in rows if row.peer == OURS), None)
        lines += [_cells(row, ours if row.peer != OURS else None, outcome.limit) for row in rows]
        failures += [f"{row.peer} against {row.server} failed: {row.failure}" for row in rows if row.failure]
    return "\n".join([table(lines), *failures])


def _deploy_cells(row: Row, burst: Row | None) -> list[str]:
    compared = burst.windows if burst and all(row.windows) else []  # a window within one look has no length
    return [
        *(row.server, row.peer, figure(row.first), figure(_median(row.windows))),
        figure(ratio(compared, row.windows), 3),
        figure(_median([one.ahead for one in row.seen])),
        *(str(max(counts, default="-")) for counts in ([s.broken for s in row.seen], [s.away for s in row.seen])),
        row.target,
    ]


def render_deploys(outcomes: Iterable[Outcome]) -> str:
    """Format what visitors saw. Seconds are medians, numbers of files the most of all rounds.

    A ratio below 1 means that the site was mixed for a shorter time with a burst of actorsync's.
    """
    lines, failures = [list(DEPLOY_HEADINGS)], list[str]()
    for outcome in outcomes:
        rows = [row for row in summarise(outcome.rounds) if row.target != "-"]
        burst = next((row for row in rows if row.peer == BURST), None)
        lines += [_deploy_cells(row, burst if row.peer != BURST else None) for row in rows]
        failures += [f"{row.peer} against {row.server} failed: {row.failure}" for row in rows if row.failure]
    return "\n".join([table(lines), *failures])
