"""The targets of one profile, mirrored at the same time: what they share, and what none of them does to another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import attrs
import trio

from actorsync.actors.control import Control
from actorsync.classes import define
from actorsync.endpoints.wrappers.shared_listing import ListingReader, SharedListings
from actorsync.errors import ActorsyncError
from actorsync.model.event import Event, PassBegan, Started
from actorsync.service.accounts import share_accounts
from actorsync.service.canary import Canary, directories_of
from actorsync.service.jobs import Job

__all__ = ["Work", "together"]

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


@define(eq=False)
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
    leading.add_observer(canary.observe)
    ends[leading.name] = canary.over
    for job in group:
        if job is not leading:
            follower = _Follower(canary, trio.current_time())
            job.add_observer(follower.observe)
            pipeline = attrs.evolve(job.options.pipeline, approval=follower.approval)
            job.options = attrs.evolve(job.options, pipeline=pipeline)
