"""Runs and plans in the foreground: signals, output and exit code. What ``run``, ``plan`` and ``apply`` do."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import attrs
import trio

from actorsync.actors.observers import Observer
from actorsync.actors.shutdown import Shutdown
from actorsync.actors.statistics import Statistics
from actorsync.cli.log_file import LogFile
from actorsync.cli.malloc import share_one_heap
from actorsync.cli.output.lines import JsonLines, Lines, Output
from actorsync.cli.output.outputs import Outputs
from actorsync.cli.output.plan_lines import PlanJson, PlanLines
from actorsync.cli.output.streams import FREE, Sink, tell_bug
from actorsync.errors import DRIFTED, ActorsyncError, FatalError, StageFailed
from actorsync.model.event import Event
from actorsync.model.messages import change_of
from actorsync.planning.publishing.forecast import Outliner
from actorsync.policy import RunOptions
from actorsync.profile import Profile, format_duration
from actorsync.runs.options import options_for, policy_of
from actorsync.runs.repeating.repeat import require_repeatable, run_forever
from actorsync.runs.runner import apply_once, ask_first, audit_once, make_plan, run_once
from actorsync.runs.saved_plan import Plan
from actorsync.runs.stop_signals import CANCEL_SECONDS, LEAVE_SECONDS, Step, StopRequests, drain_on_enter
from actorsync.service.attending import attended
from actorsync.service.jobs import job_for
from actorsync.service.notifying import notifying
from actorsync.service.systemd import from_environment

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
    log: LogFile | None = None


def run(profile: Profile, options: Options) -> int:
    """Mirror once or, with ``sync.every``, until stopped; return the exit code."""
    share_one_heap()
    systemd = from_environment()
    every = None if options.is_once else profile.sync.every
    if every is not None:
        require_repeatable(profile)
    profile = ask_first(profile, is_rebuilding=options.is_rebuilding)
    statistics = Statistics()
    shutdown = Shutdown(profile.shutdown.drain, profile.shutdown.cancel)
    often = "" if every is None else format_duration(every)
    output = _with_log(_output(options.show, statistics, often), statistics, options.log, often)
    job = job_for(profile, _options(profile, shutdown, [output.observe], statistics, options.log))

    async def work() -> int:
        async with attended([job]), notifying([job], systemd):
            if every is not None:
                return await run_forever(profile, job.options, is_rebuilding=options.is_rebuilding)
            report = await run_once(profile, job.options, is_rebuilding=options.is_rebuilding)
            return report.exit_code

    return _stoppable(work, shutdown, output, options)


def audit(profile: Profile, options: Options, *, is_whole: bool) -> int:
    """Compare the target with the journal, and change nothing; return the exit code."""
    profile = ask_first(profile)
    statistics = Statistics()
    shutdown = Shutdown(0.0, profile.shutdown.cancel)
    output = _with_log(_output(options.show, statistics, verb="comparing"), statistics, options.log)
    output.show_known_drift()
    of_run = _options(profile, shutdown, [output.observe], statistics, options.log)

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
    output = _with_log(_output(options.show, statistics), statistics, options.log)
    of_run = _options(profile, shutdown, [output.observe], statistics, options.log)

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
    log: LogFile | None = None,
) -> int:
    """Show what a run would change; return the exit code. A plan is saved only if it was completed."""
    profile = ask_first(profile, is_plan=True)
    statistics = Statistics()
    shutdown = Shutdown(0.0, profile.shutdown.cancel)
    publish, connections = policy_of(profile).publish, profile.sync.most_connections
    shown = (PlanJson if as_json else PlanLines)(statistics, sys.stdout, sys.stderr, Outliner(publish, connections))
    of_log = Outliner(publish, connections)
    logged = [] if log is None else [_stamped(PlanLines(statistics, log.stream, log.stream, of_log))]
    output = Outputs(shown, logged)
    has_changes = False

    def watch(event: Event) -> None:
        nonlocal has_changes
        has_changes = has_changes or change_of(event) is not None

    of_run = _options(profile, shutdown, [watch, output.observe], statistics, log)

    async def work() -> int:
        made = await make_plan(profile, of_run)
        report = made.report
        if save_to is not None and report.error is None and not (report.drained or report.cancelled):
            await trio.to_thread.run_sync(made.save, save_to)
        return PENDING if has_exit_code and report.exit_code == 0 and has_changes else report.exit_code

    code = _stoppable(work, shutdown, output, Options(ends_afterwards=ends_afterwards))
    if shown.out.failure is not None:
        raise FatalError(f"the plan cannot be written to standard output: {shown.out.failure}; {FREE}")
    return code


def _options(
    profile: Profile, shutdown: Shutdown, observers: Sequence[Observer], statistics: Statistics, log: LogFile | None
) -> RunOptions:
    """Return the options of a run. Its log is never sent: it changes all the time."""
    policy = policy_of(profile, private=() if log is None else [log.path])
    return options_for(profile, policy=policy, shutdown=shutdown, observers=observers, statistics=statistics)


def _with_log(output: Output, statistics: Statistics, log: LogFile | None, every: str = "") -> Outputs:
    if log is None:
        return Outputs(output)
    return Outputs(output, [_stamped(Lines(statistics, log.stream, every=every, is_verbose=True))])


def _stamped(output: Output) -> Output:
    output.is_stamped = True
    return output


def _output(show: Show, statistics: Statistics, every: str = "", *, verb: str = "mirroring") -> Output:
    if show == "json":
        return JsonLines(statistics, sys.stdout, sys.stderr)
    if show == "quiet":
        return Output(statistics, sys.stdout, sys.stderr)
    has_reader = Sink(sys.stderr).isatty()
    is_terminal = has_reader and os.environ.get("TERM", "dumb") not in {"dumb", "unknown"}
    kind = Lines
    if is_terminal:
        from actorsync.cli.output.live_view import LiveView  # slow to import, and needed only here

        kind = LiveView
    output = kind(statistics, sys.stderr, every=every, is_verbose=show == "verbose", verb=verb)
    output.is_stamped = show == "verbose" and not has_reader  # then it is a log
    return output


def _stoppable(work: Callable[[], Awaitable[int]], shutdown: Shutdown, output: Outputs, options: Options) -> int:
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
    output: Outputs,
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
            except Exception as error:  # noqa: BLE001 - the outermost handler
                # The only observers here are those of the command line itself.
                bug = error.__cause__ if isinstance(error, StageFailed) else error
                if isinstance(bug, ActorsyncError):
                    output.complain(str(bug))
                    code = bug.exit_code
                else:
                    await trio.to_thread.run_sync(tell_bug, bug or error, abandon_on_cancel=True)
                    output.note_bug(bug or error)
            beside.cancel_scope.cancel()
        output.close()
    return requests.forced_code if code == 130 or output.is_abandoned else code
