"""A job: one mirror among those of a process, with its options, what a user may change, and its state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path

import attrs

from actorsync.actors.control import Control
from actorsync.actors.observers import Observer
from actorsync.actors.shutdown import Shutdown
from actorsync.classes import define
from actorsync.observe.board import MirrorState, Pace
from actorsync.policy import RunOptions
from actorsync.profile import Profile
from actorsync.runs.options import Additions
from actorsync.runs.private_paths import own_files

__all__ = ["Job", "job_for", "jobs_for", "pace_of"]


@define(eq=False)
class Job:
    """One mirror: a profile with one target, the options of its run, and its state on the board."""

    name: str
    profile: Profile
    options: RunOptions
    state: MirrorState
    reload: Callable[[], Awaitable[str]] | None = None
    """Reads the profile again, and returns what follows, in one line. Raises `ProfileError` if the profile is invalid.
    None for a run that ends after its pass."""

    def add_observer(self, observer: Observer) -> None:
        """Show its events to one more observer. Call it before the job begins."""
        self.options = attrs.evolve(self.options, observers=[*self.options.observers, observer])

    @property
    def control(self) -> Control:
        """What a user may change while it runs."""
        return self.options.control

    @property
    def shutdown(self) -> Shutdown:
        """What stops it."""
        return self.options.shutdown


def job_for(profile: Profile, options: RunOptions, name: str = "") -> Job:
    """Return the job of a profile. Its state observes the run. Without a ``name`` it is that of the target or file."""
    name = name or profile.name or profile.path.stem
    state = MirrorState(
        name,
        profile.source.display,
        profile.target.display,
        options.statistics,
        options.control,
        profile.path.stem,
        pace_of(profile),
    )
    return Job(name, profile, attrs.evolve(options, observers=[*options.observers, state.observe]), state)


def jobs_for(
    profiles: Mapping[str, Profile], private: Iterable[Path] = (), added: Additions | None = None
) -> Sequence[Job]:
    """Return a job for each profile, by its name, in the same order, with what a program has ``added``.

    No job sends or removes a file that any of them needs: the profiles, their secrets, the journals and the ``private``
    files. With several, what each logs has its name.
    """
    files = {*private, *(path for profile in profiles.values() for path in own_files(profile))}
    jobs = []
    for name, profile in profiles.items():
        shutdown = Shutdown(profile.shutdown.drain, profile.shutdown.cancel)
        options = (added or Additions()).options(profile, shutdown, files)
        jobs.append(job_for(profile, attrs.evolve(options, name=name if len(profiles) > 1 else ""), name))
    return jobs


def pace_of(profile: Profile) -> Pace:
    """Return how often a mirror of the profile is to be in sync. A watched source is compared as a whole at times."""
    sync = profile.sync
    every = profile.watch.reconcile_every if sync.every is None and sync.watch else sync.every
    return Pace(every, profile.observe.stale_after)
