"""Several mirrors in one process: all run at the same time, and none of them ends another."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
import trio

from actorsync.classes import frozen
from actorsync.errors import ActorsyncError, JournalLocked, ProfileError, StageFailed
from actorsync.model.messages import RESULTS, summary
from actorsync.model.report import Report
from actorsync.runs.runner import run_once
from actorsync.service.jobs import Job

if TYPE_CHECKING:
    from actorsync.service.targets import Work

__all__ = ["Ended", "end_of", "mirror", "refused", "run_jobs", "what_raised"]

#: The results that no run has, because it did not begin.
_NOT_BEGUN: Final = dict.fromkeys((ProfileError.exit_code, JournalLocked.exit_code), "not begun")


@frozen
class Ended:
    """How a mirror ended. ``report`` is that of its last pass, or says why there was none.

    ``raised`` is what ended it without a report: an `ActorsyncError` that kept it from beginning, or a bug.
    """

    name: str
    exit_code: int
    report: Report
    raised: Exception | None = None

    @property
    def bug(self) -> Exception | None:
        """The unexpected exception, if that has ended it: also that of a stage, a hook or an observer."""
        cause = None if self.raised is None else what_raised(self.raised)
        return None if isinstance(cause, ActorsyncError) else cause

    @property
    def result(self) -> str:
        """How it ended, in a word or two."""
        results = {**RESULTS, **_NOT_BEGUN}
        return results.get(self.exit_code, f"exit code {self.exit_code}")

    @property
    def text(self) -> str:
        """How it ended, as one line."""
        error = self.report.error
        if error is not None:
            return f"{self.result}: {error}"
        return self.result if self.exit_code == self.report.exit_code == 0 else summary(self.report)


def what_raised(error: Exception) -> Exception:
    """Return what a stage, a hook or an observer raised, out of the error that says so; any other error as it is."""
    cause = error.__cause__
    return cause if isinstance(error, StageFailed) and isinstance(cause, Exception) else error


def refused(name: str, error: ActorsyncError) -> Ended:
    """Return the end of a mirror that an error has kept from beginning."""
    return Ended(name, error.exit_code, Report(error.exit_code, time.time(), 0.0, error=str(error)), error)


def mirror(*, is_once: bool = False, is_rebuilding: bool = False) -> Work:
    """Return the work of mirroring: once, or as often as the profile of the job says."""

    async def work(job: Job) -> int:
        if job.profile.repeats and not is_once:
            from actorsync.runs.repeating.repeat import require_repeatable, run_forever  # a single pass does without

            require_repeatable(job.profile)
            return await run_forever(job.profile, job.options, is_rebuilding=is_rebuilding)
        report = await run_once(job.profile, job.options, is_rebuilding=is_rebuilding)
        return report.exit_code

    return work


async def run_jobs(
    jobs: Sequence[Job], work: Work, ended: Callable[[Ended], object] | None = None, *, is_once: bool = False
) -> Sequence[Ended]:
    """Do ``work`` with all jobs at the same time, and return how each ended, in the order of the jobs.

    The end of a job, its refusal or a bug in it does not end the others. Targets of one profile share what `together`
    says; ``is_once`` is as there. ``ended`` is called with the end of each job, at that moment. A stop is requested by
    each job's own `Shutdown`.
    """
    results: dict[str, Ended] = {}
    if len(jobs) > 1:
        from actorsync.service.targets import together  # needed only here: one mirror starts faster without

        work = together(jobs, work, is_once=is_once)

    async def one(job: Job) -> None:
        result = results[job.name] = await end_of(job, work)
        if ended is not None:
            ended(result)

    async with trio.open_nursery() as nursery:
        for job in jobs:
            nursery.start_soon(partial(one, job), name=job.name)
    return [results[job.name] for job in jobs]


async def end_of(job: Job, work: Work) -> Ended:
    """Do ``work`` with a job, and return how it ended, whatever it raises."""
    try:
        code = await work(job)
    except Exception as error:  # noqa: BLE001 - it ends this job, and no other
        cause = what_raised(error)
        if isinstance(cause, ActorsyncError):
            return attrs.evolve(refused(job.name, cause), raised=error)
        code, text = ActorsyncError.exit_code, f"{type(cause).__name__}: a bug in actorsync"
        report = job.state.last or Report(code, time.time(), 0.0)
        return Ended(job.name, code, attrs.evolve(report, exit_code=code, error=text), error)
    return Ended(job.name, code, job.state.last or Report(code, time.time(), 0.0))
