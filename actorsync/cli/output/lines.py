"""What a run shows while it goes on: lines, or JSON lines. A terminal's live view is in `live_view`.

An `Output` is an observer: it takes each event at once, and never waits. One task writes what was taken, in a thread,
so that a terminal that is stopped, or a pipe that nobody empties, holds nothing up; nor does one that is gone.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any, Final, TextIO

import trio

from actorsync.actors.statistics import Rate, Statistics
from actorsync.cli.output.messages import (
    change_of,
    counted,
    did_nothing,
    duration_text,
    is_whole,
    json_line,
    only_waits,
    parking_text,
    plan_summary,
    records_of,
    size_text,
    summary,
    trouble_in,
    unsent_text,
    warning_text,
)
from actorsync.cli.output.streams import Sink
from actorsync.model.event import Adopted, Confirmed, Event, RemovalsRefused, RemovalsWithheld, Started, Stopped, Warned
from actorsync.model.operation import Failed, Fault
from actorsync.model.report import Report
from actorsync.model.text import display
from actorsync.profile.units import format_duration

__all__ = ["JsonLines", "Lines", "Output", "PlanLines", "progress_text"]

#: Seconds between two lines of progress.
_NEWS: Final = 10.0

#: The same reason for a lost connection is told once in this many seconds, not once for each connection.
_ECHO: Final = 5.0

#: Paths that are named in one pass when they are parked; of the others only the number is told.
_NAMED: Final = 10

#: Seconds for which, after a cancel, somebody may still take what is to be written.
_PATIENCE: Final = 0.1


class Output:
    """Takes events, and has what a user wants to know written to ``out`` and ``errors``.

    The base of all outputs; itself, it tells only of failures, and writes nothing to ``out``.
    """

    #: Seconds between two calls of `tick` while a pass is going on.
    interval = math.inf

    #: Seconds that are at least between two writes.
    pace = 0.0

    def __init__(self, statistics: Statistics, out: TextIO | None, errors: TextIO | None) -> None:
        self.statistics = statistics
        self.out, self.errors = Sink(out), Sink(errors)
        self.is_running = False
        self.is_abandoned = False
        """Whether something was left unwritten, because the run was cancelled and nobody took it."""
        self._lines: deque[tuple[Sink, str]] = deque()
        self._warnings: set[str] = set()
        self._unsent: Counter[str] = Counter()
        self._woken = trio.Event()
        self._closed = trio.Event()

    # What happens.

    def observe(self, event: Event) -> None:
        """Take an event. Never waits. A warning that every connection and every pass repeats is taken once."""
        if isinstance(event, Warned):
            if event.text in self._warnings:
                return
            self._warnings.add(event.text)
        if isinstance(event, Started):
            self.is_running = True
            self._woken.set()
        for line in self.lines_of(event):
            self.say(line)
        for line in self.errors_of(event):
            self.complain(line)
        if isinstance(event, Stopped):
            self.is_running = False

    def lines_of(self, event: Event) -> Sequence[str]:  # noqa: ARG002 - for those that say more
        """Give what is to be said of an event."""
        return ()

    def errors_of(self, event: Event) -> Sequence[str]:
        """Give what an event says of failures."""
        lines = [text for is_failure, text in self.trouble_in(event) if is_failure]
        if isinstance(event, Stopped) and event.report.error is not None:
            lines.append(event.report.error)
        return lines

    def trouble_in(self, event: Event) -> Iterator[tuple[bool, str]]:
        """Give an event's trouble; those that were not even tried are counted, and told at the end of the run."""
        yield from trouble_in(event)
        if isinstance(event, Failed) and event.fault is Fault.UNSENT:
            self._unsent[event.reason] += 1
        if isinstance(event, Stopped):
            for reason, count in self._unsent.items():
                yield True, unsent_text(count, reason)
            self._unsent.clear()

    def stopping(self, seconds: float | None) -> None:
        """Tell that the run is being drained, for up to ``seconds``, or with None that it is being cancelled."""
        if not seconds:
            self.complain("stopping now")
        elif self.is_running:
            limit = format_duration(seconds)
            self.complain(f"finishing what is in flight, for up to {limit}; Ctrl-C again to stop now")
        else:
            self.complain("stopped")

    def say(self, line: str) -> None:
        """Have a line written."""
        self._lines.append((self.out, line))
        self._woken.set()

    def complain(self, text: str) -> None:
        """Have a line written that begins with our name."""
        self._lines.append((self.errors, f"actorsync: {display(text)}"))
        self._woken.set()

    # Writing.

    async def run(self, cancelling: trio.Event) -> None:
        """Write until closed, and then the rest; but after ``cancelling`` nobody is waited for who does not read."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._abandon, cancelling, nursery.cancel_scope)
            await self._write()
            nursery.cancel_scope.cancel()

    async def _write(self) -> None:
        while not self._closed.is_set() or self._lines:
            with trio.move_on_after(self.interval if self.is_running else math.inf):
                await self._woken.wait()
            self._woken = trio.Event()
            frame = self.tick()
            lines = list(self._lines)
            self._lines.clear()
            await trio.to_thread.run_sync(self.put, lines, frame, abandon_on_cancel=True)
            with trio.move_on_after(self.pace):
                await self._closed.wait()
        await trio.to_thread.run_sync(self.end, abandon_on_cancel=True)

    async def _abandon(self, cancelling: trio.Event, scope: trio.CancelScope) -> None:
        await self._closed.wait()
        await cancelling.wait()
        await trio.sleep(_PATIENCE)
        self.is_abandoned = True
        scope.cancel()

    def close(self) -> None:
        """Let `run` come to its end."""
        self._closed.set()
        self._woken.set()

    def tick(self) -> Any:
        """Prepare what `put` will show, on trio's thread, from the statistics."""
        return None

    def put(self, lines: Sequence[tuple[Sink, str]], frame: Any) -> None:  # noqa: ARG002 - for the live view
        """Write, in a thread."""
        for sink, run in itertools.groupby(lines, key=lambda line: line[0]):
            sink.write("".join(f"{text}\n" for _, text in run))

    def end(self) -> None:
        """Write what comes last, in a thread."""

    def last_words(self) -> None:
        """Leave the terminal fit for use. Called from a signal handler, before the process is left."""


