"""Runs and plans in the foreground: signals, output and exit code. What ``run``, ``plan`` and ``apply`` do."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from actorsync.actors.shutdown import Shutdown
from actorsync.classes import frozen
from actorsync.cli.options import print_lines
from actorsync.cli.output.outputs import Outputs
from actorsync.cli.output.streams import FREE, tell, tell_bug
from actorsync.cli.process.log_file import LogFile
from actorsync.cli.process.malloc import share_one_heap
from actorsync.cli.process.showing import Show, outputs_for, stamped
from actorsync.endpoints.shared.resource_limits import require_descriptors
from actorsync.errors import DRIFTED, ActorsyncError, FatalError
from actorsync.model.changes import change_of
from actorsync.model.event import Event
from actorsync.model.pair import Take
from actorsync.profile import Profile, format_duration, load_profile
from actorsync.runs.mirror_only import SAVE, require_mirror
from actorsync.runs.runner import apply_once, ask_first, audit_once, make_plan, resolve_once
from actorsync.runs.stop_signals import CANCEL_SECONDS, LEAVE_SECONDS, Step, StopRequests, drain_on_enter, has_terminal
from actorsync.service.attending import attended
from actorsync.service.beside import beside
from actorsync.service.chosen import Chosen
from actorsync.service.exit_codes import CANCELLED, worst
from actorsync.service.jobs import Job, jobs_for
from actorsync.service.manager.systemd import from_environment
from actorsync.service.running import Ended, mirror, refused, run_jobs, what_raised

if TYPE_CHECKING:
    from actorsync.runs.saved_plan import Plan
    from actorsync.service.targets import Work

__all__ = ["PENDING", "Options", "PlanOptions", "apply", "audit", "plan", "run"]

#: Exit code of ``plan --exit-code`` when there are changes, as after a run that found changes of others.
PENDING = DRIFTED


@frozen
class Options:
    """How the output of a run is shown, and how it stops."""

    show: Show = "normal"
    is_once: bool = False
    is_rebuilding: bool = False
    stops_on_enter: bool = False
    ends_afterwards: bool = False
    """Whether the process ends with the run, so that later signals have nothing to stop."""
    log: LogFile | None = None
    overrides: Sequence[str] = ()
    """What replaces keys of the profile, also when it is read again."""


def run(profiles: Profile | Chosen, options: Options) -> int:
    """Mirror once or, as the profile says, until stopped; return the exit code, the worst of several mirrors."""
    share_one_heap()
    systemd = from_environment()
    often = partial(_often, options)
    work = mirror(is_once=options.is_once, is_rebuilding=options.is_rebuilding)
    for_all = _chosen(profiles).answered(partial(_ask_to_run, options)).without_followers()
    private = for_all.files if options.log is None else [*for_all.files, options.log.path]
    hang_up, asked = trio.open_memory_channel[None](1)

    def reload() -> None:
        with suppress(trio.WouldBlock):  # one is due anyway
            hang_up.send_nowait(None)

    @asynccontextmanager
    async def serving(jobs: Sequence[Job], work: Work) -> AsyncIterator[Work]:
        # What a single pass does not need is not imported for it: it starts faster.
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(attended(jobs))
            if systemd is not None:
                from actorsync.service.notifying import notifying

                work = await stack.enter_async_context(notifying(jobs, systemd, work))
            if repeats:
                from actorsync.service.reloading import reload_when_asked, reloading

                await stack.enter_async_context(beside(reload_when_asked, asked, jobs, systemd))
                work = reloading(work, partial(_load_again, options), private)
            yield work

    repeats = not options.is_once and any(profile.repeats for profile in for_all.profiles.values())
    is_service = repeats and not has_terminal()
    return _with_all(for_all, options, work, often=often, serving=serving, reload=reload if is_service else None)


def _load_again(options: Options, profile: Profile) -> Profile:
    return load_profile(profile.path, options.overrides, only=[profile.name] if profile.name else ())


@asynccontextmanager
async def _alone(_: Sequence[Job], work: Work) -> AsyncIterator[Work]:
    """Do nothing beside the block."""
    yield work


def _often(options: Options, profile: Profile) -> str:
    every = None if options.is_once or profile.sync.watch else profile.sync.every
    return "" if every is None else format_duration(every)


def _ask_to_run(options: Options, profile: Profile) -> Profile:
    if profile.repeats and not options.is_once:
        from actorsync.runs.repeating.repeat import require_repeatable

        require_repeatable(profile)
    return ask_first(profile, is_rebuilding=options.is_rebuilding)


def audit(profiles: Profile | Chosen, options: Options, *, is_whole: bool) -> int:
    """Compare the target with the journal, and change nothing; return the exit code, the worst of several mirrors."""

    async def work(job: Job) -> int:
        report = await audit_once(job.profile, job.options, is_whole=is_whole)
        return report.exit_code

    return _with_all(_chosen(profiles).answered(ask_first), options, work, verb="comparing", is_audit=True)


def resolve(profile: Profile, takes: Mapping[str, Take], options: Options) -> int:
    """Decide about conflicts of a two-way profile, and do nothing else; return the exit code."""
    share_one_heap()

    async def work(job: Job) -> int:
        report = await resolve_once(job.profile, takes, job.options)
        return report.exit_code

    return _with_all(Chosen.of(profile).answered(ask_first), options, work)


def apply(profile: Profile, plan: Plan, options: Options) -> int:
    """Apply a saved plan, or change nothing if it is out of date; return the exit code."""
    share_one_heap()

    async def work(job: Job) -> int:
        report = await apply_once(job.profile, plan, job.options)
        return report.exit_code

    return _with_all(Chosen.of(profile).answered(ask_first), options, work)


def _chosen(profiles: Profile | Chosen) -> Chosen:
    return profiles if isinstance(profiles, Chosen) else Chosen.of(profiles)


def _with_all(
    chosen: Chosen,
    options: Options,
    work: Work,
    *,
    often: Callable[[Profile], str] = lambda _: "",
    verb: str = "mirroring",
    is_audit: bool = False,
    serving: Callable[[Sequence[Job], Work], AbstractAsyncContextManager[Work]] = _alone,
    reload: Callable[[], object] | None = None,
) -> int:
    """Do ``work`` with each profile, all at the same time; return the worst exit code."""
    if chosen.is_several:
        require_descriptors(len(chosen.profiles))
    jobs = jobs_for(chosen.profiles, chosen.files if options.log is None else [*chosen.files, options.log.path])
    output = outputs_for(options.show, options.log, jobs, often, verb, is_several=chosen.is_several)
    for job in jobs:
        job.add_observer(partial(output.observe, name=job.name))
        if is_audit:  # it changes nothing, so there is nothing to finish
            job.shutdown.allow(0.0, job.profile.shutdown.cancel)
    if is_audit:
        output.show_known_drift()
    for refusal in chosen.refused:
        output.complain(refusal.text)

    def ended(result: Ended) -> None:
        if result.raised is not None and result.bug is None:
            output.complain(result.report.error or result.result, result.name)

    async def all_of_them() -> int:
        async with serving(jobs, work) as served:
            results = [
                *(refused(it.name, it.error) for it in chosen.refused),
                *await run_jobs(jobs, served, ended, is_once=options.is_once),
            ]
        for result in results:
            if result.bug is not None:
                await _tell_bug(result.bug, output)
        if chosen.is_several:
            output.show_results(results)
        return worst(result.exit_code for result in results)

    return _stoppable(all_of_them, [job.shutdown for job in jobs], output, options, reload)


@frozen
class PlanOptions:
    """How a plan is shown, and what is done with it."""

    as_json: bool = False
    has_exit_code: bool = False
    save_to: Path | None = None
    """The file that the plan is saved to. There can be only one plan then."""
    ends_afterwards: bool = False
    log: LogFile | None = None


def plan(profiles: Profile | Chosen, options: PlanOptions) -> int:
    """Show what a run would change, of each profile in turn; return the exit code, the worst of several.

    A plan is saved only if it was completed.
    """
    chosen = _chosen(profiles)
    if options.save_to is not None:
        require_mirror(chosen.the_one(), SAVE)
    chosen = chosen.answered(partial(ask_first, is_plan=True))
    jobs = jobs_for(chosen.profiles, chosen.files if options.log is None else [*chosen.files, options.log.path])
    codes = [refusal.error.exit_code for refusal in chosen.refused]
    for refusal in chosen.refused:
        tell(refusal.text)
    for number, job in enumerate(jobs):
        if chosen.is_several and not options.as_json:
            print_lines([*([""] if number else []), f"{job.name}:"])
        codes.append(_plan(job, options, is_several=chosen.is_several))
        if codes[-1] >= CANCELLED:
            break
    return worst(codes)


def _plan(job: Job, options: PlanOptions, *, is_several: bool) -> int:
    from actorsync.cli.output.plan_lines import PlanJson, PlanLines  # a run starts faster without
    from actorsync.planning.publishing.forecast import Outliner

    profile, statistics, log = job.profile, job.options.statistics, options.log
    publish, connections = job.options.policy.publish, profile.sync.most_connections
    of_shown, of_log = Outliner(publish, connections), Outliner(publish, connections)
    shown = (PlanJson if options.as_json else PlanLines)(statistics, sys.stdout, sys.stderr, of_shown)
    logged = [] if log is None else [stamped(PlanLines(statistics, log.stream, log.stream, of_log))]
    if isinstance(shown, PlanLines):
        shown.is_headed = is_several
    for one in (shown, *logged) if is_several else ():
        one.name, one.is_one_of_several = job.name, True
    output = Outputs(shown, logged)
    job.shutdown.allow(0.0, profile.shutdown.cancel)
    has_changes = False

    def watch(event: Event) -> None:
        nonlocal has_changes
        has_changes = has_changes or change_of(event) is not None

    job.add_observer(watch)
    job.add_observer(output.observe)

    async def work() -> int:
        made = await make_plan(profile, job.options)
        report = made.report
        if options.save_to is not None and report.error is None and not (report.drained or report.cancelled):
            await trio.to_thread.run_sync(made.save, options.save_to)
        return PENDING if options.has_exit_code and report.exit_code == 0 and has_changes else report.exit_code

    code = _stoppable(work, [job.shutdown], output, Options(ends_afterwards=options.ends_afterwards))
    if shown.out.failure is not None:
        raise FatalError(f"the plan cannot be written to standard output: {shown.out.failure}; {FREE}")
    return code


def _stoppable(
    work: Callable[[], Awaitable[int]],
    shutdowns: Sequence[Shutdown],
    output: Outputs,
    options: Options,
    reload: Callable[[], object] | None = None,
) -> int:
    """Run ``work`` and return the exit code. The first signal drains, the second cancels, the third exits at once.

    Each step concerns all of ``shutdowns``, and also follows by itself when the time of the one before is over: after a
    drain that is the longest `Shutdown.longest`. With ``reload``, SIGHUP calls that, and is no request to stop.
    """
    cancelled = trio.Event()

    def drain() -> None:
        for shutdown in shutdowns:
            shutdown.drain()
        output.stopping(max((it.drain_seconds for it in shutdowns), default=0.0))

    def cancel() -> None:
        for shutdown in shutdowns:
            shutdown.cancel(within=CANCEL_SECONDS)
        cancelled.set()
        output.stopping(None)

    def longest() -> float:  # a profile that is read again may have changed it
        return max((it.longest for it in shutdowns), default=LEAVE_SECONDS)

    steps = [Step(drain, longest), Step(cancel, LEAVE_SECONDS)]
    requests = StopRequests(steps, output.last_words, ends_afterwards=options.ends_afterwards, reload=reload)
    return requests.run(partial(_in_foreground, work, cancelled, output, requests, options.stops_on_enter))


async def _tell_bug(bug: Exception, output: Outputs) -> None:
    await trio.to_thread.run_sync(tell_bug, bug, abandon_on_cancel=True)
    output.note_bug(bug)


async def _in_foreground(
    work: Callable[[], Awaitable[int]],
    cancelled: trio.Event,
    output: Outputs,
    requests: StopRequests,
    stops_on_enter: bool,
) -> int:
    """Run ``work`` and its output concurrently; turn the result or the error into an exit code."""
    code = ActorsyncError.exit_code
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.run, cancelled)
        async with trio.open_nursery() as beside:
            if stops_on_enter:
                beside.start_soon(drain_on_enter, 0, requests.stop)
            try:
                code = await work()
            except Exception as error:  # noqa: BLE001 - the outermost handler
                raised = what_raised(error)
                if isinstance(raised, ActorsyncError):
                    output.complain(str(raised))
                    code = raised.exit_code
                else:
                    await _tell_bug(raised, output)
            beside.cancel_scope.cancel()
        output.close()
    return requests.forced_code if code == 130 or output.is_abandoned else code
