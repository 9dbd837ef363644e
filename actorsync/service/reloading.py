"""A run that repeats reads its profile again, and goes on with it after the pass in progress.

A profile that cannot be used changes nothing: the run goes on with the one that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import attrs
import trio

from actorsync.actors.shutdown import Shutdown
from actorsync.classes import define
from actorsync.errors import ActorsyncError, LoginRefused, ProfileError
from actorsync.model.event import Changed, Event, Stopped, Warned
from actorsync.model.text import display
from actorsync.profile import Profile
from actorsync.runs.options import options_for, policy_of
from actorsync.runs.private_paths import own_files
from actorsync.runs.profile_journal import lock_journal_of
from actorsync.runs.repeating.repeat import require_repeatable
from actorsync.service.jobs import Job, pace_of
from actorsync.service.manager.systemd import Systemd
from actorsync.service.targets import Work

__all__ = ["Reloading", "reload_when_asked", "reloading"]

#: Exit codes that end a run for good, whatever the next profile says: a login must not be tried again and again.
_FINAL: Final = frozenset({LoginRefused.exit_code, ActorsyncError.exit_code})


async def reload_when_asked(
    asked: trio.MemoryReceiveChannel[None], jobs: Sequence[Job], systemd: Systemd | None
) -> None:
    """Reload the profiles of all jobs for each item of ``asked``. One that cannot be used is a warning."""
    async for _ in asked:
        if systemd is not None:
            systemd.reloading()
        for job in jobs:
            if job.reload is None:
                continue
            try:
                job.options.publish(Changed(await job.reload()))
            except ActorsyncError as error:
                job.options.publish(Warned(f"the run goes on with the profile that it has: {error}"))
        if systemd is not None:
            systemd.ready()


def reloading(work: Work, load: Callable[[Profile], Profile], private: Iterable[Path] = ()) -> Work:
    """Return ``work``, for jobs that repeat, that begins anew with another profile when `Job.reload` has been called.

    ``load`` reads the profile of a job again; it blocks. ``private`` files are never sent, as in `jobs_for`.
    """

    async def call(job: Job) -> int:
        if not job.profile.repeats:
            return await work(job)
        it = Reloading(job, load, frozenset(private))
        job.reload = it.reload
        try:
            return await it.run(work)
        finally:
            job.reload = None

    return call


@define(eq=False)
class Reloading:
    """The profiles of one job, one after the other."""

    job: Job
    load: Callable[[Profile], Profile]
    private: frozenset[Path] = frozenset()
    _next: Profile | None = None
    _part: Shutdown | None = None
    """Stops the passes with the present profile, and nothing else."""

    async def reload(self) -> str:
        """Read the profile again; return in one line what follows.

        Raises:
            ActorsyncError: it cannot be used: it is invalid, a secret is missing, or another run holds its journal.
        """
        profile = await trio.to_thread.run_sync(self._read, abandon_on_cancel=True)
        before = self.job.profile if self._next is None else self._next
        if profile == before:
            return "the profile has not changed"
        self._next = profile
        if not self.job.state.is_running:
            self._end_part()
        when = "when the pass in progress has ended" if self.job.state.is_running else "now"
        rest = "; [observe] as it was, until the next start" if profile.observe != self.job.profile.observe else ""
        return f"the profile was read again, and is used {when}{rest}"

    def _read(self) -> Profile:
        now = self.job.profile
        profile = self.load(now)
        if not profile.repeats:
            raise ProfileError(f"{_name(profile)}: sync.every and sync.watch are gone; to end the run, stop it")
        require_repeatable(profile)
        if profile.source.is_asking or profile.target.is_asking:
            raise ProfileError(f"{_name(profile)}: a password has to be typed; stop the run, and start it again")
        profile.look_up()
        if profile.identity != now.identity:
            with lock_journal_of(profile):
                pass
        return profile

    async def run(self, work: Work) -> int:
        """Do ``work`` until it ends by itself, or by a stop; return the exit code."""
        self.job.state.readers.add(self._observe)
        while True:
            with self.job.shutdown.follower() as part:
                self._part = part
                code = await work(attrs.evolve(self.job, options=attrs.evolve(self.job.options, shutdown=part)))
            if self._next is None or self.job.shutdown.draining.is_set() or code in _FINAL:
                return code
            self._take(self._next)

    def _observe(self, event: Event) -> None:
        if isinstance(event, Stopped) and self._next is not None:
            self._end_part()

    def _end_part(self) -> None:
        if self._part is not None:
            self._part.drain()

    def _take(self, profile: Profile) -> None:
        """Go on with another profile. What a user has changed with ``ctl`` stays, but for a bandwidth limit."""
        self._next = None
        old = self.job.options
        policy = policy_of(profile, private=[*own_files(profile), *self.private])
        if (bandwidth := old.policy.bandwidth) is not None and policy.bandwidth is not None:
            bandwidth.limit = policy.bandwidth.limit
        pipeline = attrs.evolve(options_for(profile, policy=policy).pipeline, approval=old.pipeline.approval)
        policy = attrs.evolve(policy, bandwidth=bandwidth)
        self.job.shutdown.allow(profile.shutdown.drain, profile.shutdown.cancel)
        self.job.profile = profile
        self.job.options = attrs.evolve(old, policy=policy, pipeline=pipeline)
        state = self.job.state
        state.source, state.target = profile.source.display, profile.target.display
        state.pace = pace_of(profile)
        places = f"{display(state.source)} to {display(state.target)}"
        self.job.options.publish(Changed(f"going on with the profile {_name(profile)} as it is now: {places}"))


def _name(profile: Profile) -> str:
    return display(str(profile.path))
