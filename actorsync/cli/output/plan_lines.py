"""The output of a plan: what a run would change, sorted by path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TextIO

import attrs

from actorsync.actors.statistics import Statistics
from actorsync.cli.output.json_lines import JsonLines
from actorsync.cli.output.lines import Output
from actorsync.model.changes import arrow_of, change_of
from actorsync.model.event import Event, RemovalsDelayed, RemovalsRefused, RemovalsWithheld, Retired, Stopped, Warned
from actorsync.model.messages import entries_text, is_whole, plan_summary, warning_text
from actorsync.model.operation import Done, Remove, Returned
from actorsync.model.text import counted, display, duration_text, size_text
from actorsync.planning.publishing.forecast import Outline, Outliner
from actorsync.planning.publishing.rules import FILE_BY_FILE

__all__ = ["PlanJson", "PlanLines", "outline_record"]


class PlanLines(Output):
    """The changes of a plan, printed at its end, sorted by path. Removals that a guard refuses are among them.

    What is gone from the source and stays for a while is marked with ~.
    """

    def __init__(
        self, statistics: Statistics, out: TextIO | None, errors: TextIO | None, outliner: Outliner | None = None
    ) -> None:
        super().__init__(statistics, out, errors)
        self._outliner = outliner or Outliner(FILE_BY_FILE, 1)
        self.is_headed = False
        """Whether the lines are under the name of the mirror, and do not begin with it."""
        self._changes: list[tuple[str, str]] = []
        self._refused = 0

    def lines_of(self, event: Event) -> Sequence[str]:
        """Collect the changes; return all of them with the last event."""
        self._outliner.note(event)
        match event:
            case RemovalsRefused(removals=removals):
                self._refused = removals
            case RemovalsDelayed(paths):
                self._changes += [(display(path), "~") for path in paths]
            case Returned(Remove() as removal) if self._refused:
                event = Done(removal)  # listed like any other: the reader has to see what is refused
        if (change := change_of(event)) is not None:
            symbol, path = change
            self._changes.append((path, f"{arrow_of(event)} {symbol}" if self.shows_sides else symbol))
        if not isinstance(event, Stopped) or event.report.error is not None:
            return ()  # an error says it all; what was planned until then is not what a run would do
        lines = [f"{symbol} {path}" for path, symbol in sorted(self._changes)]
        if not is_whole(event.report):
            return lines
        return [*lines, *outline_lines(self._outliner.outline()), plan_summary(event.report, self._refused)]

    def say(self, line: str) -> None:
        """Queue a line for ``out``."""
        self.queue.add(self.out, self._stamped(line if self.is_headed else self._named(line)))

    def errors_of(self, event: Event) -> Sequence[str]:
        """Return warnings as well as failures."""
        match event:
            case Warned(text):
                return [warning_text(text)]
            case RemovalsWithheld(_, reason):
                return [reason]
            case Retired():
                return []  # if it was the last one, the error of the run says so
        return super().errors_of(event)


class PlanJson(JsonLines):
    """The events of a plan as JSON objects, with the outline of the plan before the last one."""

    def __init__(self, statistics: Statistics, out: TextIO | None, errors: TextIO | None, outliner: Outliner) -> None:
        super().__init__(statistics, out, errors)
        self._outliner = outliner

    def lines_of(self, event: Event) -> Sequence[str]:
        """Return the records of the event."""
        self._outliner.note(event)
        lines = super().lines_of(event)
        if not isinstance(event, Stopped) or not is_whole(event.report):
            return lines
        return [self._line(outline_record(self._outliner.outline())), *lines]


def outline_lines(outline: Outline) -> list[str]:
    """Return the lines of an outline: the order if there is more than one rank, and what the profile asks for."""
    lines = []
    if len(outline.ranks) > 1:
        ranks = [f"{it.name}: {counted(it.files, 'file')} ({size_text(it.size)})" for it in outline.ranks]
        lines.append(f"order: {', then '.join(ranks)}")
    if outline.aside:
        lines.append(f"set aside until the release is complete: {counted(outline.aside, 'old file')}")
    if outline.trashed:
        lines.append(f"to the trash: {entries_text(outline.trashed)}")
    if outline.seconds is not None:
        trip = f"if a round trip takes {round(outline.round_trip * 1_000)} ms, which was not measured"
        lines.append(f"burst: about {duration_text(outline.seconds)} from the first visible change to the last, {trip}")
    return lines


def outline_record(outline: Outline) -> dict[str, Any]:
    """Return the outline of a plan as a flat record."""
    return {"event": "outline", **attrs.asdict(outline)}