class PlanLines(Output):
    """The changes of a plan, sorted by path, when all are known."""

    def __init__(self, statistics: Statistics, out: TextIO | None, errors: TextIO | None) -> None:
        super().__init__(statistics, out, errors)
        self._changes: list[tuple[str, str]] = []

    def lines_of(self, event: Event) -> Sequence[str]:
        """Give everything at the end, and nothing before."""
        if (change := change_of(event)) is not None:
            self._changes.append((change[1], change[0]))
        if not isinstance(event, Stopped):
            return ()
        lines = [f"{symbol} {path}" for path, symbol in sorted(self._changes)]
        return [*lines, plan_summary(event.report)] if is_whole(event.report) else lines

    def errors_of(self, event: Event) -> Sequence[str]:
        """Give warnings besides failures."""
        match event:
            case Warned(text):
                return [warning_text(text)]
            case RemovalsWithheld(_, reason):
                return [reason]
        return super().errors_of(event)


class JsonLines(Output):
    """Every event as a JSON object on a line."""

    def lines_of(self, event: Event) -> Sequence[str]:
        """Give the event's records."""
        return [self._line(record) for record in records_of(event)]

    def stopping(self, seconds: float | None) -> None:
        """Tell it as an event."""
        self.say(self._line({"event": "cancelling"} if not seconds else {"event": "draining", "seconds": seconds}))

    def _line(self, record: dict[str, Any]) -> str:
        return json_line({"event": record["event"], "time": round(time.time(), 3), **record})


