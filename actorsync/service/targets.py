"""The targets of one profile, mirrored at the same time: what they share, and what none of them does to another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import attrs
import trio

from actorsync.actors.control import Control
from actorsync.endpoints.wrappers.shared_listing import ListingReader, SharedListings
from actorsync.errors import ActorsyncError
from actorsync.model.event import Event, PassBegan, Started
from actorsync.model.report import Report
from actorsync.runs.runner import run_once
from actorsync.service.accounts import share_accounts
from actorsync.service.canary import Canary, directories_of
from actorsync.service.jobs import Job

__all__ = ["Work", "run_targets", "together"]

#: What is done with a job, until it has ended.
Work: TypeAlias = Callable[[Job], Awaitable[int]]


def together(jobs: Sequence[Job], work: Work, *, is_once: bool = False) -> Work:
    """Return ``work`` for jobs that run at the same time, with what those of one profile share. Call it in trio.

    Targets of one profile share a scan of the source, and the others wait for the canary before they publish. All jobs
    share the logins at a server, see `share_accounts`. With ``is_once`` each job makes one pass, whatever its profile
    says. Call the result once for each of the jobs.
    """
    ends: dict[str, Callable[[str], object]] = {}
    readers: dict[str, ListingReader] = {}
    share_accounts(jobs)
    for group in _groups(jobs):
        _follow_canary(group, ends, is_once=is_once)
        readers |= _share_scan(group)

    async def shared(job: Job) -> int:
        why = f"the canary {job.name} has ended"
        try:
            return await work(job)
        except ActorsyncError as error:
            why = f"the canary {job.name} did not run: {error}"
            raise
        finally:
            job.options.shares.leave()
            if job.name in readers:
                readers[job.name].end()
            if job.name in ends:
                ends[job.name](why)

    return shared


async def run_targets(jobs: Sequence[Job], *, is_rebuilding: bool = False) -> Mapping[str, Report]:
    """Make one pass of each job at the same time, and return the reports by name.

    A target that is refused, down or full does not end the others. What keeps a job from beginning, and a bug, is
    raised when all have ended, the first one of the order of the jobs; a bug comes first.
    """
    reports: dict[str, Report] = {}
    errors: dict[str, Exception] = {}

    async def work(job: Job) -> int:
        reports[job.name] = report = await run_once(job.profile, job.options, is_rebuilding=is_rebuilding)
        return report.exit_code

    shared = together(jobs, work, is_once=True)

    async def one(job: Job) -> None:
        try:
            await shared(job)
        except Exception as error:  # noqa: BLE001 - it ends this job, and is raised when the others have ended
            errors[job.name] = error

    async with trio.open_nursery() as nursery:
        for job in jobs:
            nursery.start_soon(one, job)
    raised = [errors[job.name] for job in jobs if job.name in errors]
    if raised:
        raise min(raised, key=lambda error: isinstance(error, ActorsyncError))
    return reports


def _groups(jobs: Sequence[Job]) -> Sequence[Sequence[Job]]:
    """Return the jobs of each profile with several targets, if several of them run."""
    groups: list[list[Job]] = []
    for job in jobs:
        for group in groups:
            if _is_sibling(job, group[0]):
                group.append(job)
                break
        else:
            groups.append([job])
    return [group for group in groups if len(group) > 1]


def _is_sibling(one: Job, other: Job) -> bool:
    """Return whether two jobs are targets of one profile. Profiles that a program has made all have the same path."""
    first, second = one.profile, other.profile
    return first.path == second.path and second.target in first.siblings and first.source == second.source


def _share_scan(group: Sequence[Job]) -> Mapping[str, ListingReader]:
    """Let the targets of one profile share the listings of their source. Their first passes begin together."""
    shared, readers = SharedListings(), {}
    for job in group:
        readers[job.name] = reader = shared.reader()
        reader.prepare(trio.current_time())
        job.options = attrs.evolve(job.options, listings=reader)
    return readers


@attrs.define(eq=False)
class _Follower:
    """A target that waits for the canary. ``since`` is when its pass began, on trio's clock.

    ``directories`` are those that the pass looks at; None for all of them.
    """

    canary: Canary
    since: float
    directories: frozenset[str] | None = None
    is_first: bool = True

    def observe(self, event: Event) -> None:
        if isinstance(event, PassBegan):
            self.directories = directories_of(event)
        elif isinstance(event, Started):
            # The first passes belong together, whichever begins first.
            self.since = self.since if self.is_first else trio.current_time()
            self.is_first = False

    async def approval(self) -> str | None:
        return await self.canary.approval(self.since, self.directories)


def _ask(control: Control, directories: frozenset[str] | None) -> None:
    """Let the next pass look at directories; at all of them with None."""
    if directories is None:
        control.rescan()
    else:
        control.look_at(directories)


def _follow_canary(group: Sequence[Job], ends: dict[str, Callable[[str], object]], *, is_once: bool) -> None:
    """Let the targets of one profile wait for their canary, if it runs with them."""
    leading = next((job for job in group if job.profile.is_canary), None)
    if leading is None:
        return
    ask = partial(_ask, leading.control) if leading.profile.repeats and not is_once else None
    canary = Canary(leading.profile.name, ask)
    _add(leading, canary.observe)
    ends[leading.name] = canary.over
    for job in group:
        if job is not leading:
            follower = _Follower(canary, trio.current_time())
            _add(job, follower.observe)
            pipeline = attrs.evolve(job.options.pipeline, approval=follower.approval)
            job.options = attrs.evolve(job.options, pipeline=pipeline)


def _add(job: Job, observer: Callable[[Event], object]) -> None:
    job.options = attrs.evolve(job.options, observers=[*job.options.observers, observer])
