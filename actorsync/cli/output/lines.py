"""The output of a run in progress: lines, or JSON lines. The live view of a terminal is in `live_view`.

An `Output` is an observer: it queues the lines of each event and never waits. One task writes the queue in a thread.
So a suspended terminal, a full pipe or a closed one does not delay the run.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO

import attrs
import trio

from actorsync.actors.statistics import Rate, Statistics
from actorsync.cli.output.progress import progress_text
from actorsync.cli.output.queue import Queue
from actorsync.cli.output.refusals import Refusals
from actorsync.cli.output.streams import Sink
from actorsync.errors import DRIFTED, TargetUnreachable
from actorsync.model.changes import change_text
from actorsync.model.event import (
    Adopted,
    Changed,
    Confirmed,
    Drifted,
    Event,
    PassBegan,
    Reconnecting,
    RemovalsRefused,
    RemovalsWithheld,
    Retired,
    Started,
    Stopped,
    Warned,
    WatchLost,
    WatchStarted,
)
from actorsync.model.messages import (
    did_nothing,
    drifted_text,
    moment,
    only_waits,
    parking_text,
    summary,
    trouble_in,
    unsent_text,
    warning_text,
    watch_text,
)
from actorsync.model.operation import Failed, Fault
from actorsync.model.report import Report
from actorsync.model.text import counted, display
from actorsync.profile.values.units import format_duration

if TYPE_CHECKING:
    from actorsync.service.running import Ended

__all__ = ["Lines", "Output"]

#: Seconds between two lines of progress.
_PROGRESS_SECONDS: Final = 10.0

#: A lost connection is not reported if another one was reported with the same reason within so many seconds.
_REPEAT_SECONDS: Final = 5.0

#: How many newly parked paths one pass names; of the others it gives only the number.
_NAMED: Final = 10

#: Seconds that a reader has after a cancel to accept the output that is still queued.
_ABANDON_SECONDS: Final = 0.1


class Output:
    """Takes events, and writes results to ``out`` and failures to ``errors``. The base class of all outputs.

    Used by itself it is the quiet output: failures only, and nothing on ``out``.
    """

    #: Seconds between two calls of `tick` during a pass.
    interval = math.inf

    #: Smallest number of seconds between two writes.
    pace = 0.0

    def __init__(self, statistics: Statistics, out: TextIO | None, errors: TextIO | None) -> None:
        self.statistics = statistics
        self.out, self.errors = Sink(out), Sink(errors)
        self.is_running = False
        self.is_stopping = False
        """Whether the run was asked to stop, so that it will not do all that is planned."""
        self.shows_sides = False
        """Whether a change can be one of either side, so that its line says of which."""
        self.is_stamped = False
        """Whether each line begins with the time of its event."""
        self.shows_known_drift = False
        """Whether changes of others are shown again that an earlier run has shown."""
        self.is_abandoned = False
        """Whether queued output was dropped, because the run was cancelled and the reader did not accept it."""
        self.name = ""
        """The name of the mirror among several: each line begins with it. "" for the only one, and for all of them."""
        self.is_one_of_several = False
        """Whether the process has several mirrors."""
        self.queue = Queue()
        self._warnings: set[str] = set()
        self._unsent: Counter[str] = Counter()
        self._drifted = 0  # in the pass before
        self._closed = trio.Event()

    @property
    def members(self) -> Sequence[Output]:
        """The outputs of single mirrors: this one."""
        return (self,)

    @property
    def is_busy(self) -> bool:
        """Whether a pass is going on."""
        return self.is_running

    def of(self, name: str) -> Output:  # noqa: ARG002 - used by outputs of several mirrors
        """Return the output of a mirror by its name: this one."""
        return self

    # Events.

    def observe(self, event: Event) -> None:
        """Queue the lines of an event, without waiting. A warning that was shown before is dropped."""
        if isinstance(event, Warned):
            if event.text in self._warnings:
                return
            self._warnings.add(event.text)
        if isinstance(event, Started):
            self.is_running, self.is_stopping, self.shows_sides = True, False, event.is_two_way
            self.queue.woken.set()
        for line in self.lines_of(event):
            self.say(line)
        for line in self.errors_of(event):
            self.complain(line)
        if isinstance(event, Stopped):
            self.is_running = False

    def lines_of(self, event: Event) -> Sequence[str]:  # noqa: ARG002 - used by subclasses
        """Return the lines of an event for ``out``."""
        return ()

    def errors_of(self, event: Event) -> Sequence[str]:
        """Return the lines of an event for ``errors``."""
        lines = [text for is_failure, text in self.trouble_in(event) if is_failure]
        if isinstance(event, Stopped):
            lines += self.endings_of(event.report)
        return lines

    def endings_of(self, report: Report) -> Sequence[str]:
        """Return the lines for ``errors`` at the end of a pass: each exit code but 0 has a reason that is shown."""
        before, self._drifted = self._drifted, report.drifted
        if report.error is not None:
            return [report.error]
        if report.exit_code != DRIFTED or report.drifted == before or report.is_audit:
            return []
        return [f"drifted: {drifted_text(report)}"]

    def trouble_in(self, event: Event) -> Iterator[tuple[bool, str]]:
        """Yield the problems in an event. Files that were not tried are counted and reported at the end of the pass."""
        if isinstance(event, Drifted) and self.shows_known_drift:
            event = attrs.evolve(event, is_new=True)
        yield from trouble_in(event)
        if isinstance(event, Failed) and event.fault is Fault.UNSENT:
            self._unsent[event.reason] += 1
        if isinstance(event, Stopped):
            for reason, count in self._unsent.items():
                yield True, unsent_text(count, reason)
            self._unsent.clear()

    def stopping(self, seconds: float | None) -> None:
        """Report a stop request: a drain of up to ``seconds``, or a cancel if that is None."""
        self.is_stopping = True
        if not seconds:
            self.complain("stopping now")
        elif self.is_running:
            limit = format_duration(seconds)
            self.complain(f"finishing transfers in progress, for up to {limit}; press Ctrl-C again to stop now")
        else:
            self.complain("stopped")

    def say(self, line: str) -> None:
        """Queue a line for ``out``."""
        self.queue.add(self.out, self._stamped(self._named(line)))

    def complain(self, text: str) -> None:
        """Queue a line for ``errors``, prefixed with the program's name."""
        self.queue.add(self.errors, self._stamped(f"actorsync: {self._named(display(text))}"))

    def show_results(self, results: Sequence[Ended]) -> None:
        """Show how each of several mirrors ended: not in the quiet output, which has shown the failures."""

    def _named(self, line: str) -> str:
        return f"{display(self.name)}: {line}" if self.name else line

    def _stamped(self, line: str) -> str:
        return f"{moment(time.time())} {line}" if self.is_stamped else line

    # Writing.

    async def run(self, cancelling: trio.Event) -> None:
        """Write the queue until `close`, and then the rest; after ``cancelling``, drop what is not read."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._abandon, cancelling, nursery.cancel_scope)
            await self._write()
            nursery.cancel_scope.cancel()

    async def _write(self) -> None:
        queue = self.queue
        while not self._closed.is_set() or queue.lines:
            with trio.move_on_after(self.interval if self.is_busy else math.inf):
                await queue.woken.wait()
            queue.woken = trio.Event()
            frame = self.tick()
            lines = list(queue.lines)
            queue.lines.clear()
            await trio.to_thread.run_sync(self.put, lines, frame, abandon_on_cancel=True)
            with trio.move_on_after(self.pace):
                await self._closed.wait()
        await trio.to_thread.run_sync(self.end, abandon_on_cancel=True)

    async def _abandon(self, cancelling: trio.Event, scope: trio.CancelScope) -> None:
        await self._closed.wait()
        await cancelling.wait()
        await trio.sleep(_ABANDON_SECONDS)
        self.is_abandoned = True
        scope.cancel()

    def close(self) -> None:
        """End `run` once the queue is written."""
        self._closed.set()
        self.queue.woken.set()

    def tick(self) -> Any:
        """Return the frame that `put` shows, made from the statistics in trio's thread."""
        return None

    def put(self, lines: Sequence[tuple[Sink, str]], frame: Any) -> None:  # noqa: ARG002 - used by the live view
        """Write ``lines``. Called in a worker thread."""
        for sink, run in itertools.groupby(lines, key=lambda line: line[0]):
            sink.write("".join(f"{text}\n" for _, text in run))

    def end(self) -> None:
        """Write what comes after the last line. Called in a worker thread."""

    def last_words(self) -> None:
        """Restore the terminal. Called from a signal handler just before the process exits."""