class Lines(Output):
    """Plain lines: for logs, and for terminals without a live view."""

    interval = _NEWS

    def __init__(
        self,
        statistics: Statistics,
        stream: TextIO | None,
        *,
        every: str = "",
        is_verbose: bool = False,
    ) -> None:
        super().__init__(statistics, stream, stream)
        self._every = every
        self.rate = Rate()
        self._is_verbose = is_verbose
        self._has_started = False
        self._last: Report | None = None
        self._told: dict[str, float] = {}
        self._news_at = math.inf
        self._parked = 0
        self._withheld = self._withheld_before = ""

    def observe(self, event: Event) -> None:
        """Take an event; what is equal is only counted, at the end, and there may be a tree full of it."""
        if not isinstance(event, Adopted | Confirmed):
            super().observe(event)

    def lines_of(self, event: Event) -> Sequence[str]:
        """Give the lines of an event, without those that would only repeat others."""
        match event:
            case Started(source, target, connections, automatic):
                self._news_at = trio.current_time() + _NEWS
                self._told.clear()
                self._parked = 0
                self._withheld, self._withheld_before = "", self._withheld
                self.rate = Rate()
                self.rate.add(trio.current_time(), 0)
                if self._has_started:
                    return []
                self._has_started = True
                often = f" every {self._every}" if self._every else ""
                where = f"{display(source)} to {display(target)}"
                many = f"{'up to ' if automatic else ''}{counted(connections, 'connection')}"
                return [f"mirroring {where}{often}, {many}"]
            case Warned(text):
                return [warning_text(text)]
            case RemovalsWithheld(_, reason):
                self._withheld = reason
                return [reason] if reason != self._withheld_before or self._is_verbose else []
            case Failed(operation, reason, Fault.PARKED) if self._is_verbose:
                return [f"failed: {display(operation.path)}: {display(reason)}"]
        if (parking := parking_text(event)) is not None:
            self._parked += 1
            return [parking] if self._parked <= _NAMED else []
        if isinstance(event, RemovalsRefused):
            return ()  # an error, and told as such
        lines = [text if is_failure else self._once(text) for is_failure, text in self.trouble_in(event)]
        if self._is_verbose and (change := change_of(event)) is not None:
            lines.append(" ".join(change))
        if isinstance(event, Stopped):
            if self._parked > _NAMED:
                lines.append(f"{self._parked - _NAMED} more are parked, see actorsync status")
            lines += self._last_lines(event.report)
        return [line for line in lines if line]

    def errors_of(self, event: Event) -> Sequence[str]:
        """Give only what ends a run; failures of single files are lines among the others here, and were told."""
        return super().errors_of(event) if isinstance(event, RemovalsRefused | Stopped) else ()

    def _once(self, text: str) -> str:
        """Give a line about a lost connection, unless another connection just told the same."""
        rest = text.partition(": ")[2]
        reason = rest.rpartition("; ")[0] or rest
        now = trio.current_time()
        told, self._told[reason] = self._told.get(reason, -math.inf), now
        return text if now - told >= _ECHO else ""

    def _last_lines(self, report: Report) -> Sequence[str]:
        last, self._last = self._last, report
        if report.error is not None and did_nothing(report):
            return []  # the error is all there is to say
        if last is not None and last.exit_code == report.exit_code == 0 and did_nothing(report):
            return []  # every few seconds, the same
        if last is not None and only_waits(last) and only_waits(report) and last.parked == report.parked:
            return []  # as before
        return [summary(report)]

    def tick(self) -> Any:
        """Add a line of progress, once in a while."""
        if self.is_running and trio.current_time() >= self._news_at:
            self._news_at = trio.current_time() + _NEWS
            self.rate.add(trio.current_time(), self.statistics.bytes_sent)
            if self.statistics.files_planned:
                self.say(progress_text(self.statistics, self.rate.value))
        return None


# What progress looks like.


def progress_text(statistics: Statistics, rate: float | None) -> str:
    """Give the state of a run as one line."""
    known = "" if statistics.is_total_known else "+"
    files = f"{statistics.files_done} of {statistics.files_planned}{known} files"
    sizes = f"{size_text(statistics.bytes_sent)} of {size_text(statistics.bytes_expected)}{known}"
    return ", ".join([files, sizes, *_speed(statistics, rate)])


def _speed(statistics: Statistics, rate: float | None) -> list[str]:
    if not rate:
        return []
    limit = None if statistics.bandwidth is None else statistics.bandwidth.limit
    parts = [f"{size_text(rate)}/s" + (f" (limit {size_text(limit)}/s)" if limit is not None else "")]
    if statistics.is_total_known:
        left = max(0, statistics.bytes_expected - statistics.bytes_sent) / rate
        parts.append(f"{duration_text(round(left)).replace('.0 s', ' s')} left")
    return parts
