"""Runs and plans in the foreground: signals, output and exit code. What ``run``, ``plan`` and ``apply`` do."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Literal

import attrs
import trio

from actorsync.actors.shutdown import Shutdown
from actorsync.actors.statistics import Statistics
from actorsync.cli.malloc import share_one_heap
from actorsync.cli.output.lines import JsonLines, Lines, Output, PlanLines
from actorsync.cli.output.messages import change_of
from actorsync.cli.output.streams import Sink, tell_bug
from actorsync.ending import DRIFTED
from actorsync.errors import ActorsyncError
from actorsync.model.event import Event
from actorsync.profile import Profile, format_duration
from actorsync.runs.options import options_for
from actorsync.runs.repeat import require_repeatable, run_forever
from actorsync.runs.runner import apply_once, ask_first, audit_once, make_plan, run_once
from actorsync.runs.saved_plan import Plan
from actorsync.runs.stop_signals import CANCEL_SECONDS, LEAVE_SECONDS, Step, StopRequests, drain_on_enter

__all__ = ["PENDING", "Options", "Show", "apply", "audit", "plan", "run"]

#: Exit code of ``plan --exit-code`` when there are changes, as after a run that found changes of others.
PENDING = DRIFTED

Show = Literal["quiet", "normal", "verbose", "json"]


@attrs.frozen
class Options:
    """How the output of a run is shown, and how it stops."""

    show: Show = "normal"
    is_once: bool = False
    is_rebuilding: bool = False
    stops_on_enter: bool = False
    ends_afterwards: bool = False
    """Whether the process ends with the run, so that later signals have nothing to stop."""


def run(profile: Profile, options: Options) -> int:
    """Mirror once or, with ``sync.every``, until stopped; return the exit code."""
    share_one_heap()
    every = None if options.is_once else profile.sync.every
    if every is not None:
        require_repeatable(profile)
    profile = ask_first(profile, is_rebuilding=options.is_rebuilding)
    statistics = Statistics()
    shutdown = Shutdown(profile.shutdown.drain, profile.shutdown.cancel)
    output = _output(options.show, statistics, "" if every is None else format_duration(every))
    of_run = options_for(profile, shutdown=shutdown, observers=[output.observe], statistics=statistics)

    async def work() -> int:
        if every is not None:
            return await run_forever(profile, of_run, is_rebuilding=options.is_rebuilding)
        report = await run_once(profile, of_run, is_rebuilding=options.is_rebuilding)
        return report.exit_code

    return _stoppable(work, shutdown, output, options)


def audit(profile: Profile, options: Options, *, is_whole: bool) -> int:
    """Compare the target with the journal, and change nothing; return the exit code."""
    profile = ask_first(profile)
    statistics = Statistics()
    shutdown = Shutdown(0.0, profile.shutdown.cancel)
    output = _output(options.show, statistics, "", verb="comparing")
    of_run = options_for(profile, shutdown=shutdown, observers=[output.observe], statistics=statistics)

    async def work() -> int:
        report = await audit_once(profile, of_run, is_whole=is_whole)
        return report.exit_code

    return _stoppable(work, shutdown, output, options)


def apply(profile: Profile, plan: Plan, options: Options) -> int:
    """Apply a saved plan, or change nothing if it is out of date; return the exit code."""
    share_one_heap()
    profile = ask_first(profile)
    statistics = Statistics()
    shutdown = Shutdown(profile.shutdown.drain, profile.shutdown.cancel)
    output = _output(options.show, statistics, "")
    of_run = options_for(profile, shutdown=shutdown, observers=[output.observe], statistics=statistics)

    async def work() -> int:
        report = await apply_once(profile, plan, of_run)
        return report.exit_code

    return _stoppable(work, shutdown, output, options)


def plan(
    profile: Profile,
    *,
    as_json: bool = False,
    has_exit_code: bool = False,
    save_to: Path | None = None,
    ends_afterwards: bool = False,
) -> int:
    """Show what a run would change; return the exit code. A plan is saved only if it was completed."""
    profile = ask_first(profile, is_plan=True)
    statistics = Statistics()
    shutdown = Shutdown(0.0, profile.shutdown.cancel)
    output: Output = PlanLines(statistics, sys.stdout, sys.stderr)
    if as_json:
        output = JsonLines(statistics, sys.stdout, sys.stderr)
    has_changes = False

    def watch(event: Event) -> None:
        nonlocal has_changes
        has_changes = has_changes or change_of(event) is not None

    of_run = options_for(profile, shutdown=shutdown, observers=[watch, output.observe], statistics=statistics)

    async def work() -> int:
        made = await make_plan(profile, of_run)
        report = made.report
        if save_to is not None and report.error is None and not (report.drained or report.cancelled):
            await trio.to_thread.run_sync(made.save, save_to)
        return PENDING if has_exit_code and report.exit_code == 0 and has_changes else report.exit_code

    return _stoppable(work, shutdown, output, Options(ends_afterwards=ends_afterwards))


def _output(show: Show, statistics: Statistics, every: str, *, verb: str = "mirroring") -> Output:
    if show == "json":
        return JsonLines(statistics, sys.stdout, sys.stderr)
    if show == "quiet":
        return Output(statistics, sys.stdout, sys.stderr)
    is_terminal = Sink(sys.stderr).isatty() and os.environ.get("TERM", "dumb") not in {"dumb", "unknown"}
    kind = Lines
    if is_terminal:
        from actorsync.cli.output.live_view import LiveView  # slow to import, and needed only here

        kind = LiveView
    return kind(statistics, sys.stderr, every=every, is_verbose=show == "verbose", verb=verb)


def _stoppable(work: Callable[[], Awaitable[int]], shutdown: Shutdown, output: Output, options: Options) -> int:
    """Run ``work`` and return the exit code. The first signal drains, the second cancels, the third exits at once.

    Each step also follows by itself when the time of the one before is over: after a drain that is
    `Shutdown.longest`.
    """

    def drain() -> None:
        shutdown.drain()
        output.stopping(shutdown.drain_seconds)

    def cancel() -> None:
        shutdown.cancel(within=CANCEL_SECONDS)
        output.stopping(None)

    steps = [Step(drain, shutdown.longest), Step(cancel, LEAVE_SECONDS)]
    requests = StopRequests(steps, output.last_words, ends_afterwards=options.ends_afterwards)
    return requests.run(partial(_in_foreground, work, shutdown, output, requests, options.stops_on_enter))


async def _in_foreground(
    work: Callable[[], Awaitable[int]],
    shutdown: Shutdown,
    output: Output,
    requests: StopRequests,
    stops_on_enter: bool,
) -> int:
    """Run ``work`` and its output concurrently; turn the result or the error into an exit code."""
    code = ActorsyncError.exit_code
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.run, shutdown.cancelling)
        async with trio.open_nursery() as beside:
            if stops_on_enter:
                beside.start_soon(drain_on_enter, 0, requests.stop)
            try:
                code = await work()
            except ActorsyncError as error:
                output.complain(str(error))
                code = error.exit_code
            except Exception as bug:  # noqa: BLE001 - the outermost handler
                await trio.to_thread.run_sync(tell_bug, bug, abandon_on_cancel=True)
            beside.cancel_scope.cancel()
        output.close()
    return requests.forced_code if code == 130 or output.is_abandoned else code
