"""The output of a plan: what a run would change, sorted by path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from actorsync.actors.statistics import Statistics
from actorsync.cli.output.lines import Output
from actorsync.model.event import Event, RemovalsDelayed, RemovalsRefused, RemovalsWithheld, Retired, Stopped, Warned
from actorsync.model.messages import change_of, is_whole, plan_summary, warning_text
from actorsync.model.operation import Done, Remove, Returned
from actorsync.model.text import display

__all__ = ["PlanLines"]


class PlanLines(Output):
    """The changes of a plan, printed at its end, sorted by path. Removals that a guard refuses are among them.

    What is gone from the source and stays for a while is marked with ~.
    """

    def __init__(self, statistics: Statistics, out: TextIO | None, errors: TextIO | None) -> None:
        super().__init__(statistics, out, errors)
        self._changes: list[tuple[str, str]] = []
        self._refused = 0

    def lines_of(self, event: Event) -> Sequence[str]:
        """Collect the changes; return all of them with the last event."""
        match event:
            case RemovalsRefused(removals=removals):
                self._refused = removals
            case RemovalsDelayed(paths):
                self._changes += [(display(path), "~") for path in paths]
            case Returned(Remove() as removal) if self._refused:
                event = Done(removal)  # listed like any other: the reader has to see what is refused
        if (change := change_of(event)) is not None:
            self._changes.append((change[1], change[0]))
        if not isinstance(event, Stopped) or event.report.error is not None:
            return ()  # an error says it all; what was planned until then is not what a run would do
        lines = [f"{symbol} {path}" for path, symbol in sorted(self._changes)]
        return [*lines, plan_summary(event.report, self._refused)] if is_whole(event.report) else lines

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