class Lines(Output):
    """Plain lines, for logs and for terminals without a live view."""

    interval = _PROGRESS_SECONDS

    def __init__(
        self,
        statistics: Statistics,
        stream: TextIO | None,
        *,
        every: str = "",
        is_verbose: bool = False,
        verb: str = "mirroring",
    ) -> None:
        super().__init__(statistics, stream, stream)
        self._every = every
        self.rate = Rate()
        self._is_verbose = is_verbose
        self._verb = verb
        self._has_started = False
        self._last: Report | None = None
        self._reported: dict[str, float] = {}
        self._progress_at = math.inf
        self._parked = 0
        self._withheld = self._withheld_before = ""
        self.watching = ""
        """How the source is watched; "" if it is not."""
        self.is_partial = False
        """Whether the pass looks at a part of the source."""
        self._error: str | None = None
        self._refusals = Refusals()

    def observe(self, event: Event) -> None:
        """Queue the lines of an event. Unchanged entries are skipped early, because there may be very many."""
        if not isinstance(event, Adopted | Confirmed):
            super().observe(event)

    def lines_of(self, event: Event) -> Sequence[str]:
        """Return the lines of an event, without those that would only repeat earlier ones."""
        match event:
            case Started(connections=connections, automatic=automatic):
                self._progress_at = trio.current_time() + _PROGRESS_SECONDS
                self._reported.clear()
                self._parked, self._withheld, self._withheld_before = 0, "", self._withheld
                self.rate = Rate()
                self.rate.add(trio.current_time(), 0)
                if self._has_started:
                    return []
                self._has_started = True
                often = f" every {self._every}" if self._every else ""
                many = f"{'up to ' if automatic else ''}{counted(connections, 'connection')}"
                return [f"{event.text(self._verb)}{often}, {many}"]
            case WatchStarted() | WatchLost():
                self.watching = watch_text(event) if isinstance(event, WatchStarted) else self.watching
                return [watch_text(event)]
            case PassBegan(_, directories):
                self.is_partial = directories is not None
                return []
            case Reconnecting() | Retired() if self._is_outage:
                return []
            case Warned(text):
                return [warning_text(text)]
            case Changed(text):
                return [display(text)]
            case RemovalsWithheld(_, reason):
                self._withheld = reason
                return [reason] if reason != self._withheld_before or self._is_verbose else []
            case Failed(operation, reason, Fault.PARKED) if self._is_verbose:
                return [f"failed: {display(operation.path)}: {display(reason)}"]
        if (parking := parking_text(event, is_repeated=bool(self._every or self.watching))) is not None:
            self._parked += 1
            return [parking] if self._parked <= _NAMED else []
        if isinstance(event, RemovalsRefused):
            return ()  # an error; `errors_of` reports it
        lines = [text if is_failure else self._once(text) for is_failure, text in self.trouble_in(event)]
        if self._is_verbose and (change := change_text(event, shows_sides=self.shows_sides)) is not None:
            lines.append(change)
        if isinstance(event, Stopped):
            if self._parked > _NAMED:
                lines.append(f"{counted(self._parked - _NAMED, 'more path')} parked; run actorsync status to see them")
            lines += self._last_lines(event.report)
        return [line for line in lines if line]

    def errors_of(self, event: Event) -> Sequence[str]:
        """Return only errors that end a run: `lines_of` returns the failures of single files."""
        is_shown = isinstance(event, RemovalsRefused) and self._refusals.is_shown(is_partial=self.is_partial)
        return super().errors_of(event) if is_shown or isinstance(event, Stopped) else ()

    def endings_of(self, report: Report) -> Sequence[str]:
        """Return only the error: the summary has the rest. While the source is watched, each error is shown once."""
        before, self._error = self._error, report.error
        return [] if report.error is None or (self.watching and report.error == before) else [report.error]

    @property
    def _is_outage(self) -> bool:
        """Whether the pass before could not reach the server either. Such passes follow each other at short times."""
        return bool(self.watching) and self._last is not None and self._last.exit_code == TargetUnreachable.exit_code

    def show_results(self, results: Sequence[Ended]) -> None:
        """Queue a line for each mirror."""
        # No table of rich, which is slow to import: after a second Ctrl-C, the process leaves within a second.
        width = max((len(display(it.name)) for it in results), default=0)
        for it in results:
            self.say(f"{display(it.name):<{width}}  {display(it.text)}")

    def _once(self, text: str) -> str:
        """Return a line about a lost connection, or "" if another connection was just reported for the same reason."""
        rest = text.partition(": ")[2]
        reason = rest.rpartition("; ")[0] or rest
        now = trio.current_time()
        reported, self._reported[reason] = self._reported.get(reason, -math.inf), now
        return text if now - reported >= _REPEAT_SECONDS else ""

    def _last_lines(self, report: Report) -> Sequence[str]:
        last, self._last = self._last, report
        is_idle = report.exit_code == 0 and did_nothing(report)
        if self._refusals.ends_quietly(report) or (is_idle and report.is_partial):
            return []  # most hints are about nothing
        if report.error is not None and did_nothing(report):
            return []  # the error says it all
        is_waiting = last is not None and only_waits(last) and only_waits(report) and last.parked == report.parked
        if is_waiting or (is_idle and last is not None and last.exit_code == 0):
            return []  # the same as in the pass before
        return [summary(report)]

    def tick(self) -> Any:
        """Queue a line of progress when one is due."""
        if self.is_running and trio.current_time() >= self._progress_at:
            self._progress_at = trio.current_time() + _PROGRESS_SECONDS
            self.rate.add(trio.current_time(), self.statistics.bytes_moved)
            if self.statistics.files_planned or self.statistics.comparisons_planned:
                self.say(progress_text(self.statistics, self.rate.value, is_stopping=self.is_stopping))
        return None
