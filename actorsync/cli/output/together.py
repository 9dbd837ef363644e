"""The output of several mirrors in one process: the lines of each begin with its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from actorsync.cli.output.lines import Output
from actorsync.service.running import Ended

__all__ = ["Together"]


class Together(Output):
    """The outputs of several mirrors by their names, written by one task in the order of their events.

    ``voice`` is an output of the same kind, for what concerns all of them. A line of progress is that of one mirror:
    the reader wants to know which of them is behind.
    """

    def __init__(self, voice: Output, of_mirrors: Mapping[str, Output]) -> None:
        super().__init__(voice.statistics, None, None)
        self.voice, self.of_mirrors = voice, of_mirrors
        self.interval, self.pace = voice.interval, voice.pace
        self.out, self.errors = voice.out, voice.errors
        for name, output in of_mirrors.items():
            output.name = name
        for output in (voice, *of_mirrors.values()):
            output.is_one_of_several = True
            output.queue = self.queue
            output.out, output.errors = self.out, self.errors

    @property
    def members(self) -> Sequence[Output]:
        """The outputs of the mirrors."""
        return list(self.of_mirrors.values())

    @property
    def is_busy(self) -> bool:
        """Whether a pass of any mirror is going on."""
        return any(output.is_running for output in self.members)

    def of(self, name: str) -> Output:
        """Return the output of a mirror; the common one for an empty or unknown name."""
        return self.of_mirrors.get(name, self.voice)

    def stopping(self, seconds: float | None) -> None:
        """Report a stop request once: it concerns all mirrors."""
        for output in self.members:
            output.is_stopping = True
        self.voice.is_running = self.is_busy
        self.voice.stopping(seconds)

    def say(self, line: str) -> None:
        """Queue a line that concerns all mirrors."""
        self.voice.say(line)

    def complain(self, text: str) -> None:
        """Queue an error that concerns all mirrors."""
        self.voice.complain(text)

    def show_results(self, results: Sequence[Ended]) -> None:
        """Show how each mirror ended."""
        self.voice.show_results(results)

    def tick(self) -> Any:
        """Let each mirror queue its line of progress."""
        for output in self.members:
            output.tick()
        return None
