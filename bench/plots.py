"""The outcomes of the suites as SVG: bars of ratios, lines of seconds over connections, and deploys over time.

The SVG is written here: three charts need less code than the settings of a plotting library. Text stays text, and its
colours follow the page, light or dark.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

import attrs

from bench.report import summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.cases import Case, Outcome
    from bench.suites import Claims, Deploys, Matrix

__all__ = ["Bar", "Line", "Span", "bars", "draw", "draw_deploys", "lines", "spans"]

WIDTH: Final = 760
STYLE: Final = """\
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.rule { stroke: #8c959f; stroke-opacity: .4 }
.most { stroke: #1f2328; stroke-width: 2 }
.small { font-size: 11px }
.end { text-anchor: end }
.middle { text-anchor: middle }
.actorsync { fill: #0969da; stroke: #0969da }
.lftp { fill: #bc4c00; stroke: #bc4c00 }
.rclone { fill: #8250df; stroke: #8250df }
.rsync { fill: #1a7f37; stroke: #1a7f37 }
.burst { fill: #0550ae; stroke: #0550ae }
.ftp-deploy { fill: #bf3989; stroke: #bf3989 }
.ftp-deployment { fill: #9a6700; stroke: #9a6700 }
.whole { fill-opacity: .2; stroke: none }
.limit { fill: #8c959f; stroke: #8c959f; stroke-dasharray: 5 4 }
polyline { fill: none !important; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .most { stroke: #e6edf3 } }"""


@attrs.frozen
class Bar:
    label: str
    peer: str
    value: float
    at_most: float


@attrs.frozen
class Span:
    """A run of ``whole`` seconds, in which the site was mixed from ``first`` to ``last``."""

    label: str
    peer: str
    whole: float
    first: float
    last: float


@attrs.frozen
class Line:
    name: str
    """The name of a peer, or ``limit``."""
    points: list[tuple[float, float]]


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img">'
    return "\n".join([head, f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>", *parts, "</svg>\n"])


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(text)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float, kind: str = "rule") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def bars(title: str, data: Sequence[Bar]) -> str:
    """Draw one bar for each ratio, from 0. A stroke across the bar is the most that is claimed."""
    left, step, top = 360, 22, 60
    most = max([1.0, *(max(bar.value, bar.at_most) for bar in data)])
    bottom = top + step * len(data)

    def across(value: float) -> float:
        return left + (WIDTH - left - 60) * value / most

    parts = [
        _text(10, 22, title),
        _text(10, 42, "ratio: actorsync's seconds to the peer's; stroke: the claimed maximum", "small"),
    ]
    for value in range(0, math.floor(most) + 1, math.ceil(most / 4)):
        parts.append(_rule(across(value), top - 6, across(value), bottom))
        parts.append(_text(across(value), top - 10, str(value), "small middle"))
    for number, bar in enumerate(data):
        y = top + step * number
        parts += [
            _text(left - 8, y + 13, f"{bar.label}: {bar.peer}", "small end"),
            f'<rect x="{left}" y="{y + 3}" width="{across(bar.value) - left:.1f}" height="14" class="{bar.peer}"/>',
            _rule(across(bar.at_most), y, across(bar.at_most), y + 20, "most"),
            _text(max(across(bar.value), across(bar.at_most)) + 6, y + 14, f"{bar.value:.2f}", "small"),
        ]
    return _svg(bottom + 16, title, parts)


def spans(title: str, data: Sequence[Span]) -> str:
    """Draw a pale bar for each run, and in it a dark one for the time in which visitors saw old and new files."""
    left, right, step, top = 200, WIDTH - 170, 22, 60
    most, bottom = max(span.whole for span in data), top + step * len(data)

    def across(value: float) -> float:
        return left + (right - left) * value / most

    parts = [
        _text(10, 22, title),
        _text(10, 42, "seconds; pale: the whole run; dark: from the first visible change to the last", "small"),
    ]
    unit = 10.0 ** math.floor(math.log10(most))
    for number in range(math.floor(most / unit) + 1):
        parts.append(_rule(across(number * unit), top - 6, across(number * unit), bottom))
        parts.append(_text(across(number * unit), top - 10, f"{number * unit:g}", "small middle"))
    for number, span in enumerate(data):
        y = top + step * number
        whole, mixed = across(span.whole) - left, max(across(span.last) - across(span.first), 2)
        parts += [
            _text(left - 8, y + 13, f"{span.label}: {span.peer}", "small end"),
            f'<rect x="{left}" y="{y + 3}" width="{whole:.1f}" height="14" class="{span.peer} whole"/>',
            f'<rect x="{across(span.first):.1f}" y="{y + 3}" width="{mixed:.1f}" height="14" class="{span.peer}"/>',
            _text(across(span.whole) + 6, y + 14, f"{span.last - span.first:.2f} of {span.whole:.0f} s", "small"),
        ]
    return _svg(bottom + 16, title, parts)


def lines(title: str, across: str, data: Sequence[Line]) -> str:
    """Draw seconds over something, both on logarithmic scales, so that halving at each step is a straight line."""
    left, right, top, bottom = 60, WIDTH - 100, 50, 360
    xs, ys = ([math.log(point[axis]) for line in data for point in line.points] for axis in (0, 1))
    low, high = math.floor(min(ys) / math.log(10)), math.ceil(max(ys) / math.log(10))

    def place(x: float, y: float) -> tuple[float, float]:
        along = (math.log(x) - min(xs)) / (max(xs) - min(xs) or 1)
        up = (math.log10(y) - low) / (high - low or 1)
        return left + (right - left) * along, bottom - (bottom - top) * up

    parts = [_text(10, 22, title), _text(10, 40, "seconds", "small"), _text(right, bottom + 38, across, "small end")]
    for power in range(low, high + 1):
        y = place(math.exp(min(xs)), 10.0**power)[1]
        parts += [_rule(left, y, right, y), _text(left - 6, y + 4, f"{10.0**power:g}", "small end")]
    for x in sorted({point[0] for line in data for point in line.points}):
        parts.append(_text(place(x, 10.0**low)[0], bottom + 18, f"{x:g}", "small middle"))
    lowest = math.inf
    for line in sorted(data, key=lambda line: line.points[-1][1]):  # from the bottom up, so that labels do not overlap
        dots = [place(*point) for point in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
        lowest = min(dots[-1][1] + 4, lowest - 14)
        parts.append(f'<polyline points="{path}" class="{line.name}"/>')
        parts.append(_text(dots[-1][0] + 8, lowest, line.name, "small"))
    return _svg(bottom + 50, title, parts)


def _seconds_over(axis: Callable[[Case], float], outcomes: Sequence[Outcome]) -> list[Line]:
    """Return a line for each peer, and one for the limit."""
    points: dict[str, list[tuple[float, float]]] = {}
    for outcome in outcomes:
        at = axis(outcome.case)
        for row in summarise(outcome.rounds):
            if row.first:
                points.setdefault(row.peer, []).append((at, row.first))
        if outcome.limit:
            points.setdefault("limit", []).append((at, outcome.limit.seconds))
    return [Line(name, found) for name, found in points.items()]


def draw(claims: Claims, matrix: Matrix, outcomes: Mapping[Case, Outcome]) -> dict[str, str]:
    """Return every plot that has outcomes, by the name of its file."""
    ratios = [
        Bar(f"{claim.case.title}, {claim.case.server}", claim.peer, value, claim.at_most)
        for claim in claims.claims
        if claim.figure == "time" and (value := claim.value(outcomes)) is not None
    ]
    ran = [outcomes[case] for case in matrix.cases if case in outcomes and case.link]
    over_connections = _seconds_over(lambda case: case.connections, [one for one in ran if one.case.link == 50])
    over_trips = _seconds_over(lambda case: case.link or 0, [one for one in ran if one.case.connections == 8])
    plots = {"ratios.svg": bars("Time to mirror, actorsync beside its peers", ratios)} if ratios else {}
    files = f"{ran[0].case.tree.file_count} small files, ProFTPD" if ran else ""
    if over_connections:
        plots["connections.svg"] = lines(f"{files}, round trip 50 ms", "connections", over_connections)
    if over_trips:
        plots["round-trip.svg"] = lines(f"{files}, 8 connections", "round trip, ms", over_trips)
    return plots


def draw_deploys(deploys: Deploys, outcomes: Mapping[Case, Outcome]) -> dict[str, str]:
    """Return the plot of the deploys, by the name of its file; empty if there are no outcomes.

    Of several rounds, each bar is the one with the median of the visible time.
    """
    found = list[Span]()
    for case in deploys.cases:
        rounds = outcomes[case].rounds if case in outcomes else []
        for peer in case.peers:
            runs = [
                Span(case.server, peer, one.first.seconds, one.seen.first, one.seen.last)
                for one in rounds
                if one.peer == peer and not one.failure and one.first and one.seen
                if one.seen.first is not None and one.seen.last is not None
            ]
            found += sorted(runs, key=lambda span: span.last - span.first)[len(runs) // 2 :][:1]
    return {"deploy.svg": spans("A deploy of 1,000 changed files, round trip 50 ms", found)} if found else {}
