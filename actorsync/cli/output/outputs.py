"""Several outputs of one run: what is shown, and what is logged."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from actorsync.classes import frozen
from actorsync.cli.output.lines import Output
from actorsync.cli.output.streams import bug_lines
from actorsync.model.event import Event
from actorsync.service.running import Ended

__all__ = ["Outputs"]


@frozen(eq=False)
class Outputs:
    """What is ``shown``, and what is ``logged``: all get the same, and each is written by a task of its own.

    With several mirrors, each of them is an output of all; see `Together`. A ``name`` is that of a mirror.
    """

    shown: Output
    logged: Sequence[Output] = ()

    def observe(self, event: Event, name: str = "") -> None:
        """Queue the lines of an event, without waiting."""
        for output in (self.shown, *self.logged):
            output.of(name).observe(event)

    def show_known_drift(self) -> None:
        """Show also those changes of others that an earlier run has shown."""
        for output in (self.shown, *self.logged):
            for member in output.members:
                member.shows_known_drift = True

    def complain(self, text: str, name: str = "") -> None:
        """Queue an error."""
        for output in (self.shown, *self.logged):
            output.of(name).complain(text)

    def show_results(self, results: Sequence[Ended]) -> None:
        """Queue a line for each of several mirrors: how it ended."""
        for output in (self.shown, *self.logged):
            output.show_results(results)

    def stopping(self, seconds: float | None) -> None:
        """Report a stop request; see `Output.stopping`."""
        for output in (self.shown, *self.logged):
            output.stopping(seconds)

    async def run(self, cancelling: trio.Event) -> None:
        """Write all of them until `close`; see `Output.run`."""
        async with trio.open_nursery() as nursery:
            for output in (self.shown, *self.logged):
                nursery.start_soon(output.run, cancelling)

    def close(self) -> None:
        """End `run` once everything is written."""
        for output in (self.shown, *self.logged):
            output.close()

    def note_bug(self, bug: BaseException) -> None:
        """Log the traceback of an unexpected exception."""
        for output in self.logged:
            for line in bug_lines(bug):
                output.say(line)

    def last_words(self) -> None:
        """Restore the terminal. Called from a signal handler just before the process exits."""
        self.shown.last_words()

    @property
    def is_abandoned(self) -> bool:
        """Whether queued output was dropped, because the run was cancelled and the reader did not accept it."""
        return self.shown.is_abandoned
